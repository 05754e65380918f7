"""PodNodeSelector: the pods of a namespace run on the nodes that its annotation selects.

Without a configuration file there is neither a selector of the cluster nor a list of what is
allowed.

Follows `plugin/pkg/admission/podnodeselector/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import formats, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, annotations
from pytest_kubesim.apiserver.admission.chain import CREATE, Attributes, Plugin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_kubesim.apimachinery.meta import Object

ANNOTATION = "scheduler.alpha.kubernetes.io/node-selector"
CONFLICT = "pod node label selector conflicts with its namespace node label selector"
_PODS = GroupResource("", "pods")
_NAMESPACES = GroupResource("", "namespaces")


class PodNodeSelector(Plugin):
    """The plugin."""

    operations = (CREATE,)
    resources = frozenset({_PODS})

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Adds the namespace's selector to the pod's."""
        if obj is None or attributes.subresource:
            return obj
        wanted = _checked(attributes, obj)
        own: dict[str, str] = obj["spec"].get("nodeSelector") or {}
        merged = {**wanted, **own}
        return {**obj, "spec": {**obj["spec"], "nodeSelector": merged}} if merged else obj

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses a pod whose selector conflicts."""
        if obj is not None and not attributes.subresource:
            _checked(attributes, obj)


def _checked(attributes: Attributes, pod: Object) -> dict[str, str]:
    """The selector of the pod's namespace.  Raises `APIStatus` where the pod's conflicts."""
    wanted = _of_namespace(attributes)
    own: dict[str, str] = pod["spec"].get("nodeSelector") or {}
    if any(key in wanted and wanted[key] != value for key, value in own.items()):
        raise status.new_forbidden(_PODS, pod["metadata"].get("name") or "", CONFLICT)
    return wanted


def _of_namespace(attributes: Attributes) -> dict[str, str]:
    name = attributes.namespace
    namespace = attributes.server.reader.get(_NAMESPACES, "", name)
    if namespace is None:
        raise status.APIStatus(500, "", f"namespace {name} does not exist")
    return labels_of(annotations(namespace).get(ANNOTATION) or "")


def labels_of(text: str) -> dict[str, str]:
    """The labels in `a=b, c=d` (`ConvertSelectorToLabelsMap`).  Raises `APIStatus` (500)."""
    found: dict[str, str] = {}
    for part in text.split(",") if text else ():
        words = part.split("=")
        if len(words) != 2:
            raise status.APIStatus(500, "", f"invalid selector: [{' '.join(words)}]")
        key, value = (word.strip() for word in words)
        if problems := formats.is_qualified_name(key):
            raise _invalid("<nil>", key, problems)
        if problems := formats.is_valid_label_value(value):
            raise _invalid(f"[{key}]", value, problems)
        found[key] = value
    return found


def _invalid(where: str, value: str, problems: Sequence[str]) -> status.APIStatus:
    text = f"{where}: Invalid value: {quote(value)}: {'; '.join(problems)}"
    return status.APIStatus(500, "", text)


PLUGIN = PodNodeSelector()
