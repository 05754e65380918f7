"""What descriptors refer to besides files: ends of pipes, sockets, a container's output."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.sim.pipes import Broken, Pipe, Reset

if TYPE_CHECKING:
    from pytest_kubesim.sim.pipes import Stream


class ReadEnd:
    """The end of a pipe from which one reads."""

    __slots__ = ("pipe", "references")

    def __init__(self, pipe: Pipe) -> None:
        self.references = 0
        self.pipe = pipe

    async def read(self, size: int) -> bytes:
        """What is in it, waiting for something."""
        try:
            return await self.pipe.read(size)
        except Reset:
            raise Fault("ECONNRESET") from None

    async def write(self, data: bytes) -> None:
        """Not this end."""
        del data
        raise Fault("EBADF")

    def release(self) -> None:
        """Nobody reads any more."""
        self.pipe.break_off()


class WriteEnd:
    """The end of a pipe into which one writes."""

    __slots__ = ("pipe", "references")

    def __init__(self, pipe: Pipe) -> None:
        self.references = 0
        self.pipe = pipe

    async def read(self, size: int) -> bytes:
        """Not this end."""
        del size
        raise Fault("EBADF")

    async def write(self, data: bytes) -> None:
        """Append; waits while the reader is behind."""
        try:
            self.pipe.write(data)
            await self.pipe.drain()
        except Broken:
            raise Fault("EPIPE") from None
        except Reset:
            raise Fault("ECONNRESET") from None

    def release(self) -> None:
        """Nothing more will come."""
        self.pipe.close()


class Socket:
    """A connection."""

    __slots__ = ("references", "stream")

    def __init__(self, stream: Stream) -> None:
        self.references = 0
        self.stream = stream

    async def read(self, size: int) -> bytes:
        """What the other side sent."""
        try:
            return await self.stream.read(size)
        except Reset:
            raise Fault("ECONNRESET") from None

    async def write(self, data: bytes) -> None:
        """Send."""
        try:
            self.stream.write(data)
            await self.stream.drain()
        except Broken:
            raise Fault("EPIPE") from None
        except Reset:
            raise Fault("ECONNRESET") from None

    def release(self) -> None:
        """Hang up."""
        self.stream.close()


class Output:
    """Where a container's output goes: `take(bytes)` at once."""

    __slots__ = ("_take", "references")

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self.references = 0
        self._take = take

    async def read(self, size: int) -> bytes:
        """Not from here."""
        del size
        raise Fault("EBADF")

    async def write(self, data: bytes) -> None:
        """It is taken at once."""
        self._take(data)

    def release(self) -> None:
        """Nothing is held."""
