"""One sync of the EndpointSlices of one Service: what should be there, packed into slices.

The law is told in `controllers/endpointslice`.  Follows `endpointslice/{reconciler,utils}.go`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.apimachinery.meta import GroupVersionKind
from pytest_kubesim.client_go.resources import ENDPOINTSLICES
from pytest_kubesim.controller_manager import (
    endpoint_slices,
    fields,
    pods,
    semantic,
    service_pods,
    topology_cache,
)
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    SyncError,
    is_namespace_terminating,
)
from pytest_kubesim.controller_manager.controller_ref_manager import aggregate
from pytest_kubesim.controller_manager.topology_cache import SliceChanges

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.controller_manager.controllers.endpointslice import EndpointSliceController
    from pytest_kubesim.controller_manager.endpoint_slices import EndpointKey, PortsKey


CONTROLLER_NAME = "endpointslice-controller.k8s.io"
SERVICE_KIND = GroupVersionKind("", "v1", "Service")
_RESERVED = (endpoint_slices.SERVICE_NAME, endpoint_slices.MANAGED_BY, service_pods.HEADLESS)


class EndpointSliceSync:
    """One sync of the slices of one Service."""

    def __init__(
        self, controller: EndpointSliceController, service: Object, key: str, changed: str
    ) -> None:
        self.controller = controller
        self.client = controller.client
        self.service = service
        self.spec: Object = service["spec"]
        self.namespace = meta.namespace(service)
        self.key = key
        self.changed = changed
        self.errors: list[Exception] = []

    async def run(self, selected: list[Object], existing: list[Object]) -> None:
        """Reconcile each address type, then delete slices of other types (`Reconcile`)."""
        types = _address_types(self.service)
        for address_type in types:
            await self.reconcile(
                selected, [s for s in existing if s["addressType"] == address_type], address_type
            )
        for endpoint_slice in existing:
            if endpoint_slice["addressType"] in types:
                continue
            self.controller.topology.forget(self.key, endpoint_slice["addressType"])
            try:
                await self.delete(endpoint_slice)
            except RETRIABLE as error:
                self.errors.append(
                    SyncError(
                        f"error deleting {meta.name(endpoint_slice)} EndpointSlice for Service "
                        f"{self.key}: {error}"
                    )
                )
        if self.errors:
            raise aggregate(self.errors)

    async def reconcile(
        self, selected: list[Object], existing: list[Object], address_type: str
    ) -> None:
        """The slices of one address type (`reconcileByAddressType`)."""
        changes = SliceChanges(self.key, address_type, [], [], [])
        deleted: list[Object] = []
        by_ports: dict[PortsKey, list[Object]] = {}
        for endpoint_slice in existing:
            if self.owns(endpoint_slice):
                ports = endpoint_slices.ports_key(endpoint_slice.get("ports"))
                by_ports.setdefault(ports, []).append(endpoint_slice)
            else:
                deleted.append(endpoint_slice)
        wanted, ports_of = self.wanted_endpoints(selected, address_type)
        for ports, endpoints in wanted.items():
            new = self.new_slice(ports_of[ports], address_type)
            deleted += _Packing(self, by_ports.get(ports, []), endpoints, new).run(changes)
        for ports, several in by_ports.items():
            if ports not in wanted:
                deleted += several
        if len(existing) == len(deleted) and not changes.create:
            placeholder = self.new_slice([], address_type)
            if len(deleted) == 1 and self.is_placeholder(deleted[0], placeholder):
                deleted = []
            else:
                changes.create.append(placeholder)
        gone = {meta.name(s) for s in (*changes.update, *deleted)}
        changes.unchanged = [s for s in existing if meta.name(s) not in gone]
        events = self.add_hints(changes)
        try:
            await self.finalize(changes, deleted)
        except RETRIABLE as error:
            self.errors.append(error)
        for event in events:
            self.controller.event(self.service, *event)

    def owns(self, endpoint_slice: Object) -> bool:
        """Whether the slice is of this Service, not of one of the same name before."""
        uid = meta.uid(self.service)
        return any(
            (reference["uid"], reference["kind"], reference["apiVersion"])
            == (uid, "Service", "v1")
            for reference in meta.owner_references(endpoint_slice)
        )

    def add_hints(self, changes: SliceChanges) -> list[topology_cache.Event]:
        """Hints as the Service asks for them; gives events to record."""
        topology = self.controller.topology
        if topology_cache.uses_auto(self.service):
            return topology.add_hints(changes)
        events: list[topology_cache.Event] = []
        if topology.has_hints(self.key):
            message = (
                f"Topology Aware Hints has been disabled, addressType: {changes.address_type}"
            )
            events.append(("Warning", topology_cache.DISABLED_REASON, message))
        topology.forget(self.key, changes.address_type)
        if topology_cache.uses_distribution(self.service):
            topology_cache.traffic_hints(self.service, changes)
        else:
            topology_cache.remove_hints(changes)
        return events

    # -- what should be there -----------------------------------------------------------------

    def wanted_endpoints(
        self, selected: list[Object], address_type: str
    ) -> tuple[dict[PortsKey, dict[EndpointKey, Object]], dict[PortsKey, list[Object]]]:
        """The endpoints by their ports, and the ports."""
        wanted: dict[PortsKey, dict[EndpointKey, Object]] = {}
        ports_of: dict[PortsKey, list[Object]] = {}
        nodes, worked = self.controller.nodes, self.controller.worked[address_type]
        placed = [(pod, nodes.get(fields.text(pod["spec"], "nodeName"))) for pod in selected]
        for pod, shown in zip(selected, worked.out(self.key, self.service, placed), strict=True):
            if shown is None:
                continue
            ports_of.setdefault(shown.ports_key, shown.ports)
            endpoints = wanted.setdefault(shown.ports_key, {})
            if shown.endpoint is None:
                self.errors.append(
                    SyncError(
                        f"skipping Pod {meta.name(pod)} for Service {self.key}: "
                        f"Node {fields.text(pod['spec'], 'nodeName')} Not Found"
                    )
                )
            elif shown.endpoint["addresses"]:
                endpoints[shown.key] = shown.endpoint
        return wanted, ports_of

    def labels_for(self, endpoint_slice: Object | None) -> tuple[dict[str, str], bool]:
        """The labels of a slice, and whether it has others (`setEndpointSliceLabels`)."""
        wanted = {k: v for k, v in meta.labels(self.service).items() if k not in _RESERVED}
        changed = False
        if endpoint_slice is not None:
            found = meta.labels(endpoint_slice)
            changed = wanted != {k: v for k, v in found.items() if k not in _RESERVED}
        if not service_pods.has_cluster_ip(self.service):
            wanted[service_pods.HEADLESS] = ""
        wanted[endpoint_slices.SERVICE_NAME] = meta.name(self.service)
        wanted[endpoint_slices.MANAGED_BY] = CONTROLLER_NAME
        return wanted, changed

    def new_slice(self, ports: list[Object], address_type: str) -> Object:
        """An empty slice."""
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": endpoint_slices.prefix_of(meta.name(self.service)),
                "namespace": self.namespace,
                "labels": self.labels_for(None)[0],
                "ownerReferences": [meta.new_controller_ref(self.service, SERVICE_KIND)],
            },
            "addressType": address_type,
            "endpoints": None,
            "ports": ports or None,
        }

    @staticmethod
    def is_placeholder(endpoint_slice: Object, placeholder: Object) -> bool:
        """Whether a slice is as empty as the one that would be made."""
        return (
            meta.labels(endpoint_slice) == meta.labels(placeholder)
            and semantic.equal(endpoint_slice.get("ports"), placeholder.get("ports"))
            and not endpoint_slices.endpoints_of(endpoint_slice)
        )

    # -- writing ------------------------------------------------------------------------------

    async def finalize(self, changes: SliceChanges, deleted: list[Object]) -> None:
        """Write it all; slices to delete are used for slices to create."""
        left: list[Object] = []
        for endpoint_slice in deleted:
            if (
                changes.create
                and endpoint_slice["addressType"] == changes.create[-1]["addressType"]
                and self.owns(endpoint_slice)
            ):
                new = changes.create.pop()
                changes.update.append(meta.with_metadata(new, name=meta.name(endpoint_slice)))
            else:
                left.append(endpoint_slice)
        tracker = self.controller.tracker
        if not meta.deletion_timestamp(self.service):
            for endpoint_slice in changes.create:
                try:
                    created = await self.client.create(
                        ENDPOINTSLICES, self.namespace, self.stamped(endpoint_slice)
                    )
                except RETRIABLE as error:
                    if is_namespace_terminating(error):
                        return
                    raise SyncError(
                        f"failed to create EndpointSlice for Service {self.key}: {error}"
                    ) from error
                tracker.update(created)
        for endpoint_slice in changes.update:
            try:
                updated = await self.client.update(
                    ENDPOINTSLICES, self.namespace, self.stamped(endpoint_slice)
                )
            except RETRIABLE as error:
                name = meta.name(endpoint_slice)
                raise SyncError(
                    f"failed to update {name} EndpointSlice for Service {self.key}: {error}"
                ) from error
            tracker.update(updated)
        for endpoint_slice in left:
            try:
                await self.delete(endpoint_slice)
            except RETRIABLE as error:
                name = meta.name(endpoint_slice)
                raise SyncError(
                    f"failed to delete {name} EndpointSlice for Service {self.key}: {error}"
                ) from error

    async def delete(self, endpoint_slice: Object) -> None:
        """Delete a slice."""
        await self.client.delete(ENDPOINTSLICES, self.namespace, meta.name(endpoint_slice))
        self.controller.tracker.expect_deletion(endpoint_slice)

    def stamped(self, endpoint_slice: Object) -> Object:
        """The slice with the time of the change that caused it."""
        annotations = dict(meta.annotations(endpoint_slice))
        annotations.pop(service_pods.TRIGGER_TIME, None)
        if self.changed:
            annotations[service_pods.TRIGGER_TIME] = self.changed
        return meta.with_metadata(endpoint_slice, annotations=annotations or None)


class _Packing:
    """The endpoints of one set of ports, packed into slices (`reconcileByPortMapping`)."""

    def __init__(
        self,
        sync: EndpointSliceSync,
        existing: list[Object],
        wanted: dict[EndpointKey, Object],
        new: Object,
    ) -> None:
        self.sync = sync
        self.limit = sync.controller.max_per_slice
        self.existing = existing
        self.wanted = wanted
        self.new = new
        self.by_name = {meta.name(s): s for s in existing}
        self.unchanged: dict[str, None] = {}
        self.updated: dict[str, None] = {}

    def run(self, changes: SliceChanges) -> list[Object]:
        """Say what to create and update; gives what to delete."""
        deleted = self.look_at_existing()
        largest_first = sorted(
            self.updated, key=lambda n: -len(endpoint_slices.endpoints_of(self.by_name[n]))
        )
        for name in largest_first:
            self.by_name[name] = self.filled(self.by_name[name])
        created: list[Object] = []
        while self.wanted:
            name = self.slice_to_fill() if len(self.wanted) < self.limit else None
            if name is None:
                created.append(self.filled(self.new))
            else:
                self.by_name[name] = self.filled(self.by_name[name])
                self.updated[name] = None
                del self.unchanged[name]
        changes.create += created
        changes.update += [self.by_name[name] for name in self.updated]
        return deleted

    def look_at_existing(self) -> list[Object]:
        """Keep in each slice what is still wanted; gives slices of which nothing is left."""
        deleted: list[Object] = []
        for endpoint_slice in self.existing:
            name = meta.name(endpoint_slice)
            old = endpoint_slices.endpoints_of(endpoint_slice)
            kept: list[Object] = []
            changed = False
            for endpoint in old:
                found = self.wanted.pop(endpoint_slices.endpoint_key(endpoint), None)
                if found is not None:
                    kept.append(found)
                    changed = changed or not endpoint_slices.equal_beyond_key(found, endpoint)
            wanted_labels, relabelled = self.sync.labels_for(endpoint_slice)
            if changed or len(old) != len(kept):
                if not kept:
                    deleted.append(endpoint_slice)
                    continue
                labelled = meta.with_metadata(endpoint_slice, labels=wanted_labels)
                self.by_name[name] = {**labelled, "endpoints": kept}
                self.updated[name] = None
            elif relabelled:
                self.by_name[name] = meta.with_metadata(endpoint_slice, labels=wanted_labels)
                self.updated[name] = None
            else:
                self.unchanged[name] = None
        return deleted

    def filled(self, endpoint_slice: Object) -> Object:
        """A slice with as many of the wanted endpoints as it can take."""
        endpoints = list(endpoint_slices.endpoints_of(endpoint_slice))
        while self.wanted and len(endpoints) < self.limit:
            endpoints.append(self.wanted.pop(next(iter(self.wanted))))
        return {**endpoint_slice, "endpoints": endpoints or None}

    def slice_to_fill(self) -> str | None:
        """The unchanged slice that would be filled best (`getSliceToFill`)."""
        best: str | None = None
        least = self.limit
        for name in self.unchanged:
            size = len(endpoint_slices.endpoints_of(self.by_name[name]))
            room = self.limit - (len(self.wanted) + size)
            if 0 <= room < least:
                best, least = name, room
        return best


@attrs.frozen(slots=True)
class Shown:
    """How slices show a pod."""

    ports_key: PortsKey
    ports: list[Object]
    key: EndpointKey = ()
    endpoint: Object | None = None
    """None where its Node is not known."""


def _shown(
    address_type: str, service: Object, pod: Object, node: Object | None
) -> Shown | None:
    """How slices of one address type show a pod; None: not at all."""
    if not service_pods.should_be_in_endpoints(pod, terminating=True):
        return None
    ports = _ports_of(service, pod)
    ports_key = endpoint_slices.ports_key(ports)
    if node is None and not service["spec"].get("publishNotReadyAddresses"):
        return Shown(ports_key, ports)
    endpoint = _endpoint_of(service, pod, node, address_type)
    return Shown(ports_key, ports, endpoint_slices.endpoint_key(endpoint), endpoint)


ADDRESS_TYPES = {
    address_type: partial(_shown, address_type) for address_type in ("IPv4", "IPv6")
}
"""How slices of each type show a pod."""


def _ports_of(service: Object, pod: Object) -> list[Object]:
    """The Service's ports as this pod has them."""
    found: list[Object] = []
    for port in fields.objects(service["spec"], "ports"):
        number = service_pods.find_port(pod, port)
        if number is None:
            continue
        entry: Object = {
            "name": fields.text(port, "name"),
            "port": number,
            "protocol": port.get("protocol", "TCP"),
        }
        if port.get("appProtocol") is not None:
            entry["appProtocol"] = port["appProtocol"]
        found.append(entry)
    return endpoint_slices.sorted_ports(found)


