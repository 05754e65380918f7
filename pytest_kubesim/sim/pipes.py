"""Bytes between two ends: pipes in one direction, connections in both.

The law: writing never suspends and nothing is lost or reordered; whoever writes much awaits
`drain`, which suspends while the reader is behind.  A reader sees what was written, then the end
(`b""`); a connection that was reset gives `Reset` instead, at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.sim.tasks import Event

if TYPE_CHECKING:
    from pytest_kubesim.sim.kernel import Kernel

CAPACITY = 65_536
"""How many unread bytes a writer may leave before `drain` suspends it."""


class Broken(Exception):
    """The reader has gone: nobody will read what is written (`EPIPE`)."""


class Reset(Exception):
    """The other side has torn the connection down (`ECONNRESET`)."""


class ConnectError(Exception):
    """A connection that could not be made; `str(error)` as libc says it."""


class Refused(ConnectError):
    """Nobody listens there (`ECONNREFUSED`)."""

    def __init__(self) -> None:
        super().__init__("Connection refused")


class TimedOut(ConnectError):
    """No answer came (`ETIMEDOUT`, or the caller's own patience)."""

    def __init__(self) -> None:
        super().__init__("Connection timed out")


class Unreachable(ConnectError):
    """There is no way there (`EHOSTUNREACH`)."""

    def __init__(self) -> None:
        super().__init__("No route to host")


class Pipe:
    """One direction.

    `on_change` is called after every write, close and reset, for readers that are no coroutines.
    """

    __slots__ = ("_broken", "_closed", "_data", "_news", "_reset", "_room", "on_change")

    def __init__(self, kernel: Kernel) -> None:
        self._data = bytearray()
        self._news = Event(kernel)
        self._room = Event(kernel)
        self._room.set()
        self._closed = False
        self._broken = False
        self._reset = False
        self.on_change: Callable[[], object] | None = None

    # -- the writer's end ---------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Append bytes; raises `Broken` when the reader has gone, `Reset` after a reset."""
        if self._reset:
            raise Reset
        if self._broken or self._closed:
            raise Broken
        if data:
            self._data += data
            if len(self._data) > CAPACITY:
                self._room.clear()
            self._changed()

    async def drain(self) -> None:
        """Wait until the reader has caught up; raises as `write` does."""
        await self._room.wait()
        if self._reset:
            raise Reset
        if self._broken:
            raise Broken

    @property
    def full(self) -> bool:
        """Whether `drain` would suspend."""
        return not self._room.is_set()

    def close(self) -> None:
        """Nothing more will be written; nothing if it is closed."""
        if not self._closed:
            self._closed = True
            self._changed()

    # -- the reader's end ---------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether all was read and nothing more will come."""
        return self._reset or (self._closed and not self._data)

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written."""
        return self._closed or self._broken or self._reset

    def read_nowait(self, size: int = CAPACITY) -> bytes:
        """At most `size` bytes that are there; `b""` when none are.  Raises `Reset`."""
        if self._reset:
            raise Reset
        taken = bytes(self._data[:size])
        del self._data[: len(taken)]
        if len(self._data) <= CAPACITY:
            self._room.set()
        if not self._data and not self._closed:
            self._news.clear()
        return taken

    async def read(self, size: int = CAPACITY) -> bytes:
        """At most `size` bytes, waiting for the first; `b""` at the end.  Raises `Reset`."""
        while not self._data and not self._closed and not self._reset:
            await self._news.wait()
        return self.read_nowait(size)

    async def read_until(self, mark: bytes, limit: int = 1 << 20) -> bytes:
        """All up to and with `mark`, or to the end, or `limit` bytes.  Raises `Reset`."""
        start = 0
        while True:
            found = self._data.find(mark, start)
            if found >= 0:
                return self.read_nowait(found + len(mark))
            if self._closed or self._reset or len(self._data) >= limit:
                return self.read_nowait(limit)
            start = max(0, len(self._data) - len(mark) + 1)
            self._news.clear()
            await self._news.wait()

    async def read_exactly(self, size: int) -> bytes:
        """`size` bytes, or fewer at the end.  Raises `Reset`."""
        pieces: list[bytes] = []
        while size > 0:
            piece = await self.read(size)
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    async def read_all(self) -> bytes:
        """All that comes until the end.  Raises `Reset`."""
        pieces: list[bytes] = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    def break_off(self) -> None:
        """The reader goes: what is unread is lost, writers get `Broken`."""
        self._broken = True
        self._data.clear()
        self._room.set()

    def reset(self) -> None:
        """Tear it down: both ends get `Reset`."""
        if not self._reset:
            self._reset = True
            self._data.clear()
            self._room.set()
            self._changed()

    def _changed(self) -> None:
        self._news.set()
        if self.on_change is not None:
            self.on_change()


class Stream:
    """One end of a connection: what it reads, what it writes, and between which addresses.

    `local` and `remote` are `(address, port)`.  `shown` is what the other side shows of itself
    where one side wants TLS: its chain of certificates in PEM (nothing is encrypted).
    """

    __slots__ = ("incoming", "local", "outgoing", "remote", "shown")

    def __init__(
        self,
        incoming: Pipe,
        outgoing: Pipe,
        local: tuple[str, int] = ("", 0),
        remote: tuple[str, int] = ("", 0),
    ) -> None:
        self.incoming = incoming
        self.outgoing = outgoing
        self.local = local
        self.remote = remote
        self.shown = b""

    async def read(self, size: int = CAPACITY) -> bytes:
        """At most `size` bytes, waiting for the first; `b""` at the end.  Raises `Reset`."""
        return await self.incoming.read(size)

    def write(self, data: bytes) -> None:
        """Send bytes.  Raises `Broken`, `Reset`."""
        self.outgoing.write(data)

    async def drain(self) -> None:
        """Wait until the other side has caught up.  Raises `Broken`, `Reset`."""
        await self.outgoing.drain()

    def close_write(self) -> None:
        """Say that nothing more will be sent (a half-close)."""
        self.outgoing.close()

    def close(self) -> None:
        """Leave: the other side reads to the end, and gets `Broken` when it writes."""
        self.outgoing.close()
        self.incoming.break_off()

    def reset(self) -> None:
        """Tear the connection down for both sides."""
        self.outgoing.reset()
        self.incoming.reset()


def connection(
    kernel: Kernel, client: tuple[str, int] = ("", 0), server: tuple[str, int] = ("", 0)
) -> tuple[Stream, Stream]:
    """The two ends of a new connection: the client's and the server's."""
    there, back = Pipe(kernel), Pipe(kernel)
    return Stream(back, there, client, server), Stream(there, back, server, client)
