"""The namespace controller: a namespace that is being deleted is emptied, then it goes.

The law: pods first; everything else only when no pod is left.  Every resource that discovery knows
is deleted as a collection, listed again, and what remains is told in the namespace's conditions,
with the finalizers that hold it.  While something remains, the next look is after half of the time
that it is estimated to need.

Follows `pkg/controller/namespace/namespace_controller.go` and
`pkg/controller/namespace/deletion/*.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from pytest_kubesim.apimachinery import meta, status, timestamps
from pytest_kubesim.apimachinery.meta import GroupVersionResource
from pytest_kubesim.client_go.discovery import known_resources, preferred
from pytest_kubesim.client_go.resources import NAMESPACES, PODS
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller, SyncError
from pytest_kubesim.controller_manager.controller_ref_manager import aggregate
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.discovery import APIResource

FINALIZER = "kubernetes"
GRACE_PERIOD_NS = 5 * NS
"""Other API servers may not know yet that the namespace is going, and let something in."""
FINALIZER_ESTIMATE_SECONDS = 15

DISCOVERY_FAILURE = "NamespaceDeletionDiscoveryFailure"
PARSING_FAILURE = "NamespaceDeletionGroupVersionParsingFailure"
CONTENT_FAILURE = "NamespaceDeletionContentFailure"
CONTENT_REMAINING = "NamespaceContentRemaining"
FINALIZERS_REMAINING = "NamespaceFinalizersRemaining"

FAILED = "Failed to delete all resource types"

_FINE: dict[str, tuple[str, str]] = {
    DISCOVERY_FAILURE: ("ResourcesDiscovered", "All resources successfully discovered"),
    PARSING_FAILURE: ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
    CONTENT_FAILURE: (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    CONTENT_REMAINING: ("ContentRemoved", "All content successfully removed"),
    FINALIZERS_REMAINING: (
        "ContentHasNoFinalizers",
        "All content-preserving finalizers finished",
    ),
}


@attrs.define(slots=True)
class _Deletion:
    """What one look at a namespace has found."""

    estimate_seconds: int = 0
    errors: list[Exception] = attrs.field(factory=list[Exception])
    problems: dict[str, tuple[str, str]] = attrs.field(factory=dict[str, tuple[str, str]])
    """Reason and message of each condition that is true."""
    content_errors: list[str] = attrs.field(factory=list[str])
    remaining: dict[GroupVersionResource, int] = attrs.field(
        factory=dict[GroupVersionResource, int]
    )
    finalizers: dict[str, int] = attrs.field(factory=dict[str, int])

    def totals(self) -> None:
        """What remains, as conditions (`ProcessContentTotals`)."""
        if self.remaining:
            parts = sorted(
                f"{gvr.resource}.{gvr.group} has {count} resource instances"
                for gvr, count in self.remaining.items()
            )
            self.problems[CONTENT_REMAINING] = (
                "SomeResourcesRemain",
                f"Some resources are remaining: {', '.join(parts)}",
            )
        if self.finalizers:
            parts = sorted(
                f"{name} in {count} resource instances" for name, count in self.finalizers.items()
            )
            self.problems[FINALIZERS_REMAINING] = (
                "SomeFinalizersRemain",
                f"Some content in the namespace has finalizers remaining: {', '.join(parts)}",
            )

    def failed(self, shown: Exception, error: Exception) -> None:
        """Deleting one resource failed."""
        self.errors.append(shown)
        self.content_errors.append(str(error))


class NamespaceController(Controller):
    """Empties namespaces that are being deleted."""

    name = "namespace-controller"
    service_account = "namespace-controller"
    workers: ClassVar[int] = 10
    workers_flag = "concurrent-namespace-syncs"
    max_delay_ns: ClassVar[int] = 60 * NS

    def setup(self) -> None:
        """Listen to namespaces."""
        self._remaining: dict[str, object] = {}
        """What remained in namespaces at the last look."""
        self.namespaces = self.watch(NAMESPACES, add=self._added, update=self._updated)

    def _added(self, namespace: Object) -> None:
        if meta.deletion_timestamp(namespace):
            self.enqueue_after(namespace, GRACE_PERIOD_NS)

    def _updated(self, _old: Object, namespace: Object) -> None:
        self._added(namespace)

    async def reconcile(self, key: str) -> None:
        """Delete what one namespace contains, then let it go."""
        if self.namespaces.get(key) is None:
            self._remaining.pop(key, None)
            return
        try:
            namespace = await self.client.get(NAMESPACES, "", key)
            if not meta.deletion_timestamp(namespace):
                return
            namespace = await self._retrying(namespace, self._mark_terminating)
        except status.APIStatus as error:
            if status.is_not_found(error):
                return
            raise
        if not meta.deletion_timestamp(namespace) or not fields.texts(
            fields.spec(namespace), "finalizers"
        ):
            return
        deletion = await self._delete_content(namespace)
        if deletion.estimate_seconds > 0:
            # What remains as it was at the last look may remain for ever: nobody waits for that.
            found = (deletion.remaining, deletion.finalizers)
            stuck = self._remaining.get(key) == found
            self._remaining[key] = found
            delay_ns = (deletion.estimate_seconds // 2 + 1) * NS
            self.queue.add_after(key, delay_ns, periodic=stuck)
            return
        try:
            await self._retrying(namespace, self._finalize)
        except status.APIStatus as error:
            if not status.is_not_found(error):
                raise

    # -- the namespace ------------------------------------------------------------------------

    async def _retrying(
        self, namespace: Object, write: Callable[[Object], Awaitable[Object]]
    ) -> Object:
        while True:
            try:
                return await write(namespace)
            except status.APIStatus as error:
                if not status.is_conflict(error):
                    raise
            latest = await self.client.get(NAMESPACES, "", meta.name(namespace))
            if meta.uid(latest) != meta.uid(namespace):
                raise SyncError("namespace uid has changed across retries")
            namespace = latest

    async def _mark_terminating(self, namespace: Object) -> Object:
        if (
            not meta.deletion_timestamp(namespace)
            or fields.status(namespace).get("phase") == "Terminating"
        ):
            return namespace
        return await self.client.update(
            NAMESPACES, "", meta.with_status(namespace, phase="Terminating"), subresource="status"
        )

    async def _finalize(self, namespace: Object) -> Object:
        spec = fields.spec(namespace)
        kept = sorted({name for name in fields.texts(spec, "finalizers") if name != FINALIZER})
        finalized = {
            "kind": "Namespace",
            "apiVersion": "v1",
            "metadata": namespace["metadata"],
            "spec": {**spec, "finalizers": kept},
        }
        return await self.client.update(NAMESPACES, "", finalized, subresource="finalize")

    async def _update_conditions(self, namespace: Object, deletion: _Deletion) -> None:
        """`namespaceConditionUpdater.Update` and the write of what it changed."""
        if deletion.content_errors and CONTENT_FAILURE not in deletion.problems:
            messages = sorted(deletion.content_errors)
            deletion.problems[CONTENT_FAILURE] = (
                "ContentDeletionFailed",
                f"{FAILED}, {len(messages)} remaining: {', '.join(messages)}",
            )
        now = self.now()
        conditions = list(fields.conditions(namespace))
        before = list(conditions)
        for type_, fine in _FINE.items():
            reason, message = deletion.problems.get(type_, fine)
            new = {
                "type": type_,
                "status": "True" if type_ in deletion.problems else "False",
                "lastTransitionTime": now,
                "reason": reason,
                "message": message,
            }
            for position, old in enumerate(conditions):
                if old["type"] == type_:
                    if old["status"] == new["status"]:
                        new["lastTransitionTime"] = old.get("lastTransitionTime", now)
                    conditions[position] = new
                    break
            else:
                conditions.append(new)
        if conditions == before:
            return
        updated = meta.with_status(namespace, conditions=conditions)
        try:
            await self.client.update(NAMESPACES, "", updated, subresource="status")
        except RETRIABLE as error:
            # The next look writes them.
            self.kernel.journal.record(
                "sync failed", self.name, key=meta.name(namespace), error=str(error)
            )

    # -- its content --------------------------------------------------------------------------

    async def _delete_content(self, namespace: Object) -> _Deletion:
        """Delete what can be; what remains, and how long it is estimated to need.

        Raises: what failed, all of it.
        """
        name = meta.name(namespace)
        deletion = _Deletion()
        by_gvr = {resource.gvr: resource for resource in await self._deletable(deletion)}
        pods = by_gvr.pop(PODS, None)
        if pods is not None:
            try:
                await self._delete_all(deletion, pods, namespace)
            except RETRIABLE as error:
                deletion.failed(
                    SyncError(f"failed to delete pods for namespace: {name}, err: {error}"), error
                )
            if deletion.remaining:
                # The rest waits for the pods, and the conditions say nothing of them.
                await self._update_conditions(namespace, deletion)
                return self._result(deletion)
        for resource in by_gvr.values():
            try:
                await self._delete_all(deletion, resource, namespace)
            except RETRIABLE as error:
                deletion.failed(error, error)
        deletion.totals()
        await self._update_conditions(namespace, deletion)
        return self._result(deletion)

    @staticmethod
    def _result(deletion: _Deletion) -> _Deletion:
        if deletion.errors:
            raise aggregate(deletion.errors)
        return deletion

    async def _deletable(self, deletion: _Deletion) -> list[APIResource]:
        """What can be deleted, of what is known: the rest of it is not left there for that."""
        try:
            found, failure = await known_resources(self.client)
        except RETRIABLE as error:
            deletion.errors.append(error)
            deletion.problems[DISCOVERY_FAILURE] = ("DiscoveryFailed", str(error))
            return []
        if failure is not None:
            deletion.errors.append(SyncError(str(failure)))
            deletion.problems[DISCOVERY_FAILURE] = (
                "DiscoveryFailed",
                f"Discovery failed for some groups, {len(failure.versions)} failing: {failure}",
            )
        return [r for r in preferred(found) if r.namespaced and r.supports("delete")]

    async def _delete_all(
        self, deletion: _Deletion, resource: APIResource, namespace: Object
    ) -> None:
        """Delete one resource in the namespace (`deleteAllContentForGroupVersionResource`)."""
        gvr, name = resource.gvr, meta.name(namespace)
        estimate = await self._estimate(name, namespace) if gvr == PODS else 0
        deletion.estimate_seconds = max(deletion.estimate_seconds, estimate)
        if resource.supports("deletecollection"):
            await self.client.delete_collection(gvr, name, propagation_policy="Background")
        elif resource.supports("list"):
            for item in await self._list(gvr, name):
                await self._delete_one(gvr, name, meta.name(item))
        if not resource.supports("list"):
            return
        items = await self._list(gvr, name)
        if not items:
            return
        finalizers: dict[str, int] = {}
        for item in items:
            for finalizer in meta.finalizers(item):
                finalizers[finalizer] = finalizers.get(finalizer, 0) + 1
        deletion.remaining[gvr] = len(items)
        for finalizer, count in finalizers.items():
            deletion.finalizers[finalizer] = deletion.finalizers.get(finalizer, 0) + count
        if estimate:
            return
        if not finalizers:
            raise SyncError(f"unexpected items still remain in namespace: {name} for gvr: {gvr}")
        deletion.estimate_seconds = max(deletion.estimate_seconds, FINALIZER_ESTIMATE_SECONDS)

    async def _list(self, gvr: GroupVersionResource, namespace: str) -> list[Object]:
        try:
            found = await self.client.list(gvr, namespace)
        except status.APIStatus as error:
            if status.is_method_not_supported(error) or status.is_not_found(error):
                return []
            raise
        return found.get("items") or []

    async def _delete_one(self, gvr: GroupVersionResource, namespace: str, name: str) -> None:
        try:
            await self.client.delete(gvr, namespace, name, propagation_policy="Background")
        except status.APIStatus as error:
            if not status.is_method_not_supported(error) and not status.is_not_found(error):
                raise

    async def _estimate(self, name: str, namespace: Object) -> int:
        """Seconds of grace that the pods have still (`estimateGracefulTermination`)."""
        seconds = 0
        for pod in await self._list(PODS, name):
            if fields.status(pod).get("phase") not in {"Succeeded", "Failed"}:
                grace = fields.spec(pod).get("terminationGracePeriodSeconds") or 0
                seconds = max(seconds, grace)
        deleted = timestamps.parse_time(namespace["metadata"]["deletionTimestamp"])
        return 0 if self.now_ns() - deleted >= seconds * NS else seconds


CONTROLLER = NamespaceController
