"""Real TLS sockets on loopback: one thread, one selector, the kernel between them.

Law: the loop does three things in turn, none of which blocks for long: it runs what is due in the
simulation (for at most 20 ms at a time), it takes in what has come on the sockets, it sends what is
to be sent.  It sleeps only in `select`, until the next event of the simulation is due on the wall.

A client that sends garbage, half a request or a gigabyte, or that never reads, is cut off; nobody
else notices.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_kubesim.transports.certificates import user_of
from pytest_kubesim.transports.http import Connection, Front, Identity

if TYPE_CHECKING:
    from pytest_kubesim.sim.clock import WallClock
    from pytest_kubesim.sim.kernel import Kernel

TURN_S = 0.02
"""For how long the simulation may run before the sockets are looked at."""
LONGEST_SLEEP_S = 1.0
READ_BYTES = 256 * 1024
MAX_UNSENT_BYTES = 64 * 1024 * 1024
"""A client that lets more than this pile up is not reading: it is cut off."""
HANDSHAKE_S = 30.0
BACKLOG = 1024


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
        self._closed = False
        self.began_s = time.monotonic()
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
        self._connection = Connection(front, self._send, self._server_ends, f"socket-{number}")

    @property
    def shaken(self) -> bool:
        """Whether the TLS handshake is done."""
        return self._shaken

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
        self._in.write(data)
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
                self.certificate = user_of(self._tls.getpeercert())
            while plain := self._tls.read(READ_BYTES):
                self._connection.feed(plain)
                if self._closed:
                    return
            self._pump()
            self.close()  # an empty read: the client said goodbye
        except ssl.SSLWantReadError:
            self._pump()
        except (ssl.SSLError, OSError):
            self._pump()
            self.close()

    # -- writing ------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if self._closed:
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
        while unsent:
            try:
                sent = self.sock.send(unsent)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self.close()
                return
            del unsent[:sent]
        if len(unsent) > MAX_UNSENT_BYTES:
            self.close()
            return
        if not unsent and self._ending:
            self.close()
            return
        self._loop.interest(self, writing=bool(unsent))

    # -- ending -------------------------------------------------------------------------------

    def _server_ends(self, kind: str) -> None:
        if kind == "eof":
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._ending = True
            self._pump()
            return
        if kind == "reset":
            with suppress(OSError):
                # A linger of zero sends RST, as a host does whose process has died.
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
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


class Loop:
    """Serves `front` on loopback until `stop()`.

    Parameters: `front`, what all connections share; `clock` that follows the wall; `context`, TLS
    of the server side; `port`, 0 for a free one.
    """

    def __init__(
        self, front: Front, clock: WallClock, context: ssl.SSLContext, port: int = 0
    ) -> None:
        self.front = front
        self.context = context
        self._clock = clock
        self._kernel: Kernel = front.kernel
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ, self._woken)
        self._peers: dict[Peer, int] = {}
        self._count = 0
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
                if mask & selectors.EVENT_WRITE:
                    peer.writable()
                if mask & selectors.EVENT_READ:
                    peer.readable()
            else:
                peer()
        self._run_due()

    def _sleep_s(self) -> float:
        kernel = self._kernel
        if kernel.has_ready():
            return 0.0
        due_ns = kernel.next_time_ns()
        if due_ns is None:
            return LONGEST_SLEEP_S
        return min(self._clock.wait_s(due_ns), LONGEST_SLEEP_S)

    def _run_due(self) -> None:
        until_s = time.monotonic() + TURN_S
        step = self._kernel.step
        while step():
            if time.monotonic() > until_s:
                return
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
        self._drop_idlers()

    def _drop_idlers(self) -> None:
        """Cut off those who connected long ago and never finished their handshake."""
        limit_s = time.monotonic() - HANDSHAKE_S
        for peer in [p for p in self._peers if not p.shaken and p.began_s < limit_s]:
            peer.close()

    def _woken(self) -> None:
        with suppress(OSError):
            self._wake_in.recv(1024)

    # -- what peers ask for -------------------------------------------------------------------

    def interest(self, peer: Peer, *, writing: bool) -> None:
        """Wait for the socket to take more, or not."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0)
        if self._peers.get(peer, wanted) != wanted:
            self._peers[peer] = wanted
            self._selector.modify(peer.sock, wanted, peer)

    def forget(self, peer: Peer) -> None:
        """The peer is closed."""
        if self._peers.pop(peer, None) is not None:
            with suppress(KeyError, ValueError):
                self._selector.unregister(peer.sock)
