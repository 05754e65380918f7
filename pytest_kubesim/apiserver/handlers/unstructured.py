"""Why a patched map is no object of its kind, in the words of the converter that strategic merge
patches go through (it is not the JSON decoder, and words things otherwise).

Follows `apimachinery/pkg/runtime/converter.go` (`fromUnstructured`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.apimachinery import go_decoding

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.schema import Schema

_CONVERTIBLE = frozenset({("int64", "string"), ("float64", "int"), ("int64", "float")})
"""Kinds between which Go converts and the converter does not."""


def problem(schema: Schema, value: Any) -> str:
    """The first complaint in the order of the struct's fields; empty if there is none."""
    if value is None:
        return ""
    kind = schema.go.kind
    if kind == "struct":
        return _struct(schema, value)
    if kind == "map":
        return _map(schema, value)
    if kind == "slice":
        return _slice(schema, value)
    if kind in ("string", "bool", "int", "float"):
        return _scalar(schema, value)
    return go_decoding.check_types(schema, value) or ""


def _kind(value: Any) -> str:
    """`reflect.Kind` of a value that Go's JSON decoder made."""
    if isinstance(value, bool):
        return "bool"
    names: dict[type, str] = {
        int: "int64",
        float: "float64",
        str: "string",
        list: "slice",
        dict: "map",
    }
    return names[type(value)]


def _struct(schema: Schema, value: Any) -> str:
    if not isinstance(value, dict):
        return f"cannot restore struct from: {_kind(value)}"
    fields = cast("Object", value)
    for key, child in schema.properties.items():
        if key in fields and (found := problem(child, fields[key])):
            return found
    return ""


def _map(schema: Schema, value: Any) -> str:
    if not isinstance(value, dict):
        return f"cannot restore map from {_kind(value)}"
    values = schema.additional_properties
    assert values is not None
    for each in cast("Object", value).values():
        if found := problem(values, each):
            return found
    return ""


def _slice(schema: Schema, value: Any) -> str:
    if not isinstance(value, list):
        return f"cannot restore slice from {_kind(value)}"
    item = schema.items
    assert item is not None
    for each in cast("list[Any]", value):
        if found := problem(item, each):
            return found
    return ""


def _scalar(schema: Schema, value: Any) -> str:
    found, wanted = _kind(value), schema.go.kind
    fits = {
        "string": ("string",),
        "bool": ("bool",),
        "int": ("int64",),
        "float": ("int64", "float64"),
    }
    if found in fits[wanted] or (found == "float64" and wanted == "int" and value == int(value)):
        return ""
    if (found, wanted) in _CONVERTIBLE:
        return f"cannot convert {found} to {schema.go.type_name}"
    return f"unrecognized type: {schema.go.type_name.rpartition('.')[2]}"
