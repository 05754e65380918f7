"""Why a patched map is no object of its kind, in the words of the converter that strategic merge
patches and apply go through (it is not the JSON decoder, and words things otherwise).

Follows `apimachinery/pkg/runtime/converter.go` (`fromUnstructured`).
"""

from __future__ import annotations

import base64
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
    found = go_decoding.check_types(schema, value) or ""
    if kind == "bytes" and not isinstance(value, str):
        # An empty slice of bytes is made of a list of no numbers only.
        return _slice_of_bytes(value)
    return f"error decoding from json: {found}" if found and kind == "bytes" else found


def typed(schema: Schema, value: Any) -> Any:
    """The value as the converter leaves it: whole numbers are integers, and they wrap around.

    Only for a value in which there is no `problem`; what needs no change is returned as it is.
    """
    kind = schema.go.kind
    if kind == "int" and isinstance(value, int | float) and not isinstance(value, bool):
        half = 1 << (31 if schema.format == "int32" else 63)
        return (int(value) + half) % (2 * half) - half
    if kind == "bytes" and isinstance(value, list):
        numbers = (int(each) % 256 for each in cast("list[Any]", value))
        return base64.b64encode(bytes(numbers)).decode()
    if kind == "struct" and isinstance(value, dict):
        known = schema.properties
        fields = cast("Object", value)
        return {k: typed(known[k], v) if k in known else v for k, v in fields.items()}
    if kind == "slice" and isinstance(value, list) and schema.items is not None:
        item = schema.items
        return [typed(item, each) for each in cast("list[Any]", value)]
    if kind == "map" and isinstance(value, dict) and schema.additional_properties is not None:
        values = schema.additional_properties
        return {k: typed(values, v) for k, v in cast("Object", value).items()}
    return cast("Any", value)


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


def _slice_of_bytes(value: Any) -> str:
    if not isinstance(value, list):
        return f"cannot restore slice from {_kind(value)}"
    for each in cast("list[Any]", value):
        if _kind(each) != "int64":
            return "unrecognized type: uint8" if _kind(each) != "float64" else ""
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
    return f"unrecognized type: {schema.format if wanted == 'int' else wanted}"
