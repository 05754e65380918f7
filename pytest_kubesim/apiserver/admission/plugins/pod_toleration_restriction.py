"""PodTolerationRestriction: what the pods of a namespace tolerate, by its annotations.

Without a configuration file the cluster has neither defaults nor a list of what is allowed.

Follows `plugin/pkg/admission/podtolerationrestriction/admission.go` and `pkg/util/tolerations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource, annotations
from pytest_kubesim.apiserver import json_syntax
from pytest_kubesim.apiserver.admission.chain import CREATE, Attributes, Plugin
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.pod_template import resources

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

DEFAULTS = "scheduler.alpha.kubernetes.io/defaultTolerations"
ALLOWED = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
MEMORY_PRESSURE = {
    "key": "node.kubernetes.io/memory-pressure",
    "operator": "Exists",
    "effect": "NoSchedule",
}
CONFLICT = (
    "pod tolerations (possibly merged with namespace default tolerations) conflict with its "
    "namespace whitelist"
)
_NAMESPACES = GroupResource("", "namespaces")


class PodTolerationRestriction(Plugin):
    """The plugin."""

    resources = frozenset({GroupResource("", "pods")})

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Adds the namespace's tolerations, and that of memory pressure where it is due."""
        if obj is None or attributes.subresource:
            return obj
        more: list[Object] = []
        if attributes.operation == CREATE:
            more += _annotated(attributes, DEFAULTS) or []
        if resources.quality_of_service(obj["spec"]) != "BestEffort":
            more.append(MEMORY_PRESSURE)
        if more:
            merged = merge(list(parts.structs(obj["spec"], "tolerations")), more)
            obj = {**obj, "spec": {**obj["spec"], "tolerations": merged}}
        _check(attributes, obj)
        return obj

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses what the namespace does not allow."""
        if obj is not None and not attributes.subresource:
            _check(attributes, obj)


def _check(attributes: Attributes, pod: Object) -> None:
    tolerations = parts.structs(pod["spec"], "tolerations")
    if not tolerations:
        return
    allowed = _annotated(attributes, ALLOWED)
    if allowed and not all(any(is_superset(a, t) for a in allowed) for t in tolerations):
        raise status.APIStatus(500, "", CONFLICT)


def _annotated(attributes: Attributes, key: str) -> list[Object] | None:
    """The tolerations in an annotation of the namespace; None without it."""
    namespace = attributes.server.reader.get(_NAMESPACES, "", attributes.namespace)
    if namespace is None:
        raise status.new_not_found(_NAMESPACES, attributes.namespace)
    text = annotations(namespace).get(key)
    if text is None:
        return None
    if not text:
        return []
    try:
        found: Any = json_syntax.loads(text.encode())
    except ValueError as error:
        raise status.APIStatus(500, "", str(error)) from None
    return cast("list[Object]", found or [])


def merge(first: list[Object], second: list[Object]) -> list[Object]:
    """Both lists without what another covers (`MergeTolerations`)."""
    everything = [*first, *second]
    merged: list[Object] = []
    for position, each in enumerate(everything):
        if any(is_superset(known, each) for known in merged):
            continue
        later = everything[position + 1 :]
        if any(other != each and is_superset(other, each) for other in later):
            continue
        merged.append(each)
    return merged


def is_superset(wide: Object, narrow: Object) -> bool:
    """Whether `wide` tolerates all that `narrow` does (`isSuperset`)."""
    if wide == narrow:
        return True
    key, operator, effect = (parts.text(wide, name) for name in ("key", "operator", "effect"))
    if parts.text(narrow, "key") != key and (key or operator != "Exists"):
        return False
    if parts.text(narrow, "effect") != effect and effect:
        return False
    if effect == "NoExecute" and wide.get("tolerationSeconds") is not None:
        seconds = narrow.get("tolerationSeconds")
        if seconds is None or seconds > wide["tolerationSeconds"]:
            return False
    if operator in ("", "Equal"):
        same = parts.text(narrow, "value") == parts.text(wide, "value")
        return parts.text(narrow, "operator") == "Equal" and same
    return operator == "Exists"


PLUGIN = PodTolerationRestriction()
