"""Filling in what a structural schema gives a default for.

The law: nothing is changed in place. Defaults are shared, not copied, as objects are immutable; a
null that is not nullable counts as absent.

Follows ``apiextensions-apiserver/pkg/apiserver/schema/defaulting/algorithm.go``.
"""

from __future__ import annotations

import functools
from typing import Any, TypeVar, cast

from pytest_kubesim.apimachinery.schema import Schema

_Value = TypeVar("_Value")


def default(schema: Schema | None, value: _Value) -> _Value:
    """The value with the defaults of its schema; the value itself where none is missing."""
    if schema is None:
        return value
    return cast("_Value", _default(schema, value))


@functools.lru_cache(maxsize=4096)
def _defaulted(schema: Schema) -> tuple[tuple[str, Schema], ...]:
    """The fields with a default, sorted as nothing depends on their order."""
    fields = schema.properties
    return tuple((name, fields[name]) for name in sorted(fields) if fields[name].has_default)


def _default(schema: Schema, value: Any) -> Any:
    if isinstance(value, dict):
        return _default_map(schema, cast("dict[str, Any]", value))
    if isinstance(value, list):
        below = schema.item()
        if below is None:
            return cast("Any", value)
        items = cast("list[Any]", value)
        filled = [_default(below, _instead(below, item)) for item in items]
        return items if all(a is b for a, b in zip(items, filled, strict=True)) else filled
    return value


def _instead(schema: Schema, value: Any) -> Any:
    return schema.default if value is None and not schema.nullable else value


def _default_map(schema: Schema, value: dict[str, Any]) -> dict[str, Any]:
    filled: dict[str, Any] | None = None
    for name, below in _defaulted(schema):
        if name not in value or (value[name] is None and not below.nullable):
            filled = dict(value) if filled is None else filled
            filled[name] = below.default
    properties = schema.properties
    values = schema.additional_properties
    for name, item in (value if filled is None else dict(filled)).items():
        below = properties.get(name)
        if below is None:
            if values is None or values.source is None:
                continue
            below = values
            instead = _default(below, _instead(below, item))
        else:
            instead = _default(below, item)
        if instead is not item:
            filled = dict(value) if filled is None else filled
            filled[name] = instead
    return value if filled is None else filled
