"""What ``"...".format([...])`` makes of its clauses.

The law: numbers with a fraction are written as English readers expect them, in groups of three
digits; all else as CEL would write it.

Follows ``cel-go/ext/formatting.go``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery.cel import values
from pytest_kubesim.apimachinery.cel.errors import CELError
from pytest_kubesim.apimachinery.cel.library import conversions
from pytest_kubesim.apimachinery.cel.types import Type
from pytest_kubesim.apimachinery.cel.values import Duration, Timestamp

_DEFAULT_PRECISION = 6
_SUPERSCRIPTS = str.maketrans("0123456789-+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺")
PROBLEMS = {
    "s": "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, "
    "types, durations, and timestamps, was given ",
    "d": "decimal clause can only be used on integers, was given ",
    "f": "fixed-point clause can only be used on doubles, was given ",
    "e": "scientific clause can only be used on doubles, was given ",
    "b": "only integers and bools can be formatted as binary, was given ",
    "x": "only integers, byte buffers, and strings can be formatted as hex, was given ",
    "o": "octal clause can only be used on integers, was given ",
}
"""What is wrong with the type of an argument, by its clause."""


def clauses(template: str, count: int, *, static: bool = False) -> list[str | tuple[str, int]]:
    """A template cut into texts and clauses, each a letter and a precision (-1: none).

    ``count`` is how many arguments there are; ``static`` is for a look at an expression that does
    not run. Raises ``ValueError``.
    """
    parts: list[str | tuple[str, int]] = []
    at = used = 0
    while at < len(template):
        char = template[at]
        if char != "%":
            parts.append(char)
            at += 1
            continue
        if template[at + 1 : at + 2] == "%":
            parts.append("%")
            at += 2
            continue
        if used >= count and not (static and at + 1 >= len(template)):
            raise ValueError(f"index {used} out of range")
        if at + 1 >= len(template):
            raise ValueError("unexpected end of string")
        try:
            precision, at = _precision(template, at + 1)
            if at >= len(template):
                raise ValueError("unexpected end of string")
            letter = template[at]
            if letter not in "sdfebxXo":
                raise ValueError(f'unrecognized formatting clause "{letter}"')
        except ValueError as problem:
            raise ValueError(f"could not parse formatting clause: {problem}") from None
        parts.append((letter, precision))
        at += 1
        used += 1
    return parts


def _precision(template: str, at: int) -> tuple[int, int]:
    if template[at] != ".":
        return -1, at
    digits = re.compile("[0-9]*").match(template, at + 1)
    end = digits.end() if digits else at + 1
    where = "error while parsing precision: "
    if end >= len(template):
        raise ValueError(f"{where}could not find end of precision specifier")
    text = template[at + 1 : end]
    if not text:
        problem = 'strconv.Atoi: parsing "": invalid syntax'
        raise ValueError(f"{where}error while converting precision to integer: {problem}")
    return int(text), end


def format_string(template: str, args: Sequence[Any]) -> str:
    """The template with its clauses filled in. Raises ``CELError``."""
    try:
        parts = clauses(template, len(args))
    except ValueError as problem:
        raise CELError(str(problem)) from None
    left = iter(args)
    texts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        letter, precision = part
        try:
            texts.append(_clause(letter, precision, next(left)))
        except ValueError as problem:
            raise CELError(f"error during formatting: {problem}") from None
    return "".join(texts)


def _wrong(letter: str, value: Any) -> ValueError:
    return ValueError(PROBLEMS[letter] + values.type_name(value))


def _clause(letter: str, precision: int, value: Any) -> str:
    if letter == "s":
        return _string(value)
    if letter in "fe":
        return _number(letter, precision, value)
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if letter == "d":
        if not is_integer:
            raise _wrong(letter, value)
        return str(int(value))
    if letter == "b":
        if isinstance(value, bool):
            return "1" if value else "0"
        if not is_integer:
            raise _wrong(letter, value)
        return format(int(value), "b")
    if letter == "o":
        if not is_integer:
            raise _wrong(letter, value)
        return format(int(value), "o")
    return _hex(letter, value)


def _hex(letter: str, value: Any) -> str:
    if isinstance(value, (str, bytes)):
        text = (value.encode() if isinstance(value, str) else value).hex()
        return text.upper() if letter == "X" else text
    if isinstance(value, int) and not isinstance(value, bool):
        return format(int(value), letter)
    raise _wrong("x", value)


def _number(letter: str, precision: int, value: Any) -> str:
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        value = float(value.replace("Infinity", "inf"))
    if not isinstance(value, float):
        raise _wrong(letter, value)
    places = _DEFAULT_PRECISION if precision < 0 else precision
    # The precision of this clause is a width, as upstream leaves out the dot.
    width = places if letter == "e" else 0
    if math.isnan(value):
        return "NaN".rjust(width)
    if math.isinf(value):
        return ("∞" if value > 0 else "-∞").rjust(width)
    if letter == "f":
        return f"{value:,.{places}f}"
    mantissa, _, exponent = f"{value:.6e}".partition("e")
    power = f"{int(exponent):+03d}".lstrip("+").translate(_SUPERSCRIPTS)
    return f"{mantissa}\u00d710{power}".rjust(width)


def _string(value: Any) -> str:
    if isinstance(value, Type):
        return value.name
    if value is None:
        return "null"
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return "[" + ", ".join(map(_literal, items)) + "]"
    if isinstance(value, Mapping):
        return _map(cast("Mapping[Any, Any]", value))
    if isinstance(value, (str, bytes, bool, int, float, Timestamp, Duration)):
        return conversions.to_string(value)
    raise _wrong("s", value)


def _unformattable(what: str) -> ValueError:
    return ValueError(f"no formatting function for {what}")


def _map(entries: Mapping[Any, Any]) -> str:
    pairs: list[tuple[str, str]] = []
    for key, value in entries.items():
        if not isinstance(key, (str, bool, int)):
            raise _unformattable(f"map key of type {values.type_name(key)}")
        pairs.append((_literal(key), _literal(value)))
    pairs.sort(key=lambda pair: pair[0])
    return "{" + ", ".join(f"{key}:{value}" for key, value in pairs) + "}"


def _literal(value: Any) -> str:
    """A value inside a list or a map."""
    if isinstance(value, str):
        return golang.quote(value)
    if isinstance(value, bytes):
        return "b" + golang.quote(conversions.to_string(value))
    if isinstance(value, float):
        if math.isnan(value) or math.isinf(value):
            return golang.quote(conversions.to_string(value))
        return f"{value:.6f}"
    if isinstance(value, Timestamp):
        return f"timestamp({golang.quote(conversions.to_string(value))})"
    if isinstance(value, Duration):
        return f"duration({golang.quote(conversions.to_string(value))})"
    if isinstance(value, (bool, int, Type, list, Mapping)) or value is None:
        return _string(value)
    raise _unformattable(values.type_name(value))
