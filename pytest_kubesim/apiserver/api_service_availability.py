"""Whether APIServices of other servers are available: a controller in the API server's process.

The law: it looks at services and endpoints as the aggregator does, then asks the server for its
discovery document; again every 30 s, and after a failure ever later, up to that.  Where there is no
such APIService, this costs one watch of etcd.

Follows `kube-aggregator/pkg/controllers/status/remote/remote_available_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apiserver import aggregated_discovery, aggregated_proxy, aggregation, loopback
from pytest_kubesim.apiserver.aggregated_discovery import AGGREGATOR
from pytest_kubesim.apiserver.aggregated_proxy import Outgoing
from pytest_kubesim.apiserver.aggregation import AVAILABLE, Aggregation, Remote, is_remote
from pytest_kubesim.apiserver.webhook_client import CallError
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.etcd.messages import KeyValue, WatchResponse

PREFIX = "/registry/apiregistration.k8s.io/apiservices/"
CONCERNED = ("/registry/services/specs/", "/registry/endpointslices/")
FAILED = "FailedDiscoveryCheck"
RESYNC_NS = 30 * NS
FIRST_RETRY_NS = 5_000_000
ATTEMPTS = 5
"""How often a server is asked, since a service may lead to several; one good answer is enough."""
HTTP_OK, HTTP_REDIRECTS = 200, 300

_SERVICES = GroupResource("", "services")
_SLICES = GroupResource("discovery.k8s.io", "endpointslices")


def start(server: APIServer) -> None:
    """Look after the APIServices of this life of the server."""

    def begin(found: Sequence[KeyValue]) -> None:
        for kv in found:
            if is_remote(kv.value):
                _known(server, kv.value)

    server.follow(PREFIX, lambda response: _heard(server, response), begin=begin)


def _heard(server: APIServer, response: WatchResponse) -> None:
    for event in response.events:
        name = event.kv.key.removeprefix(PREFIX)
        if event.type != "DELETE" and is_remote(event.kv.value):
            _known(server, event.kv.value)
            continue
        found = aggregation.aggregation(server)
        if found is not None:
            found.remotes.pop(name, None)


def _known(server: APIServer, obj: Object) -> None:
    """An APIService is there, or has been changed."""
    found = aggregation.aggregation(server)
    if found is None:
        found = server.state[aggregation.STATE] = Aggregation()
        # From the first APIService on that has any, services and endpoints concern us.
        for prefix in CONCERNED:
            server.follow(prefix, lambda _response: _check_all(server))
    name: str = obj["metadata"]["name"]
    remote = found.remotes.get(name)
    if remote is None or remote.obj["metadata"]["uid"] != obj["metadata"]["uid"]:
        remote = found.remotes[name] = Remote(obj)
        _spawn(server, remote, lambda: _look_after(server, remote), "apiservice")
        _spawn(
            server, remote, lambda: aggregated_discovery.refresh(server, remote), "discovery of"
        )
        return
    remote.obj = obj
    _check(server, remote)
    _spawn(server, remote, lambda: aggregated_discovery.sync(server, remote), "discovery of")


def _check_all(server: APIServer) -> None:
    found = aggregation.aggregation(server)
    for remote in [] if found is None else list(found.remotes.values()):
        _check(server, remote)


def _check(server: APIServer, remote: Remote) -> None:
    _spawn(server, remote, lambda: _attend(server, remote), "apiservice")


async def _attend(server: APIServer, remote: Remote) -> None:
    """Check an APIService, and again soon where the server failed."""
    if not aggregation.is_known(server, remote):
        return
    if await _sync(server, remote):
        remote.failures = 0
        return
    delay_ns = min(FIRST_RETRY_NS << min(remote.failures, 20), RESYNC_NS)
    remote.failures += 1
    server.process.call_later(
        delay_ns, lambda: _check(server, remote), periodic=True, label="apiservice"
    )


def _spawn(
    server: APIServer, remote: Remote, work: Callable[[], Coroutine[Any, Any, object]], what: str
) -> None:
    server.process.spawn(work(), name=f"{what} {remote.name}", daemon=True)


async def _look_after(server: APIServer, remote: Remote) -> None:
    """Check an APIService now and then, as long as it is there."""
    while aggregation.is_known(server, remote):
        _check(server, remote)
        await server.kernel.sleep(RESYNC_NS, periodic=True)


async def _sync(server: APIServer, remote: Remote) -> bool:
    """Say whether an APIService is available, where that has changed; gives whether it is."""
    problem = _problem(server, remote.obj)
    if problem is None:
        if aggregated_proxy.bundle_problem(remote):
            return False
        problem = await _call(server, remote)
    reason, message = problem or ("Passed", "all checks passed")
    # As it is now: the check has taken its time.
    obj = server.reader.get(aggregation.API_SERVICES, "", remote.name)
    if obj is not None and obj["metadata"]["uid"] == remote.obj["metadata"]["uid"]:
        await _tell(server, obj, reason, message)
    return reason != FAILED


async def _tell(server: APIServer, obj: Object, reason: str, message: str) -> None:
    """Write the condition, where it is another than before."""
    name: str = obj["metadata"]["name"]
    said = "True" if reason == "Passed" else "False"
    state: Object = obj.get("status") or {}
    known: list[Object] = state.get("conditions") or []
    old = next((each for each in known if each["type"] == AVAILABLE), None)
    stamp = timestamps.format_time(server.process.now_ns())
    if old is not None and old["status"] == said:
        stamp = old.get("lastTransitionTime") or stamp
    new: Object = {
        "type": AVAILABLE,
        "status": said,
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


async def _call(server: APIServer, remote: Remote) -> tuple[str, str] | None:
    """What is wrong with the server itself; None: it gives its discovery document."""
    problem = ""
    for _ in range(ATTEMPTS):
        problem = await _attempt(server, remote)
        if not problem:
            return None
        if problem.endswith(aggregated_proxy.TIMED_OUT):
            break
    return FAILED, problem


async def _attempt(server: APIServer, remote: Remote) -> str:
    try:
        target = aggregated_proxy.target_of(server, remote)
    except CallError as error:
        return str(error)
    path = f"/apis/{remote.group}/{remote.version}"
    url = f"https://{target.dialled}{path}"
    headers = (("User-Agent", "Go-http-client/1.1"), *aggregated_proxy.user_headers(AGGREGATOR))
    outgoing = Outgoing("GET", path, headers)
    timeout_ns = aggregated_proxy.DISCOVERY_TIMEOUT_NS
    try:
        answer = await aggregated_proxy.call(server, target, outgoing, timeout_ns)
    except CallError as error:
        text = str(error)
        if text == aggregated_proxy.TIMED_OUT:
            text += " (Client.Timeout exceeded while awaiting headers)"
        return f"failing or missing response from {url}: Get {quote(url)}: {text}"
    if not isinstance(answer, Response):
        answer.close()
    if not HTTP_OK <= answer.status < HTTP_REDIRECTS or answer.body == aggregated_proxy.REDIRECTED:
        return f"failing or missing response from {url}: bad status from {url}: {answer.status}"
    return ""


def _problem(server: APIServer, obj: Object) -> tuple[str, str] | None:
    """Why an APIService cannot be available: reason and message."""
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
    return None


def _is_ready(endpoint_slice: Object, port_name: str) -> bool:
    endpoints: list[Object] = endpoint_slice.get("endpoints") or []
    ports: list[Object] = endpoint_slice.get("ports") or []
    ready = any(get_path(each, "conditions", "ready") in (None, True) for each in endpoints)
    return ready and any(
        each.get("name") == port_name and each.get("port") is not None for each in ports
    )