def _endpoint_of(
    service: Object, pod: Object, node: Object | None, address_type: str
) -> Object:
    """The endpoint of a pod (`podToEndpoint`)."""
    serving = pods.is_ready(pod)
    terminating = meta.deletion_timestamp(pod) is not None
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    endpoint: Object = {
        "addresses": [
            service_pods.canonical_ip(ip)
            for ip in service_pods.pod_ips(pod)
            if service_pods.is_ipv6(ip) == (address_type == "IPv6")
        ],
        "conditions": {
            "ready": publish or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": {
            "kind": "Pod",
            "namespace": meta.namespace(pod),
            "name": meta.name(pod),
            "uid": meta.uid(pod),
        },
    }
    if node_name := fields.text(pod["spec"], "nodeName"):
        endpoint["nodeName"] = node_name
    if node is not None and (zone := meta.labels(node).get(topology_cache.ZONE)):
        endpoint["zone"] = zone
    if service_pods.should_set_hostname(pod, service):
        endpoint["hostname"] = pod["spec"]["hostname"]
    return endpoint


def _address_types(service: Object) -> list[str]:
    spec = service["spec"]
    families: Iterable[str] = spec.get("ipFamilies") or ()
    types = [family for family in families if family in {"IPv4", "IPv6"}]
    if types:
        return types
    if service_pods.has_cluster_ip(service):
        return ["IPv6" if service_pods.is_ipv6(spec["clusterIP"]) else "IPv4"]
    return ["IPv4", "IPv6"]
