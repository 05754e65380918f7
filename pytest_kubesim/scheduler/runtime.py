"""One profile's plugins at work: every extension point in order, with upstream's rules between.

Follows `pkg/scheduler/framework/runtime/framework.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.extension_points import POINT_OF_HOOK
from pytest_kubesim.scheduler.framework import CycleState, Status
from pytest_kubesim.scheduler.node_search import Search, TemplateCache
from pytest_kubesim.scheduler.scheduling_queue import QueueingPlugins
from pytest_kubesim.scheduler.waiting_pods import PreBinding, WaitingPod, WaitingPods
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.tasks import Cancelled

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.events import EventRecorder
    from pytest_kubesim.client_go.informer import SharedInformerFactory
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.client_go.store import Store
    from pytest_kubesim.scheduler.cache import Cache
    from pytest_kubesim.scheduler.framework import Diagnosis, NodeToStatus, NominatingInfo
    from pytest_kubesim.scheduler.node_info import NodeInfo
    from pytest_kubesim.scheduler.nominator import Nominator
    from pytest_kubesim.scheduler.pod_info import PodInfo
    from pytest_kubesim.scheduler.profile import Profile
    from pytest_kubesim.sim.process import Process

MAX_PERMIT_NS = 15 * 60 * NS


@attrs.frozen(slots=True)
class Services:
    """What the profiles of one scheduler share."""

    process: Process
    client: RESTClient
    informers: SharedInformerFactory
    recorder: EventRecorder
    cache: Cache
    nominator: Nominator
    pods: Store
    activate: Callable[[Iterable[PodInfo]], None]


class Runtime:
    """A profile, running.  It is the `framework.Handle` of its plugins."""

    def __init__(self, profile: Profile, services: Services) -> None:
        self.profile = profile
        self.process = services.process
        self.client = services.client
        self.informers = services.informers
        self.recorder = services.recorder.named(profile.scheduler_name)
        self.cache = services.cache
        self.nominator = services.nominator
        self._pods = services.pods
        self._activate = services.activate
        self._waiting = WaitingPods(services.process)
        self._pre_binding: dict[str, PreBinding] = {}
        self._layout = layout = profile.build()
        self._plugins = layout.plugins
        for plugin in self._plugins:
            if hasattr(plugin, "attach"):
                plugin.attach(self)
        self._pre_filters = self._hooks("pre_filter")
        self._post_filters = self._hooks("post_filter")
        self._add_pods = self._hooks("add_pod")
        self._remove_pods = self._hooks("remove_pod")
        self._pre_scores = self._hooks("pre_score")
        self._reserves = self._hooks("reserve")
        self._unreserves = list(reversed(self._hooks("unreserve")))
        self._permits = self._hooks("permit")
        self._flights = dict(self._hooks("pre_bind_pre_flight"))
        self._pre_binds = self._hooks("pre_bind")
        self._binds = self._hooks("bind")
        self._post_binds = self._hooks("post_bind")
        self.filters = self._hooks("filter")
        self.templates = TemplateCache(services.cache, layout)
        self.search = Search(self)

    def _hooks(self, hook: str) -> list[tuple[str, Callable[..., Any]]]:
        plugins = self._layout.at(POINT_OF_HOOK[hook])
        return [(p.name, getattr(p, hook)) for p in plugins if hasattr(p, hook)]

    def queueing(self) -> QueueingPlugins:
        """What the queue asks of this profile."""
        sorters = self._hooks("sort_key")
        hints = {
            plugin.name: plugin.events() if hasattr(plugin, "events") else _EVERYTHING
            for plugin in self._plugins
        }
        return QueueingPlugins(dict(self._hooks("pre_enqueue")), hints, sorters[-1][1])

    def event_resources(self) -> set[str]:
        """The resources of which plugins want to hear."""
        return {
            registered.event.resource
            for plugin in self._plugins
            if hasattr(plugin, "events")
            for registered in plugin.events()
        }

    @property
    def has_scores(self) -> bool:
        """Whether any plugin scores."""
        return bool(self.templates.scorers)

    # -- the handle ----------------------------------------------------------------------------

    def get_pod(self, namespace: str, name: str) -> Object | None:
        """The pod as the informer has it."""
        return self._pods.get_by_name(namespace, name)

    def activate(self, pods: Iterable[PodInfo]) -> None:
        """Move `pods` to the active queue."""
        self._activate(pods)

    def waiting_pod(self, uid: str) -> WaitingPod | None:
        """The pod of that uid, if it waits for a permit."""
        return self._waiting.get(uid)

    def run_add_pod(
        self, state: CycleState, pod: PodInfo, other: PodInfo, node: NodeInfo
    ) -> Status | None:
        """The `add_pod` hooks of the plugins that filter this pod."""
        return self._run_shift(self._add_pods, state, pod, other, node)

    def run_remove_pod(
        self, state: CycleState, pod: PodInfo, other: PodInfo, node: NodeInfo
    ) -> Status | None:
        """The `remove_pod` hooks of the plugins that filter this pod."""
        return self._run_shift(self._remove_pods, state, pod, other, node)

    @staticmethod
    def _run_shift(
        hooks: Sequence[tuple[str, Callable[..., Any]]],
        state: CycleState,
        pod: PodInfo,
        other: PodInfo,
        node: NodeInfo,
    ) -> Status | None:
        for name, hook in hooks:
            if name not in state.skip_filter:
                status: Status | None = hook(state, pod, other, node)
                if status is not None:
                    return status
        return None

    # -- filtering -----------------------------------------------------------------------------

    def run_pre_filters(
        self, state: CycleState, pod: PodInfo, diagnosis: Diagnosis
    ) -> tuple[set[str] | None, Status | None]:
        """The node names the plugins agree on (None: all), and why the pod fits nowhere."""
        nodes = self.cache.nodes
        result: set[str] | None = None
        named: list[str] = []
        rejected: Status | None = None
        for name, hook in self._pre_filters:
            names: set[str] | None
            status: Status | None
            names, status = hook(state, pod, nodes)
            if status is not None:
                if status.code == fwk.SKIP:
                    state.skip_filter.add(name)
                    continue
                if status.code == fwk.UNSCHEDULABLE_AND_UNRESOLVABLE:
                    return None, status.by(name)
                if status.code == fwk.UNSCHEDULABLE:
                    rejected = status.by(name)
                    continue
                message = f'running PreFilter plugin "{name}": {status.message}'
                return None, Status(fwk.ERROR, (message,), name)
            if names is not None:
                named.append(name)
                result = names if result is None else result & names
                if not result:
                    diagnosis.unschedulable_plugins.update(named)
                    text = (
                        f"node(s) didn't satisfy plugin {named[0]}"
                        if len(named) == 1
                        else f"node(s) didn't satisfy plugin(s) [{' '.join(sorted(named))}] "
                        "simultaneously"
                    )
                    return result, fwk.unresolvable(text)
        diagnosis.unschedulable_plugins.update(named)
        return result, rejected

    def run_plain_filters(
        self, state: CycleState, pod: PodInfo, node: NodeInfo
    ) -> Status | None:
        """The filters on `node` as it is; the first that rejects it speaks."""
        skip = state.skip_filter
        for name, hook in self.filters:
            if name not in skip:
                status: Status | None = hook(state, pod, node)
                if status is not None:
                    if not status.rejected:
                        message = f'running "{name}" filter plugin: {status.message}'
                        return Status(fwk.ERROR, (message,), name)
                    return status.by(name)
        return None

    def run_filters(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """The filters with the pods of no less priority that are nominated to the node, and
        without: the pod must fit either way.
        """
        nominated = [
            other
            for other in self.nominator.on_node(node.name)
            if other.priority >= pod.priority and other.uid != pod.uid
        ]
        if nominated:
            what_if, crowded = state.clone(), node.clone()
            for other in nominated:
                crowded.add_pod(other)
                status = self.run_add_pod(what_if, pod, other, crowded)
                if status is not None:
                    return Status(fwk.ERROR, status.reasons)
            status = self.run_plain_filters(what_if, pod, crowded)
            if status is not None:
                return status
        return self.run_plain_filters(state, pod, node)

    def run_post_filters(
        self, state: CycleState, pod: PodInfo, statuses: NodeToStatus
    ) -> tuple[NominatingInfo | None, Status | None]:
        """What plugins do about a pod that fits nowhere: preempt."""
        result: NominatingInfo | None = None
        reasons: list[str] = []
        rejector = ""
        for name, hook in self._post_filters:
            found: NominatingInfo | None
            status: Status | None
            found, status = hook(state, pod, statuses)
            if status is None or status.code == fwk.SUCCESS:
                return found, status
            if status.code == fwk.UNSCHEDULABLE_AND_UNRESOLVABLE:
                return found, status.by(name)
            if not status.rejected:
                return None, Status(fwk.ERROR, status.reasons, name)
            if found is not None:
                result = found
            reasons.extend(status.reasons)
            rejector = rejector or name
        return result, Status(fwk.UNSCHEDULABLE, tuple(reasons), rejector)

    @property
    def has_post_filters(self) -> bool:
        """Whether any plugin does something about a pod that fits nowhere."""
        return bool(self._post_filters)

    def run_pre_scores(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> Status | None:
        """The `pre_score` hooks."""
        for name, hook in self._pre_scores:
            status: Status | None = hook(state, pod, nodes)
            if status is not None:
                if status.code != fwk.SKIP:
                    return fwk.error(f'running PreScore plugin "{name}": {status.message}')
                state.skip_score.add(name)
        return None

    # -- from reserve to bind ------------------------------------------------------------------

    def run_reserve(self, state: CycleState, pod: PodInfo, node_name: str) -> Status | None:
        """The `reserve` hooks, until one objects."""
        for name, hook in self._reserves:
            status: Status | None = hook(state, pod, node_name)
            if status is not None:
                if status.rejected:
                    return status.by(name)
                return fwk.error(f'running Reserve plugin "{name}": {status.message}')
        return None

    def run_unreserve(self, state: CycleState, pod: PodInfo, node_name: str) -> None:
        """The `unreserve` hooks, last first."""
        for _, hook in self._unreserves:
            hook(state, pod, node_name)

    def run_permit(self, state: CycleState, pod: PodInfo, node_name: str) -> Status | None:
        """The `permit` hooks; a pod that has to wait is entered among the waiting."""
        timeouts: dict[str, int] = {}
        for name, hook in self._permits:
            status: Status | None
            timeout_ns: int
            status, timeout_ns = hook(state, pod, node_name)
            if status is None:
                continue
            if status.rejected:
                return status.by(name)
            if status.code != fwk.WAIT:
                message = f'running Permit plugin "{name}": {status.message}'
                return Status(fwk.ERROR, (message,), name)
            timeouts[name] = min(timeout_ns, MAX_PERMIT_NS)
        if timeouts:
            self._waiting.add(pod, timeouts)
        return None

    async def wait_on_permit(self, pod: PodInfo) -> Status | None:
        """Wait as long as a permit plugin says."""
        status = await self._waiting.wait(pod.uid)
        if status is None or status.rejected:
            return status
        message = f"waiting on permit for pod: {status.message}"
        return Status(fwk.ERROR, (message,), status.plugin)

    def reject_waiting(self, uid: str) -> bool:
        """Reject a pod that waits for a permit; False if it does not."""
        waiting = self._waiting.get(uid)
        return waiting is not None and waiting.reject("", "removed")

    def run_pre_flights(self, state: CycleState, pod: PodInfo, node_name: str) -> Status | None:
        """Whether `pre_bind` has anything to do: SKIPPED when not."""
        busy = False
        for name, _ in self._pre_binds:
            flight = self._flights.get(name)
            status: Status | None = flight(state, pod, node_name) if flight else None
            if status is None:
                busy = True
            elif status.code == fwk.SKIP:
                state.skip_pre_bind.add(name)
            else:
                return fwk.error(f'running PreBindPreFlight "{name}": {status.message}')
        return None if busy else fwk.SKIPPED

    async def run_pre_bind(self, state: CycleState, pod: PodInfo, node_name: str) -> Status | None:
        """The `pre_bind` hooks that have something to do; a preemptor may end them."""
        hooks = [entry for entry in self._pre_binds if entry[0] not in state.skip_pre_bind]
        if not hooks:
            return None
        binding = self._pre_binding[pod.uid] = PreBinding(self.process.kernel.current_task)
        try:
            for name, hook in hooks:
                try:
                    status: Status | None = await hook(state, pod, node_name)
                except Cancelled:
                    if not binding.cause:
                        raise
                    status = fwk.error(binding.cause)
                if status is not None:
                    if status.rejected:
                        return status.by(name)
                    return fwk.error(f'running PreBind plugin "{name}": {status.message}')
        finally:
            del self._pre_binding[pod.uid]
        return None

    def cancel_pre_bind(self, uid: str, cause: str) -> bool:
        """End what PreBind does for the pod of that uid; False if it is not there (any more)."""
        binding = self._pre_binding.get(uid)
        return binding is not None and binding.cancel(cause)

    async def run_bind(self, state: CycleState, pod: PodInfo, node_name: str) -> Status | None:
        """The first `bind` hook that does not skip."""
        for name, hook in self._binds:
            status: Status | None = await hook(state, pod, node_name)
            if status is not None and status.code == fwk.SKIP:
                continue
            if status is None:
                return None
            if status.rejected:
                return status.by(name)
            return fwk.error(f'running Bind plugin "{name}": {status.message}')
        return fwk.SKIPPED

    def run_post_bind(self, state: CycleState, pod: PodInfo, node_name: str) -> None:
        """The `post_bind` hooks."""
        for _, hook in self._post_binds:
            hook(state, pod, node_name)


_EVERYTHING = [
    fwk.on(resource, fwk.ALL)
    for resource in (
        fwk.ASSIGNED_POD,
        fwk.UNSCHEDULED_POD,
        fwk.TARGET_POD,
        fwk.NODE,
        fwk.PERSISTENT_VOLUME,
        fwk.PERSISTENT_VOLUME_CLAIM,
        fwk.STORAGE_CLASS,
        fwk.CSI_NODE,
        fwk.CSI_DRIVER,
        fwk.CSI_STORAGE_CAPACITY,
        fwk.VOLUME_ATTACHMENT,
    )
]
"""What a plugin that registers nothing is asked about: everything."""
