"""Hints for whom an endpoint is: for clients of its zone or node, or evened out over zones.

`traffic_hints` follows `endpointslice/trafficdist` (`spec.trafficDistribution`), `TopologyCache`
`endpointslice/topologycache` (the annotation `service.kubernetes.io/topology-mode: Auto`): zones
get endpoints in proportion to their CPU; if that cannot be done well no endpoint gets a hint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import meta, quantity
from pytest_kubesim.controller_manager import endpoint_slices, fields

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

ZONE = "topology.kubernetes.io/zone"
OVERLOAD_THRESHOLD = 0.2

DISABLED_REASON = "TopologyAwareHintsDisabled"
ENABLED_REASON = "TopologyAwareHintsEnabled"

_EXCLUDED = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
_CLOSE = ("PreferClose", "PreferSameZone", "PreferSameNode")


@attrs.define(slots=True)
class SliceChanges:
    """What a sync is about to do with the slices of one address type of a Service."""

    service_key: str
    address_type: str
    create: list[Object]
    update: list[Object]
    unchanged: list[Object]


def uses_auto(service: Object) -> bool:
    """Whether hints are to be made by the topology cache."""
    annotations = meta.annotations(service)
    value = annotations.get("service.kubernetes.io/topology-aware-hints")
    if value is None:
        value = annotations.get("service.kubernetes.io/topology-mode")
    return value in {"Auto", "auto"}


def uses_distribution(service: Object) -> bool:
    """Whether hints are to be made by `spec.trafficDistribution`."""
    return service["spec"].get("trafficDistribution") in _CLOSE and not uses_auto(service)


def _with_endpoints(endpoint_slice: Object, endpoints: list[Object]) -> Object:
    return {**endpoint_slice, "endpoints": endpoints or None}


def remove_hints(changes: SliceChanges) -> None:
    """Take all hints away."""

    def bare(endpoint_slice: Object) -> Object:
        found = endpoint_slices.endpoints_of(endpoint_slice)
        return _with_endpoints(endpoint_slice, [endpoint_slices.without_hints(e) for e in found])

    changes.create = [bare(endpoint_slice) for endpoint_slice in changes.create]
    changes.update = [bare(endpoint_slice) for endpoint_slice in changes.update]
    left: list[Object] = []
    for endpoint_slice in changes.unchanged:
        if any("hints" in e for e in endpoint_slices.endpoints_of(endpoint_slice)):
            changes.update.append(bare(endpoint_slice))
        else:
            left.append(endpoint_slice)
    changes.unchanged = left


def traffic_hints(service: Object, changes: SliceChanges) -> None:
    """Give every ready endpoint the hint of its own zone (and node)."""
    by_node = service["spec"].get("trafficDistribution") == "PreferSameNode"

    def hinted(endpoint: Object) -> Object:
        if not endpoint_slices.is_ready(endpoint):
            return endpoint
        hints: Object = {}
        if endpoint.get("zone") is not None:
            hints["forZones"] = [{"name": endpoint["zone"]}]
        if by_node and endpoint.get("nodeName") is not None:
            hints["forNodes"] = [{"name": endpoint["nodeName"]}]
        bare = endpoint_slices.without_hints(endpoint)
        return {**bare, "hints": hints} if hints else bare

    def with_hints(endpoint_slice: Object) -> Object:
        found = endpoint_slices.endpoints_of(endpoint_slice)
        return _with_endpoints(endpoint_slice, [hinted(endpoint) for endpoint in found])

    changes.create = [with_hints(endpoint_slice) for endpoint_slice in changes.create]
    changes.update = [with_hints(endpoint_slice) for endpoint_slice in changes.update]
    left: list[Object] = []
    for endpoint_slice in changes.unchanged:
        found = endpoint_slices.endpoints_of(endpoint_slice)
        if [hinted(endpoint) for endpoint in found] != found:
            changes.update.append(with_hints(endpoint_slice))
        else:
            left.append(endpoint_slice)
    changes.unchanged = left


@attrs.frozen(slots=True)
class _Allocation:
    minimum: int
    maximum: int
    desired: float


Event = tuple[str, str, str]


class TopologyCache:
    """What nodes have to give in each zone, and which Services have hints."""

    def __init__(self) -> None:
        self._ratios: dict[str, float] = {}
        self._endpoints: dict[str, dict[str, dict[str, int]]] = {}
        self._populated: set[str] = set()

    def set_nodes(self, nodes: Sequence[Object]) -> None:
        """Take over the nodes: zones share endpoints by the CPU of their ready nodes."""
        by_zone: dict[str, int] = {}
        self._ratios = {}
        for node in nodes:
            if any(label in meta.labels(node) for label in _EXCLUDED):
                continue
            if not meta.is_condition_true(node, "Ready"):
                continue
            text = fields.mapping(fields.status(node), "allocatable").get("cpu")
            milli = quantity.milli_value(text) if text else 0
            zone = meta.labels(node).get(ZONE, "")
            if not zone or milli == 0:
                return
            by_zone[zone] = by_zone.get(zone, 0) + milli
        total = sum(by_zone.values())
        if len(by_zone) >= 2:
            self._ratios = {zone: by_zone[zone] / total for zone in sorted(by_zone)}

    def overloaded_services(self) -> list[str]:
        """The keys of Services whose hints don't fit the nodes any more."""
        return [
            key
            for key, by_type in self._endpoints.items()
            if any(self._overloaded(zones) for zones in by_type.values())
        ]

    def _overloaded(self, zones: dict[str, int]) -> bool:
        if not zones:
            return False
        if not self._ratios:
            return True
        total = sum(zones.values())
        return any(
            zone not in zones
            or zones[zone] < math.ceil(total * ratio * (1 / (1 + OVERLOAD_THRESHOLD)))
            for zone, ratio in self._ratios.items()
        )

    def has_hints(self, key: str) -> bool:
        """Whether a Service has been given hints."""
        return key in self._populated

    def forget(self, key: str, address_type: str) -> None:
        """A Service has no hints for an address type any more."""
        by_type = self._endpoints.get(key)
        if by_type is not None:
            by_type.pop(address_type, None)
            if not by_type:
                del self._endpoints[key]
        self._populated.discard(key)

    def add_hints(self, changes: SliceChanges) -> list[Event]:
        """Give the ready endpoints hints, or take all hints away; gives events to record."""
        every = [*changes.create, *changes.update, *changes.unchanged]
        ready = sum(
            endpoint_slices.is_ready(endpoint)
            for endpoint_slice in every
            for endpoint in endpoint_slices.endpoints_of(endpoint_slice)
        )
        allocations = self._allocations(ready)
        if isinstance(allocations, str):
            return [self._give_up(changes, allocations)]
        counts = self._count_unchanged(changes, allocations)
        endpoints = [
            endpoint
            for endpoint_slice in (*changes.create, *changes.update)
            for endpoint in endpoint_slices.endpoints_of(endpoint_slice)
        ]
        zones: list[str] = []
        for endpoint in endpoints:
            if not endpoint_slices.is_ready(endpoint):
                zones.append("")
                continue
            zone = fields.text(endpoint, "zone")
            if not zone:
                return [
                    self._give_up(
                        changes, "One or more endpoints do not have a zone specified"
                    )
                ]
            counts[zone] = counts.get(zone, 0) + 1
            zones.append(zone)
        self._redistribute(endpoints, zones, counts, allocations)
        if not counts:
            return [self._give_up(changes, "No hints allocated for zones")]
        self._apply(changes, zones)
        enabled = changes.service_key in self._populated
        self._endpoints.setdefault(changes.service_key, {})[changes.address_type] = counts
        self._populated.add(changes.service_key)
        if enabled:
            return []
        message = f"Topology Aware Hints has been enabled, addressType: {changes.address_type}"
        return [("Normal", ENABLED_REASON, message)]

    def _give_up(self, changes: SliceChanges, why: str) -> Event:
        self.forget(changes.service_key, changes.address_type)
        remove_hints(changes)
        return ("Warning", DISABLED_REASON, f"{why}, addressType: {changes.address_type}")

    def _allocations(self, ready: int) -> dict[str, _Allocation] | str:
        count = len(self._ratios)
        if count == 0:
            return (
                "Insufficient Node information: allocatable CPU or zone not specified "
                "on one or more nodes"
            )
        about = f"({ready} endpoints, {count} zones)"
        if count > ready:
            return f"Insufficient number of endpoints {about}"
        minimums: dict[str, tuple[int, float]] = {}
        for zone, ratio in self._ratios.items():
            desired = ratio * ready
            minimum = math.ceil(desired * (1 / (1 + OVERLOAD_THRESHOLD)))
            minimums[zone] = (minimum, max(desired, float(minimum)))
        total = sum(minimum for minimum, _ in minimums.values())
        if total > ready:
            return (
                "Unable to allocate minimum required endpoints to each zone without exceeding "
                f"overload threshold {about}"
            )
        return {
            zone: _Allocation(minimum, minimum + ready - total, desired)
            for zone, (minimum, desired) in minimums.items()
        }

    @staticmethod
    def _count_unchanged(
        changes: SliceChanges, allocations: dict[str, _Allocation]
    ) -> dict[str, int]:
        counts: dict[str, int] = {}
        left: list[Object] = []
        for endpoint_slice in changes.unchanged:
            found = _hints_by_zone(endpoint_slice, counts, allocations)
            if found is None:
                changes.update.append(endpoint_slice)
                continue
            left.append(endpoint_slice)
            for zone, count in found.items():
                counts[zone] = counts.get(zone, 0) + count
        changes.unchanged = left
        return counts

    @staticmethod
    def _redistribute(
        endpoints: list[Object],
        zones: list[str],
        counts: dict[str, int],
        allocations: dict[str, _Allocation],
    ) -> None:
        """Hand endpoints of zones that have too many to zones that have too few."""
        giving, receiving = _givers_and_receivers(allocations, counts)
        for position, endpoint in enumerate(endpoints):
            zone = zones[position]
            if not endpoint_slices.is_ready(endpoint) or giving.get(zone, 0) <= 0:
                continue
            target = next((z for z in sorted(receiving) if receiving[z] > 0), None)
            if target is None:
                return
            zones[position] = target
            giving[zone] -= 1
            receiving[target] -= 1
            counts[zone] = counts.get(zone, 0) - 1
            counts[target] = counts.get(target, 0) + 1

    @staticmethod
    def _apply(changes: SliceChanges, zones: list[str]) -> None:
        remaining = iter(zones)

        def hinted(endpoint: Object) -> Object:
            zone = next(remaining)
            if not zone:
                return endpoint
            return {**endpoint, "hints": {"forZones": [{"name": zone}]}}

        def with_hints(endpoint_slice: Object) -> Object:
            found = endpoint_slices.endpoints_of(endpoint_slice)
            return _with_endpoints(endpoint_slice, [hinted(endpoint) for endpoint in found])

        changes.create = [with_hints(endpoint_slice) for endpoint_slice in changes.create]
        changes.update = [with_hints(endpoint_slice) for endpoint_slice in changes.update]


