"""Which fields differ between two values of a type.

The law: parts that are the same Python object are not looked at, since stored objects share what
they have in common. That makes the comparison as cheap as the change is small.

Follows ``structured-merge-diff/typed/compare.go``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import msgspec

from pytest_kubesim.apimachinery import fieldpath
from pytest_kubesim.apimachinery.fieldpath import LEAF, FieldSet, Filter, in_order
from pytest_kubesim.apimachinery.managedfields.typed import DEDUCED, Type, item_element

_ABSENT: Any = object()
_CONTAINERS = (dict, list)


class Comparison(msgspec.Struct):
    """The fields only the left value has, those in both with other values, those only right."""

    removed: FieldSet
    modified: FieldSet
    added: FieldSet
    _changed: FieldSet | None = None

    @property
    def changed(self) -> FieldSet:
        """What the right value sets: modified or added."""
        found = self._changed
        if found is None:
            found = self._changed = fieldpath.union(self.modified, self.added)
        return found

    def filtered(self, keep: Filter | None) -> Comparison:
        """The comparison without what a strategy resets."""
        if keep is None:
            return self
        return Comparison(keep(self.removed), keep(self.modified), keep(self.added))


def compare(type_: Type, left: Any, right: Any) -> Comparison:
    """Compares two values of the same type; neither is changed.

    Raises ``ValueError`` for an item of a list that its keys do not name.
    """
    removed, modified, added = _visit(type_, left, right) or (None, None, None)
    return Comparison(removed or LEAF, modified or LEAF, added or LEAF)


_Nodes: TypeAlias = tuple["FieldSet | None", "FieldSet | None", "FieldSet | None"]
"""Removed, modified, added: the nodes of one place; None where the place is in none of them."""

_MODIFIED: _Nodes = (None, LEAF, None)


def whole(type_: Type, value: Any) -> FieldSet:
    """The node of a value that is new as a whole: itself and everything below it."""
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        if not type_.is_map or type_.map_atomic or not entries:
            return LEAF
        node: FieldSet = {".": LEAF}
        for name in sorted(entries):
            node["f:" + name] = whole(type_.child(name) or DEDUCED, entries[name])
        return node
    if isinstance(value, list):
        items = cast("list[Any]", value)
        if not type_.is_list or type_.list_atomic or not items:
            return LEAF
        below = type_.item()
        found: FieldSet = {}
        repeated: set[str] = set()
        for item in items:
            element = item_element(type_, item)
            if element in found:
                repeated.add(element)
            else:
                found[element] = whole(below, item)
        for element in repeated:
            found[element] = LEAF
        return {".": LEAF, **{element: found[element] for element in in_order(found)}}
    return LEAF


def _visit(type_: Type, left: Any, right: Any) -> _Nodes | None:
    if left is right:
        return None
    kind, other = left.__class__, right.__class__
    if kind is other:
        if kind is dict and type_.is_map:
            return _maps(type_, left, right)
        if kind is list and type_.is_list:
            return _lists(type_, left, right)
    if kind in _CONTAINERS or other in _CONTAINERS:
        return _mixed(type_, left, right)
    # True equals 1 in Python, and not in JSON.
    if left != right or (kind is not other and bool in (kind, other)):
        return _MODIFIED
    return None


def _mixed(type_: Type, left: Any, right: Any) -> _Nodes | None:
    """Values of different kinds: null and a container, or two forms of an untyped place."""
    removed = modified = added = None
    for value in (left, right):
        if value is None:
            continue
        if isinstance(value, dict) and type_.is_map and not type_.map_atomic and value:
            lefts = cast("dict[str, Any]", left) if isinstance(left, dict) else {}
            rights = cast("dict[str, Any]", right) if isinstance(right, dict) else {}
            nodes = _maps(type_, lefts, rights)
        elif isinstance(value, list) and type_.is_list and not type_.list_atomic and value:
            left_items = cast("list[Any]", left) if isinstance(left, list) else []
            right_items = cast("list[Any]", right) if isinstance(right, list) else []
            nodes = _lists(type_, left_items, right_items)
        else:
            nodes = _MODIFIED
        if nodes is not None:
            removed = _joined(removed, nodes[0])
            modified = _joined(modified, nodes[1])
            added = _joined(added, nodes[2])
    return removed, modified, added


def _joined(here: FieldSet | None, node: FieldSet | None) -> FieldSet | None:
    if here is None or node is None:
        return node if here is None else here
    return fieldpath.union_nodes(here, node)


def _maps(type_: Type, left: dict[str, Any], right: dict[str, Any]) -> _Nodes | None:
    if type_.map_atomic or not (left or right):
        return None if left == right else _MODIFIED
    removed: FieldSet = {}
    modified: FieldSet = {}
    added: FieldSet = {}
    known = left.get
    for name, theirs in right.items():
        ours = known(name, _ABSENT)
        if ours is theirs:
            continue
        below = type_.child(name) or DEDUCED
        if ours is _ABSENT:
            added["f:" + name] = whole(below, theirs)
            continue
        nodes = _visit(below, ours, theirs)
        if nodes is not None:
            _place("f:" + name, nodes, removed, modified, added)
    if left.keys() != right.keys():
        for name, ours in left.items():
            if name not in right:
                removed["f:" + name] = whole(type_.child(name) or DEDUCED, ours)
    return _nodes(removed, modified, added)


def _place(
    element: str, nodes: _Nodes, removed: FieldSet, modified: FieldSet, added: FieldSet
) -> None:
    if nodes[0] is not None:
        removed[element] = nodes[0]
    if nodes[1] is not None:
        modified[element] = nodes[1]
    if nodes[2] is not None:
        added[element] = nodes[2]


def _nodes(removed: FieldSet, modified: FieldSet, added: FieldSet) -> _Nodes | None:
    if not (removed or modified or added):
        return None
    return _ordered(removed), _ordered(modified), _ordered(added)


def _ordered(node: FieldSet) -> FieldSet | None:
    if len(node) < 2:
        return node or None
    return {element: node[element] for element in in_order(node)}


def _lists(type_: Type, left: list[Any], right: list[Any]) -> _Nodes | None:
    if type_.list_atomic or not (left or right):
        return None if left == right else _MODIFIED
    lefts = _by_element(type_, left)
    rights = _by_element(type_, right)
    below = type_.item()
    removed: FieldSet = {}
    modified: FieldSet = {}
    added: FieldSet = {}
    for element, theirs in rights.items():
        nodes = _items(below, lefts.get(element, ()), theirs)
        if nodes is not None:
            _place(element, nodes, removed, modified, added)
    for element, ours in lefts.items():
        if element not in rights:
            nodes = _items(below, ours, ())
            if nodes is not None:
                _place(element, nodes, removed, modified, added)
    return _nodes(removed, modified, added)


def _items(below: Type, left: Sequence[Any], right: Sequence[Any]) -> _Nodes | None:
    """Items with one path element: as a rule one on each side; several are counted as one leaf."""
    if len(left) == 1 and len(right) == 1:
        return _visit(below, left[0], right[0])
    if len(left) >= 2 and len(right) >= 2:
        return None if left == right else _MODIFIED
    removed = added = None
    if left:
        removed = whole(below, left[0]) if len(left) == 1 else LEAF
    if right:
        added = whole(below, right[0]) if len(right) == 1 else LEAF
    return removed, None, added


def _by_element(type_: Type, items: list[Any]) -> Mapping[str, Sequence[Any]]:
    elements = [item_element(type_, item) for item in items]
    if len(set(elements)) == len(elements):
        return dict(zip(elements, zip(items, strict=True), strict=True))
    found: dict[str, list[Any]] = {}
    for element, item in zip(elements, items, strict=True):
        found.setdefault(element, []).append(item)
    return found
