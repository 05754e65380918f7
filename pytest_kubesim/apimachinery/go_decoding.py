"""What Go's JSON decoder says of an object: keys it does not know, values that do not fit.

The law: nothing is changed in place. Every struct is compiled once, at its first use, into closures
over its keys; a request runs those, and only an object with a mistake is walked again to word the
error as the decoder does.

Follows ``sigs.k8s.io/json/internal/golang/encoding/json/decode.go`` with its
``kubernetes_patch.go``, and the ``UnmarshalJSON`` methods of ``apimachinery``.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any, TypeAlias, TypeGuard

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery.go_encoding import canonical
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.schema import PROPS, Schema, schema_named

_Accepts: TypeAlias = Callable[[Any, Any], bool]
"""Whether a value is right, given one that is and that it may share parts with."""

_NOTHING: Object = {}

_MAX_STRICT_ERRORS = 100
_PLAIN_TIME = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{6})?Z"
)
_EMBEDDED_RESOURCE_KEYS = frozenset({"apiVersion", "kind", "metadata"})
_INTS = {"int32": 1 << 31, "int64": 1 << 63}


def unknown_fields(schema: Schema, obj: Object, base: Object | None = None) -> list[str]:
    """The strict decoder's complaints, in document order: ``unknown field "spec.ports[0].foo"``.

    At most a hundred, each once. ``base`` as in ``check_types``. Works for custom resources too,
    where a key is known that the structural schema declares or preserves.
    """
    if schema.go.kind == "struct" and _knows(schema.name)(obj, base):
        return []
    found: dict[str, None] = {}
    for path in _unknown(schema, obj, ""):
        found[f"unknown field {golang.quote(path)}"] = None
        if len(found) == _MAX_STRICT_ERRORS:
            break
    return list(found)


def drop_unknown(schema: Schema, obj: Any) -> Any:
    """The value without the keys that its schema does not know, at any depth."""
    if _is_list(obj):
        item = schema.items
        return obj if item is None else [drop_unknown(item, element) for element in obj]
    if not _is_object(obj) or _is_leaf(schema):
        return obj
    kept: Object = {}
    for key, value in obj.items():
        child = schema.child(key)
        if child is not None:
            kept[key] = drop_unknown(child, value)
        elif _keeps(schema, key):
            kept[key] = value
    return kept


def check_types(schema: Schema, obj: Object, base: Object | None = None) -> str | None:
    """The Go decoder's error for a built-in object, or None if every value fits its field.

    The text is the decoder's own, such as ``json: cannot unmarshal string into Go struct field
    DeploymentSpec.spec.replicas of type int32``: the first mismatch in document order, unless a
    type that decodes itself (a time, a quantity) refuses, which ends the decoding at once. ``base``
    is an object of the same kind without a mistake: parts of it that ``obj`` shares are not looked
    at again.
    """
    if _accepts(schema)(obj, base):
        return None
    saved: list[str] = []
    try:
        _explain(schema, obj, "", (), saved)
    except _Refused as refused:
        return str(refused)
    return saved[0] if saved else None


# -- decoding: what is unknown ---------------------------------------------------------------------


def _is_object(value: Any) -> TypeGuard[Object]:
    return isinstance(value, dict)


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _is_leaf(schema: Schema) -> bool:
    return schema.go.kind not in ("", "struct", "map", "slice")


def _keeps(schema: Schema, key: str) -> bool:
    return schema.preserve_unknown or (schema.embedded_resource and key in _EMBEDDED_RESOURCE_KEYS)


def _unknown(schema: Schema, value: Any, path: str) -> Iterator[str]:
    if _is_list(value):
        if (item := schema.items) is not None:
            for index, element in enumerate(value):
                yield from _unknown(item, element, f"{path}[{index}]")
    elif _is_object(value) and not _is_leaf(schema):
        for key, element in value.items():
            below = f"{path}.{key}" if path else key
            child = schema.child(key)
            if child is not None:
                yield from _unknown(child, element, below)
            elif not _keeps(schema, key):
                yield below


@functools.cache
def _knows(name: str) -> _Accepts:
    """Whether an object holds known keys only, for a built-in struct."""
    known: frozenset[str] = frozenset()
    inner: list[tuple[str, _Accepts]] | None = None

    def knows(value: Any, base: Any) -> bool:
        nonlocal known, inner
        if value is base:
            return True
        if inner is None:
            properties = schema_named(name).properties
            known = frozenset(properties)
            inner = [
                (key, walk)
                for key, child in properties.items()
                if (walk := _knows_below(child)) is not None
            ]
        if not _is_object(value):
            return True
        if not value.keys() <= known:
            return False
        right = (base if _is_object(base) else _NOTHING).get
        for key, walk in inner:
            element = value.get(key)
            if element and element is not (before := right(key)) and not walk(element, before):
                return False
        return True

    return knows


def _knows_below(schema: Schema) -> _Accepts | None:
    if schema.go.kind == "struct":
        return _knows(schema.name)
    if schema.go.kind == "slice" and schema.items is not None:
        walk = _knows_below(schema.items)
        if walk is not None:
            return lambda value, base: (
                not _is_list(value) or all(map(walk, value, _alike(value, base)))
            )
    if schema.go.kind == "map" and schema.additional_properties is not None:
        walk = _knows_below(schema.additional_properties)
        if walk is not None:
            return lambda value, _base: (
                not _is_object(value) or all(walk(element, None) for element in value.values())
            )
    return None


def _alike(value: list[Any], base: Any) -> Iterable[Any]:
    """What stands in the places of ``value`` in ``base``, where they have the same length."""
    if _is_list(base) and len(base) == len(value):
        return base
    return repeat(None, len(value))


# -- decoding: what does not fit -------------------------------------------------------------------


class _Refused(Exception):
    """A type that decodes itself ended the decoding."""


def _accepts(schema: Schema) -> _Accepts:
    """Whether Go decodes a value without an error; None always fits."""
    kind = schema.go.kind
    if kind == "struct":
        return _accepts_struct(schema.name)
    if kind in ("slice", "map"):
        child = schema.items if kind == "slice" else schema.additional_properties
        assert child is not None
        inner = _accepts(child)
        if kind == "slice":
            return lambda value, base: (
                value is None or (_is_list(value) and all(map(inner, value, _alike(value, base))))
            )
        return lambda value, _base: (
            value is None
            or (_is_object(value) and all(inner(element, None) for element in value.values()))
        )
    if kind == "int":
        limit = _INTS[schema.format]
        return lambda value, _base: (
            value is None or (type(value) is int and -limit <= value < limit)
        )
    return _ACCEPTS[kind]


@functools.cache
def _accepts_struct(name: str) -> _Accepts:
    fields: dict[str, _Accepts] | None = None

    def accepts(value: Any, base: Any) -> bool:
        nonlocal fields
        if value is base:
            return True
        if fields is None:
            fields = {key: _accepts(child) for key, child in schema_named(name).properties.items()}
        if not _is_object(value):
            return value is None
        right = (base if _is_object(base) else _NOTHING).get
        for key, element in value.items():
            if (
                element is not None
                and element is not (before := right(key))
                and key in fields
                and not fields[key](element, before)
            ):
                return False
        return True

    return accepts


def _accepts_bytes(value: Any, base: Any) -> bool:
    del base
    if _is_list(value):
        return all(item is None or (type(item) is int and 0 <= item < 256) for item in value)
    return value is None or (type(value) is str and _base64_error(value) is None)


def _accepts_schema(value: Any, base: Any) -> bool:
    return not _is_object(value) or _accepts_struct(PROPS)(value, base)


def _accepts_self_decoding(kind: str, value: Any, base: Any) -> bool:
    del base
    return value is None or _refusal(kind, value) is None


_ACCEPTS: dict[str, _Accepts] = {
    "string": lambda value, _base: value is None or type(value) is str,
    "bool": lambda value, _base: value is None or type(value) is bool,
    "float": lambda value, _base: value is None or type(value) in (int, float),
    "bytes": _accepts_bytes,
    "intstr": lambda value, _base: (
        value is None or type(value) is str or (type(value) is int and abs(value) < 1 << 31)
    ),
    "raw": lambda _value, _base: True,
    "time": functools.partial(_accepts_self_decoding, "time"),
    "microtime": functools.partial(_accepts_self_decoding, "microtime"),
    "duration": functools.partial(_accepts_self_decoding, "duration"),
    "quantity": functools.partial(_accepts_self_decoding, "quantity"),
    "schema_or_bool": lambda value, base: (
        type(value) in (bool, dict) and _accepts_schema(value, base)
    ),
    "schema_or_array": lambda value, base: (
        all(map(_accepts_struct(PROPS), value, _alike(value, base)))
        if _is_list(value)
        else _accepts_schema(value, base)
    ),
    "schema_or_strings": lambda value, base: (
        all(type(element) in (str, type(None)) for element in value)
        if _is_list(value)
        else _accepts_schema(value, base)
    ),
}


def _explain(
    schema: Schema, value: Any, struct: str, path: tuple[str, ...], saved: list[str]
) -> None:
    """Walks like the decoder: appends what it would save, raises what would end it."""
    kind = schema.go.kind
    if value is None or kind == "raw":
        return
    if kind == "struct" and _is_object(value):
        name = schema.name.rpartition(".")[2]
        properties = schema.properties
        for key, element in value.items():
            if (child := properties.get(key)) is not None:
                _explain(child, element, name, (*path, *child.go.embedded, key), saved)
    elif kind == "map" and _is_object(value) and (values := schema.additional_properties):
        for element in value.values():
            _explain(values, element, struct, path, saved)
    elif kind == "slice" and _is_list(value) and (item := schema.items):
        for element in value:
            _explain(item, element, struct, path, saved)
    elif kind.startswith("schema_or_"):
        _explain_schema(kind, value, struct, path)
    elif kind in ("time", "microtime", "duration", "quantity", "intstr"):
        _explain_self_decoding(kind, value, struct, path)
    elif kind == "bytes" and isinstance(value, str):
        if (error := _base64_error(value)) is not None:
            saved.append(error)
    elif not _accepts(schema)(value, None):
        saved.append(_mismatch(value, kind, schema.go.type_name, struct, path))


def _explain_self_decoding(kind: str, value: Any, struct: str, path: tuple[str, ...]) -> None:
    if kind == "intstr":
        if not _ACCEPTS["intstr"](value, None):
            raise _Refused(_mismatch(value, "int", "int32", struct, path))
    elif kind != "quantity" and not isinstance(value, str):
        raise _Refused(_mismatch(value, "string", "string", struct, path))
    elif (error := _refusal(kind, value)) is not None:
        raise _Refused(error)


def _explain_schema(kind: str, value: Any, struct: str, path: tuple[str, ...]) -> None:
    """The types of a CRD that are a schema or something else; errors inside name the outer struct.

    Follows ``apiextensions/v1/marshal.go``.
    """
    saved: list[str] = []
    if _is_object(value):
        _explain(schema_named(PROPS), value, struct, path, saved)
    elif _is_list(value) and kind != "schema_or_bool":
        for element in value:
            if kind == "schema_or_array":
                _explain(schema_named(PROPS), element, struct, path, saved)
            elif element is not None and not isinstance(element, str):
                saved.append(_mismatch(element, "string", "string", struct, path))
    elif kind == "schema_or_bool" and not isinstance(value, bool):
        raise _Refused("boolean or JSON schema expected")
    if saved:
        raise _Refused(re.sub(r"(?<=struct field )\w+", struct, saved[0]))


def _mismatch(value: Any, kind: str, type_name: str, struct: str, path: tuple[str, ...]) -> str:
    """``UnmarshalTypeError.Error``. Numbers show their digits only where a number is wanted."""
    if isinstance(value, bool):
        shown = "bool"
    elif isinstance(value, int | float):
        shown = f"number {golang.json_text(value)}" if kind in ("int", "float") else "number"
    else:
        shown = {str: "string", list: "array", dict: "object"}[type(value)]
    if not path:
        return f"json: cannot unmarshal {shown} into Go value of type {type_name}"
    field = ".".join((struct, *path))
    return f"json: cannot unmarshal {shown} into Go struct field {field} of type {type_name}"


@functools.lru_cache(4096)
def _text_refusal(kind: str, text: str) -> str | None:
    """Why a time, duration or quantity is none, in Go's words."""
    try:
        canonical(kind, text)
    except ValueError as error:
        return str(error)
    return None


def _refusal(kind: str, value: Any) -> str | None:
    if kind == "quantity":
        text = value if isinstance(value, str) else golang.json_text(value)
        return _text_refusal(kind, text.strip())
    if not isinstance(value, str):
        return "not a string"
    plain = _PLAIN_TIME.fullmatch(value)
    if plain and kind == ("microtime" if plain.group(1) else "time"):
        return None
    return _text_refusal(kind, value)


def _base64_error(text: str) -> str | None:
    """``base64.CorruptInputError`` with the offset that Go reports."""
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        cleaned = text.replace("\r", "").replace("\n", "")
        if cleaned != text:
            return _base64_error(cleaned)
    else:
        return None
    return f"illegal base64 data at input byte {_corrupt_offset(text)}"


def _corrupt_offset(text: str) -> int:
    """Where ``Encoding.decodeQuantum`` gives up: the first bad character or a short last group."""
    end = len(text.rstrip("="))
    for index, character in enumerate(text[:end]):
        if not (character.isascii() and (character.isalnum() or character in "+/")):
            return index
    if end % 4 < 2:
        return end if end < len(text) else max(end - end % 4, 0)
    wanted = 4 - end % 4
    return end + wanted if len(text) - end > wanted else end - end % 4
