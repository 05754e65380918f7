"""The OpenAPI v2 document as protobuf: how kubectl and other Go clients ask for it.

The law: a message is a table of its fields in the order of their numbers.  A field is written
`name:type`; a capital letter begins the name of another message, `*` means repeated, `{}` a map
(its entries are messages of name 1 and value 2).  What starts with `x-` in JSON goes to the last
field, the vendor extensions.  Where the description of the format leaves a choice (a parameter in
the body or elsewhere, a reference or the thing itself), `_CHOICES` makes it.

Follows `openapiv2/OpenAPIv2.{proto,go}` of `github.com/google/gnostic-models`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

_SHARED = (
    "default:Any maximum:double exclusiveMaximum:bool minimum:double exclusiveMinimum:bool "
    "maxLength:int minLength:int pattern:string maxItems:int minItems:int uniqueItems:bool "
    "enum:*Any multipleOf:double"
)
_TYPED = f"type:string format:string items:PrimitivesItems collectionFormat:string {_SHARED}"
_NAMED = "required:bool in:string description:string name:string"

_TEXT = {
    "Document": "swagger:string info:Info host:string basePath:string schemes:*string "
    "consumes:*string produces:*string paths:Paths definitions:{}Schema parameters:{}Parameter "
    "responses:{}Response security:*SecurityRequirement "
    "securityDefinitions:{}SecurityDefinitionsItem tags:*Tag externalDocs:ExternalDocs x-",
    "Info": "title:string version:string description:string termsOfService:string "
    "contact:Contact license:License x-",
    "Contact": "name:string url:string email:string x-",
    "License": "name:string url:string x-",
    "Tag": "name:string description:string externalDocs:ExternalDocs x-",
    "ExternalDocs": "description:string url:string x-",
    "PathItem": "$ref:string get:Operation put:Operation post:Operation delete:Operation "
    "options:Operation head:Operation patch:Operation parameters:*ParametersItem x-",
    "Operation": "tags:*string summary:string description:string externalDocs:ExternalDocs "
    "operationId:string produces:*string consumes:*string parameters:*ParametersItem "
    "responses:Responses schemes:*string deprecated:bool security:*SecurityRequirement x-",
    "Response": "description:string schema:SchemaItem headers:{}Header examples:{}Any x-",
    "Header": f"{_TYPED} description:string x-",
    "PrimitivesItems": f"{_TYPED} x-",
    "JsonReference": "$ref:string description:string",
    "BodyParameter": "description:string name:string in:string required:bool schema:Schema x-",
    "header": f"{_NAMED} {_TYPED} x-",
    "path": f"{_NAMED} {_TYPED} x-",
    "query": f"{_NAMED} allowEmptyValue:bool {_TYPED} x-",
    "formData": f"{_NAMED} allowEmptyValue:bool {_TYPED} x-",
    "Schema": "$ref:string format:string title:string description:string default:Any "
    "multipleOf:double maximum:double exclusiveMaximum:bool minimum:double exclusiveMinimum:bool "
    "maxLength:int minLength:int pattern:string maxItems:int minItems:int uniqueItems:bool "
    "maxProperties:int minProperties:int required:*string enum:*Any "
    "additionalProperties:AdditionalPropertiesItem type:TypeItem items:ItemsItem allOf:*Schema "
    "properties:{}Schema discriminator:string readOnly:bool xml:Xml externalDocs:ExternalDocs "
    "example:Any x-",
    "Xml": "name:string namespace:string prefix:string attribute:bool wrapped:bool x-",
    "basic": "type:string description:string x-",
    "apiKey": "type:string name:string in:string description:string x-",
}


def encode(document: bytes) -> bytes:
    """The protobuf form of an OpenAPI v2 document in JSON."""
    return _message("Document", msgspec.json.decode(document))


def _varint(value: int) -> bytes:
    if 0 <= value < 0x80:
        return bytes((value,))
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _sized(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _string(number: int, value: str) -> bytes:
    return _sized(number, value.encode())


def _bool(number: int, value: bool) -> bytes:
    return _varint(number << 3) + b"\x01" if value else b""


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(int(value)) if value else b""


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value) if value else b""


def _any(value: Any) -> bytes:
    # Its readers parse YAML, which JSON is.
    return _string(2, json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n")


def _pair(number: int, name: str, value: bytes) -> bytes:
    return _sized(number, _string(1, name) + _sized(2, value))


_Writer = Callable[[int, Any], bytes]
_SCALARS: dict[str, _Writer] = {"string": _string, "bool": _bool, "int": _int, "double": _double}


def _writer(type_: str) -> _Writer:
    if type_.startswith("*"):
        one = _writer(type_[1:])
        return lambda number, values: b"".join([one(number, value) for value in values])
    if type_.startswith("{}"):
        inner = type_[2:]
        return lambda number, values: _sized(
            number, b"".join([_pair(1, name, _message(inner, v)) for name, v in values.items()])
        )
    scalar = _SCALARS.get(type_)
    return scalar or (lambda number, value: _sized(number, _message(type_, value)))


def _table(text: str) -> tuple[dict[str, tuple[int, _Writer]], int]:
    fields: dict[str, tuple[int, _Writer]] = {}
    extensions = 0
    for number, field in enumerate(text.split(), 1):
        name, _, type_ = field.partition(":")
        if type_:
            fields[name] = (number, _writer(type_))
        else:
            extensions = number
    return fields, extensions


def _message(name: str, value: Any) -> bytes:
    choice = _CHOICES.get(name)
    if choice is not None:
        return choice(value)
    fields, extensions = _TABLES[name]
    out: list[bytes] = []
    for key, inner in value.items():
        field = fields.get(key)
        if field is not None:
            out.append(field[1](field[0], inner))
        elif extensions and key.startswith("x-"):
            out.append(_pair(extensions, key, _any(inner)))
    return b"".join(out)


# -- choices ---------------------------------------------------------------------------------------


def _parameter(value: Mapping[str, Any]) -> bytes:
    place = value.get("in")
    if place == "body":
        return _sized(1, _message("BodyParameter", value))
    number = ("header", "formData", "query", "path").index(str(place)) + 1
    return _sized(2, _sized(number, _message(str(place), value)))


def _or_reference(inner: str) -> Callable[[Any], bytes]:
    def choose(value: Any) -> bytes:
        if "$ref" in value:
            return _sized(2, _message("JsonReference", value))
        return _sized(1, _message(inner, value))

    return choose


def _responses(value: Mapping[str, Any]) -> bytes:
    return b"".join(
        _pair(2, code, _any(one)) if code.startswith("x-")
        else _pair(1, code, _message("ResponseValue", one))
        for code, one in value.items()
    )


def _paths(value: Mapping[str, Any]) -> bytes:
    return b"".join(
        _pair(1, path, _any(one)) if path.startswith("x-")
        else _pair(2, path, _message("PathItem", one))
        for path, one in value.items()
    )


def _items(value: Any) -> bytes:
    schemas = cast("list[Any]", value) if isinstance(value, list) else [value]
    return b"".join([_sized(1, _message("Schema", one)) for one in schemas])


def _additional(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    return _sized(1, _message("Schema", value))


def _security(value: Mapping[str, Any]) -> bytes:
    return b"".join(
        _pair(1, name, b"".join([_string(1, scope) for scope in scopes]))
        for name, scopes in value.items()
    )


def _security_definition(value: Mapping[str, Any]) -> bytes:
    kinds = ("basic", "apiKey")
    return _sized(kinds.index(value["type"]) + 1, _message(value["type"], value))


_CHOICES: dict[str, Callable[[Any], bytes]] = {
    "Any": _any,
    "Parameter": _parameter,
    "ParametersItem": _or_reference("Parameter"),
    "ResponseValue": _or_reference("Response"),
    "Responses": _responses,
    "Paths": _paths,
    "SchemaItem": lambda value: _sized(1, _message("Schema", value)),
    "ItemsItem": _items,
    "AdditionalPropertiesItem": _additional,
    "TypeItem": lambda value: b"".join(
        [_string(1, one) for one in ([value] if isinstance(value, str) else value)]
    ),
    "SecurityRequirement": _security,
    "SecurityDefinitionsItem": _security_definition,
}
_TABLES = {name: _table(text) for name, text in _TEXT.items()}
