"""HTTP/1.1 in front of an API server, without I/O: bytes in, bytes out.

    client bytes -> Connection.feed -> wire.Request -> Handler -> Response | WatchStream -> output

Law: requests of one connection are served one after the other, each as a kernel task, so that a
fault that holds, resets or refuses acts as on a wire.  A request that nothing holds is answered
within `feed`, unless the client is behind with reading what it has been answered.  Every watch
event is a chunk of its own, sent when it comes.  A body is taken in only as far as the API server
reads it: with the first byte too much the request is answered, and the connection ends.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import attrs
import httptools

from pytest_kubesim.apiserver.decoding import MAX_BODY_BYTES
from pytest_kubesim.sim.tasks import Event
from pytest_kubesim.transports import answers
from pytest_kubesim.transports.answers import HIGH_BYTES
from pytest_kubesim.wire import ConnectionLost, Request, Response, UserInfo, WatchEvent

if TYPE_CHECKING:
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.network import Network
    from pytest_kubesim.sim.tasks import Task
    from pytest_kubesim.transports.upgrades import Upgraded
    from pytest_kubesim.wire import Handler, WatchStream

MAX_HEADER_BYTES = 1 << 20
"""Go's `http.DefaultMaxHeaderBytes`."""

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_PHRASES[413] = b"Request Entity Too Large"
_PHRASES[422] = b"Unprocessable Entity"

Headers = tuple[tuple[str, str], ...]


@attrs.frozen(slots=True)
class Identity:
    """Who a request comes from, as the door knows it: see the fields of `wire.Request`."""

    user: UserInfo | None = None
    certificate: UserInfo | None = None
    client: str = ""
    host: str = ""


ANYBODY = Identity()


def _anybody(_headers: Headers) -> Identity:
    return ANYBODY


def _raise(failure: BaseException) -> None:
    raise failure


def _nothing() -> int:
    return 0


@attrs.frozen(slots=True)
class Front:
    """What all connections to one API server share.

    `handler` answers; `identify(headers)` says who asks; `network` and `server_host` are the way
    there (None: no latency, no partitions); `watch_latency_ns`, least and most time that a watch
    event is under way; `compress`, whether to gzip large bodies for clients that accept it;
    `max_body_bytes`, how much of a body is taken in; `cached`, whether answers may be kept;
    `on_failure` is given what the handler raises besides `ConnectionLost`: our own mistakes.
    """

    kernel: Kernel
    handler: Handler
    identify: Callable[[Headers], Identity] = _anybody
    network: Network | None = None
    server_host: str = "control-plane"
    watch_latency_ns: tuple[int, int] = (0, 0)
    compress: bool = False
    max_body_bytes: int = MAX_BODY_BYTES
    cached: bool = False
    asked: Iterator[int] = attrs.field(factory=itertools.count, init=False)
    """Numbers the requests that come without an audit ID."""
    on_failure: Callable[[BaseException], object] = _raise


