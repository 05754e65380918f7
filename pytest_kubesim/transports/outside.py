"""The outside of a cluster in a test: commands on real sockets and in real time beside it.

Law: what comes from outside becomes an event of the kernel, and is looked for whenever time is
about to move.  Time stands while somebody outside has something to do: for 2 ms after bytes went
either way, and for as long as one of its threads runs (where Linux tells so; elsewhere for 20 ms);
but for 2 s of work at most, since some never rest, and for 20 s of the wall, which a machine with
better things to do may need for it.  Then it passes as `pacing` says.  Where all commands are
stopped (SIGSTOP) it jumps.
"""

from __future__ import annotations

import selectors
import shutil
import socket
import tempfile
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freezegun import api

from pytest_kubesim.cluster.control_plane import WATCH_LATENCY_NS
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.freezes import real_classes
from pytest_kubesim.transports import certificates, thread_states
from pytest_kubesim.transports.http import Front
from pytest_kubesim.transports.pacing import Pace
from pytest_kubesim.transports.peers import Hub, Peer
from pytest_kubesim.transports.wall_timers import WallTimers

if TYPE_CHECKING:
    import ssl

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.transports.command_doors import Door
    from pytest_kubesim.transports.commands import Command

wall: Callable[[], float] = api.real_monotonic
"""Real seconds, also while user code sees virtual ones."""

GRACE_S = 0.002
"""Since bytes went either way: for so long nobody's threads are looked at."""
BLIND_GRACE_S = 0.02
"""The same where nothing is known of threads."""
HOLD_S, MOST_HOLD_S = 2.0, 20.0
"""For how long a thread may run before it is taken for one that never rests: on a processor, and on
the wall.  Until a command has first connected only the wall counts."""
LOOKS = 2
"""So many times in a row all threads have to be asleep."""
WEBHOOK_NS = 30 * NS
"""For how long, in real time, a webhook's socket is listened to: the most that one may be given."""
BUSY_SLICE_S, SLICE_S = 0.001, 0.005
"""For how long the sockets are waited for at once."""
SESSIONS_S = 0.25
"""How often it is looked for who belongs to a command."""


