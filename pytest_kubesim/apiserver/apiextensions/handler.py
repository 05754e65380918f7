"""Requests for custom resources: which handler answers, and what is said where none does.

Follows `crdHandler.ServeHTTP` of `apiextensions-apiserver/pkg/apiserver/customresource_handler.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apiserver import apiextensions, negotiation, responses
from pytest_kubesim.apiserver.handlers import scale
from pytest_kubesim.apiserver.handlers.create import create
from pytest_kubesim.apiserver.handlers.delete import delete, delete_collection
from pytest_kubesim.apiserver.handlers.get import get
from pytest_kubesim.apiserver.handlers.list import list_
from pytest_kubesim.apiserver.handlers.patch import patch
from pytest_kubesim.apiserver.handlers.update import update
from pytest_kubesim.apiserver.handlers.watch import watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.registry.rest import Resource
    from pytest_kubesim.wire import Response, WatchStream

_ACROSS_NAMESPACES = frozenset({"list", "watch"})

_MAIN: dict[str, Callable[[RequestScope], Awaitable[Response | WatchStream]]] = {
    "get": get,
    "list": list_,
    "watch": watch,
    "create": create,
    "update": update,
    "patch": patch,
    "delete": delete,
    "deletecollection": delete_collection,
}
_STATUS = {"get": get, "update": update, "patch": patch}
_SCALE = frozenset(_STATUS)


async def dispatch(scope: RequestScope, resource: Resource) -> Response | WatchStream:
    """Answer a request for a custom resource.  Raises `APIStatus`."""
    info = scope.info
    across = resource.namespaced and not info.namespace and info.verb not in _ACROSS_NAMESPACES
    if (info.namespace and not resource.namespaced) or across or info.api_prefix != "apis":
        return responses.page_not_found()
    scope.resource = resource
    scope.namespace = info.namespace
    scope.name = "" if info.verb in ("list", "watch", "deletecollection", "create") else info.name
    served = apiextensions.state_of(scope.server).of(resource)
    if served is not None and (text := served.warnings.get(resource.version)) is not None:
        scope.warn(text)
    subresource = info.subresource
    if subresource and subresource not in resource.subresources:
        raise status.new_not_found(resource.group_resource, info.name)
    handlers = _STATUS if subresource else _MAIN
    handler = handlers.get(info.verb)
    if handler is None:
        raise status.new_method_not_supported(resource.group_resource, info.verb)
    scope.output = negotiation.negotiate(scope.request.header("accept"), negotiation.CUSTOM)
    if subresource == "scale":
        return await scale.serve(scope, info.verb)
    return await handler(scope)
