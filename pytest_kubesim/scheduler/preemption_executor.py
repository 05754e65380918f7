"""Preemption carried out: victims are told and deleted, promises of lower priority withdrawn.

The law: it runs beside the scheduling loop; until the deletion of the last victim has been asked
for, the preemptor does not enter the active queue.

Follows `pkg/scheduler/framework/preemption/executor.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, status, timestamps
from pytest_kubesim.client_go.resources import PODS
from pytest_kubesim.scheduler import pod_status
from pytest_kubesim.scheduler.node_selection import NOTHING
from pytest_kubesim.scheduler.profile import DEFAULT_SCHEDULER_NAME
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import Handle
    from pytest_kubesim.scheduler.pod_info import PodInfo

DISRUPTION_TARGET = "DisruptionTarget"
PREEMPTION_BY_SCHEDULER = "PreemptionByScheduler"
PREEMPTED, PREEMPTING = "Preempted", "Preempting"
PLUGIN = "DefaultPreemption"


class Executor:
    """Evicts the victims of one profile's preemptions."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._running: set[str] = set()
        self._last_victim: dict[str, tuple[str, str]] = {}

    def is_running_for(self, uid: str) -> bool:
        """Whether that preemptor's victims have not all been asked to go."""
        if uid not in self._running:
            return False
        last = self._last_victim.get(uid)
        if last is None:
            return True
        victim = self._handle.get_pod(*last)
        return victim is not None and not meta.deletion_timestamp(victim)

    def evict(self, preemptor: PodInfo, node_name: str, victims: Sequence[PodInfo]) -> None:
        """Begin to evict `victims` from `node_name` for `preemptor`."""
        staying = [victim for victim in victims if not victim.deleting]
        if not staying:
            return
        self._running.add(preemptor.uid)
        self._handle.process.spawn(
            self._run(preemptor, node_name, staying), name=f"preemption for {preemptor.key}"
        )

    async def _run(
        self, preemptor: PodInfo, node_name: str, victims: Sequence[PodInfo]
    ) -> None:
        failed = in_memory = False
        for other in self._handle.nominator.on_node(node_name):
            if other.priority < preemptor.priority:
                failed = not await self._clear_nomination(other) or failed
        try:
            for victim in victims[:-1]:
                await self._evict_one(preemptor, node_name, victim)
            last = victims[-1]
            self._last_victim[preemptor.uid] = (last.namespace, last.name)
            in_memory = await self._evict_one(preemptor, node_name, last)
        except (status.APIStatus, ConnectionLost):
            failed = True
        self._running.discard(preemptor.uid)
        self._last_victim.pop(preemptor.uid, None)
        if failed or in_memory:
            self._handle.activate([preemptor])

    async def _clear_nomination(self, pod: PodInfo) -> bool:
        if not pod.nominated_node_name:
            return True
        patch = {"status": {"nominatedNodeName": None}}
        try:
            await self._handle.client.patch(
                PODS, pod.namespace, pod.name, patch, subresource="status"
            )
        except (status.APIStatus, ConnectionLost):
            return False
        return True

    async def _evict_one(self, preemptor: PodInfo, node_name: str, victim: PodInfo) -> bool:
        """True when the victim had not been bound yet and went back to the queue instead."""
        handle = self._handle
        note = f"Preempted by pod {preemptor.uid} on node {node_name}"
        waiting = handle.waiting_pod(victim.uid)
        if waiting is not None:
            in_memory = waiting.preempt(PLUGIN, "preempted")
        else:
            in_memory = handle.cancel_pre_bind(victim.uid, f"preempted by {PLUGIN}")
        if in_memory:
            note += " (in kube-scheduler memory)."
        elif not await self._delete(preemptor, victim):
            return False
        # Upstream hands over a wrapper of the preemptor, to which no reference can be made.
        handle.recorder.eventf(victim.pod, None, "Normal", PREEMPTED, PREEMPTING, note)
        return in_memory

    async def _delete(self, preemptor: PodInfo, victim: PodInfo) -> bool:
        client = self._handle.client
        scheduler_name = preemptor.spec.get("schedulerName") or DEFAULT_SCHEDULER_NAME
        patch = pod_status.condition_patch(victim.pod, {
            "type": DISRUPTION_TARGET,
            "observedGeneration": meta.generation(victim.pod),
            "status": "True",
            "reason": PREEMPTION_BY_SCHEDULER,
            "message": f"{scheduler_name}: preempting to accommodate a higher priority pod",
        }, timestamps.format_time(self._handle.process.now_ns()))
        try:
            if patch:
                await client.patch(
                    PODS, victim.namespace, victim.name, {"status": patch}, subresource="status"
                )
            await client.delete(PODS, victim.namespace, victim.name)
        except status.APIStatus as failure:
            if status.is_not_found(failure):
                return False
            raise
        return True


def terminating(pod: Object) -> bool:
    """Whether the pod is terminating because the scheduler preempted it."""
    if not meta.deletion_timestamp(pod):
        return False
    condition = meta.condition(pod, DISRUPTION_TARGET)
    return (
        condition is not None
        and condition.get("status") == "True"
        and condition.get("reason") == PREEMPTION_BY_SCHEDULER
    )


def start_time_ns(pod: Object, now_ns: int) -> int:
    """When the pod was started, in nanoseconds since the epoch; now if it has not been."""
    text = (pod.get("status") or NOTHING).get("startTime")
    return timestamps.parse_time(text) if text else now_ns
