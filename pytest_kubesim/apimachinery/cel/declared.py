"""The types of CEL that schemas declare, and values of their data.

``declare`` makes a ``Declared`` of a structural schema: its type, how large its data can become,
and how to read it. Most data is read as it is; ``read`` makes a new value only where the schema
says that a text is a duration, that a list is a set and the like.

The law: what has no type in the schema cannot be named in an expression, but is compared with the
rest.

Follows ``apiserver/pkg/cel/common/{schemas,valuesunstructured}.go`` and
``apiserver/pkg/cel/types.go``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import attrs

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.apimachinery.cel import types, values
from pytest_kubesim.apimachinery.cel.environment import StructType
from pytest_kubesim.apimachinery.cel.errors import CELError
from pytest_kubesim.apimachinery.cel.escaping import KEYWORDS, escape
from pytest_kubesim.apimachinery.cel.estimates import Estimate
from pytest_kubesim.apimachinery.cel.types import Type
from pytest_kubesim.apimachinery.cel.values import ErrorValue, MapList, SetList
from pytest_kubesim.apimachinery.structural import strfmt

Source: TypeAlias = Mapping[str, Any]
Read: TypeAlias = Callable[[Any], Any]

MAX_REQUEST_BYTES = 3 * 1024 * 1024
_MIN_STRING, _MIN_BOOL, _MIN_NUMBER = 2, 4, 1
_MIN_DURATION, _MAX_DURATION = 3, 32
_DATE = 12
_MIN_DATE_TIME, _MAX_DATE_TIME = 21, 32
_NAMES = {"name": "string", "generateName": "string"}


@attrs.frozen(eq=False)
class Declared:
    """What a schema says of its data."""

    type: Type
    min_size: int
    """The least number of bytes of its JSON."""
    max_elements: int = 0
    fields: Mapping[str, Declared] | None = None
    """By their identifiers; None for what is no object."""
    names: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """The names in the data of fields that have another identifier."""
    element: Declared | None = None
    key: Declared | None = None
    read: Read | None = None
    """Makes a value of the data; None if the data is the value."""

    def value(self, data: Any) -> Any:
        """The value of data."""
        return data if self.read is None or data is None else self.read(data)

    def structs(self) -> dict[str, StructType]:
        """The messages that the type is made of, by their names."""
        found: dict[str, StructType] = {}
        self._collect(found)
        return found

    def _collect(self, found: dict[str, StructType]) -> None:
        if self.element is not None:
            self.element._collect(found)  # noqa: SLF001 -- of the same class
        if self.fields is None or self.type.name in found:
            return
        fields = {name: field.type for name, field in self.fields.items()}
        keys = dict(self.names)
        for name in KEYWORDS & set(self.names.values()):
            # The checker takes reserved words as they are, too.
            fields[name] = fields[f"__{name}__"]
        found[self.type.name] = StructType(fields, keys)
        for field in self.fields.values():
            field._collect(found)  # noqa: SLF001 -- of the same class

    def size_of(self, path: tuple[str, ...]) -> Estimate | None:
        """How large the data at a path can be; the path begins with a variable of this type."""
        current = self
        for name in path[1:]:
            if name in ("@items", "@values"):
                below = current.element
            elif name == "@keys":
                below = current.key
            else:
                below = (current.fields or {}).get(name)
            if below is None:
                return None
            current = below
        return Estimate(0, current.max_elements)


_BOOL = Declared(types.BOOL, _MIN_BOOL)
_INT = Declared(types.INT, _MIN_NUMBER)
_KEY = Declared(types.STRING, _MIN_STRING)


def declare(source: Source, name: str, *, is_root: bool) -> Declared | None:
    """The type of a schema; None if it has none.

    ``name`` is what messages are called; ``is_root`` is for the schemas of whole objects, whose
    kind and name are always there.
    """
    if source.get("x-kubernetes-int-or-string"):
        most = _max_length(source, 4)
        return Declared(types.DYN, 1, MAX_REQUEST_BYTES - 2 if most is None else most)
    if is_root:
        source = with_object_meta(source)
    match source.get("type"):
        case "array":
            return _array(source, name)
        case "object":
            values_ = source.get("additionalProperties")
            if isinstance(values_, dict):
                return _map(source, cast("Source", values_), name)
            return _object(source, name)
        case "string":
            return _string(source)
        case "boolean":
            return _BOOL
        case "number":
            return Declared(types.DOUBLE, _MIN_NUMBER, read=_to_double)
        case "integer":
            return _INT
        case _:
            return None


def with_object_meta(source: Source) -> Source:
    """The schema of a whole object with the fields that every object has."""
    properties: Mapping[str, Source] = source.get("properties") or {}
    metadata = properties.get("metadata") or {}
    inside: Mapping[str, Source] = metadata.get("properties") or {}
    wanted = {"kind": "string", "apiVersion": "string", "metadata": "object"}
    if _has_types(properties, wanted) and _has_types(inside, _NAMES):
        return source
    capped = {
        "name": _capped(inside.get("name"), 253),
        "generateName": _capped(inside.get("generateName"), 252),
    }
    made = {
        **properties,
        "kind": {"type": "string"},
        "apiVersion": {"type": "string"},
        "metadata": {"type": "object", "properties": capped},
    }
    return {**source, "properties": made}


def _has_types(properties: Mapping[str, Source], wanted: Mapping[str, str]) -> bool:
    return all((properties.get(name) or {}).get("type") == wanted[name] for name in wanted)


def _capped(source: Source | None, most: int) -> Source:
    limit = (source or {}).get("maxLength")
    return {"type": "string", "maxLength": most if limit is None else min(limit, most)}


def _max_length(source: Source, factor: int) -> int | None:
    limit = source.get("maxLength")
    return None if limit is None else max(limit, 0) * factor


def _is_embedded(source: Source) -> bool:
    return bool(source.get("x-kubernetes-embedded-resource"))


def _array(source: Source, name: str) -> Declared | None:
    items = source.get("items")
    if not isinstance(items, dict):
        return None
    schema = cast("Source", items)
    element = declare(schema, f"{name}.@idx", is_root=_is_embedded(schema))
    if element is None:
        return None
    most = source.get("maxItems")
    if most is None:
        most = (MAX_REQUEST_BYTES - 2) // (element.min_size + 1)
    return Declared(
        types.list_of(element.type),
        2,
        max(most, 0),
        element=element,
        read=_list_reader(source, element),
    )


def _map(source: Source, schema: Source, name: str) -> Declared | None:
    element = declare(schema, f"{name}.@elem", is_root=_is_embedded(schema))
    if element is None:
        return None
    most = source.get("maxProperties")
    if most is None:
        most = (MAX_REQUEST_BYTES - 2) // (element.min_size + 6)
    read = element.read
    return Declared(
        types.map_of(types.STRING, element.type),
        2,
        max(most, 0),
        element=element,
        key=_KEY,
        read=None if read is None else lambda data: _read_values(data, read),
    )


def _read_values(data: dict[str, Any], read: Read) -> dict[str, Any]:
    return {key: value if value is None else read(value) for key, value in data.items()}


def _object(source: Source, name: str) -> Declared:
    required: frozenset[str] = frozenset(source.get("required") or ())
    properties: Mapping[str, Source] = source.get("properties") or {}
    fields: dict[str, Declared] = {}
    names: dict[str, str] = {}
    readers: dict[str, Read] = {}
    min_size = 2
    for key, schema in properties.items():
        identifier = escape(key)
        below = f"{name}.{identifier or key}"
        declared = declare(schema, below, is_root=_is_embedded(schema))
        if declared is None:
            continue
        if identifier is not None:
            fields[identifier] = declared
            if identifier != key:
                names[identifier] = key
        if declared.read is not None:
            readers[key] = declared.read
        if key in required and schema.get("default") is None:
            min_size += len(key.encode()) + declared.min_size + 4
    return Declared(
        types.struct(name),
        min_size,
        fields=fields,
        names=names,
        read=(lambda data: _read_fields(data, readers)) if readers else None,
    )


def _read_fields(data: dict[str, Any], readers: Mapping[str, Read]) -> dict[str, Any]:
    made: dict[str, Any] | None = None
    for key, read in readers.items():
        value = data.get(key)
        if value is None:
            continue
        found = read(value)
        if found is not value:
            made = made or dict(data)
            made[key] = found
    return data if made is None else made


def _list_reader(source: Source, element: Declared) -> Read | None:
    read = element.read
    kind = source.get("x-kubernetes-list-type")
    if kind == "set":
        return lambda data: SetList(_items(data, read))
    if kind == "map":
        keys = tuple(source.get("x-kubernetes-list-map-keys") or ())
        return lambda data: MapList.of(_items(data, read), keys)
    return None if read is None else lambda data: _items(data, read)


def _items(data: list[Any], read: Read | None) -> list[Any]:
    if read is None:
        return data
    return [item if item is None else read(item) for item in data]


def _string(source: Source) -> Declared:
    format_: str = source.get("format") or ""
    if format_ == "byte":
        most = _max_length(source, 1)
        limit = MAX_REQUEST_BYTES - 2 if most is None else most
        return Declared(types.BYTES, _MIN_STRING, limit, read=_to_bytes)
    if format_ in _TIMES:
        return _TIMES[format_]
    most = _max_length(source, 4)
    if most is None:
        allowed = source.get("enum") or ()
        texts = [len(text.encode()) for text in allowed if isinstance(text, str)]
        most = max(texts, default=0) if allowed else MAX_REQUEST_BYTES - 2
    return Declared(types.STRING, _MIN_STRING, most)


# -- reading ---------------------------------------------------------------------------------------


def _to_double(data: Any) -> Any:
    return float(data) if type(data) is int else data


def _to_bytes(data: Any) -> Any:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return ErrorValue(f"Invalid byte formatted string {data}: illegal base64 data")


def _to_duration(data: Any) -> Any:
    try:
        return values.checked_duration(strfmt.parse_duration(data))
    except (CELError, ValueError) as problem:
        return ErrorValue(f"Invalid duration {data}: {problem}")


def _to_date(data: Any) -> Any:
    try:
        return values.checked_timestamp(timestamps.parse_time(f"{data}T00:00:00Z"))
    except (CELError, ValueError) as problem:
        return ErrorValue(f"Invalid date formatted string {data}: {problem}")


def _to_date_time(data: Any) -> Any:
    try:
        return values.parse_timestamp(data)
    except (CELError, ValueError) as problem:
        return ErrorValue(f"Invalid date-time formatted string {data}: {problem}")


_TIMES: dict[str, Declared] = {
    "duration": Declared(types.DURATION, _MIN_DURATION, _MAX_DURATION, read=_to_duration),
    "date": Declared(types.TIMESTAMP, _DATE, _DATE, read=_to_date),
    "date-time": Declared(types.TIMESTAMP, _MIN_DATE_TIME, _MAX_DATE_TIME, read=_to_date_time),
}
