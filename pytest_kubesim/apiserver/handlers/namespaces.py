"""What namespaces do otherwise: they are deleted in two steps, and finalized.

DELETE marks a namespace `Terminating`; the namespace controller empties it and takes its finalizer
away through `/finalize`; a DELETE after that removes it.

Follows `pkg/registry/core/namespace/storage/storage.go`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.meta import get_path
from pytest_kubesim.apiserver.deletion import (
    FOREGROUND_FINALIZER,
    ORPHAN_FINALIZER,
    held_preconditions,
)
from pytest_kubesim.apiserver.storage.errors import EtcdError, StorageError, interpret
from pytest_kubesim.apiserver.storage.etcd3 import Preconditions

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.store import Store


async def delete_namespace(
    store: Store,
    scope: RequestScope,
    name: str,
    options: dict[str, Any],
    validate: Callable[[Object], Awaitable[None]],
) -> tuple[Object, bool]:
    """Mark a namespace, or delete one that nothing keeps any more.  Raises `APIStatus`."""
    namespace = await store.get(scope, name)
    metadata: Object = namespace["metadata"]
    given = held_preconditions(store.name, name, metadata, options, "Precondition failed")
    if not metadata.get("deletionTimestamp"):
        return await _mark(store, scope, name, options, given, validate), False
    if get_path(namespace, "spec", "finalizers"):
        return namespace, False
    return await store.delete(scope, name, {**options, "preconditions": given}, validate)


async def _mark(
    store: Store,
    scope: RequestScope,
    name: str,
    options: dict[str, Any],
    preconditions: dict[str, Any],
    validate: Callable[[Object], Awaitable[None]],
) -> Object:
    async def marked(existing: Object | None) -> Object:
        assert existing is not None
        await validate(existing)
        metadata: Object = dict(existing["metadata"])
        metadata.setdefault("deletionTimestamp", scope.context.now)
        finalizers = _finalizers(metadata.get("finalizers") or [], options)
        metadata.pop("finalizers", None)
        if finalizers:
            metadata["finalizers"] = finalizers
        before: Object = existing.get("status") or {}
        phase: Object = {**before, "phase": "Terminating"}
        obj = {**existing, "metadata": metadata, "status": phase}
        return store.printed(obj, store.resource)

    try:
        return await store.storage.guaranteed_update(
            store.key("", name),
            marked,
            preconditions=Preconditions(
                preconditions.get("uid"), preconditions.get("resourceVersion")
            ),
            dry_run=scope.context.dry_run,
        )
    except (StorageError, EtcdError) as error:
        raise interpret(error, store.name, name, "update") from None


def _finalizers(before: list[str], options: dict[str, Any]) -> list[str]:
    orphan = options.get("orphanDependents")
    policy = options.get("propagationPolicy")
    if orphan is not None:
        wanted = {ORPHAN_FINALIZER: bool(orphan), FOREGROUND_FINALIZER: not orphan}
    elif policy is not None:
        wanted = {
            ORPHAN_FINALIZER: policy == "Orphan",
            FOREGROUND_FINALIZER: policy == "Foreground",
        }
    else:
        return before
    kept = [f for f in before if wanted.get(f, True)]
    return kept + [f for f, needed in wanted.items() if needed and f not in kept]
