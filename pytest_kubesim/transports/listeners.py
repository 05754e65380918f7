"""Servers of user code inside the simulation: health endpoints, stand-ins for external systems.

A loop on virtual time that listens is reached, in memory, by whoever connects to that port of
`localhost` inside the simulation.  Every operator has ports of its own, as pods have; a caller
finds its own listener first, then the test's, then anybody's.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.transports.actors import WORLD
from pytest_kubesim.transports.streams import MemoryTransport, SocketLike

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.transports.loop_sockets import MemorySockets

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "::", ""})  # noqa: S104 - names to look for
FIRST_FREE_PORT = 40_001

Output = Callable[[bytes], object]
OnClose = Callable[[str], object]

_listeners: dict[tuple[str, int], Listener] = {}


class Wire:
    """One direction of a connection: what is fed comes out at the other end."""

    def __init__(self, output: Output, on_close: OnClose) -> None:
        self._output = output
        self._on_close = on_close
        self._closed = False
        self.saturated = False
        self.backlog: Callable[[], int] = int
        self.resumed: Callable[[], object] = int

    def room(self) -> None:
        """The client has read something."""

    def feed(self, data: bytes) -> None:
        """Bytes for the other end."""
        if not self._closed:
            self._output(data)

    def end(self) -> None:
        """Nothing more comes from here."""
        if not self._closed:
            self._closed = True
            self._on_close("eof")


class _Back:
    """The way back to a client, dialed by the server's transport."""

    def __init__(self, output: Output, on_close: OnClose) -> None:
        self._to_client = Wire(output, on_close)
        self.to_server: Wire | None = None

    def dial(self, output: Output, on_close: OnClose) -> Wire:
        """The server's transport takes its end."""
        self.to_server = Wire(output, on_close)
        return self._to_client

    def hang_up(self, pipe: Wire) -> None:
        """The server's transport closes."""
        pipe.end()


class Listener:
    """A port that a loop listens on: dialed as a cluster is (`dialing.Place`)."""

    remote = False

    def __init__(
        self, loop: MemorySockets, factory: Callable[[], Any], port: int, owner: str
    ) -> None:
        self.loop = loop
        self.port = port
        self.cluster: Cluster = WORLD.require()
        self._factory = factory
        self._owner = owner
        actor = WORLD.actor
        self.host = "test" if actor is None else actor.process.host
        """Where whoever listens runs."""
        _listeners[owner, port] = self

    @property
    def open(self) -> bool:
        """Whether it still listens."""
        return _listeners.get((self._owner, self.port)) is self

    def dial(self, output: Output, on_close: OnClose) -> Wire:
        """A new connection."""
        back = _Back(output, on_close)
        protocol = self._factory()
        MemoryTransport(self.loop, protocol, back, ("127.0.0.1", self.port))
        assert back.to_server is not None
        return back.to_server

    def hang_up(self, pipe: Wire) -> None:
        """The client has closed it."""
        pipe.end()

    def breathe(self) -> None:
        """No limit."""

    def close(self) -> None:
        """Listen no longer; connections go on."""
        if _listeners.get((self._owner, self.port)) is self:
            del _listeners[self._owner, self.port]


class Server(asyncio.AbstractServer):
    """What `create_server` gives."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._serving = True
        self._closed = listener.loop.create_future()

    @property
    def sockets(self) -> tuple[Any, ...]:
        """One, that knows its address."""
        return (_Listening(self._listener.port),) if self._serving else ()

    def get_loop(self) -> Any:
        """The loop that listens."""
        return self._listener.loop

    def is_serving(self) -> bool:
        """Whether it listens."""
        return self._serving

    async def start_serving(self) -> None:
        """It does already."""

    async def serve_forever(self) -> None:
        """Until it is closed or cancelled."""
        try:
            await asyncio.shield(self._closed)
        finally:
            self.close()

    def close(self) -> None:
        """Listen no longer."""
        self._serving = False
        self._listener.close()
        if not self._closed.done():
            self._closed.set_result(None)

    def close_clients(self) -> None:
        """Connections end with their transports."""

    def abort_clients(self) -> None:
        """Connections end with their transports."""

    async def wait_closed(self) -> None:
        """Nothing to wait for."""


class _Listening(SocketLike):
    def __init__(self, port: int) -> None:
        self._port = port

    def getsockname(self) -> tuple[str, int]:
        """Where it listens."""
        return ("127.0.0.1", self._port)

    def fileno(self) -> int:
        """None."""
        return -1


def _name() -> str:
    return "test" if WORLD.actor is None else WORLD.actor.name


def listen(loop: MemorySockets, factory: Callable[[], Any], port: int) -> Server:
    """Let `loop` listen on `port` (0: any that is free).  Raises: `OSError` where it is taken."""
    owner = _name()
    if port == 0:
        port = FIRST_FREE_PORT
        while any(taken == port for _, taken in _listeners):
            port += 1
    elif (owner, port) in _listeners:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    return Server(Listener(loop, factory, port, owner))


def find(host: Any, port: Any) -> Listener | None:
    """Who listens there, for whoever runs."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not _listeners or host not in LOOPBACK:
        return None
    port = int(port)
    for owner in (_name(), "test"):
        found = _listeners.get((owner, port))
        if found is not None:
            return found
    return next((one for (_, taken), one in _listeners.items() if taken == port), None)


def anybody(port: int) -> Listener | None:
    """Who listens on a port, the operators before the test."""
    found = [one for (_, taken), one in _listeners.items() if taken == port]
    return next((one for one in found if one.host != "test"), found[0] if found else None)


def close_of(loop: Any) -> None:
    """The loop is closed: it listens nowhere any more."""
    for listener in [one for one in _listeners.values() if one.loop is loop]:
        listener.close()
