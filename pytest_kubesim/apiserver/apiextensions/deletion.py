"""A deletion of a CustomResourceDefinition: it is marked, and its objects go first.

Follows `apiextensions-apiserver/pkg/registry/customresourcedefinition/etcd.go` (`REST.Delete`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apiserver.apiextensions.conditions import (
    CLEANUP_FINALIZER,
    TERMINATING,
    TRUE,
    condition,
    with_condition,
)
from pytest_kubesim.apiserver.deletion import held_preconditions
from pytest_kubesim.apiserver.storage.errors import EtcdError, StorageError, interpret
from pytest_kubesim.apiserver.storage.etcd3 import Preconditions

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.store import Store

_PENDING = condition(
    TERMINATING,
    TRUE,
    "InstanceDeletionPending",
    "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
)


async def delete_definition(
    store: Store,
    scope: RequestScope,
    name: str,
    options: dict[str, Any],
    validate: Callable[[Object], Awaitable[None]],
) -> tuple[Object, bool]:
    """Mark a definition, or go on with one that is marked.  Raises `APIStatus`."""
    crd = await store.get(scope, name)
    metadata: Object = crd["metadata"]
    given = held_preconditions(store.name, name, metadata, options, "precondition failed")
    if metadata.get("deletionTimestamp"):
        return await store.delete(scope, name, {**options, "preconditions": given}, validate)

    async def marked(existing: Object | None) -> Object:
        assert existing is not None
        await validate(existing)
        return store.printed(_marked(existing, scope.context.now), store.resource)

    try:
        obj = await store.storage.guaranteed_update(
            store.key("", name),
            marked,
            preconditions=Preconditions(given["uid"], given.get("resourceVersion")),
            dry_run=bool(options.get("dryRun")),
        )
    except (StorageError, EtcdError) as error:
        raise interpret(error, store.name, name, "update") from None
    return obj, False


def _marked(crd: Object, now: str) -> Object:
    metadata: Object = dict(crd["metadata"])
    metadata.setdefault("deletionTimestamp", now)
    finalizers: list[str] = metadata.get("finalizers") or []
    if CLEANUP_FINALIZER not in finalizers:
        metadata["finalizers"] = [*finalizers, CLEANUP_FINALIZER]
    return with_condition({**crd, "metadata": metadata}, _PENDING, now)
