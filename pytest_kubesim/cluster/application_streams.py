"""Answers of Python applications that go on: what a generator gives, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

from pytest_kubesim.wire import WatchEvent, to_json


class Pieces:
    """The pieces of an iterator as a stream (`wire.WatchStream`): objects are lines of JSON."""

    patient = True

    def __init__(
        self,
        status: int,
        content_type: str,
        headers: tuple[tuple[str, str], ...],
        pieces: Iterator[Any] | AsyncIterator[Any],
    ) -> None:
        self.status = status
        self.content_type = content_type
        self.headers = headers
        self._pieces = pieces
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._closed

    async def next(self) -> WatchEvent | None:
        """The next piece; None at the end."""
        if self._closed:
            return None
        try:
            if isinstance(self._pieces, AsyncIterator):
                piece = await anext(self._pieces)
            else:
                piece = next(self._pieces)
        except (StopIteration, StopAsyncIteration):
            self._closed = True
            return None
        if isinstance(piece, dict):
            found = cast("dict[str, Any]", piece)
            obj: Any = found.get("object")
            if isinstance(obj, dict):
                return WatchEvent(str(found.get("type")), cast("dict[str, Any]", obj), 0)
            piece = to_json(found)
        data = piece if isinstance(piece, bytes) else str(piece).encode()
        return WatchEvent("BODY", {"piece": data}, 0)

    def next_nowait(self) -> WatchEvent | None:
        """Pieces are waited for."""
        return None

    def close(self) -> None:
        """End it from the client's side."""
        if not self._closed:
            self._closed = True
            if isinstance(self._pieces, Iterator):
                close: Any = getattr(self._pieces, "close", None)
                if close is not None:
                    close()

    def encode(self, event: WatchEvent) -> bytes:
        """The piece as it goes over the wire."""
        if event.type == "BODY":
            piece: bytes = event.object["piece"]
            return piece
        return event.frame()
