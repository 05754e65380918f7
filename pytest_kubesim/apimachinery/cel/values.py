"""Values of CEL as Python has them, and how they are compared, ordered and shown.

======================  ================================================
bool, int, double       ``bool``, ``int``, ``float``
uint                    ``UInt``
string, bytes, null     ``str``, ``bytes``, ``None``
list, map               ``list``, ``dict``
timestamp, duration     ``Timestamp``, ``Duration``
type                    ``types.Type``
optional                ``Optional``
what libraries bring    a subclass of ``Opaque``
======================  ================================================

The law: values are never changed. Lists and maps may be parts of the user's object, shared as they
are.

Follows ``cel-go/common/types``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, cast

import attrs

from pytest_kubesim.apimachinery import golang, timestamps
from pytest_kubesim.apimachinery.cel import types
from pytest_kubesim.apimachinery.cel.errors import CELError
from pytest_kubesim.apimachinery.cel.types import Type

INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1
UINT_MAX = (1 << 64) - 1
SECOND_NS = 1_000_000_000
_MIN_UNIX, _MAX_UNIX = -62135596800, 253402300799
ZERO_TIME_NS = _MIN_UNIX * SECOND_NS


class UInt(int):
    """An unsigned integer."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{int(self)}u"


class Opaque:
    """A value that a library brings. Subclasses say their type, and may say how they compare."""

    __slots__ = ()
    cel_type: ClassVar[Type]

    def equals(self, other: Any) -> bool:
        """Whether CEL holds it equal to another value."""
        return self is other or bool(self == other)


@attrs.frozen
class Timestamp:
    """A point in time: nanoseconds since 1970, and the zone in which it was written."""

    time_ns: int
    offset_seconds: int = attrs.field(default=0, eq=False)

    def __str__(self) -> str:
        return rfc3339_nano(self)


@attrs.frozen
class Duration:
    """A length of time in nanoseconds."""

    duration_ns: int

    def __str__(self) -> str:
        return duration_text(self)


_NOTHING: Any = object()


class Optional:
    """A value, or none."""

    __slots__ = ("_value",)

    def __init__(self, value: Any = _NOTHING) -> None:
        self._value = value

    @property
    def has_value(self) -> bool:
        """Whether there is a value."""
        return self._value is not _NOTHING

    @property
    def value(self) -> Any:
        """The value. Raises ``CELError`` if there is none."""
        if self._value is _NOTHING:
            raise CELError("optional.none() dereference")
        return self._value


NONE = Optional()


@attrs.frozen
class ErrorValue:
    """Data that does not fit its schema; reading it is an error."""

    message: str


class SetList(list[Any]):
    """A list whose order does not matter, and which holds nothing twice."""

    __slots__ = ()


class MapList(list[Any]):
    """A list whose items are named by their keys."""

    __slots__ = ("keys",)
    keys: tuple[str, ...]

    @classmethod
    def of(cls, items: Iterable[Any], keys: tuple[str, ...]) -> MapList:
        """The items as a list with those keys."""
        made = cls(items)
        made.keys = keys
        return made

    def key_of(self, item: Any) -> Any:
        """What names an item."""
        if not isinstance(item, dict):
            return repr(item)
        fields = cast("dict[str, Any]", item)
        return tuple((type(v := fields.get(key)).__name__, repr(v)) for key in self.keys)


# -- types at run time -----------------------------------------------------------------------------

_TYPES: dict[type[Any], Type] = {
    bool: types.BOOL,
    int: types.INT,
    UInt: types.UINT,
    float: types.DOUBLE,
    str: types.STRING,
    bytes: types.BYTES,
    type(None): types.NULL,
    list: types.LIST,
    SetList: types.LIST,
    MapList: types.LIST,
    dict: types.MAP,
    Timestamp: types.TIMESTAMP,
    Duration: types.DURATION,
    Type: types.TYPE,
}
_OPTIONAL = types.optional(types.DYN)


def kind_of(value: Any) -> type[Any]:
    """The Python class of a value."""
    return cast("type[Any]", type(value))


def type_of(value: Any) -> Type:
    """The type of a value at run time; what lists and maps hold is not told."""
    found = _TYPES.get(kind_of(value))
    if found is not None:
        return found
    if isinstance(value, Opaque):
        return value.cel_type
    if isinstance(value, Optional):
        return _OPTIONAL
    return types.MAP if isinstance(value, Mapping) else types.DYN


