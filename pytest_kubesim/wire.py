"""What passes between a client and an API server: requests, responses, watch streams.

The records are the same for a kubelet in this process and for kubectl on a socket.  In-process
components hand over and receive decoded objects (`Request.obj`, `Response.obj`: immutable by
convention); the doors decode and encode at the edge, and encoded bytes are cached with what they
encode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs
import msgspec

Object = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_ESCAPES = ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026"))
"""What Go's encoder escapes, so that JSON can stand in HTML."""


def to_json(obj: object, *, sort_keys: bool = False) -> bytes:
    """An answer's JSON, byte for byte as Go's encoder writes it: a line, safe for HTML."""
    data = _encode_sorted(obj) if sort_keys else _encode(obj)
    for character, escape in _ESCAPES:
        if character in data:
            data = data.replace(character, escape)
    return data + b"\n"


@attrs.frozen(slots=True)
class UserInfo:
    """Who asks, as authentication found out."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict[str, tuple[str, ...]])


class Request(msgspec.Struct, frozen=True):
    """A request to an API server.

    `path` is without the query and not decoded; `query` holds decoded pairs in order; header names
    are lower case.  `obj` is the body of an in-process client, already decoded.  `user` is set by
    clients that are trusted to say who they are (the simulator's own components, the test); all
    others bring a token or a certificate.  `client` names the process for faults and the journal,
    `host` where it runs.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    obj: Object | None = None
    user: UserInfo | None = None
    certificate: UserInfo | None = None
    client: str = ""
    host: str = ""

    def header(self, name: str, default: str = "") -> str:
        """The first header of that (lower case) name."""
        for key, value in self.headers:
            if key == name:
                return value
        return default

    def param(self, name: str, default: str = "") -> str:
        """The first query parameter of that name."""
        for key, value in self.query:
            if key == name:
                return value
        return default


@attrs.define(slots=True)
class Response:
    """A whole response: an object (encoded when somebody needs bytes) or ready bytes."""

    status: int
    obj: Object | None = None
    body: bytes | None = None
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self) -> bytes:
        """The body as bytes; encodes `obj` once."""
        if self.body is None:
            self.body = b"" if self.obj is None else to_json(self.obj)
        return self.body


class WatchEvent:
    """One event of a watch: shared by all watchers that see it alike, its frame encoded once."""

    __slots__ = ("_frame", "object", "revision", "type")

    def __init__(self, type_: str, obj: Object, revision: int) -> None:
        self.type = type_
        """ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""
        self.object = obj
        self.revision = revision
        self._frame: bytes | None = None

    def frame(self) -> bytes:
        """The event as a line of JSON."""
        if self._frame is None:
            self._frame = to_json({"type": self.type, "object": self.object})
        return self._frame

    def __repr__(self) -> str:
        meta = self.object.get("metadata", {})
        return f"<{self.type} {meta.get('name', '')} @{self.revision}>"


class WatchStream(Protocol):
    """A response that goes on: events until somebody closes it."""

    status: int
    content_type: str
    headers: tuple[tuple[str, str], ...]

    async def next(self) -> WatchEvent | None:
        """The next event, waiting for it; None once the stream has ended."""
        ...

    def next_nowait(self) -> WatchEvent | None:
        """The next event if one is there now."""
        ...

    @property
    def closed(self) -> bool:
        """Whether it has ended; events that are still queued can be read."""
        ...

    def close(self) -> None:
        """End it from the client's side."""
        ...

    def encode(self, event: WatchEvent) -> bytes:
        """The event as it goes over the wire in the negotiated encoding."""
        ...


class TimedStream(WatchStream, Protocol):
    """One that knows when it sends: its reader need not be woken to wait for the way to be over."""

    async def arrived(self, transit: Callable[[], int]) -> bool:
        """Wait until events have come, `transit()` nanoseconds after the first of them was sent.

        False: it has ended.  `transit` is asked once, when that event is sent.
        """
        ...


class UpgradeStream(Protocol):
    """A connection that stops being HTTP: exec, attach, port-forward (see kubelet.streaming)."""

    status: int
    wire: str
    """How it goes on: `websocket`, `spdy`, `tunnel` (SPDY in a WebSocket) or `raw`."""
    subprotocol: str
    headers: tuple[tuple[str, str], ...]


class Handler(Protocol):
    """The one seam between every door and an API server."""

    async def handle(self, request: Request) -> Response | WatchStream:
        """Answer `request`.  Never raises for what a client can cause: that is a response."""
        ...


class ConnectionLost(Exception):
    """The connection was refused, reset or timed out before an answer came.

    `kind` is `refused`, `reset` or `timeout`; every door turns it into what its library raises.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
