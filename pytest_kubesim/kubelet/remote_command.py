"""exec and attach: a command in a container, or its first process, joined to a client's streams.

The law: the client's streams are stdin, stdout, stderr, the terminal's size, and an error stream on
which the end is told.  Output waits for a client that does not read, and a client is not read from
while the command is behind; a client that goes away leaves the command running, with its input at
the end and nobody to read what it says.

How the end is told depends on the version: v1 to v3 say nothing or a text, v4 a `Status` in JSON,
v5 the `Status` that a translator makes of that (the kubelet speaks v4 with the runtime).

Follows `k8s.io/cri-streaming/pkg/streaming/remotecommand`,
`apiserver/pkg/util/proxy/streamtranslator.go` and containerd's `internal/cri/server/streaming.go`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from pytest_kubesim.apimachinery import status as apistatus
from pytest_kubesim.apimachinery.golang import query_flag
from pytest_kubesim.cri.services import RuntimeServiceError
from pytest_kubesim.kubelet.streaming import (
    IGNORE,
    READ,
    SPDY,
    WEBSOCKET,
    WRITE,
    ClientStream,
    Upgrade,
    spdy_protocol,
    websocket_protocol,
)
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.pipes import Broken, Pipe, Reset

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.streaming import Session
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.tasks import Future
    from pytest_kubesim.wire import Request

V1, V2, V3, V4, V5 = (
    "channel.k8s.io", "v2.channel.k8s.io", "v3.channel.k8s.io", "v4.channel.k8s.io",
    "v5.channel.k8s.io",
)
BASE64, V4_BASE64 = "base64.channel.k8s.io", "v4.base64.channel.k8s.io"
WEBSOCKETS = ("", V1, BASE64, V4, V4_BASE64)
"""What a runtime speaks on a WebSocket, besides v5, which is translated for it."""
SPDYS = (V4, V3, V2, V1)

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
NAMES = ("stdin", "stdout", "stderr", "error", "resize")
STREAM_CREATION_NS = 30 * NS
"""For how long a SPDY client may take to open its streams."""


@attrs.frozen(slots=True)
class Options:
    """Which streams the client wants."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Options:
        """As a kubelet takes them; with a terminal there is no stderr.

        Raises: `ValueError` where the client wants none.
        """
        flags = {name: query_flag(query.get(name)) for name in ("tty", *NAMES[:3])}
        if flags["tty"]:
            flags["stderr"] = False
        if not (flags["stdin"] or flags["stdout"] or flags["stderr"]):
            raise ValueError("you must specify at least 1 of stdin, stdout, stderr")
        return cls(**flags)

    @property
    def wanted(self) -> tuple[bool, bool, bool]:
        """The three, by number."""
        return (self.stdin, self.stdout, self.stderr)


class CommandFailed(Exception):
    """What could not be run, or attached to, in the runtime's words."""


class Joined(Protocol):
    """A command that runs, or a container's first process (`ExecSession`, `AttachSession`)."""

    stdin: Pipe | None
    stdout: Pipe
    stderr: Pipe
    exit_code: Future[int]

    def resize(self, width: int, height: int) -> None:
        """Its terminal has another size."""
        ...

    def detach(self) -> None:
        """Nobody listens any more."""
        ...


Start = Callable[[], Awaitable[Joined]]
"""Begins it.  Raises `RuntimeServiceError`."""


