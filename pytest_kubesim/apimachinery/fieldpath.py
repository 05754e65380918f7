"""Sets of fields: who owns what, as server-side apply counts it.

A ``FieldSet`` is the JSON of ``FieldsV1`` itself, normalised: a dict from path elements to the sets
below them. What is stored in ``metadata.managedFields`` is therefore what the algebra works on.

====================  =========================================================
``f:name``            a field of a map
``k:{"name":"c"}``    the item of a list that has these keys
``v:"x"``             the item of a set
``i:0``               an item by its position
``{}``                the element is a member, and nothing below it is
``{".": {}, ...}``    the element is a member, and so are some below it
``{...}``             only some below it are members
====================  =========================================================

::

    {"f:spec": {"f:replicas": {}, "f:containers": {'k:{"name":"c"}': {".": {}, "f:image": {}}}}}

The law: a set never changes, its keys are in upstream's order, and every operation shares with its
operands whatever it can, so that ``is`` tells unchanged parts. The root itself is never a member.

Follows ``structured-merge-diff/fieldpath``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, cast

from pytest_kubesim.apimachinery import golang

FieldSet: TypeAlias = dict[str, Any]
"""A set of paths in the form of ``FieldsV1``; see the module. Never mutate one."""

Path: TypeAlias = tuple[str, ...]
"""Path elements from the root of an object, in the encoding of ``FieldsV1``."""

Filter: TypeAlias = Callable[[FieldSet], FieldSet]
"""What a strategy resets, as a function that takes it out of a set."""

EMPTY: FieldSet = {}
LEAF: FieldSet = {}
_SELF = "."


# -- elements ------------------------------------------------------------------------------------


def field(name: str) -> str:
    """The path element of a map's field."""
    return f"f:{name}"


def key(fields: Mapping[str, Any]) -> str:
    """The path element of a list's item with those keys, in any order."""
    return "k:" + golang.json_text(fields)


def value(item: Any) -> str:
    """The path element of a set's item."""
    return "v:" + golang.json_text(item)


def element_text(element: str) -> str:
    """A path element as messages show it: ``.spec``, ``[name="c"]``, ``[="x"]``, ``[0]``."""
    kind, content = element[:2], element[2:]
    if kind == "f:":
        return f".{content}"
    if kind == "k:":
        fields = json.loads(content)
        return (
            "[" + ",".join(f"{name}={_value_text(fields[name])}" for name in sorted(fields)) + "]"
        )
    return f"[={_value_text(json.loads(content))}]" if kind == "v:" else f"[{content}]"


def path_text(path: Path) -> str:
    """A path as messages show it, such as ``.spec.ports[port=80].name``."""
    return "".join(map(element_text, path))


def _value_text(item: Any) -> str:
    if item is None:
        return "null"
    if isinstance(item, str):
        return golang.quote(item)
    if isinstance(item, list):
        return "[" + ",".join(map(_value_text, cast("list[Any]", item))) + "]"
    if isinstance(item, dict):
        entries = cast("dict[str, Any]", item)
        return "".join(f"{name}={_value_text(entries[name])}" for name in sorted(entries))
    return golang.plain(item)


_RANKS = {".": 0, "f": 1, "k": 2, "v": 3, "i": 4}


@functools.lru_cache(maxsize=4096)
def order(element: str) -> tuple[Any, ...]:
    """The sort key of a path element: fields, keys, values, then positions."""
    rank = _RANKS[element[0]]
    if rank == 2:
        fields = json.loads(element[2:])
        return (rank, *((name, _value_order(fields[name])) for name in sorted(fields)))
    if rank == 3:
        return rank, _value_order(json.loads(element[2:]))
    return (rank, int(element[2:])) if rank == 4 else (rank, element)


def _value_order(item: Any) -> tuple[Any, ...]:
    if isinstance(item, bool):
        return 2, item
    if isinstance(item, (int, float)):
        return 0, item
    if isinstance(item, str):
        return 1, item
    if isinstance(item, list):
        return 3, tuple(map(_value_order, cast("list[Any]", item)))
    if isinstance(item, dict):
        entries = cast("dict[str, Any]", item)
        return 4, tuple((name, _value_order(entries[name])) for name in sorted(entries))
    return (5,)


