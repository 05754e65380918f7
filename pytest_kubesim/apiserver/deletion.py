"""Deletion: at once, or in time, or once the finalizers are gone.

::

    no finalizers, no grace          the object is deleted
    finalizers (its own, or those that the propagation policy adds)
                                     it is marked: deletionTimestamp, and lives until they are gone
    grace (pods on a node)           it is marked, with the time at which it shall be gone

Follows `registry/generic/registry/store.go` (`Delete`) and `registry/rest/delete.go`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import metav1, status, timestamps
from pytest_kubesim.apimachinery.meta import GroupKind, GroupResource, Object
from pytest_kubesim.apiserver.storage.errors import (
    KEY_NOT_FOUND,
    EtcdError,
    StorageError,
    interpret,
)
from pytest_kubesim.apiserver.storage.etcd3 import Preconditions
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.store import Store

ORPHAN_FINALIZER = "orphan"
FOREGROUND_FINALIZER = "foregroundDeletion"


class _DeleteNow(Exception):
    """Nothing keeps the object: delete it instead of marking it."""


class _AlreadyDeleting(Exception):
    """It is on its way already, and nothing is to change."""


class Deletion:
    """One deletion of one object."""

    def __init__(
        self,
        store: Store,
        scope: RequestScope,
        name: str,
        options: dict[str, Any],
        validate: Callable[[Object], Awaitable[None]] | None,
    ) -> None:
        self.store = store
        self.scope = scope
        self.name = name
        self.options = dict(options)
        self.validate = validate
        self.dry_run = bool(options.get("dryRun"))
        given: Object = options.get("preconditions") or {}
        self.preconditions = Preconditions(given.get("uid"), given.get("resourceVersion"))
        self.pending_finalizers = False
        self.last_existing: Object | None = None

    async def run(self) -> tuple[Object, bool]:
        """Delete or mark.  Returns the answer and whether the object is gone."""
        store = self.store
        key = store.key(self.scope.namespace, self.name)
        try:
            obj = await store.storage.get(key)
        except (StorageError, EtcdError) as error:
            raise interpret(error, store.name, self.name, "delete") from None
        marked, graceful, pending = self._before(obj)
        if pending:
            return self._answer(obj, gone=False, hooks=False), False
        preconditions = self.preconditions
        if graceful or marked["metadata"].get("finalizers") or self._finalizers(marked) is not None:
            out, delete_now, ignore_not_found = await self._mark(key, obj)
            if not delete_now:
                return out, False
            if preconditions.resource_version is not None:
                version = out["metadata"]["resourceVersion"]
                preconditions = Preconditions(preconditions.uid, version)
            if self.dry_run:
                return out, True
        else:
            ignore_not_found = False
        return await self._remove(key, preconditions, ignore_not_found=ignore_not_found)

    async def _remove(
        self, key: str, preconditions: Preconditions, *, ignore_not_found: bool
    ) -> tuple[Object, bool]:
        store = self.store
        try:
            gone = await store.storage.delete(
                key, preconditions=preconditions, validate=self.validate, dry_run=self.dry_run
            )
        except (StorageError, EtcdError) as error:
            missing = isinstance(error, StorageError) and error.code == KEY_NOT_FOUND
            if missing and ignore_not_found and self.last_existing is not None:
                return self._answer(self.last_existing, gone=True, hooks=True), True
            raise interpret(error, store.name, self.name, "delete") from None
        return self._answer(gone, gone=True, hooks=True), True

    async def _mark(self, key: str, first: Object) -> tuple[Object, bool, bool]:
        """Mark the object, if it is to stay: (object, delete it now, missing is fine)."""
        store = self.store
        try:
            out = await store.storage.guaranteed_update(
                key, self._marked, preconditions=self.preconditions, dry_run=self.dry_run
            )
        except _DeleteNow:
            return self._nothing() if self.dry_run else first, True, False
        except _AlreadyDeleting:
            return self._answer(first, gone=False, hooks=True), False, False
        except (StorageError, EtcdError) as error:
            raise interpret(error, store.name, self.name, "update") from None
        if self.pending_finalizers or self.options.get("gracePeriodSeconds"):
            return out, False, False
        return out, True, True

    def _nothing(self) -> Object:
        """What a dry run answers where it would have deleted: an object with nothing in it."""
        resource = self.store.storage_resource
        empty: Object = {"apiVersion": resource.api_version, "kind": resource.kind}
        if resource.scale is not None and resource.group == "apps":
            # No pointer in the internal type: none is none at all.
            empty["spec"] = {"replicas": 0}
        return self.store.printed(empty, resource)

    async def _marked(self, existing: Object | None) -> Object:
        assert existing is not None
        if self.validate is not None:
            await self.validate(existing)
        obj, graceful, pending = self._before(existing)
        if pending:
            raise _AlreadyDeleting
        finalizers = self._finalizers(obj)
        if finalizers is not None:
            obj = _with_metadata(obj, finalizers=finalizers or None)
        self.pending_finalizers = bool(obj["metadata"].get("finalizers"))
        if graceful:
            self.last_existing = obj
            return obj
        if not self.pending_finalizers:
            raise _DeleteNow
        return self._terminating(obj)

    def _terminating(self, obj: Object) -> Object:
        """Marked, with nothing to wait for but finalizers (`markAsDeleting`)."""
        metadata: Object = obj["metadata"]
        fields: Object = {"deletionGracePeriodSeconds": 0}
        stamp = metadata.get("deletionTimestamp")
        if not stamp and metadata.get("generation"):
            fields["generation"] = metadata["generation"] + 1
        if not stamp or timestamps.parse_time(stamp) > self.scope.context.now_ns:
            fields["deletionTimestamp"] = self.scope.context.now
        return _with_metadata(obj, **fields)

    # -- rest.BeforeDelete --------------------------------------------------------------------

    def _before(self, obj: Object) -> tuple[Object, bool, bool]:
        """(the object marked if it has time, it has time, it is on its way already)."""
        options = self.options
        problems = metav1.validate_delete_options(options)
        if problems:
            raise status.new_invalid(GroupKind("meta.k8s.io", "DeleteOptions"), "", problems)
        self._check_preconditions(obj)
        seconds: int | None = options.get("gracePeriodSeconds")
        if seconds is not None and seconds < 0:
            seconds = options["gracePeriodSeconds"] = 1
        metadata: Object = obj["metadata"]
        if metadata.get("deletionTimestamp"):
            return self._before_again(obj, metadata, seconds)
        granted = self.store.strategy.check_graceful_delete(self.scope.context, obj, seconds)
        if granted is None:
            return obj, False, False
        options["gracePeriodSeconds"] = granted
        now_ns = self.scope.context.now_ns
        fields: Object = {
            "deletionTimestamp": timestamps.format_time(now_ns + granted * NS),
            "deletionGracePeriodSeconds": granted,
        }
        if metadata.get("generation"):
            fields["generation"] = metadata["generation"] + 1
        return _with_metadata(obj, **fields), True, False

    def _before_again(
        self, obj: Object, metadata: Object, seconds: int | None
    ) -> tuple[Object, bool, bool]:
        """A deletion of what is being deleted: the time may only become shorter."""
        current: int = metadata.get("deletionGracePeriodSeconds") or 0
        if not current:
            return obj, False, False
        if seconds is None:
            self.options["gracePeriodSeconds"] = current
            return obj, False, True
        if seconds >= current:
            return obj, False, True
        now_ns = self.scope.context.now_ns
        stamp_ns = timestamps.parse_time(metadata["deletionTimestamp"])
        wanted_ns = stamp_ns - current * NS + seconds * NS
        if wanted_ns < now_ns:
            wanted_ns = now_ns
            if seconds != 0:
                seconds = 1
        fields = {
            "deletionTimestamp": timestamps.format_time(wanted_ns),
            "deletionGracePeriodSeconds": seconds,
        }
        return _with_metadata(obj, **fields), True, False

    def _check_preconditions(self, obj: Object) -> None:
        given: Object = self.options.get("preconditions") or {}
        metadata: Object = obj["metadata"]
        kind = GroupResource(self.store.resource.group, self.store.resource.kind)
        uid = given.get("uid")
        if uid is not None and uid != metadata.get("uid"):
            raise status.new_conflict(
                kind,
                metadata["name"],
                f"the UID in the precondition ({uid}) does not match the UID in record "
                f"({metadata.get('uid')}). The object might have been deleted and then recreated",
            )
        version = given.get("resourceVersion")
        if version is not None and version != metadata.get("resourceVersion"):
            raise status.new_conflict(
                kind,
                metadata["name"],
                f"the ResourceVersion in the precondition ({version}) does not match the "
                f"ResourceVersion in record ({metadata.get('resourceVersion')}). The object might "
                "have been modified",
            )

    # -- propagation --------------------------------------------------------------------------

    def _finalizers(self, obj: Object) -> list[str] | None:
        """The finalizers that the propagation policy wants; None: those that are there."""
        before: list[str] = obj["metadata"].get("finalizers") or []
        after = [f for f in before if f not in (ORPHAN_FINALIZER, FOREGROUND_FINALIZER)]
        if self._orphans(before):
            after.append(ORPHAN_FINALIZER)
        if self._foreground(before):
            after.append(FOREGROUND_FINALIZER)
        return None if set(after) == set(before) else after

    def _orphans(self, finalizers: list[str]) -> bool:
        default = self.store.strategy.default_garbage_collection_policy
        if default == "Unsupported":
            return False
        if self.options.get("orphanDependents") is not None:
            return bool(self.options["orphanDependents"])
        policy = self.options.get("propagationPolicy")
        if policy is not None:
            return policy == "Orphan"
        for finalizer in finalizers:
            if finalizer == ORPHAN_FINALIZER:
                return True
            if finalizer == FOREGROUND_FINALIZER:
                return False
        return default == "Orphan"

    def _foreground(self, finalizers: list[str]) -> bool:
        if self.store.strategy.default_garbage_collection_policy == "Unsupported":
            return False
        if self.options.get("orphanDependents") is not None:
            return False
        policy = self.options.get("propagationPolicy")
        if policy is not None:
            return policy == "Foreground"
        for finalizer in finalizers:
            if finalizer == FOREGROUND_FINALIZER:
                return True
            if finalizer == ORPHAN_FINALIZER:
                return False
        return False

    def _answer(self, obj: Object, *, gone: bool, hooks: bool) -> Object:
        """What the client gets (`finalizeDelete`)."""
        store = self.store
        if gone and hooks and not self.dry_run:
            store.strategy.after_delete(self.scope.context, obj)
        if store.resource.returns_deleted:
            return store.strategy.decorate(obj)
        return status.success_object(
            name=obj["metadata"]["name"],
            group=store.name.group,
            kind=store.name.resource,
            uid=obj["metadata"].get("uid") or "",
        )


def _with_metadata(obj: Object, **fields: Any) -> Object:
    metadata: Object = {**obj["metadata"], **fields}
    if metadata.get("finalizers") is None:
        metadata.pop("finalizers", None)
    return {**obj, "metadata": metadata}


_ORPHANS_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background "
    "to remove them or set propagationPolicy=Orphan to suppress this warning"
)


def held_preconditions(
    resource: GroupResource,
    name: str,
    metadata: Object,
    options: dict[str, Any],
    failed: str,
) -> dict[str, Any]:
    """The preconditions of a deletion that marks, with the UID that was found.

    Parameters: `metadata` of what is stored; `failed`, how the kind's own storage begins to say so.
    Raises: `APIStatus` (409) where they do not hold.
    """
    given: dict[str, Any] = dict(options.get("preconditions") or {})
    for field, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        wanted = given.get(field)
        if wanted is not None and wanted != metadata[field]:
            raise status.new_conflict(
                resource,
                name,
                f"{failed}: {label} in precondition: {wanted}, {label} in object meta: "
                f"{metadata[field]}",
            )
    given.setdefault("uid", metadata["uid"])
    return given


def warn_of_orphans(scope: RequestScope, options: dict[str, Any]) -> None:
    """Jobs leave their pods alone unless told otherwise (`registry/batch/job/storage`)."""
    if options.get("orphanDependents") is None and options.get("propagationPolicy") is None:
        scope.warn(_ORPHANS_WARNING)