def type_name(value: Any) -> str:
    """The name of a value's type, as runtime errors show it."""
    return type_of(value).name


# -- equality --------------------------------------------------------------------------------------


def equal(left: Any, right: Any) -> bool:
    """CEL's ``==``: numbers are equal across their types, all else only within its own."""
    kind = kind_of(left)
    other = kind_of(right)
    if kind is other and kind in _PLAIN:
        return bool(left == right)
    if kind is bool or other is bool:
        return left is right
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        mixed = isinstance(left, float) or isinstance(right, float)
        return float(left) == float(right) if mixed else left == right
    if isinstance(left, list) and isinstance(right, list):
        return _equal_lists(cast("list[Any]", left), cast("list[Any]", right))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return _equal_maps(cast("Mapping[Any, Any]", left), cast("Mapping[Any, Any]", right))
    if isinstance(left, Opaque):
        return kind is other and left.equals(right)
    if isinstance(left, Optional) and isinstance(right, Optional):
        if left.has_value and right.has_value:
            return equal(left.value, right.value)
        return left.has_value == right.has_value
    if isinstance(left, Type) and isinstance(right, Type):
        return left.kind == right.kind and left.name == right.name
    return kind is other and bool(left == right)


_PLAIN = frozenset({str, int, float, bytes, type(None), Timestamp, Duration})


def _equal_lists(left: list[Any], right: list[Any]) -> bool:
    if len(left) != len(right):
        return False
    if isinstance(left, SetList):
        keys = {key(item) for item in left}
        return keys == {key(item) for item in right}
    if isinstance(left, MapList):
        items = {left.key_of(item): item for item in left}
        return all(
            (k := left.key_of(item)) in items and equal(items[k], item) for item in right
        ) and len({left.key_of(item) for item in right}) == len(items)
    return all(equal(a, b) for a, b in zip(left, right, strict=True))


def _equal_maps(left: Mapping[Any, Any], right: Mapping[Any, Any]) -> bool:
    if len(left) != len(right):
        return False
    for name, value in left.items():
        found = find(right, name)
        if found is _NOTHING or not equal(value, found):
            return False
    return True


def key(value: Any) -> Any:
    """A hashable stand-in for a value, equal for equal values."""
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, (int, float)):
        return "number", value
    if isinstance(value, list):
        return "list", tuple(map(key, cast("list[Any]", value)))
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value)
        return "map", frozenset((key(k), key(v)) for k, v in entries.items())
    return type(value).__name__, value


def is_missing(value: Any) -> bool:
    """Whether ``find`` found nothing."""
    return value is _NOTHING


def find(mapping: Mapping[Any, Any], name: Any) -> Any:
    """The value of a map's key, or what ``is_missing`` recognises.

    Numbers are found across their types; ``True`` is not 1, as it is in Python.
    """
    if type(name) is str:
        return mapping.get(name, _NOTHING)
    if isinstance(name, float) and not name.is_integer():
        return _NOTHING
    try:
        found = mapping.get(name, _NOTHING)
    except TypeError:
        return _NOTHING
    if found is _NOTHING or not isinstance(name, (int, float)):
        return found
    # A bool and a number share a hash in Python.
    for existing in mapping:
        if existing == name and isinstance(existing, bool) == isinstance(name, bool):
            return mapping[existing]
    return _NOTHING


def contains(items: Iterable[Any], value: Any) -> bool:
    """CEL's ``in`` for lists."""
    if type(value) is str:
        return any(item == value for item in items if type(item) is str)
    return any(equal(item, value) for item in items)


