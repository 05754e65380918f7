"""Priority: the number behind a pod's priority class.

Follows `plugin/pkg/admission/priority/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.admission.chain import (
    CREATE,
    UPDATE,
    Attributes,
    Plugin,
    forbidden,
)

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

CLASSES = GroupResource("scheduling.k8s.io", "priorityclasses")
PREEMPT = "PreemptLowerPriority"

_PODS = GroupResource("", "pods")


class Priority(Plugin):
    """The plugin."""

    operations = (CREATE, UPDATE)
    resources = frozenset({_PODS, CLASSES})

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Works out a new pod's priority; keeps that of a changed one."""
        if obj is None or attributes.subresource or attributes.resource.group_resource != _PODS:
            return obj
        if attributes.operation == CREATE:
            return _with_priority(attributes, obj)
        old: Object = (attributes.old or {}).get("spec") or {}
        kept = {
            field: old[field]
            for field in ("priority", "preemptionPolicy")
            if obj["spec"].get(field) is None and old.get(field) is not None
        }
        return {**obj, "spec": {**obj["spec"], **kept}} if kept else obj

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses a second default class."""
        if obj is None or attributes.resource.group_resource != CLASSES:
            return
        if not obj.get("globalDefault"):
            return
        for each in attributes.server.reader.list(CLASSES):
            name: str = each["metadata"]["name"]
            if each.get("globalDefault") and name != obj["metadata"]["name"]:
                raise forbidden(
                    attributes,
                    f"PriorityClass {name} is already marked as default. Only one default can "
                    "exist",
                )


def _with_priority(attributes: Attributes, obj: Object) -> Object:
    spec: Object = obj["spec"]
    name = spec.get("priorityClassName") or ""
    found = _default(attributes) if not name else _named(attributes, name)
    priority: int = found.get("value") or 0
    policy = found.get("preemptionPolicy") or PREEMPT
    given = spec.get("priority")
    if given is not None and given != priority:
        raise forbidden(
            attributes,
            f"the integer value of priority ({given}) must not be provided in pod spec; priority "
            f"admission controller computed {priority} from the given PriorityClass name",
        )
    asked = spec.get("preemptionPolicy")
    if asked is not None and asked != policy:
        raise forbidden(
            attributes,
            f"the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; "
            f"priority admission controller computed {policy} from the given PriorityClass name",
        )
    fields: Object = {"priority": priority, "preemptionPolicy": policy}
    if not name and found:
        fields["priorityClassName"] = found["metadata"]["name"]
    return {**obj, "spec": {**spec, **fields}}


def _named(attributes: Attributes, name: str) -> Object:
    found = attributes.server.reader.get(CLASSES, "", name)
    if found is None:
        raise forbidden(attributes, f"no PriorityClass with name {name} was found")
    return found


def _default(attributes: Attributes) -> Object:
    """The default class of the lowest value; an empty dict where there is none."""
    marked = [c for c in attributes.server.reader.list(CLASSES) if c.get("globalDefault")]
    return min(marked, key=lambda c: c.get("value") or 0) if marked else {}


PLUGIN = Priority()
