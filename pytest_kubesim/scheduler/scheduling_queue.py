"""The three places where a pod waits: active, backing off, unschedulable.

The law: a pod is in one place, or in flight (between `pop` and `done`).  A pod that was rejected is
tried again when a cluster event comes that one of the plugins that rejected it calls helpful;
events that come while it is in flight count too.  Back-offs (1 s doubling to 10 s, unless told
otherwise) end at whole seconds; when the active queue is empty, the next pod that backs off is
taken at once, unless it failed by a mishap.  After five minutes in the unschedulable pool a pod is
tried anyway.

Follows `pkg/scheduler/backend/queue/{scheduling_queue,active_queue,backoff_queue}.go`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.scheduler.cluster_events import (
    FORCE_ACTIVATE,
    UNSCHEDULABLE_TIMEOUT,
    pod_changes,
)
from pytest_kubesim.scheduler.node_selection import NOTHING
from pytest_kubesim.scheduler.pod_info import PodInfo
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.tasks import Future

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import ClusterEvent, ClusterEventWithHint, Status
    from pytest_kubesim.scheduler.nominator import Nominator
    from pytest_kubesim.sim.kernel import Timer
    from pytest_kubesim.sim.process import Process

INITIAL_BACKOFF_NS = 1 * NS
MAX_BACKOFF_NS = 10 * NS
MAX_UNSCHEDULABLE_NS = 5 * 60 * NS
FLUSH_NS = 30 * NS

QUEUE_SKIP, QUEUE_AFTER_BACKOFF, QUEUE_IMMEDIATELY = 0, 1, 2

ACTIVE, BACKOFF, UNSCHEDULABLE, IN_FLIGHT = "active", "backoff", "unschedulable", "in flight"


@attrs.define(slots=True, eq=False)
class QueuedPodInfo:
    """A pod that waits to be scheduled, and its history."""

    pod: PodInfo
    timestamp_ns: int
    attempts: int = 0
    unschedulable_plugins: set[str] = attrs.field(factory=set[str])
    pending_plugins: set[str] = attrs.field(factory=set[str])
    gating_plugin: str = ""
    unschedulable_count: int = 0
    consecutive_errors: int = 0
    backoff_until_ns: int = 0
    flushed_ns: int = 0
    place: str = ""
    ticket: int = 0
    """Which of its heap entries is the valid one."""


class QueueingPlugins:
    """What the queue needs of one profile's plugins."""

    __slots__ = ("gates", "hints", "registered", "sort_key")

    def __init__(
        self,
        gates: Mapping[str, Callable[[PodInfo], Status | None]],
        hints: Mapping[str, Iterable[ClusterEventWithHint]],
        sort_key: Callable[[QueuedPodInfo], Any],
    ) -> None:
        self.gates = dict(gates)
        self.sort_key = sort_key
        self.hints = [
            (registered.event, plugin, registered.hint)
            for plugin, entries in hints.items()
            for registered in entries
        ]
        self.registered: dict[str, list[ClusterEvent]] = {
            plugin: [registered.event for registered in entries]
            for plugin, entries in hints.items()
        }


