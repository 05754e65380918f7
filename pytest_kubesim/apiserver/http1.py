"""Reading an HTTP/1.1 answer from a connection: its head, then its body piece by piece.

The law: the body ends where the head says (its length, the last chunk), else with the connection;
answers `1xx` before the real one are passed over, but for 101.  Errors are in Go's words.

Follows Go's `net/http` (`transfer.go`, `response.go`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.sim.pipes import Reset

if TYPE_CHECKING:
    from pytest_kubesim.sim.pipes import Stream

MAX_HEAD_BYTES = 1 << 20
MAX_LINE_BYTES = 4096
"""Of a line that begins a chunk."""
BROKEN = "net/http: HTTP/1.x transport connection broken"


class Malformed(Exception):
    """What came is no answer."""


class AnswerReader:
    """The answer to one request.

    Parameters: `stream` from which it comes.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.raw = b""
        """The bytes of the head, and what came with it."""
        self.complete = False
        """Whether the body has been read to its end."""
        self._left: int | None = None
        self._chunked = False

    def header(self, name: str) -> str:
        """The first header of a (lower case) name."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    @property
    def length(self) -> int | None:
        """How long the body is, where the head says so."""
        value = self.header("content-length")
        return int(value) if value.isdecimal() and not self._chunked else None

    async def read_head(self, method: str) -> None:
        """Read the head.  Raises: `Malformed`, `Reset`."""
        while True:
            head = await self.stream.incoming.read_until(b"\r\n\r\n", MAX_HEAD_BYTES)
            if not head.endswith(b"\r\n\r\n"):
                if len(head) >= MAX_HEAD_BYTES:
                    raise Malformed(f"{BROKEN}: net/http: server response headers exceeded limit")
                raise Malformed("EOF" if not head else "unexpected EOF")
            self._parse(head)
            if self.status == 101 or not 100 <= self.status < 200:
                break
        self.raw = head
        self._chunked = self.header("transfer-encoding").lower().endswith("chunked")
        self._left = self.length
        self.complete = method == "HEAD" or self.status in {204, 304} or self._left == 0

    def _parse(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        version, _, rest = first.partition(" ")
        code = rest.partition(" ")[0]
        if not version.startswith("HTTP/1.") or len(code) != 3 or not code.isdecimal():
            raise Malformed(f"{BROKEN}: malformed HTTP response {quote(first)}")
        self.status = int(code)
        self.headers = []
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise Malformed(f"{BROKEN}: malformed MIME header line: {line}")
            self.headers.append((name, value.strip()))

    async def read_piece(self) -> bytes:
        """Some more of the body; b"" at its end, or where the connection breaks off."""
        if self.complete:
            return b""
        try:
            if self._chunked and not self._left:
                await self._begin_chunk()
                if self.complete:
                    return b""
            piece = await self.stream.read(self._left or 65_536)
        except (Reset, ValueError):
            piece = b""
        if not piece:
            self.complete = True
        elif self._left is not None:
            self._left -= len(piece)
            if not self._left:
                await self._end_piece()
        return piece

    async def _begin_chunk(self) -> None:
        """Raises `ValueError` for what is no chunk."""
        line = await self.stream.incoming.read_until(b"\n", MAX_LINE_BYTES)
        self._left = int(line.split(b";", 1)[0].strip(), 16)
        if self._left == 0:
            while (await self.stream.incoming.read_until(b"\n", MAX_LINE_BYTES)).strip():
                pass  # trailers
            self.complete = True

    async def _end_piece(self) -> None:
        if self._chunked:
            await self.stream.incoming.read_until(b"\n", MAX_LINE_BYTES)
        else:
            self.complete = True
