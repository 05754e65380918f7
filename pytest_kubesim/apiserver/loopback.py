"""Requests of the API server to itself, as upstream's loopback client makes them.

They pass the same filters and handlers as anybody's, but no network, and no fault strikes them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apiserver import handler_chain
from pytest_kubesim.apiserver.request_info import resolve
from pytest_kubesim.apiserver.scope import RequestScope
from pytest_kubesim.wire import Request, Response, UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.server import APIServer

USER = UserInfo("system:apiserver", ("system:masters", "system:authenticated"))
USER_AGENT = "kube-apiserver"


async def send(
    server: APIServer, method: str, path: str, obj: Object | None = None, *, manager: str = ""
) -> Object:
    """The object that answers a request.  Raises `APIStatus`."""
    query = (("fieldManager", manager),) if manager else ()
    return await _send(server, method, path, obj, query, ())


async def apply(server: APIServer, path: str, obj: Object, *, manager: str) -> Object:
    """The object after an apply that takes what it wants.  Raises `APIStatus`."""
    query = (("fieldManager", manager), ("force", "true"))
    return await _send(
        server, "PATCH", path, obj, query, (("content-type", "application/apply-patch+yaml"),)
    )


async def patch(server: APIServer, path: str, change: Object) -> None:
    """Merge a change into an object; what goes wrong is let be."""
    headers = (("content-type", "application/merge-patch+json"),)
    with suppress(APIStatus):
        await _send(server, "PATCH", path, change, (), headers)


async def _send(
    server: APIServer,
    method: str,
    path: str,
    obj: Object | None,
    query: tuple[tuple[str, str], ...],
    more: tuple[tuple[str, str], ...],
) -> Object:
    headers = (("accept", "application/json"), ("user-agent", USER_AGENT), *more)
    request = Request(method, path, query, headers, obj=obj, user=USER, client=USER_AGENT)
    scope = RequestScope(server, request, resolve(method, path, query))
    answer = await handler_chain.serve(scope)
    assert isinstance(answer, Response)
    assert answer.obj is not None
    return answer.obj
