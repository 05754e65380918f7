"""TaintNodesByCondition: a new node is tainted until it has said that it is ready.

Follows `plugin/pkg/admission/nodetaint/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.admission.chain import CREATE, Attributes, Plugin

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

NOT_READY = "node.kubernetes.io/not-ready"

_NODES = GroupResource("", "nodes")


class TaintNodesByCondition(Plugin):
    """The plugin."""

    operations = (CREATE,)
    resources = frozenset({_NODES})

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Adds the taint."""
        if obj is None or attributes.subresource:
            return obj
        spec: Object = obj.get("spec") or {}
        taints: list[Object] = spec.get("taints") or []
        if any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
            return obj
        taint = {"key": NOT_READY, "effect": "NoSchedule"}
        return {**obj, "spec": {**spec, "taints": [*taints, taint]}}


PLUGIN = TaintNodesByCondition()
