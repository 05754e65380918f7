"""The API server's way to the kubelets and into the pods' network (its `NodeProxy`).

A kubelet that does not run refuses the connection, in the words of Go's dialer; what a kubelet
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
from pytest_kubesim.kubelet.log_stream import TEXT, LogStream, log_options
from pytest_kubesim.kubelet.remote_command import Options
from pytest_kubesim.kubelet.server import KubeletError, KubeletServer, format_log
from pytest_kubesim.kubelet.streaming import Refusal, Upgrade, is_websocket, offered
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.pipes import Unreachable
from pytest_kubesim.wire import Response

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cni.network import PodNetwork
    from pytest_kubesim.kubelet.kubelet import Kubelet
    from pytest_kubesim.sim.pipes import Stream
    from pytest_kubesim.wire import Request

PORT = 10250
CONNECT_TIMEOUT_NS = 30 * NS
"""For how long Go's default dialer tries."""
PLAIN = "text/plain; charset=utf-8"
TRANSLATES = "ExtendWebSocketsToKubelet"
_PARAMETERS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
"""What a kubelet calls the flags of the API."""

Query = tuple[tuple[str, str], ...]


class KubeletProxy:
    """Reaches kubelets and pods.

    Parameters: `kubelets`, gives the kubelet of a node by the node's name, or None; `network` of
    the pods (None: no pod can be reached, as where there are no nodes).
    """

    def __init__(
        self,
        kubelets: Callable[[str], Kubelet | None],
        network: PodNetwork | None = None,
    ) -> None:
        self._kubelets = kubelets
        self._network = network

    async def logs(
        self, node: Object, pod: Object, container: str, options: Query
    ) -> Response | LogStream:
        """A container's log: a response, or with `follow` a stream that ends with the container."""
        query = dict(options)
        meta = pod["metadata"]
        path = f"/containerLogs/{meta['namespace']}/{meta['name']}/{container}"
        server = self._server(node, f'Get "https://{{where}}{path}": ')
        wanted = log_options(query)
        try:
            run = server.find_log(
                meta["namespace"], meta["name"], container, previous=wanted.previous
            )
        except KubeletError as error:
            raise _status(error) from None
        now_ns = run.now_ns()
        if query_flag(query.get("follow")) and run.state == RUNNING:
            return LogStream(run, wanted, now_ns)
        text = format_log(run.logs, wanted, now_ns)
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
            server = self._server(node, refused)
            if kind == "portforward":
                given = [value for key, value in request.query if key == "ports"]
                return await streaming_server.forward(server, namespace, name, given, request)
            return await streaming_server.remote(
                server, kind, namespace, name, container, request
            )
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
            server = self._server(node, "error trying to reach service: ")
        except apistatus.APIStatus as down:
            raise apistatus.new_service_unavailable(down.message) from None
        return await endpoints.serve(server, path, request)

    async def connect(self, address: str, port: int) -> Stream:
        """A connection from the API server to an address.  Raises `sim.pipes.ConnectError`."""
        if self._network is None:
            raise Unreachable
        return await self._network.connect(
            CONTROL_PLANE, address, port, timeout_ns=CONNECT_TIMEOUT_NS
        )

    def _server(self, node: Object, refused: str) -> KubeletServer:
        name = node["metadata"]["name"]
        kubelet = self._kubelets(name)
        if kubelet is None or not kubelet.process.running or kubelet.active is None:
            addresses: list[Object] = (node.get("status") or NOTHING).get("addresses") or []
            host = next((a["address"] for a in addresses if a["type"] == "InternalIP"), name)
            where = f"{host}:{PORT}"
            problem = f"dial tcp {where}: connect: connection refused"
            raise apistatus.APIStatus(500, "", refused.format(where=where) + problem)
        return kubelet.server


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
