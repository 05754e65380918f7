r"""Kubernetes protobuf, both ways: bytes of a message <-> the object as JSON.

The law: the JSON is what Go would print of the message, but for zero values, which
`go_encoding.roundtrip` decides of; what JSON inlines is inlined, what has a form of its own in JSON
(times, quantities, int-or-string, raw extensions) has that form.

On the wire an object is `k8s\0` and a `runtime.Unknown` that holds its type and its message
(`apimachinery/pkg/runtime/serializer/protobuf/protobuf.go`); a watch sends each event as a frame
with its length in four bytes before it (`util/framer/framer.go`).
"""

from __future__ import annotations

import base64
import functools
import struct
from collections.abc import Callable
from typing import Any, cast

import attrs
import msgspec

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.schema import schema_named
from pytest_kubesim.data import load

MAGIC = b"k8s\x00"

_META = "k8s.io.apimachinery.pkg.apis.meta.v1"
_RUNTIME = "k8s.io.apimachinery.pkg.runtime"
_EXTENSIONS = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_json_encode = msgspec.json.Encoder().encode
_json_decode = msgspec.json.Decoder().decode


class ProtobufError(ValueError):
    """Bytes that are no message, or an object that does not fit one."""


class UnknownKind(ProtobufError):
    """A message of a kind that there is not."""

    def __init__(self, api_version: str, kind: str) -> None:
        super().__init__(f'no kind "{kind}" is registered for version "{api_version}"')
        self.api_version = api_version
        self.kind = kind


# -- messages --------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class _Field:
    number: int
    type: str
    label: str
    key: str
    """Its key in JSON; empty where the message's own keys stand in its place."""


@attrs.frozen(slots=True, eq=False)
class _Message:
    by_number: dict[int, _Field]
    by_key: dict[str, _Field]
    inlined: tuple[tuple[_Field, frozenset[str]], ...]
    """Fields whose message is inlined, with the keys that belong to each."""


_SCHEMA_PROPS_KEYS = {
    "iD": "id",
    "schema": "$schema",
    "ref": "$ref",
    "xKubernetesPreserveUnknownFields": "x-kubernetes-preserve-unknown-fields",
    "xKubernetesEmbeddedResource": "x-kubernetes-embedded-resource",
    "xKubernetesIntOrString": "x-kubernetes-int-or-string",
    "xKubernetesListMapKeys": "x-kubernetes-list-map-keys",
    "xKubernetesListType": "x-kubernetes-list-type",
    "xKubernetesMapType": "x-kubernetes-map-type",
    "xKubernetesValidations": "x-kubernetes-validations",
}


def _keys_in_json(name: str) -> dict[str, str]:
    """The keys that the message's kind has in JSON, by their lower case."""
    try:
        schema = schema_named("io." + name.replace("k8s.io.", "k8s.", 1))
    except (KeyError, ValueError):
        return {}
    return {key.lower(): key for key in schema.properties}


@functools.cache
def _message(name: str) -> _Message:
    fields = load.protobuf().get(name)
    if fields is None:
        raise ProtobufError(f"there is no message {name}")
    known = _keys_in_json(name)
    by_number: dict[int, _Field] = {}
    by_key: dict[str, _Field] = {}
    inlined: list[tuple[_Field, frozenset[str]]] = []
    for field, entry in fields.items():
        number, type_ = int(entry[0]), str(entry[1])
        label = str(entry[2]) if len(entry) > 2 else ""
        key = known.get(field.lower(), "")
        if not key and known and "." in type_ and not label:
            made = _Field(number, type_, label, "")
            inner = _message(type_)
            keys = frozenset(inner.by_key) | frozenset(
                k for _, belonging in inner.inlined for k in belonging
            )
            inlined.append((made, keys))
        else:
            made = _Field(number, type_, label, key or _own_key(name, field))
            by_key[made.key] = made
        by_number[number] = made
    return _Message(by_number, by_key, tuple(inlined))


def _own_key(message: str, field: str) -> str:
    if message == f"{_EXTENSIONS}.JSONSchemaProps" and field in _SCHEMA_PROPS_KEYS:
        return _SCHEMA_PROPS_KEYS[field]
    if field.startswith("jSON"):
        return "json" + field[4:]
    return field


