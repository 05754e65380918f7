"""How many pods a set has, and in what state: counted without reading them where that can be.

The law: the numbers are those that a look at each pod gives.  `counted` takes them from the tally
of the pod informer and gives up (None) where pods would have to be adopted or released; `surveyed`
and `of_pods` look at each.  Where time decides (`minReadySeconds`), the available ones are counted
by `with_available`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import labels, meta
from pytest_kubesim.controller_manager import fields, pods

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.store import Store


@attrs.frozen(slots=True)
class Census:
    """The pods of a set: how many are active, `full` of them with all labels of the template."""

    active: int
    full: int
    ready: int
    available: int
    terminating: int


def counted(store: Store, replica_set: Object, kind: str, selector: Selector) -> Census | None:
    """The numbers of a set whose pods are beyond doubt; None: each has to be looked at.

    All that are ready count as available.
    """
    spec, metadata = replica_set["spec"], replica_set["metadata"]
    for state, _, _, pairs in pods.orphan_standings(store, metadata["namespace"]):
        if state == pods.ACTIVE and selector.matches(dict(pairs)):
            return None
    wanted = _template_labels(spec)
    active = full = ready = terminating = 0
    for (state, is_ready, owner, pairs), count in pods.standings(store, replica_set, kind).items():
        if state == pods.TERMINAL:
            continue
        own = dict(pairs)
        matching = selector.matches(own)
        if state == pods.TERMINATING:
            terminating += count if matching else 0
            continue
        if not matching or owner != metadata["uid"]:
            return None
        active += count
        ready += count if is_ready else 0
        full += count if wanted.matches(own) else 0
    return Census(active, full, ready, ready, terminating)


def with_available(
    census: Census, active: list[Object], min_ready_seconds: int, now_ns: int
) -> Census:
    """The numbers with those that have been ready for long enough."""
    if census.ready == 0:
        return census
    available = sum(pods.is_available(pod, min_ready_seconds, now_ns) for pod in active)
    return attrs.evolve(census, available=available)


def surveyed(related: list[Object]) -> tuple[list[Object], list[Object]]:
    """The active and the terminating ones of some pods."""
    active: list[Object] = []
    terminating: list[Object] = []
    for pod in related:
        if pods.is_active(pod):
            active.append(pod)
        elif pods.is_terminating(pod):
            terminating.append(pod)
    return active, terminating


def of_pods(
    active: list[Object],
    terminating: list[Object],
    replica_set: Object,
    selector: Selector,
    now_ns: int,
) -> Census:
    """The numbers of a set with these active pods; of those terminating, its own are counted."""
    spec = replica_set["spec"]
    min_ready = fields.number(spec, "minReadySeconds")
    wanted = _template_labels(spec)
    return Census(
        len(active),
        sum(wanted.matches(pod["metadata"].get("labels")) for pod in active),
        sum(map(pods.is_ready, active)),
        sum(pods.is_available(pod, min_ready, now_ns) for pod in active),
        sum(
            meta.is_controlled_by(pod, replica_set) and selector.matches(meta.labels(pod))
            for pod in terminating
        ),
    )


def _template_labels(spec: Object) -> Selector:
    return labels.from_set(meta.labels(fields.mapping(spec, "template")))