def in_order(elements: Iterable[str]) -> list[str]:
    """Path elements as upstream sorts them."""
    found = sorted(elements)
    # Only names of fields, which sort as text: all others come after "f".
    if not found or found[-1] < "g":
        return found
    return sorted(found, key=order)


# -- reading and writing -------------------------------------------------------------------------


def from_json(fields: Any) -> FieldSet:
    """The set that ``fieldsV1`` describes, normalised.

    Elements of an unknown kind are dropped, as upstream does. Raises ``ValueError`` for a malformed
    one.
    """
    if fields is None:
        return EMPTY
    if not isinstance(fields, dict):
        raise ValueError(f"ReadMapCB: expect {{ or n, but found {golang.json_text(fields)[:1]}")  # noqa: TRY004 -- malformed JSON
    found, _ = _read(cast("dict[str, Any]", fields))
    return found or EMPTY


def _read(fields: dict[str, Any]) -> tuple[FieldSet | None, bool]:
    found: FieldSet = {}
    is_member = False
    for name, below in fields.items():
        if name == _SELF:
            is_member = True
            continue
        element = _normal(name)
        if element is None:
            continue
        if below is not None and not isinstance(below, dict):
            raise ValueError(f"ReadMapCB: expect {{ or n, but found {golang.json_text(below)[:1]}")
        children, child_is_member = _read(cast("dict[str, Any]", below or {}))
        node = _node(child_is_member, children or {})
        if node is not None:
            found[element] = union_nodes(found[element], node) if element in found else node
    if not found:
        return None, True
    return _sorted(found), is_member


@functools.lru_cache(maxsize=8192)
def _normal(element: str) -> str | None:
    if len(element) < 2:
        raise ValueError("key must be 2 characters long:")
    if element[1] != ":":
        raise ValueError(f"missing colon: {element}")
    kind, content = element[0], element[2:]
    if kind == "f":
        return element
    if kind in "kv":
        decoded = json.loads(content)
        if kind == "v":
            return value(decoded)
        if not isinstance(decoded, dict):
            raise ValueError(f"ReadObjectCB: expect {{ after object field, but found {content[:1]}")
        return key(cast("dict[str, Any]", decoded))
    return f"i:{int(content)}" if kind == "i" else None


def _node(member: bool, children: FieldSet) -> FieldSet | None:
    """A node of a tree; None where there is nothing to say."""
    if not children:
        return LEAF if member else None
    return {_SELF: LEAF, **children} if member else children


def _sorted(fields: FieldSet) -> FieldSet:
    ordered = in_order(fields)
    return fields if ordered == list(fields) else {name: fields[name] for name in ordered}


def of(*paths: Path) -> FieldSet:
    """The set of those paths."""
    found: FieldSet = EMPTY
    for path in paths:
        found = union(found, _chain(path))
    return found


def of_fields(*paths: str) -> FieldSet:
    """The set of fields given with dots, such as ``"spec.replicas"``."""
    return of(*(tuple(map(field, path.split("."))) for path in paths))


def _chain(path: Path) -> FieldSet:
    node: FieldSet = LEAF
    for element in reversed(path):
        node = {element: node}
    return node


# -- algebra -------------------------------------------------------------------------------------


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """What is in either."""
    if not right or left is right:
        return left
    if not left:
        return right
    merged = dict(left)
    grown = False
    for name, theirs in right.items():
        ours = merged.get(name)
        if ours is None:
            merged[name] = theirs
            grown = True
        elif ours is not theirs:
            merged[name] = union_nodes(ours, theirs)
    return _sorted(merged) if grown else merged


