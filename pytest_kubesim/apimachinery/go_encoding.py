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
import operator
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any, TypeAlias, cast

from pytest_kubesim.apimachinery import golang, quantity, timestamps
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.schema import PROPS, Schema, schema_named

_Encode: TypeAlias = Callable[[Any, Any], Any]
"""From a value, and one printed before that it may share parts with, to the value as printed."""

_ZERO_TIME = "0001-01-01T00:00:00Z"
_MICRO_LENGTH = len("0001-01-01T00:00:00.000000Z")

_UNLESS_NONE, _UNLESS_ZERO, _ALWAYS = range(3)

_REFUSED_EVEN_EMPTY = frozenset({"dependencies"})
"""Of `JSONSchemaProps`: a validation tells an empty map from none, and nothing with one is kept."""


def roundtrip(schema: Schema, obj: Object, base: Object | None = None) -> Object:
    """A built-in object as it comes back out of Go: decoded, stored, encoded.

    The values must fit (``check_types``). Keys come in the order of the struct. ``base`` is an
    object of the same kind that has been printed: parts of it that ``obj`` shares stay as they are.
    """
    return _encoder(schema)(obj, base)


def without_nulls(schema: Schema, value: Any) -> Any:
    """The value with an empty struct for every null that stands for one in a list."""
    if isinstance(value, list) and (item := schema.items) is not None:
        empty = item.go.kind == "struct" and not item.go.pointer
        return [
            {} if each is None and empty else without_nulls(item, each)
            for each in cast("list[Any]", value)
        ]
    if isinstance(value, dict) and schema.go.kind in ("struct", "map"):
        fields = cast("Object", value)
        return {
            key: each if (below := schema.child(key)) is None else without_nulls(below, each)
            for key, each in fields.items()
        }
    return cast("Any", value)


def _encoder(schema: Schema) -> _Encode:
    found = _encoder_below(schema)
    return found if found is not None else _as_it_is


def _as_it_is(value: Any, base: Any) -> Any:
    del base
    return value


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
    plan: _Plan | None = None

    def encode(value: Object, base: Any) -> Object:
        nonlocal plan
        if value is base:
            return value
        if plan is None:
            properties = schema_named(name).properties
            plan = _Plan([_field_plan(key, child) for key, child in properties.items()])
        if base.__class__ is dict and tuple(value) == tuple(base):
            return plan.changed(value, base)
        printed = _fields_of(base).get
        if plan.is_printed(value):
            return plan.below(value, printed)
        return plan.whole(value, printed)

    return encode


_Field: TypeAlias = tuple[str, "_Encode | None", int, Any]


class _Plan:
    """How the fields of one struct are printed.

    Most of what is printed has been printed before, and is recognised by its keys: then only what
    lies below them is looked at, and a value in which nothing changes stays the same object.
    """

    __slots__ = ("_always", "_by_key", "_fields")

    def __init__(self, fields: list[_Field]) -> None:
        self._fields = fields
        self._by_key = {
            key: (place, convert, mode) for place, (key, convert, mode, _) in enumerate(fields)
        }
        self._always = sum(mode == _ALWAYS for _, _, mode, _ in fields)

    def is_printed(self, value: Object) -> bool:
        """Whether the keys are what Go prints: known, in order, none left out, none too many."""
        by_key = self._by_key
        last, always = -1, self._always
        for key, element in value.items():
            found = by_key.get(key)
            if found is None or found[0] < last or element is None:
                return False
            last = found[0]
            mode = found[2]
            if mode == _ALWAYS:
                always -= 1
            elif mode == _UNLESS_ZERO and not element:
                return False
        return always == 0

    def changed(self, value: Object, base: Object) -> Object:
        """The value printed, where its keys are those of a value that has been printed.

        Only what is not the same object in both is looked at.
        """
        by_key = self._by_key
        out = value
        for key, element in value.items():
            if element is base[key]:
                continue
            _, convert, mode = by_key[key]
            if element is None:
                return self.whole(value, base.get)
            new = element if convert is None else convert(element, base[key])
            if new is element and (new or mode != _UNLESS_ZERO):
                continue
            if out is value:
                out = dict(value)
            if new or mode != _UNLESS_ZERO:
                out[key] = new
            else:
                del out[key]
        return out

    def below(self, value: Object, printed: Callable[[str], Any]) -> Object:
        """The value with what lies below its keys printed."""
        by_key = self._by_key
        out = value
        for key, element in value.items():
            _, convert, mode = by_key[key]
            if convert is None or element is (before := printed(key)):
                continue
            new = convert(element, before)
            if new is element:
                continue
            if out is value:
                out = dict(value)
            if new or mode != _UNLESS_ZERO:
                out[key] = new
            else:
                del out[key]
        return out

    def whole(self, value: Object, printed: Callable[[str], Any]) -> Object:
        """The value printed field by field."""
        out: Object = {}
        get = value.get
        for key, convert, mode, zero in self._fields:
            element = get(key)
            if element is None:
                if mode == _ALWAYS:
                    out[key] = zero
                continue
            if convert is not None and element is not (before := printed(key)):
                element = convert(element, before)
            if element or mode != _UNLESS_ZERO:
                out[key] = element
        return out


