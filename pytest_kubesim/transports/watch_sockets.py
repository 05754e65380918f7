"""Watches and logs over WebSocket: what would be pieces of a body are messages.

Law: nothing that the client says is listened to, but that it goes.  An event is a text message
where its encoding is text, else a binary one, without the length that frames it in a body.  A watch
needs an `Origin`, as browsers send it; a log does not.

Follows `endpoints/handlers/watch.go` (`HandleWS`), `httpstream/wsstream/stream.go` for logs, and
golang.org/x/net/websocket for the handshake.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from pytest_kubesim.apiserver.filters.authentication import IN_PROTOCOL
from pytest_kubesim.apiserver.storage.watch import CacheWatcher
from pytest_kubesim.kubelet.streaming import Refusal, is_websocket, offered, websocket_protocol
from pytest_kubesim.transports import answers
from pytest_kubesim.transports.websocket import Messages
from pytest_kubesim.wire import WatchEvent

if TYPE_CHECKING:
    from pytest_kubesim.transports.http import Connection
    from pytest_kubesim.wire import Request, Response, WatchStream

BINARY, BASE64 = "binary.k8s.io", "base64.binary.k8s.io"
LOG_PROTOCOLS = ("", BINARY, BASE64)
MAX_LOG_MESSAGE_BYTES = 2048
OK = 200
LENGTH_BYTES = 4
"""What precedes an event in a body of Kubernetes protobuf."""


def wanted(request: Request, stream: WatchStream) -> bool:
    """Whether the stream is to go over WebSocket: what else streams is a body, whoever asks."""
    return is_websocket(request) and (isinstance(stream, CacheWatcher) or _is_log(request))


def log_as_stream(request: Request, answer: Response) -> Response | WatchStream:
    """A log that is not followed, if it is to go over WebSocket, as a stream of a piece."""
    if answer.status == OK and is_websocket(request) and _is_log(request):
        return WholeLog(answer)
    return answer


class WholeLog:
    """A log that is there (a `WatchStream`)."""

    status = 200
    headers: tuple[tuple[str, str], ...] = ()
    patient = True

    def __init__(self, answer: Response) -> None:
        self.content_type = answer.content_type
        self.closed = False
        self._body = answer.body or b""

    async def next(self) -> WatchEvent | None:
        """The log, then None."""
        return self.next_nowait()

    def next_nowait(self) -> WatchEvent | None:
        """The log, then None."""
        if self.closed:
            return None
        self.closed = True
        return WatchEvent("LOG", {}, 0)

    def encode(self, event: WatchEvent) -> bytes:
        """Its bytes."""
        del event
        return self._body

    def close(self) -> None:
        """Nothing more is wanted."""
        self.closed = True


def _is_log(request: Request) -> bool:
    parts = request.path.strip("/").split("/")
    return parts[:3:2] == ["api", "namespaces"] and parts[4::2] == ["pods", "log"]


async def follow(connection: Connection, request: Request, stream: WatchStream, name: str) -> None:
    """Take the connection over and send the stream on it, to its end.

    Parameters: `name` of the stream, for the randomness of latencies.  Raises: `ConnectionLost`.
    """
    try:
        sender = Sender(connection, request, stream)
    except Refusal as refusal:
        stream.close()
        connection.send(refused(refusal))
        connection.end()
        return
    connection.upgraded = sender
    front = connection.front
    batch = 0
    try:
        sender.greet()
        while (event := await stream.next()) is not None:
            await sender.behind()
            batch += 1
            await answers.deliver(front, request.host, name, batch)
            sender.say(event)
            while not sender.patient and (more := stream.next_nowait()) is not None:
                sender.say(more)
    finally:
        stream.close()
    sender.messages.close()


class Sender:
    """What took the connection over.

    Raises `Refusal` where the request is no handshake that is accepted.
    """

    saturated = False

    def __init__(self, connection: Connection, request: Request, stream: WatchStream) -> None:
        self.patient = _is_log(request)
        """Whether it waits for a client that is behind."""
        check(request)
        subprotocol = (
            websocket_protocol(request, LOG_PROTOCOLS) if self.patient else the_only(request)
        )
        if not self.patient:
            check_origin(request)
        self._base64 = subprotocol == BASE64
        self._text = "protobuf" not in stream.content_type
        self._connection = connection
        self._stream = stream
        try:
            self.messages = Messages(connection, request, subprotocol, _ignore)
        except (RemoteProtocolError, LocalProtocolError) as problem:
            raise Refusal(400, str(problem)) from None

    def greet(self) -> None:
        """A log begins with an empty message."""
        if self.patient:
            self._piece(b"")

    def say(self, event: WatchEvent) -> None:
        """Send an event, or a piece of a log."""
        data = self._stream.encode(event)
        if self.patient:
            for at in range(0, len(data), MAX_LOG_MESSAGE_BYTES):
                self._piece(data[at : at + MAX_LOG_MESSAGE_BYTES])
        elif self._text:
            self.messages.send_text(data.decode())
        else:
            self.messages.send(data[LENGTH_BYTES:])

    def _piece(self, data: bytes) -> None:
        if self._base64:
            self.messages.send_text(base64.b64encode(data).decode())
        else:
            self.messages.send(data)

    async def behind(self) -> None:
        """Wait while the client of a log is behind with reading."""
        if self.patient:
            await self._connection.caught_up()

    def pump(self) -> None:
        """The client has read something: whoever waits for that is woken by the connection."""

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        self.messages.feed(data)

    def client_closed(self) -> None:
        """The client has gone."""
        self._stream.close()


def _ignore(_message: bytes) -> None:
    return


# -- the handshake -------------------------------------------------------------------------------


def check(request: Request) -> None:
    """What any handshake must have.  Raises `Refusal`."""
    if not request.header("sec-websocket-key"):
        raise Refusal(400, "mismatch challenge/response")
    if request.header("sec-websocket-version") != "13":
        version = (("Sec-WebSocket-Version", "13"),)
        raise Refusal(400, "missing or bad WebSocket Version", version)


def check_origin(request: Request) -> None:
    """Whether the request tells where it comes from.  Raises `Refusal`."""
    origin = request.header("origin")
    if not origin or not (origin.startswith("/") or urlsplit(origin).scheme):
        raise Refusal(403, "")


def the_only(request: Request) -> str:
    """The subprotocol of a watch: any, but nobody chooses among several.  Raises `Refusal`."""
    names = [name for name in offered(request) if not name.startswith(IN_PROTOCOL)]
    if len(names) > 1:
        raise Refusal(400, "")
    return names[0] if names else ""


def refused(refusal: Refusal) -> bytes:
    """A refusal as it goes over the wire: without anything that it need not have."""
    phrase = {400: "Bad Request", 403: "Forbidden"}[refusal.code]
    headers = "".join(f"{name}: {value}\r\n" for name, value in refusal.headers)
    return f"HTTP/1.1 {refusal.code} {phrase}\r\n{headers}\r\n{refusal}".encode()
