"""The API server's way to the kubelets and into the pods' network (its `NodeProxy`).

A kubelet that does not run refuses the connection, in the words of Go's dialer; one that is cut off
is dialled for 30 seconds, a frozen one takes the connection and says nothing.  What a kubelet
refuses becomes what the API server makes of it: a `Status` for logs, its own words for connections.

Who translates WebSockets of version 5 depends on the node: a kubelet that declares
`ExtendWebSocketsToKubelet` does so itself; for others the API server does, and what goes wrong is
then told on the error channel of a connection that stands already.

Follows `apiserver/pkg/registry/generic/rest/{streamer,response_checker}.go`,
`pkg/registry/core/pod/rest/subresources.go` and `pkg/kubelet/server/server.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pytest_kubesim.apimachinery import status as apistatus
from pytest_kubesim.apimachinery.golang import query_flag
from pytest_kubesim.cni.network import CONTROL_PLANE
from pytest_kubesim.cri.container import RUNNING
from pytest_kubesim.kubelet import endpoints, remote_command, streaming_server
from pytest_kubesim.kubelet.host import NOTHING
from pytest_kubesim.kubelet.log_stream import TEXT, LogStream, RemoteLog, log_options
from pytest_kubesim.kubelet.remote_command import Options
from pytest_kubesim.kubelet.server import KubeletError, KubeletServer, format_log
from pytest_kubesim.kubelet.streaming import Refusal, Upgrade, is_websocket, offered
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.link import Link
from pytest_kubesim.sim.pipes import Unreachable
from pytest_kubesim.wire import Response

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cni.network import PodNetwork
    from pytest_kubesim.kubelet.kubelet import Kubelet
    from pytest_kubesim.sim.network import Network
    from pytest_kubesim.sim.pipes import Stream
    from pytest_kubesim.sim.process import Process
    from pytest_kubesim.sim.tasks import Future
    from pytest_kubesim.wire import Request

PORT = 10250
CONNECT_TIMEOUT_NS = 30 * NS
"""For how long Go's default dialer tries."""
HANDSHAKE_TIMEOUT_NS = 10 * NS
PLAIN = "text/plain; charset=utf-8"
TRANSLATES = "ExtendWebSocketsToKubelet"
_PARAMETERS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
"""What a kubelet calls the flags of the API."""

Query = tuple[tuple[str, str], ...]


