"""PodTopologyLabels: a pod gets the zone and the region of its node as labels.

They are put into the binding, from which they get to the pod.

Follows `plugin/pkg/admission/podtopologylabels/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apiserver.admission.chain import CREATE, Attributes, Plugin

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")

_PODS, _NODES = GroupResource("", "pods"), GroupResource("", "nodes")


class PodTopologyLabels(Plugin):
    """The plugin."""

    operations = (CREATE,)
    resources = frozenset({_PODS})

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Copies the labels of the node that a new pod or a binding names."""
        if obj is None:
            return obj
        if attributes.subresource == "":
            node = get_path(obj, "spec", "nodeName") or ""
        elif attributes.subresource == "binding" and get_path(obj, "target", "kind") == "Node":
            node = get_path(obj, "target", "name") or ""
        else:
            return obj
        found = attributes.server.reader.get(_NODES, "", node) if node else None
        if found is None:
            return obj
        labels = meta.labels(found)
        copied = {name: labels[name] for name in LABELS if name in labels}
        if not copied:
            return obj
        return meta.with_metadata(obj, labels={**meta.labels(obj), **copied})


PLUGIN = PodTopologyLabels()
