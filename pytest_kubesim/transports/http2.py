"""HTTP/2 in front of an API server, without I/O: what Go clients speak, many requests at once.

Law: every stream is a kernel task of its own; none waits for another.  What the client's windows do
not take waits with its stream, and a stream for which too much waits is reset: its client does not
read.  A fault that loses a request resets its stream; the others go on.

The limits are those of `apiserver/pkg/server/secure_serving.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from pytest_kubesim.apiserver.decoding import MAX_BODY_BYTES
from pytest_kubesim.sim.tasks import Event
from pytest_kubesim.transports import answers
from pytest_kubesim.transports.http import parse_query
from pytest_kubesim.wire import ConnectionLost, Request, Response

if TYPE_CHECKING:
    from pytest_kubesim.sim.tasks import Task
    from pytest_kubesim.transports.http import Front
    from pytest_kubesim.wire import WatchStream

MAX_STREAMS = 100
WINDOW_BYTES = 256 * 1024
"""For a stream; a connection has one for all its streams."""
MAX_HEADER_BYTES = 1 << 20
HELD_BYTES = 4 * 1024 * 1024
"""While a client has left so much of its answers unread its further requests wait."""
MAX_UNSENT_BYTES = 64 * 1024 * 1024


class _Stream:
    """A request and its answer."""

    __slots__ = (
        "answered", "body", "ending", "headers", "id", "room", "size", "task", "unsent", "watch",
        "whole",
    )

    def __init__(self, number: int, headers: list[tuple[str, str]]) -> None:
        self.id = number
        self.headers = headers
        self.body: list[bytes] = []
        self.size = 0
        self.task: Task[None] | None = None
        self.watch: WatchStream | None = None
        self.whole = False
        """Whether the client has sent all of its request."""
        self.answered = False
        """Whether its request has been taken from it."""
        self.unsent = bytearray()
        self.ending = False
        self.room: Event | None = None
        """Set when something of it has been sent."""


class Connection2:
    """The server's end of an HTTP/2 connection; parameters as of `http.Connection`."""

    upgraded = None
    waiting = 0
    saturated = False

    def __init__(
        self,
        front: Front,
        output: Callable[[bytes], object],
        on_close: Callable[[str], object],
        name: str = "",
    ) -> None:
        self.front = front
        self.closed = False
        self._output = output
        self._on_close = on_close
        self._name = name
        self.backlog: Callable[[], int] = int
        self.resumed: Callable[[], object] = int
        self._streams: dict[int, _Stream] = {}
        self._count = 0
        self._feeding = False
        self._held = 0
        """How many bytes of answers wait for the client's windows."""
        self._drained: Event | None = None
        # What h2 checks of headers costs more than all else; what matters of it `_begin` checks.
        config = H2Configuration(
            client_side=False,
            header_encoding="latin-1",
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._h2 = H2Connection(config)
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW_BYTES * MAX_STREAMS)
        self._flush()

    # -- how it stands ------------------------------------------------------------------------

    @property
    def receiving(self) -> str:
        """`body` while a request is on its way."""
        return "body" if any(not s.answered for s in self._streams.values()) else ""

    @property
    def begun(self) -> int:
        """The request that is longest on its way, or how many there have been."""
        return min((s.id for s in self._streams.values() if not s.answered), default=self._count)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._streams

    def room(self) -> None:
        """The client has read something."""
        for stream in list(self._streams.values()):
            if stream.room is not None:
                stream.room.set()

    # -- the client's side --------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Bytes from the client; may call `output` before it returns."""
        if self.closed:
            return
        self._feeding = True  # what is answered at once is sent at once, in one piece
        try:
            for event in self._h2.receive_data(data):
                self._take(event)
        except ProtocolError:
            self.end()  # h2 has written the reason into its farewell
            return
        finally:
            self._feeding = False
        self._flush()

    def client_closed(self) -> None:
        """The client has gone: what it waited for is abandoned, its watches end."""
        self.closed = True
        for number in list(self._streams):
            self._forget(number)

    def end(self, kind: str = "eof") -> None:
        """End the connection from the server's side, whatever is under way on it."""
        if not self.closed:
            self._feeding = False
            with suppress(ProtocolError):
                self._h2.close_connection()  # clients send what they have not begun elsewhere
            self._flush()
            self.client_closed()
            self._on_close(kind)

    def _take(self, event: Any) -> None:
        if isinstance(event, RequestReceived):
            self._count += 1
            self._streams[event.stream_id] = _Stream(
                event.stream_id, [(str(name), str(value)) for name, value in event.headers]
            )
        elif isinstance(event, DataReceived):
            self._more(event)
        elif isinstance(event, StreamEnded):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.whole = True
                if not stream.answered:
                    self._begin(stream)
        elif isinstance(event, StreamReset):
            self._forget(event.stream_id)
        elif isinstance(event, WindowUpdated):
            which = [event.stream_id] if event.stream_id else list(self._streams)
            for number in which:
                with suppress(ProtocolError):
                    self._push(self._streams.get(number))
        elif isinstance(event, ConnectionTerminated):
            self.end()

    def _more(self, event: DataReceived) -> None:
        with suppress(ProtocolError):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        stream = self._streams.get(event.stream_id)
        if stream is None or stream.answered:
            return
        stream.body.append(event.data)
        stream.size += len(event.data)
        if stream.size > MAX_BODY_BYTES:
            self._begin(stream)  # the API server reads no further, and says so

    def _forget(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        stream.answered = True
        self._release(len(stream.unsent))
        if stream.watch is not None:
            stream.watch.close()
        if stream.task is not None and not stream.task.done():
            stream.task.cancel()

    # -- serving ------------------------------------------------------------------------------

    def _begin(self, stream: _Stream) -> None:
        stream.answered = True
        fields = dict(stream.headers)
        method, target = fields.get(":method"), fields.get(":path", "")
        if not method or not target.startswith("/"):
            self._reset(stream, ErrorCodes.PROTOCOL_ERROR)
            return
        path, _, query = target.partition("?")
        headers = tuple(
            ("host" if name == ":authority" else name.lower(), value)
            for name, value in stream.headers
            if name == ":authority" or not name.startswith(":")
        )
        identity = self.front.identify(headers)
        request = Request(
            method,
            path,
            parse_query(query) if query else (),
            headers,
            body=b"".join(stream.body) if stream.body else None,
            user=identity.user,
            certificate=identity.certificate,
            client=identity.client,
            host=identity.host,
        )
        stream.body.clear()
        name = f"{request.client}: {request.method} {request.path}"
        task = self.front.kernel.spawn(
            self._serve(stream, request), name=name, eager=True, daemon=True
        )
        if task.done():
            self._finished(stream, task)
        else:
            stream.task = task
            task.add_done_callback(lambda done: self._finished(stream, done))

    def _finished(self, stream: _Stream, task: Any) -> None:
        stream.task = None
        failure = task.exception()
        if failure is not None and stream.id in self._streams:
            self._reset(stream)
            self.front.on_failure(failure)
        self._flush()

    async def _serve(self, stream: _Stream, request: Request) -> None:
        while self._held >= HELD_BYTES:
            if self._drained is None:
                self._drained = Event(self.front.kernel)
            self._drained.clear()
            await self._drained.wait()
        try:
            answer = await answers.ask(self.front, request)
        except ConnectionLost:
            self._reset(stream)
            return
        if stream.id not in self._streams:
            if not isinstance(answer, Response):
                answer.close()
        elif isinstance(answer, Response):
            self._answer(stream, request, answer)
        elif hasattr(answer, "wire"):
            answer.close()  # HTTP/2 has no `Upgrade`
            self._reset(stream, ErrorCodes.HTTP_1_1_REQUIRED)
        else:
            await self._follow(stream, request, answer)

    def _answer(self, stream: _Stream, request: Request, answer: Response) -> None:
        body, headers = answers.packed(self.front, request, answer)
        if answers.bodiless(answer.status):
            body = b""
        else:
            headers = (*headers, ("content-length", str(len(body))))
        if request.method == "HEAD":
            body = b""
        self._head(stream, answer.status, answer.content_type, headers)
        stream.ending = True
        self._write(stream, body)

    async def _follow(self, stream: _Stream, request: Request, watch: WatchStream) -> None:
        stream.watch = watch
        self._head(stream, watch.status, watch.content_type, watch.headers)
        self._flush()
        stream_name = f"{request.client}/{self._name}/{stream.id}"
        batch = 0
        patient = getattr(watch, "patient", False)
        try:
            while (event := await watch.next()) is not None:
                batch += 1
                if patient:
                    await self._behind(stream)
                await answers.deliver(self.front, request.host, stream_name, batch)
                if stream.id not in self._streams:
                    return
                pieces = [watch.encode(event)]
                while not patient and (more := watch.next_nowait()) is not None:
                    pieces.append(watch.encode(more))
                self._write(stream, b"".join(pieces))
                self._flush()
        except ConnectionLost:
            self._reset(stream)
            return
        finally:
            stream.watch = None
            watch.close()
        stream.ending = True
        self._write(stream, b"")
        self._flush()

    async def _behind(self, stream: _Stream) -> None:
        """Wait while the client is behind with reading this stream."""
        while stream.id in self._streams and (
            len(stream.unsent) >= answers.HIGH_BYTES or self.backlog() >= answers.HIGH_BYTES
        ):
            if stream.room is None:
                stream.room = Event(self.front.kernel)
            stream.room.clear()
            await stream.room.wait()

    # -- writing ------------------------------------------------------------------------------

    def _head(
        self, stream: _Stream, status: int, content_type: str, headers: tuple[tuple[str, str], ...]
    ) -> None:
        told = answers.with_cache_control(headers)
        head = [(":status", str(status)), *((name.lower(), value) for name, value in told)]
        if content_type:
            head.append(("content-type", content_type))
        head.append(("date", answers.date(self.front)))
        if stream.id in self._streams:
            with suppress(ProtocolError):  # the client has reset it: we shall read that next
                self._h2.send_headers(stream.id, head)

    def _write(self, stream: _Stream, data: bytes) -> None:
        if stream.id not in self._streams:
            return
        if len(stream.unsent) > MAX_UNSENT_BYTES:
            self._reset(stream, ErrorCodes.ENHANCE_YOUR_CALM)
            return
        stream.unsent += data
        self._held += len(data)
        with suppress(ProtocolError):
            self._push(stream)

    def _push(self, stream: _Stream | None) -> None:
        """Send of a stream what the client's windows take."""
        if stream is None:
            return
        unsent = stream.unsent
        while unsent:
            size = min(
                self._h2.local_flow_control_window(stream.id),
                self._h2.max_outbound_frame_size,
                len(unsent),
            )
            if size <= 0:
                return
            self._h2.send_data(stream.id, bytes(unsent[:size]))
            del unsent[:size]
            self._release(size)
            if stream.room is not None:
                stream.room.set()
        if stream.ending:
            self._h2.end_stream(stream.id)
            del self._streams[stream.id]
            if not stream.whole:
                self._h2.reset_stream(stream.id, ErrorCodes.NO_ERROR)

    def _release(self, size: int) -> None:
        self._held -= size
        if self._drained is not None and self._held < HELD_BYTES:
            self._drained.set()

    def _reset(self, stream: _Stream, why: ErrorCodes = ErrorCodes.INTERNAL_ERROR) -> None:
        if stream.id in self._streams:
            self._forget(stream.id)
            with suppress(ProtocolError):
                self._h2.reset_stream(stream.id, why)
            self._flush()

    def _flush(self) -> None:
        if self._feeding or self.closed:
            return
        data = self._h2.data_to_send()
        if data:
            self._output(data)
