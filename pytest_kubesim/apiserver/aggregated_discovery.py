"""Discovery of what other API servers serve: read from them, and put among our own.

The law: what a server says of itself is read when its APIService changes, and again every minute;
what cannot be read is `Stale` and empty.

Follows `kube-aggregator/pkg/apiserver/{handler_discovery,handler_apis}.go` and
`apiserver/pkg/endpoints/installer.go` (`ConvertGroupVersionIntoToDiscovery`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.meta import get_path
from pytest_kubesim.apiserver import aggregated_proxy, aggregation, json_syntax
from pytest_kubesim.apiserver.aggregated_proxy import CallError, Outgoing
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import Response, UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.aggregation import Remote
    from pytest_kubesim.apiserver.server import APIServer

AGGREGATOR = UserInfo("system:kube-aggregator", ("system:masters",))
_ALONE = UserInfo("system:kube-aggregator")
REFRESH_NS = 60 * NS
FIRST_RETRY_NS = NS // 2
ACCEPT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
HTTP_OK, UNAVAILABLE = 200, 503


class Unreadable(Exception):
    """A server does not say what it serves."""


async def refresh(server: APIServer, remote: Remote) -> None:
    """Keep in mind what an APIService serves, as long as it is there."""
    failures = 0
    while aggregation.is_known(server, remote):
        failures = 0 if await sync(server, remote) else failures + 1
        delay_ns = REFRESH_NS
        if failures:
            delay_ns = min(FIRST_RETRY_NS << min(failures - 1, 20), REFRESH_NS)
        await server.kernel.sleep(delay_ns, periodic=True)


async def sync(server: APIServer, remote: Remote) -> bool:
    """Read what an APIService serves; gives whether that could be read."""
    obj = remote.obj
    try:
        entry = await _read(server, remote)
    except Unreadable:
        remote.entry = {"version": remote.version, "freshness": "Stale"}
        return False
    if remote.obj is obj or remote.entry is None:
        told = {key: value for key, value in entry.items() if key != "freshness"}
        remote.entry = {**told, "freshness": "Current"}
    return True


def entry_of(remote: Remote) -> Object:
    """What the aggregated document says of a group version."""
    return remote.entry or {"version": remote.version, "freshness": "Stale"}


async def get(
    server: APIServer, remote: Remote, path: str, accept: str, user: UserInfo
) -> Response:
    """A document of a server, whole.  Raises `Unreadable`."""
    try:
        target = aggregated_proxy.target_of(server, remote)
        headers = (
            ("Accept", accept),
            *aggregated_proxy.forwarded(target, path),
            *aggregated_proxy.user_headers(user),
        )
        outgoing = Outgoing("GET", path, headers)
        timeout_ns = aggregated_proxy.DISCOVERY_TIMEOUT_NS
        answer = await aggregated_proxy.call(server, target, outgoing, timeout_ns)
    except CallError as error:
        raise Unreadable(str(error)) from None
    if isinstance(answer, Response):
        return answer
    pieces: list[bytes] = []
    while (event := await answer.next()) is not None:
        pieces.append(event.object["piece"])
    return Response(answer.status, None, b"".join(pieces), answer.content_type, answer.headers)


async def _read(server: APIServer, remote: Remote) -> Object:
    answer = await get(server, remote, "/apis", ACCEPT, AGGREGATOR)
    if answer.status == UNAVAILABLE:
        raise Unreadable
    params = [part.strip() for part in answer.content_type.split(";")]
    aggregated = {"g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"} <= set(params)
    if answer.status == HTTP_OK and aggregated:
        return _version_in(_decoded(answer), remote)
    path = f"/apis/{remote.group}/{remote.version}"
    answer = await get(server, remote, path, "application/json", _ALONE)
    if answer.status != HTTP_OK:
        raise Unreadable
    listed = _decoded(answer)
    resources = aggregated_resources(listed.get("resources") or [])
    found: Object = {"version": remote.version}
    return {**found, "resources": resources} if resources else found


def _decoded(answer: Response) -> Object:
    try:
        found: Any = json_syntax.loads(answer.encoded())
    except ValueError:
        raise Unreadable from None
    if not isinstance(found, dict):
        raise Unreadable
    return found  # pyright: ignore[reportUnknownVariableType] - JSON


def _version_in(document: Object, remote: Remote) -> Object:
    groups: list[Object] = document.get("items") or []
    for group in groups:
        if get_path(group, "metadata", "name") != remote.group:
            continue
        versions: list[Object] = group.get("versions") or []
        for version in versions:
            if version.get("version") == remote.version:
                return version
    return {"version": remote.version}


def aggregated_resources(listed: list[Object]) -> list[Object]:
    """The resources of an APIResourceList as the aggregated document has them."""
    found: dict[str, Object] = {}
    for entry in listed:
        parent, slash, name = entry["name"].partition("/")
        kind = {
            "group": entry.get("group") or "",
            "version": entry.get("version") or "",
            "kind": entry.get("kind") or "",
        }
        verbs: list[str] = entry.get("verbs") or []
        if slash:
            below: Object = {"subresource": name, "responseKind": kind, "verbs": verbs}
            above = found.setdefault(parent, {"resource": parent})
            above.setdefault("subresources", []).append(below)
            continue
        item: Object = {
            "resource": entry["name"],
            "responseKind": kind,
            "scope": "Namespaced" if entry.get("namespaced") else "Cluster",
            "singularResource": entry.get("singularName") or "",
            "verbs": verbs,
        }
        for key in ("shortNames", "categories"):
            if entry.get(key):
                item[key] = entry[key]
        known = found.get(parent, {})
        found[parent] = {**item, **{key: known[key] for key in known if key not in item}}
    return list(found.values())
