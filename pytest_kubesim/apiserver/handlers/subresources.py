"""What stands below an object: its status, its scale, and what only some kinds have.

Two sorts: those that are another view of the object itself (`status`, `ephemeralcontainers`,
`approval`: the main handlers serve them with other hooks), and those with a body of their own, one
function each in `ENDPOINTS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver import negotiation
from pytest_kubesim.apiserver.handlers import binding, connect, eviction, proxy, scale, token
from pytest_kubesim.apiserver.handlers.get import get
from pytest_kubesim.apiserver.handlers.patch import patch
from pytest_kubesim.apiserver.handlers.update import update

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.registry.rest import Resource
    from pytest_kubesim.wire import Response, WatchStream

PODS, NODES, SERVICES = (GroupResource("", name) for name in ("pods", "nodes", "services"))
SERVICE_ACCOUNTS = GroupResource("", "serviceaccounts")

ENDPOINTS: Mapping[
    tuple[GroupResource, str], Callable[[RequestScope], Awaitable[Response | WatchStream]]
] = {
    (PODS, "binding"): binding.bind,
    (PODS, "eviction"): eviction.evict,
    (PODS, "log"): connect.logs,
    (PODS, "exec"): connect.stream,
    (PODS, "attach"): connect.stream,
    (PODS, "portforward"): connect.stream,
    (PODS, "proxy"): proxy.serve,
    (SERVICES, "proxy"): proxy.serve,
    (NODES, "proxy"): proxy.serve,
    (SERVICE_ACCOUNTS, "token"): token.create,
}

_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "POST": "create",
    "DELETE": "delete",
}
_CONNECTS = frozenset({"exec", "attach", "portforward", "proxy"})


async def serve(
    scope: RequestScope, resource: Resource, offers: tuple[str, ...]
) -> Response | WatchStream:
    """Answer a request for a subresource.  Raises `APIStatus`."""
    name = scope.info.subresource
    known = resource.subresources.get(name)
    if known is None:
        raise status.new_generic_server_response(404, "", GroupResource("", ""), "", "")
    verb = _VERBS.get(scope.request.method, "")
    if verb not in known.verbs and name not in _CONNECTS:
        raise status.new_generic_server_response(405, "", GroupResource("", ""), "", "")
    accept = scope.request.header("accept")
    endpoint = ENDPOINTS.get((resource.group_resource, name))
    if endpoint is None or name not in (*_CONNECTS, "log"):
        if not resource.custom and not negotiation.routable(accept, offers):
            raise negotiation.not_routable(offers)
        scope.output = negotiation.negotiate(accept, offers)
    if endpoint is not None:
        return await endpoint(scope)
    if name == "scale":
        return await scale.serve(scope, verb)
    return await _VIEWS[verb](scope)


_VIEWS = {"get": get, "update": update, "patch": patch}