class Outside:
    """What one cluster has outside.  Raises: `UsageError` where `cryptography` is missing."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.kernel = cluster.kernel
        self.folder = Path(tempfile.mkdtemp(prefix="kubesim-"))
        self.authority, context = _identity(self.folder)
        self.hub = Hub(context, wall)
        self.timers = WallTimers(wall)
        self.commands: dict[Command, None] = {}
        """Those that have not ended."""
        self.doors: dict[str, Door] = {}
        """By the operator's name."""
        self._pace = Pace(wall())
        self._counts = (0, 0)
        self._active_s = wall()
        self._busy_s: float | None = None
        """Since when there was always somebody with something to do."""
        self._spent_s = 0.0
        """How much work there had been until then."""
        self._calm = 0
        self._threads_known = thread_states.known()
        self._calls = 0
        """How many webhooks outside are being asked."""
        self._answers: deque[Callable[[], object]] = deque()
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self.hub.selector.register(self._wake_in, selectors.EVENT_READ, self._answered)
        self._members: list[int] = []
        self._members_s = 0.0

    def front(self, server: APIServer) -> Front:
        """The way to an API server."""
        cluster = self.cluster
        return Front(
            cluster.kernel,
            server,
            network=cluster.network,
            server_host=server.host,
            watch_latency_ns=(0, 0) if cluster.config.instant else WATCH_LATENCY_NS,
            on_failure=self._failed,
        )

    def _failed(self, failure: BaseException) -> None:
        self.kernel.call_soon(_raise, failure)  # the run ends with it, not the connection

    # -- webhooks that commands serve ---------------------------------------------------------

    async def call_webhook(
        self, port: int, client_config: Object, path: str, review: Object
    ) -> Object:
        """Ask a webhook that listens on a port of this machine (a `memory_calls.CallPort`)."""
        from pytest_kubesim.transports.https_calls import Caller

        # A thread of the real world: the simulation hands it no baton.
        caller = Caller(
            self.kernel, self._call_soon, start=lambda work: start_new_thread(work, ())
        )
        self._calls += 1
        self._active_s = wall()
        try:
            config = {**client_config, "dialled": f"127.0.0.1:{port}"}
            return await caller.webhook(config, path, review, WEBHOOK_NS)
        finally:
            self._calls -= 1

    def _call_soon(self, callback: Callable[[], object]) -> None:
        self._answers.append(callback)
        with suppress(OSError):
            self._wake_out.send(b"\0")

    def _answered(self) -> None:
        with suppress(OSError):
            self._wake_in.recv(1024)
        while self._answers:
            self._answers.popleft()()

    # -- who is there -------------------------------------------------------------------------

    def add(self, command: Command) -> None:
        """It has been started."""
        self.commands[command] = None
        self._active_s, self._busy_s, self._calm = wall(), None, 0
        self._pace.stood(wall())
        self._pace.asked()
        self.look_again()
        self.kernel.outside = self

    def remove(self, command: Command) -> None:
        """It has ended."""
        self.commands.pop(command, None)
        self.look_again()
        if not self.commands:
            self.kernel.outside = None

    def look_again(self) -> None:
        """Something has happened to one of the commands."""
        scales = [s for c in self.commands if (s := c.options.clock_scale) is not None]
        self._pace.scale = min(scales) if scales else None
        self._pace.farewell = any(command.leaving for command in self.commands)
        self._members_s = 0.0

    # -- time ---------------------------------------------------------------------------------

    def pace(self, until_ns: int) -> int:
        """As `sim.kernel.Outside.pace`."""
        kernel, pace = self.kernel, self._pace
        wanted_ns = until_ns - kernel.now_ns
        if self.hear(0.0):
            return kernel.now_ns
        if all(command.paused for command in self.commands):
            return until_ns
        while self._busy(now_s := wall()):
            pace.stood(now_s)
            if self.hear(BUSY_SLICE_S):
                return kernel.now_ns
        pace.passed(now_s)
        wait_s = pace.wait_s(wanted_ns)
        if wait_s > 0.0:
            self.hear(min(wait_s, SLICE_S))
            pace.passed(wall())
        return kernel.now_ns + pace.take(wanted_ns)

    def hear(self, wait_s: float) -> bool:
        """Take in what has come from outside, waiting so long for it.  False: nothing has."""
        due_s = self.timers.wait_s()
        if due_s is not None:
            wait_s = min(wait_s, due_s)
        call_soon, hub = self.kernel.call_soon, self.hub
        ready = hub.selector.select(wait_s)
        for key, mask in ready:
            if isinstance(key.data, Peer):
                call_soon(hub.attend, key.data, mask)
            else:
                call_soon(key.data)
        self.timers.run_due()
        ended = [command for command in self.commands if command.poll()]
        for command in ended:
            call_soon(command.ended)
        hub.sweep()
        return bool(ready or ended)

    def _busy(self, now_s: float) -> bool:
        """Whether somebody outside has something to do."""
        counts = (self.hub.received, self.hub.sent)
        if counts != self._counts:
            if counts[0] != self._counts[0]:
                self._pace.asked()
            self._counts = counts
            self._active_s, self._busy_s, self._calm = now_s, None, 0
        quiet_s = now_s - self._active_s
        if quiet_s < GRACE_S or (self._calls and quiet_s < HOLD_S):
            return True
        booting = any(command.booting for command in self.commands)
        if not self._threads_known:
            return quiet_s < (HOLD_S if booting else BLIND_GRACE_S)
        if not any(map(thread_states.busy, self._session_members(now_s))):
            self._calm += 1
            self._busy_s = None
            return self._calm < LOOKS
        self._calm = 0
        spent_s = sum(map(thread_states.spent_s, self._members))
        if self._busy_s is None:
            self._busy_s, self._spent_s = now_s, spent_s
        worked_s = 0.0 if booting else spent_s - self._spent_s
        return worked_s < HOLD_S and now_s - self._busy_s < MOST_HOLD_S

    def _session_members(self, now_s: float) -> list[int]:
        if now_s - self._members_s >= SESSIONS_S:
            self._members_s = now_s
            self._members = [
                pid
                for command in self.commands
                if not command.paused
                for pid in thread_states.members(command.pid)
            ]
        return self._members

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """End all commands, free the ports, remove the files."""
        for door in self.doors.values():
            door.close()
        self.hub.close()
        for command in list(self.commands):
            command.leave()
        for command in list(self.commands):
            command.reap()
        self.kernel.outside = None
        self._wake_in.close()
        self._wake_out.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _identity(folder: Path) -> tuple[certificates.Authority, ssl.SSLContext]:
    """An authority, and TLS with a certificate of it for this machine.

    `cryptography` keeps the class of datetimes that it first meets, and takes no other: the real
    one, unless user code has used it while the clocks were frozen.
    """
    freezegun: Any = api
    with real_classes():
        from pytest_kubesim.transports.serve import tls_context

        try:
            now = freezegun.real_datetime.fromtimestamp(freezegun.real_time(), UTC)
            authority = certificates.Authority(now=now)
        except TypeError:
            now = freezegun.FakeDatetime.fromtimestamp(freezegun.real_time(), UTC)
            authority = certificates.Authority(now=now)
        pair = certificates.write(folder, "apiserver", authority.server())
    return authority, tls_context(*pair)


def _raise(failure: BaseException) -> None:
    raise failure
