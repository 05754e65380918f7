"""Dropping fields that a structural schema does not know, and nulls that it does not allow.

The law: nothing is changed in place; what loses nothing is returned itself.

Follows ``apiextensions-apiserver/pkg/apiserver/schema/pruning/algorithm.go`` and
``schema/defaulting/prunenulls.go``.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from pytest_kubesim.apimachinery.schema import Schema

META_FIELDS = frozenset({"apiVersion", "kind", "metadata"})

_Value = TypeVar("_Value")


def prune(schema: Schema | None, obj: _Value, *, is_root: bool = True) -> tuple[_Value, list[str]]:
    """The object without unknown fields, and their paths, sorted.

    ``is_root`` says that the object has metadata, ``apiVersion`` and ``kind``, which are kept.
    """
    unknown: list[str] = []
    pruned = _prune(schema, obj, "", is_root, unknown)
    unknown.sort()
    return cast("_Value", pruned), unknown


def _prune(schema: Schema | None, value: Any, path: str, embedded: bool, unknown: list[str]) -> Any:
    if isinstance(value, dict):
        return _prune_map(schema, cast("dict[str, Any]", value), path, embedded, unknown)
    if isinstance(value, list):
        items = cast("list[Any]", value)
        below = schema.item() if schema is not None else None
        if schema is not None and schema.preserve_unknown:
            pruned = [_keep(below, item, f"{path}[{i}]", unknown) for i, item in enumerate(items)]
        else:
            pruned = [
                _prune(below, item, f"{path}[{i}]", _is_embedded(below), unknown)
                for i, item in enumerate(items)
            ]
        return items if all(a is b for a, b in zip(items, pruned, strict=True)) else pruned
    return value


def _is_embedded(schema: Schema | None) -> bool:
    return schema is not None and schema.embedded_resource


def _prune_map(
    schema: Schema | None,
    value: dict[str, Any],
    path: str,
    embedded: bool,
    unknown: list[str],
) -> dict[str, Any]:
    keeps_all = schema is not None and schema.preserve_unknown
    kept: dict[str, Any] | None = None
    for name, item in value.items():
        if embedded and name in META_FIELDS:
            continue
        where = f"{path}.{name}" if path else name
        below = schema.child(name) if schema is not None else None
        if below is not None:
            pruned = _prune(below, item, where, below.embedded_resource, unknown)
            if pruned is not item:
                kept = dict(value) if kept is None else kept
                kept[name] = pruned
        elif not keeps_all:
            kept = dict(value) if kept is None else kept
            del kept[name]
            if path or name not in META_FIELDS:
                unknown.append(where)
    return value if kept is None else kept


def _keep(schema: Schema | None, value: Any, path: str, unknown: list[str]) -> Any:
    """Below a list whose unknown fields are preserved, only what is declared is pruned."""
    if schema is None:
        return value
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        kept: dict[str, Any] | None = None
        for name, item in fields.items():
            below = schema.child(name)
            if below is None or (schema.embedded_resource and name in META_FIELDS):
                continue
            pruned = _prune(below, item, f"{path}.{name}", below.embedded_resource, unknown)
            if pruned is not item:
                kept = dict(fields) if kept is None else kept
                kept[name] = pruned
        return fields if kept is None else kept
    if isinstance(value, list):
        items = cast("list[Any]", value)
        below = schema.item()
        kept_items = [_keep(below, item, f"{path}[{i}]", unknown) for i, item in enumerate(items)]
        return items if all(a is b for a, b in zip(items, kept_items, strict=True)) else kept_items
    return value


def prune_nulls(schema: Schema | None, value: _Value) -> _Value:
    """The value without nulls that are neither nullable nor to be defaulted."""
    return cast("_Value", _prune_nulls(schema, value))


def _prune_nulls(schema: Schema | None, value: Any) -> Any:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        kept: dict[str, Any] | None = None
        for name, item in fields.items():
            below = schema.child(name) if schema is not None else None
            if below is not None and below.source is None:
                # ``additionalProperties: true`` says nothing of the values.
                below = None
            if item is None:
                if below is not None and not below.nullable and not below.has_default:
                    kept = dict(fields) if kept is None else kept
                    del kept[name]
            elif isinstance(item, (dict, list)):
                pruned = _prune_nulls(below, item)
                if pruned is not item:
                    kept = dict(fields) if kept is None else kept
                    kept[name] = pruned
        return fields if kept is None else kept
    if isinstance(value, list):
        items = cast("list[Any]", value)
        below = schema.item() if schema is not None else None
        pruned_items = [_prune_nulls(below, item) for item in items]
        return (
            items if all(a is b for a, b in zip(items, pruned_items, strict=True)) else pruned_items
        )
    return value
