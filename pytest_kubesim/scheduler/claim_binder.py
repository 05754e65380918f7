"""Claims as the scheduler writes them: allocated, reserved for a pod, freed, deleted.

Follows `bindClaim`, `deleteClaim`, `createExtendedResourceClaimInAPI` and `Unreserve` of
`pkg/scheduler/framework/plugins/dynamicresources/`.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import meta, status, timestamps
from pytest_kubesim.client_go.resources import PODS, RESOURCECLAIMS
from pytest_kubesim.registry.resource.allocations import FINALIZER
from pytest_kubesim.scheduler.pod_claims import ClaimError, allocation_of, users_of
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import Handle
    from pytest_kubesim.scheduler.pod_info import PodInfo

_STEPS = 5
"""How often a conflict is tried again (`retry.DefaultRetry`)."""


class ClaimBinder:
    """Writes claims with the scheduler's client."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    async def bind(self, pod: PodInfo, claim: Object, allocation: Object | None) -> Object:
        """Write an allocation (None: it has one) and the pod as a user; the claim then.

        Raises: `ClaimError`, `APIStatus`, `ConnectionLost`.
        """
        for attempt in range(_STEPS):
            if attempt:
                claim = await self._newest(claim)
            try:
                return await self._bind_once(pod, claim, allocation)
            except status.APIStatus as error:
                if not status.is_conflict(error) or attempt == _STEPS - 1:
                    raise
        raise AssertionError("unreachable")

    async def _bind_once(self, pod: PodInfo, claim: Object, allocation: Object | None) -> Object:
        client, namespace = self._handle.client, pod.namespace
        where = f"{namespace}/{meta.name(claim)}"
        if meta.deletion_timestamp(claim):
            raise ClaimError(f"claim {where} got deleted in the meantime")
        held = allocation_of(claim)
        if allocation is not None:
            if held is not None:
                raise ClaimError(f"claim {where} got allocated elsewhere in the meantime")
            if FINALIZER not in meta.finalizers(claim):
                finalizers = [*meta.finalizers(claim), FINALIZER]
                claim = await client.update(
                    RESOURCECLAIMS, namespace, meta.with_metadata(claim, finalizers=finalizers)
                )
            held = allocation
        if held is None:
            raise ClaimError(f"claim {where} got deallocated elsewhere in the meantime")
        if not held.get("allocationTimestamp"):
            now = timestamps.format_time(self._handle.process.now_ns())
            held = {**held, "allocationTimestamp": now}
        user = {"resource": "pods", "name": pod.name, "uid": pod.uid}
        new = meta.with_status(claim, allocation=held, reservedFor=[*users_of(claim), user])
        return await client.update(RESOURCECLAIMS, namespace, new, subresource="status")

    async def create(self, claim: Object) -> Object:
        """Write a claim that was in memory only.  Raises as `bind`."""
        metadata = {k: v for k, v in claim["metadata"].items() if k not in ("name", "uid")}
        new = {**claim, "metadata": metadata}
        try:
            return await self._handle.client.create(RESOURCECLAIMS, meta.namespace(claim), new)
        except status.APIStatus as error:
            where = f"{meta.namespace(claim)}/{meta.name(claim)}"
            text = f"create claim for extended resources {where}: {error.message}"
            raise ClaimError(text) from None

    async def tell(self, pod: PodInfo, claim: Object, mappings: list[Object]) -> None:
        """Write into a pod's status which claim it has.  Raises as `bind`."""
        told = {"requestMappings": mappings, "resourceClaimName": meta.name(claim)}
        patch = {"metadata": {"uid": pod.uid}, "status": {"extendedResourceClaimStatus": told}}
        await self._handle.client.patch(
            PODS, pod.namespace, pod.name, patch, subresource="status"
        )

    def release(self, pod: PodInfo, claim: Object) -> None:
        """Have the pod taken from a claim's users, soon."""
        mine = {"$patch": "delete", "uid": pod.uid}
        patch = {"metadata": {"uid": meta.uid(claim)}, "status": {"reservedFor": [mine]}}

        async def write() -> None:
            await self._handle.client.patch(
                RESOURCECLAIMS, pod.namespace, meta.name(claim), patch, subresource="status"
            )

        self._soon(write(), claim)

    def free(self, claim: Object) -> None:
        """Have a claim's devices given back, soon."""
        freed = meta.with_status(claim, allocation=None, reservedFor=None, devices=None)

        async def write() -> None:
            await self._handle.client.update(
                RESOURCECLAIMS, meta.namespace(claim), freed, subresource="status"
            )

        self._soon(write(), claim)

    def delete(self, claim: Object) -> None:
        """Have a claim deleted, soon."""
        self._soon(self._delete(claim), claim)

    async def _delete(self, claim: Object) -> None:
        client, namespace = self._handle.client, meta.namespace(claim)
        for attempt in range(_STEPS):
            if attempt:
                claim = await self._newest(claim)
            finalizers = [each for each in meta.finalizers(claim) if each != FINALIZER]
            new = meta.with_metadata(claim, finalizers=finalizers or None)
            try:
                await client.update(RESOURCECLAIMS, namespace, new)
                break
            except status.APIStatus as error:
                if not status.is_conflict(error) or attempt == _STEPS - 1:
                    raise
        try:
            await client.delete(RESOURCECLAIMS, namespace, meta.name(claim))
        except status.APIStatus as error:
            if not status.is_not_found(error):
                raise

    async def _newest(self, claim: Object) -> Object:
        return await self._handle.client.get(
            RESOURCECLAIMS, meta.namespace(claim), meta.name(claim)
        )

    def _soon(self, work: Coroutine[Any, Any, None], claim: Object) -> None:
        name = f"write {meta.name(claim)}"
        self._handle.process.spawn(self._journaled(work, claim), name=name)

    async def _journaled(self, work: Coroutine[Any, Any, None], claim: Object) -> None:
        try:
            await work
        except (status.APIStatus, ConnectionLost) as error:
            self._handle.process.kernel.journal.record(
                "sync failed", "DynamicResources", key=meta.name(claim), error=str(error)
            )
