"""exec and attach over a connection that has gone over to WebSocket.

The law: a message begins with the number of its channel: 0 stdin, 1 stdout, 2 stderr, 3 the
`Status` with which it ends.  A command is a call of the program's exec hook; what the client sends
to it is taken and thrown away.

Follows `apiserver/pkg/util/proxy/{streamtranslator,websocket}.go` and
`client-go/tools/remotecommand`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import status as apistatus
from pytest_kubesim.cri.container import RUNNING
from pytest_kubesim.kubelet.server import KubeletError
from pytest_kubesim.sim.tasks import Event

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.cri.programs import ExecResult
    from pytest_kubesim.sim.kernel import Kernel

STDOUT, STDERR, ERROR = 1, 2, 3
CHANNELS = {"stdout": STDOUT, "stderr": STDERR}
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
SUCCESS: Object = {"metadata": {}, "status": "Success"}

Run = Callable[["RemoteCommand"], Awaitable["Object"]]


class RemoteCommand:
    """One exec or attach (a `wire.UpgradeStream`).

    Parameters: `kernel`; `subprotocol`, one of `PROTOCOLS`; `wanted`, the streams that the client
    wants to read; `run`, what happens on it: it calls `write` and gives the `Status` of the end.
    """

    status = 101
    content_type = ""
    headers: tuple[tuple[str, str], ...] = ()

    def __init__(self, kernel: Kernel, subprotocol: str, wanted: set[str], run: Run) -> None:
        self.subprotocol = subprotocol
        self.closed = False
        self._kernel = kernel
        self._wanted = wanted
        self._run = run
        self._send: Callable[[bytes], object] | None = None
        self._close: Callable[[], object] | None = None

    def connect(
        self, send: Callable[[bytes], object], close: Callable[[], object]
    ) -> Callable[[bytes], None]:
        """Begin; gives what takes the client's messages."""
        self._send, self._close = send, close
        first = min((CHANNELS[name] for name in self._wanted), default=ERROR)
        send(bytes((first,)))  # tells the client that the connection stands
        self._kernel.spawn(self._main(), name="remote command", daemon=True)
        return self._receive

    def write(self, stream: str, text: str) -> None:
        """Send what was written to `stdout` or `stderr`, if the client wants it."""
        if text and stream in self._wanted:
            self._message(CHANNELS[stream], text.encode())

    def close(self) -> None:
        """The client has gone."""
        self.closed = True
        self._send = None

    def _receive(self, message: bytes) -> None:
        """Input, or the size of a window: nobody reads them."""
        del message

    def _message(self, channel: int, data: bytes) -> None:
        if self._send is not None:
            self._send(bytes((channel,)) + data)

    async def _main(self) -> None:
        try:
            end = await self._run(self)
        except KubeletError as error:
            refusal = f"unable to upgrade connection: {error}"
            end = apistatus.new_internal_error(refusal).to_object()
            end = {key: value for key, value in end.items() if key not in {"kind", "apiVersion"}}
        self._message(ERROR, json.dumps(end, separators=(",", ":")).encode())
        close = self._close
        if close is not None and not self.closed:
            self.closed = True
            close()


def exit_status(result: ExecResult) -> Object:
    """The `Status` that tells how a command ended."""
    code = result.exit_code
    if not code:
        return SUCCESS
    return {
        "metadata": {},
        "status": "Failure",
        "message": "command terminated with non-zero exit code: command terminated with exit "
        f"code {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


async def follow(run: Container, command: RemoteCommand) -> Object:
    """Attach: what the container writes from now on, until it ends."""
    news = Event(run.kernel)
    seen = run.lines_written
    run.readers.append(news.set)
    try:
        while not command.closed:
            fresh = run.lines_written - seen
            seen = run.lines_written
            for line in run.logs[len(run.logs) - fresh :] if fresh else ():
                command.write(line.stream, f"{line.text}\n")
            if run.state != RUNNING:
                break
            news.clear()
            await run.kernel.wait_any(news.future(), run.exited.future())
    finally:
        run.readers.remove(news.set)
    return SUCCESS


def streams(query: dict[str, str]) -> set[str]:
    """The streams that the client wants to read.  Raises `KubeletError` where it wants none."""
    wanted = {name for name in CHANNELS if query.get(name) in {"true", "1"}}
    if not wanted and query.get("stdin") not in {"true", "1"}:
        raise KubeletError(400, "you must specify at least 1 of stdin, stdout, stderr")
    return wanted


def protocol_of(offered: Any) -> str:
    """The best subprotocol of those that the client offers; empty where none is spoken here."""
    names = [name.strip() for name in str(offered).split(",")]
    return next((name for name in PROTOCOLS if name in names), "")
