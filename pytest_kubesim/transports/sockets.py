"""Real TLS sockets on loopback: one thread, one selector, the kernel between them.

Law: the loop does three things in turn, none of which blocks for long: it runs what is due in the
simulation (for at most 20 ms at a time), it takes in what has come on the sockets, it sends what is
to be sent.  It sleeps only in `select`, until the next event of the simulation is due on the wall.

A client that sends garbage, half a request or a gigabyte, or that never reads, is cut off; nobody
else notices.  Who does not read is not read from.  The limits are those that
`apiserver/pkg/server/secure_serving.go` sets, and Go's `net/http` where it sets none.
"""

from __future__ import annotations

import math
import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_kubesim.transports.certificates import user_of
from pytest_kubesim.transports.http import Connection, Front, Identity
from pytest_kubesim.transports.wall_timers import WallTimers

if TYPE_CHECKING:
    from pytest_kubesim.sim.clock import WallClock
    from pytest_kubesim.sim.kernel import Kernel

TURN_S = 0.02
"""For how long the simulation may run before the sockets are looked at."""
LONGEST_SLEEP_S = 1.0
READ_BYTES = 256 * 1024
MAX_UNSENT_BYTES = 64 * 1024 * 1024
"""Who is sent more while so much has piled up is cut off; one answer may be larger."""
PAUSE_UNSENT_BYTES = 1024 * 1024
PAUSE_REQUESTS = 64
"""Nothing is read of a client for whom so much, or so many requests, wait."""
HEAD_S = 32.0
"""For the handshake, and for the head of a request once it has begun."""
BODY_S = 60.0
IDLE_S = 90.0
LINGER_S = 0.5
"""For how long a client may read on after an answer that ended its connection."""
SWEEP_S = 0.5
BACKLOG = 1024
PLAIN = (
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
)


