"""Fields of features that are off by default: nobody can set them, and who has them keeps them.

Follows `dropDisabledFields` of `pkg/registry/resource/*/strategy.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

EACH = "*"
"""A step of a path: every entry of a list, every value of a map."""

_Path = tuple[str, ...]
Feature = tuple[_Path, ...]
"""The fields of one feature, by their paths."""


def without(holder: Object, before: Object | None, features: tuple[Feature, ...]) -> Object:
    """A spec or status without the fields of features that `before` (None: nothing) has not."""
    for paths in features:
        if before is not None and any(_has(before, path) for path in paths):
            continue
        for path in paths:
            holder = _dropped(holder, path)
    return holder


def _has(value: Any, path: _Path) -> bool:
    if not path:
        return bool(value)
    if path[0] == EACH:
        return any(_has(each, path[1:]) for each in _entries(value))
    return isinstance(value, dict) and _has(cast("Object", value).get(path[0]), path[1:])


def _entries(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(cast("Object", value).values())
    return cast("list[Any]", value) if isinstance(value, list) else []


def _dropped(value: Any, path: _Path) -> Any:
    if path[0] == EACH:
        if isinstance(value, dict):
            fields = cast("Object", value)
            return {key: _dropped(each, path[1:]) for key, each in fields.items()}
        if isinstance(value, list):
            return [_dropped(each, path[1:]) for each in cast("list[Any]", value)]
        return value
    if not isinstance(value, dict) or path[0] not in value:
        return cast("Any", value)
    fields = cast("Object", value)
    if len(path) == 1:
        return {key: each for key, each in fields.items() if key != path[0]}
    return {**fields, path[0]: _dropped(fields[path[0]], path[1:])}
