"""PersistentVolumeClaimResize: claims grow only where their class allows it.

Follows `plugin/pkg/admission/storage/persistentvolume/resize/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, quantity
from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apiserver.admission.chain import UPDATE, Attributes, Plugin, forbidden

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

CLASSES = GroupResource("storage.k8s.io", "storageclasses")
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"

_CLAIMS = GroupResource("", "persistentvolumeclaims")


class PersistentVolumeClaimResize(Plugin):
    """The plugin."""

    operations = (UPDATE,)
    resources = frozenset({_CLAIMS})

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses a growth that cannot be."""
        old = attributes.old
        if obj is None or old is None:
            return
        if attributes.subresource or quantity.cmp(_size(obj), _size(old)) <= 0:
            return
        if get_path(old, "status", "phase") != "Bound":
            raise forbidden(attributes, "Only bound persistent volume claims can be expanded")
        name = _class(obj)
        found = None
        if name and name == _class(old):
            found = attributes.server.reader.get(CLASSES, "", name)
        if found is None or not found.get("allowVolumeExpansion"):
            raise forbidden(
                attributes,
                "only dynamically provisioned pvc can be resized and the storageclass that "
                "provisions the pvc must support resize",
            )


def _size(claim: Object) -> str:
    requests: Object = get_path(claim["spec"], "resources", "requests") or {}
    return requests.get("storage") or "0"


def _class(claim: Object) -> str:
    annotations = meta.annotations(claim)
    if CLASS_ANNOTATION in annotations:
        return annotations[CLASS_ANNOTATION]
    return claim["spec"].get("storageClassName") or ""


PLUGIN = PersistentVolumeClaimResize()