class RemoteCommand(Upgrade):
    """One exec or attach.

    Parameters: `kernel`; `wire` and `subprotocol`; `options` of the client; `start`, what begins
    the command; `command`, its words (empty for attach).
    """

    def __init__(
        self,
        kernel: Kernel,
        wire: str,
        subprotocol: str,
        options: Options,
        start: Start,
        command: tuple[str, ...] = (),
    ) -> None:
        super().__init__(kernel, wire, subprotocol)
        self.base64 = subprotocol in {BASE64, V4_BASE64}
        self.half_close = subprotocol == V5
        self.channels = (
            READ if options.stdin else IGNORE,
            WRITE if options.stdout else IGNORE,
            WRITE if options.stderr else IGNORE,
            WRITE,
            READ,
        )
        self._options = options
        self._start = start
        self._command = command
        self._streams: list[ClientStream | None] = [None] * 5
        self._accepted = 0
        self._begun = False

    # -- the streams come -----------------------------------------------------------------------

    def opened(self, session: Session) -> None:
        """A WebSocket has all its channels now; on SPDY the client opens them."""
        self.session = session
        if self.wire == WEBSOCKET:
            wanted = self._options.wanted
            for number, stream in enumerate(session.streams):
                if number > STDERR or wanted[number]:
                    self._streams[number] = stream
            # An empty message tells the client that the connection stands.
            session.greet(next((n for n in (STDOUT, STDERR) if wanted[n]), ERROR))
            self._begin()
        else:
            self.kernel.call_later(
                STREAM_CREATION_NS, self._late, label="streams of a remote command"
            )

    def accept(self, stream: ClientStream) -> None:
        """A stream of the client's; of a kind that is not known it is taken and forgotten."""
        kind = stream.headers.get("streamtype", "")
        number = NAMES.index(kind) if kind in NAMES else None
        if number is not None and (number != RESIZE or self._resizable):
            self._streams[number] = stream

    def accepted(self, stream: ClientStream) -> None:
        """Begin when all have come that are expected."""
        if stream not in self._streams:
            return
        self._accepted += 1
        options = self._options
        expected = 1 + sum(options.wanted) + (options.tty and self._resizable)
        if self._accepted == expected:
            self._begin()

    @property
    def _resizable(self) -> bool:
        return self.subprotocol not in {V1, V2, BASE64, ""} or self.wire == WEBSOCKET

    def _late(self) -> None:
        if not self._begun and self.session is not None:
            self.session.close()

    def _begin(self) -> None:
        self._begun = True
        if self.wire == SPDY and self.subprotocol in {V1, ""} and (stdin := self._streams[STDIN]):
            stdin.close()  # the first version has closed the writing half of it ever since
        self.kernel.spawn(self._main(), name="remote command", daemon=True)

    # -- the command runs -----------------------------------------------------------------------

    async def _main(self) -> None:
        try:
            code = await self._run()
        except CommandFailed as failure:
            text = self._failure(str(failure))
        else:
            text = self._end(code)
        error = self._streams[ERROR]
        if error is not None:
            if text:
                await error.write(text.encode())
            error.close()
        if self.session is not None:
            self.session.close()

    async def _run(self) -> int:
        try:
            joined = await self._start()
        except RuntimeServiceError as refused:
            what = "executing command in container" if self._command else "attaching to container"
            raise CommandFailed(f"error {what}: {refused}") from None
        spawn = self.kernel.spawn
        outputs = [
            spawn(self._copy(joined.stdout, STDOUT), name="stdout", daemon=True),
            spawn(self._copy(joined.stderr, STDERR), name="stderr", daemon=True),
        ]
        inputs = [
            spawn(self._feed(joined), name="stdin", daemon=True),
            spawn(self._resize(joined), name="terminal", daemon=True),
        ]
        for output in outputs:
            await output
        code = 0
        if self._command and not self.closed:
            code = await joined.exit_code  # whoever was attached hears of no exit code
        joined.detach()
        for task in inputs:
            task.cancel()
        return code

    async def _copy(self, pipe: Pipe, number: int) -> None:
        stream = self._streams[number] if self._options.wanted[number] else None
        try:
            while data := await pipe.read():
                if stream is not None and not await stream.write(data):
                    pipe.break_off()
                    break
        except Reset:
            pass
        if stream is not None:
            stream.close()

    async def _feed(self, joined: Joined) -> None:
        """Hand on what the client types, up to its end."""
        stdin, stream = joined.stdin, self._streams[STDIN]
        if stdin is None:
            return
        try:
            if stream is not None and self._options.stdin:
                while data := await stream.incoming.read():
                    stdin.write(data)
                    await stdin.drain()
        except (Broken, Reset):
            if stream is not None:
                stream.incoming.break_off()
            return
        if self._command or stream is not None:
            stdin.close()

    async def _resize(self, joined: Joined) -> None:
        stream = self._streams[RESIZE]
        if stream is None:
            return
        text, decoder = "", json.JSONDecoder()
        while data := await stream.incoming.read():
            text = (text + data.decode(errors="replace")).lstrip()
            while text:
                try:
                    size, end = decoder.raw_decode(text)
                    joined.resize(int(size.get("Width", 0)), int(size.get("Height", 0)))
                except (ValueError, AttributeError, TypeError):
                    break
                text = text[end:].lstrip()

    # -- how the end is told --------------------------------------------------------------------

    def _end(self, code: int) -> str:
        version = self.subprotocol
        if not code:
            if version == V5:
                return _json({"metadata": {}, "status": "Success"})
            return _json({"status": "Success"}) if version in {V4, V4_BASE64} else ""
        # containerd names the command; the translator sees the code alone.
        how = (
            f"command terminated with exit code {code}"
            if version == V5
            else f"error executing command [{' '.join(self._command)}], exit code {code}"
        )
        return self._told({
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: {how}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        })

    def _failure(self, problem: str) -> str:
        message = f"Internal error occurred: {problem}"
        if self.subprotocol == V5:
            return translated_error(message)
        return self._told({
            "status": "Failure", "message": message, "reason": "InternalError", "code": 500,
        })

    def _told(self, status: Object) -> str:
        if self.subprotocol == V5:
            return _json({"metadata": {}, **status})
        if self.subprotocol in {V4, V4_BASE64}:
            return _json(status)
        return status["message"]


class Refused(Upgrade):
    """A WebSocket on which all there is to say is that the translator could not reach the command.

    Follows `StreamTranslatorHandler.ServeHTTP`: the handshake comes before the kubelet is asked.
    """

    def __init__(self, kernel: Kernel, options: Options, problem: str) -> None:
        super().__init__(kernel, WEBSOCKET, V5)
        self.half_close = True
        self.channels = (IGNORE, WRITE, WRITE, WRITE, READ)
        self._options = options
        self._problem = problem

    def opened(self, session: Session) -> None:
        """Say it."""
        wanted = self._options.wanted
        session.greet(next((n for n in (STDOUT, STDERR) if wanted[n]), ERROR))
        error = session.streams[ERROR]
        error.outgoing.write(translated_error(self._problem).encode())
        error.close()
        session.close()


def translated_error(problem: str) -> str:
    """What a translator says of an error that is no exit code."""
    status = apistatus.new_internal_error(problem).to_object()
    kept = ("metadata", "status", "message", "reason", "details", "code")
    return _json({name: status[name] for name in kept if name in status})


def protocol_of(request: Request, *, websocket: bool) -> str:
    """The version that both sides speak.  Raises `streaming.Refusal`."""
    if websocket:
        return websocket_protocol(request, WEBSOCKETS)
    return spdy_protocol(request, SPDYS)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
