"""A node that is told to shut down: its pods are ended first, in the order of their priority.

The law: from the signal on no pod is admitted and the node is not ready; pods that are not critical
end first, each within its own grace period or that of its group, whichever is shorter; then the
critical ones, within theirs; then the machine goes off.

Follows `pkg/kubelet/nodeshutdown/{nodeshutdown_manager,nodeshutdown_manager_linux}.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.kubelet.admission import Rejection
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
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000
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

    async def run(self, grace_seconds: int, critical_seconds: int) -> None:
        """Shut down within `grace_seconds`, the last `critical_seconds` of which are for
        critical pods (`shutdownGracePeriod`, `shutdownGracePeriodCriticalPods`).
        """
        self.begun = True
        self._changed()
        pods = self._workers.active_pods()
        for seconds, critical in (
            (grace_seconds - critical_seconds, False), (critical_seconds, True)
        ):
            group = [pod for pod in pods if _is_critical(pod) is critical]
            for pod in group:
                self._kill(pod, seconds)
            await self._wait([pod["metadata"]["uid"] for pod in group], seconds)

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


def _is_critical(pod: Object) -> bool:
    return (pod["spec"].get("priority") or 0) >= SYSTEM_CRITICAL_PRIORITY