# -- order -----------------------------------------------------------------------------------------


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1. Raises ``CELError`` for values that have no order."""
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        if isinstance(left, bool) != isinstance(right, bool):
            raise CELError("no such overload")
        return _compare_numbers(left, right)
    if type(left) is type(right):
        if isinstance(left, (str, bytes)):
            return _sign(left, right)
        if isinstance(left, Timestamp):
            return _sign(left.time_ns, right.time_ns)
        if isinstance(left, Duration):
            return _sign(left.duration_ns, right.duration_ns)
    raise CELError("no such overload")


def _compare_numbers(left: float, right: float) -> int:
    if left != left or right != right:  # noqa: PLR0124 -- NaN is not itself
        raise CELError("NaN values cannot be ordered")
    if isinstance(left, float) or isinstance(right, float):
        # Go compares them as doubles, digits lost or not.
        return _sign(float(left), float(right))
    return _sign(left, right)


def _sign(left: Any, right: Any) -> int:
    return (left > right) - (left < right)


# -- text ------------------------------------------------------------------------------------------


def rfc3339_nano(timestamp: Timestamp) -> str:
    """A timestamp as ``time.RFC3339Nano`` writes it, in its own zone."""
    shifted = timestamp.time_ns + timestamp.offset_seconds * SECOND_NS
    seconds, nanos = divmod(shifted, SECOND_NS)
    text = timestamps.format_time(seconds * SECOND_NS).removesuffix("Z")
    if nanos:
        text += f".{nanos:09d}".rstrip("0")
    minutes = abs(timestamp.offset_seconds) // 60
    if not minutes:
        return text + "Z"
    sign = "-" if timestamp.offset_seconds < 0 else "+"
    return f"{text}{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def duration_text(duration: Duration) -> str:
    """A duration in seconds: ``90s``, ``0.5s``."""
    seconds = duration.duration_ns / SECOND_NS
    text = f"{seconds:.9f}".rstrip("0").rstrip(".") if seconds % 1 else str(int(seconds))
    return f"{text}s"


def parse_timestamp(text: str) -> Timestamp:
    """A timestamp of RFC 3339. Raises ``ValueError``."""
    time_ns = timestamps.parse_time(text)
    offset = 0
    if text[-1:] not in ("Z", "z") and len(text) > 6:
        sign, hours, minutes = text[-6], text[-5:-3], text[-2:]
        offset = (int(hours) * 60 + int(minutes)) * 60 * (-1 if sign == "-" else 1)
    fraction = text[19:].partition("+")[0].partition("-")[0].rstrip("Zz")
    if fraction[:1] in (".", ","):
        # Go's parser of times in objects drops what CEL keeps.
        time_ns = time_ns // SECOND_NS * SECOND_NS + int(fraction[1:10].ljust(9, "0"))
    return checked_timestamp(time_ns, offset)


def checked_timestamp(time_ns: int, offset_seconds: int = 0) -> Timestamp:
    """A timestamp in range. Raises ``CELError`` otherwise."""
    if not _MIN_UNIX <= time_ns // SECOND_NS <= _MAX_UNIX:
        raise CELError("timestamp overflow")
    return Timestamp(time_ns, offset_seconds)


def checked_duration(duration_ns: int) -> Duration:
    """A duration in range. Raises ``CELError`` otherwise."""
    if not INT_MIN <= duration_ns <= INT_MAX:
        raise CELError("duration overflow")
    return Duration(duration_ns)


def double_text(value: float) -> str:
    """A double as ``%g`` writes it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return golang.float_text(value)


def format_value(value: Any) -> str:
    """A value as CEL would write it."""
    if isinstance(value, str):
        return golang.quote(value)
    if isinstance(value, bytes):
        return "b" + golang.quote(value.decode("utf-8", "replace"))
    if isinstance(value, Timestamp):
        utc = Timestamp(value.time_ns)
        return f'timestamp("{rfc3339_nano(utc)}")'
    if isinstance(value, Duration):
        return f'duration("{duration_text(value)}")'
    if isinstance(value, list):
        return "[" + ", ".join(map(format_value, cast("list[Any]", value))) + "]"
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value)
        pairs = sorted((format_value(k), format_value(v)) for k, v in entries.items())
        return "{" + ", ".join(f"{k}: {v}" for k, v in pairs) + "}"
    if isinstance(value, Optional):
        return f"optional.of({format_value(value.value)})" if value.has_value else "optional.none()"
    if value is None:
        return "null"
    if isinstance(value, UInt):
        return f"{int(value)}u"
    return show(value)


def show(value: Any) -> str:
    """A value as messages show it with ``%v``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return double_text(value)
    if isinstance(value, (list, Mapping)):
        return format_value(value)
    if value is None:
        return "null"
    if isinstance(value, int):
        return str(int(value))
    return str(value)


def size_of(value: Any) -> int:
    """The size that costs are counted by: 1 for what has none."""
    if isinstance(value, (str, bytes, list, Mapping)):
        return len(cast("Any", value))
    if isinstance(value, Optional) and value.has_value:
        return size_of(value.value)
    size = getattr(value, "cel_size", None)
    return 1 if size is None else int(size)
