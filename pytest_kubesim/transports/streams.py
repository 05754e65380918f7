"""The client's end of a connection in an event loop: a transport over `http.Connection`."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from pytest_kubesim.transports import dialing, tls
from pytest_kubesim.transports.actors import WORLD


class SocketLike:
    """What `get_extra_info("socket")` gives: enough for those who set options or poll it."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, stream: MemoryTransport, address: tuple[str, int]) -> None:
        self._stream = stream
        self._address = address

    def fileno(self) -> int:
        """A descriptor that polls as this connection would."""
        if self._stream.is_closing():
            return -1
        pair = dialing.descriptors()
        return pair.ready if self._stream.readable() else pair.quiet

    def setsockopt(self, *_: Any) -> None:
        """Accepted."""

    def getsockopt(self, *_: Any) -> int:
        """Nothing is wrong."""
        return 0

    def getpeername(self) -> tuple[str, int]:
        """The cluster's address."""
        return self._address

    def getsockname(self) -> tuple[str, int]:
        """An address in a pod network."""
        return ("10.244.0.1", 40000)

    def gettimeout(self) -> float:
        """It never blocks."""
        return 0.0


class MemoryTransport(asyncio.Transport):
    """An asyncio transport whose other end is in this process.

    Parameters: `loop` it belongs to; `protocol`; `place` (a cluster, a listener) that is dialed at
    `address`; `secure`:
    somebody asked for TLS and is shown some; `sock`, a socket to close with it.
    """

    def __init__(
        self,
        loop: Any,
        protocol: Any,
        place: Any,
        address: tuple[str, int],
        *,
        secure: Any = None,
        hostname: str = "",
        sock: socket.socket | None = None,
    ) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._place = place
        self._closing = False
        self._lost = False
        self._paused = False
        self._pending: list[bytes] = []
        self._ended: str | None = None
        self._sock = sock
        self._extra.update(
            peername=address, sockname=("10.244.0.1", 40000), socket=SocketLike(self, address)
        )
        if secure is not None:
            shown = tls.PlainObject(secure, hostname=hostname)
            self._extra.update(
                ssl_object=shown,
                sslcontext=secure,
                peercert=tls.peer_certificate(hostname),
                cipher=shown.cipher(),
                compression=None,
            )
        self._connection = place.dial(self._received, self._server_closed)
        self._connection.backlog = lambda: sum(map(len, self._pending))
        self._connection.resumed = self._resumed
        self._full = False
        loop.transports[self] = None
        loop.call_soon(protocol.connection_made, self)

    # -- from the server ----------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        if self._lost or self._closing:
            return
        self._pending.append(data)
        if len(self._pending) == 1 and not self._paused:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._paused or self._lost:
            return
        pending, self._pending = self._pending, []
        if pending and not self._closing:
            data = pending[0] if len(pending) == 1 else b"".join(pending)
            self._give(data)
            self._connection.room()
        if self._ended is not None and not self._pending and not self._paused:
            self._end()

    def _give(self, data: bytes) -> None:
        protocol = self._protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            protocol.data_received(data)
            return
        while data:
            buffer: Any = protocol.get_buffer(len(data))
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            protocol.buffer_updated(size)
            data = data[size:]

    def _server_closed(self, kind: str) -> None:
        self._ended = kind
        if self._loop.is_closed() or self._lost:
            return
        self._loop.call_soon(self._flush)

    def _end(self) -> None:
        if self._lost or self._closing:
            return
        error = dialing.error_of(self._ended or "eof")
        if error is None:
            keep_open = self._protocol.eof_received()
            if not keep_open:
                self.close()
            return
        self._closing = True
        self._gone(error)

    def _gone(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._loop.transports.pop(self, None)
        if self._sock is not None:
            self._sock.close()
        self._protocol.connection_lost(error)

    def drop(self) -> None:
        """Its process has died: the server sees the connection go; nobody here is told."""
        self._lost = self._closing = True
        self._place.hang_up(self._connection)

    # -- asyncio.Transport --------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Send `data`."""
        if self._closing or not data:
            return
        WORLD.alive()
        self._connection.feed(bytes(data))
        if self._connection.saturated and not self._full:
            self._full = True
            self._protocol.pause_writing()

    def _resumed(self) -> None:
        if self._full:
            self._full = False
            if not self._lost:
                self._loop.call_soon(self._protocol.resume_writing)

    def writelines(self, list_of_data: Any) -> None:
        """Send several pieces."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Sending is over: HTTP/1.1 has no use for it."""

    def can_write_eof(self) -> bool:
        """No: as TLS."""
        return False

    def is_closing(self) -> bool:
        """Whether it is closing or closed."""
        return self._closing

    def close(self) -> None:
        """Close it."""
        if self._closing:
            return
        self._closing = True
        self._place.hang_up(self._connection)
        self._loop.call_soon(self._gone, None)

    def abort(self) -> None:
        """Close it at once."""
        self.close()

    def readable(self) -> bool:
        """Whether something has come that nobody has taken."""
        return bool(self._pending) or self._ended is not None

    def pause_reading(self) -> None:
        """Keep what comes for later."""
        self._paused = True

    def resume_reading(self) -> None:
        """Go on giving what comes."""
        self._paused = False
        if self._pending or self._ended is not None:
            self._loop.call_soon(self._flush)

    def is_reading(self) -> bool:
        """Whether what comes is given on."""
        return not self._paused and not self._closing

    def set_protocol(self, protocol: Any) -> None:
        """Give what comes to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> Any:
        """Who is given what comes."""
        return self._protocol

    def get_write_buffer_size(self) -> int:
        """Nothing waits to be sent."""
        return 0

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """As asyncio's defaults."""
        return (16 * 1024, 64 * 1024)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Accepted."""
