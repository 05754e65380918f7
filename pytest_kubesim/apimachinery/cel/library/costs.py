"""What calls cost while they run.

The law: the numbers are upstream's, as a rule that is too dear is refused there as here. A unit is
about the work of one look at a value; walking a text costs a tenth for each character.

Follows ``apiserver/pkg/cel/library/cost.go``, ``cel-go/interpreter/runtimecost.go`` and the cost
trackers of ``cel-go/ext``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from pytest_kubesim.apimachinery.cel import values
from pytest_kubesim.apimachinery.cel.library.texts import NamedFormat

STRING_FACTOR = 0.1
REGEX_FACTOR = 0.25
LIST_COST, MAP_COST, STRUCT_COST = 10, 30, 40
CHECK_COST = 350_000
REQUIREMENTS_PER_CHARACTER = 0.5

_Cost: TypeAlias = Callable[[list[Any], Any], int]
_size = values.size_of


def _walk(factor: float, size: int) -> int:
    return math.ceil(size * factor)


def _constant(cost: int) -> _Cost:
    return lambda _args, _result: cost


def _first(factor: float) -> _Cost:
    return lambda args, _result: _walk(factor, _size(args[0]))


def traversal(value: Any) -> int:
    """The cost of walking through a whole value."""
    if isinstance(value, (str, bytes)):
        length = len(value.encode()) if isinstance(value, str) else len(value)
        return int(length * STRING_FACTOR)
    if isinstance(value, list):
        return sum(map(traversal, cast("list[Any]", value)))
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value)
        return sum(traversal(key) + traversal(item) for key, item in entries.items())
    return 1


def _regex(size: int, pattern_size: int) -> int:
    return math.ceil((1 + size) * STRING_FACTOR) * math.ceil(pattern_size * REGEX_FACTOR)


def _selector(args: list[Any], _result: Any) -> int:
    size = _size(args[1])
    requirements = math.ceil(size * REQUIREMENTS_PER_CHARACTER)
    parsing = math.ceil(size * STRING_FACTOR)
    return LIST_COST + parsing + requirements * (LIST_COST + STRUCT_COST)


def _contains_ip(args: list[Any], _result: Any) -> int:
    cost = _walk(STRING_FACTOR, 2 * _size(args[0]))
    if isinstance(args[1], str):
        cost += _walk(STRING_FACTOR, _size(args[1]))
    return cost


def _contains_cidr(args: list[Any], _result: Any) -> int:
    return _contains_ip(args, None) + _walk(STRING_FACTOR, _size(args[0])) + 1


def _validate(args: list[Any], _result: Any) -> int:
    format_ = args[0]
    size = format_.regex_size if isinstance(format_, NamedFormat) else 0
    return _regex(_size(args[1]), size)


def _ip(args: list[Any], _result: Any) -> int:
    return _walk(STRING_FACTOR, _size(args[0])) if isinstance(args[0], str) else 1


def _equality(args: list[Any], _result: Any) -> int:
    return 1 if isinstance(args[0], values.Opaque) else _minimum(args, None)


def _minimum(args: list[Any], _result: Any) -> int:
    return _walk(STRING_FACTOR, min(_size(args[0]), _size(args[1])))


def _addition(args: list[Any], _result: Any) -> int:
    return _walk(STRING_FACTOR, _size(args[0]) + _size(args[1]))


def _second(args: list[Any], _result: Any) -> int:
    return _walk(STRING_FACTOR, _size(args[1]))


def _matches(args: list[Any], _result: Any) -> int:
    return _regex(_size(args[0]), _size(args[1]))


def _contains(args: list[Any], _result: Any) -> int:
    return _walk(STRING_FACTOR, _size(args[0])) * _walk(STRING_FACTOR, _size(args[1]))


def _sets(args: list[Any], _result: Any, factor: int = 1) -> int:
    return 1 + _size(args[0]) * _size(args[1]) * factor


def _allocating(factor: float, size: int) -> int:
    return int(size * max(factor, 0 if factor >= 0 else 1)) + 1 + LIST_COST


def _made_list(_args: list[Any], result: Any) -> int:
    return _allocating(1, _size(result))


def _flatten(args: list[Any], _result: Any) -> int:
    return _allocating(float(args[1]) if len(args) == 2 else 1.0, _size(args[0]))


def _self_compare(items: Any) -> int:
    size = _size(items)
    factor = 2.0
    if isinstance(items, list) and items and isinstance(items[0], (str, bytes)):
        factor += STRING_FACTOR
    return _allocating(factor, size * size)


CONSTANT_COSTS = (
    *("serviceAccount", "path", "group", "resource", "subresource", "namespace", "name"),
    *("allowed", "reason", "error", "errored", "masked", "prefixLength", "family"),
    *("isUnspecified", "isLoopback", "isLinkLocalMulticast", "isLinkLocalUnicast"),
    *("isGlobalUnicast", "format.named", "sign", "asInteger", "isInteger"),
    *("asApproximateFloat", "isGreaterThan", "isLessThan", "compareTo", "add", "sub", "major"),
    *("minor", "patch", "getScheme", "getHost", "getHostname", "getPort", "getEscapedPath"),
    "getQuery",
)
"""Functions that cost one."""
_FIRST_WALKED = (
    *("url", "lowerAscii", "upperAscii", "substring", "trim", "jsonpatch.escapeKey", "cidr"),
    *("isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"),
)
_FIRST_WALKED_TWICE = ("replace", "split", "ip.isCanonical")
_TRAVERSED = ("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf", "includes")
_TEXT_TYPES = ("string", "bytes")
_RELATIONS = ("less", "less_equals", "greater", "greater_equals")
ELEMENT_TYPES = (
    *("int", "uint", "double", "bool", "google.protobuf.Duration"),
    *("google.protobuf.Timestamp", "string", "bytes"),
)
"""The types that can be sorted, by the names that overloads have."""

_BY_FUNCTION: dict[str, _Cost] = {
    **{name: _constant(1) for name in CONSTANT_COSTS},
    "check": _constant(CHECK_COST),
    "fieldSelector": _selector,
    "labelSelector": _selector,
    **dict.fromkeys(_TRAVERSED, lambda args, _result: traversal(args[0])),
    **dict.fromkeys(_FIRST_WALKED, _first(STRING_FACTOR)),
    **dict.fromkeys(_FIRST_WALKED_TWICE, _first(2 * STRING_FACTOR)),
    "join": lambda _args, result: _walk(2 * STRING_FACTOR, _size(result)),
    "find": _matches,
    "findAll": _matches,
    "ip": _ip,
    "containsIP": _contains_ip,
    "containsCIDR": _contains_cidr,
    "validate": _validate,
}
_BY_OVERLOAD: dict[str, _Cost] = {
    "equals": _equality,
    "not_equals": _minimum,
    **{f"{relation}_{kind}": _minimum for relation in _RELATIONS for kind in _TEXT_TYPES},
    "add_string": _addition,
    "add_bytes": _addition,
    "starts_with_string": _second,
    "ends_with_string": _second,
    "contains_string": _contains,
    "matches": _matches,
    "matches_string": _matches,
    "string_to_bytes": _first(STRING_FACTOR),
    "bytes_to_string": _first(STRING_FACTOR),
    "string_format": _first(STRING_FACTOR),
    "strings_quote": _first(STRING_FACTOR),
    "in_list": lambda args, _result: _size(args[1]),
    "list_sets_contains_list": _sets,
    "list_sets_intersects_list": _sets,
    "list_sets_equivalent_list": lambda args, result: _sets(args, result, 2),
    **dict.fromkeys(("list_slice", "lists_range", "list_reverse"), _made_list),
    "list_flatten": _flatten,
    "list_flatten_int": _flatten,
    "list_distinct": lambda args, _result: _self_compare(args[0]),
    **{f"list_{name}_sort": lambda args, _result: _self_compare(args[0]) for name in ELEMENT_TYPES},
    **{
        f"list_{name}_sortByAssociatedKeys": lambda args, _result: _self_compare(args[1])
        for name in ELEMENT_TYPES
    },
}
"""What is told by the overload, and costs one where it is known only at run time."""


class _Runtime:
    """What calls cost while they run, by Kubernetes' estimates."""

    def of_call(self, function: str, overload: str, args: list[Any], result: Any) -> int:
        """What one call cost."""
        cost = _BY_OVERLOAD.get(overload) or _BY_FUNCTION.get(function)
        return 1 if cost is None else cost(args, result)


RUNTIME = _Runtime()
