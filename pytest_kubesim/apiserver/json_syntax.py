"""JSON bodies: read fast, refused in the words of Go's scanner, repeated keys found.

The law: what Python accepts and Go does not (`NaN`, a lone surrogate) does not matter here; what
neither accepts is worded by `json_scanner`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from pytest_kubesim.apimachinery.golang import Number
from pytest_kubesim.apimachinery.json_scanner import explain

_decode = msgspec.json.Decoder().decode


class Repeated(Exception):
    """Some key stands twice in an object."""


class Pairs(list[tuple[str, Any]]):
    """An object with its keys as they stand, repeated ones too."""


def loads(body: bytes) -> Any:
    """The value; of repeated keys the last one counts.  Raises `ValueError` with Go's text."""
    try:
        return _decode(body)
    except msgspec.DecodeError:
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace")
        raise ValueError(explain(text)) from None


def as_written(body: bytes) -> Any:
    """The value of a valid body, with fractions and exponents as they stand (`golang.Number`)."""
    return json.loads(body, parse_float=Number)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Repeated
    return found


def has_repeated_keys(body: bytes) -> bool:
    """Whether some object in a valid body holds a key twice."""
    try:
        json.loads(body, object_pairs_hook=_unique)
    except Repeated:
        return True
    except ValueError:
        return False
    return False


def complaints(body: bytes, unknown: list[str]) -> list[str]:
    """The strict decoder's complaints in document order: repeated and unknown fields.

    `unknown` are those of the latter kind.
    """
    waiting = dict.fromkeys(unknown)
    found: dict[str, None] = {}
    for path, repeated in _keys(json.loads(body, object_pairs_hook=Pairs), ""):
        if repeated:
            found[f'duplicate field "{path}"'] = None
            continue
        text = f'unknown field "{path}"'
        if text in waiting:
            found[text] = None
    return list(found)


def _keys(value: Any, path: str) -> Iterator[tuple[str, bool]]:
    if isinstance(value, Pairs):
        seen: set[str] = set()
        for key, element in value:
            below = f"{path}.{key}" if path else key
            yield below, key in seen
            seen.add(key)
            yield from _keys(element, below)
    elif isinstance(value, list):
        for index, element in enumerate(value):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            yield from _keys(element, f"{path}[{index}]")