# -- reading ---------------------------------------------------------------------------------------


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        try:
            byte = data[at]
        except IndexError:
            raise ProtobufError("unexpected EOF") from None
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift > 63:
            raise ProtobufError("proto: integer overflow")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _fields(data: bytes) -> list[tuple[int, int, Any]]:
    """The fields of a message as (number, wire type, value)."""
    found: list[tuple[int, int, Any]] = []
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ProtobufError("proto: illegal tag 0")
        value: Any
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire == _BYTES:
            size, at = _varint(data, at)
            value = data[at : at + size]
            at += size
        elif wire == _FIXED64:
            value = data[at : at + 8]
            at += 8
        elif wire == _FIXED32:
            value = data[at : at + 4]
            at += 4
        else:
            raise ProtobufError(f"proto: illegal wireType {wire}")
        if at > end:
            raise ProtobufError("unexpected EOF")
        found.append((number, wire, value))
    return found


def _scalar(type_: str, wire: int, value: Any) -> Any:
    if type_ == "string":
        try:
            return bytes(value).decode()
        except (UnicodeDecodeError, TypeError):
            raise ProtobufError("proto: a string is not UTF-8") from None
    if type_ == "bytes":
        return base64.b64encode(value).decode()
    if wire == _VARINT:
        return bool(value) if type_ == "bool" else _signed(value)
    if type_ == "double" and wire == _FIXED64:
        return struct.unpack("<d", value)[0]
    raise ProtobufError(f"proto: wrong wireType = {wire} for a field of type {type_}")


def _read(type_: str, wire: int, value: Any) -> Any:
    if "." not in type_:
        return _scalar(type_, wire, value)
    if wire != _BYTES:
        raise ProtobufError(f"proto: wrong wireType = {wire} for a field of type {type_}")
    special = _READERS.get(type_)
    return special(value) if special is not None else decode_message(type_, value)


def _entry(type_: str, data: bytes) -> tuple[str, Any]:
    key, value = "", _empty(type_)
    for number, wire, found in _fields(data):
        if number == 1:
            key = bytes(found).decode()
        elif number == 2:
            value = _read(type_, wire, found)
    return key, value


def _empty(type_: str) -> Any:
    if "." in type_:
        return _read(type_, _BYTES, b"")
    return {"string": "", "bytes": "", "bool": False}.get(type_, 0)


def decode_message(name: str, data: bytes) -> Object:
    """The JSON of a message of that full name.  Raises `ProtobufError`."""
    message = _message(name)
    made: Object = {}
    for number, wire, value in _fields(data):
        field = message.by_number.get(number)
        if field is None:
            continue
        if field.label == "r":
            made.setdefault(field.key, []).append(_read(field.type, wire, value))
        elif field.label == "m":
            key, found = _entry(field.type, value)
            made.setdefault(field.key, {})[key] = found
        elif field.key:
            made[field.key] = _read(field.type, wire, value)
        else:
            made.update(decode_message(field.type, value))
    return made


def _read_time(text: Callable[[int], str]) -> Callable[[bytes], str | None]:
    def read(data: bytes) -> str | None:
        seconds = nanos = 0
        for number, _, value in _fields(data):
            if number == 1:
                seconds = _signed(value)
            elif number == 2:
                nanos = _signed(value)
        if not seconds and not nanos:
            return None
        return text(seconds * 1_000_000_000 + nanos)

    return read


def _read_first(data: bytes) -> Any:
    """The only field of a wrapper, a string."""
    for _, _, value in _fields(data):
        return bytes(value).decode()
    return ""


def _read_items(data: bytes) -> list[str]:
    return [bytes(value).decode() for _, _, value in _fields(data)]


def _read_raw(data: bytes) -> Any:
    for _, _, value in _fields(data):
        try:
            return _json_decode(value)
        except msgspec.DecodeError as error:
            raise ProtobufError(f"a raw extension is not JSON: {error}") from None
    return None


def _read_int_or_string(data: bytes) -> int | str:
    kind, number, text = 0, 0, ""
    for field, _, value in _fields(data):
        if field == 1:
            kind = value
        elif field == 2:
            number = _signed(value)
        else:
            text = bytes(value).decode()
    return text if kind else number


def _read_duration(data: bytes) -> str:
    for _, _, value in _fields(data):
        return timestamps.format_duration(_signed(value))
    return timestamps.format_duration(0)


def _read_props_or(data: bytes) -> Any:
    """`JSONSchemaPropsOrArray`, `OrBool`, `OrStringArray`: one of two things."""
    texts: list[str] = []
    for number, wire, value in _fields(data):
        if wire == _VARINT:
            allowed = bool(value)
            rest = [v for _, w, v in _fields(data) if w == _BYTES]
            return decode_message(f"{_EXTENSIONS}.JSONSchemaProps", rest[0]) if rest else allowed
        if number == 1:
            return decode_message(f"{_EXTENSIONS}.JSONSchemaProps", value)
        texts.append(bytes(value).decode())
    return texts


