"""Functions on lists: Kubernetes' own, and cel-go's in the version that Kubernetes takes (3).

Follows ``apiserver/pkg/cel/library/lists.go`` and ``cel-go/ext/lists.go``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, cast

from pytest_kubesim.apimachinery.cel import types, values
from pytest_kubesim.apimachinery.cel.environment import (
    Function,
    Overload,
    function,
    method,
    overload,
)
from pytest_kubesim.apimachinery.cel.errors import CELError
from pytest_kubesim.apimachinery.cel.library import standard
from pytest_kubesim.apimachinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
)
from pytest_kubesim.apimachinery.cel.values import Duration, UInt

_MAX_RANGE = 1_000_000
_A = types.param("A")
_T = types.param("T")
_LIST = types.list_of(_T)
COMPARABLE = {
    "int": INT,
    "uint": UINT,
    "double": DOUBLE,
    "bool": BOOL,
    "duration": DURATION,
    "timestamp": TIMESTAMP,
    "string": STRING,
    "bytes": BYTES,
}
"""The types that have an order, by the names that overloads have."""
_ZEROS: dict[str, Any] = {"int": 0, "uint": UInt(0), "double": 0.0, "duration": Duration(0)}


def _compare(left: Any, right: Any) -> int:
    try:
        return values.compare(left, right)
    except CELError:
        # What has no order, as NaN, is no less than anything.
        return 0


def _is_sorted(items: list[Any]) -> bool:
    return all(_compare(a, b) <= 0 for a, b in itertools.pairwise(items))


def _sum(name: str) -> Callable[[list[Any]], Any]:
    zero = _ZEROS[name]
    return lambda items: functools.reduce(standard.add, items, zero)


def _extreme(name: str, sign: int) -> Callable[[list[Any]], Any]:
    def found(items: list[Any]) -> Any:
        if not items:
            raise CELError(f"{name} called on empty list")
        best = items[0]
        for item in items[1:]:
            if _compare(best, item) == -sign:
                best = item
        return best

    return found


def _index_of(items: list[Any], wanted: Any) -> int:
    return next((at for at, item in enumerate(items) if values.equal(item, wanted)), -1)


def _last_index_of(items: list[Any], wanted: Any) -> int:
    places = range(len(items) - 1, -1, -1)
    return next((at for at in places if values.equal(items[at], wanted)), -1)


def _includes(holder: Any, wanted: Any) -> bool:
    if isinstance(holder, list):
        return values.contains(cast("list[Any]", holder), wanted)
    return values.equal(holder, wanted)


def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    where = f"cannot slice({start}, {end})"
    if start < 0 or end < 0:
        raise CELError(f"{where}, negative indexes not supported")
    if start > end:
        raise CELError(f"{where}, start index must be less than or equal to end index")
    if len(items) < end:
        raise CELError(f"{where}, list is length {len(items)}")
    return list(items[start:end])


def _flatten(holder: Any, *depth: Any) -> list[Any]:
    if not isinstance(holder, list) or any(type(levels) is not int for levels in depth):
        receiver = types.format_type(values.type_of(holder))
        shown = ", ".join(map(values.type_name, depth))
        raise CELError(f"no such overload: {receiver}.flatten({shown})")
    return _flat(cast("list[Any]", holder), *depth)


def _flat(items: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise CELError("level must be non-negative")
    found: list[Any] = []
    for item in items:
        if isinstance(item, list) and depth:
            found += _flat(cast("list[Any]", item), depth - 1)
        else:
            found.append(item)
    return found


def _range(count: int) -> list[int]:
    if count < 0:
        raise CELError(f"lists.range: size must be non-negative, got {count}")
    if count > _MAX_RANGE:
        raise CELError(f"lists.range: size {count} exceeds maximum allowed ({_MAX_RANGE})")
    return list(range(count))


def _reverse(items: list[Any]) -> list[Any]:
    return list(reversed(items))


def _distinct(items: list[Any]) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if not values.contains(found, item):
            found.append(item)
    return found


def _sort(items: Any) -> list[Any]:
    if not isinstance(items, list):
        raise CELError("no such overload: sort")
    found = cast("list[Any]", items)
    return _sort_by(found, found)


def _sort_by(items: list[Any], keys: list[Any]) -> list[Any]:
    if not items:
        return items
    first = values.type_of(keys[0])
    if first.kind not in (
        "bool",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "timestamp",
        "duration",
    ):
        raise CELError("list elements must be comparable")
    if len(items) > 1 and any(values.type_of(key) != first for key in keys):
        raise CELError("list elements must have the same type")
    by_key = functools.cmp_to_key(_compare)
    order = sorted(range(len(items)), key=lambda at: by_key(keys[at]))
    return [items[at] for at in order]


def _each(
    make: Callable[[str, Type], Overload], names: dict[str, Type] | None = None
) -> list[Overload]:
    return [make(name, type_) for name, type_ in (names or COMPARABLE).items()]


_SUMMABLE = {name: COMPARABLE[name] for name in _ZEROS}

KUBERNETES: tuple[Function, ...] = (
    function(
        "isSorted",
        *_each(
            lambda name, t: method(
                f"list_{name}_is_sorted_bool", (types.list_of(t),), BOOL, _is_sorted
            )
        ),
    ),
    function(
        "sum",
        *_each(
            lambda name, t: method(f"list_{name}_sum_{name}", (types.list_of(t),), t, _sum(name)),
            _SUMMABLE,
        ),
    ),
    function(
        "max",
        *_each(
            lambda name, t: method(
                f"list_{name}_max_{name}", (types.list_of(t),), t, _extreme("max", 1)
            )
        ),
    ),
    function(
        "min",
        *_each(
            lambda name, t: method(
                f"list_{name}_min_{name}", (types.list_of(t),), t, _extreme("min", -1)
            )
        ),
    ),
    function("indexOf", method("list_a_index_of_int", (types.list_of(_A), _A), INT, _index_of)),
    function(
        "lastIndexOf",
        method("list_a_last_index_of_int", (types.list_of(_A), _A), INT, _last_index_of),
    ),
)
INCLUDES = function("includes", method("list_includes_dyn_dyn", (DYN, DYN), BOOL, _includes))
"""Only expressions that are stored may use it."""

CEL_GO: tuple[Function, ...] = (
    function("slice", method("list_slice", (_LIST, INT, INT), _LIST, _slice)),
    function(
        "flatten",
        method("list_flatten", (types.list_of(_LIST),), _LIST, _flatten),
        method("list_flatten_int", (types.LIST, INT), types.LIST, _flatten),
    ),
    function(
        "sort",
        *_each(
            lambda _, t: method(f"list_{t.name}_sort", (types.list_of(t),), types.list_of(t), _sort)
        ),
    ),
    function(
        "@sortByAssociatedKeys",
        *_each(
            lambda _, t: method(
                f"list_{t.name}_sortByAssociatedKeys", (_LIST, types.list_of(t)), _LIST, _sort_by
            )
        ),
    ),
    function("lists.range", overload("lists_range", (INT,), types.list_of(INT), _range)),
    function("reverse", method("list_reverse", (_LIST,), _LIST, _reverse)),
    function("distinct", method("list_distinct", (_LIST,), _LIST, _distinct)),
)
