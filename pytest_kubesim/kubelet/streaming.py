"""Connections that stop being HTTP, seen from the kubelet: streams of bytes, whatever carries them.

The law: a service (exec, attach, port-forward) is an `Upgrade`.  It says on which wire it goes on
(`wire`) and is given `ClientStream`s by the door that speaks that wire; it never sees a frame.

    websocket   numbered channels, all there from the start (`channels` says which way each goes)
    spdy        streams that the client opens one by one, each with headers
    tunnel      the same, SPDY inside WebSocket messages
    raw         bytes as they come, once the head of the response has been sent

Streams hold little: who writes awaits `drain`, which waits for a client that does not read.

Follows `k8s.io/streaming/pkg/httpstream` and `k8s.io/cri-streaming/pkg/streaming`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.sim.pipes import Broken, Pipe, Reset

if TYPE_CHECKING:
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.link import Link
    from pytest_kubesim.wire import Request

WEBSOCKET, SPDY, TUNNEL, RAW = "websocket", "spdy", "tunnel", "raw"
SPDY_31 = "spdy/3.1"
TUNNELLED = "SPDY/3.1+"
"""With what WebSocket subprotocols begin that carry SPDY; the rest is the protocol inside."""
VERSIONS = "x-stream-protocol-version"

READ, WRITE, BOTH, IGNORE = "r", "w", "rw", ""
"""Which way a WebSocket channel goes, as the server sees it."""


class Refusal(Exception):
    """The answer instead of an upgrade: plain text, as Go's `http.Error` writes it."""

    def __init__(
        self, code: int, message: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.headers = headers


class ClientStream:
    """One stream of an upgraded connection.

    `number` names it; `headers` are those with which the client opened it; `incoming` is what the
    client sends, `outgoing` what it is sent.
    """

    __slots__ = ("headers", "incoming", "number", "outgoing", "resetting")

    def __init__(
        self, kernel: Kernel, number: int, headers: Mapping[str, str] | None = None
    ) -> None:
        self.number = number
        self.headers: Mapping[str, str] = headers or {}
        self.incoming = Pipe(kernel)
        self.outgoing = Pipe(kernel)
        self.resetting = False
        """Whether it ends with a reset, after all that was written."""

    async def write(self, data: bytes) -> bool:
        """Send `data`, waiting while the client is behind; False when it has gone."""
        try:
            self.outgoing.write(data)
            await self.outgoing.drain()
        except (Broken, Reset):
            return False
        return True

    def close(self) -> None:
        """Send no more."""
        self.outgoing.close()

    def reset(self) -> None:
        """Tear it down, after what has been written; nothing more is taken from the client."""
        self.resetting = True
        self.incoming.break_off()
        self.outgoing.close()

    def lose(self) -> None:
        """The client has torn it down, or gone."""
        self.incoming.close()
        self.outgoing.break_off()


class Session(Protocol):
    """The connection as a service sees it."""

    @property
    def streams(self) -> list[ClientStream]:
        """On a WebSocket, its channels in order; else the streams that are open."""
        ...

    def greet(self, channel: int) -> None:
        """Send an empty message of a channel (on a WebSocket)."""
        ...

    def forget(self, *streams: ClientStream | None) -> None:
        """These need no reset when the connection ends: they see to it themselves."""
        ...

    def close(self) -> None:
        """Send what is written, reset what is open, end the connection."""
        ...


class Upgrade:
    """A service on an upgraded connection (a `wire.UpgradeStream`).

    Parameters: `kernel`; `wire`, how it goes on; `subprotocol`, the version both sides speak.
    """

    status = 101
    content_type = ""
    base64 = False
    """Whether WebSocket messages are text, their bytes in base64."""
    half_close = False
    """Whether the client can close one channel (255 and its number)."""
    channels: Sequence[str] = ()

    def __init__(self, kernel: Kernel, wire: str, subprotocol: str) -> None:
        self.kernel = kernel
        self.wire = wire
        self.subprotocol = subprotocol
        self.session: Session | None = None
        self.link: Link | None = None
        """The API server's connection to the kubelet, where something may come between the two."""
        self.closed = False
        """Whether the client has gone."""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Headers of the answer `101 Switching Protocols`."""
        if self.wire == SPDY:
            named = (("X-Stream-Protocol-Version", self.subprotocol),) if self.subprotocol else ()
            return (("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), *named)
        return ()

    def opened(self, session: Session) -> None:
        """The connection stands."""
        self.session = session

    def accept(self, stream: ClientStream) -> None:
        """The client opens a stream.  Raises `ValueError` to reject it."""

    def accepted(self, stream: ClientStream) -> None:
        """The client has been told that its stream is accepted."""

    def close(self) -> None:
        """The client has gone."""
        self.closed = True


# -- which protocol ------------------------------------------------------------------------------


def is_websocket(request: Request) -> bool:
    """Whether the client wants WebSocket."""
    return request.header("upgrade").lower() == "websocket" and is_upgrade(request)


def is_upgrade(request: Request) -> bool:
    """Whether the client wants anything but HTTP."""
    return any(
        name == "connection" and "upgrade" in value.lower() for name, value in request.headers
    )


def offered(request: Request) -> list[str]:
    """The WebSocket subprotocols that the client offers, in its order."""
    return _listed(request, "sec-websocket-protocol")


def websocket_protocol(request: Request, spoken: Iterable[str]) -> str:
    """The first subprotocol offered that is spoken here; "" where none is offered and "" is spoken.

    Raises `Refusal`: golang.org/x/net/websocket answers a handshake that fails with 403 and nothing
    else.
    """
    names = offered(request) or [""]
    for name in names:
        if name in spoken:
            return name
    raise Refusal(403, "")


def spdy_protocol(
    request: Request, spoken: Sequence[str], versions: list[str] | None = None
) -> str:
    """The first version that the client names and that is spoken here (`httpstream.Handshake`).

    `versions` are given by who knows them otherwise than from the request.  Raises `Refusal`.
    """
    if versions is None:
        if all(name != VERSIONS for name, _ in request.headers):
            raise Refusal(
                400,
                "unable to upgrade: header X-Stream-Protocol-Version does not exist in request "
                f"with {len({name for name, _ in request.headers})} headers\n",
            )
        versions = _listed(request, VERSIONS)
        if not versions:
            given = [value for name, value in request.headers if name == VERSIONS]
            raise Refusal(
                400,
                "unable to upgrade: header X-Stream-Protocol-Version contains "
                f"[{' '.join(given)}], but no valid protocols\n",
            )
    for name in versions:
        if name in spoken:
            return name
    raise Refusal(
        403,
        f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(versions)}], "
        f"server accepts [{' '.join(spoken)}]\n",
        tuple(("X-Accepted-Stream-Protocol-Versions", name) for name in spoken),
    )


def check_spdy(request: Request) -> None:
    """Whether it is SPDY that the client wants (`spdy.UpgradeResponse`).  Raises `Refusal`."""
    if SPDY_31 not in request.header("upgrade").lower() or not is_upgrade(request):
        shown = ", ".join(
            f"{quote(name.title())}:[]string{{{quote(value)}}}"
            for name, value in sorted(request.headers)
        )
        raise Refusal(
            400, f"unable to upgrade: missing upgrade headers in request: http.Header{{{shown}}}\n"
        )


def _listed(request: Request, header: str) -> list[str]:
    return [
        text.strip()
        for name, value in request.headers
        if name == header
        for text in value.split(",")
        if text.strip()
    ]