class KubeletProxy:
    """Reaches kubelets and pods.

    Parameters: `kubelets`, gives the kubelet of a node by the node's name, or None; `network` of
    the pods (None: no pod can be reached, as where there are no nodes); `way`, the network between
    the hosts, and `host`, that of the API server (None: nothing comes between).
    """

    def __init__(
        self,
        kubelets: Callable[[str], Kubelet | None],
        network: PodNetwork | None = None,
        way: Network | None = None,
        host: str = "",
    ) -> None:
        self._kubelets = kubelets
        self._network = network
        self._way = way
        self._host = host

    async def logs(
        self, node: Object, pod: Object, container: str, options: Query
    ) -> Response | LogStream | RemoteLog:
        """A container's log: a response, or with `follow` a stream that ends with the container."""
        query = dict(options)
        meta = pod["metadata"]
        path = f"/containerLogs/{meta['namespace']}/{meta['name']}/{container}"
        server = await self._server(node, f'Get "https://{{where}}{path}": ')
        wanted = log_options(query)
        try:
            run = server.find_log(
                meta["namespace"], meta["name"], container, previous=wanted.previous
            )
        except KubeletError as error:
            raise _status(error) from None
        now_ns = run.now_ns()
        if query_flag(query.get("follow")) and run.state == RUNNING:
            log = LogStream(run, wanted, now_ns)
            link = self._link(node, server)
            return log if link is None else RemoteLog(log, link, run.kernel)
        text = format_log(run.logs, wanted, now_ns)
        await self._back(node)
        return Response(200, body=text.encode(), content_type=TEXT)

    async def stream(
        self, node: Object, pod: Object, container: str, kind: str, request: Request
    ) -> Upgrade | Response:
        """`exec`, `attach` and `portforward`; the kubelet's own words where it refuses."""
        meta = pod["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        translated = (
            kind != "portforward"
            and is_websocket(request)
            and remote_command.V5 in offered(request)
            and TRANSLATES not in ((node.get("status") or NOTHING).get("declaredFeatures") or ())
        )
        try:
            refused = "error dialing backend: "
            if translated:
                refused = _posting(f"/{kind}/{namespace}/{name}/{container}", request)
            server = await self._server(node, refused)
            if kind == "portforward":
                given = [value for key, value in request.query if key == "ports"]
                upgrade = await streaming_server.forward(server, namespace, name, given, request)
            else:
                upgrade = await streaming_server.remote(
                    server, kind, namespace, name, container, request
                )
            await self._back(node)
            upgrade.link = self._link(node, server)
            return upgrade
        except apistatus.APIStatus as down:
            if not translated:
                raise
            return self._told(request, down.message)
        except (KubeletError, Refusal) as error:
            if translated and isinstance(error, KubeletError):
                return self._told(request, f"unable to upgrade connection: {error}")
            more = error.headers if isinstance(error, Refusal) else ()
            return Response(error.code, body=str(error).encode(), content_type=PLAIN, headers=more)

    def _told(self, request: Request, problem: str) -> Upgrade:
        query = dict(request.query)
        flags = {key: query_flag(query.get(key)) for key in ("stdin", "stdout", "stderr")}
        assert self._network is not None, "a way to kubelets comes with a network"
        return remote_command.Refused(self._network.kernel, Options(**flags), problem)

    async def proxy(self, node: Object, path: str, request: Request) -> Any:
        """The kubelet's own HTTP server: a `Response`, or a stream."""
        try:
            server = await self._server(node, "error trying to reach service: ")
        except apistatus.APIStatus as down:
            raise apistatus.new_service_unavailable(down.message) from None
        answer = await endpoints.serve(server, path, request)
        if isinstance(answer, LogStream):
            link = self._link(node, server)
            return answer if link is None else RemoteLog(answer, link, server.kernel)
        await self._back(node)
        return answer

    async def connect(self, address: str, port: int, certificate: bytes = b"") -> Stream:
        """A connection from the API server to an address, to which it shows a certificate (PEM).

        Raises: `sim.pipes.ConnectError`.
        """
        if self._network is None:
            raise Unreachable
        return await self._network.connect(
            CONTROL_PLANE, address, port, timeout_ns=CONNECT_TIMEOUT_NS, host=self._host,
            certificate=certificate,
        )

    async def _server(self, node: Object, refused: str) -> KubeletServer:
        """The kubelet's server, dialled.  Raises `APIStatus`: what went wrong, after `refused`."""
        name = node["metadata"]["name"]
        problem = await self._dialled(name)
        kubelet = self._kubelets(name)
        if not problem and kubelet is not None and kubelet.process.paused:
            problem = await _shaken(kubelet.process)
        if not problem and (
            kubelet is None or not kubelet.process.running or kubelet.active is None
        ):
            problem = "dial tcp {where}: connect: connection refused"
        if problem:
            addresses: list[Object] = (node.get("status") or NOTHING).get("addresses") or []
            host = next((a["address"] for a in addresses if a["type"] == "InternalIP"), name)
            raise apistatus.APIStatus(500, "", (refused + problem).format(where=f"{host}:{PORT}"))
        assert kubelet is not None
        return kubelet.server

    async def _dialled(self, name: str) -> str:
        """Make a connection to a node; what went wrong, "" where nothing did."""
        way = self._way
        if way is None or (way.instant(self._host, name) and way.instant(name, self._host)):
            return ""
        kernel = way.kernel
        for source, target in ((self._host, name), (name, self._host)):
            message = kernel.spawn(
                way.transit(source, target), name=f"dial {name}", eager=True, daemon=True
            )
            if not await kernel.wait_any(message, timeout_ns=CONNECT_TIMEOUT_NS):
                message.cancel()
                return "dial tcp {where}: i/o timeout"
        return ""

    async def _back(self, node: Object) -> None:
        """Carry an answer to the API server."""
        if self._way is not None:
            await self._way.transit(node["metadata"]["name"], self._host)

    def _link(self, node: Object, server: KubeletServer) -> Link | None:
        if self._way is None:
            return None
        return Link(server.kernel, self._way, self._host, node["metadata"]["name"])


async def _shaken(process: Process) -> str:
    """Wait for a frozen kubelet as long as Go waits for a handshake; what went wrong, or ""."""
    thawed: Future[None] = process.kernel.future()

    def changed(_process: Process) -> None:
        if not process.paused and not thawed.done():
            thawed.set_result(None)

    process.on_change.append(changed)
    try:
        if await process.kernel.wait_any(thawed, timeout_ns=HANDSHAKE_TIMEOUT_NS):
            return ""
    finally:
        process.on_change.remove(changed)
    return "net/http: TLS handshake timeout"


def _posting(path: str, request: Request) -> str:
    """How Go's HTTP client begins to say that the translator's request failed."""
    query = dict(request.query)
    flags = [(named, "1") for flag, named in _PARAMETERS.items() if query_flag(query.get(flag))]
    commands = [(name, value) for name, value in request.query if name == "command"]
    encoded = urlencode(sorted(commands + flags, key=lambda pair: pair[0]))
    braced = f"{path}?{encoded}".replace("{", "{{").replace("}", "}}")
    return f'error sending request: Post "https://{{where}}{braced}": '


def _status(error: KubeletError) -> apistatus.APIStatus:
    text = str(error)
    if error.code == 400:
        return apistatus.new_bad_request(text)
    if error.code == 404:
        return apistatus.APIStatus(404, "NotFound", text)
    return apistatus.new_internal_error(text)
