"""What changed between two states of an object, a line a field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

_UNTOLD = frozenset({"managedFields", "resourceVersion"})
"""Fields that change at every write and say nothing to a person."""

_KEYS = ("name", "type", "uid", "ip", "containerPort", "port", "key", "topologyKey")
"""By which items of a list are told apart, tried in turn."""

Difference = tuple[str, Any, Any]
"""A path, what was there and what is there; None: nothing."""


def differences(before: Any, after: Any, path: str = "") -> Iterator[Difference]:
    """The fields in which `after` differs from `before`, in the order of their names."""
    if isinstance(before, dict) and isinstance(after, dict):
        old, new = cast("dict[str, Any]", before), cast("dict[str, Any]", after)
        for name in sorted({*old, *new} - _UNTOLD):
            yield from differences(old.get(name), new.get(name), _join(path, name))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _lists(cast("list[Any]", before), cast("list[Any]", after), path)
    elif before != after:
        yield path, before, after


def _lists(before: list[Any], after: list[Any], path: str) -> Iterator[Difference]:
    key = _key(before, after)
    if key is None:
        if before != after:
            yield path, before, after
        return
    old, new = {item[key]: item for item in before}, {item[key]: item for item in after}
    for name in dict.fromkeys([*old, *new]):
        yield from differences(old.get(name), new.get(name), f"{path}[{name}]")


def _key(before: list[Any], after: list[Any]) -> str | None:
    """The field by which the items of both lists can be told apart, if there is one."""
    items = before + after
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    for key in _KEYS:
        if all(isinstance(item.get(key), str | int) for item in items) and all(
            len({item[key] for item in part}) == len(part) for part in (before, after)
        ):
            return key
    return None


def _join(path: str, name: str) -> str:
    if "." in name or "/" in name:
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else name
