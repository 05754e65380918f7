"""The scheduler: one pod after the other gets a node; bindings run beside the next attempts.

The law: between looking at the nodes and assuming the pod on one of them nothing awaits.  A pod
that was assumed counts as placed at once; what goes wrong later takes that back, tells the pod's
status and its events, and sends it to the queue again.

Follows `pkg/scheduler/{scheduler,schedule_one}.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import meta, status, timestamps
from pytest_kubesim.client_go.resources import PODS
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler import pod_status
from pytest_kubesim.scheduler.cache import Cache
from pytest_kubesim.scheduler.cluster_events import ASSIGNED_POD_DELETE
from pytest_kubesim.scheduler.event_handlers import LIVING_PODS, EventHandlers
from pytest_kubesim.scheduler.framework import (
    CLEAR_NOMINATION,
    CycleState,
    Diagnosis,
    FitError,
    NominatingInfo,
    Status,
)
from pytest_kubesim.scheduler.node_info import NodeInfo
from pytest_kubesim.scheduler.nominator import Nominator
from pytest_kubesim.scheduler.pod_info import PodInfo
from pytest_kubesim.scheduler.profile import DEFAULT_SCHEDULER_NAME, Profile, profile_map
from pytest_kubesim.scheduler.runtime import Runtime, Services
from pytest_kubesim.scheduler.scheduling_queue import (
    INITIAL_BACKOFF_NS,
    MAX_BACKOFF_NS,
    QueuedPodInfo,
    SchedulingQueue,
)
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.events import EventRecorder
    from pytest_kubesim.client_go.informer import SharedInformerFactory
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.sim.process import Process

NO_NODES = "no nodes available to schedule pods"
FAILED_SCHEDULING, SCHEDULED = "FailedScheduling", "Scheduled"
SCHEDULING, BINDING = "Scheduling", "Binding"
NOTE_LIMIT = 1024


@attrs.frozen(slots=True)
class SchedulerConfiguration:
    """How it behaves beside its profiles.

    Parameters: `latency_ns`, the least and the most time that one attempt takes (drawn by pod and
    attempt), in nanoseconds; (0, 0) for none; `initial_backoff_ns` and `max_backoff_ns` of pods
    that could not be scheduled.
    """

    latency_ns: tuple[int, int] = (0, 2_000_000)
    initial_backoff_ns: int = INITIAL_BACKOFF_NS
    max_backoff_ns: int = MAX_BACKOFF_NS


class Scheduler:
    """kube-scheduler.

    Parameters: `process` it runs in; `client` and `informers` of its identity; `recorder` of
    events.k8s.io/v1 as `default-scheduler`; `profiles`, upstream's default one if left out.
    """

    def __init__(
        self,
        process: Process,
        client: RESTClient,
        informers: SharedInformerFactory,
        recorder: EventRecorder,
        *,
        profiles: Sequence[Profile] = (Profile(),),
        config: SchedulerConfiguration | None = None,
    ) -> None:
        self._process = process
        self._client = client
        self._informers = informers
        self._config = config or SchedulerConfiguration()
        self.cache = Cache()
        self.nominator = Nominator()
        self._pods = informers.informer(PODS, field_selector=LIVING_PODS)
        services = Services(
            process, client, informers, recorder, self.cache, self.nominator, self._pods.store,
            self._activate,
        )
        self.runtimes = {
            name: Runtime(profile, services) for name, profile in profile_map(profiles).items()
        }
        self.queue = SchedulingQueue(
            process,
            self.nominator,
            {name: runtime.queueing() for name, runtime in self.runtimes.items()},
            initial_backoff_ns=self._config.initial_backoff_ns,
            max_backoff_ns=self._config.max_backoff_ns,
        )
        self._handlers = EventHandlers(self.cache, self.queue, self.runtimes)
        self._next_start = 0

    async def main(self) -> None:
        """Run until the process ends."""
        self._handlers.register(self._informers, self._pods)
        self._informers.start()
        await self._informers.wait_for_cache_sync()
        kernel = self._process.kernel
        low, high = self._config.latency_ns
        while True:
            queued = await self.queue.pop()
            if high:
                await kernel.sleep(
                    kernel.rng.between_ns(
                        low, high, "scheduling", queued.pod.uid, queued.attempts
                    )
                )
            self._schedule_one(queued)

    def _runtime(self, pod: PodInfo) -> Runtime:
        return self.runtimes[pod.spec.get("schedulerName") or DEFAULT_SCHEDULER_NAME]

    def _activate(self, pods: Iterable[PodInfo]) -> None:
        self.queue.activate(pod.uid for pod in pods)

    # -- the scheduling cycle ------------------------------------------------------------------

    def _schedule_one(self, queued: QueuedPodInfo) -> None:
        pod = queued.pod
        runtime = self._runtime(pod)
        if pod.deleting:
            note = f"skip schedule deleting pod: {pod.namespace}/{pod.name}"
            self._event(pod, "Warning", FAILED_SCHEDULING, SCHEDULING, note)
            self.queue.done(pod.uid)
            return
        if self.cache.pod(pod.uid) is not None:
            # Assumed already, or bound by somebody else while it was on its way here.
            self.queue.done(pod.uid)
            return
        state = CycleState()
        chosen, nominating = self._choose(runtime, state, queued)
        if isinstance(chosen, Status):
            self._spawn_failure(queued, chosen, nominating)
            return
        assumed = pod.on_node(chosen.name)
        self.cache.assume(assumed)
        self.nominator.delete(pod.uid)
        failure = runtime.run_reserve(state, assumed, chosen.name)
        if failure is None:
            failure = runtime.run_permit(state, assumed, chosen.name)
        if failure is not None:
            self._take_back(runtime, state, assumed)
            self._spawn_failure(queued, _on_one_node(failure, chosen.name), CLEAR_NOMINATION)
            return
        self._process.kernel.spawn(
            self._bind(runtime, state, queued, assumed),
            name=f"{self._process.name}/binding {pod.key}",
            process=self._process,
            eager=True,
        )

    def _choose(
        self, runtime: Runtime, state: CycleState, queued: QueuedPodInfo
    ) -> tuple[NodeInfo | Status, NominatingInfo | None]:
        """The node for the pod, or why there is none and what that means for its nomination."""
        pod = queued.pod
        if not self.cache.nodes:
            return fwk.unresolvable(NO_NODES), CLEAR_NOMINATION
        diagnosis = Diagnosis()
        feasible, failure = self._find(runtime, state, pod, diagnosis)
        if failure is not None:
            return failure, CLEAR_NOMINATION
        if len(feasible) == 1:
            return feasible[0], None
        if feasible:
            best = runtime.search.best(state, pod, feasible, queued.attempts)
            return best, CLEAR_NOMINATION if isinstance(best, Status) else None
        nominating: NominatingInfo | None = CLEAR_NOMINATION
        if runtime.has_post_filters:
            nominating, outcome = runtime.run_post_filters(state, pod, diagnosis.node_to_status)
            if outcome is not None:
                diagnosis.post_filter_message = outcome.message
        fit_error = FitError(len(self.cache.nodes), diagnosis)
        return Status(fwk.UNSCHEDULABLE, (fit_error.message(),), "", fit_error), nominating

    def _find(
        self, runtime: Runtime, state: CycleState, pod: PodInfo, diagnosis: Diagnosis
    ) -> tuple[list[NodeInfo], Status | None]:
        names, rejected = runtime.run_pre_filters(state, pod, diagnosis)
        if rejected is not None:
            if not rejected.rejected:
                return [], rejected
            diagnosis.node_to_status.absent = rejected
            diagnosis.pre_filter_message = rejected.message
            diagnosis.add(rejected)
            return [], None
        search, start = runtime.search, self._next_start
        nominated = self.cache.get(pod.nominated_node_name) if pod.nominated_node_name else None
        if nominated is not None:
            feasible, failure = search.find(state, pod, [nominated], 0, diagnosis)
            if feasible and failure is None:
                return feasible, None
        nodes: Sequence[NodeInfo] = self.cache.nodes
        count = len(nodes)
        if names is not None:
            nodes = sorted(
                (node for name in names if (node := self.cache.get(name)) is not None),
                key=lambda node: node.index,
            )
            plugins = " ".join(sorted(diagnosis.unschedulable_plugins))
            diagnosis.node_to_status.absent = fwk.unresolvable(
                f"node(s) didn't satisfy plugin(s) [{plugins}]"
            )
        feasible, failure = search.find(state, pod, nodes, start, diagnosis)
        processed = len(feasible) + len(diagnosis.node_to_status.statuses)
        self._next_start = (start + processed) % count
        return feasible, failure

    def _take_back(self, runtime: Runtime, state: CycleState, assumed: PodInfo) -> None:
        runtime.run_unreserve(state, assumed, assumed.node_name)
        self.cache.forget(assumed.uid)

    # -- the binding cycle ---------------------------------------------------------------------

    async def _bind(
        self, runtime: Runtime, state: CycleState, queued: QueuedPodInfo, assumed: PodInfo
    ) -> None:
        failure = await self._binding_cycle(runtime, state, assumed)
        if failure is None:
            return
        self._take_back(runtime, state, assumed)
        if not failure.rejected:
            self.queue.move_all(ASSIGNED_POD_DELETE, assumed.pod, None)
        await self._handle_failure(queued, failure, CLEAR_NOMINATION)
        if failure.rejected:
            # Its own release must not count as what helps it.
            self.queue.move_all(
                ASSIGNED_POD_DELETE, assumed.pod, None, lambda other: other.uid != assumed.uid
            )

    async def _binding_cycle(
        self, runtime: Runtime, state: CycleState, assumed: PodInfo
    ) -> Status | None:
        node_name = assumed.node_name
        flight = runtime.run_pre_flights(state, assumed, node_name)
        if flight is not None and flight.code != fwk.SKIP:
            return flight
        if flight is None or runtime.waiting_pod(assumed.uid) is not None:
            # Cluster autoscalers and people shall see where the pod is going to be.
            await self._write_status(assumed.pod, None, NominatingInfo(node_name))
        rejected = await runtime.wait_on_permit(assumed)
        if rejected is not None:
            return _on_one_node(rejected, node_name)
        self.queue.done(assumed.uid)
        failure = await runtime.run_pre_bind(state, assumed, node_name)
        if failure is None:
            failure = await runtime.run_bind(state, assumed, node_name)
        if failure is not None:
            return failure
        note = f"Successfully assigned {assumed.namespace}/{assumed.name} to {node_name}"
        self._event(assumed, "Normal", SCHEDULED, BINDING, note)
        runtime.run_post_bind(state, assumed, node_name)
        return None

    # -- failure -------------------------------------------------------------------------------

    def _spawn_failure(
        self, queued: QueuedPodInfo, failure: Status, nominating: NominatingInfo | None
    ) -> None:
        self._process.kernel.spawn(
            self._handle_failure(queued, failure, nominating),
            name=f"{self._process.name}/failure of {queued.pod.key}",
            process=self._process,
            eager=True,
        )

    async def _handle_failure(
        self, queued: QueuedPodInfo, failure: Status, nominating: NominatingInfo | None
    ) -> None:
        queued.unschedulable_plugins = set()
        queued.pending_plugins = set()
        if failure.fit_error is not None:
            diagnosis = failure.fit_error.diagnosis
            queued.unschedulable_plugins = set(diagnosis.unschedulable_plugins)
            queued.pending_plugins = set(diagnosis.pending_plugins)
        pod = queued.pod
        current = self._pods.store.get(pod.key)
        if current is None or current["spec"].get("nodeName"):
            self.queue.done(pod.uid)
        elif meta.uid(current) != pod.uid:
            self.queue.done(pod.uid)
            return
        else:
            if current is not pod.pod:
                pod = queued.pod = PodInfo(current)
            self.queue.add_unschedulable(queued)
        if nominating is not None:
            self.nominator.add(pod, nominating)
        message = failure.message
        self._event(pod, "Warning", FAILED_SCHEDULING, SCHEDULING, _truncated(message))
        reason = pod_status.UNSCHEDULABLE if failure.rejected else pod_status.SCHEDULER_ERROR
        condition = {
            "type": pod_status.POD_SCHEDULED,
            "observedGeneration": meta.generation(pod.pod),
            "status": "False",
            "reason": reason,
            "message": message,
        }
        await self._write_status(pod.pod, condition, nominating)

    async def _write_status(
        self, pod: Object, condition: Object | None, nominating: NominatingInfo | None
    ) -> None:
        now = timestamps.format_time(self._process.now_ns())
        patch = pod_status.scheduling_patch(pod, condition, nominating, now)
        if not patch:
            return
        try:
            await self._client.patch(
                PODS,
                meta.namespace(pod),
                meta.name(pod),
                {"status": patch},
                subresource="status",
            )
        except (status.APIStatus, ConnectionLost):
            # Upstream logs it; the next attempt writes again.
            return

    def _event(self, pod: PodInfo, type_: str, reason: str, action: str, note: str) -> None:
        recorder = self._runtime(pod).recorder
        recorder.eventf(pod.pod, None, type_, reason, action, note)


def _on_one_node(failure: Status, node_name: str) -> Status:
    """A rejection after a node was chosen, as the message of a search that had only that node."""
    if not failure.rejected:
        return failure
    diagnosis = Diagnosis()
    diagnosis.node_to_status.statuses[node_name] = failure
    diagnosis.add(failure)
    fit_error = FitError(1, diagnosis)
    return Status(failure.code, (fit_error.message(),), failure.plugin, fit_error)


def _truncated(message: str) -> str:
    suffix = " ..."
    return message if len(message) <= NOTE_LIMIT else message[: NOTE_LIMIT - len(suffix)] + suffix
