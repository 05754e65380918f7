"""PUT of one object.

Follows `apiserver/pkg/endpoints/handlers/update.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.meta import get_path
from pytest_kubesim.apiserver import decoding, field_manager, patience, responses
from pytest_kubesim.apiserver.handlers import write
from pytest_kubesim.apiserver.handlers.create import NAMESPACES
from pytest_kubesim.apiserver.metadata import ensure_namespace
from pytest_kubesim.apiserver.options import field_validation, write_options
from pytest_kubesim.apiserver.storage.etcd3 import Preconditions

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response


async def update(scope: RequestScope) -> Response:
    """Replace an object, or its status.  Raises `APIStatus`."""
    resource = scope.served
    options = write_options(scope, "UpdateOptions")
    base = None
    if scope.request.obj is not None:
        base = scope.server.store(resource).peek(scope.namespace, scope.name)
    obj = decoding.read_object(
        scope, resource.gvk, resource.schema, field_validation(options), base
    )
    namespace = "" if resource.group_resource == NAMESPACES else scope.namespace
    obj = ensure_namespace(obj, namespace)
    write.check_name(obj, scope.name, namespace)
    obj = write.dedup_owners(scope, obj, after_admission=False)
    made, created = await replaced(scope, obj, options)
    return responses.answer(scope, 201 if created else 200, made)


async def replaced(
    scope: RequestScope, obj: Object, options: dict[str, Any]
) -> tuple[Object, bool]:
    """The object after admission and storage, and whether it is new; in the request's version."""
    store = scope.server.store(scope.served)
    strategy = write.strategy_of(scope)
    manager = field_manager.manager_of(scope, options)
    scope.context_for(options, manager)

    async def produce(old: Object | None) -> Object:
        live = None if old is None else store.served(old)
        new = await patience.patiently(
            lambda: field_manager.update(
                scope, live, obj, manager=manager, strategy=strategy, subresource=scope.subresource
            )
        )
        return await write.admit(scope, options, store.stored(new), old)

    uid = get_path(obj, "metadata", "uid") or None
    made, created = await store.update(
        scope,
        scope.name,
        produce,
        strategy=strategy,
        validate=write.validator(scope, options, authorize_create=True),
        preconditions=Preconditions(uid),
    )
    return store.served(made), created
