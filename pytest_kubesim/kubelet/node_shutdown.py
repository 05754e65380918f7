"""A node that is told to shut down: its pods are ended first, in the order of their priority.

The law: from the signal on no pod is admitted and the node is not ready; pods end in groups, those
of the lowest priority first, each pod within its own grace period or that of its group, whichever
is shorter, and the next group when the last has ended or its time is over; then the machine goes
off.

Follows `pkg/kubelet/nodeshutdown/{nodeshutdown_manager,nodeshutdown_manager_linux}.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pytest_kubesim.kubelet.admission import Rejection
from pytest_kubesim.kubelet.host import NORMAL
from pytest_kubesim.kubelet.pod_workers import SYNCING, TERMINATING
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.kubelet.pod_workers import PodWorkers

REJECTION = Rejection("NodeShutdown", "Pod was rejected as the node is shutting down.")
REASON = "Terminated"
MESSAGE = "Pod was terminated in response to imminent node shutdown."
NOT_READY = "node is shutting down"
_LOOK_NS = NS // 10


class NodeShutdown:
    """Ends the pods of one node in time.

    Parameters: `host`; `workers`; `changed`, called when the node begins to shut down.
    """

    def __init__(
        self, host: Host, workers: PodWorkers, changed: Callable[[], object]
    ) -> None:
        self._host = host
        self._workers = workers
        self._changed = changed
        self.begun = False
        """Whether the node is shutting down."""

    def admit(self) -> Rejection | None:
        """Why no pod is admitted any more."""
        return REJECTION if self.begun else None

    async def run(self, periods: Mapping[int, int]) -> None:
        """Shut down; `periods` are in seconds, by the priority from which on they hold
        (`shutdownGracePeriodByPodPriority`).
        """
        self.begun = True
        name = self._host.node.name
        node = {"kind": "Node", "apiVersion": "v1", "name": name, "uid": name}
        self._host.event(node, NORMAL, "Shutdown", "Shutdown manager detected shutdown event")
        self._changed()
        groups: dict[int, list[Object]] = {priority: [] for priority in sorted(periods)}
        for pod in self._workers.active_pods():
            own: int = pod["spec"].get("priority") or 0
            below = [priority for priority in groups if priority <= own]
            groups[below[-1] if below else next(iter(groups))].append(pod)
        for priority, pods in groups.items():
            for pod in pods:
                self._kill(pod, periods[priority])
            await self._wait([pod["metadata"]["uid"] for pod in pods], periods[priority])

    def _kill(self, pod: Object, seconds: int) -> None:
        own: int | None = pod["spec"].get("terminationGracePeriodSeconds")
        condition: Object = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "TerminationByKubelet",
            "message": MESSAGE,
        }
        if generation := pod["metadata"].get("generation"):
            condition["observedGeneration"] = generation
        self._workers.kill_pod(
            pod["metadata"]["uid"],
            grace_seconds=seconds if own is None else min(own, seconds),
            status={
                "phase": "Failed", "reason": REASON, "message": MESSAGE,
                "conditions": [condition],
            },
        )

    async def _wait(self, uids: list[str], seconds: int) -> None:
        end_ns = self._host.kernel.now_ns + seconds * NS
        while self._host.kernel.now_ns < end_ns and any(map(self._runs, uids)):
            await self._host.kernel.sleep(_LOOK_NS)

    def _runs(self, uid: str) -> bool:
        worker = self._workers.workers.get(uid)
        return worker is not None and worker.state in (SYNCING, TERMINATING)

