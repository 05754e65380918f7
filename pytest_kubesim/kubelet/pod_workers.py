"""Pods' lives on a node: one worker a pod, from its first sync to its end.

State machine (an event not named in a state does nothing but another sync):

    syncing --deletion, terminal phase, eviction, removal--> terminating
    terminating --all containers stopped--> terminated
    terminated --final status set--> finished --pod gone from the API server--> (forgotten)

The law: one sync of a pod runs at a time; what happens meanwhile is remembered as one more sync.  A
grace period only ever shrinks.  No pod is synced periodically: whatever could change has a timer or
an event of its own.

Follows `pkg/kubelet/pod_workers.go` and the `Sync*Pod` functions of `pkg/kubelet/kubelet.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.kubelet import pod_conditions
from pytest_kubesim.kubelet.errors import ResizeError, SyncError
from pytest_kubesim.kubelet.host import WARNING
from pytest_kubesim.kubelet.prober import LIVENESS
from pytest_kubesim.sim.tasks import Event
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.allocation import Allocations
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.kubelet.image_manager import ImageManager
    from pytest_kubesim.kubelet.kuberuntime import KubeRuntime
    from pytest_kubesim.kubelet.pod_status import StatusGenerator
    from pytest_kubesim.kubelet.prober import Prober
    from pytest_kubesim.kubelet.reason_cache import ReasonCache
    from pytest_kubesim.kubelet.status_manager import StatusManager
    from pytest_kubesim.kubelet.volume_manager import VolumeManager
    from pytest_kubesim.sim.kernel import Timer

SYNCING, TERMINATING, TERMINATED, FINISHED = "syncing", "terminating", "terminated", "finished"

_NO_STATUS: Object = {}


@attrs.define(slots=True, eq=False)
class PodWorker:
    """What is known of one pod."""

    uid: str
    pod: Object
    state: str = SYNCING
    working: bool = False
    pending: bool = False
    probes_due: bool = False
    gone: bool = False
    """Whether the API server has it no more."""
    grace_seconds: int | None = None
    final_status: Object | None = None
    """Fields that an eviction puts into its status."""
    stop: Event = attrs.field(kw_only=True)
    """Set when it is to be terminated."""
    timer: Timer | None = None
    deadline: Timer | None = None
    deadline_seconds: int | None = None
    syncs: int = 0


@attrs.frozen(slots=True)
class Parts:
    """What workers work with."""

    statuses: StatusManager
    generator: StatusGenerator
    runtime: KubeRuntime
    prober: Prober
    volumes: VolumeManager
    images: ImageManager
    reasons: ReasonCache
    relist: Callable[[str], object]
    notice: Callable[[str, int], object]
    allocations: Allocations


class PodWorkers:
    """The workers of one kubelet."""

    def __init__(self, host: Host, parts: Parts) -> None:
        self._host = host
        self._parts = parts
        self.workers: dict[str, PodWorker] = {}

    # -- what others ask ----------------------------------------------------------------------

    def could_have_running_containers(self, uid: str) -> bool:
        """Whether containers of the pod may still run."""
        worker = self.workers.get(uid)
        return worker is not None and worker.state in (SYNCING, TERMINATING)

    def active_pods(self) -> list[Object]:
        """The pods that count as users of the node (`GetActivePods`).

        Not those that the API server has no more, however long their containers take to end: to
        wait for them would refuse the pods that the scheduler sends in their place.
        """
        return [
            worker.pod
            for worker in self.workers.values()
            if not worker.gone and worker.state in (SYNCING, TERMINATING)
        ]

    def unfinished_pods(self) -> list[Object]:
        """The pods whose containers may still run."""
        return [
            worker.pod
            for worker in self.workers.values()
            if worker.state in (SYNCING, TERMINATING)
        ]

    # -- what happens -------------------------------------------------------------------------

    def update_pod(self, pod: Object) -> None:
        """The pod is (now) like this: make it so."""
        meta = pod["metadata"]
        worker = self.workers.get(meta["uid"])
        if worker is None:
            worker = PodWorker(meta["uid"], pod, stop=Event(self._host.kernel))
            self.workers[worker.uid] = worker
            if self._has_ended(worker):
                worker.state = TERMINATED
        worker.pod = pod
        if worker.state == FINISHED:
            return
        self._parts.prober.update_pod(pod)
        if worker.state == SYNCING and (
            meta.get("deletionTimestamp")
            or (pod.get("status") or _NO_STATUS).get("phase") in pod_conditions.TERMINAL
        ):
            self._begin_termination(worker)
        elif worker.state == TERMINATING:
            self._shorten(worker, None)
        self._wake(worker)

    def remove_pod(self, uid: str) -> None:
        """The API server has the pod no more."""
        worker = self.workers.get(uid)
        if worker is None:
            self._parts.statuses.forget(uid)
            return
        worker.gone = True
        if worker.state == FINISHED:
            self._forget(worker)
            return
        if worker.state == SYNCING:
            self._begin_termination(worker)
        self._wake(worker)

    def abandon(self, uid: str) -> bool:
        """Know nothing of the pod any more, whatever runs; whether anything was known."""
        worker = self.workers.get(uid)
        if worker is None:
            return False
        worker.stop.set()
        self._drop(worker)
        return True

    def kill_pod(
        self, uid: str, *, grace_seconds: int | None = None, status: Object | None = None
    ) -> None:
        """Evict the pod: `status` is what its status will say of it."""
        worker = self.workers.get(uid)
        if worker is None or worker.state in (TERMINATED, FINISHED):
            return
        worker.final_status = status
        if worker.state == SYNCING:
            self._begin_termination(worker, grace_seconds)
        else:
            self._shorten(worker, grace_seconds)
        self._wake(worker)

    def sync(self, uid: str, *, probes: bool = False) -> None:
        """Something about the pod's containers has changed."""
        worker = self.workers.get(uid)
        if worker is not None and worker.state == SYNCING:
            worker.probes_due = worker.probes_due or probes
            self._wake(worker)

    def _has_ended(self, worker: PodWorker) -> bool:
        """Whether a pod that the API server calls ended has no running containers either."""
        phase = (worker.pod.get("status") or _NO_STATUS).get("phase")
        if phase not in pod_conditions.TERMINAL:
            return False
        state = self._host.runtime.pod_state(worker.uid)
        return pod_conditions.exited_cleanly(state) and state.active_sandbox is None

    def _begin_termination(self, worker: PodWorker, grace_seconds: int | None = None) -> None:
        worker.state = TERMINATING
        worker.stop.set()
        self._cancel(worker)
        worker.grace_seconds = self._effective_grace(worker, grace_seconds)

    def _effective_grace(self, worker: PodWorker, override: int | None) -> int:
        grace = worker.grace_seconds
        own = worker.pod["metadata"].get("deletionGracePeriodSeconds")
        for wish in (own, override):
            if wish is not None and (grace is None or wish < grace):
                grace = wish
        if grace is None:
            grace = worker.pod["spec"].get("terminationGracePeriodSeconds")
        return max(grace or 1, 1)

    def _shorten(self, worker: PodWorker, override: int | None) -> None:
        grace = self._effective_grace(worker, override)
        if worker.grace_seconds is not None and grace < worker.grace_seconds:
            worker.grace_seconds = grace
            state = self._host.runtime.pod_state(worker.uid)
            self._parts.runtime.hurry(worker.uid, state, grace)

    # -- the loop -----------------------------------------------------------------------------

    def _cancel(self, worker: PodWorker) -> None:
        if worker.timer is not None:
            worker.timer.cancel()
            worker.timer = None

    def _wake(self, worker: PodWorker) -> None:
        self._cancel(worker)
        worker.pending = True
        if not worker.working:
            worker.working = True
            meta = worker.pod["metadata"]
            self._host.process.spawn(
                self._work(worker), name=f"pod {meta['namespace']}/{meta['name']}"
            )

    def _wake_later(self, worker: PodWorker, delay_ns: int, *, background: bool) -> None:
        self._cancel(worker)
        meta = worker.pod["metadata"]
        worker.timer = self._host.process.call_later(
            delay_ns, self._wake, worker, periodic=background,
            label=f"kubelet: sync pod {meta['namespace']}/{meta['name']}",
        )

    async def _work(self, worker: PodWorker) -> None:
        try:
            while worker.pending and worker.uid in self.workers:
                worker.pending = False
                worker.syncs += 1
                try:
                    await self._step(worker)
                except SyncError as error:
                    self._retry(worker, error.retry_at_ns)
                    if error.sandbox_ns is not None:
                        self._parts.notice(worker.uid, error.sandbox_ns)
                except (APIStatus, ConnectionLost):
                    self._retry(worker, None)
                if worker.pending:
                    # What was found is told before what comes next is found.
                    await self._host.kernel.sleep(0)
        finally:
            worker.working = False

    def _retry(self, worker: PodWorker, at_ns: int | None) -> None:
        if worker.pending:
            return
        config = self._host.config
        if at_ns is None:
            delay_ns, background = config.back_off_period_ns, True
        else:
            delay_ns, background = max(0, at_ns - self._host.now_ns()), False
        delay_ns = min(delay_ns, config.resync_ns)
        delay_ns = self._host.jittered(delay_ns, worker.uid, worker.syncs)
        self._wake_later(worker, delay_ns, background=background)

    async def _step(self, worker: PodWorker) -> None:
        if worker.state == SYNCING:
            if await self._sync_pod(worker) and worker.state == SYNCING:
                self._begin_termination(worker)
                worker.pending = True
        elif worker.state == TERMINATING:
            await self._sync_terminating_pod(worker)
            worker.state = TERMINATED
            worker.pending = True
        elif worker.state == TERMINATED:
            self._sync_terminated_pod(worker)
            worker.state = FINISHED
            if worker.gone:
                self._forget(worker)

    # -- the syncs ----------------------------------------------------------------------------

    async def _sync_pod(self, worker: PodWorker) -> bool:
        """`SyncPod`: whether the pod has come to its end."""
        parts, pod, uid = self._parts, worker.pod, worker.uid
        state = self._host.runtime.pod_state(uid)
        status = parts.generator.generate(pod, state, self._old_status(worker))
        restart_all = any(
            c["type"] == "AllContainersRestarting" and c["status"] == "True"
            for c in status["conditions"]
        )
        parts.statuses.set_pod_status(pod, status)
        if worker.probes_due:
            worker.probes_due = False
            parts.prober.notify(uid)
        if status["phase"] in pod_conditions.TERMINAL:
            return True
        self._watch_deadline(worker, status)
        if not self._network_ready(pod):
            return False
        if not await parts.volumes.wait_for_attach_and_mount(pod, worker.stop):
            return False
        parts.prober.add_pod(pod)
        state = self._host.runtime.pod_state(uid)
        try:
            if await parts.runtime.sync_pod(pod, state, restart_all=restart_all):
                parts.relist(uid)
                if parts.runtime.has_resized(uid) or parts.allocations.conditions(uid):
                    # The runtime tells nobody of new resources: look once more.
                    worker.pending = True
        except ResizeError as error:
            parts.allocations.failed(pod, str(error))
            raise
        if restart_all:
            worker.pending = True
        return False

    async def _sync_terminating_pod(self, worker: PodWorker) -> None:
        """`SyncTerminatingPod`: stop everything, and say how it ended."""
        parts, pod = self._parts, worker.pod
        runtime = self._host.runtime
        state = runtime.pod_state(worker.uid)
        status = parts.generator.generate(pod, state, self._old_status(worker))
        if worker.final_status is not None:
            _apply(status, worker.final_status)
        parts.statuses.set_pod_status(pod, status)
        parts.prober.stop_liveness_and_startup(pod)
        try:
            await parts.runtime.kill_pod(pod, state, worker.grace_seconds)
        except SyncError as error:
            self._host.pod_event(pod, WARNING, "FailedKillPod", f"error killing pod: {error}")
            raise
        parts.prober.remove_pod(worker.uid)
        pod = worker.pod
        status = parts.generator.generate(
            pod, runtime.pod_state(worker.uid), self._old_status(worker), terminal=True
        )
        parts.statuses.set_pod_status(pod, status)

    def _sync_terminated_pod(self, worker: PodWorker) -> None:
        """`SyncTerminatedPod`: the last word."""
        parts, pod = self._parts, worker.pod
        state = self._host.runtime.pod_state(worker.uid)
        status = parts.generator.generate(pod, state, self._old_status(worker), terminal=True)
        parts.statuses.set_pod_status(pod, status)
        parts.statuses.terminate_pod(pod)
        parts.prober.remove_pod(worker.uid)
        if worker.deadline is not None:
            worker.deadline.cancel()

    def _old_status(self, worker: PodWorker) -> Object:
        found = self._parts.statuses.get(worker.uid)
        return found if found is not None else worker.pod.get("status") or _NO_STATUS

    def _network_ready(self, pod: Object) -> bool:
        host = self._host
        wait_ns = host.start_ns + host.config.network_ready_after_ns - host.now_ns()
        if wait_ns <= 0 or pod["spec"].get("hostNetwork"):
            return True
        message = (
            "network is not ready: container runtime network not ready: NetworkReady=false "
            "reason:NetworkPluginNotReady message:Network plugin returns error: "
            "cni plugin not initialized"
        )
        host.pod_event(pod, WARNING, "NetworkNotReady", message)
        raise SyncError(message, host.now_ns() + wait_ns)

    def _watch_deadline(self, worker: PodWorker, status: Object) -> None:
        seconds = worker.pod["spec"].get("activeDeadlineSeconds")
        if seconds is None or seconds == worker.deadline_seconds:
            return
        set_status = self._parts.statuses.get(worker.uid) or status
        deadline_ns = self._parts.generator.deadline_ns(worker.pod, set_status)
        if deadline_ns is None:
            return
        if worker.deadline is not None:
            worker.deadline.cancel()
        worker.deadline_seconds = seconds
        worker.deadline = self._host.process.call_later(
            max(0, deadline_ns - self._host.now_ns()), self.sync, worker.uid,
            label=f"kubelet: deadline of pod {worker.pod['metadata']['name']}",
        )

    def _forget(self, worker: PodWorker) -> None:
        self._drop(worker)
        self._host.runtime.remove_pod(worker.uid)

    def _drop(self, worker: PodWorker) -> None:
        uid, parts = worker.uid, self._parts
        self.workers.pop(uid, None)
        self._cancel(worker)
        if worker.deadline is not None:
            worker.deadline.cancel()
        parts.prober.remove_pod(uid)
        parts.statuses.forget(uid)
        parts.runtime.forget(uid)
        parts.images.forget(uid)
        parts.volumes.forget(uid)
        parts.reasons.forget(uid)
        parts.allocations.forget(uid)

    def probe_result(self, uid: str, kind: str, result: bool) -> None:
        """A probe asks for a sync of the pod."""
        if kind != LIVENESS or not result:
            self.sync(uid)
            self._parts.relist(uid)


def _apply(status: Object, final: Object) -> None:
    succeeded = status["phase"] == pod_conditions.SUCCEEDED
    for field, value in final.items():
        if field == "phase" and succeeded and final.get("reason") == "Terminated":
            # Whom the node's shutdown finds at a good end has come to it.
            continue
        if field == "conditions":
            kinds = {c["type"] for c in value}
            kept = [c for c in status["conditions"] if c["type"] not in kinds]
            status["conditions"] = [*value, *kept]
        else:
            status[field] = value
