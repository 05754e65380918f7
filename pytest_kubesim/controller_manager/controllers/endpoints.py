"""The endpoints controller: for every Service with a selector its Endpoints.

Follows `pkg/controller/endpoint/endpoints_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.client_go.resources import ENDPOINTS, PODS, SERVICES
from pytest_kubesim.controller_manager import (
    endpoint_subsets,
    fields,
    pods,
    semantic,
    service_pods,
)
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    Controller,
    Result,
    SyncError,
    is_namespace_terminating,
)

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
CONTROLLER_NAME = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
LEADER = "control-plane.alpha.kubernetes.io/leader"


class EndpointsController(Controller):
    """Writes Endpoints."""

    name = "endpoints-controller"
    service_account = "endpoint-controller"
    component = CONTROLLER_NAME
    workers: ClassVar[int] = 5
    workers_flag = "concurrent-endpoint-syncs"
    max_retries = 15

    def setup(self) -> None:
        """Listen to Services, pods and the end of Endpoints."""
        self.batch_ns: int = self.context.setting("endpoint-updates-batch-period", 0)
        self.trigger_times = service_pods.TriggerTimeTracker()
        self.stale: dict[str, str] = {}
        """Versions of Endpoints that this process has overwritten."""
        self.services = self.watch(
            SERVICES, add=self.enqueue, update=self.enqueue_new, delete=self.enqueue
        )
        self.pods = self.watch(
            PODS, add=self._add_pod, update=self._update_pod, delete=self._delete_pod
        )
        service_pods.add_selector_index(self.services)
        pods.add_label_index(self.pods)
        self.worked = service_pods.Worked(_subsets)
        self.endpoints = self.watch(ENDPOINTS, delete=self.enqueue)

    def _add_pod(self, pod: Object) -> None:
        self._update_pod(None, pod)

    def _delete_pod(self, pod: Object) -> None:
        self._update_pod(pod, None)

    def _update_pod(self, old: Object | None, new: Object | None) -> None:
        for key in service_pods.services_to_update(self.services, old, new):
            self.queue.add_after(key, self.batch_ns)

    async def run(self) -> None:
        """Look once at all Endpoints, in case their Service has gone while nobody looked."""
        for endpoints in self.endpoints.list():
            if LEADER not in meta.annotations(endpoints):
                self.enqueue(endpoints)

    async def reconcile(self, key: str) -> Result | None:
        """Sync the Endpoints of one Service (`syncService`)."""
        service = self.services.get(key)
        if service is None:
            await self._delete(key)
            return None
        spec = service["spec"]
        if spec.get("type") == "ExternalName" or spec.get("selector") is None:
            return None
        namespace = meta.namespace(service)
        selected = pods.labelled(self.pods, namespace, spec["selector"])
        changed = self.trigger_times.compute(service, selected)
        found = self.worked.out(key, service, ((pod, None) for pod in selected))
        subsets = endpoint_subsets.repack([subset for part in found for subset in part])
        current = self.endpoints.get(key)
        if current is not None:
            version = meta.resource_version(current)
            if self.stale.get(key) == version:
                raise SyncError(
                    f"endpoints informer cache is out of date, resource version {version} "
                    f"already processed for endpoints {key}"
                )
            if self._is_current(current, service, subsets):
                return None
        await self._write(key, service, current, subsets, changed)
        return None

    async def _delete(self, key: str) -> None:
        namespace, name = meta.split_key(key)
        try:
            await self.client.delete(ENDPOINTS, namespace, name)
        except status.APIStatus as error:
            if not status.is_not_found(error):
                raise
        self.trigger_times.forget(key)
        self.worked.forget(key)
        self.stale.pop(key, None)

    # -- what should be there -----------------------------------------------------------------

    @staticmethod
    def _is_current(current: Object, service: Object, subsets: list[Object]) -> bool:
        old = fields.objects(current, "subsets")
        if not semantic.equal(old, subsets) and not semantic.equal(
            endpoint_subsets.repack(old), subsets
        ):
            return False
        found = dict(meta.labels(current))
        if found.pop(MANAGED_BY, None) != CONTROLLER_NAME:
            return False
        found.pop(service_pods.HEADLESS, None)
        if found != meta.labels(service):
            return False
        number = sum(
            endpoint_subsets.count(old, field) for field in ("addresses", "notReadyAddresses")
        )
        return (
            number <= endpoint_subsets.MAX_ADDRESSES
            and OVER_CAPACITY not in meta.annotations(current)
        )

    async def _write(
        self,
        key: str,
        service: Object,
        current: Object | None,
        subsets: list[Object],
        changed: str,
    ) -> None:
        namespace, name = meta.namespace(service), meta.name(service)
        annotations = dict(meta.annotations(current)) if current is not None else {}
        annotations.pop(service_pods.TRIGGER_TIME, None)
        if changed:
            annotations[service_pods.TRIGGER_TIME] = changed
        cut = endpoint_subsets.truncate(subsets)
        annotations.pop(OVER_CAPACITY, None)
        if cut is not None:
            annotations[OVER_CAPACITY] = "truncated"
        wanted = {**meta.labels(service), MANAGED_BY: CONTROLLER_NAME}
        wanted.pop(service_pods.HEADLESS, None)
        if not service_pods.has_cluster_ip(service):
            wanted[service_pods.HEADLESS] = ""
        base: Object = current or {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": name, "namespace": namespace},
        }
        new = meta.with_metadata(base, labels=wanted, annotations=annotations)
        new["subsets"] = subsets if cut is None else cut
        if not new["subsets"]:
            del new["subsets"]
        try:
            if current is None:
                await self.client.create(ENDPOINTS, namespace, new)
                return
            updated = await self.client.update(ENDPOINTS, namespace, new)
        except RETRIABLE as error:
            if current is None and is_namespace_terminating(error):
                return
            if current is None:
                message = f"Failed to create endpoint for service {key}: {error}"
                self.event(new, "Warning", "FailedToCreateEndpoint", message)
            else:
                message = f"Failed to update endpoint {key}: {error}"
                self.event(new, "Warning", "FailedToUpdateEndpoint", message)
            raise
        if meta.resource_version(updated) != meta.resource_version(current):
            self.stale[key] = meta.resource_version(current)


def _subsets(service: Object, pod: Object, _node: Object | None) -> list[Object]:
    spec = service["spec"]
    publish_all = bool(spec.get("publishNotReadyAddresses"))
    if not service_pods.should_be_in_endpoints(pod, terminating=publish_all):
        return []
    address = _address(service, pod)
    if address is None:
        return []
    field = "addresses" if publish_all or pods.is_ready(pod) else "notReadyAddresses"
    ports = fields.objects(spec, "ports")
    if not ports:
        headless = spec.get("clusterIP") == service_pods.NO_CLUSTER_IP
        return [{field: [address]}] if headless else []
    found: list[Object] = []
    for port in ports:
        number = service_pods.find_port(pod, port)
        if number is not None:
            entry = {
                key: port[key] for key in ("name", "protocol", "appProtocol") if key in port
            }
            found.append({field: [address], "ports": [{**entry, "port": number}]})
    return found


def _address(service: Object, pod: Object) -> Object | None:
    spec = service["spec"]
    families = fields.texts(spec, "ipFamilies")
    cluster_ip = fields.text(spec, "clusterIP")
    if families:
        wants_ipv6 = families[0] == "IPv6"
    elif service_pods.has_cluster_ip(service):
        wants_ipv6 = service_pods.is_ipv6(cluster_ip)
    else:
        wants_ipv6 = service_pods.is_ipv6(fields.text(fields.status(pod), "podIP"))
    for address in service_pods.pod_ips(pod):
        if service_pods.is_ipv6(address) == wants_ipv6:
            result: Object = {"ip": service_pods.canonical_ip(address)}
            if service_pods.should_set_hostname(pod, service):
                result["hostname"] = pod["spec"]["hostname"]
            result["nodeName"] = fields.text(pod["spec"], "nodeName")
            result["targetRef"] = {
                "kind": "Pod",
                "namespace": meta.namespace(pod),
                "name": meta.name(pod),
                "uid": meta.uid(pod),
            }
            return result
    return None


CONTROLLER = EndpointsController
