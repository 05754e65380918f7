"""The endpointslice controller: for every Service with a selector its EndpointSlices.

The law: slices are changed as little as can be, filled to at most 100 endpoints; there is always at
least one.  Pods that are terminating stay in until they are gone, with conditions that say so.

Follows `pkg/controller/endpointslice/endpointslice_controller.go` and
`endpointslice/{reconciler,utils}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.client_go.resources import ENDPOINTSLICES, NODES, PODS, SERVICES
from pytest_kubesim.controller_manager import (
    endpoint_slice_sync,
    endpoint_slices,
    pods,
    service_pods,
    topology_cache,
)
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    Controller,
    Result,
    SyncError,
)
from pytest_kubesim.controller_manager.endpoint_slice_sync import CONTROLLER_NAME, EndpointSliceSync
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:

    from pytest_kubesim.apimachinery.meta import Object

MIN_SYNC_DELAY_NS = NS



class EndpointSliceController(Controller):
    """Writes EndpointSlices."""

    name = "endpointslice-controller"
    service_account = "endpointslice-controller"
    component = "endpoint-slice-controller"
    workers: ClassVar[int] = 5
    workers_flag = "concurrent-service-endpoint-syncs"
    max_retries = 15
    base_delay_ns = NS
    max_delay_ns = 1000 * NS

    def setup(self) -> None:
        """Listen to Services, pods, slices and nodes."""
        setting = self.context.setting
        self.max_per_slice: int = setting("max-endpoints-per-slice", 100)
        self.batch_ns: int = setting("endpointslice-updates-batch-period", 0)
        self.tracker = endpoint_slices.Tracker()
        self.trigger_times = service_pods.TriggerTimeTracker()
        self.topology = topology_cache.TopologyCache()
        self.services = self.watch(
            SERVICES, add=self.enqueue, update=self.enqueue_new, delete=self.enqueue
        )
        self.pods = self.watch(
            PODS, add=self._add_pod, update=self._update_pod, delete=self._delete_pod
        )
        self.slices = self.watch(
            ENDPOINTSLICES,
            add=self._add_slice,
            update=self._update_slice,
            delete=self._delete_slice,
        )
        service_pods.add_selector_index(self.services)
        pods.add_label_index(self.pods)
        self.worked = {
            address_type: service_pods.Worked(work)
            for address_type, work in endpoint_slice_sync.ADDRESS_TYPES.items()
        }
        endpoint_slices.add_index(self.slices)
        self.nodes = self.watch(
            NODES, add=self._check_nodes, update=self._update_node, delete=self._check_nodes
        )

    # -- handlers -----------------------------------------------------------------------------

    def _add_pod(self, pod: Object) -> None:
        self._update_pod(None, pod)

    def _delete_pod(self, pod: Object) -> None:
        self._update_pod(pod, None)

    def _update_pod(self, old: Object | None, new: Object | None) -> None:
        for key in service_pods.services_to_update(self.services, old, new):
            self.queue.add_after(key, self.batch_ns)

    def _enqueue_slice(self, endpoint_slice: Object) -> None:
        if meta.labels(endpoint_slice).get(endpoint_slices.SERVICE_NAME):
            delay_ns = max(MIN_SYNC_DELAY_NS, self.batch_ns)
            self.queue.add_after(endpoint_slices.service_key(endpoint_slice), delay_ns)

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

    def _update_node(self, old: Object, new: Object) -> None:
        if meta.is_condition_true(old, "Ready") != meta.is_condition_true(
            new, "Ready"
        ) or meta.labels(old).get(topology_cache.ZONE) != meta.labels(new).get(
            topology_cache.ZONE
        ):
            self._check_nodes(new)

    def _check_nodes(self, _node: Object) -> None:
        self.topology.set_nodes(self.nodes.list())
        for key in self.topology.overloaded_services():
            self.queue.add(key)

    # -- the sync -----------------------------------------------------------------------------

    async def reconcile(self, key: str) -> Result | None:
        """Sync the slices of one Service (`syncService`)."""
        service = self.services.get(key)
        if service is None:
            self.trigger_times.forget(key)
            self.tracker.forget(key)
            for address_type in endpoint_slice_sync.ADDRESS_TYPES:
                self.worked[address_type].forget(key)
            return None
        spec = service["spec"]
        if spec.get("type") == "ExternalName" or spec.get("selector") is None:
            return None
        selected = pods.labelled(self.pods, meta.namespace(service), spec["selector"])
        existing = [
            endpoint_slice
            for endpoint_slice in endpoint_slices.of_service(self.slices, key, CONTROLLER_NAME)
            if not meta.deletion_timestamp(endpoint_slice)
        ]
        if self.tracker.is_stale(key, existing):
            raise SyncError("EndpointSlice informer cache is out of date")
        changed = self.trigger_times.compute(service, selected)
        try:
            await EndpointSliceSync(self, service, key, changed).run(selected, existing)
        except RETRIABLE as error:
            message = f"Error updating Endpoint Slices for Service {key}: {error}"
            self.event(service, "Warning", "FailedToUpdateEndpointSlices", message)
            raise
        return None


CONTROLLER = EndpointSliceController
