"""The API server's way to the kubelets: logs, exec, attach (its `NodeProxy`).

A kubelet that does not run refuses the connection, in the words of Go's dialer; what a kubelet
refuses becomes the `Status` that the API server makes of it.

Follows `apiserver/pkg/registry/generic/rest/{streamer,response_checker}.go` and
`pkg/kubelet/server/server.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import status as apistatus
from pytest_kubesim.apimachinery.timestamps import parse_time
from pytest_kubesim.cri.container import RUNNING
from pytest_kubesim.errors import NotSimulated
from pytest_kubesim.kubelet import remote_command
from pytest_kubesim.kubelet.host import NOTHING
from pytest_kubesim.kubelet.remote_command import RemoteCommand
from pytest_kubesim.kubelet.server import KubeletError, KubeletServer, LogOptions, format_log
from pytest_kubesim.sim.tasks import Event
from pytest_kubesim.wire import Response, WatchEvent

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.kubelet.kubelet import Kubelet

PORT = 10250
TEXT = "text/plain"

Query = tuple[tuple[str, str], ...]


class KubeletProxy:
    """Reaches kubelets.

    Parameters: `kubelets`, gives the kubelet of a node by the node's name, or None.
    """

    def __init__(self, kubelets: Callable[[str], Kubelet | None]) -> None:
        self._kubelets = kubelets

    async def logs(
        self, node: Object, pod: Object, container: str, options: Query
    ) -> Response | LogStream:
        """A container's log: a response, or with `follow` a stream that ends with the container."""
        query = dict(options)
        meta = pod["metadata"]
        path = f"/containerLogs/{meta['namespace']}/{meta['name']}/{container}"
        server = self._server(node, path)
        wanted = log_options(query)
        try:
            run = server.find_log(
                meta["namespace"], meta["name"], container, previous=wanted.previous
            )
        except KubeletError as error:
            raise _status(error) from None
        now_ns = run.now_ns()
        if query.get("follow") == "true" and run.state == RUNNING:
            return LogStream(run, wanted, now_ns)
        text = format_log(run.logs, wanted, now_ns)
        return Response(200, body=text.encode(), content_type=TEXT)

    async def stream(
        self, node: Object, pod: Object, container: str, kind: str, options: Query, offered: str
    ) -> RemoteCommand:
        """`exec` and `attach`, by a WebSocket subprotocol of those `offered`."""
        protocol = remote_command.protocol_of(offered)
        if kind == "portforward":
            raise NotSimulated("portforward is not simulated.", "Call the pod's program.")
        meta = pod["metadata"]
        server = self._server(node, f"/{kind}/{meta['namespace']}/{meta['name']}/{container}")
        command = tuple(value for name, value in options if name == "command")
        try:
            wanted = remote_command.streams(dict(options))
        except KubeletError as error:
            raise _status(error) from None
        run = server.running_container(meta["namespace"], meta["name"], container)
        if kind == "exec" and run is not None and run.program.exec_hook is None:
            raise NotSimulated(
                f'The program of container "{container}" does not simulate commands.',
                "Give it a hook: `kubesim.images[...] = runs_forever().having(exec=...)`.",
            )
        if not protocol:
            raise NotSimulated(
                f"{kind} over SPDY is not simulated.",
                f"Use a client that speaks WebSocket ({' or '.join(remote_command.PROTOCOLS)}).",
            )

        async def begin(stream: RemoteCommand) -> Object:
            if kind == "attach":
                if run is None:
                    raise KubeletError(404, f'container not found ("{container}")')
                return await remote_command.follow(run, stream)
            result = await server.exec(meta["namespace"], meta["name"], container, command)
            stream.write("stdout", result.stdout)
            stream.write("stderr", result.stderr)
            return remote_command.exit_status(result)

        return RemoteCommand(server.kernel, protocol, wanted, begin)

    async def proxy(self, node: Object, path: str, request: Any) -> Response:
        """The kubelet's own HTTP server: `/healthz` only."""
        del request
        self._server(node, path)
        if path.rstrip("/") == "/healthz":
            return Response(200, body=b"ok", content_type=TEXT)
        raise NotSimulated(
            f"A kubelet's {path} is not simulated.", "Ask for /healthz, or for logs of pods."
        )

    def _server(self, node: Object, path: str) -> KubeletServer:
        name = node["metadata"]["name"]
        kubelet = self._kubelets(name)
        if kubelet is None or not kubelet.process.running or kubelet.active is None:
            addresses: list[Object] = (node.get("status") or NOTHING).get("addresses") or []
            host = next((a["address"] for a in addresses if a["type"] == "InternalIP"), name)
            raise apistatus.APIStatus(
                500, "",
                f'Get "https://{host}:{PORT}{path}": dial tcp {host}:{PORT}: connect: '
                "connection refused",
            )
        return kubelet.server


def log_options(query: Mapping[str, str]) -> LogOptions:
    """`PodLogOptions` from the query of a request."""

    def number(name: str) -> int | None:
        return int(query[name]) if query.get(name) else None

    since = query.get("sinceTime")
    return LogOptions(
        tail_lines=number("tailLines"),
        since_seconds=number("sinceSeconds"),
        since_time_ns=parse_time(since) if since else None,
        limit_bytes=number("limitBytes"),
        timestamps=query.get("timestamps") == "true",
        previous=query.get("previous") == "true",
        stream=query.get("stream") or "All",
    )


class LogStream:
    """A log that goes on until its container ends: a `WatchStream` whose events are its pieces."""

    status = 200
    content_type = TEXT
    headers: tuple[tuple[str, str], ...] = ()

    def __init__(self, run: Container, options: LogOptions, now_ns: int) -> None:
        self._run = run
        self._options = options
        self._news = Event(run.kernel)
        self._closed = False
        self._pending = format_log(run.logs, options, now_ns)
        self._seen = run.lines_written
        run.readers.append(self._news.set)

    @property
    def closed(self) -> bool:
        """Whether it has ended; what is still pending can be read."""
        return self._closed or self._run.state != RUNNING

    async def next(self) -> WatchEvent | None:
        """The next piece, waiting for one; None once the container has ended."""
        while True:
            event = self.next_nowait()
            if event is not None:
                return event
            if self.closed:
                self.close()
                return None
            self._news.clear()
            await self._run.kernel.wait_any(self._news.future(), self._run.exited.future())

    def next_nowait(self) -> WatchEvent | None:
        """What has been written since the last piece, if anything."""
        fresh = self._run.lines_written - self._seen
        if fresh:
            self._seen = self._run.lines_written
            options = LogOptions(
                timestamps=self._options.timestamps, stream=self._options.stream
            )
            self._pending += format_log(self._run.logs[-fresh:], options, 0)
        if not self._pending or self._closed:
            return None
        text, self._pending = self._pending, ""
        return WatchEvent("LOG", {"text": text}, 0)

    def close(self) -> None:
        """End it from the client's side."""
        self._closed = True
        if self._news.set in self._run.readers:
            self._run.readers.remove(self._news.set)

    def encode(self, event: WatchEvent) -> bytes:
        """The piece as it goes over the wire."""
        return event.object["text"].encode()


def _status(error: KubeletError) -> apistatus.APIStatus:
    text = str(error)
    if error.code == 400:
        return apistatus.new_bad_request(text)
    if error.code == 404:
        return apistatus.APIStatus(404, "NotFound", text)
    return apistatus.new_internal_error(text)
