"""`pods/proxy`, `services/proxy` and `nodes/proxy`: requests to programs and to kubelets.

The law: the name says where to, `[scheme:]name[:port]`; the rest of the path goes there as it is.
A path that ends with the resource itself is sent to where relative links work, with a slash.

Follows `pkg/registry/core/{pod/strategy,service/storage/storage,node/strategy}.go`
(`ResourceLocation`), `apiserver/pkg/util/proxy/proxy.go` and
`apimachinery/pkg/util/proxy/upgradeaware.go`.
"""

from __future__ import annotations

import ipaddress
from posixpath import normpath
from typing import TYPE_CHECKING
from urllib.parse import quote as quote_path
from urllib.parse import urlencode

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, Object, get_path, labels
from pytest_kubesim.apiserver import negotiation, proxy_transport
from pytest_kubesim.apiserver.handlers import connect
from pytest_kubesim.apiserver.proxy_transport import Location
from pytest_kubesim.errors import NotSimulated
from pytest_kubesim.wire import Response

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import WatchStream

PODS, NODES, SERVICES = (GroupResource("", name) for name in ("pods", "nodes", "services"))
ENDPOINT_SLICES = GroupResource("discovery.k8s.io", "endpointslices")
SERVICE_NAME = "kubernetes.io/service-name"
KUBELET_PORT = "10250"
DEFAULT_PORTS = {"": 80, "http": 80, "https": 443}
NOTHING: Object = {}
_SCHEMES = ("", "http", "https")


async def serve(scope: RequestScope) -> Response | WatchStream:
    """Answer a request through a proxy.  Raises `APIStatus`."""
    scope.output = negotiation.PLAIN
    await connect.admit(scope)
    resource = scope.served.group_resource
    what = {PODS: "pod", SERVICES: "service", NODES: "node"}[resource]
    scheme, name, port = _split(scope.name, what)
    path = _path(scope)
    if resource == NODES:
        return await _to_node(scope, name, port, path)
    if resource == PODS:
        host, number = await _pod(scope, name, port, scheme)
    else:
        host, number = await _service(scope, name, port)
    return await _send(scope, host, number, path, secure=scheme == "https")


async def _send(
    scope: RequestScope, host: str, port: int, path: str, *, secure: bool = False
) -> Response | WatchStream:
    request = scope.request
    if (redirect := _slash(scope, path)) is not None:
        return redirect
    return await proxy_transport.send(  # pyright: ignore[reportReturnType]
        scope.server.kernel,
        _ways(scope).connect,
        Location(host, port, path or "/", secure),
        request,
    )


def _ways(scope: RequestScope) -> connect.NodeProxy:
    """Who leads into the cluster.  Raises `NotSimulated` where there is nothing to lead to."""
    if scope.server.node_proxy is None:
        raise NotSimulated("This cluster has no kubelets.", "Add nodes to it.")
    return scope.server.node_proxy


def _slash(scope: RequestScope, path: str) -> Response | None:
    """Where to go instead when nothing follows the resource: relative links need a slash."""
    request = scope.request
    upgrade = "upgrade" in request.header("connection").lower()
    if path or request.method not in {"GET", "HEAD"} or upgrade:
        return None
    query = f"?{urlencode(request.query)}" if request.query else ""
    return Response(301, None, b"", "", (("Location", f"{request.path}/{query}"),))


def _path(scope: RequestScope) -> str:
    """What follows `/proxy` in the path, cleaned as Go's `path.Join` does, encoded anew."""
    rest = "/".join(scope.info.parts[3:])
    slash = "/" if scope.request.path.endswith("/") else ""
    cleaned = normpath(f"/{rest}").lstrip("/") if rest else ""
    return quote_path(f"/{cleaned}", safe="/$&+,:;=@~") + slash if cleaned else slash


def _split(text: str, what: str) -> tuple[str, str, str]:
    """`[scheme:]name[:port]`.  Raises `APIStatus` (400)."""
    parts = text.split(":")
    if len(parts) == 1:
        found = ("", parts[0], "")
    elif len(parts) == 2:
        found = ("", parts[0], parts[1])
    else:
        found = (parts[0], parts[1], parts[2])
    if len(parts) > 3 or not found[1] or found[0] not in _SCHEMES:
        raise status.new_bad_request(f"invalid {what} request {quote(text)}")
    return found


