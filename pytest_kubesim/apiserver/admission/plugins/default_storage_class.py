"""DefaultStorageClass: a claim that names no class gets the default one.

Follows `plugin/pkg/admission/storage/storageclass/setdefault/admission.go` and
`pkg/volume/util/storageclass.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.admission.chain import CREATE, Attributes, Plugin

if TYPE_CHECKING:
    from collections.abc import Iterable

from pytest_kubesim.apimachinery.meta import Object

CLASSES = GroupResource("storage.k8s.io", "storageclasses")
DEFAULT_ANNOTATION = "storageclass.kubernetes.io/is-default-class"
BETA_DEFAULT_ANNOTATION = "storageclass.beta.kubernetes.io/is-default-class"
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"

_CLAIMS = GroupResource("", "persistentvolumeclaims")


class DefaultStorageClass(Plugin):
    """The plugin."""

    operations = (CREATE,)
    resources = frozenset({_CLAIMS})

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Names the default class."""
        if obj is None or attributes.subresource:
            return obj
        annotations = meta.annotations(obj)
        if CLASS_ANNOTATION in annotations or obj["spec"].get("storageClassName") is not None:
            return obj
        found = default_class(attributes.server.reader.list(CLASSES))
        if found is None:
            return obj
        name: str = found["metadata"]["name"]
        return {**obj, "spec": {**obj["spec"], "storageClassName": name}}


def default_class(classes: Iterable[Object]) -> Object | None:
    """The newest of the default classes, the first by name among those; None if there is none."""
    marked = [each for each in classes if is_default(each)]
    marked.sort(key=_name)
    marked.sort(key=_created, reverse=True)
    return marked[0] if marked else None


def is_default(each: Object) -> bool:
    """Whether a class is marked as default."""
    annotations = meta.annotations(each)
    return "true" in (annotations.get(DEFAULT_ANNOTATION), annotations.get(BETA_DEFAULT_ANNOTATION))


def _name(each: Object) -> str:
    return each["metadata"]["name"]


def _created(each: Object) -> str:
    return each["metadata"]["creationTimestamp"]


PLUGIN = DefaultStorageClass()
