"""Optional values, and the map that two-variable comprehensions fill.

Follows ``cel-go/cel/library.go`` (``OptionalTypes``) and ``cel-go/ext/comprehensions.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pytest_kubesim.apimachinery.cel import types, values
from pytest_kubesim.apimachinery.cel.environment import Function, function, method, overload
from pytest_kubesim.apimachinery.cel.errors import CELError
from pytest_kubesim.apimachinery.cel.types import BOOL, DYN, INT, STRING
from pytest_kubesim.apimachinery.cel.values import NONE, Optional

_V = types.param("V")
_K = types.param("K")
_OPTIONAL = types.optional(_V)
_LIST = types.list_of(_V)
_MAP = types.map_of(_K, _V)


def _of_nonzero(value: Any) -> Optional:
    return NONE if _is_zero(value) else Optional(value)


def _is_zero(value: Any) -> bool:
    if isinstance(value, values.Duration):
        return value.duration_ns == 0
    if isinstance(value, values.Timestamp):
        return value.time_ns == values.ZERO_TIME_NS
    if isinstance(value, (values.Opaque, types.Type)):
        return False
    if isinstance(value, Optional):
        return not value.has_value or _is_zero(value.value)
    return not value


def _unwrap(items: list[Any]) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if not isinstance(item, Optional):
            raise CELError(f"value {values.show(item)} is not optional")
        if item.has_value:
            found.append(item.value)
    return found


def _never(*_: Any) -> Any:
    raise AssertionError("evaluated by the planner")


def _insert(entries: Mapping[Any, Any], *added: Any) -> dict[Any, Any]:
    """The map with one more entry, or with those of another map."""
    made = dict(entries)
    new = cast("Mapping[Any, Any]", {added[0]: added[1]} if len(added) == 2 else added[0])
    for key, value in new.items():
        if not values.is_missing(values.find(made, key)):
            raise CELError(f"insert failed: key {values.show(key)} already exists")
        made[key] = value
    return made


FUNCTIONS: tuple[Function, ...] = (
    function("optional.of", overload("optional_of", (_V,), _OPTIONAL, Optional)),
    function(
        "optional.ofNonZeroValue",
        overload("optional_ofNonZeroValue", (_V,), _OPTIONAL, _of_nonzero),
    ),
    function("optional.none", overload("optional_none", (), _OPTIONAL, lambda: NONE)),
    function("value", method("optional_value", (_OPTIONAL,), _V, lambda held: held.value)),
    function("hasValue", method("optional_hasValue", (_OPTIONAL,), BOOL, lambda h: h.has_value)),
    function("or", method("optional_or_optional", (_OPTIONAL, _OPTIONAL), _OPTIONAL, _never)),
    function("orValue", method("optional_orValue_value", (_OPTIONAL, _V), _V, _never)),
    function("_?._", overload("select_optional_field", (DYN, STRING), _OPTIONAL, _never)),
    function(
        "_[?_]",
        overload("list_optindex_optional_int", (_LIST, INT), _OPTIONAL, _never),
        overload(
            "optional_list_optindex_optional_int", (types.optional(_LIST), INT), _OPTIONAL, _never
        ),
        overload("map_optindex_optional_value", (_MAP, _K), _OPTIONAL, _never),
        overload(
            "optional_map_optindex_optional_value", (types.optional(_MAP), _K), _OPTIONAL, _never
        ),
    ),
    function(
        "_[_]",
        overload("optional_list_index_int", (types.optional(_LIST), INT), _OPTIONAL, _never),
        overload("optional_map_index_value", (types.optional(_MAP), _K), _OPTIONAL, _never),
    ),
    function(
        "last",
        method(
            "list_last", (_LIST,), _OPTIONAL, lambda items: Optional(items[-1]) if items else NONE
        ),
    ),
    function(
        "first",
        method(
            "list_first", (_LIST,), _OPTIONAL, lambda items: Optional(items[0]) if items else NONE
        ),
    ),
    function(
        "optional.unwrap",
        overload("optional_unwrap", (types.list_of(_OPTIONAL),), _LIST, _unwrap),
    ),
    function(
        "unwrapOpt", method("optional_unwrapOpt", (types.list_of(_OPTIONAL),), _LIST, _unwrap)
    ),
    function(
        "cel.@mapInsert",
        overload("@mapInsert_map_key_value", (_MAP, _K, _V), _MAP, _insert),
        overload("@mapInsert_map_map", (_MAP, _MAP), _MAP, _insert),
    ),
)