async def _pod(scope: RequestScope, name: str, port: str, scheme: str) -> tuple[str, int]:
    pod = await scope.server.store(scope.served).get(scope, name)
    if not port:
        containers: list[Object] = pod["spec"].get("containers") or []
        declared = [c["ports"][0]["containerPort"] for c in containers if c.get("ports")]
        port = str(declared[0]) if declared else str(DEFAULT_PORTS[scheme])
    ips = _pod_ips(pod)
    ip = ips[0] if ips else ""
    if not _is_global_unicast(ip):
        raise status.new_bad_request("address not allowed")
    return ip, _number(port)


def _pod_ips(pod: Object | None) -> list[str]:
    state: Object = (pod or NOTHING).get("status") or NOTHING
    return [entry["ip"] for entry in state.get("podIPs") or ()]


def _number(port: str) -> int:
    if not port.isdecimal() or int(port) > 65_535:
        problem = f"dial tcp: lookup tcp/{port}: unknown port"
        if port.isdecimal():
            problem = f"dial tcp: address {port}: invalid port"
        raise status.new_service_unavailable(f"error trying to reach service: {problem}")
    return int(port)


def _is_global_unicast(text: str) -> bool:
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (
        ip.is_unspecified or ip.is_loopback or ip.is_multicast or ip.is_link_local
        or text == "255.255.255.255"
    )


async def _service(scope: RequestScope, name: str, port: str) -> tuple[str, int]:
    server, namespace = scope.server, scope.namespace
    nobody = status.new_service_unavailable(f"no endpoints available for service {quote(name)}")
    if port.lstrip("+-").isdecimal():
        service = await server.store(scope.served).get(scope, name)
        ports: list[Object] = service["spec"].get("ports") or []
        named = [entry.get("name") or "" for entry in ports if entry["port"] == int(port)]
        if not named:
            raise status.new_service_unavailable(
                f"no service port {int(port)} found for service {quote(name)}"
            )
        port = named[0]
    slices = [
        each
        for each in server.reader.list(ENDPOINT_SLICES, namespace)
        if labels(each).get(SERVICE_NAME) == name
    ]
    draw = server.kernel.rng.bits("service-proxy", namespace, name, server.kernel.now_ns)
    slices = sorted(slices, key=lambda each: each.get("addressType") != "IPv4")
    for each in slices:
        number = next(
            (
                entry["port"]
                for entry in each.get("ports") or ()
                if (entry.get("name") or "") == port and entry.get("port")
            ),
            None,
        )
        endpoints: list[Object] = each.get("endpoints") or []
        if number is None or not endpoints:
            continue
        for index in range(len(endpoints)):
            endpoint = endpoints[(index + draw) % len(endpoints)]
            if get_path(endpoint, "conditions", "ready") is False:
                continue
            if _is_a_pod(scope, endpoint):
                return endpoint["addresses"][0], number
    raise nobody


def _is_a_pod(scope: RequestScope, endpoint: Object) -> bool:
    """Only pods are proxied to: whoever writes slices could name any address."""
    target: Object = endpoint.get("targetRef") or NOTHING
    if target.get("namespace") != scope.namespace:
        return False
    pod = scope.server.reader.get(PODS, scope.namespace, target.get("name", ""))
    return endpoint["addresses"][0] in _pod_ips(pod)


async def _to_node(
    scope: RequestScope, name: str, port: str, path: str
) -> Response | WatchStream:
    node = await scope.server.store(scope.served).get(scope, name)
    connect.check_address(node)
    addresses: list[Object] = (node.get("status") or NOTHING).get("addresses") or []
    host = next((a["address"] for a in addresses if a["type"] == "InternalIP"), "")
    if host and not _is_global_unicast(host):
        raise status.new_bad_request("address not allowed")
    if port and port != KUBELET_PORT:
        host = host or name
        return await _send(scope, host, _number(port), path)
    if (redirect := _slash(scope, path)) is not None:
        return redirect
    return await _ways(scope).proxy(node, path or "/", scope.request)
