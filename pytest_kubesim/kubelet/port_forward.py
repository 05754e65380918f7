"""Port-forward: connections of a client joined to ports in a pod.

The law: on SPDY each connection is a pair of streams with the same request id, one for data and one
on which an error is told; on a WebSocket each port has two channels from the start, and the first
message of each is the port's number.  Who connects is the runtime, inside the pod: to 127.0.0.1.

    error, data of request 0 -> connect -> copy both ways -> close both
                                refused -> the reason on the error stream, reset both

Follows `k8s.io/cri-streaming/pkg/streaming/portforward` and containerd's
`internal/cri/server/sandbox_portforward_linux.go`.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.golang import parse_int, quote
from pytest_kubesim.kubelet.streaming import (
    BOTH,
    TUNNEL,
    TUNNELLED,
    WEBSOCKET,
    WRITE,
    ClientStream,
    Upgrade,
)
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.pipes import Broken, ConnectError, Pipe, Reset, Stream

if TYPE_CHECKING:
    from pytest_kubesim.kubelet.streaming import Session
    from pytest_kubesim.sim.kernel import Kernel

PROTOCOL = "portforward.k8s.io"
SPDYS = (PROTOCOL,)
V4, V4_BASE64 = "v4.channel.k8s.io", "v4.base64.channel.k8s.io"
WEBSOCKETS = ("", V4, V4_BASE64)
DATA, ERROR = "data", "error"
STREAM_CREATION_NS = 30 * NS
"""For how long the second stream of a pair may be awaited."""
GRACE_NS = NS
"""For how long the other direction may go on when one has ended."""

Connect = Callable[[int], Awaitable[Stream]]
"""Opens a connection to a port in the pod.  Raises `sim.pipes.ConnectError`."""


class PortForward(Upgrade):
    """One client's connections to one pod.

    Parameters: `kernel`; `wire`, `subprotocol`; `ports`, those of a WebSocket; `sandbox`, the id
    by which the runtime knows the pod; `connect`; `refusal`, which words what `connect` raised.
    """

    def __init__(
        self,
        kernel: Kernel,
        wire: str,
        subprotocol: str,
        *,
        ports: Sequence[int],
        sandbox: str,
        connect: Connect,
        refusal: Callable[[int, ConnectError], str],
    ) -> None:
        shown = TUNNELLED + subprotocol if wire == TUNNEL else subprotocol
        super().__init__(kernel, wire, shown)
        self.base64 = subprotocol == V4_BASE64
        self.channels = (BOTH, WRITE) * len(ports)
        self._ports = ports
        self._sandbox = sandbox
        self._connect = connect
        self._refusal = refusal
        self._pairs: dict[str, dict[str, ClientStream]] = {}
        self._waiting = len(ports)

    # -- WebSocket ------------------------------------------------------------------------------

    def opened(self, session: Session) -> None:
        """Begin at once where the ports are known."""
        self.session = session
        if self.wire != WEBSOCKET:
            return
        for index, port in enumerate(self._ports):
            data, error = session.streams[2 * index : 2 * index + 2]
            number = struct.pack("<H", port)
            data.outgoing.write(number)
            error.outgoing.write(number)
            self._spawn(self._serve_channels(port, data, error), port)
        if not self._ports:
            session.close()

    async def _serve_channels(self, port: int, data: ClientStream, error: ClientStream) -> None:
        problem = await self._forward(port, data)
        if problem:
            await error.write(self._told(port, problem))
        self._waiting -= 1
        if not self._waiting and self.session is not None:
            self.session.close()

    # -- SPDY -----------------------------------------------------------------------------------

    def accept(self, stream: ClientStream) -> None:
        """A stream with a port and a kind; others are rejected."""
        text = stream.headers.get("port", "")
        if not text:
            raise ValueError('"port" header is required')
        _port(text)
        kind = stream.headers.get("streamtype", "")
        if not kind:
            raise ValueError('"streamType" header is required')
        if kind not in {DATA, ERROR}:
            raise ValueError(f"invalid stream type {quote(kind)}")

    def accepted(self, stream: ClientStream) -> None:
        """Join it with the other one of its pair."""
        kind, request = stream.headers["streamtype"], self._request(stream)
        pair = self._pairs.get(request)
        if pair is None:
            pair = self._pairs[request] = {}
            self.kernel.call_later(
                STREAM_CREATION_NS, self._late, request, pair, label="streams of a port-forward"
            )
        if kind in pair:
            error = pair.get(ERROR)
            if error is not None:
                problem = f"{kind} stream already assigned"
                self._tell(error, f"error processing stream for request {request}: {problem}")
            return
        pair[kind] = stream
        if len(pair) == 2:
            del self._pairs[request]
            if self.session is not None:
                self.session.forget(*pair.values())
            port = int(pair[DATA].headers["port"])
            self._spawn(self._serve_pair(port, pair[DATA], pair[ERROR]), port)

    @staticmethod
    def _request(stream: ClientStream) -> str:
        """The pair's id; old clients send none, and open the streams of a pair in a row."""
        given = stream.headers.get("requestid", "")
        if given:
            return given
        return str(stream.number - 2 if stream.headers["streamtype"] == DATA else stream.number)

    def _late(self, request: str, pair: dict[str, ClientStream]) -> None:
        if self.closed or self._pairs.get(request) is not pair:
            return
        del self._pairs[request]
        error = pair.get(ERROR)
        if error is not None:
            self._tell(
                error, f"(conn=0xc000000000, request={request}) timed out waiting for streams"
            )
        if self.session is not None:
            self.session.forget(*pair.values())

    async def _serve_pair(self, port: int, data: ClientStream, error: ClientStream) -> None:
        problem = await self._forward(port, data)
        if problem:
            await error.write(self._told(port, problem))
            data.reset()
            error.reset()
        else:
            error.close()
            data.close()

    # -- forwarding -----------------------------------------------------------------------------

    async def _forward(self, port: int, data: ClientStream) -> str:
        """Join a stream to a port until both ends have finished; gives what went wrong."""
        try:
            connection = await self._connect(port)
        except ConnectError as error:
            return self._refusal(port, error)
        if self.closed:
            connection.close()
            return ""
        spawn = self.kernel.spawn
        there = spawn(_pour(data.incoming, connection.outgoing), name="to the pod", daemon=True)
        back = spawn(_pour(connection.incoming, data.outgoing), name="from the pod", daemon=True)
        await self.kernel.wait_any(there, back)
        await self.kernel.wait_any(back if there.done() else there, timeout_ns=GRACE_NS)
        there.cancel()
        back.cancel()
        connection.close()
        problems = [task.result() for task in (there, back) if task.done() and not task.exception()]
        return next((text for text in problems if text), "")

    def _told(self, port: int, problem: str) -> bytes:
        return (
            f"error forwarding port {port} to pod {self._sandbox}, uid : {problem}"
        ).encode()

    def _spawn(self, main: Awaitable[None], port: int) -> None:
        self.kernel.spawn(main, name=f"port-forward {port}", daemon=True)  # pyright: ignore[reportArgumentType]

    @staticmethod
    def _tell(error: ClientStream, text: str) -> None:
        try:
            error.outgoing.write(text.encode())
        except (Broken, Reset):
            pass


async def _pour(source: Pipe, target: Pipe) -> str:
    """All of one pipe into another; gives what went wrong, as Go's `io.Copy` words it."""
    try:
        while piece := await source.read():
            target.write(piece)
            await target.drain()
    except Reset:
        return "read: connection reset by peer"
    except Broken:
        return ""
    return ""


def ports_of(given: Sequence[str], name: str = "port") -> list[int]:
    """The ports that a WebSocket client names.  Raises `ValueError` with the kubelet's words."""
    if not given:
        raise ValueError(f"query parameter {quote(name)} is required")
    found: list[int] = []
    for text in given:
        if not text:
            raise ValueError(f"query parameter {quote(name)} cannot be empty")
        found += [_port(piece, text) for piece in text.split(",")]
    return found


def _port(text: str, shown: str = "") -> int:
    try:
        if text[:1] in {"+", "-"}:
            raise ValueError(f"strconv.ParseUint: parsing {quote(text)}: invalid syntax")
        number = parse_int(text, 17, function="ParseUint")
    except ValueError as error:
        raise ValueError(f"unable to parse {quote(shown or text)} as a port: {error}") from None
    if number < 1:
        raise ValueError(f"port {quote(shown or text)} must be > 0")
    return number
