"""POST of a collection.

Follows `apiserver/pkg/endpoints/handlers/create.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver import decoding, field_manager, responses
from pytest_kubesim.apiserver.handlers import write
from pytest_kubesim.apiserver.metadata import ensure_namespace, wipe_system_fields
from pytest_kubesim.apiserver.options import field_validation, write_options

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response

NAMESPACES = GroupResource("", "namespaces")


async def create(scope: RequestScope) -> Response:
    """Make an object.  Raises `APIStatus`."""
    resource = scope.served
    options = write_options(scope, "CreateOptions")
    obj = decoding.read_object(scope, resource.gvk, resource.schema, field_validation(options))
    scope.sent = obj
    manager = field_manager.manager_of(scope, options)
    obj = prepared(scope, obj)
    scope.context_for(options, manager).namespace = scope.namespace
    obj = field_manager.update(scope, None, obj, manager=manager, strategy=resource.strategy)
    made = await stored(scope, obj, options)
    return responses.answer(scope, 201, made)


def prepared(scope: RequestScope, obj: Object) -> Object:
    """The object in the request's namespace, without what only the server sets."""
    metadata: Object = obj.get("metadata") or {}
    if not scope.name:
        scope.name = metadata.get("name") or ""
    namespace = scope.namespace
    if scope.served.group_resource == NAMESPACES:
        # Upstream takes a namespace to be in itself, for admission.
        scope.namespace = scope.name
        namespace = ""
    obj = ensure_namespace(wipe_system_fields(obj), namespace)
    return write.dedup_owners(scope, obj, after_admission=False)


async def stored(scope: RequestScope, obj: Object, options: dict[str, Any]) -> Object:
    """The object after admission and storage, in the version of the request."""
    store = scope.server.store(scope.served)
    obj = await write.admit(scope, options, store.stored(obj), None)
    made = await store.create(scope, obj, validate=write.validator(scope, options))
    return store.served(made)
