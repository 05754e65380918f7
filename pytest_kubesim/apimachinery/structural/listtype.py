"""Lists that are sets or maps may not hold an item twice.

Follows ``apiextensions-apiserver/pkg/apiserver/schema/listtype/validation.go``.
"""

from __future__ import annotations

from typing import Any, cast

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery.schema import Schema
from pytest_kubesim.apimachinery.validation import NIL, ErrorList, Path, duplicate, invalid


def validate_list_types(schema: Schema | None, obj: Any, path: Path = NIL) -> ErrorList:
    """An error for each item that repeats an earlier one, where the list's type forbids it."""
    if schema is None:
        return []
    errors: ErrorList = []
    _validate(schema, obj, path, errors)
    return errors


def _validate(schema: Schema, value: Any, path: Path, errors: ErrorList) -> None:
    if isinstance(value, list):
        _list(schema, cast("list[Any]", value), path, errors)
    elif isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        values = schema.additional_properties
        if values is not None:
            for name in sorted(fields):
                if isinstance(fields[name], (dict, list)):
                    _validate(values, fields[name], path.key(name), errors)
        properties = schema.properties
        for name, item in fields.items():
            if isinstance(item, (dict, list)) and name in properties:
                _validate(properties[name], item, path.child(name), errors)


def _list(schema: Schema, items: list[Any], path: Path, errors: ErrorList) -> None:
    if schema.list_type == "set":
        errors += [duplicate(path.index(i), items[i]) for i in _repeated(items)]
    elif schema.list_type == "map":
        errors += _map(schema, items, path)
    below = schema.item()
    if below is not None:
        for index, item in enumerate(items):
            if isinstance(item, (dict, list)):
                _validate(below, item, path.index(index), errors)


def _repeated(items: list[Any]) -> list[int]:
    """The positions at which an item comes for the second time."""
    if len(items) <= 1:
        return []
    seen: dict[Any, int] = {}
    found: list[int] = []
    for index, item in enumerate(items):
        key = (
            ("json", golang.json_text(item))
            if isinstance(item, (dict, list))
            else (type(item).__name__, item)
        )
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 2:
            found.append(index)
    return found


def _map(schema: Schema, items: list[Any], path: Path) -> ErrorList:
    for index, item in enumerate(items):
        if item is not None and not isinstance(item, dict):
            detail = "must be an object for an array of list-type map"
            return [invalid(path.index(index), item, detail)]
    if len(items) <= 1:
        return []
    keys: list[Any] = []
    for item in items:
        fields = cast("dict[str, Any]", item or {})
        keys.append({name: fields[name] for name in schema.list_map_keys if name in fields})
    return [duplicate(path.index(i), keys[i]) for i in _repeated(keys)]
