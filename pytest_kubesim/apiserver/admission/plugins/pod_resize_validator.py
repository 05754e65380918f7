"""PodResizeValidator: a pod is resized to what its node can hold, on Linux only.

Follows `plugin/pkg/admission/podresize/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, quantity
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apiserver.admission.chain import UPDATE, Attributes, Plugin, forbidden
from pytest_kubesim.registry import quota

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.status import APIStatus

OS_LABEL = "kubernetes.io/os"
NODE_CAPACITY = "NodeCapacity"
UNSUPPORTED_PLATFORM = "UnsupportedPlatform"

_PODS, _NODES = GroupResource("", "pods"), GroupResource("", "nodes")


class PodResizeValidator(Plugin):
    """The plugin."""

    operations = (UPDATE,)
    resources = frozenset({_PODS})

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses what does not fit the node of the pod."""
        if obj is None or attributes.old is None or attributes.subresource != "resize":
            return
        name: str = obj["spec"].get("nodeName") or ""
        if not name or meta.generation(attributes.old) == meta.generation(obj):
            return
        node = attributes.server.reader.get(_NODES, "", name)
        if node is None:
            raise forbidden(attributes, f"node {quote(name)} not found")
        system = meta.labels(node).get(OS_LABEL)
        if system not in (None, "linux"):
            text = f"pod resize is only supported on linux nodes, node {quote(name)} is "
            raise _refused(attributes, text + quote(system), UNSUPPORTED_PLATFORM)
        problem = _excess(obj, get_path(node, "status", "allocatable") or {})
        if problem:
            raise _refused(attributes, problem, NODE_CAPACITY)


def _refused(attributes: Attributes, problem: str, reason: str) -> APIStatus:
    refusal = forbidden(attributes, problem)
    return refusal.with_details(causes=[*refusal.causes, {"reason": reason}])


def _excess(pod: Object, allocatable: Object) -> str:
    requests = quota.pod_resources(pod, "requests")
    parts: list[str] = []
    for name, measure in (("cpu", quantity.milli_value), ("memory", quantity.value)):
        wanted, there = requests.get(name) or "0", allocatable.get(name) or "0"
        if quantity.cmp(wanted, there) > 0:
            parts.append(f"{name}, requested: {measure(wanted)}, allocatable: {measure(there)}")
    if not parts:
        return ""
    return f"node didn't have enough allocatable resources: {'; '.join(parts)}"


PLUGIN = PodResizeValidator()