_READERS: dict[str, Callable[[bytes], Any]] = {
    f"{_META}.Time": _read_time(timestamps.format_time),
    f"{_META}.MicroTime": _read_time(timestamps.format_micro_time),
    f"{_META}.Duration": _read_duration,
    f"{_META}.FieldsV1": _read_raw,
    f"{_META}.Verbs": _read_items,
    "k8s.io.apimachinery.pkg.api.resource.Quantity": _read_first,
    "k8s.io.apimachinery.pkg.api.resource.QuantityValue": _read_first,
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": _read_int_or_string,
    f"{_RUNTIME}.RawExtension": _read_raw,
    f"{_EXTENSIONS}.JSON": _read_raw,
    f"{_EXTENSIONS}.JSONSchemaPropsOrArray": _read_props_or,
    f"{_EXTENSIONS}.JSONSchemaPropsOrBool": _read_props_or,
    **{
        f"k8s.io.api.{group}.ExtraValue": _read_items
        for group in ("authentication.v1", "authorization.v1", "certificates.v1")
    },
}


# -- writing ---------------------------------------------------------------------------------------


def _put_varint(value: int) -> bytes:
    if 0 <= value < 0x80:
        return bytes((value,))
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _put_bytes(number: int, data: bytes) -> bytes:
    return _put_varint(number << 3 | _BYTES) + _put_varint(len(data)) + data


def _put(number: int, type_: str, value: Any) -> bytes:
    if "." in type_:
        special = _WRITERS.get(type_)
        data = special(value) if special is not None else encode_message(type_, value)
        return _put_bytes(number, data)
    if type_ == "string":
        return _put_bytes(number, str(value).encode())
    if type_ == "bytes":
        return _put_bytes(number, base64.b64decode(value))
    if type_ == "double":
        return _put_varint(number << 3 | _FIXED64) + struct.pack("<d", float(value))
    return _put_varint(number << 3 | _VARINT) + _put_varint(int(value))


def _put_entry(number: int, type_: str, key: str, value: Any) -> bytes:
    return _put_bytes(number, _put_bytes(1, key.encode()) + _put(2, type_, value))


def encode_message(name: str, obj: Object) -> bytes:
    """The message of that full name with what the JSON says.  Keys it has no field for are left."""
    message = _message(name)
    out: list[tuple[int, bytes]] = []
    for key, value in obj.items():
        if value is None:
            continue
        field = message.by_key.get(key)
        if field is None:
            continue
        number, type_ = field.number, field.type
        if field.label == "r":
            out += [(number, _put(number, type_, item)) for item in value]
        elif field.label == "m":
            entries = sorted(cast("dict[str, Any]", value).items())
            out += [(number, _put_entry(number, type_, k, v)) for k, v in entries]
        else:
            out.append((number, _put(number, type_, value)))
    for field, keys in message.inlined:
        part = {key: value for key, value in obj.items() if key in keys}
        out.append((field.number, _put_bytes(field.number, encode_message(field.type, part))))
    out.sort(key=lambda entry: entry[0])
    return b"".join(data for _, data in out)


def _write_time(parse: Callable[[str], int]) -> Callable[[str], bytes]:
    def write(text: str) -> bytes:
        seconds, nanos = divmod(parse(text), 1_000_000_000)
        return _put(1, "int64", seconds) + _put(2, "int32", nanos)

    return write


def _write_text(value: Any) -> bytes:
    return _put_bytes(1, str(value).encode())


def _write_items(values: list[str]) -> bytes:
    return b"".join(_put_bytes(1, value.encode()) for value in values)


def _write_raw(value: Any) -> bytes:
    return _put_bytes(1, _json_encode(value))


def _write_int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return _put(1, "int64", 1) + _put(2, "int32", 0) + _put(3, "string", value)
    return _put(1, "int64", 0) + _put(2, "int32", value) + _put(3, "string", "")


def _write_duration(text: str) -> bytes:
    return _put(1, "int64", timestamps.parse_duration(text))


def _write_props_or_array(value: Any) -> bytes:
    name = f"{_EXTENSIONS}.JSONSchemaProps"
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return b"".join(_put_bytes(2, encode_message(name, item)) for item in items)
    return _put_bytes(1, encode_message(name, value))


