"""Which taints of devices evict, when, and whom they come from.

The law: an allocated device is hit by the `NoExecute` taints that its slice shows in the pool's
newest generation, and by those of the rules that select it; a toleration puts the moment off, one
without an end cancels it.  A claim's pods go at the first of these moments.

Follows `claimEvictionTime`, `pool` and `trackedTaint` of
`pkg/controller/devicetainteviction/device_taint_eviction.go` and
`dynamic-resource-allocation/resourceclaim/devicetoleration.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import meta, timestamps
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.node_fit import NO_EXECUTE, tolerates
from pytest_kubesim.registry.resource import device_taint_rule
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_kubesim.apimachinery.meta import Object


@attrs.frozen(slots=True)
class Eviction:
    """When (nanoseconds since the epoch), and by which rules (their UIDs) among others."""

    when_ns: int
    rules: frozenset[str]

    def joined(self, other: Eviction | None) -> Eviction:
        """The earlier of two moments, for both reasons."""
        if other is None:
            return self
        return Eviction(min(self.when_ns, other.when_ns), self.rules | other.rules)


def results_of(claim: Object) -> list[Object]:
    """The devices that a claim has been given."""
    allocation = fields.mapping(fields.status(claim), "allocation")
    return fields.objects(fields.mapping(allocation, "devices"), "results")


def newest(slices: Iterable[Object]) -> list[Object]:
    """The slices that are of their pool's newest generation."""
    found = list(slices)
    generations: dict[tuple[str, str], int] = {}
    for entry in found:
        pool = pool_of(entry)
        generation = fields.number(fields.mapping(fields.spec(entry), "pool"), "generation")
        generations[pool] = max(generations.get(pool, generation), generation)
    return [
        entry for entry in found
        if fields.number(fields.mapping(fields.spec(entry), "pool"), "generation")
        == generations[pool_of(entry)]
    ]


def pool_of(resource_slice: Object) -> tuple[str, str]:
    """Driver and pool of a slice."""
    spec = fields.spec(resource_slice)
    return fields.text(spec, "driver"), fields.text(fields.mapping(spec, "pool"), "name")


def eviction_of(
    claim: Object, devices: dict[tuple[str, str, str], Object], rules: Iterable[Object]
) -> Eviction | None:
    """When the pods of an allocated claim are to go; None for never.

    `devices`: what is published, by driver, pool and name; `rules`: those that evict.
    """
    evicting = list(rules)
    found: Eviction | None = None
    for result in results_of(claim):
        driver, pool, name = result["driver"], result["pool"], result["device"]
        device = devices.get((driver, pool, name)) or {}
        taints = [(taint, frozenset[str]()) for taint in fields.objects(device, "taints")]
        taints += [
            (fields.mapping(fields.spec(rule), "taint"), frozenset((meta.uid(rule),)))
            for rule in evicting
            if device_taint_rule.selects(rule, driver, pool, name)
        ]
        for taint, reason in taints:
            if fields.text(taint, "effect") != NO_EXECUTE:
                continue
            when_ns = _moment_ns(taint, fields.objects(result, "tolerations"))
            if when_ns is not None:
                found = Eviction(when_ns, reason).joined(found)
    return found


def _moment_ns(taint: Object, tolerations: list[Object]) -> int | None:
    seconds: list[int] = []
    for toleration in tolerations:
        if toleration.get("effect") == NO_EXECUTE and tolerates(toleration, taint):
            limit: int | None = toleration.get("tolerationSeconds")
            if limit is None:
                return None
            seconds.append(max(limit, 0))
    added_ns = timestamps.parse_time(taint["timeAdded"]) if taint.get("timeAdded") else 0
    return added_ns + min(seconds, default=0) * NS
