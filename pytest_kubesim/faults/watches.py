"""Faults of watches: cut, told that their history is gone, kept back, late.

The law: what a client gets of a watch is in order and complete up to where the watch ends; a fault
may only delay it, or end it.  That events are *coalesced* is what a client makes of that: it lists
anew and sees where the changes have led.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import status
from pytest_kubesim.sim.durations import to_ns
from pytest_kubesim.wire import WatchEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.apiserver.storage.watch import CacheWatcher
    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.faults.requests import RequestMatch
    from pytest_kubesim.sim.kernel import Kernel


class Watches:
    """The watches that are open, with what was asked for; whoever wants hears of new ones."""

    def __init__(self, kernel: Kernel, servers: Callable[[], tuple[APIServer, ...]]) -> None:
        self.kernel = kernel
        self._servers = servers
        self._known: dict[CacheWatcher, dict[str, Any]] = {}
        self._listeners: list[Callable[[CacheWatcher, dict[str, Any]], object]] = []
        self._heard: set[str] = set()
        for server in servers():
            server.on_watch.append(self._opened)

    def _opened(self, scope: RequestScope, watcher: CacheWatcher) -> None:
        known = self._known
        if len(known) > 64 and len(known) > 2 * sum(not each.closed for each in known):
            self._known = known = {k: v for k, v in known.items() if not k.closed}
        attributes = known[watcher] = scope.server.attributes(scope)
        for listener in tuple(self._listeners):
            listener(watcher, attributes)

    def open(self, match: RequestMatch) -> list[CacheWatcher]:
        """Those that are open now and meant, oldest first."""
        return [w for w, asked in self._known.items() if not w.closed and match.matches(asked)]

    def on_open(
        self, match: RequestMatch, act: Callable[[CacheWatcher], object]
    ) -> Callable[[], None]:
        """Call `act` with every watch that is meant and opened from here on; returns the end."""

        def opened(watcher: CacheWatcher, attributes: dict[str, Any]) -> None:
            if match.matches(attributes):
                act(watcher)

        self._listeners.append(opened)
        return lambda: self._listeners.remove(opened)


class Gate:
    """What stands before one watch and keeps its events back."""

    __slots__ = ("held", "keeps", "watcher")

    def __init__(self, watcher: CacheWatcher, keeps: Callable[[Gate, WatchEvent], bool]) -> None:
        self.watcher = watcher
        self.keeps = keeps
        self.held: list[WatchEvent] = []
        watcher.gates = (*watcher.gates, self.takes)

    def takes(self, event: WatchEvent) -> bool:
        """Whether it keeps the event."""
        if not self.keeps(self, event):
            return False
        self.held.append(event)
        return True

    def let_one_go(self) -> None:
        """Pass the oldest event on."""
        if self.held:
            self._pass(self.held.pop(0))

    def open(self) -> None:
        """Pass everything on, and be gone."""
        watcher = self.watcher
        rest = tuple(gate for gate in watcher.gates if gate != self.takes)
        held, self.held = self.held, []
        for event in held:
            self._pass(event)
        watcher.gates = rest

    def _pass(self, event: WatchEvent) -> None:
        watcher = self.watcher
        if watcher.closed:
            return
        gates = watcher.gates
        place = gates.index(self.takes)
        # Who came after this one has its turn; those before it have had theirs.
        for gate in gates[place + 1 :]:
            if gate(event):
                return
        watcher.deliver(event)


def expire(watcher: CacheWatcher, revision: int) -> None:
    """End a watch as one whose history is gone."""
    error = status.new_resource_expired(
        f"too old resource version: {watcher.revision} ({revision})"
    )
    watcher.deliver(WatchEvent("ERROR", error.to_object(), 0))
    watcher.close()


def begin(watches: Watches, armed: Armed, match: RequestMatch) -> Callable[[], None] | None:
    """Let a fault of watches begin."""
    what = armed.fault.what
    if what in ("cut_watch", "expire_watch"):
        for watcher in watches.open(match):
            armed.strike(watcher=watcher.id)
            if what == "cut_watch":
                watcher.cut()
            else:
                expire(watcher, watcher.revision + 1)
        return None
    gates: list[Gate] = []
    keeps = {
        "hold_events": _hold, "delay_events": _delay, "coalesce_events": _coalesce
    }[what](watches.kernel, armed)

    def guard(watcher: CacheWatcher) -> None:
        gates.append(Gate(watcher, keeps))

    def opened(watcher: CacheWatcher) -> None:
        # One that is over already says only why: its client must hear that.
        if not watcher.closed:
            guard(watcher)
            watcher.requeue()

    for watcher in watches.open(match):
        guard(watcher)
    cancel = watches.on_open(match, opened)

    def end() -> None:
        cancel()
        for gate in gates:
            gate.open()

    return end


def _hold(kernel: Kernel, armed: Armed) -> Callable[[Gate, WatchEvent], bool]:
    del kernel

    def keeps(gate: Gate, event: WatchEvent) -> bool:
        if event.type != "BOOKMARK":
            armed.seen += 1
            if not gate.held:
                armed.strike(event=event.type, watcher=gate.watcher.id)
        return True

    return keeps


def _delay(kernel: Kernel, armed: Armed) -> Callable[[Gate, WatchEvent], bool]:
    delay_ns = to_ns(armed.fault.args[0])

    def keeps(gate: Gate, event: WatchEvent) -> bool:
        if event.type != "BOOKMARK":
            armed.strike(event=event.type, watcher=gate.watcher.id)
        kernel.call_later(delay_ns, gate.let_one_go, label="a watch event that comes late")
        return True

    return keeps


def _coalesce(kernel: Kernel, armed: Armed) -> Callable[[Gate, WatchEvent], bool]:
    delay_ns = to_ns(armed.fault.args[0])

    def due(gate: Gate) -> None:
        if len([e for e in gate.held if e.type != "BOOKMARK"]) <= 1:
            while gate.held:
                gate.let_one_go()
            return
        armed.strike(missed=len(gate.held), watcher=gate.watcher.id)
        newest = gate.held[-1].revision
        gate.held.clear()
        expire(gate.watcher, newest)

    def keeps(gate: Gate, event: WatchEvent) -> bool:
        del event
        armed.seen += 1
        if not gate.held:
            kernel.call_later(delay_ns, due, gate, label="watch events that come late")
        return True

    return keeps