class SchedulingQueue:
    """The pods that are to be scheduled, of all profiles."""

    def __init__(
        self,
        process: Process,
        nominator: Nominator,
        plugins: Mapping[str, QueueingPlugins],
        *,
        initial_backoff_ns: int = INITIAL_BACKOFF_NS,
        max_backoff_ns: int = MAX_BACKOFF_NS,
    ) -> None:
        self._initial_backoff_ns = initial_backoff_ns
        self._max_backoff_ns = max_backoff_ns
        self._process = process
        self._nominator = nominator
        self._plugins = plugins
        self._sort_key = next(iter(plugins.values())).sort_key
        self._infos: dict[str, QueuedPodInfo] = {}
        self._unschedulable: dict[str, QueuedPodInfo] = {}
        self._active: list[tuple[Any, int, QueuedPodInfo]] = []
        self._backoff: list[tuple[Any, ...]] = []
        self._error_backoff: list[tuple[Any, ...]] = []
        self._in_flight: dict[str, list[tuple[ClusterEvent, Object | None, Object | None]]] = {}
        self._tickets = 0
        self._getter: Future[None] | None = None
        self._backoff_timer: Timer | None = None
        self._flush_timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._infos)

    def pods(self, place: str) -> list[PodInfo]:
        """The pods that are in that place, in the order in which they came to the queue."""
        return [info.pod for info in self._infos.values() if info.place == place]

    @property
    def wants_events(self) -> bool:
        """Whether a cluster event could change anything now."""
        return bool(self._unschedulable or self._in_flight)

    # -- pods come, change, go -----------------------------------------------------------------

    def add(self, pod: PodInfo) -> None:
        """A new pod."""
        info = QueuedPodInfo(pod, self._now)
        self._nominator.add(pod)
        old = self._infos.get(pod.uid)
        if old is not None:
            self._leave(old)
        self._infos[pod.uid] = info
        self._to_active(info)

    def update(self, old: Object, pod: PodInfo) -> None:
        """A newer object of a pod that waits (or should)."""
        events = pod_changes(old, pod.pod, target=True)
        in_flight = self._in_flight.get(pod.uid)
        if in_flight is not None:
            in_flight.extend((event, old, pod.pod) for event in events)
            return
        info = self._infos.get(pod.uid)
        if info is None:
            self.add(pod)
            return
        info.pod = pod
        self._nominator.update((old.get("status") or NOTHING).get("nominatedNodeName") or "", pod)
        if info.place == ACTIVE:
            self._to_active_heap(info)
        elif info.place == UNSCHEDULABLE:
            for event in events:
                strategy = self._worth(info, event, old, pod.pod)
                if self._requeue(info, strategy) != UNSCHEDULABLE:
                    self._wake()
                    break

    def delete(self, uid: str) -> None:
        """The pod of that uid needs no scheduling any more."""
        self._nominator.delete(uid)
        info = self._infos.pop(uid, None)
        if info is not None:
            self._leave(info)

    # -- the cycle -----------------------------------------------------------------------------

    async def pop(self) -> QueuedPodInfo:
        """The next pod, waiting for one; it is in flight until `done`."""
        while (info := self._next()) is None:
            self._getter = Future(self._process.kernel)
            await self._getter
        self._leave(info)
        info.place = IN_FLIGHT
        info.attempts += 1
        self._in_flight[info.pod.uid] = []
        return info

    def done(self, uid: str) -> None:
        """The attempt for that pod is over, as far as events can change it."""
        if self._in_flight.pop(uid, None) is not None:
            info = self._infos.get(uid)
            if info is not None and info.place == IN_FLIGHT:
                del self._infos[uid]

    def add_unschedulable(self, info: QueuedPodInfo) -> None:
        """The attempt failed: wait for what helps (or, after a mishap, for the back-off)."""
        uid = info.pod.uid
        known = self._infos.get(uid)
        if known is not None and known is not info:
            self.done(uid)
            return
        self._infos[uid] = info
        if info.unschedulable_plugins or info.pending_plugins:
            info.unschedulable_count += 1
            info.consecutive_errors = 0
        else:
            info.consecutive_errors += 1
        info.timestamp_ns = self._now
        info.backoff_until_ns = 0
        info.flushed_ns = 0
        strategy = self._hint_of_flight(info)
        self._in_flight.pop(uid, None)
        if self._requeue(info, strategy) != UNSCHEDULABLE:
            self._wake()

    def activate(self, uids: Iterable[str]) -> None:
        """Try these pods now, whatever they wait for."""
        for uid in uids:
            info = self._infos.get(uid)
            if info is not None and info.place in {BACKOFF, UNSCHEDULABLE}:
                self._leave(info)
                self._to_active(info)
            elif uid in self._in_flight:
                pod = info.pod.pod if info is not None else None
                self._in_flight[uid].append((FORCE_ACTIVATE, None, pod))

    # -- cluster events ------------------------------------------------------------------------

    def move_all(
        self,
        event: ClusterEvent,
        old: Object | None,
        new: Object | None,
        only: Callable[[PodInfo], bool] | None = None,
    ) -> None:
        """Something changed: try those again whom a plugin that rejected them calls helped."""
        if not self.wants_events or not self._of_interest(event):
            return
        woken = False
        for info in list(self._unschedulable.values()):
            if only is not None and not only(info.pod):
                continue
            if info.gating_plugin and not event.wild and not self._gate_wants(info, event):
                continue
            strategy = self._worth(info, event, old, new)
            if strategy == QUEUE_SKIP:
                continue
            woken = self._requeue(info, strategy) != UNSCHEDULABLE or woken
        for events in self._in_flight.values():
            events.append((event, old, new))
        if woken:
            self._wake()

    def _of_interest(self, event: ClusterEvent) -> bool:
        if event.wild:
            return True
        return any(
            registered.covers(event)
            for plugins in self._plugins.values()
            for registered, _, _ in plugins.hints
        )

    def _gate_wants(self, info: QueuedPodInfo, event: ClusterEvent) -> bool:
        plugins = self._plugins_of(info)
        return any(e.covers(event) for e in plugins.registered.get(info.gating_plugin, ()))

    def _plugins_of(self, info: QueuedPodInfo) -> QueueingPlugins:
        return self._plugins[info.pod.spec.get("schedulerName") or "default-scheduler"]

    def _worth(
        self, info: QueuedPodInfo, event: ClusterEvent, old: Object | None, new: Object | None
    ) -> int:
        rejectors = info.unschedulable_plugins | info.pending_plugins
        if not rejectors:
            return QUEUE_AFTER_BACKOFF
        if event.wild:
            if new is not None and new["metadata"].get("uid") != info.pod.uid:
                return QUEUE_SKIP
            return QUEUE_AFTER_BACKOFF
        strategy = QUEUE_SKIP
        for registered, plugin, hint in self._plugins_of(info).hints:
            if plugin not in rejectors or not registered.covers(event):
                continue
            if hint is not None and not hint(info.pod, old, new):
                continue
            if plugin in info.pending_plugins:
                return QUEUE_IMMEDIATELY
            if not info.pending_plugins:
                return QUEUE_AFTER_BACKOFF
            strategy = QUEUE_AFTER_BACKOFF
        return strategy

    def _hint_of_flight(self, info: QueuedPodInfo) -> int:
        if not info.unschedulable_plugins and not info.pending_plugins:
            return QUEUE_AFTER_BACKOFF
        strategy = QUEUE_SKIP
        for event, old, new in self._in_flight.get(info.pod.uid, ()):
            strategy = max(strategy, self._worth(info, event, old, new))
        return strategy

    # -- from place to place -------------------------------------------------------------------

    @property
    def _now(self) -> int:
        return self._process.now_ns()

    def _requeue(self, info: QueuedPodInfo, strategy: int) -> str:
        if strategy == QUEUE_SKIP:
            self._to_unschedulable(info)
        elif strategy == QUEUE_AFTER_BACKOFF and self._backing_off(info):
            if self._gated(info):
                self._to_unschedulable(info)
            else:
                self._to_backoff(info)
        else:
            self._to_active(info)
        return info.place

    def _gated(self, info: QueuedPodInfo) -> bool:
        gates = self._plugins_of(info).gates
        first = info.gating_plugin
        names = [first, *(n for n in gates if n != first)] if first in gates else list(gates)
        for name in names:
            status = gates[name](info.pod)
            if status is not None:
                info.unschedulable_plugins.add(name)
                info.gating_plugin = name
                return True
        info.gating_plugin = ""
        return False

    def _leave(self, info: QueuedPodInfo) -> None:
        if info.place == UNSCHEDULABLE:
            self._unschedulable.pop(info.pod.uid, None)
        info.place = ""
        info.ticket = 0

    def _to_unschedulable(self, info: QueuedPodInfo) -> None:
        if info.place != UNSCHEDULABLE:
            self._leave(info)
            info.place = UNSCHEDULABLE
            self._unschedulable[info.pod.uid] = info
        if self._flush_timer is None:
            self._flush_timer = self._process.call_later(
                FLUSH_NS, self._flush, periodic=True, label="scheduler: unschedulable pods"
            )

    def _to_active(self, info: QueuedPodInfo) -> None:
        if self._gated(info):
            self._to_unschedulable(info)
            return
        self._leave(info)
        info.place = ACTIVE
        self._to_active_heap(info)
        self._wake()

    def _to_active_heap(self, info: QueuedPodInfo) -> None:
        self._tickets += 1
        info.ticket = self._tickets
        heapq.heappush(self._active, (self._sort_key(info), self._tickets, info))

    def _to_backoff(self, info: QueuedPodInfo) -> None:
        self._leave(info)
        info.place = BACKOFF
        self._tickets += 1
        info.ticket = self._tickets
        mishap = not info.unschedulable_plugins and not info.pending_plugins
        heap = self._error_backoff if mishap else self._backoff
        key = (self._backoff_until(info), self._sort_key(info))
        heapq.heappush(heap, (key, self._tickets, info))
        self._arm_backoff_timer()

    def _next(self) -> QueuedPodInfo | None:
        for heap in (self._active, self._backoff):
            while heap:
                _, ticket, info = heapq.heappop(heap)
                if info.ticket == ticket:
                    return info
        return None

    def _wake(self) -> None:
        getter, self._getter = self._getter, None
        if getter is not None and not getter.done():
            getter.set_result(None)

    # -- time ----------------------------------------------------------------------------------

    def _backoff_until(self, info: QueuedPodInfo) -> int:
        count = info.consecutive_errors or info.unschedulable_count
        if count == 0:
            return 0
        if info.backoff_until_ns == 0:
            doubled = self._initial_backoff_ns << min(count - 1, 32)
            duration = min(doubled, self._max_backoff_ns)
            info.backoff_until_ns = (info.timestamp_ns + duration) // NS * NS
        return info.backoff_until_ns

    def _backing_off(self, info: QueuedPodInfo) -> bool:
        return self._backoff_until(info) >= self._now // NS * NS

    def _arm_backoff_timer(self) -> None:
        if self._backoff_timer is None:
            now = self._now
            self._backoff_timer = self._process.call_later(
                NS - now % NS, self._backoff_over, label="scheduler: back-off"
            )

    def _backoff_over(self) -> None:
        self._backoff_timer = None
        for heap in (self._backoff, self._error_backoff):
            while heap:
                _, ticket, info = heap[0]
                if info.ticket == ticket and self._backing_off(info):
                    break
                heapq.heappop(heap)
                if info.ticket == ticket:
                    self._leave(info)
                    info.place = ACTIVE
                    self._to_active_heap(info)
                    self._wake()
        if self._backoff or self._error_backoff:
            self._arm_backoff_timer()

    def _flush(self) -> None:
        self._flush_timer = None
        now = self._now
        for info in list(self._unschedulable.values()):
            if now - max(info.timestamp_ns, info.flushed_ns) > MAX_UNSCHEDULABLE_NS:
                info.flushed_ns = now
                if self._requeue(info, self._worth(info, UNSCHEDULABLE_TIMEOUT, None, None)) != (
                    UNSCHEDULABLE
                ):
                    self._wake()
        if self._unschedulable and self._flush_timer is None:
            self._flush_timer = self._process.call_later(
                FLUSH_NS, self._flush, periodic=True, label="scheduler: unschedulable pods"
            )


