"""ExtendedResourceToleration: who asks for devices tolerates the taint of nodes kept for them.

Follows `plugin/pkg/admission/extendedresourcetoleration/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.admission.chain import Attributes, Plugin
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.pod_template.resource_names import is_extended

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object


class ExtendedResourceToleration(Plugin):
    """The plugin."""

    resources = frozenset({GroupResource("", "pods")})

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Adds a toleration for each extended resource that a container requests."""
        if obj is None or attributes.subresource:
            return obj
        spec: Object = obj["spec"]
        names: set[str] = set()
        for key in ("containers", "initContainers"):
            for container in parts.structs(spec, key):
                resources: Object = container.get("resources") or {}
                names.update(n for n in resources.get("requests") or () if is_extended(n))
        if not names:
            return obj
        tolerations = list(parts.structs(spec, "tolerations"))
        for name in sorted(names):
            _add(tolerations, {"key": name, "operator": "Exists", "effect": "NoSchedule"})
        return {**obj, "spec": {**spec, "tolerations": tolerations}}


def _add(tolerations: list[Object], wanted: Object) -> None:
    """Put a toleration into a list, in place of the one that it matches (`MatchToleration`)."""
    for position, each in enumerate(tolerations):
        if all(
            (each.get(key) or "") == (wanted.get(key) or "")
            for key in ("key", "operator", "effect", "value")
        ):
            tolerations[position] = wanted
            return
    tolerations.append(wanted)


PLUGIN = ExtendedResourceToleration()
