"""The volume expander: who is to make a bound volume larger is told.

No volume that this controller could expand by itself is left in Kubernetes: those of CSI drivers
have a resizer of their own, to which the claim is handed over.

Follows `pkg/controller/volume/expand/expand_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta, quantity
from pytest_kubesim.client_go.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager import volume_binding as binding
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller, SyncError

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

EXTERNAL_EXPANDING = "ExternalExpanding"
WAITING = "waiting for an external controller to expand this PVC"


class PersistentVolumeExpanderController(Controller):
    """Tells of claims that want to grow."""

    name = "persistentvolume-expander-controller"
    service_account = "expand-controller"
    component = "volume_expand"
    workers: ClassVar[int] = 10

    def setup(self) -> None:
        """Listen to claims."""
        self.claims = self.watch(
            PERSISTENTVOLUMECLAIMS, add=self._claim, update=self._updated, delete=self._claim
        )

    def _claim(self, claim: Object) -> None:
        if fields.status(claim).get("phase") == "Bound":
            self.enqueue(claim)

    def _updated(self, old: Object, claim: Object) -> None:
        if (
            quantity.cmp(binding.requested(claim), binding.requested(old)) > 0
            or quantity.cmp(_granted(claim), _granted(old)) > 0
        ):
            self._claim(claim)

    async def reconcile(self, key: str) -> None:
        """Look at one claim."""
        claim = self.claims.get(key)
        if claim is None:
            return
        name = fields.text(fields.spec(claim), "volumeName")
        try:
            volume = await self.client.get(PERSISTENTVOLUMES, "", name)
        except RETRIABLE as error:
            raise SyncError(f'failed to get PV "{name}": {error}') from None
        reference = binding.claim_ref(volume)
        if (
            reference is None
            or reference.get("namespace") != meta.namespace(claim)
            or reference.get("uid") != meta.uid(claim)
        ):
            raise SyncError(f"persistent Volume is not bound to PVC being updated : {key}")
        if quantity.cmp(
            binding.requested(claim), _granted(claim)
        ) <= 0 and not binding.has_annotation(volume, binding.PRE_RESIZE_CAPACITY):
            return
        self.event(claim, "Normal", EXTERNAL_EXPANDING, WAITING)


def _granted(claim: Object) -> str:
    return fields.mapping(fields.status(claim), "capacity").get("storage", "0")


CONTROLLER = PersistentVolumeExpanderController