def _write_props_or_bool(value: Any) -> bytes:
    if isinstance(value, bool):
        return _put(1, "bool", value)
    name = f"{_EXTENSIONS}.JSONSchemaProps"
    return _put(1, "bool", True) + _put_bytes(2, encode_message(name, value))


_WRITERS: dict[str, Callable[[Any], bytes]] = {
    f"{_META}.Time": _write_time(timestamps.parse_time),
    f"{_META}.MicroTime": _write_time(timestamps.parse_micro_time),
    f"{_META}.Duration": _write_duration,
    f"{_META}.FieldsV1": _write_raw,
    f"{_META}.Verbs": _write_items,
    "k8s.io.apimachinery.pkg.api.resource.Quantity": _write_text,
    "k8s.io.apimachinery.pkg.api.resource.QuantityValue": _write_text,
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": _write_int_or_string,
    f"{_RUNTIME}.RawExtension": _write_raw,
    f"{_EXTENSIONS}.JSON": _write_raw,
    f"{_EXTENSIONS}.JSONSchemaPropsOrArray": _write_props_or_array,
    f"{_EXTENSIONS}.JSONSchemaPropsOrBool": _write_props_or_bool,
    **{
        f"k8s.io.api.{group}.ExtraValue": _write_items
        for group in ("authentication.v1", "authorization.v1", "certificates.v1")
    },
}


# -- whole objects ---------------------------------------------------------------------------------

_PACKAGES = {
    "": "core",
    "rbac.authorization.k8s.io": "rbac",
    "flowcontrol.apiserver.k8s.io": "flowcontrol",
    "internal.apiserver.k8s.io": "apiserverinternal",
}
_META_KINDS = frozenset(
    {
        "Status", "DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions", "GetOptions",
        "ListOptions", "WatchEvent", "APIGroup", "APIGroupList", "APIResourceList", "APIVersions",
        "Table", "PartialObjectMetadata", "PartialObjectMetadataList",
    }
)


@functools.cache
def message_of(api_version: str, kind: str) -> str | None:
    """The full name of the message of a kind; None where it has none (custom resources)."""
    messages = load.protobuf()
    group, _, version = api_version.rpartition("/")
    if kind in _META_KINDS:
        return f"{_META}.{kind}"
    if group == "apiextensions.k8s.io":
        name = f"k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.{version}.{kind}"
    elif group == "apiregistration.k8s.io":
        name = f"k8s.io.kube_aggregator.pkg.apis.apiregistration.{version}.{kind}"
    else:
        package = _PACKAGES.get(group) or group.partition(".")[0]
        name = f"k8s.io.api.{package}.{version}.{kind}"
    return name if name in messages else None


NO_MESSAGE = (
    "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
)


def encode(obj: Object) -> bytes:
    """An object on the wire.  Raises `ProtobufError` for a kind without a message."""
    api_version, kind = obj.get("apiVersion") or "", obj.get("kind") or ""
    name = message_of(api_version, kind)
    if name is None:
        raise ProtobufError(f"{api_version}, Kind={kind} has no protobuf message")
    type_meta = _put_bytes(1, api_version.encode()) + _put_bytes(2, kind.encode())
    unknown = (
        _put_bytes(1, type_meta)
        + _put_bytes(2, encode_message(name, obj))
        + _put_bytes(3, b"")
        + _put_bytes(4, b"")
    )
    return MAGIC + unknown


def encode_event(type_: str, obj: Object) -> bytes:
    """A watch event as a frame of a stream."""
    body = _put_bytes(1, type_.encode()) + _put_bytes(2, _put_bytes(1, encode(obj)))
    return struct.pack(">I", len(body)) + body


def decode(data: bytes, usual: tuple[str, str] = ("", "")) -> Object:
    """The object in bytes from the wire; `usual`, apiVersion and kind of one that says none.

    Raises `ProtobufError`.
    """
    if not data.startswith(MAGIC):
        raise ProtobufError(NO_MESSAGE)
    api_version = kind = ""
    raw = b""
    for number, _, value in _fields(data[4:]):
        if number == 1:
            for part, _, text in _fields(value):
                if part == 1:
                    api_version = bytes(text).decode()
                elif part == 2:
                    kind = bytes(text).decode()
        elif number == 2:
            raw = value
    api_version, kind = api_version or usual[0], kind or usual[1]
    head = {"kind": kind, "apiVersion": api_version}
    name = message_of(api_version, kind)
    if name is None:
        raise UnknownKind(api_version, kind)
    return {**head, **decode_message(name, raw)}
