"""Connections that have gone over to something else than HTTP: which wire, and how much at once.

The law: what a program writes waits in its pipe while the client is behind (it has left
`answers.HIGH_BYTES` unread), and nothing is taken from a client while a program is behind with what
it was sent.  So neither costs memory, whoever stops reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from pytest_kubesim.kubelet.streaming import RAW, SPDY, TUNNEL
from pytest_kubesim.sim.pipes import Broken, Reset

if TYPE_CHECKING:
    from pytest_kubesim.kubelet.streaming import ClientStream
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.link import Link
    from pytest_kubesim.sim.pipes import Pipe
    from pytest_kubesim.transports.http import Connection
    from pytest_kubesim.wire import Request

CHUNK_BYTES = 32 * 1024
"""The most that a frame carries: Go's `io.Copy` reads so much at once."""


class Upgraded(Protocol):
    """What took a connection over."""

    @property
    def saturated(self) -> bool:
        """Whether nothing should be read of the client for now."""
        ...

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        ...

    def pump(self) -> None:
        """The client has read something."""
        ...

    def client_closed(self) -> None:
        """The client has gone."""
        ...


def take_over(connection: Connection, stream: Any, request: Request) -> Upgraded | None:
    """The connection on its new wire; None, and an end to it, where the request asks for none."""
    link: Link | None = getattr(stream, "link", None)
    if link is None:
        return _on_wire(connection, stream, request)
    from pytest_kubesim.transports.hops import Hop

    hop = Hop(connection, link)
    return hop.joined(_on_wire(cast("Any", hop), stream, request))


def _on_wire(connection: Connection, stream: Any, request: Request) -> Upgraded | None:
    from pytest_kubesim.transports import raw, spdy_session, websocket

    wire = getattr(stream, "wire", "")
    try:
        if wire == SPDY:
            return spdy_session.over_http(connection, stream)
        if wire == RAW:
            return raw.Relay(connection, stream)
        if wire == TUNNEL:
            return spdy_session.over_websocket(connection, stream, request)
        return websocket.Channels(connection, stream, request)
    except (RemoteProtocolError, LocalProtocolError) as problem:
        stream.close()
        connection.refuse(400, f"400 Bad Request: {problem}")
        return None


class Intake:
    """What clients send, on its way into pipes: says when nothing more should be taken.

    Parameters: `kernel`; `connection`, told when it may go on.
    """

    def __init__(self, kernel: Kernel, connection: Connection) -> None:
        self._kernel = kernel
        self._connection = connection
        self._full: set[Pipe] = set()

    @property
    def saturated(self) -> bool:
        """Whether a pipe is full."""
        return bool(self._full)

    def put(self, pipe: Pipe, data: bytes) -> None:
        """Give `data` to whoever reads `pipe`; nothing if nobody does any more."""
        try:
            pipe.write(data)
        except (Broken, Reset):
            return
        if pipe.full and pipe not in self._full:
            self._full.add(pipe)
            self._kernel.spawn(self._wait(pipe), name="backpressure", daemon=True)

    async def _wait(self, pipe: Pipe) -> None:
        try:
            await pipe.drain()
        except (Broken, Reset):
            pass
        self._full.discard(pipe)
        if not self._full:
            self._connection.resumed()


def take(stream: ClientStream) -> bytes:
    """The next piece of what a stream is to send, b"" when there is none."""
    try:
        return stream.outgoing.read_nowait(CHUNK_BYTES)
    except Reset:
        return b""
