"""The parts of an object, as Go sees them: what is absent is there and empty.

The law: nothing is made or changed; the answers may be shared with the object.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery.meta import Object

_NOTHING: Object = {}


def struct(holder: Object | None, key: str) -> Object:
    """A struct or map below; {} for one that is absent."""
    found: Object | None = None if holder is None else holder.get(key)
    return _NOTHING if found is None else found


def structs(holder: Object | None, key: str) -> list[Object]:
    """A list of structs below."""
    found: list[Object] | None = None if holder is None else holder.get(key)
    return found or []


def texts(holder: Object | None, key: str) -> list[str]:
    """A list of strings below."""
    found: list[str] | None = None if holder is None else holder.get(key)
    return found or []


def text(holder: Object | None, key: str) -> str:
    """A string below."""
    found: Any = None if holder is None else holder.get(key)
    return found or ""


def number(holder: Object | None, key: str) -> int:
    """An integer below."""
    found: Any = None if holder is None else holder.get(key)
    return found or 0


def spec(obj: Object | None) -> Object:
    """The spec of an object."""
    return struct(obj, "spec")


def status(obj: Object | None) -> Object:
    """The status of an object."""
    return struct(obj, "status")