_NOTHING: Object = {}


def _fields_of(base: Any) -> Object:
    return cast("Object", base) if type(base) is dict else _NOTHING


def _items_of(base: Any, count: int) -> Iterable[Any]:
    if type(base) is list and len(items := cast("list[Any]", base)) == count:
        return items
    return repeat(None)


def _field_plan(key: str, schema: Schema) -> _Field:
    """``omitempty`` drops nil pointers and empty values, never structs; ``omitzero`` zero times."""
    go = schema.go
    convert = _encoder_below(schema)
    if go.pointer:
        return key, convert, _ALWAYS if go.always else _UNLESS_NONE, None
    if go.omit_zero:
        return key, convert, _UNLESS_ZERO, None
    if go.kind in ("string", "bool", "int", "float", "bytes", "slice", "map") and not go.always:
        return key, convert, _UNLESS_NONE if key in _REFUSED_EVEN_EMPTY else _UNLESS_ZERO, None
    if go.kind in ("slice", "map"):
        return key, _or_null(convert), _ALWAYS, None
    return key, convert, _ALWAYS, _zero(schema)


def _or_null(convert: _Encode | None) -> _Encode:
    """An empty list that Go prints: protobuf does not tell it from none at all."""
    if convert is None:
        return lambda value, _base: value or None
    return lambda value, base: convert(value, base) or None


def _zero(schema: Schema) -> Any:
    go = schema.go
    if go.pointer:
        return None
    if go.kind == "struct":
        return _struct_encoder(schema.name)({}, None)
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
        return lambda value, _base: (
            [fill() if element is None else element for element in value]
            if None in value
            else value
        )

    def encode(value: list[Any], base: Any) -> list[Any]:
        printed = _items_of(base, len(value))
        out = [
            fill() if element is None else convert(element, before)
            for element, before in zip(value, printed, strict=False)
        ]
        return value if all(map(operator.is_, out, value)) else out

    return encode


def _map_encoder(values: Schema) -> _Encode | None:
    convert = _encoder_below(values)
    fill = _filler(values)
    if convert is None:
        return lambda value, _base: (
            {key: fill() if element is None else element for key, element in value.items()}
            if None in value.values()
            else value
        )

    def encode(value: Object, base: Any) -> Object:
        printed = _fields_of(base).get
        out = {
            key: fill() if element is None else convert(element, printed(key))
            for key, element in value.items()
        }
        return value if all(map(operator.is_, out.values(), value.values())) else out

    return encode


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


def _bytes_of(value: Any) -> bytes:
    """Base64, or numbers one by one: Go reads bytes from both."""
    if isinstance(value, list):
        return bytes(number or 0 for number in cast("list[Any]", value))
    return base64.b64decode(value)


def _encode_quantity(value: Any, base: Any) -> str | None:
    del base
    text = value if type(value) is str else golang.json_text(value)
    return canonical("quantity", text.strip())


def _encode_time(value: str, base: Any) -> str | None:
    del base
    plain = len(value) == len(_ZERO_TIME) and value[-1] == "Z" and value != _ZERO_TIME
    return value if plain else canonical("time", value)


def _encode_micro_time(value: str, base: Any) -> str | None:
    del base
    plain = len(value) == _MICRO_LENGTH and value[-1] == "Z" and value[19] == "."
    return value if plain and value[:19] != _ZERO_TIME[:19] else canonical("microtime", value)


def _encode_float(value: float, base: Any) -> float:
    del base
    return int(value) if value == int(value) and abs(value) < 1e21 else value


def _encode_schema(value: Any, base: Any) -> Any:
    if type(value) is dict:
        return _struct_encoder(PROPS)(value, base)
    return value if type(value) is bool else None


def _encode_schemas(value: Any, base: Any) -> Any:
    if type(value) is list:
        schemas = cast("list[Object | None]", value)
        return [_struct_encoder(PROPS)(schema or {}, None) for schema in schemas] or None
    return _struct_encoder(PROPS)(value, base) if type(value) is dict else None


_ENCODE: dict[str, _Encode] = {
    "bytes": lambda value, _base: base64.b64encode(_bytes_of(value)).decode(),
    "float": _encode_float,
    "time": _encode_time,
    "microtime": _encode_micro_time,
    "duration": lambda value, _base: canonical("duration", value),
    "quantity": _encode_quantity,
    "schema_or_bool": _encode_schema,
    "schema_or_array": _encode_schemas,
    "schema_or_strings": lambda value, base: (
        (value or None) if type(value) is list else _encode_schemas(value, base)
    ),
}
