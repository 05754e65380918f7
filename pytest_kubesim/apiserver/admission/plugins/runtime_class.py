"""RuntimeClass: a new pod gets the overhead and the scheduling of its runtime class.

Follows `plugin/pkg/admission/runtimeclass/admission.go` and `pkg/util/tolerations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apiserver.admission.chain import CREATE, Attributes, Plugin, forbidden

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_kubesim.apimachinery.meta import Object

CLASSES = GroupResource("node.k8s.io", "runtimeclasses")

_PODS = GroupResource("", "pods")
_MISMATCH = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"


class RuntimeClass(Plugin):
    """The plugin."""

    operations = (CREATE,)
    resources = frozenset({_PODS})

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Sets overhead, node selector and tolerations."""
        if obj is None or attributes.subresource:
            return obj
        found = _class_of(attributes, obj)
        if found is None:
            return obj
        spec: Object = dict(obj["spec"])
        if found.get("overhead") is not None:
            fixed: Object = get_path(found, "overhead", "podFixed") or {}
            if spec.get("overhead") and not _alike(fixed, spec["overhead"]):
                raise forbidden(attributes, _MISMATCH)
            spec["overhead"] = fixed
        if found.get("scheduling") is not None:
            spec = _scheduled(attributes, spec, found["scheduling"])
        return {**obj, "spec": spec}

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses an overhead that is not the class's."""
        if obj is None or attributes.subresource:
            return
        found = _class_of(attributes, obj)
        overhead = obj["spec"].get("overhead")
        if found is not None and found.get("overhead") is not None:
            if not _alike(get_path(found, "overhead", "podFixed") or {}, overhead or {}):
                raise forbidden(attributes, _MISMATCH)
        elif overhead is not None:
            raise forbidden(
                attributes,
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined "
                "Overhead",
            )


def _class_of(attributes: Attributes, pod: Object) -> Object | None:
    name = pod["spec"].get("runtimeClassName")
    if name is None:
        return None
    found = attributes.server.reader.get(CLASSES, "", name)
    if found is None:
        raise forbidden(attributes, f"pod rejected: RuntimeClass {quote(name)} not found")
    return found


def _alike(left: Object, right: Object) -> bool:
    return left.keys() == right.keys() and all(
        not quantity.cmp(left[name], right[name]) for name in left
    )


def _scheduled(attributes: Attributes, spec: Object, scheduling: Object) -> Object:
    wanted: dict[str, str] = scheduling.get("nodeSelector") or {}
    given: dict[str, str] = spec.get("nodeSelector") or {}
    for key, value in sorted(wanted.items()):
        if key in given and given[key] != value:
            raise forbidden(
                attributes,
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {given[key]}",
            )
    out: Object = dict(spec)
    if wanted:
        out["nodeSelector"] = {**given, **wanted}
    merged = merged_tolerations(spec.get("tolerations") or [], scheduling.get("tolerations") or [])
    if merged:
        out["tolerations"] = merged
    return out


def merged_tolerations(first: Sequence[Object], second: Sequence[Object]) -> list[Object]:
    """Both, without those that another one covers."""
    everything = [*first, *second]
    merged: list[Object] = []
    for index, each in enumerate(everything):
        if any(_covers(kept, each) for kept in merged):
            continue
        later = everything[index + 1 :]
        if any(other != each and _covers(other, each) for other in later):
            continue
        merged.append(each)
    return merged


def _covers(wide: Object, narrow: Object) -> bool:
    """Whether one toleration tolerates all that another does."""
    if wide == narrow:
        return True
    operator = wide.get("operator") or ""
    if narrow.get("key") != wide.get("key") and (wide.get("key") or operator != "Exists"):
        return False
    if wide.get("effect") and narrow.get("effect") != wide["effect"]:
        return False
    seconds = wide.get("tolerationSeconds")
    if wide.get("effect") == "NoExecute" and seconds is not None:
        theirs = narrow.get("tolerationSeconds")
        if theirs is None or theirs > seconds:
            return False
    if operator in ("Equal", ""):
        same = (narrow.get("value") or "") == (wide.get("value") or "")
        return narrow.get("operator") == "Equal" and same
    return operator == "Exists"


PLUGIN = RuntimeClass()