class Connection:
    """The server's end of one connection.

    Parameters: `front`; `output`, called with the bytes to send; `on_close`, called once when the
    server ends the connection: with `eof`, or the `kind` of the `ConnectionLost`; `name`, for the
    randomness of latencies: equal for the same connection of an equal run.
    """

    def __init__(
        self,
        front: Front,
        output: Callable[[bytes], object],
        on_close: Callable[[str], object],
        name: str = "",
    ) -> None:
        self.front = front
        self.closed = False
        self.upgraded: Upgraded | None = None
        """What took over after `101 Switching Protocols`."""
        self.backlog: Callable[[], int] = _nothing
        """How many bytes of what was sent the client has not read; the door knows."""
        self.resumed: Callable[[], object] = _nothing
        """Called when more may be read of a client that was `saturated`; the door listens."""
        self._room: Event | None = None
        self._output = output
        self._on_close = on_close
        self._name = name
        self._parser: Any = httptools.HttpRequestParser(self)
        self._queue: deque[tuple[Request, bool, bool]] = deque()
        self._task: Task[None] | None = None
        self._stream: WatchStream | None = None
        self._watches = 0
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._header_bytes = self._fed_bytes = self._body_bytes = 0
        self._deaf = False
        self._advancing = False
        self.begun = 0
        """How many requests have begun."""
        self.receiving = ""
        """Which part of a request is on its way: its `head`, its `body`, or none."""

    # -- the client's side --------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many requests wait for the one that is served."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self.receiving and self._task is None and self.upgraded is None

    @property
    def saturated(self) -> bool:
        """Whether nothing should be read of the client: what it has sent waits to be taken."""
        return self.upgraded is not None and self.upgraded.saturated

    def room(self) -> None:
        """The client has read something (the door says so when `backlog` has shrunk)."""
        if self._room is not None:
            self._room.set()
        if self.upgraded is not None:
            self.upgraded.pump()
        elif self._queue:
            self._next()

    def feed(self, data: bytes) -> None:
        """Bytes from the client; may call `output` before it returns."""
        if self.closed or self._deaf:
            return
        if self.upgraded is not None:
            self.upgraded.feed(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the request is queued: whether to switch is the handler's decision
        except httptools.HttpParserError:
            if not self.closed:
                self.refuse(400, "400 Bad Request")
            return
        if self.receiving == "head":
            self._fed_bytes += len(data)
            self._limit(self._fed_bytes)
        self._next()

    def client_closed(self) -> None:
        """The client has gone: what it waited for is abandoned, its watch ends."""
        if self.closed:
            return
        self.closed = True
        self._abandon()

    def _abandon(self) -> None:
        self._queue.clear()
        if self._stream is not None:
            self._stream.close()
        upgraded, self.upgraded = self.upgraded, None
        if upgraded is not None:
            upgraded.client_closed()
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()

    # -- the parser's callbacks ---------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = b""
        self._headers = []
        self._body = []
        self._header_bytes = self._fed_bytes = self._body_bytes = 0
        self.begun += 1
        self.receiving = "head"

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._count(len(name) + len(value))
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is there; a client that asked whether to go on is told so."""
        self.receiving = "body"
        for name, value in self._headers:
            if name == "expect" and value.lower() == "100-continue" and self._task is None:
                self._output(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._deaf:
            return
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self.front.max_body_bytes:
            self._enqueue(keep_alive=False)
            self._deaf = True

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self._deaf:
            self._enqueue(keep_alive=bool(self._parser.should_keep_alive()))

    def _enqueue(self, *, keep_alive: bool) -> None:
        self.receiving = ""
        if self.closed:
            return
        modern = self._parser.get_http_version() != "1.0"
        if modern and all(name != "host" for name, _ in self._headers):
            self.refuse(400, "400 Bad Request: missing required Host header")
            return
        path, _, query = self._url.decode("latin-1").partition("?")
        if not path.startswith("/"):
            path = path_of_absolute(path)
        headers = tuple(self._headers)
        identity = self.front.identify(headers)
        request = Request(
            self._parser.get_method().decode("ascii"),
            path,
            parse_query(query) if query else (),
            headers,
            body=b"".join(self._body) if self._body else None,
            user=identity.user,
            certificate=identity.certificate,
            client=identity.client,
            host=identity.host,
        )
        self._queue.append((request, keep_alive, modern))

    def _count(self, size: int) -> None:
        self._header_bytes += size
        self._limit(self._header_bytes)

    def _limit(self, head_bytes: int) -> None:
        if head_bytes > MAX_HEADER_BYTES and not self.closed:
            self.refuse(431, "431 Request Header Fields Too Large")

    # -- serving ------------------------------------------------------------------------------

    def _next(self) -> None:
        if self._advancing:
            return  # sending an answer has made room: whoever sends goes on with the next request
        self._advancing = True
        try:
            self._serve_queue()
        finally:
            self._advancing = False

    def _serve_queue(self) -> None:
        while self._queue and self._task is None and not self.closed:
            if self.backlog() >= HIGH_BYTES:
                return  # `room` comes back to it
            request, keep_alive, modern = self._queue.popleft()
            name = f"{request.client}: {request.method} {request.path}"
            task = self.front.kernel.spawn(
                self._serve(request, keep_alive, modern), name=name, eager=True, daemon=True
            )
            if task.done():
                if task.exception() is not None:
                    self._finished(task)
            else:
                self._task = task
                task.add_done_callback(self._finished)

    def _finished(self, task: Any) -> None:
        if self._task is task:
            self._task = None
        failure = task.exception()
        if failure is not None and not self.closed:
            self._end("reset")
            self.front.on_failure(failure)
        elif task.done():
            self._next()

    async def _serve(self, request: Request, keep_alive: bool, modern: bool) -> None:
        try:
            answer = await answers.ask(self.front, request)
        except ConnectionLost as lost:
            self._end(lost.kind)
            return
        if self.closed:
            if not isinstance(answer, Response):
                answer.close()
            return
        if isinstance(answer, Response) and request.header("upgrade"):
            from pytest_kubesim.transports import watch_sockets

            answer = watch_sockets.log_as_stream(request, answer)
        if isinstance(answer, Response):
            self._answer(request, answer, keep_alive, modern)
        elif hasattr(answer, "wire"):
            from pytest_kubesim.transports.upgrades import take_over

            self.upgraded = take_over(self, answer, request)
        elif not (request.header("upgrade") and await self._by_messages(request, answer)):
            await self._follow(request, answer, keep_alive and modern, modern)

    def _answer(
        self, request: Request, answer: Response, keep_alive: bool, modern: bool
    ) -> None:
        body, headers = answers.packed(self.front, request, answer)
        head = self._head(answer.status, answer.content_type, headers)
        bodiless = answers.bodiless(answer.status)
        if not bodiless:
            head.append(b"Content-Length: %d\r\n" % len(body))
        if not keep_alive:
            head.append(b"Connection: close\r\n")
        elif not modern:
            head.append(b"Connection: keep-alive\r\n")
        head.append(b"\r\n")
        if request.method != "HEAD" and not bodiless:
            head.append(body)
        self._output(b"".join(head))
        if not keep_alive:
            self._end("eof")

    def _head(self, status: int, content_type: str, headers: Headers) -> list[bytes]:
        head = [b"HTTP/1.1 %d %s\r\n" % (status, _PHRASES.get(status, b"Unknown"))]
        if not self.front.cached:
            headers = answers.with_cache_control(headers)
        for name, value in headers:
            head.append(f"{name}: {value}\r\n".encode("latin-1"))
        if content_type:
            head.append(f"Content-Type: {content_type}\r\n".encode("latin-1"))
        head.append(f"Date: {answers.date(self.front)}\r\n".encode())
        return head

    async def _follow(
        self, request: Request, stream: WatchStream, keep_alive: bool, chunked: bool
    ) -> None:
        head = self._head(stream.status, stream.content_type, stream.headers)
        if chunked:
            head.append(b"Transfer-Encoding: chunked\r\n")
        if not keep_alive:
            head.append(b"Connection: close\r\n")
        pack = _chunk if chunked else _piece
        self._stream = stream
        self._watches += 1
        self._output(b"".join((*head, b"\r\n")))
        stream_name = f"{request.client}/{self._name}/{self._watches}"
        batch = 0
        patient = getattr(stream, "patient", False)
        try:
            while (event := await stream.next()) is not None:
                if patient:
                    await self.caught_up()
                batch += 1
                await answers.deliver(self.front, request.host, stream_name, batch)
                if self.closed:
                    return
                chunks = [pack(stream, event)]
                while not patient and (more := stream.next_nowait()) is not None:
                    chunks.append(pack(stream, more))
                self._output(b"".join(chunks))
        except ConnectionLost as lost:
            self._end(lost.kind)
            return
        finally:
            self._stream = None
            stream.close()
        if not self.closed:
            if chunked:
                self._output(b"0\r\n\r\n")
            if not keep_alive:
                self._end("eof")

    async def _by_messages(self, request: Request, stream: WatchStream) -> bool:
        from pytest_kubesim.transports import watch_sockets

        if not watch_sockets.wanted(request, stream):
            return False
        self._stream = stream
        self._watches += 1
        stream_name = f"{request.client}/{self._name}/{self._watches}"
        try:
            await watch_sockets.follow(self, request, stream, stream_name)
        except ConnectionLost as lost:
            self._end(lost.kind)
        finally:
            self._stream = None
        return True

    async def caught_up(self) -> None:
        """Wait while the client is behind with reading."""
        while self.backlog() >= HIGH_BYTES and not self.closed:
            if self._room is None:
                self._room = Event(self.front.kernel)
            self._room.clear()
            await self._room.wait()

    # -- ending -------------------------------------------------------------------------------

    def refuse(self, status: int, text: str) -> None:
        """Answer with a text, and end the connection."""
        body = text.encode()
        self._output(
            b"HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (status, _PHRASES[status], len(body), body)
        )
        self._end("eof")

    def _end(self, kind: str) -> None:
        if self.closed:
            return
        self.closed = True
        self._queue.clear()
        self._on_close(kind)

    def switch(self, headers: Headers) -> None:
        """Say that the connection goes over to what `headers` name."""
        head = self._head(101, "", headers)
        self._output(b"".join((*head, b"\r\n")))

    def send(self, data: bytes) -> None:
        """Send raw bytes (what took the connection over)."""
        if not self.closed:
            self._output(data)

    def end(self, kind: str = "eof") -> None:
        """End the connection from the server's side, whatever is under way on it."""
        if not self.closed:
            self._end(kind)
            self._abandon()


def parse_query(query: str) -> tuple[tuple[str, str], ...]:
    """The pairs of a query string, decoded, in order."""
    pairs: list[tuple[str, str]] = []
    encoded = "%" in query or "+" in query
    for piece in query.split("&"):
        if piece:
            name, _, value = piece.partition("=")
            if encoded:
                pairs.append((unquote_plus(name), unquote_plus(value)))
            else:
                pairs.append((name, value))
    return tuple(pairs)


def path_of_absolute(target: str) -> str:
    """The path of a request target that names its host."""
    _, found, rest = target.partition("://")
    if not found:
        return target
    _, slash, path = rest.partition("/")
    return slash + path or "/"


def _chunk(stream: WatchStream, event: WatchEvent) -> bytes:
    data = stream.encode(event)
    return b"%x\r\n%s\r\n" % (len(data), data)


def _piece(stream: WatchStream, event: WatchEvent) -> bytes:
    return stream.encode(event)
