"""Clients on real TLS sockets, all under one selector.

Law: nothing here blocks.  Who asks for what is told by a `Hub`; whoever owns it decides when it
waits.  A client that sends garbage, half a request or a gigabyte, or that never reads, is cut off;
nobody else notices.  Who does not read is not read from.  The limits are those that
`apiserver/pkg/server/secure_serving.go` sets, and Go's `net/http` where it sets none.
"""

from __future__ import annotations

import errno
import math
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.transports.certificates import user_of
from pytest_kubesim.transports.http import Connection, Front, Headers, Identity

if TYPE_CHECKING:
    from pytest_kubesim.wire import UserInfo

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
ACCEPTED_AT_ONCE = 64
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PLAIN = (
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
)

Identify = Callable[[Headers, "UserInfo | None"], Identity]
"""Who asks, by the headers of a request and the client's certificate."""


def by_user_agent(headers: Headers, certificate: UserInfo | None) -> Identity:
    """A client whom nobody has started is known by what it calls itself."""
    agent = next((v for k, v in headers if k == "user-agent"), "")
    client = agent.partition("/")[0].partition(" ")[0] or "client"
    return Identity(certificate=certificate, client=client, host=f"client:{client}")


class Peer:
    """One client's socket, TLS, and HTTP connection."""

    def __init__(
        self, hub: Hub, sock: socket.socket, number: int, front: Front, identify: Identify
    ) -> None:
        self.sock = sock
        self.certificate: UserInfo | None = None
        self._hub = hub
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = hub.context.wrap_bio(self._in, self._out, server_side=True)
        self._shaken = False
        self._unsent = bytearray()
        self._ending = False
        self._lingering = False
        self._closed = False
        self._since_s = hub.wall()
        """When the part began that is under way: handshake, head, body, idleness, farewell."""
        self._part = ("handshake", 0)

        def asked(headers: Headers) -> Identity:
            return identify(headers, self.certificate)

        self.front, self._name = attrs.evolve(
            front, identify=asked, compress=True
        ), f"socket-{number}"
        self._connection: Any = Connection(
            self.front, self._send, self._server_ends, self._name
        )
        self._wire()

    def _wire(self) -> None:
        self._connection.backlog = lambda: len(self._unsent)
        self._connection.resumed = self.writable

    @property
    def shaken(self) -> bool:
        """Whether the handshake is over."""
        return self._shaken

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
        self._hub.received += len(data)
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

        self._connection = Connection2(self.front, self._send, self._server_ends, self._name)
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
            self._hub.sent += sent
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
        self._hub.interest(self, reading=reading, writing=bool(unsent))
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

    def end(self) -> None:
        """The server goes away: idle clients are told so, all others lose what they wait for."""
        self._server_ends("eof" if self._shaken and self._connection.idle else "reset")

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
        self._hub.forget(self)
        with suppress(OSError):
            self.sock.close()


_LIMITS_S = {
    "handshake": HEAD_S, "head": HEAD_S, "body": BODY_S, "idle": IDLE_S, "farewell": LINGER_S,
}

_METHODS = frozenset({b"GET", b"HEA", b"POS", b"PUT", b"PAT", b"DEL", b"OPT"})


class Hub:
    """The clients of one process, and their selector.

    Parameters: `context`, TLS of the server side; `wall`, a monotonic clock of the real world.
    """

    def __init__(
        self, context: ssl.SSLContext, wall: Callable[[], float] = time.monotonic
    ) -> None:
        self.context = context
        self.wall = wall
        self.selector = selectors.DefaultSelector()
        self.peers: dict[Peer, int] = {}
        """Those that are connected, with what they wait for."""
        self.received = self.sent = 0
        """Bytes, of all clients there have been."""
        self._count = 0
        self._swept_s = wall()

    def accept(
        self, listener: socket.socket, front: Front, identify: Identify = by_user_agent
    ) -> list[Peer]:
        """Take in the clients that wait at a listening socket; the new ones."""
        admitted: list[Peer] = []
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, _address = listener.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self.exhausted(listener)
                break
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._count += 1
            peer = Peer(self, sock, self._count, front, identify)
            self.peers[peer] = selectors.EVENT_READ
            self.selector.register(sock, selectors.EVENT_READ, peer)
            admitted.append(peer)
        return admitted

    def exhausted(self, listener: socket.socket) -> None:
        """No more files can be opened: who wants to come in waits until somebody has gone."""

    def attend(self, peer: Peer, mask: int) -> None:
        """A client's socket can give or take."""
        try:
            if mask & selectors.EVENT_WRITE:
                peer.writable()
            if mask & selectors.EVENT_READ:
                peer.readable()
        except Exception as failure:  # noqa: BLE001 - a mistake of ours; the others serve on
            peer.close()
            peer.front.on_failure(failure)

    def sweep(self) -> None:
        """Cut off those who take too long."""
        now_s = self.wall()
        if now_s - self._swept_s < SWEEP_S:
            return
        self._swept_s = now_s
        for peer in [peer for peer in self.peers if peer.overdue(now_s)]:
            peer.expire()

    def close(self) -> None:
        """Forget all clients, and the selector."""
        for peer in list(self.peers):
            peer.close()
        self.selector.close()

    # -- what peers ask for -------------------------------------------------------------------

    def interest(self, peer: Peer, *, reading: bool, writing: bool) -> None:
        """Wait for the socket to give or take more, or not."""
        wanted = selectors.EVENT_READ if reading else 0
        wanted |= selectors.EVENT_WRITE if writing else 0
        before = self.peers.get(peer, wanted)
        if before == wanted:
            return
        self.peers[peer] = wanted
        if not wanted:
            self.selector.unregister(peer.sock)
        elif before:
            self.selector.modify(peer.sock, wanted, peer)
        else:
            self.selector.register(peer.sock, wanted, peer)

    def forget(self, peer: Peer) -> None:
        """The peer is closed."""
        if self.peers.pop(peer, None) is not None:
            with suppress(KeyError, ValueError):
                self.selector.unregister(peer.sock)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address.  Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listener.setblocking(False)
    return listener
