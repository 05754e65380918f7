"""NodeDeclaredFeatureValidator: a bound pod is changed only in ways that its node can follow.

Follows `plugin/pkg/admission/nodedeclaredfeatures/admission.go` and
`component-helpers/nodedeclaredfeatures/features` (`InferForUpdate`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, quantity
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apiserver.admission.chain import UPDATE, Attributes, Plugin, forbidden

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

POD_LEVEL_RESIZE = "InPlacePodLevelResourcesVerticalScaling"
INIT_CONTAINER_RESIZE = "InPlacePodVerticalScalingInitContainers"
MEMORY_VOLUME_RESIZE = "InPlacePodVerticalScalingMemoryBackedVolumes"

_PODS, _NODES = GroupResource("", "pods"), GroupResource("", "nodes")


class NodeDeclaredFeatureValidator(Plugin):
    """The plugin."""

    operations = (UPDATE,)
    resources = frozenset({_PODS})

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses changes that take a feature the node does not declare."""
        old = attributes.old
        if obj is None or old is None or attributes.subresource not in ("", "resize"):
            return
        name: str = obj["spec"].get("nodeName") or ""
        if not name or meta.generation(old) == meta.generation(obj):
            return
        required = set(_required(old["spec"], obj["spec"]))
        if not required:
            return
        node = attributes.server.reader.get(_NODES, "", name)
        if node is None:
            raise forbidden(attributes, f"node {quote(name)} not found")
        missing = required.difference(get_path(node, "status", "declaredFeatures") or ())
        if missing:
            raise forbidden(
                attributes,
                f"pod update requires features {', '.join(sorted(missing))} which are not "
                f"available on node {quote(name)}",
            )


def _required(old: Object, new: Object) -> Iterator[str]:
    if (old.get("resources") or {}) != (new.get("resources") or {}):
        yield POD_LEVEL_RESIZE
    before, after = _all(old, "initContainers"), _all(new, "initContainers")
    for mine, theirs in zip(before, after, strict=False):
        changed = (mine.get("resources") or {}) != (theirs.get("resources") or {})
        if changed and mine.get("restartPolicy") != "Always":
            yield INIT_CONTAINER_RESIZE
    before, after = _all(old, "volumes"), _all(new, "volumes")
    if len(before) == len(after) and any(map(_is_resized, before, after)):
        yield MEMORY_VOLUME_RESIZE


def _all(spec: Object, field: str) -> list[Object]:
    found: list[Object] = spec.get(field) or []
    return found


def _is_resized(old: Object, new: Object) -> bool:
    if old.get("name") != new.get("name"):
        return False
    if get_path(new, "emptyDir", "medium") != "Memory":
        return False
    before, after = get_path(old, "emptyDir", "sizeLimit"), get_path(new, "emptyDir", "sizeLimit")
    return before is not None and after is not None and quantity.cmp(before, after) != 0


PLUGIN = NodeDeclaredFeatureValidator()
