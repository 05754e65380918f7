"""Whether APIServices of other servers are available: a controller in the API server's process.

The law: it looks at services and endpoints as the aggregator does, up to the call itself, which
nobody answers.  Where there is no such APIService, this costs one watch of etcd.

Follows `kube-aggregator/pkg/controllers/status/remote/remote_available_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apiserver import loopback
from pytest_kubesim.apiserver.aggregation import API_SERVICES, is_remote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.etcd.messages import KeyValue, WatchResponse

PREFIX = "/registry/apiregistration.k8s.io/apiservices/"
CONCERNED = ("/registry/services/specs/", "/registry/endpointslices/")
AVAILABLE = "Available"

_SERVICES = GroupResource("", "services")
_SLICES = GroupResource("discovery.k8s.io", "endpointslices")
_STATE = "aggregation"


def start(server: APIServer) -> None:
    """Look after the APIServices of this life of the server."""

    def begin(found: Sequence[KeyValue]) -> None:
        if any(is_remote(kv.value) for kv in found):
            _follow(server)
            _check_all(server)

    server.follow(PREFIX, lambda response: _heard(server, response), begin=begin)


def _heard(server: APIServer, response: WatchResponse) -> None:
    changed = [e.kv for e in response.events if e.type != "DELETE" and is_remote(e.kv.value)]
    if not changed:
        return
    _follow(server)
    for kv in changed:
        _spawn(server, kv.key.removeprefix(PREFIX))


def _follow(server: APIServer) -> None:
    """Hear of services and endpoints from the first APIService on that has any."""
    if _STATE in server.state:
        return
    server.state[_STATE] = True
    for prefix in CONCERNED:
        server.follow(prefix, lambda _response: _check_all(server))


def _check_all(server: APIServer) -> None:
    for each in server.reader.list(API_SERVICES):
        if is_remote(each):
            _spawn(server, each["metadata"]["name"])


def _spawn(server: APIServer, name: str) -> None:
    server.process.spawn(_sync(server, name), name=f"apiservice {name}", daemon=True)


async def _sync(server: APIServer, name: str) -> None:
    """Say whether an APIService is available, where that has changed."""
    obj = server.reader.get(API_SERVICES, "", name)
    if obj is None or not is_remote(obj):
        return
    reason, message = _problem(server, obj)
    state: Object = obj.get("status") or {}
    known: list[Object] = state.get("conditions") or []
    old = next((each for each in known if each["type"] == AVAILABLE), None)
    stamp = timestamps.format_time(server.process.now_ns())
    if old is not None and old["status"] == "False":
        stamp = old.get("lastTransitionTime") or stamp
    new: Object = {
        "type": AVAILABLE,
        "status": "False",
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": message,
    }
    if new == old:
        return
    kept = [new if each is old else each for each in known] if old is not None else [*known, new]
    path = f"/apis/apiregistration.k8s.io/v1/apiservices/{name}/status"
    try:
        await loopback.send(server, "PUT", path, {**obj, "status": {**state, "conditions": kept}})
    except APIStatus:
        # Somebody has changed it meanwhile: that is heard of too.
        return


def _problem(server: APIServer, obj: Object) -> tuple[str, str]:
    """Why an APIService is not available: reason and message."""
    spec: Object = obj["spec"]
    reference: Object = spec["service"]
    name, namespace = reference["name"], reference["namespace"]
    port: int = reference.get("port") or 443
    where = f"service/{name} in {quote(namespace)}"
    service = server.reader.get(_SERVICES, namespace, name)
    if service is None:
        return "ServiceNotFound", f"{where} is not present"
    of_service: Object = service["spec"]
    if of_service.get("type") == "ClusterIP":
        ports: list[Object] = of_service.get("ports") or []
        found = next((each for each in ports if each.get("port") == port), None)
        if found is None:
            return "ServicePortError", f"{where} is not listening on port {port}"
        slices = [
            each
            for each in server.reader.list(_SLICES, namespace)
            if get_path(each, "metadata", "labels", "kubernetes.io/service-name") == name
        ]
        if not slices:
            return "EndpointsNotFound", f"cannot find endpointslices for {where}"
        port_name = found.get("name") or ""
        if not any(_is_ready(each, port_name) for each in slices):
            text = f"endpointslices for {where} have no addresses with port name {quote(port_name)}"
            return "MissingEndpoints", text
    host = f"{of_service.get('clusterIP')}:{port}"
    url = f"https://{host}/apis/{spec.get('group')}/{spec.get('version')}"
    return "FailedDiscoveryCheck", (
        f"failing or missing response from {url}: Get {quote(url)}: dial tcp {host}: connect: "
        "connection refused"
    )


def _is_ready(endpoint_slice: Object, port_name: str) -> bool:
    endpoints: list[Object] = endpoint_slice.get("endpoints") or []
    ports: list[Object] = endpoint_slice.get("ports") or []
    ready = any(get_path(each, "conditions", "ready") in (None, True) for each in endpoints)
    return ready and any(
        each.get("name") == port_name and each.get("port") is not None for each in ports
    )
