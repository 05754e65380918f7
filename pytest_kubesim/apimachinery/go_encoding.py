"""What Go prints of a built-in object: the passage through a struct and through protobuf.

It leaves traces that every client sees: unknown keys are gone, ``status`` appears as ``{}``,
``rules: []`` comes back as ``rules: null``, ``cpu: 0.5`` as ``500m``, a service's missing
``targetPort`` as 0.

The law: nothing is changed in place; what is equal afterwards may be shared with what came in.
Every struct is compiled once, at its first use, into a plan over its keys in Go's order.

Follows ``sigs.k8s.io/json/internal/golang/encoding/json/encode.go`` and the ``MarshalJSON``
methods of ``apimachinery`` and ``apiextensions``.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from pytest_kubesim.apimachinery import golang, quantity, timestamps
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.schema import PROPS, Schema, schema_named

_Encode: TypeAlias = Callable[[Any], Any]

_ZERO_TIME = "0001-01-01T00:00:00Z"

_UNLESS_NONE, _UNLESS_ZERO, _ALWAYS = range(3)


def roundtrip(schema: Schema, obj: Object) -> Object:
    """A built-in object as it comes back out of Go: decoded, stored, encoded.

    The values must fit (``check_types``). Keys come in the order of the struct.
    """
    return _encoder(schema)(obj)


def _encoder(schema: Schema) -> _Encode:
    found = _encoder_below(schema)
    return found if found is not None else (lambda value: value)


def _encoder_below(schema: Schema) -> _Encode | None:
    """How a value is printed back; None where it stays as it is."""
    kind = schema.go.kind
    if kind == "struct":
        return _struct_encoder(schema.name)
    if kind == "slice" and schema.items is not None:
        return _list_encoder(schema.items)
    if kind == "map" and schema.additional_properties is not None:
        return _map_encoder(schema.additional_properties)
    return _ENCODE.get(kind)


@functools.cache
def _struct_encoder(name: str) -> _Encode:
    plan: list[tuple[str, _Encode | None, int, Any]] | None = None

    def encode(value: Object) -> Object:
        nonlocal plan
        if plan is None:
            plan = [_field_plan(key, child) for key, child in schema_named(name).properties.items()]
        out: Object = {}
        get = value.get
        for key, convert, mode, zero in plan:
            element = get(key)
            if element is None:
                if mode == _ALWAYS:
                    out[key] = zero
                continue
            if convert is not None:
                element = convert(element)
            if element or mode != _UNLESS_ZERO:
                out[key] = element
        return out

    return encode


def _field_plan(key: str, schema: Schema) -> tuple[str, _Encode | None, int, Any]:
    """``omitempty`` drops nil pointers and empty values, never structs; ``omitzero`` zero times."""
    go = schema.go
    convert = _encoder_below(schema)
    if go.pointer:
        return key, convert, _ALWAYS if go.always else _UNLESS_NONE, None
    if go.omit_zero:
        return key, convert, _UNLESS_ZERO, None
    if go.kind in ("string", "bool", "int", "float", "bytes", "slice", "map") and not go.always:
        return key, convert, _UNLESS_ZERO, None
    if go.kind in ("slice", "map"):
        return key, _or_null(convert), _ALWAYS, None
    return key, convert, _ALWAYS, _zero(schema)


def _or_null(convert: _Encode | None) -> _Encode:
    """An empty list that Go prints: protobuf does not tell it from none at all."""
    if convert is None:
        return lambda value: value or None
    return lambda value: convert(value) or None


def _zero(schema: Schema) -> Any:
    go = schema.go
    if go.pointer:
        return None
    if go.kind == "struct":
        return _struct_encoder(schema.name)({})
    return {
        "string": "",
        "bytes": "",
        "bool": False,
        "int": 0,
        "float": 0,
        "intstr": 0,
        "quantity": "0",
        "duration": "0s",
        "schema_or_bool": False,
    }.get(go.kind)


def _list_encoder(item: Schema) -> _Encode | None:
    convert = _encoder_below(item)
    fill = _filler(item)
    if convert is None:
        return lambda value: (
            [fill() if element is None else element for element in value]
            if None in value
            else value
        )
    return lambda value: [fill() if element is None else convert(element) for element in value]


def _map_encoder(values: Schema) -> _Encode | None:
    convert = _encoder_below(values)
    fill = _filler(values)
    if convert is None:
        return lambda value: (
            {key: fill() if element is None else element for key, element in value.items()}
            if None in value.values()
            else value
        )
    return lambda value: {
        key: fill() if element is None else convert(element) for key, element in value.items()
    }


def _filler(schema: Schema) -> Callable[[], Any]:
    """What a null element becomes; asked for late, since a struct may hold a list of itself."""
    return lambda: _zero(schema)


@functools.lru_cache(4096)
def canonical(kind: str, text: str) -> str | None:
    """The one way in which a time, duration or quantity is printed; None for the zero time.

    ``kind`` is a ``schema.GoKind``. Raises ``ValueError`` with Go's text for what cannot be read.
    """
    if kind == "quantity":
        return quantity.canonical(text)
    if kind == "duration":
        return timestamps.format_duration(timestamps.parse_duration(text))
    if kind == "time":
        found = timestamps.format_time(timestamps.parse_time(text))
    else:
        found = timestamps.format_micro_time(timestamps.parse_micro_time(text))
    return None if found.startswith(_ZERO_TIME[:-1]) else found


def _encode_quantity(value: Any) -> str | None:
    text = value if type(value) is str else golang.json_text(value)
    return canonical("quantity", text.strip())


def _encode_time(value: str) -> str | None:
    plain = len(value) == len(_ZERO_TIME) and value[-1] == "Z" and value != _ZERO_TIME
    return value if plain else canonical("time", value)


def _encode_float(value: float) -> float:
    return int(value) if value == int(value) and abs(value) < 1e21 else value


def _encode_schema(value: Any) -> Any:
    if type(value) is dict:
        return _struct_encoder(PROPS)(value)
    return value if type(value) is bool else None


def _encode_schemas(value: Any) -> Any:
    if type(value) is list:
        schemas = cast("list[Object | None]", value)
        return [_struct_encoder(PROPS)(schema or {}) for schema in schemas] or None
    return _struct_encoder(PROPS)(value) if type(value) is dict else None


_ENCODE: dict[str, _Encode] = {
    "bytes": lambda value: base64.b64encode(base64.b64decode(value)).decode(),
    "float": _encode_float,
    "time": _encode_time,
    "microtime": functools.partial(canonical, "microtime"),
    "duration": functools.partial(canonical, "duration"),
    "quantity": _encode_quantity,
    "schema_or_bool": _encode_schema,
    "schema_or_array": _encode_schemas,
    "schema_or_strings": lambda value: (
        (value or None) if type(value) is list else _encode_schemas(value)
    ),
}
