"""Which handler answers: by resource, subresource and verb.

The table that go-restful holds upstream is worked out here for each request from the catalog, so
that custom resources need no registration.  What no row fits is 404 or 405, in the words that
upstream has for each case.

Follows `endpoints/installer.go` (`registerResourceHandlers`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver import (
    aggregated_proxy,
    aggregation,
    negotiation,
    nonresource,
    responses,
)
from pytest_kubesim.apiserver.apiextensions import handler as custom
from pytest_kubesim.apiserver.handlers import reviews, subresources
from pytest_kubesim.apiserver.handlers.create import create
from pytest_kubesim.apiserver.handlers.delete import delete, delete_collection
from pytest_kubesim.apiserver.handlers.get import get
from pytest_kubesim.apiserver.handlers.list import list_
from pytest_kubesim.apiserver.handlers.patch import patch
from pytest_kubesim.apiserver.handlers.update import update
from pytest_kubesim.apiserver.handlers.watch import watch

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.status import APIStatus
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.registry.rest import Resource
    from pytest_kubesim.wire import Response, WatchStream

_NO_RESOURCE = GroupResource("", "")
_COLLECTION = {"POST": "create", "GET": "list", "HEAD": "list", "DELETE": "deletecollection"}
_ITEM = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


_DEPRECATED = {
    GroupResource("", "componentstatuses"): "v1 ComponentStatus is deprecated in v1.19+",
    GroupResource("", "endpoints"): (
        "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
    ),
}
"""What every request for a resource is warned of (`APILifecycleDeprecated`)."""


def not_found() -> APIStatus:
    """404 for a path below a known group version."""
    return status.new_generic_server_response(404, "", _NO_RESOURCE, "", "")


def not_allowed() -> APIStatus:
    """405 for a known path."""
    return status.new_generic_server_response(405, "", _NO_RESOURCE, "", "")


async def dispatch(scope: RequestScope) -> Response | WatchStream:
    """Answer a request that has passed the filters.  Raises `APIStatus`."""
    info = scope.info
    if not info.is_resource:
        return await nonresource.serve(scope)
    server = scope.server
    if aggregation.STATE in server.state and info.group:
        remote = aggregation.remote_of(server, info.group, info.version)
        if remote is not None:
            return await aggregated_proxy.serve(scope, remote)
    catalog = server.catalog
    resource = catalog.by_resource(info.group, info.version, info.resource)
    if resource is None:
        return _unknown(scope)
    if resource.custom:
        return await custom.dispatch(scope, resource)
    scope.resource = resource
    scope.namespace = info.namespace if resource.namespaced else ""
    scope.name = "" if info.verb in ("list", "watch", "deletecollection") else info.name
    offers = negotiation.CUSTOM if resource.custom else negotiation.BUILT_IN
    _check_shape(scope, resource)
    accept = scope.request.header("accept")
    if info.subresource:
        return await subresources.serve(scope, resource, offers)
    handler = _handler(scope, resource)
    if not resource.custom and not negotiation.routable(accept, offers):
        streams = info.verb in ("list", "watch")
        raise negotiation.not_routable(offers, streams=streams)
    # What is never stored has no columns to make a Table of.
    tables = resource.group_resource not in reviews.ENDPOINTS
    scope.output = negotiation.negotiate(accept, offers, tables=tables)
    if warning := _DEPRECATED.get(resource.group_resource):
        scope.warn(warning)
    return await handler(scope)


def _unknown(scope: RequestScope) -> Response:
    info = scope.info
    catalog = scope.server.catalog
    versions = catalog.versions(info.group)
    built_in = bool(versions) if not catalog.built_in else any(
        catalog.infos(info.group, v) for v in versions
    )
    if (info.group == "" and info.api_prefix == "api") or built_in:
        raise not_found()
    return responses.page_not_found()


def _check_shape(scope: RequestScope, resource: Resource) -> None:
    """Raises `APIStatus` (404) for a path that no object of the resource can have."""
    info = scope.info
    wrong_prefix = (info.api_prefix == "api") != (info.group == "")
    in_namespace = bool(info.namespace) and not _is_namespaces(resource)
    if wrong_prefix or (in_namespace and not resource.namespaced):
        raise not_found()
    if resource.namespaced and not info.namespace and len(info.parts) > 1 and not info.legacy_watch:
        raise not_found()
    if len(info.parts) > 3 and info.subresource != "proxy":
        raise not_found()


def _is_namespaces(resource: Resource) -> bool:
    return resource.plural == "namespaces" and not resource.group


def _handler(scope: RequestScope, resource: Resource):  # noqa: ANN202 - one of the handlers
    """The handler of a method on a collection or an item.  Raises `APIStatus` (405)."""
    info, method = scope.info, scope.request.method
    if info.legacy_watch:
        if method not in ("GET", "HEAD") or "watch" not in resource.verbs:
            raise not_allowed()
        return watch
    item = len(info.parts) > 1
    if method == "HEAD" and not resource.custom:
        raise not_allowed()
    verb = (_ITEM if item else _COLLECTION).get(method)
    if verb is None and method == "POST" and item and resource.custom:
        # Upstream's handler of custom resources does not look at the rest of the path.
        verb = "create"
        scope.name = ""
    everywhere = not item and resource.namespaced and not info.namespace
    if verb is None or verb not in resource.verbs or (everywhere and verb != "list"):
        raise not_allowed()
    if verb == "list" and info.verb == "watch":
        return watch
    if verb == "create" and (question := reviews.ENDPOINTS.get(resource.group_resource)):
        return question
    return _HANDLERS[verb]


_HANDLERS = {
    "get": get,
    "list": list_,
    "create": create,
    "update": update,
    "patch": patch,
    "delete": delete,
    "deletecollection": delete_collection,
}
