"""How Go prints values: the texts of Kubernetes' errors are made of these.

``%q`` of a string, ``%v`` of a number, ``%#v`` of a list of strings, ``json.Marshal`` with its
sorted maps and escaped angle brackets. Pure functions from a value to its text.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, cast

_SIMPLE_ESCAPES = {
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
_JSON_ESCAPES = {
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\\": "\\\\",
    '"': '\\"',
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
    **{chr(code): f"\\u{code:04x}" for code in range(0x20) if chr(code) not in "\b\f\n\r\t"},
}
_JSON_TABLE = str.maketrans(_JSON_ESCAPES)


def is_print(character: str) -> bool:
    """``unicode.IsPrint``: letters, marks, numbers, punctuation, symbols and the ASCII space."""
    return character == " " or unicodedata.category(character)[0] in "LMNPS"


def quote(text: str) -> str:
    """``strconv.Quote``, which ``%q`` prints."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(map(_quoted, text)) + '"'


def _quoted(character: str) -> str:
    if (simple := _SIMPLE_ESCAPES.get(character)) is not None:
        return simple
    if is_print(character):
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def strings(values: Iterable[str]) -> str:
    """``%#v`` of a ``[]string``: ``[]string{"a", "b"}``."""
    return "[]string{" + ", ".join(map(quote, values)) + "}"


def bracketed(values: Iterable[object]) -> str:
    """``%v`` of a slice: its elements between brackets, apart by single spaces."""
    return "[" + " ".join(plain(value) for value in values) + "]"


def plain(value: object) -> str:
    """``%v`` of a JSON value: bare strings, ``map[a:1 b:2]`` with sorted keys, ``<nil>``."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, object]", value)
        return "map[" + " ".join(f"{k}:{plain(entries[k])}" for k in sorted(entries)) + "]"
    if isinstance(value, (list, tuple)):
        return bracketed(cast("Iterable[object]", value))
    return str(value)


_TYPE_NAMES: dict[type, str] = {
    dict: "map[string]interface {}",
    list: "[]interface {}",
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
    type(None): "<nil>",
}


def type_name(value: object) -> str:
    """``%T`` of a value that Go's JSON decoder made for an ``interface{}``."""
    found = _TYPE_NAMES.get(type(value))
    if found is not None:
        return found
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    return "map[string]interface {}" if isinstance(value, Mapping) else "[]interface {}"


def float_text(value: float) -> str:
    """``%v`` of a ``float64``: the shortest digits, with an exponent below -4 and from 6 on."""
    return _float(value, lowest=-4, highest=6, pad=True)


def _float(value: float, *, lowest: int, highest: int, pad: bool) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    mantissa, _, exponent_text = f"{value!r}e0".partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    exponent = int(exponent_text.partition("e")[0] or 0)
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + exponent - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if not digits:
        return f"{sign}0"
    if point - 1 < lowest or point - 1 >= highest:
        tail = f".{digits[1:]}" if len(digits) > 1 else ""
        size = f"{abs(point - 1):02d}" if pad or point - 1 >= 0 else f"{abs(point - 1)}"
        return f"{sign}{digits[0]}{tail}e{'-' if point < 1 else '+'}{size}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return sign + digits + "0" * (point - len(digits))
    return f"{sign}{digits[:point]}.{digits[point:]}"


class Number(float):
    """A number that knows how it was written, for whoever has to complain of it."""

    text: str

    def __new__(cls, text: str) -> Number:
        """The number of a JSON text."""
        made = super().__new__(cls, text)
        made.text = text
        return made


def json_kind(value: object) -> str:
    """What Go's JSON decoder calls a value that it cannot take."""
    if value is None:
        return "null"
    name = type_name(value)
    return _JSON_KINDS.get(name, name)


_JSON_KINDS = {
    "[]interface {}": "array",
    "map[string]interface {}": "object",
    "int64": "number",
    "float64": "number",
}


def json_string(text: str) -> str:
    """A string as ``json.Marshal`` writes it: HTML escaped, other letters as they are."""
    return f'"{text.translate(_JSON_TABLE)}"'


def json_text(value: Any, *, sort_keys: bool = True) -> str:
    """``json.Marshal``: no spaces, the keys of maps sorted, HTML escaped.

    ``sort_keys=False`` keeps the order of the dicts, for what is a struct in Go.
    """
    if isinstance(value, str):
        return json_string(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if isinstance(value, Number):
            return value.text
        return _float(value, lowest=-6, highest=21, pad=False)
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, Any]", value)
        keys = sorted(entries) if sort_keys else list(entries)
        pairs = (f"{json_string(k)}:{json_text(entries[k], sort_keys=sort_keys)}" for k in keys)
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        items = cast("Iterable[Any]", value)
        return "[" + ",".join(json_text(item, sort_keys=sort_keys) for item in items) + "]"
    return str(value)


def parse_int(text: str, bits: int = 64, *, function: str = "ParseInt") -> int:
    """``strconv.ParseInt`` in base 10, and ``Atoi`` where ``function`` says so.

    Raises ``ValueError`` with Go's text for what is no number and for what is out of range.
    """
    digits = text[1:] if text[:1] in {"+", "-"} else text
    if not digits or not digits.isascii() or not digits.isdigit():
        raise ValueError(f"strconv.{function}: parsing {quote(text)}: invalid syntax")
    number = int(text)
    if not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
        raise ValueError(f"strconv.{function}: parsing {quote(text)}: value out of range")
    return number


def query_flag(text: str | None) -> bool:
    """A flag of a query, by its first value (None: it has none): anything but `false` and `0`.

    Follows ``Convert_Slice_string_To_bool`` of ``apimachinery/pkg/runtime/conversion.go``.
    """
    return text is not None and text != "0" and text.lower() != "false"


def atoi(text: str) -> int:
    """``strconv.Atoi``; raises ``ValueError`` with Go's text."""
    return parse_int(text, function="Atoi")
