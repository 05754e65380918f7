"""The volume protection controller: a volume that is bound is not deleted.

Follows `pkg/controller/volume/pvprotection/pv_protection_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.client_go.resources import PERSISTENTVOLUMES
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import Controller

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

FINALIZER = "kubernetes.io/pv-protection"


class PersistentVolumeProtectionController(Controller):
    """Protects bound volumes."""

    name = "persistentvolume-protection-controller"
    service_account = "pv-protection-controller"

    def setup(self) -> None:
        """Listen to volumes."""
        self.volumes = self.watch(PERSISTENTVOLUMES, add=self._volume, update=self._updated)

    def _volume(self, volume: Object) -> None:
        deleting, held = meta.deletion_timestamp(volume), FINALIZER in meta.finalizers(volume)
        if bool(deleting) == held:
            self.enqueue(volume)

    def _updated(self, _old: Object, volume: Object) -> None:
        self._volume(volume)

    async def reconcile(self, key: str) -> None:
        """Hold a volume, or let it go."""
        volume = self.volumes.get(key)
        if volume is None:
            return
        finalizers = meta.finalizers(volume)
        if meta.deletion_timestamp(volume):
            if FINALIZER not in finalizers or fields.status(volume).get("phase") == "Bound":
                return
            finalizers = [name for name in finalizers if name != FINALIZER]
        elif FINALIZER in finalizers:
            return
        else:
            finalizers = [*finalizers, FINALIZER]
        new = meta.with_metadata(volume, finalizers=finalizers or None)
        await self.client.update(PERSISTENTVOLUMES, "", new)


CONTROLLER = PersistentVolumeProtectionController
