"""Converting values from one type to another.

Follows ``cel-go/common/stdlib/standard.go`` and the ``ConvertToType`` of ``common/types``.
"""

from __future__ import annotations

import math
import re
from typing import Any

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.apimachinery.cel import types, values
from pytest_kubesim.apimachinery.cel.environment import Function, function, overload
from pytest_kubesim.apimachinery.cel.errors import CELError
from pytest_kubesim.apimachinery.cel.library.standard import integer, unsigned
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
from pytest_kubesim.apimachinery.cel.values import SECOND_NS, Duration, Timestamp, UInt

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9](?:_?[0-9])*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|infinity|nan"
    r"|0[xX][0-9a-fA-F]*\.?[0-9a-fA-F]*[pP][+-]?[0-9]+)",
    re.IGNORECASE,
)


def _failed(value: Any, wanted: Type) -> Exception:
    if value is None:
        # Null where the checker expected a value: no overload takes it.
        return TypeError("null")
    source = values.type_name(value)
    return CELError(f"type conversion error from '{source}' to '{wanted.name}'")


def to_int(value: Any) -> int:
    """``int``: numbers are cut, texts are read, times become seconds."""
    if isinstance(value, bool):
        raise _failed(value, INT)
    if isinstance(value, float):
        if math.isnan(value) or math.isinf(value) or not -(2.0**63) < value < 2.0**63:
            raise CELError("integer overflow")
        return int(value)
    if isinstance(value, int):
        return integer(int(value))
    if isinstance(value, str):
        return _read(value, INT, "[+-]?[0-9]+", lowest=-(1 << 63), highest=(1 << 63) - 1)
    if isinstance(value, Timestamp):
        return value.time_ns // SECOND_NS
    if isinstance(value, Duration):
        return value.duration_ns
    raise _failed(value, INT)


def _read(text: str, wanted: Type, pattern: str, *, lowest: int, highest: int) -> int:
    if not re.fullmatch(pattern, text, re.ASCII) or not lowest <= int(text) <= highest:
        raise _failed(text, wanted)
    return int(text)


def to_uint(value: Any) -> UInt:
    """``uint``."""
    if isinstance(value, bool):
        raise _failed(value, UINT)
    if isinstance(value, float):
        if math.isnan(value) or math.isinf(value) or not 0 <= value < 2.0**64:
            raise CELError("unsigned integer overflow")
        return UInt(int(value))
    if isinstance(value, int):
        return unsigned(int(value))
    if isinstance(value, str):
        return UInt(_read(value, UINT, "[0-9]+", lowest=0, highest=(1 << 64) - 1))
    raise _failed(value, UINT)


def to_double(value: Any) -> float:
    """``double``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        try:
            number = float.fromhex(value) if "x" in value.lower() else float(value)
        except (OverflowError, ValueError):
            raise _failed(value, DOUBLE) from None
        if math.isinf(number) and "inf" not in value.lower():
            raise _failed(value, DOUBLE)
        return number
    raise _failed(value, DOUBLE)


def to_string(value: Any) -> str:
    """``string``."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise CELError("invalid UTF-8 in bytes, cannot convert to string") from None
    if isinstance(value, (bool, int, float)):
        return values.show(value)
    if isinstance(value, Timestamp):
        return values.rfc3339_nano(value)
    if isinstance(value, Duration):
        return values.duration_text(value)
    if isinstance(value, values.Opaque):
        return str(value)
    raise _failed(value, STRING)


def to_bytes(value: Any) -> bytes:
    """``bytes``."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise _failed(value, BYTES)


def to_bool(value: Any) -> bool:
    """``bool``."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
    raise _failed(value, BOOL)


def to_timestamp(value: Any) -> Timestamp:
    """``timestamp``: of a text of RFC 3339, or of seconds since 1970."""
    if isinstance(value, Timestamp):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return values.checked_timestamp(value * SECOND_NS)
    if isinstance(value, str):
        try:
            return values.parse_timestamp(value)
        except ValueError:
            raise _failed(value, TIMESTAMP) from None
    raise _failed(value, TIMESTAMP)


def to_duration(value: Any) -> Duration:
    """``duration``: of a text as Go writes it."""
    if isinstance(value, Duration):
        return value
    if isinstance(value, str):
        try:
            return values.checked_duration(timestamps.parse_duration(value))
        except ValueError:
            raise _failed(value, DURATION) from None
    raise _failed(value, DURATION)


def _same(value: Any) -> Any:
    return value


FUNCTIONS: tuple[Function, ...] = (
    function(
        "int",
        overload("int64_to_int64", (INT,), INT, to_int),
        overload("double_to_int64", (DOUBLE,), INT, to_int),
        overload("duration_to_int64", (DURATION,), INT, to_int),
        overload("string_to_int64", (STRING,), INT, to_int),
        overload("timestamp_to_int64", (TIMESTAMP,), INT, to_int),
        overload("uint64_to_int64", (UINT,), INT, to_int),
    ),
    function(
        "uint",
        overload("uint64_to_uint64", (UINT,), UINT, to_uint),
        overload("double_to_uint64", (DOUBLE,), UINT, to_uint),
        overload("int64_to_uint64", (INT,), UINT, to_uint),
        overload("string_to_uint64", (STRING,), UINT, to_uint),
    ),
    function(
        "double",
        overload("double_to_double", (DOUBLE,), DOUBLE, to_double),
        overload("int64_to_double", (INT,), DOUBLE, to_double),
        overload("string_to_double", (STRING,), DOUBLE, to_double),
        overload("uint64_to_double", (UINT,), DOUBLE, to_double),
    ),
    function(
        "string",
        overload("string_to_string", (STRING,), STRING, to_string),
        overload("bool_to_string", (BOOL,), STRING, to_string),
        overload("bytes_to_string", (BYTES,), STRING, to_string),
        overload("double_to_string", (DOUBLE,), STRING, to_string),
        overload("duration_to_string", (DURATION,), STRING, to_string),
        overload("int64_to_string", (INT,), STRING, to_string),
        overload("timestamp_to_string", (TIMESTAMP,), STRING, to_string),
        overload("uint64_to_string", (UINT,), STRING, to_string),
    ),
    function(
        "bytes",
        overload("bytes_to_bytes", (BYTES,), BYTES, to_bytes),
        overload("string_to_bytes", (STRING,), BYTES, to_bytes),
    ),
    function(
        "bool",
        overload("bool_to_bool", (BOOL,), BOOL, to_bool),
        overload("string_to_bool", (STRING,), BOOL, to_bool),
    ),
    function(
        "timestamp",
        overload("timestamp_to_timestamp", (TIMESTAMP,), TIMESTAMP, to_timestamp),
        overload("int64_to_timestamp", (INT,), TIMESTAMP, to_timestamp),
        overload("string_to_timestamp", (STRING,), TIMESTAMP, to_timestamp),
    ),
    function(
        "duration",
        overload("duration_to_duration", (DURATION,), DURATION, to_duration),
        overload("string_to_duration", (STRING,), DURATION, to_duration),
    ),
    function("dyn", overload("to_dyn", (types.param("A"),), DYN, _same)),
    function(
        "type",
        overload("type", (types.param("A"),), types.type_of(types.param("A")), values.type_of),
    ),
)
