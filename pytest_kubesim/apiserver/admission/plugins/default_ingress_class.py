"""DefaultIngressClass: an ingress that names no class gets the default one.

Follows `plugin/pkg/admission/network/defaultingressclass/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, timestamps
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.admission.chain import CREATE, Attributes, Plugin

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

CLASSES = GroupResource("networking.k8s.io", "ingressclasses")
DEFAULT_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"

_INGRESSES = GroupResource("networking.k8s.io", "ingresses")


class DefaultIngressClass(Plugin):
    """The plugin."""

    operations = (CREATE,)
    resources = frozenset({_INGRESSES})

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Names the default class; of several the newest."""
        if obj is None or attributes.subresource:
            return obj
        spec: Object = obj.get("spec") or {}
        if spec.get("ingressClassName") is not None or CLASS_ANNOTATION in meta.annotations(obj):
            return obj
        marked = [
            each
            for each in attributes.server.reader.list(CLASSES)
            if meta.annotations(each).get(DEFAULT_ANNOTATION) == "true"
        ]
        if not marked:
            return obj
        newest = min(marked, key=_age)
        return {**obj, "spec": {**spec, "ingressClassName": meta.name(newest)}}


def _age(obj: Object) -> tuple[int, str]:
    stamp = meta.creation_timestamp(obj)
    return (-timestamps.parse_time(stamp) if stamp else 0, meta.name(obj))


PLUGIN = DefaultIngressClass()
