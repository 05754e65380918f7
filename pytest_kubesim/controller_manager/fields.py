"""Reading objects whose fields may be missing: typed, without copies, never written to.

The law: a missing field, `null` and an empty value read alike, as Go's zero value does.
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

_NOTHING: Object = {}
_NONE: list[Object] = []
_NO_STRINGS: dict[str, str] = {}
_NO_TEXTS: list[str] = []


def spec(obj: Object) -> Object:
    """`spec`."""
    return obj.get("spec") or _NOTHING


def status(obj: Object) -> Object:
    """`status`."""
    return obj.get("status") or _NOTHING


def mapping(parent: Object, key: str) -> Object:
    """A field that is an object."""
    return parent.get(key) or _NOTHING


def objects(parent: Object, key: str) -> list[Object]:
    """A field that is a list of objects."""
    return parent.get(key) or _NONE


def strings(parent: Object, key: str) -> dict[str, str]:
    """A field that is a map of strings."""
    return parent.get(key) or _NO_STRINGS


def number(parent: Object, key: str, default: int = 0) -> int:
    """A field that is an integer; `default` where it is missing."""
    value = parent.get(key)
    return default if value is None else value


def text(parent: Object, key: str) -> str:
    """A field that is a string."""
    return parent.get(key) or ""


def conditions(obj: Object) -> list[Object]:
    """`status.conditions`."""
    return (obj.get("status") or _NOTHING).get("conditions") or _NONE


def texts(parent: Object, key: str) -> list[str]:
    """A field that is a list of strings."""
    return parent.get(key) or _NO_TEXTS
