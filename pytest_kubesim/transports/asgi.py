"""ASGI applications as servers inside the simulation: each runs on an event loop of its own.

The law: the loop is that of a process of the simulation (`kubesim.run`), on virtual time; a request
comes in from the kernel, and what the application sends goes out to it as it comes.  While the
process is down, connections are refused.

Follows the ASGI specification, version 3, without WebSockets.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from pytest_kubesim.apiserver.webhook_client import CallError
from pytest_kubesim.sim.tasks import Event
from pytest_kubesim.wire import Response, WatchEvent

if TYPE_CHECKING:
    from pytest_kubesim.cluster.api_services import APIRequest
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.cluster.externals import ExternalRequest
    from pytest_kubesim.sim.kernel import Kernel

_DROPPED = frozenset({b"content-type", b"content-length", b"date", b"transfer-encoding"})


class ASGIServer:
    """An application, served by a process of `cluster` (which `name` names)."""

    def __init__(self, cluster: Cluster, application: Callable[..., Any], name: str) -> None:
        self._application = application
        self._kernel = cluster.kernel
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.process = cluster.run(self._main, name=name)

    async def call(self, request: APIRequest | ExternalRequest) -> Any:
        """The answer: a `Response`, or a stream where it has no length.  Raises `CallError`."""
        loop = self._loop
        if loop is None or loop.is_closed():
            raise CallError("connect: connection refused")
        answer = Answer(self._kernel, loop)

        def begin() -> None:
            task = loop.create_task(self._handle(request, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        loop.call_soon_threadsafe(begin)
        return await answer.begun()

    async def _main(self) -> None:
        """The process: starts the application up, and serves until it is ended."""
        self._loop = loop = asyncio.get_running_loop()
        states: asyncio.Queue[Any] = asyncio.Queue()
        started = loop.create_future()

        async def told(message: Any) -> None:
            if not started.done():
                started.set_result(message)

        async def lifespan() -> None:
            scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
            try:
                await self._application(scope, states.get, told)
            except Exception:  # noqa: BLE001 - an application need not know of lifespans
                if not started.done():
                    started.set_result(None)

        states.put_nowait({"type": "lifespan.startup"})
        life = loop.create_task(lifespan())
        try:
            await asyncio.wait({started, life}, return_when=asyncio.FIRST_COMPLETED)
            await loop.create_future()
        finally:
            self._loop = None
            life.cancel()

    async def _handle(self, request: APIRequest | ExternalRequest, answer: Answer) -> None:
        gone = answer.gone = asyncio.Event()
        bodies = iter((request.body,))

        async def receive() -> Any:
            for body in bodies:
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            answer.sent(message)

        try:
            await self._application(_scope(request), receive, send)
        except Exception:  # noqa: BLE001 - as a server would: the connection breaks off
            answer.failed = True
        finally:
            answer.end()


def _scope(request: APIRequest | ExternalRequest) -> dict[str, Any]:
    host, _, port = request.header("host").partition(":")
    usual = 80 if request.scheme == "http" else 443
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": quote(request.path).encode(),
        "query_string": urlencode(request.query).encode(),
        "root_path": "",
        "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in request.headers],
        "client": ("127.0.0.1", 0),
        "server": (host, int(port) if port.isdecimal() else usual),
    }


class Answer:
    """What an application sends, on its way to the kernel: a stream of the pieces."""

    patient = True

    def __init__(self, kernel: Kernel, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.content_type = ""
        self.headers: tuple[tuple[str, str], ...] = ()
        self.failed = False
        self.gone: asyncio.Event | None = None
        self._loop = loop
        self._news = Event(kernel)
        self._pieces: deque[bytes] = deque()
        self._whole = False
        self._ended = False
        self._closed = False

    # -- the application's end ----------------------------------------------------------------

    def sent(self, message: Any) -> None:
        """A message of the application."""
        if message["type"] == "http.response.start":
            raw: list[tuple[bytes, bytes]] = [(bytes(k), bytes(v)) for k, v in message["headers"]]
            lower = {name.lower(): value for name, value in raw}
            self.status = message["status"]
            self.content_type = lower.get(b"content-type", b"").decode("latin-1")
            self._whole = b"content-length" in lower
            self.headers = tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in raw
                if name.lower() not in _DROPPED
            )
        elif message["type"] == "http.response.body":
            if message.get("body"):
                self._pieces.append(bytes(message["body"]))
            self._ended = self._ended or not message.get("more_body")
        self._news.set()

    def end(self) -> None:
        """The application has returned."""
        self._ended = True
        self._news.set()

    # -- the client's end ---------------------------------------------------------------------

    async def begun(self) -> Any:
        """The answer once it has begun.  Raises `CallError`."""
        while not self._ended and not (self._pieces and not self._whole):
            self._news.clear()
            await self._news.wait()
        if not self.status:
            raise CallError("EOF")
        if not self._ended:
            return self
        body = b"".join(itertools.chain(self._pieces))
        return Response(self.status, None, body, self.content_type, self.headers)

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._closed or (self._ended and not self._pieces)

    async def next(self) -> WatchEvent | None:
        """The next piece, waiting for it; None at the end."""
        while not self._pieces:
            if self._ended or self._closed:
                return None
            self._news.clear()
            await self._news.wait()
        return WatchEvent("BODY", {"piece": self._pieces.popleft()}, 0)

    def next_nowait(self) -> WatchEvent | None:
        """Pieces are waited for."""
        return None

    def close(self) -> None:
        """The client has gone: the application is told."""
        self._closed = True
        self._news.set()
        if self.gone is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.gone.set)

    def encode(self, event: WatchEvent) -> bytes:
        """The piece as it goes over the wire."""
        piece: bytes = event.object["piece"]
        return piece
