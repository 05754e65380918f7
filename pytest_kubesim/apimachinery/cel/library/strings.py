"""cel-go's functions on strings, in the version that Kubernetes takes (2).

The law: positions count characters. What ``format`` does is in ``formatting``.

Follows ``cel-go/ext/strings.go``.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery.cel import types, values
from pytest_kubesim.apimachinery.cel.environment import Function, function, method, overload
from pytest_kubesim.apimachinery.cel.errors import CELError
from pytest_kubesim.apimachinery.cel.library import formatting
from pytest_kubesim.apimachinery.cel.types import INT, STRING

_STRINGS = types.list_of(STRING)
_SPACE = (
    " \t\n\v\f\r\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code + 32: code for code in range(ord("A"), ord("Z") + 1)}
_ESCAPES = str.maketrans(
    {
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\v": "\\v",
        "\\": "\\\\",
        '"': '\\"',
    }
)


def _out_of_range(position: int) -> CELError:
    return CELError(f"index out of range: {position}")


def _char_at(text: str, position: int) -> str:
    if not 0 <= position <= len(text):
        raise _out_of_range(position)
    return text[position : position + 1]


def _index_of(text: str, part: str, offset: int = 0) -> int:
    if offset < 0:
        raise _out_of_range(offset)
    if not part:
        return min(offset, len(text))
    return text.find(part, offset)


def _last_index_of(text: str, part: str, offset: int | None = None) -> int:
    if not part:
        if offset is not None and offset < 0:
            raise _out_of_range(offset)
        return len(text) if offset is None else min(offset, len(text))
    if offset is None:
        if len(text.encode()) < len(part.encode()):
            return -1
        offset = len(text) - 1
    if offset < 0:
        raise _out_of_range(offset)
    if offset >= len(text):
        return -1
    return text.rfind(part, 0, offset + len(part))


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, count)


def _split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if separator:
        return text.split(separator, count - 1 if count > 0 else -1)
    if count < 0 or count >= len(text):
        return list(text)
    return [*text[: count - 1], text[count - 1 :]]


def _substring(text: str, start: int, end: int | None = None) -> str:
    if end is not None and start > end:
        raise CELError(f"invalid substring range. start: {start}, end: {end}")
    for position in (start,) if end is None else (start, end):
        if not 0 <= position <= len(text):
            raise _out_of_range(position)
    return text[start:end]


def _join(items: list[Any], separator: str = "") -> str:
    for item in items:
        if not isinstance(item, str):
            raise CELError(f"join: invalid input: {values.show(item)}")
    return separator.join(items)


def _trim(text: str) -> str:
    return text.strip(_SPACE)


def _lower(text: str) -> str:
    return text.translate(_LOWER)


def _upper(text: str) -> str:
    return text.translate(_UPPER)


def _quote(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'


FUNCTIONS: tuple[Function, ...] = (
    function("charAt", method("string_char_at_int", (STRING, INT), STRING, _char_at)),
    function(
        "indexOf",
        method("string_index_of_string", (STRING, STRING), INT, _index_of),
        method("string_index_of_string_int", (STRING, STRING, INT), INT, _index_of),
    ),
    function(
        "lastIndexOf",
        method("string_last_index_of_string", (STRING, STRING), INT, _last_index_of),
        method("string_last_index_of_string_int", (STRING, STRING, INT), INT, _last_index_of),
    ),
    function("lowerAscii", method("string_lower_ascii", (STRING,), STRING, _lower)),
    function(
        "replace",
        method("string_replace_string_string", (STRING, STRING, STRING), STRING, _replace),
        method("string_replace_string_string_int", (STRING, STRING, STRING, INT), STRING, _replace),
    ),
    function(
        "split",
        method("string_split_string", (STRING, STRING), _STRINGS, _split),
        method("string_split_string_int", (STRING, STRING, INT), _STRINGS, _split),
    ),
    function(
        "substring",
        method("string_substring_int", (STRING, INT), STRING, _substring),
        method("string_substring_int_int", (STRING, INT, INT), STRING, _substring),
    ),
    function("trim", method("string_trim", (STRING,), STRING, _trim)),
    function("upperAscii", method("string_upper_ascii", (STRING,), STRING, _upper)),
    function(
        "format", method("string_format", (STRING, types.LIST), STRING, formatting.format_string)
    ),
    function("strings.quote", overload("strings_quote", (STRING,), STRING, _quote)),
    function(
        "join",
        method("list_join", (_STRINGS,), STRING, _join),
        method("list_join_string", (_STRINGS, STRING), STRING, _join),
    ),
)
