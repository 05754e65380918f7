"""The pod garbage collector: pods that no kubelet will ever end are ended and deleted.

The law: at every twentieth second are deleted, in this order: the oldest of the finished pods
beyond the threshold; terminating pods on nodes that are out of service; pods on nodes that are not
there, once a node has been missing for 40 seconds; terminating pods that never got a node.  A pod
that has not finished is marked as failed before.

Nothing is looked at as long as nothing could be collected: what comes and goes says when it could.

Follows `pkg/controller/podgc/gc_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.client_go.resources import NODES, PODS
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.controller_manager import fields, pods
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller
from pytest_kubesim.controller_manager.pod_status_patch import patch_pod_status, with_pod_condition
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

CHECK_PERIOD_NS = 20 * NS
QUARANTINE_NS = 40 * NS
TERMINATED_POD_THRESHOLD = 12_500
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


class PodGarbageCollectorController(Controller):
    """Collects pods."""

    name = "pod-garbage-collector-controller"
    service_account = "pod-garbage-collector"

    def setup(self) -> None:
        """Listen to pods and nodes; note which pods could ever be collected."""
        self.threshold: int = self.context.setting(
            "terminated-pod-gc-threshold", TERMINATED_POD_THRESHOLD
        )
        self.terminated: dict[str, None] = {}
        self.terminating: dict[str, None] = {}
        self.quarantine: dict[str, int] = {}
        """Since when nodes that pods name have been missing."""
        self._started = False
        self._armed = False
        self._start_ns = self.kernel.now_ns
        self.nodes = self.watch(NODES, update=self._node_updated, delete=self._node_deleted)
        self.pods = self.watch(
            PODS, add=self._classify, update=self._reclassify, delete=self._forget
        )
        pods.add_node_index(self.pods)

    # -- what could be collected --------------------------------------------------------------

    def _classify(self, pod: Object) -> None:
        key = key_of(pod)
        node = fields.text(fields.spec(pod), "nodeName")
        present = self.nodes.get(node) if node else None
        if _is_terminated(pod):
            self.terminated[key] = None
            if self.threshold > 0 and len(self.terminated) > self.threshold:
                self._arm()
        if meta.deletion_timestamp(pod):
            self.terminating[key] = None
            if not node or (present is not None and _is_out_of_service(present)):
                self._arm()
        if node and present is None:
            self._arm()

    def _reclassify(self, _old: Object, pod: Object) -> None:
        self._classify(pod)

    def _forget(self, pod: Object) -> None:
        key = key_of(pod)
        self.terminated.pop(key, None)
        self.terminating.pop(key, None)

    def _node_updated(self, _old: Object, node: Object) -> None:
        if _is_out_of_service(node):
            self._arm()

    def _node_deleted(self, _node: Object) -> None:
        self._arm()

    # -- the collection -----------------------------------------------------------------------

    async def run(self) -> None:
        """Collect once, and from then on when there is something."""
        self._started = True
        self._start_ns = self.kernel.now_ns
        await self._collect()

    def _arm(self) -> None:
        """Collect at the next twentieth second."""
        if self._started and not self._armed:
            self._armed = True
            elapsed_ns = self.kernel.now_ns - self._start_ns
            self.process.call_later(
                CHECK_PERIOD_NS - elapsed_ns % CHECK_PERIOD_NS, self._due, label=self.name
            )

    def _due(self) -> None:
        self._armed = False
        self.process.spawn(self._collect(), name=f"{self.name} gc")

    async def _collect(self) -> None:
        await self._collect_terminated()
        await self._collect_out_of_service()
        await self._collect_orphaned()
        await self._collect_unscheduled()
        if self.quarantine:
            self._arm()

    def _of(self, keys: dict[str, None]) -> list[Object]:
        return [pod for key in keys if (pod := self.pods.get(key)) is not None]

    async def _collect_terminated(self) -> None:
        excess = len(self.terminated) - self.threshold
        if self.threshold > 0 and excess > 0:
            for pod in sorted(self._of(self.terminated), key=_order)[:excess]:
                await self._fail_and_delete(pod)

    async def _collect_out_of_service(self) -> None:
        found: list[Object] = []
        for pod in self._of(self.terminating):
            node = self.nodes.get(fields.text(fields.spec(pod), "nodeName"))
            if node is not None and _is_out_of_service(node):
                found.append(pod)
        for pod in sorted(found, key=_order):
            await self._fail_and_delete(pod)

    async def _collect_orphaned(self) -> None:
        now_ns = self.kernel.now_ns
        missing = [
            name for name in self.pods.index_values(pods.NODE_INDEX) if self.nodes.get(name) is None
        ]
        self.quarantine = {name: self.quarantine.get(name, now_ns) for name in missing}
        for name in missing:
            if now_ns - self.quarantine[name] < QUARANTINE_NS or await self._exists(name):
                continue
            del self.quarantine[name]
            for pod in self.pods.by_index(pods.NODE_INDEX, name):
                await self._fail_and_delete(pod, orphaned=True)

    async def _exists(self, name: str) -> bool:
        try:
            await self.client.get(NODES, "", name)
        except RETRIABLE as error:
            return not status.is_not_found(error)
        return True

    async def _collect_unscheduled(self) -> None:
        for pod in self._of(self.terminating):
            if not fields.spec(pod).get("nodeName"):
                await self._fail_and_delete(pod)

    async def _fail_and_delete(self, pod: Object, *, orphaned: bool = False) -> None:
        namespace, name = meta.namespace(pod), meta.name(pod)
        try:
            if not pods.is_terminal(pod):
                new = meta.with_status(
                    pod, phase="Failed", observedGeneration=meta.generation(pod) or None
                )
                if orphaned:
                    new = with_pod_condition(
                        new,
                        {
                            "type": "DisruptionTarget",
                            "observedGeneration": meta.generation(pod),
                            "status": "True",
                            "reason": "DeletionByPodGC",
                            "message": "PodGC: node no longer exists",
                        },
                        self.now(),
                    )
                await patch_pod_status(self.client, pod, new)
            await self.client.delete(PODS, namespace, name, grace_period_seconds=0)
        except RETRIABLE as error:
            if not status.is_not_found(error):
                self._arm()
            self.kernel.journal.record(
                "sync failed", self.name, key=f"{namespace}/{name}", error=str(error)
            )


def _is_terminated(pod: Object) -> bool:
    return pods.phase(pod) not in {"Pending", "Running", "Unknown"}


def _is_out_of_service(node: Object) -> bool:
    return not meta.is_condition_true(node, "Ready") and any(
        taint["key"] == OUT_OF_SERVICE for taint in fields.objects(fields.spec(node), "taints")
    )


def _order(pod: Object) -> tuple[bool, str, str]:
    """Evicted pods first, then the oldest, then by name."""
    evicted = pods.phase(pod) == "Failed" and fields.status(pod).get("reason") == "Evicted"
    return not evicted, meta.creation_timestamp(pod) or "", meta.name(pod)


CONTROLLER = PodGarbageCollectorController
