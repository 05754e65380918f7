"""Operators, and the functions of CEL that look at values without converting them.

The law: integers are of 64 bits and overflow is an error; operators on values they are not made for
say ``no such overload``.

Follows ``cel-go/common/stdlib/standard.go``, ``common/types`` and ``common/overloads``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from pytest_kubesim.apimachinery import go_regexp
from pytest_kubesim.apimachinery.cel import types, values
from pytest_kubesim.apimachinery.cel.environment import (
    Function,
    Overload,
    function,
    method,
    overload,
)
from pytest_kubesim.apimachinery.cel.errors import CELError
from pytest_kubesim.apimachinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
)
from pytest_kubesim.apimachinery.cel.values import (
    INT_MAX,
    INT_MIN,
    UINT_MAX,
    Duration,
    MapList,
    SetList,
    Timestamp,
    UInt,
)

_A = types.param("A")
_B = types.param("B")
_LIST = types.list_of(_A)
_MAP = types.map_of(_A, _B)

NO_OVERLOAD = "no such overload"


def integer(value: int) -> int:
    """A signed integer in range. Raises ``CELError``."""
    if not INT_MIN <= value <= INT_MAX:
        raise CELError("integer overflow")
    return value


def unsigned(value: int) -> UInt:
    """An unsigned integer in range. Raises ``CELError``."""
    if not 0 <= value <= UINT_MAX:
        raise CELError("unsigned integer overflow")
    return UInt(value)


# -- arithmetic ------------------------------------------------------------------------------------


def add(left: Any, right: Any) -> Any:
    """``+`` of any two values."""
    kind, other = values.kind_of(left), values.kind_of(right)
    if kind is other and kind in (int, UInt):
        return integer(left + right) if kind is int else unsigned(int(left) + int(right))
    if kind is other and kind in (str, float, bytes):
        return left + right
    if isinstance(left, list) and isinstance(right, list):
        return _concatenated(cast("list[Any]", left), cast("list[Any]", right))
    if isinstance(left, Timestamp) and isinstance(right, Duration):
        moved = left.time_ns + right.duration_ns
        return values.checked_timestamp(moved, left.offset_seconds)
    if isinstance(left, Duration) and isinstance(right, Timestamp):
        moved = right.time_ns + left.duration_ns
        return values.checked_timestamp(moved, right.offset_seconds)
    if isinstance(left, Duration) and isinstance(right, Duration):
        return values.checked_duration(left.duration_ns + right.duration_ns)
    raise _no_operator(left, "_+_")


def _concatenated(left: list[Any], right: list[Any]) -> list[Any]:
    if isinstance(left, SetList):
        merged = SetList(left)
        seen = {values.key(item) for item in left}
        for item in right:
            item_key = values.key(item)
            if item_key not in seen:
                seen.add(item_key)
                merged.append(item)
        return merged
    if isinstance(left, MapList):
        items = list(left)
        places = {left.key_of(item): index for index, item in enumerate(items)}
        for item in right:
            item_key = left.key_of(item)
            if item_key in places:
                items[places[item_key]] = item
            else:
                places[item_key] = len(items)
                items.append(item)
        return MapList.of(items, left.keys)
    return left + right


_OPERANDS: dict[str, tuple[type[Any], ...]] = {
    "_+_": (int, UInt, float, str, bytes, list, SetList, MapList, Timestamp, Duration),
    "_-_": (int, UInt, float, Timestamp, Duration),
    "_*_": (int, UInt, float),
    "_/_": (int, UInt, float),
    "_%_": (int, UInt),
    "-_": (int, float, Duration),
}
"""What operators are made for, if not with any other operand."""


def _no_operator(left: Any, operator: str) -> CELError:
    if values.kind_of(left) in _OPERANDS[operator]:
        return CELError(NO_OVERLOAD)
    return CELError(f"no such overload: {operator}")


def subtract(left: Any, right: Any) -> Any:
    """``-`` of any two values."""
    kind = values.kind_of(left)
    if kind is values.kind_of(right):
        if kind is int:
            return integer(left - right)
        if kind is UInt:
            return unsigned(int(left) - int(right))
        if kind is float:
            return left - right
        if kind is Duration:
            return values.checked_duration(left.duration_ns - right.duration_ns)
        if kind is Timestamp:
            return Duration(integer(left.time_ns - right.time_ns))
    if isinstance(left, Timestamp) and isinstance(right, Duration):
        moved = left.time_ns - right.duration_ns
        return values.checked_timestamp(moved, left.offset_seconds)
    raise _no_operator(left, "_-_")


def multiply(left: Any, right: Any) -> Any:
    """``*`` of any two values."""
    kind = values.kind_of(left)
    if kind is values.kind_of(right):
        if kind is int:
            return integer(left * right)
        if kind is UInt:
            return unsigned(int(left) * int(right))
        if kind is float:
            return left * right
    raise _no_operator(left, "_*_")


def divide(left: Any, right: Any) -> Any:
    """``/`` of any two values; integers are cut towards zero."""
    kind = values.kind_of(left)
    if kind is values.kind_of(right):
        if kind is float:
            return _divide_floats(left, right)
        if kind in (int, UInt):
            if right == 0:
                raise CELError("division by zero")
            quotient = abs(int(left)) // abs(int(right))
            if kind is UInt:
                return UInt(quotient)
            return integer(quotient if (left < 0) == (right < 0) else -quotient)
    raise _no_operator(left, "_/_")


def _divide_floats(left: float, right: float) -> float:
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    negative = (left < 0) != (math.copysign(1, right) < 0)
    return -math.inf if negative else math.inf


def modulo(left: Any, right: Any) -> Any:
    """``%`` of any two values; the sign is the dividend's."""
    kind = values.kind_of(left)
    if kind is values.kind_of(right) and kind in (int, UInt):
        if right == 0:
            raise CELError("modulus by zero")
        rest = abs(int(left)) % abs(int(right))
        return UInt(rest) if kind is UInt else (-rest if left < 0 else rest)
    raise _no_operator(left, "_%_")


