"""Lists looked at as sets.

Follows ``cel-go/ext/sets.go``.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery.cel import types, values
from pytest_kubesim.apimachinery.cel.environment import Function, function, overload
from pytest_kubesim.apimachinery.cel.types import BOOL

_LIST = types.list_of(types.param("T"))


def _contains(items: list[Any], wanted: list[Any]) -> bool:
    return all(values.contains(items, item) for item in wanted)


def _equivalent(left: list[Any], right: list[Any]) -> bool:
    return _contains(left, right) and _contains(right, left)


def _intersects(left: list[Any], right: list[Any]) -> bool:
    return any(values.contains(left, item) for item in right)


FUNCTIONS: tuple[Function, ...] = (
    function("sets.contains", overload("list_sets_contains_list", (_LIST, _LIST), BOOL, _contains)),
    function(
        "sets.equivalent", overload("list_sets_equivalent_list", (_LIST, _LIST), BOOL, _equivalent)
    ),
    function(
        "sets.intersects", overload("list_sets_intersects_list", (_LIST, _LIST), BOOL, _intersects)
    ),
)
