"""The claim protection controller: a claim that a pod uses is not deleted; and who uses claims.

The law: the finalizer `kubernetes.io/pvc-protection` goes when the claim is being deleted and no
pod that has a node uses it; before that the API server is asked, since an informer may be late. The
condition `Unused` of bound claims tells whether any pod that has not ended names them.

Follows `pkg/controller/volume/pvcprotection/pvc_protection_controller.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.client_go.resources import PERSISTENTVOLUMECLAIMS, PODS
from pytest_kubesim.controller_manager import fields, pod_claims
from pytest_kubesim.controller_manager.controller import Controller

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

FINALIZER = "kubernetes.io/pvc-protection"
UNUSED = "Unused"


class PersistentVolumeClaimProtectionController(Controller):
    """Protects claims in use."""

    name = "persistentvolumeclaim-protection-controller"
    service_account = "pvc-protection-controller"
    workers: ClassVar[int] = 30

    def setup(self) -> None:
        """Listen to claims and pods."""
        self.claims = self.watch(
            PERSISTENTVOLUMECLAIMS, add=self._claim, update=self._claim_updated
        )
        self.pods = self.watch(
            PODS, add=self._enqueue_claims, update=self._pod_updated, delete=self._enqueue_claims
        )
        pod_claims.add_claim_index(self.pods)

    def _claim(self, claim: Object) -> None:
        if _condition(claim) is None or _needs_finalizer(claim) or _is_candidate(claim):
            self.enqueue(claim)

    def _claim_updated(self, _old: Object, claim: Object) -> None:
        self._claim(claim)

    def _enqueue_claims(self, pod: Object) -> None:
        for key in pod_claims.claim_keys(pod):
            self.queue.add(key)

    def _pod_updated(self, old: Object, pod: Object) -> None:
        self._enqueue_claims(pod)
        if meta.uid(old) != meta.uid(pod):
            self._enqueue_claims(old)

    async def reconcile(self, key: str) -> None:
        """Tell whether a claim is used; let it go, or hold it."""
        claim = self.claims.get(key)
        if claim is None:
            return
        if not meta.deletion_timestamp(claim) and fields.status(claim).get("phase") == "Bound":
            await self._tell(claim, used=await self._is_used(claim, _uses))
        if _is_candidate(claim):
            if not await self._is_used(claim, _holds):
                kept = [name for name in meta.finalizers(claim) if name != FINALIZER]
                await self._update(meta.with_metadata(claim, finalizers=kept or None))
        elif _needs_finalizer(claim):
            added = [*meta.finalizers(claim), FINALIZER]
            await self._update(meta.with_metadata(claim, finalizers=added))

    async def _update(self, claim: Object, subresource: str = "") -> None:
        await self.client.update(
            PERSISTENTVOLUMECLAIMS, meta.namespace(claim), claim, subresource=subresource
        )

    async def _tell(self, claim: Object, *, used: bool) -> None:
        old = _condition(claim)
        wanted = "False" if used else "True"
        if old is not None and (old["status"] == "True") == (not used):
            return
        new = {
            "type": UNUSED,
            "status": wanted,
            "lastProbeTime": None,
            "lastTransitionTime": self.now(),
            "reason": "PodUsingPVC" if used else "NoPodsUsingPVC",
            "message": "A pod is currently referencing this PVC"
            if used
            else "No pods are currently referencing this PVC",
        }
        conditions = [
            new if condition["type"] == UNUSED else condition
            for condition in fields.conditions(claim)
        ]
        if old is None:
            conditions.append(new)
        await self._update(meta.with_status(claim, conditions=conditions), "status")

    async def _is_used(self, claim: Object, uses: Callable[[Object, Object], bool]) -> bool:
        known = self.pods.by_index(pod_claims.CLAIM_INDEX, meta.key_of(claim))
        if any(uses(pod, claim) for pod in known):
            return True
        live = await self.client.list(PODS, meta.namespace(claim))
        return any(uses(pod, claim) for pod in live.get("items") or ())


def _condition(claim: Object) -> Object | None:
    return meta.condition(claim, UNUSED)


def _needs_finalizer(claim: Object) -> bool:
    return not meta.deletion_timestamp(claim) and FINALIZER not in meta.finalizers(claim)


def _is_candidate(claim: Object) -> bool:
    return bool(meta.deletion_timestamp(claim)) and FINALIZER in meta.finalizers(claim)


def _holds(pod: Object, claim: Object) -> bool:
    """Whether a pod keeps a claim from being deleted."""
    if not fields.spec(pod).get("nodeName"):
        return False
    metadata = pod["metadata"]
    deleted, grace = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    return _names(pod, claim, ephemeral=not (deleted and grace == 0))


def _uses(pod: Object, claim: Object) -> bool:
    """Whether a pod that has not ended names a claim."""
    return not pod_claims.is_terminated(pod) and _names(pod, claim, ephemeral=True)


def _names(pod: Object, claim: Object, *, ephemeral: bool) -> bool:
    name = meta.name(claim)
    for volume in pod_claims.volumes(pod):
        named = volume.get("persistentVolumeClaim")
        if named is not None:
            if named["claimName"] == name:
                return True
        elif (
            ephemeral
            and volume.get("ephemeral") is not None
            and pod_claims.ephemeral_claim_name(pod, volume) == name
            and not pod_claims.why_not_made_for(pod, claim)
        ):
            return True
    return False


CONTROLLER = PersistentVolumeClaimProtectionController
