"""The strategic merge patch between two statuses of a pod, as the kubelet sends it.

Lists with a patch merge key (conditions by `type`, hostIPs and podIPs by `ip`) carry only the
elements that differ, with the order of all; lists without one are replaced; what is gone is null.

Follows `CreateTwoWayMergePatch` in `apimachinery/pkg/util/strategicpatch/patch.go`.
"""

from __future__ import annotations

from typing import Any, cast

from pytest_kubesim.apimachinery.meta import Object

MERGE_KEYS = {
    "conditions": "type",
    "hostIPs": "ip",
    "podIPs": "ip",
    "resourceClaimStatuses": "name",
}
"""`patchMergeKey` of the lists of a PodStatus (`core/v1/types.go`)."""

NODE_MERGE_KEYS = {"conditions": "type", "addresses": "type"}
"""`patchMergeKey` of the lists of a NodeStatus."""


def status_patch(old: Object, new: Object, merge_keys: dict[str, str]) -> Object:
    """The patch that makes `old` into `new`; empty where they are equal."""
    patch: Object = {}
    for field, value in new.items():
        before = old.get(field)
        if before == value:
            continue
        key = merge_keys.get(field)
        if key is not None and before:
            patch[field] = _elements(before, value, key)
            patch[f"$setElementOrder/{field}"] = [{key: element[key]} for element in value]
        elif isinstance(value, dict) and isinstance(before, dict):
            patch[field] = _maps(cast("Object", before), cast("Object", value))
        else:
            patch[field] = value
    for field in old:
        if field not in new:
            patch[field] = None
    return patch


def _elements(old: list[Object], new: list[Object], key: str) -> list[Object]:
    before = {element[key]: element for element in old}
    changed: list[Object] = []
    for element in new:
        earlier = before.pop(element[key], None)
        if earlier is None:
            changed.append(element)
        elif earlier != element and (difference := _maps(earlier, element)):
            changed.append({**difference, key: element[key]})
    changed += [{"$patch": "delete", key: gone} for gone in before]
    return changed


def _maps(old: Object, new: Object) -> Object:
    difference: dict[str, Any] = {}
    for field, value in new.items():
        before = old.get(field)
        if before == value:
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            difference[field] = _maps(cast("Object", before), cast("Object", value))
        else:
            difference[field] = value
    for field, value in old.items():
        if field not in new and value is not None:
            difference[field] = None
    return difference