def _hints_by_zone(
    endpoint_slice: Object, counts: dict[str, int], allocations: dict[str, _Allocation]
) -> dict[str, int] | None:
    found: dict[str, int] = {}
    for endpoint in endpoint_slices.endpoints_of(endpoint_slice):
        if not endpoint_slices.is_ready(endpoint):
            continue
        hints = fields.objects(fields.mapping(endpoint, "hints"), "forZones")
        if not hints:
            return None
        for hint in hints:
            zone = hint["name"]
            if zone not in allocations:
                return None
            found[zone] = found.get(zone, 0) + 1
    for zone, count in found.items():
        if count + counts.get(zone, 0) > allocations[zone].maximum:
            return None
    return found


def _givers_and_receivers(
    allocations: dict[str, _Allocation], counts: dict[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    surplus: dict[str, float] = {}
    shortage: dict[str, float] = {}
    for zone, allocation in allocations.items():
        difference = counts.get(zone, 0) - allocation.desired
        if difference > 0:
            surplus[zone] = difference
        elif difference < 0:
            shortage[zone] = -difference
    giving: dict[str, int] = {}
    receiving: dict[str, int] = {}
    while surplus and shortage:
        giver = max(surplus, key=surplus.__getitem__)
        receiver = max(shortage, key=shortage.__getitem__)
        give, receive = surplus[giver], shortage[receiver]
        if give < 0.5 or receive < 0.5 or (give < 1.0 and receive < 1.0):
            break
        giving[giver] = giving.get(giver, 0) + 1
        surplus[giver] -= 1
        receiving[receiver] = receiving.get(receiver, 0) + 1
        shortage[receiver] -= 1
    return giving, receiving
