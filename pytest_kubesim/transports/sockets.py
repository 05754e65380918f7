"""Serving on real sockets: one thread, one selector, the kernel between them.

Law: the loop does three things in turn, none of which blocks for long: it runs what is due in the
simulation (for at most 20 ms at a time), it takes in what has come on the sockets, it sends what is
to be sent.  It sleeps only in `select`, until the next event of the simulation is due on the wall.
Handshakes are what costs most: those who are connected come first, and who shakes hands when 10 ms
have gone into that waits for the next turn.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_kubesim.cluster import collector
from pytest_kubesim.transports.http import Front
from pytest_kubesim.transports.peers import Hub, Peer, listen
from pytest_kubesim.transports.wall_timers import WallTimers

if TYPE_CHECKING:
    from pytest_kubesim.sim.clock import WallClock
    from pytest_kubesim.sim.kernel import Kernel

TURN_S = 0.02
"""For how long the simulation may run before the sockets are looked at."""
HANDSHAKES_S = 0.01
"""How much of a turn may go into handshakes."""
LONGEST_SLEEP_S = 1.0
FULL_S = 0.1
"""For how long nobody is let in when no more files can be opened."""


class Loop(Hub):
    """Serves `front` on loopback until `stop()`.

    Parameters: `front`, what all connections share; `clock` that follows the wall; `context`, TLS
    of the server side; `port`, 0 for a free one; `host`, another address than loopback's; `timers`
    that fall due in real time.
    """

    def __init__(
        self,
        front: Front,
        clock: WallClock,
        context: ssl.SSLContext,
        port: int = 0,
        host: str = "127.0.0.1",
        timers: WallTimers | None = None,
    ) -> None:
        super().__init__(context)
        self.front = front
        self.timers = timers or WallTimers()
        self._clock = clock
        self._kernel: Kernel = front.kernel
        self._listener = listen(host, port)
        self.selector.register(self._listener, selectors.EVENT_READ, None)
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self.selector.register(self._wake_in, selectors.EVENT_READ, self._woken)
        self._called: deque[Callable[[], object]] = deque()
        self._stopping = False

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self.peers)

    def run(self) -> None:
        """Serve until `stop()`."""
        raise_file_limit()
        with collector.rarely():
            while not self._stopping:
                self._turn()
        self.close()
        self._listener.close()
        self._wake_in.close()
        self._wake_out.close()

    def stop(self) -> None:
        """End `run`; may be called from a signal handler."""
        self._stopping = True
        self._wake()

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """Call `callback` in the loop; may be called from any thread."""
        self._called.append(callback)
        self._wake()

    def _wake(self) -> None:
        with suppress(OSError):
            self._wake_out.send(b"\0")

    # -- a turn -------------------------------------------------------------------------------

    def _turn(self) -> None:
        shaking: list[tuple[Peer, int]] = []
        for key, mask in self.selector.select(self._sleep_s()):
            peer: Peer | Callable[[], None] | None = key.data
            if peer is None:
                self.accept(self._listener, self.front)
            elif not isinstance(peer, Peer):
                peer()
            elif peer.shaken:
                self._kernel.catch_up_to(self._clock)
                self.attend(peer, mask)
            else:
                shaking.append((peer, mask))
        if shaking:
            self._shake(shaking)
        self.timers.run_due()
        self._run_due()
        self.sweep()

    def _shake(self, peers: list[tuple[Peer, int]]) -> None:
        self._kernel.catch_up_to(self._clock)
        until_s = time.monotonic() + HANDSHAKES_S
        for peer, mask in peers:
            self.attend(peer, mask)
            if time.monotonic() > until_s:
                return

    def exhausted(self, listener: socket.socket) -> None:
        """Let nobody in for a moment, as Go's `net/http` does."""
        self.selector.unregister(listener)

        def again() -> None:
            self.selector.register(listener, selectors.EVENT_READ, None)

        self.timers.call_later(FULL_S, again)

    def _sleep_s(self) -> float:
        kernel = self._kernel
        if kernel.has_ready():
            return 0.0
        due_ns = kernel.next_time_ns()
        sleep_s = LONGEST_SLEEP_S
        if due_ns is not None:
            sleep_s = min(self._clock.wait_s(due_ns), sleep_s)
        due_s = self.timers.wait_s()
        return sleep_s if due_s is None else min(due_s, sleep_s)

    def _run_due(self) -> None:
        until_s = time.monotonic() + TURN_S
        step = self._kernel.step
        try:
            while step():
                if time.monotonic() > until_s:
                    return
        except Exception as failure:  # noqa: BLE001 - a mistake of ours; the others serve on
            self.front.on_failure(failure)
        self._kernel.catch_up_to(self._clock)

    def _woken(self) -> None:
        with suppress(OSError):
            self._wake_in.recv(1024)
        if self._called:
            self._kernel.catch_up_to(self._clock)
        while self._called:
            self._called.popleft()()


def raise_file_limit() -> None:
    """Let this process open as many files as it may: Go programs do so when they start."""
    try:
        import resource
    except ImportError:
        return  # such a system has no limit of that kind
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
