"""Byte pipes between tasks: what a program writes into and another reads from.

The law: a pipe holds at most `limit` bytes.  `write` waits while it is full, so that a reader who
never reads costs no more than that, whoever writes; `read` gives what is there, waits while nothing
is, and gives `b""` once the writer has closed and all is read.  A reader that goes away breaks the
pipe: what is in it is lost, and writing raises `BrokenPipeError`.

    here, there = connected(kernel)     # two ends of a connection: each reads what the other writes
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pytest_kubesim.sim.tasks import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.sim.kernel import Kernel

LIMIT_BYTES = 64 * 1024
"""As a pipe of Linux."""


class Pipe:
    """Bytes one way.

    Parameters: `kernel`; `limit` in bytes, from which on writers wait.
    """

    __slots__ = (
        "_chunks", "_ended", "_news", "_reset", "_room", "_size", "broken", "limit", "on_news",
        "on_room",
    )

    def __init__(self, kernel: Kernel, limit: int = LIMIT_BYTES) -> None:
        self.limit = limit
        self.broken = False
        """Whether the reader has gone."""
        self.on_news: Callable[[], object] | None = None
        """Called when there is something to read that was not there: bytes, or the end."""
        self.on_room: Callable[[], object] | None = None
        """Called when something was read, or the reader has gone."""
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._reset = False
        self._news = Event(kernel)
        self._room = Event(kernel)

    def __len__(self) -> int:
        return self._size

    @property
    def closed(self) -> bool:
        """Whether its writer has closed it; what is in it can be read."""
        return self._ended

    @property
    def full(self) -> bool:
        """Whether a writer would wait."""
        return self._size >= self.limit

    @property
    def readable(self) -> bool:
        """Whether `read` would not wait."""
        return bool(self._chunks) or self._ended

    # -- the writer's side --------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """Put all of `data` in, piece by piece, waiting for room.  Raises `BrokenPipeError`."""
        while data:
            while self.full and not self.broken:
                self._room.clear()
                await self._room.future()
            room = self.limit - self._size
            self.put(data[:room])
            data = data[room:]

    def put(self, data: bytes) -> None:
        """Put `data` in at once, however full it is: for writers that look at `full`.

        Raises: `BrokenPipeError` when the reader has gone.
        """
        if self.broken or self._ended:
            raise BrokenPipeError("write: broken pipe")
        if data:
            self._chunks.append(bytes(data))
            self._size += len(data)
            self._tell()

    def close(self) -> None:
        """Nothing more will come; nothing if that has been said."""
        if not self._ended:
            self._ended = True
            self._tell()

    def reset(self) -> None:
        """Nothing more will come, because something broke: reading raises."""
        self._chunks.clear()
        self._size = 0
        self._reset = True
        self.close()
        self._make_room()

    # -- the reader's side --------------------------------------------------------------------

    async def read(self, most: int = LIMIT_BYTES) -> bytes:
        """At most so many bytes, waiting for some; `b""` at the end.

        Raises: `ConnectionResetError` when it was reset.
        """
        while not self.readable:
            self._news.clear()
            await self._news.future()
        return self.take(most)

    async def read_all(self) -> bytes:
        """Everything up to the end."""
        pieces: list[bytes] = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    def take(self, most: int = LIMIT_BYTES) -> bytes:
        """At most so many of the bytes that are there, perhaps none.

        Raises: `ConnectionResetError` when it was reset.
        """
        if not self._chunks:
            if self._reset:
                raise ConnectionResetError("read: connection reset by peer")
            return b""
        taken: list[bytes] = []
        while self._chunks and most > 0:
            chunk = self._chunks.popleft()
            if len(chunk) > most:
                self._chunks.appendleft(chunk[most:])
                chunk = chunk[:most]
            taken.append(chunk)
            most -= len(chunk)
            self._size -= len(chunk)
        self._make_room()
        return b"".join(taken)

    def abandon(self) -> None:
        """The reader goes away."""
        if not self.broken:
            self.broken = True
            self._chunks.clear()
            self._size = 0
            self._make_room()

    # -- inside -------------------------------------------------------------------------------

    def _tell(self) -> None:
        self._news.set()
        if self.on_news is not None:
            self.on_news()

    def _make_room(self) -> None:
        self._room.set()
        if self.on_room is not None:
            self.on_room()


class Connection:
    """One end of a connection, such as one over TCP: reads what the other end writes.

    Parameters: `incoming` and `outgoing`, its two pipes.
    """

    __slots__ = ("incoming", "outgoing")

    def __init__(self, incoming: Pipe, outgoing: Pipe) -> None:
        self.incoming = incoming
        self.outgoing = outgoing

    async def read(self, most: int = LIMIT_BYTES) -> bytes:
        """What the other end has sent, waiting for some; `b""` when it has closed its half.

        Raises: `ConnectionResetError`.
        """
        return await self.incoming.read(most)

    async def write(self, data: bytes) -> None:
        """Send `data`, waiting for room.  Raises `BrokenPipeError` when the other end has gone."""
        await self.outgoing.write(data)

    def close_write(self) -> None:
        """Close the sending half (FIN); reading goes on."""
        self.outgoing.close()

    def close(self) -> None:
        """Close both halves: what was sent still arrives, what comes is lost."""
        self.outgoing.close()
        self.incoming.abandon()

    def reset(self) -> None:
        """Break the connection (RST): what is under way is lost, the other end's reads raise."""
        self.outgoing.reset()
        self.incoming.abandon()


def connected(kernel: Kernel, limit: int = LIMIT_BYTES) -> tuple[Connection, Connection]:
    """The two ends of a new connection."""
    one, other = Pipe(kernel, limit), Pipe(kernel, limit)
    return Connection(one, other), Connection(other, one)
