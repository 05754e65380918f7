"""Requests of the API server to itself, as upstream's loopback client makes them.

They pass the same filters and handlers as anybody's, but no network, and no fault strikes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apiserver import handler_chain
from pytest_kubesim.apiserver.request_info import resolve
from pytest_kubesim.apiserver.scope import RequestScope
from pytest_kubesim.wire import Request, Response, UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.server import APIServer

USER = UserInfo("system:apiserver", ("system:masters", "system:authenticated"))
USER_AGENT = "kube-apiserver"


async def send(server: APIServer, method: str, path: str, obj: Object | None = None) -> Object:
    """The object that answers a request.  Raises `APIStatus`."""
    headers = (("accept", "application/json"), ("user-agent", USER_AGENT))
    request = Request(method, path, headers=headers, obj=obj, user=USER, client=USER_AGENT)
    scope = RequestScope(server, request, resolve(method, path, ()))
    answer = await handler_chain.serve(scope)
    assert isinstance(answer, Response)
    assert answer.obj is not None
    return answer.obj
