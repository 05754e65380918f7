"""Pods that have a node and are not bound yet: they wait for a permit, or PreBind works for them.

Follows `pkg/scheduler/framework/runtime/{waiting_pods_map,pods_in_prebind_map}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.scheduler.framework import Status, error, unschedulable
from pytest_kubesim.sim.tasks import Future, Task

if TYPE_CHECKING:
    from pytest_kubesim.scheduler.pod_info import PodInfo
    from pytest_kubesim.sim.kernel import Timer
    from pytest_kubesim.sim.process import Process


class WaitingPod:
    """One of them."""

    __slots__ = ("_outcome", "_timers", "pod")

    def __init__(self, process: Process, pod: PodInfo, timeouts: dict[str, int]) -> None:
        self.pod = pod
        self._outcome: Future[Status | None] = Future(process.kernel)
        self._timers: dict[str, Timer] = {
            plugin: process.call_later(timeout_ns, self._expired, plugin, timeout_ns)
            for plugin, timeout_ns in timeouts.items()
        }

    def _expired(self, plugin: str, timeout_ns: int) -> None:
        waited = timestamps.format_duration(timeout_ns)
        self.reject(
            plugin, f"rejected due to timeout after waiting {waited} at plugin {plugin}"
        )

    def pending(self) -> list[str]:
        """The plugins that have not allowed it yet."""
        return sorted(self._timers)

    def allow(self, plugin: str) -> None:
        """`plugin` lets it pass; it goes on when all that waited have."""
        timer = self._timers.pop(plugin, None)
        if timer is not None:
            timer.cancel()
        if not self._timers and not self._outcome.done():
            self._outcome.set_result(None)

    def reject(self, plugin: str, message: str) -> bool:
        """Send it back to the queue; False if it no longer waits."""
        return self._stop(unschedulable(message).by(plugin))

    def preempt(self, plugin: str, message: str) -> bool:
        """Send it back to be tried again: it is none the less schedulable."""
        return self._stop(error(message).by(plugin))

    def _stop(self, status: Status) -> bool:
        if self._outcome.done():
            return False
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._outcome.set_result(status)
        return True

    async def wait(self) -> Status | None:
        """None when it may go on."""
        return await self._outcome


class PreBinding:
    """What PreBind does for one pod, in `task`."""

    __slots__ = ("_task", "cause")

    def __init__(self, task: Task[Any] | None) -> None:
        self._task = task
        self.cause = ""
        """Why it was ended."""

    def cancel(self, cause: str) -> bool:
        """End it at the next instant."""
        if self._task is None:
            return False
        if not self.cause:
            self.cause = cause
            self._task.cancel()
        return True


class WaitingPods:
    """All of them, by uid."""

    __slots__ = ("_pods", "_process")

    def __init__(self, process: Process) -> None:
        self._process = process
        self._pods: dict[str, WaitingPod] = {}

    def add(self, pod: PodInfo, timeouts: dict[str, int]) -> None:
        """`pod` waits for these plugins, at most so many nanoseconds each."""
        self._pods[pod.uid] = WaitingPod(self._process, pod, timeouts)

    def get(self, uid: str) -> WaitingPod | None:
        """The pod of that uid, if it waits."""
        return self._pods.get(uid)

    async def wait(self, uid: str) -> Status | None:
        """Wait until the pod may go on (None) or is rejected; at once if it does not wait."""
        waiting = self._pods.get(uid)
        if waiting is None:
            return None
        try:
            return await waiting.wait()
        finally:
            del self._pods[uid]