def negate(value: Any) -> Any:
    """``-`` before any value."""
    if type(value) is int:
        return integer(-value)
    if type(value) is float:
        return -value
    if isinstance(value, Duration):
        return values.checked_duration(-value.duration_ns)
    raise _no_operator(value, "-_")


def logical_not(value: Any) -> bool:
    """``!`` before any value."""
    if value is True:
        return False
    if value is False:
        return True
    raise CELError(NO_OVERLOAD)


def _order(left: Any, right: Any, operator: str) -> int:
    if not isinstance(left, (bool, int, float, str, bytes, Timestamp, Duration)):
        raise CELError(f"no such overload: {operator}")
    return values.compare(left, right)


def less(left: Any, right: Any) -> bool:
    """``<``."""
    return _order(left, right, "_<_") < 0


def less_equals(left: Any, right: Any) -> bool:
    """``<=``."""
    return _order(left, right, "_<=_") <= 0


def greater(left: Any, right: Any) -> bool:
    """``>``."""
    return _order(left, right, "_>_") > 0


def greater_equals(left: Any, right: Any) -> bool:
    """``>=``."""
    return _order(left, right, "_>=_") >= 0


def not_equal(left: Any, right: Any) -> bool:
    """``!=``."""
    return not values.equal(left, right)


# -- containers and texts --------------------------------------------------------------------------


def size(value: Any) -> int:
    """How many characters, bytes, items or entries there are."""
    if isinstance(value, (str, bytes, list, Mapping)):
        return len(cast("Any", value))
    found = getattr(value, "cel_size", None)
    if found is None:
        raise CELError("no such overload: size")
    return int(found)


def is_in(value: Any, container: Any) -> bool:
    """``in`` for lists and for the keys of maps."""
    if isinstance(container, list):
        return values.contains(cast("list[Any]", container), value)
    if isinstance(container, Mapping):
        return not values.is_missing(values.find(cast("Mapping[Any, Any]", container), value))
    raise CELError(NO_OVERLOAD)


def contains(text: str, part: str) -> bool:
    """Whether a text contains another."""
    return part in text


def starts_with(text: str, prefix: str) -> bool:
    """Whether a text begins with another."""
    return text.startswith(prefix)


def ends_with(text: str, suffix: str) -> bool:
    """Whether a text ends with another."""
    return text.endswith(suffix)


def matches(text: str, pattern: str) -> bool:
    """Whether a pattern matches anywhere in a text."""
    try:
        return go_regexp.matches(pattern, text)
    except go_regexp.RegexpError as problem:
        raise CELError(str(problem)) from problem


def index(container: Any, position: Any) -> Any:
    """``[]`` of any list or map."""
    if isinstance(container, list):
        items = cast("list[Any]", container)
        at = list_index(position)
        if 0 <= at < len(items):
            return items[at]
        raise CELError(f"index out of bounds: {values.show(position)}")
    if isinstance(container, Mapping):
        found = values.find(cast("Mapping[Any, Any]", container), position)
        if values.is_missing(found):
            raise CELError(f"no such key: {values.show(position)}")
        return found
    raise CELError(f"no such key: {values.show(position)}")


def list_index(position: Any) -> int:
    """A position in a list. Raises ``CELError`` for what is no number."""
    if isinstance(position, bool) or not isinstance(position, (int, float)):
        raise CELError(f"unsupported index type '{values.type_name(position)}' in list")
    if position != int(position):
        raise CELError(f"unsupported index value {values.show(position)} in list")
    return int(position)


def _never(*_: Any) -> Any:
    raise AssertionError("evaluated by the planner")


