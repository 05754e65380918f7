"""The protection of volume attributes classes: one that a claim or volume names is not deleted.

Follows `pkg/controller/volume/vacprotection/vac_protection_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.client_go.resources import (
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    VOLUMEATTRIBUTESCLASSES,
)
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import Controller

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

FINALIZER = "kubernetes.io/vac-protection"
_BY_CLASS = "volumeAttributesClassName"


class VolumeAttributesClassProtectionController(Controller):
    """Protects classes that are in use."""

    name = "volumeattributesclass-protection-controller"
    service_account = "volumeattributesclass-protection-controller"

    def setup(self) -> None:
        """Listen to classes, and to what names them."""
        self.classes = self.watch(
            VOLUMEATTRIBUTESCLASSES, add=self._class, update=lambda _old, new: self._class(new)
        )
        self.users = [
            self.watch(gvr, update=self._changed, delete=self._gone)
            for gvr in (PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES)
        ]
        for store in self.users:
            store.add_indexer(_BY_CLASS, _classes_of)

    def _class(self, class_: Object) -> None:
        if bool(meta.deletion_timestamp(class_)) == (FINALIZER in meta.finalizers(class_)):
            self.enqueue(class_)

    def _changed(self, old: Object, new: Object) -> None:
        kept = _classes_of(new)
        for name in _classes_of(old):
            if name not in kept:
                self.queue.add(name)

    def _gone(self, user: Object) -> None:
        for name in _classes_of(user):
            self.queue.add(name)

    async def reconcile(self, key: str) -> None:
        """Hold a class, or let it go."""
        class_ = self.classes.get(key)
        if class_ is None:
            return
        finalizers = meta.finalizers(class_)
        if meta.deletion_timestamp(class_):
            used = any(store.by_index(_BY_CLASS, key) for store in self.users)
            if FINALIZER not in finalizers or used:
                return
            finalizers = [name for name in finalizers if name != FINALIZER]
        elif FINALIZER in finalizers:
            return
        else:
            finalizers = [*finalizers, FINALIZER]
        new = meta.with_metadata(class_, finalizers=finalizers or None)
        await self.client.update(VOLUMEATTRIBUTESCLASSES, "", new)


def _classes_of(user: Object) -> list[str]:
    """The classes that a claim or a volume wants, has, or is being given."""
    status = fields.status(user)
    names = (
        fields.spec(user).get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        fields.mapping(status, "modifyVolumeStatus").get("targetVolumeAttributesClassName"),
    )
    return list(dict.fromkeys(name for name in names if name))


CONTROLLER = VolumeAttributesClassProtectionController
