"""Making a strategic merge patch out of two states of an object.

This is what kubectl, the event recorder and several controllers send instead of the whole object.

Follows ``CreateTwoWayMergePatch`` in ``apimachinery/pkg/util/strategicpatch/patch.go``.
"""

from __future__ import annotations

from typing import Any, cast

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.strategicpatch import (
    Node,
    lookup,
    lookup_list,
    sort_like,
    strategy,
)
from pytest_kubesim.apimachinery.strategicpatch_values import (
    DELETE,
    DELETE_FROM_LIST,
    DIRECTIVE,
    MERGE,
    REPLACE,
    RETAIN_KEYS_DIRECTIVE,
    SET_ELEMENT_ORDER,
    StrategicPatchError,
    elements_are_maps,
    no_merge_key,
    same,
)


def create_two_way_merge_patch(original: Object, modified: Object, schema: Node) -> Object:
    """The patch that makes ``modified`` out of ``original``; empty where they are equal.

    Raises ``StrategicPatchError`` for a changed field that the schema does not know.
    """
    return _maps(original, modified, schema, retain_keys=False)


def _maps(original: Object, modified: Object, schema: Node | None, *, retain_keys: bool) -> Object:
    patch: Object = {}
    for key, value in modified.items():
        if key not in original:
            patch[key] = value
            continue
        old = original[key]
        if golang.type_name(old) != golang.type_name(value):
            patch[key] = value
        elif isinstance(value, dict):
            _map_field(key, old, cast("Object", value), patch, schema)
        elif isinstance(value, list):
            _list_field(key, old, cast("list[Any]", value), patch, schema)
        elif old != value:
            patch[key] = value
    for key in original:
        if key not in modified:
            patch[key] = None
    kept = [key for key, value in modified.items() if value is not None]
    lost = any(value is not None and key not in modified for key, value in original.items())
    if retain_keys and kept and (patch or lost):
        patch[RETAIN_KEYS_DIRECTIVE] = sorted(kept)
    return patch


def _map_field(key: str, old: Object, new: Object, patch: Object, schema: Node | None) -> None:
    try:
        node = lookup(schema, key)
    except StrategicPatchError:
        if old == new:
            return
        raise
    retain_keys, how = strategy(node)
    if how == REPLACE:
        patch[key] = new
    elif difference := _maps(old, new, node, retain_keys=retain_keys):
        patch[key] = difference


def _list_field(
    key: str, old: list[Any], new: list[Any], patch: Object, schema: Node | None
) -> None:
    try:
        node, item = lookup_list(schema, key)
    except StrategicPatchError:
        if old == new:
            return
        raise
    retain_keys, how = strategy(node)
    if how != MERGE:
        if old != new:
            patch[key] = new
        return
    added, deleted, order = _lists(old, new, item, node.merge_key or "", retain_keys=retain_keys)
    if added:
        patch[key] = added
    if deleted:
        patch[f"{DELETE_FROM_LIST}/{key}"] = deleted
    if order:
        patch[f"{SET_ELEMENT_ORDER}/{key}"] = order


def _lists(
    old: list[Any], new: list[Any], item: Node | None, merge_key: str, *, retain_keys: bool
) -> tuple[list[Any], list[Any], list[Any]]:
    """Entries to merge, scalars to delete, and the order of all that shall be there."""
    if not old:
        return new, [], []
    if elements_are_maps(old, new):
        changed, deleted = _entries(old, new, item, merge_key, retain_keys=retain_keys)
        changed = [*sort_like(changed, new, merge_key), *deleted]
        same_order = len(old) == len(new) and all(
            same(a[merge_key], b[merge_key]) for a, b in zip(old, new, strict=True)
        )
        if changed or not same_order:
            return changed, [], [{merge_key: entry[merge_key]} for entry in new]
        return changed, [], []
    added = [value for value in new if not any(same(value, other) for other in old)]
    gone = [value for value in old if not any(same(value, other) for other in new)]
    deleted = sorted(dict.fromkeys(gone), key=golang.plain)
    # Upstream sorts the old list in place before it compares: an order that was unsorted is always
    # sent, and a change into sorted order never.
    moved = sorted(old, key=golang.plain) != new
    return sort_like(added, new, None), deleted, new if deleted or moved else []


def _entries(
    old: list[Any], new: list[Any], item: Node | None, merge_key: str, *, retain_keys: bool
) -> tuple[list[Any], list[Any]]:
    before = _by_key(old, merge_key)
    after = _by_key(new, merge_key)
    changed: list[Any] = []
    for text, entry in after.items():
        if text not in before:
            changed.append(entry)
            continue
        difference = _maps(before[text], entry, item, retain_keys=retain_keys)
        if difference:
            changed.append({**difference, merge_key: entry[merge_key]})
    deleted: list[Any] = [
        {merge_key: entry[merge_key], DIRECTIVE: DELETE}
        for text, entry in sorted(before.items())
        if text not in after
    ]
    return changed, deleted


def _by_key(entries: list[Any], merge_key: str) -> dict[str, Object]:
    found: dict[str, Object] = {}
    for entry in entries:
        if merge_key not in entry:
            raise no_merge_key(entry, merge_key)
        found[golang.plain(entry[merge_key])] = entry
    return found
