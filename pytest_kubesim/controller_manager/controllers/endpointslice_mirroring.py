"""The endpointslice-mirroring controller: EndpointSlices for Endpoints that were written by hand.

Follows `pkg/controller/endpointslicemirroring/{endpointslicemirroring_controller,reconciler}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.apimachinery.meta import GroupVersionKind
from pytest_kubesim.client_go.resources import ENDPOINTS, ENDPOINTSLICES, SERVICES
from pytest_kubesim.controller_manager import (
    endpoint_slices,
    endpoint_subsets,
    fields,
    service_pods,
)
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    Controller,
    Result,
    SyncError,
    is_namespace_terminating,
)
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.controller_manager.endpoint_slices import EndpointKey, PortsKey

CONTROLLER_NAME = "endpointslicemirroring-controller.k8s.io"
ENDPOINTS_KIND = GroupVersionKind("", "v1", "Endpoints")
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

_Key = tuple[str, "PortsKey"]


def _should_mirror(endpoints: Object) -> bool:
    return meta.labels(endpoints).get(SKIP_MIRROR) != "true" and LEADER not in meta.annotations(
        endpoints
    )


class EndpointSliceMirroringController(Controller):
    """Mirrors Endpoints of Services without a selector."""

    name = "endpointslice-mirroring-controller"
    service_account = "endpointslicemirroring-controller"
    component = "endpoint-slice-mirroring-controller"
    workers: ClassVar[int] = 5
    workers_flag = "mirroring-concurrent-service-endpoint-syncs"
    max_retries = 15
    base_delay_ns = 5 * NS
    max_delay_ns = 100 * NS

    def setup(self) -> None:
        """Listen to Endpoints, slices and Services."""
        setting = self.context.setting
        self.limit: int = setting("mirroring-max-endpoints-per-subset", 1000)
        self.batch_ns: int = setting("mirroring-endpointslice-updates-batch-period", 0)
        self.tracker = endpoint_slices.Tracker()
        self.endpoints = self.watch(
            ENDPOINTS, add=self._add, update=self._update, delete=self._add
        )
        self.slices = self.watch(
            ENDPOINTSLICES,
            add=self._add_slice,
            update=self._update_slice,
            delete=self._delete_slice,
        )
        endpoint_slices.add_index(self.slices)
        self.services = self.watch(
            SERVICES, add=self._add_service, update=self._update_service, delete=self._add_service
        )

    # -- handlers -----------------------------------------------------------------------------

    def _add(self, endpoints: Object) -> None:
        if _should_mirror(endpoints):
            self.enqueue(endpoints)

    def _update(self, old: Object, new: Object) -> None:
        if _should_mirror(old) or _should_mirror(new):
            self.enqueue(new)

    def _add_service(self, service: Object) -> None:
        if service["spec"].get("selector") is None:
            self.enqueue(service)

    def _update_service(self, old: Object, new: Object) -> None:
        if (old["spec"].get("selector") is None) != (new["spec"].get("selector") is None):
            self.enqueue(new)

    def _enqueue_slice(self, endpoint_slice: Object) -> None:
        if meta.labels(endpoint_slice).get(endpoint_slices.SERVICE_NAME):
            self.queue.add_after(endpoint_slices.service_key(endpoint_slice), self.batch_ns)

    @staticmethod
    def _is_ours(endpoint_slice: Object) -> bool:
        return endpoint_slices.managed_by(endpoint_slice) == CONTROLLER_NAME

    def _add_slice(self, endpoint_slice: Object) -> None:
        if self._is_ours(endpoint_slice) and self.tracker.should_sync(endpoint_slice):
            self._enqueue_slice(endpoint_slice)

    def _update_slice(self, old: Object, new: Object) -> None:
        if endpoint_slices.service_key(old) != endpoint_slices.service_key(new):
            self._enqueue_slice(new)
            self._enqueue_slice(old)
        elif self._is_ours(old) != self._is_ours(new) or (
            self._is_ours(new) and self.tracker.should_sync(new)
        ):
            self._enqueue_slice(new)

    def _delete_slice(self, endpoint_slice: Object) -> None:
        if (
            self._is_ours(endpoint_slice)
            and self.tracker.has(endpoint_slice)
            and not self.tracker.handle_deletion(endpoint_slice)
        ):
            self._enqueue_slice(endpoint_slice)

    # -- the sync -----------------------------------------------------------------------------

    async def reconcile(self, key: str) -> Result | None:
        """Sync the slices of one Endpoints (`syncEndpoints`)."""
        endpoints, service = self.endpoints.get(key), self.services.get(key)
        existing = endpoint_slices.of_service(self.slices, key, CONTROLLER_NAME)
        if (
            endpoints is None
            or not _should_mirror(endpoints)
            or service is None
            or service["spec"].get("selector") is not None
        ):
            self.tracker.forget(key)
            await self._delete_all(key, existing)
            return None
        if self.tracker.is_stale(key, existing):
            raise SyncError("EndpointSlice informer cache is out of date")
        wanted, ports_of = self._wanted(endpoints)
        by_key: dict[_Key, list[Object]] = {}
        for endpoint_slice in existing:
            ports = endpoint_slices.ports_key(endpoint_slice.get("ports"))
            by_key.setdefault((endpoint_slice["addressType"], ports), []).append(endpoint_slice)
        created: list[Object] = []
        updated: list[Object] = []
        deleted: list[Object] = []
        for slice_key, found in wanted.items():
            several = by_key.get(slice_key, [])
            if not found:
                deleted += several
                continue
            deleted += several[1:]
            current = several[0] if several else None
            if current is not None and self._is_current(endpoints, current, found):
                if not self.tracker.has(current):
                    self.tracker.update(current)
                continue
            new = self._new_slice(endpoints, slice_key[0], ports_of[slice_key], current, found)
            (created if current is None else updated).append(new)
        for slice_key, several in by_key.items():
            if slice_key not in wanted:
                deleted += several
        await self._finalize(endpoints, created, updated, deleted)
        return None

    async def _delete_all(self, key: str, existing: list[Object]) -> None:
        errors: list[Exception] = []
        for endpoint_slice in existing:
            try:
                await self.client.delete(
                    ENDPOINTSLICES, meta.namespace(endpoint_slice), meta.name(endpoint_slice)
                )
            except RETRIABLE as error:
                errors.append(error)
        if errors:
            raise SyncError(
                f"error(s) deleting {len(errors)}/{len(existing)} EndpointSlices for {key} "
                f"Endpoints, including: {errors[0]}"
            )

    def _wanted(
        self, endpoints: Object
    ) -> tuple[dict[_Key, dict[EndpointKey, Object]], dict[_Key, list[Object]]]:
        """The endpoints by address type and ports; complaints become events."""
        wanted: dict[_Key, dict[EndpointKey, Object]] = {}
        ports_of: dict[_Key, list[Object]] = {}
        invalid = skipped = 0
        for subset in endpoint_subsets.repack(fields.objects(endpoints, "subsets")):
            ports = endpoint_slices.sorted_ports(
                [_slice_port(port) for port in fields.objects(subset, "ports")]
            )
            key = endpoint_slices.ports_key(ports)
            for address_type in ("IPv4", "IPv6"):
                wanted.setdefault((address_type, key), {})
                ports_of[address_type, key] = ports
            total = added = 0
            for field, ready in (("addresses", True), ("notReadyAddresses", False)):
                for address in fields.objects(subset, field):
                    total += 1
                    if added >= self.limit:
                        continue
                    ip = service_pods.canonical_ip(address["ip"])
                    if not ip:
                        invalid += 1
                        continue
                    endpoint = _endpoint(address, ip, ready=ready)
                    address_type = "IPv6" if service_pods.is_ipv6(ip) else "IPv4"
                    wanted[address_type, key][endpoint_slices.endpoint_key(endpoint)] = endpoint
                    added += 1
            skipped += total - added
        if invalid:
            message = f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
            self.event(endpoints, "Warning", "InvalidIPAddress", message)
        if skipped > invalid:
            message = (
                f"A max of {self.limit} addresses can be mirrored to EndpointSlices per Endpoints "
                f"subset. {skipped} addresses were skipped"
            )
            self.event(endpoints, "Warning", "TooManyAddressesToMirror", message)
        return wanted, ports_of

    @staticmethod
    def _is_current(
        endpoints: Object, endpoint_slice: Object, wanted: dict[EndpointKey, Object]
    ) -> bool:
        old = endpoint_slices.endpoints_of(endpoint_slice)
        if len(old) != len(wanted):
            return False
        for endpoint in old:
            found = wanted.get(endpoint_slices.endpoint_key(endpoint))
            if found is None or not endpoint_slices.equal_beyond_key(found, endpoint):
                return False
        labels = dict(meta.labels(endpoint_slice))
        labels.pop(endpoint_slices.MANAGED_BY, None)
        labels.pop(endpoint_slices.SERVICE_NAME, None)
        return (
            labels == meta.labels(endpoints)
            and _annotations(endpoints) == meta.annotations(endpoint_slice)
            and not any(
                reference["kind"] == "Endpoints"
                and reference["name"] == meta.name(endpoints)
                and reference["uid"] != meta.uid(endpoints)
                for reference in meta.owner_references(endpoint_slice)
            )
        )

    def _new_slice(
        self,
        endpoints: Object,
        address_type: str,
        ports: list[Object],
        current: Object | None,
        wanted: dict[EndpointKey, Object],
    ) -> Object:
        metadata: Object = {
            "namespace": meta.namespace(endpoints),
            "labels": {
                **meta.labels(endpoints),
                endpoint_slices.SERVICE_NAME: meta.name(endpoints),
                endpoint_slices.MANAGED_BY: CONTROLLER_NAME,
            },
            "annotations": _annotations(endpoints),
            "ownerReferences": [meta.new_controller_ref(endpoints, ENDPOINTS_KIND)],
        }
        if current is None:
            metadata["generateName"] = endpoint_slices.prefix_of(meta.name(endpoints))
        else:
            metadata["name"] = meta.name(current)
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata,
            "addressType": address_type,
            "endpoints": list(wanted.values())[: self.limit],
            "ports": ports or None,
        }

    async def _finalize(
        self,
        endpoints: Object,
        created: list[Object],
        updated: list[Object],
        deleted: list[Object],
    ) -> None:
        namespace = meta.namespace(endpoints)
        about = f"for Endpoints {namespace}/{meta.name(endpoints)}"
        made: list[Object] = []
        for new in created:
            # A slice to delete is used for one to create.
            reused = next((s for s in deleted if s["addressType"] == new["addressType"]), None)
            if reused is None:
                made.append(new)
            else:
                deleted.remove(reused)
                updated.append(meta.with_metadata(new, name=meta.name(reused)))
        if not meta.deletion_timestamp(endpoints):
            for new in made:
                try:
                    self.tracker.update(await self.client.create(ENDPOINTSLICES, namespace, new))
                except RETRIABLE as error:
                    if is_namespace_terminating(error):
                        return
                    raise SyncError(f"failed to create EndpointSlice {about}: {error}") from error
        for new in updated:
            try:
                self.tracker.update(await self.client.update(ENDPOINTSLICES, namespace, new))
            except RETRIABLE as error:
                name = meta.name(new)
                raise SyncError(
                    f"failed to update {name} EndpointSlice {about}: {error}"
                ) from error
        for old in deleted:
            try:
                await self.client.delete(ENDPOINTSLICES, namespace, meta.name(old))
            except RETRIABLE as error:
                name = meta.name(old)
                raise SyncError(
                    f"failed to delete {name} EndpointSlice {about}: {error}"
                ) from error
            self.tracker.expect_deletion(old)


def _annotations(endpoints: Object) -> dict[str, str]:
    return {
        key: value
        for key, value in meta.annotations(endpoints).items()
        if key not in {service_pods.TRIGGER_TIME, LAST_APPLIED}
    }


def _slice_port(port: Object) -> Object:
    result: Object = {
        "name": fields.text(port, "name"),
        "port": port["port"],
        "protocol": port.get("protocol", "TCP"),
    }
    if port.get("appProtocol") is not None:
        result["appProtocol"] = port["appProtocol"]
    return result


def _endpoint(address: Object, ip: str, *, ready: bool) -> Object:
    endpoint: Object = {"addresses": [ip], "conditions": {"ready": ready}}
    for key in ("targetRef", "nodeName", "hostname"):
        if address.get(key):
            endpoint[key] = address[key]
    return endpoint


CONTROLLER = EndpointSliceMirroringController