class Peer:
    """One client's socket, TLS, and HTTP connection."""

    def __init__(self, loop: Loop, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.certificate: Any = None
        self._loop = loop
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = loop.context.wrap_bio(self._in, self._out, server_side=True)
        self._shaken = False
        self._unsent = bytearray()
        self._ending = False
        self._lingering = False
        self._closed = False
        self._since_s = time.monotonic()
        """When the part began that is under way: handshake, head, body, idleness, farewell."""
        self._part = ("handshake", 0)
        front = Front(
            loop.front.kernel,
            loop.front.handler,
            self._identify,
            network=loop.front.network,
            server_host=loop.front.server_host,
            watch_latency_ns=loop.front.watch_latency_ns,
            compress=True,
            on_failure=loop.front.on_failure,
        )
        self._front, self._name = front, f"socket-{number}"
        self._connection: Any = Connection(front, self._send, self._server_ends, self._name)
        self._wire()

    def _wire(self) -> None:
        self._connection.backlog = lambda: len(self._unsent)
        self._connection.resumed = self.writable

    def overdue(self, now_s: float) -> bool:
        """Whether what is under way has taken too long."""
        connection = self._connection
        if self._ending:
            part = "farewell"
        elif not self._shaken:
            part = "handshake"
        else:
            part = connection.receiving or ("idle" if connection.idle else "serving")
        if (part, connection.begun) != self._part:
            self._part, self._since_s = (part, connection.begun), now_s
        return now_s - self._since_s > _LIMITS_S.get(part, math.inf)

    def _identify(self, headers: tuple[tuple[str, str], ...]) -> Identity:
        agent = next((v for k, v in headers if k == "user-agent"), "")
        client = agent.partition("/")[0].partition(" ")[0] or "client"
        return Identity(certificate=self.certificate, client=client, host=f"client:{client}")

    # -- reading ------------------------------------------------------------------------------

    def readable(self) -> None:
        """Something has come, or the client has gone."""
        try:
            data = self.sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        if self._ending:
            return
        self._in.write(data)
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
                self.certificate = user_of(self._tls.getpeercert())
                if self._tls.selected_alpn_protocol() == "h2":
                    self._speak_http2()
            while plain := self._tls.read(READ_BYTES):
                self._connection.feed(plain)
                if self._closed or self._ending:
                    return
            self._pump()
            self.close()  # an empty read: the client said goodbye
        except ssl.SSLWantReadError:
            self._pump()
        except (ssl.SSLError, OSError):
            if not self._shaken and data[:3] in _METHODS:
                self._unsent += PLAIN
                self._ending = True
                self.writable()
                return
            self._pump()
            self.close()

    def _speak_http2(self) -> None:
        from pytest_kubesim.transports.http2 import Connection2

        self._connection = Connection2(self._front, self._send, self._server_ends, self._name)
        self._wire()

    # -- writing ------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if self._closed:
            return
        if len(self._unsent) > MAX_UNSENT_BYTES:
            self.close()
            return
        with suppress(ssl.SSLError):
            view = memoryview(data)
            while view:
                view = view[self._tls.write(view) :]
        self._pump()

    def _pump(self) -> None:
        if self._closed:
            return
        if self._out.pending:
            self._unsent += self._out.read()
        self.writable()

    def writable(self) -> None:
        """Send what the socket takes."""
        unsent = self._unsent
        before = len(unsent)
        while unsent:
            try:
                sent = self.sock.send(unsent)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self.close()
                return
            del unsent[:sent]
        if not unsent and self._ending and not self._lingering:
            self._lingering = True
            try:
                # Closing what has not been read to its end resets it: the client might lose the
                # answer.  So we say that it is over, and wait a moment for it to go.
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                self.close()
                return
        connection = self._connection
        reading = self._ending or (
            len(unsent) < PAUSE_UNSENT_BYTES
            and connection.waiting < PAUSE_REQUESTS
            and not connection.saturated
        )
        self._loop.interest(self, reading=reading, writing=bool(unsent))
        if before > len(unsent):
            connection.room()

    # -- ending -------------------------------------------------------------------------------

    def _server_ends(self, kind: str) -> None:
        if kind == "eof":
            self._ending = True
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._pump()
            return
        if kind == "reset":
            with suppress(OSError):
                # A linger of zero sends RST, as a host does whose process has died.
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def expire(self) -> None:
        """It took too long: an idle client is told, one that is slow is cut off."""
        if self._shaken and not self._ending and self._connection.idle:
            self._connection.end()
        else:
            self.close()

    def close(self) -> None:
        """Forget the client."""
        if self._closed:
            return
        self._closed = True
        self._connection.client_closed()
        self._loop.forget(self)
        with suppress(OSError):
            self.sock.close()


_LIMITS_S = {
    "handshake": HEAD_S, "head": HEAD_S, "body": BODY_S, "idle": IDLE_S, "farewell": LINGER_S,
}


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


_METHODS = frozenset({b"GET", b"HEA", b"POS", b"PUT", b"PAT", b"DEL", b"OPT"})


class Loop:
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
        self.front = front
        self.timers = timers or WallTimers()
        self.context = context
        self._clock = clock
        self._kernel: Kernel = front.kernel
        self._selector = selectors.DefaultSelector()
        self._listener = _listen(host, port)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ, self._woken)
        self._peers: dict[Peer, int] = {}
        self._count = 0
        self._called: deque[Callable[[], object]] = deque()
        self._swept_s = time.monotonic()
        self._stopping = False

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._peers)

    def run(self) -> None:
        """Serve until `stop()`."""
        while not self._stopping:
            self._turn()
        for peer in list(self._peers):
            peer.close()
        self._selector.close()
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
        for key, mask in self._selector.select(self._sleep_s()):
            peer: Peer | Callable[[], None] | None = key.data
            if peer is None:
                self._accept()
            elif isinstance(peer, Peer):
                self._kernel.catch_up_to(self._clock)
                self._attend(peer, mask)
            else:
                peer()
        self.timers.run_due()
        self._run_due()
        self._sweep()

    def _attend(self, peer: Peer, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                peer.writable()
            if mask & selectors.EVENT_READ:
                peer.readable()
        except Exception as failure:  # noqa: BLE001 - a mistake of ours; the others serve on
            peer.close()
            self.front.on_failure(failure)

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

    def _accept(self) -> None:
        for _ in range(64):
            try:
                sock, _address = self._listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._count += 1
            peer = Peer(self, sock, self._count)
            self._peers[peer] = selectors.EVENT_READ
            self._selector.register(sock, selectors.EVENT_READ, peer)

    def _sweep(self) -> None:
        """Cut off those who take too long."""
        now_s = time.monotonic()
        if now_s - self._swept_s < SWEEP_S:
            return
        self._swept_s = now_s
        for peer in [peer for peer in self._peers if peer.overdue(now_s)]:
            peer.expire()

    def _woken(self) -> None:
        with suppress(OSError):
            self._wake_in.recv(1024)
        if self._called:
            self._kernel.catch_up_to(self._clock)
        while self._called:
            self._called.popleft()()

    # -- what peers ask for -------------------------------------------------------------------

    def interest(self, peer: Peer, *, reading: bool, writing: bool) -> None:
        """Wait for the socket to give or take more, or not."""
        wanted = selectors.EVENT_READ if reading else 0
        wanted |= selectors.EVENT_WRITE if writing else 0
        before = self._peers.get(peer, wanted)
        if before == wanted:
            return
        self._peers[peer] = wanted
        if not wanted:
            self._selector.unregister(peer.sock)
        elif before:
            self._selector.modify(peer.sock, wanted, peer)
        else:
            self._selector.register(peer.sock, wanted, peer)

    def forget(self, peer: Peer) -> None:
        """The peer is closed."""
        if self._peers.pop(peer, None) is not None:
            with suppress(KeyError, ValueError):
                self._selector.unregister(peer.sock)
