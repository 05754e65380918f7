"""Merging an applied configuration into a live value, and taking fields out of one.

The law: results share with their inputs what they leave as it was; inputs are never changed. A map
or a list that comes out empty is left out, as upstream does, unless it was empty on both sides.

Follows ``structured-merge-diff/typed/{merge,remove}.go``.
"""

from __future__ import annotations

from collections import deque
from typing import Any, cast

from pytest_kubesim.apimachinery import fieldpath
from pytest_kubesim.apimachinery.fieldpath import FieldSet, element_text
from pytest_kubesim.apimachinery.managedfields.typed import (
    DEDUCED,
    SchemaMismatch,
    Type,
    item_element,
)

_ABSENT: Any = object()


def merge(type_: Type, live: Any, applied: Any) -> Any:
    """The live value with what is applied laid over it; nothing is removed.

    Raises ``SchemaMismatch`` for lists that name an item twice.
    """
    merged = _merge(type_, live, applied)
    return None if merged is _ABSENT else merged


def _merge(type_: Type, live: Any, applied: Any) -> Any:
    if applied is _ABSENT or live is applied:
        return live
    if live is _ABSENT:
        return applied
    form: Any = applied
    leaf: Any = applied
    if form is None:
        # Null takes the form of the other side; alone it is a leaf.
        form = live
        if not _granular(type_, form):
            return leaf
    if isinstance(form, dict) and type_.is_map and not type_.map_atomic:
        lefts = cast("dict[str, Any]", live) if isinstance(live, dict) else {}
        rights = cast("dict[str, Any]", applied) if isinstance(applied, dict) else {}
        return _merge_maps(type_, lefts, rights) if lefts or rights else leaf
    if isinstance(form, list) and type_.is_list and not type_.list_atomic:
        left_items = cast("list[Any]", live) if isinstance(live, list) else []
        right_items = cast("list[Any]", applied) if isinstance(applied, list) else []
        if left_items or right_items:
            return _merge_lists(type_, left_items, right_items)
    return leaf


def _granular(type_: Type, form: Any) -> bool:
    if isinstance(form, dict):
        return type_.is_map and not type_.map_atomic and bool(cast("object", form))
    if isinstance(form, list):
        return type_.is_list and not type_.list_atomic and bool(cast("object", form))
    return False


def _merge_maps(type_: Type, live: dict[str, Any], applied: dict[str, Any]) -> Any:
    merged: dict[str, Any] = {}
    changed = len(live) == 0
    for name, ours in live.items():
        theirs = applied.get(name, _ABSENT)
        if ours is theirs:
            merged[name] = ours
            continue
        item = _merge(type_.child(name) or DEDUCED, ours, theirs)
        changed = changed or item is not ours
        if item is not _ABSENT:
            merged[name] = item
    for name, theirs in applied.items():
        if name not in live:
            changed = True
            item = _merge(type_.child(name) or DEDUCED, _ABSENT, theirs)
            if item is not _ABSENT:
                merged[name] = item
    if not changed:
        return live
    return merged or _ABSENT


def _merge_lists(type_: Type, live: list[Any], applied: list[Any]) -> Any:
    """The items of both, in an order that respects each list's own.

    Items in both come in the order of the applied list. Items of only one keep their places
    relative to those.
    """
    rights, right_items = _index(type_, applied, duplicates=False)
    lefts, left_items = _index(type_, live, duplicates=True)
    below = type_.item()
    if not rights:
        return live or _ABSENT

    out: list[Any] = []
    shared = deque(element for element in rights if element in left_items)
    following = shared.popleft() if shared else None
    done: set[str] = set()

    def take(element: str) -> None:
        nonlocal following
        done.add(element)
        item = _merge(below, left_items.get(element, _ABSENT), right_items[element])
        if item is not _ABSENT:
            out.append(item)
        if following == element:
            following = shared.popleft() if shared else None

    left, right = 0, 0
    while left < len(lefts) or right < len(rights):
        if left < len(lefts) and right < len(rights):
            element = lefts[left]
            if element == rights[right]:
                following = element
                take(element)
                left += 1
                right += 1
                continue
            if element in right_items and following is not None and following != element:
                # Shared, but another shared one comes first.
                left += 1
                continue
        if left < len(lefts):
            element = lefts[left]
            if element not in right_items:
                out.append(live[left])
                left += 1
                continue
            if element in done:
                left += 1
        if right < len(rights):
            take(rights[right])
            right += 1
    if len(out) == len(live) and all(a is b for a, b in zip(out, live, strict=True)):
        return live
    return out or _ABSENT


def _index(type_: Type, items: list[Any], *, duplicates: bool) -> tuple[list[str], dict[str, Any]]:
    """The path elements of the items in their order, and the item of each."""
    elements: list[str] = []
    found: dict[str, Any] = {}
    problems: list[tuple[str, str]] = []
    for index, item in enumerate(items):
        try:
            element = item_element(type_, item)
        except ValueError as problem:
            problems.append(("", f"element {index}: {problem}"))
            continue
        if element not in found:
            found[element] = item
        elif duplicates:
            # Items that are there twice are not merged with what is applied.
            found[element] = None
        else:
            problems.append(("", f"duplicate entries for key {element_text(element)}"))
            continue
        elements.append(element)
    if problems:
        raise SchemaMismatch(problems)
    return elements, found


# -- taking fields out -----------------------------------------------------------------------------


def remove_items(type_: Type, value: Any, fields: FieldSet) -> Any:
    """The value without the list items and map fields of the set.

    What loses its last field becomes null, as in upstream.
    """
    scalar: Any = value
    if isinstance(value, dict):
        if type_.is_map:
            return _remove_from_map(type_, cast("dict[str, Any]", value), fields)
    elif isinstance(value, list):
        if type_.is_list:
            return _remove_from_list(type_, cast("list[Any]", value), fields)
    elif type_.scalar is not None and value is not None:
        return scalar
    if type_.is_map or type_.scalar is None:
        return None
    return scalar


def _remove_from_map(type_: Type, value: dict[str, Any], fields: FieldSet) -> Any:
    if not value or type_.map_atomic:
        return None
    kept: dict[str, Any] = {}
    for name, item in value.items():
        node = fields.get("f:" + name)
        if node is None:
            kept[name] = item
        elif node and "." not in node:
            kept[name] = remove_items(type_.child(name) or DEDUCED, item, node)
    return kept or None


def _remove_from_list(type_: Type, value: list[Any], fields: FieldSet) -> Any:
    if not value or type_.list_atomic:
        return None
    below = type_.item()
    kept: list[Any] = []
    for item in value:
        node = fields.get(item_element(type_, item))
        if node is None:
            kept.append(item)
        elif node and "." not in node:
            kept.append(remove_items(below, item, node))
    return kept or None


def with_named_fields(type_: Type | None, fields: FieldSet) -> FieldSet:
    """The set with every declared field a member that has members below it.

    ``Set.EnsureNamedFieldsAreMembers`` in upstream: a set of ``a.b.c`` gains ``a`` if declared, and
    not ``a.b`` if ``a`` is a map of anything.
    """
    found: FieldSet = {}
    for element, node in fields.items():
        if not node or element == ".":
            found[element] = node
            continue
        below: Type | None = None
        declared = False
        if type_ is not None:
            if element.startswith("f:") and type_.is_map:
                name = element[2:]
                below = type_.child(name)
                declared = type_.declares(name)
            elif element.startswith("k:") and type_.is_list:
                below = type_.item()
        node = with_named_fields(below, node)
        if declared and "." not in node:
            node = {".": fieldpath.LEAF, **node}
        found[element] = node
    return found