def union_nodes(left: FieldSet, right: FieldSet) -> FieldSet:
    """The union below the root, where an empty node is a member and not an empty set."""
    if left and right:
        return union(left, right)
    children = left or right
    return {_SELF: LEAF, **children} if children and _SELF not in children else children


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    """What is in both."""
    found: FieldSet = {}
    # Both are in the same order.
    for name in left if len(left) < len(right) else right:
        ours, theirs = left.get(name), right.get(name)
        if ours is None or theirs is None:
            continue
        if name == _SELF:
            found[name] = ours
            continue
        if ours is theirs:
            found[name] = ours
            continue
        member = (not ours or _SELF in ours) and (not theirs or _SELF in theirs)
        children = intersection(ours, theirs)
        if not member:
            children.pop(_SELF, None)
        elif children.keys() == {_SELF}:
            children = LEAF
        elif children and _SELF not in children:
            children = {_SELF: LEAF, **children}
        if member or children:
            found[name] = children
    return found


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """What is in the left one only; a member stays though others below it go.

    Returns ``left`` itself where nothing goes.
    """
    if not left or not right:
        return left
    found: FieldSet | None = None
    for name in left if len(left) < len(right) else right:
        ours, theirs = left.get(name), right.get(name)
        if ours is None or theirs is None or name == _SELF:
            continue
        node = _subtract(ours, theirs)
        if node is ours:
            continue
        if found is None:
            found = dict(left)
        if node is None:
            del found[name]
        else:
            found[name] = node
    return left if found is None else found


def _subtract(ours: FieldSet, theirs: FieldSet) -> FieldSet | None:
    member = not ours or _SELF in ours
    stays = member and bool(theirs) and _SELF not in theirs
    children = difference(ours, theirs)
    if stays == member and children is ours:
        return ours
    if _SELF in children:
        children = {name: node for name, node in children.items() if name != _SELF}
    return _node(stays, children)


def recursive_difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """What is in the left one and neither in the right one nor below a member of it."""
    if not left or not right:
        return left
    found: FieldSet | None = None
    for name, theirs in right.items():
        ours = left.get(name)
        if ours is None or name == _SELF:
            continue
        node: FieldSet | None = None
        if theirs and _SELF not in theirs:
            children = recursive_difference(ours, theirs)
            if children is ours:
                continue
            if children.keys() == {_SELF}:
                node = LEAF
            else:
                node = children or None
        if found is None:
            found = dict(left)
        if node is None:
            del found[name]
        else:
            found[name] = node
    return left if found is None else found


def leaves(fields: FieldSet) -> FieldSet:
    """The members that have no members below them."""
    return {name: leaves(node) for name, node in fields.items() if name != _SELF}


def has(fields: FieldSet, path: Path) -> bool:
    """Whether the path is a member."""
    if not path:
        return False
    node: FieldSet | None = fields
    for element in path:
        node = cast("FieldSet | None", node.get(element)) if node is not None else None
    return node is not None and (not node or _SELF in node)


def is_member(fields: FieldSet, element: str) -> bool:
    """Whether the element is itself a member of the set."""
    node = fields.get(element)
    return node is not None and (not node or _SELF in node)


def below(fields: FieldSet, element: str) -> FieldSet:
    """The set of what is below an element."""
    node = cast("FieldSet", fields.get(element) or EMPTY)
    if _SELF in node:
        return {name: child for name, child in node.items() if name != _SELF}
    return node


def paths(fields: FieldSet) -> Iterator[Path]:
    """The members, parents first and, at each level, members before what is below them."""
    return _walk(fields, ())


def _walk(fields: FieldSet, prefix: Path) -> Iterator[Path]:
    # Stored sets may have been sorted as text by an encoder.
    names = in_order(name for name in fields if name != _SELF)
    for name in names:
        if not fields[name] or _SELF in fields[name]:
            yield (*prefix, name)
    for name in names:
        yield from _walk(fields[name], (*prefix, name))


# -- filters -------------------------------------------------------------------------------------


def excluding(fields: FieldSet) -> Filter:
    """A filter that takes fields, and everything below them, out of a set."""
    return lambda given: recursive_difference(given, fields)


ANY = "*"
"""Any path element, in a pattern of ``including``."""


def including(*patterns: Path) -> Filter:
    """A filter that keeps only what begins with one of the patterns; ``ANY`` stands for all."""

    def keep(fields: FieldSet) -> FieldSet:
        return functools.reduce(union, (_matching(fields, pattern) for pattern in patterns), EMPTY)

    return keep


def _matching(fields: FieldSet, pattern: Path) -> FieldSet:
    if not pattern:
        return fields
    found: FieldSet = {}
    for name, node in fields.items():
        if name == _SELF or pattern[0] not in (ANY, name):
            continue
        member = not node or _SELF in node
        children = _matching(below(fields, name), pattern[1:])
        kept = _node(member, children)
        if kept is not None:
            found[name] = kept
    return found
