"""StorageObjectInUseProtection: volumes and claims get a finalizer that guards them while in use.

Follows `plugin/pkg/admission/storage/storageobjectinuseprotection/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.admission.chain import CREATE, Attributes, Plugin

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

FINALIZERS = {
    GroupResource("", "persistentvolumes"): "kubernetes.io/pv-protection",
    GroupResource("", "persistentvolumeclaims"): "kubernetes.io/pvc-protection",
    GroupResource("storage.k8s.io", "volumeattributesclasses"): "kubernetes.io/vac-protection",
}


class StorageObjectInUseProtection(Plugin):
    """The plugin."""

    operations = (CREATE,)
    resources = frozenset(FINALIZERS)

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Adds the finalizer."""
        finalizer = FINALIZERS.get(attributes.resource.group_resource)
        if obj is None or finalizer is None or attributes.subresource:
            return obj
        metadata: Object = obj["metadata"]
        finalizers: list[str] = metadata.get("finalizers") or []
        if finalizer in finalizers:
            return obj
        return {**obj, "metadata": {**metadata, "finalizers": [*finalizers, finalizer]}}


PLUGIN = StorageObjectInUseProtection()
