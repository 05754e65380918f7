"""What the informers say, told to the cache and the queue.

Follows `pkg/scheduler/eventhandlers.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.meta import GroupVersionResource
from pytest_kubesim.client_go import resources
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.cluster_events import (
    ASSIGNED_POD_ADD,
    ASSIGNED_POD_DELETE,
    node_changes,
    pod_changes,
)
from pytest_kubesim.scheduler.framework import ClusterEvent
from pytest_kubesim.scheduler.node_selection import NOTHING
from pytest_kubesim.scheduler.pod_info import PodInfo
from pytest_kubesim.scheduler.profile import DEFAULT_SCHEDULER_NAME

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.informer import SharedIndexInformer, SharedInformerFactory
    from pytest_kubesim.scheduler.cache import Cache
    from pytest_kubesim.scheduler.runtime import Runtime
    from pytest_kubesim.scheduler.scheduling_queue import SchedulingQueue

LIVING_PODS = "status.phase!=Succeeded,status.phase!=Failed"

OTHER_RESOURCES: tuple[tuple[GroupVersionResource, str], ...] = (
    (resources.PERSISTENTVOLUMES, fwk.PERSISTENT_VOLUME),
    (resources.PERSISTENTVOLUMECLAIMS, fwk.PERSISTENT_VOLUME_CLAIM),
    (resources.STORAGECLASSES, fwk.STORAGE_CLASS),
    (resources.CSINODES, fwk.CSI_NODE),
    (resources.CSIDRIVERS, fwk.CSI_DRIVER),
    (resources.CSISTORAGECAPACITIES, fwk.CSI_STORAGE_CAPACITY),
    (resources.VOLUMEATTACHMENTS, fwk.VOLUME_ATTACHMENT),
    (resources.RESOURCECLAIMS, fwk.RESOURCE_CLAIM),
    (resources.RESOURCESLICES, fwk.RESOURCE_SLICE),
    (resources.DEVICECLASSES, fwk.DEVICE_CLASS),
)


class EventHandlers:
    """Between one scheduler's informers, its cache and its queue."""

    def __init__(
        self, cache: Cache, queue: SchedulingQueue, runtimes: dict[str, Runtime]
    ) -> None:
        self._cache = cache
        self._queue = queue
        self._runtimes = runtimes

    def register(self, informers: SharedInformerFactory, pods: SharedIndexInformer) -> None:
        """Listen, from now on, to all that matters."""
        nodes = informers.informer(resources.NODES)
        nodes.add_event_handler(
            add=self.node_added, update=self.node_updated, delete=self.node_deleted
        )
        for gvr, resource in OTHER_RESOURCES:
            self._listen(informers.informer(gvr), resource)
        asked = {name for runtime in self._runtimes.values() for name in runtime.event_resources()}
        for resource in sorted(asked):
            parts = resource.split(".", 2)
            if len(parts) == 3 and "/" not in resource:
                gvr = GroupVersionResource(parts[2], parts[1], parts[0])
                self._listen(informers.informer(gvr), resource)
        rules = informers.informer(resources.DEVICETAINTRULES)
        slices = ClusterEvent(fwk.RESOURCE_SLICE, fwk.UPDATE)
        move = self._queue.move_all
        # Rules taint devices as if their slices had changed.
        rules.add_event_handler(
            add=lambda _: move(slices, None, None),
            update=lambda _old, _new: move(slices, None, None),
            delete=lambda _: move(slices, None, None),
        )
        pods.add_event_handler(add=self.pod_added, update=self.pod_updated, delete=self.pod_deleted)

    def _listen(self, informer: SharedIndexInformer, resource: str) -> None:
        added = ClusterEvent(resource, fwk.ADD)
        updated = ClusterEvent(resource, fwk.UPDATE)
        deleted = ClusterEvent(resource, fwk.DELETE)
        move = self._queue.move_all
        informer.add_event_handler(
            add=lambda obj: move(added, None, obj),
            update=lambda old, new: move(updated, old, new),
            delete=lambda obj: move(deleted, obj, None),
        )

    # -- nodes ---------------------------------------------------------------------------------

    def node_added(self, node: Object) -> None:
        """A node is there."""
        self._cache.add_node(node)
        self._queue.move_all(ClusterEvent(fwk.NODE, fwk.ADD), None, node)

    def node_updated(self, old: Object, new: Object) -> None:
        """A node changed."""
        self._cache.update_node(new)
        if self._queue.wants_events:
            for event in node_changes(old, new):
                self._queue.move_all(event, old, new)

    def node_deleted(self, node: Object) -> None:
        """A node is gone."""
        self._queue.move_all(ClusterEvent(fwk.NODE, fwk.DELETE), node, None)
        self._cache.remove_node(node["metadata"]["name"])

    # -- pods ----------------------------------------------------------------------------------

    def _responsible(self, pod: Object) -> bool:
        name = pod["spec"].get("schedulerName") or DEFAULT_SCHEDULER_NAME
        return name in self._runtimes

    def pod_added(self, pod: Object) -> None:
        """A pod is there, with or without a node."""
        if pod["spec"].get("nodeName"):
            self._assigned(pod)
        elif self._responsible(pod):
            self._queue.add(PodInfo(pod))

    def _assigned(self, pod: Object) -> None:
        self._cache.add_pod(pod)
        self._queue.move_all(ASSIGNED_POD_ADD, None, pod)

    def pod_updated(self, old: Object, new: Object) -> None:
        """A pod changed."""
        if old["metadata"].get("uid") != new["metadata"].get("uid"):
            # The informer missed a deletion and a creation under the same name.
            self.pod_deleted(old)
            self.pod_added(new)
        elif old["spec"].get("nodeName"):
            self._cache.update_pod(new)
            if self._queue.wants_events:
                for event in pod_changes(old, new, target=False):
                    self._queue.move_all(event, old, new)
        elif new["spec"].get("nodeName"):
            self._assigned(new)
            if self._responsible(old):
                self._queue.delete(old["metadata"]["uid"])
        elif self._responsible(old):
            self._waiting_pod_updated(old, new)

    def _waiting_pod_updated(self, old: Object, new: Object) -> None:
        old_meta, new_meta = old["metadata"], new["metadata"]
        if old_meta.get("resourceVersion") == new_meta.get("resourceVersion"):
            return
        if self._cache.is_assumed(new_meta["uid"]):
            if new_meta.get("deletionTimestamp") and not old_meta.get("deletionTimestamp"):
                self._assumed_pod_deleted(new)
            return
        self._queue.update(old, PodInfo(new))
        nominated = (old.get("status") or NOTHING).get("nominatedNodeName")
        if nominated and nominated != (new.get("status") or NOTHING).get("nominatedNodeName"):
            self._nomination_gone(old)

    def _nomination_gone(self, pod: Object) -> None:
        """Pods of no more priority may have been waiting for what was promised to `pod`."""
        self._queue.move_all(ASSIGNED_POD_DELETE, pod, None, _at_most(pod))

    def _assumed_pod_deleted(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        assumed = self._cache.pod(uid)
        if assumed is None:
            return
        name = assumed.spec.get("schedulerName") or DEFAULT_SCHEDULER_NAME
        if not self._runtimes[name].reject_waiting(uid):
            self._cache.forget(uid)
        self._queue.move_all(ASSIGNED_POD_DELETE, assumed.pod, None)

    def pod_deleted(self, pod: Object) -> None:
        """A pod is gone, or has ended."""
        uid = pod["metadata"]["uid"]
        if pod["spec"].get("nodeName"):
            self._cache.remove_pod(uid)
            self._queue.move_all(ASSIGNED_POD_DELETE, pod, None)
        elif self._responsible(pod):
            self._queue.delete(uid)
            if self._cache.is_assumed(uid):
                self._assumed_pod_deleted(pod)
            elif (pod.get("status") or NOTHING).get("nominatedNodeName"):
                self._nomination_gone(pod)


def _at_most(pod: Object) -> Callable[[PodInfo], bool]:
    priority: int = pod["spec"].get("priority") or 0
    return lambda other: other.priority <= priority