def _relations(name: str, words: str, run: Any) -> Function:
    """The overloads of an order: within each type, and between numbers."""
    kinds = (
        ("bool", BOOL),
        ("int64", INT),
        ("uint64", UINT),
        ("double", DOUBLE),
        ("string", STRING),
        ("bytes", BYTES),
        ("timestamp", TIMESTAMP),
        ("duration", DURATION),
    )
    found: list[Overload] = []
    numbers = ("int64", "uint64", "double")
    for shown, type_ in kinds:
        found.append(overload(f"{words}_{shown}", (type_, type_), BOOL, run))
        if shown in numbers:
            found += [
                overload(f"{words}_{shown}_{other}", (type_, second), BOOL, run)
                for other, second in kinds
                if other in numbers and other != shown
            ]
    return Function(name, tuple(found))


def _arithmetic(name: str, words: str, run: Any, kinds: tuple[Type, ...]) -> Function:
    shown = {
        INT: "int64",
        UINT: "uint64",
        DOUBLE: "double",
        STRING: "string",
        BYTES: "bytes",
    }
    return Function(
        name,
        tuple(overload(f"{words}_{shown[t]}", (t, t), t, run) for t in kinds),
    )


FUNCTIONS: tuple[Function, ...] = (
    function("_?_:_", overload("conditional", (BOOL, _A, _A), _A, _never)),
    function("_&&_", overload("logical_and", (BOOL, BOOL), BOOL, _never)),
    function("_||_", overload("logical_or", (BOOL, BOOL), BOOL, _never)),
    function("!_", overload("logical_not", (BOOL,), BOOL, logical_not)),
    function("@not_strictly_false", overload("not_strictly_false", (BOOL,), BOOL, _never)),
    function("_==_", overload("equals", (_A, _A), BOOL, values.equal)),
    function("_!=_", overload("not_equals", (_A, _A), BOOL, not_equal)),
    function(
        "_+_",
        *_arithmetic("_+_", "add", add, (BYTES, DOUBLE)).overloads,
        overload("add_duration_duration", (DURATION, DURATION), DURATION, add),
        overload("add_duration_timestamp", (DURATION, TIMESTAMP), TIMESTAMP, add),
        overload("add_timestamp_duration", (TIMESTAMP, DURATION), TIMESTAMP, add),
        *_arithmetic("_+_", "add", add, (INT,)).overloads,
        overload("add_list", (_LIST, _LIST), _LIST, add),
        *_arithmetic("_+_", "add", add, (STRING, UINT)).overloads,
    ),
    function(
        "_-_",
        *_arithmetic("_-_", "subtract", subtract, (DOUBLE,)).overloads,
        overload("subtract_duration_duration", (DURATION, DURATION), DURATION, subtract),
        *_arithmetic("_-_", "subtract", subtract, (INT,)).overloads,
        overload("subtract_timestamp_duration", (TIMESTAMP, DURATION), TIMESTAMP, subtract),
        overload("subtract_timestamp_timestamp", (TIMESTAMP, TIMESTAMP), DURATION, subtract),
        *_arithmetic("_-_", "subtract", subtract, (UINT,)).overloads,
    ),
    _arithmetic("_*_", "multiply", multiply, (DOUBLE, INT, UINT)),
    _arithmetic("_/_", "divide", divide, (DOUBLE, INT, UINT)),
    _arithmetic("_%_", "modulo", modulo, (INT, UINT)),
    function(
        "-_",
        overload("negate_double", (DOUBLE,), DOUBLE, negate),
        overload("negate_int64", (INT,), INT, negate),
    ),
    _relations("_<_", "less", less),
    _relations("_<=_", "less_equals", less_equals),
    _relations("_>_", "greater", greater),
    _relations("_>=_", "greater_equals", greater_equals),
    function(
        "_[_]",
        overload("index_list", (_LIST, INT), _A, index),
        overload("index_map", (_MAP, _A), _B, index),
    ),
    function(
        "size",
        overload("size_bytes", (BYTES,), INT, size),
        method("bytes_size", (BYTES,), INT, size),
        overload("size_list", (_LIST,), INT, size),
        method("list_size", (_LIST,), INT, size),
        overload("size_map", (_MAP,), INT, size),
        method("map_size", (_MAP,), INT, size),
        overload("size_string", (STRING,), INT, size),
        method("string_size", (STRING,), INT, size),
    ),
    function(
        "@in",
        overload("in_list", (_A, _LIST), BOOL, is_in),
        overload("in_map", (_A, _MAP), BOOL, is_in),
    ),
    function("contains", method("contains_string", (STRING, STRING), BOOL, contains)),
    function("startsWith", method("starts_with_string", (STRING, STRING), BOOL, starts_with)),
    function("endsWith", method("ends_with_string", (STRING, STRING), BOOL, ends_with)),
    function(
        "matches",
        overload("matches", (STRING, STRING), BOOL, matches),
        method("matches_string", (STRING, STRING), BOOL, matches),
    ),
)
