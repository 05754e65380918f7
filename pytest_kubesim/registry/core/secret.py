"""Secrets.

The law: `stringData` is written into `data` when a Secret is decoded, and is never read back.

Follows `pkg/registry/core/secret/strategy.go`, `pkg/apis/core/v1/conversion.go` and
`ValidateSecret` of `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

import base64
import json
from typing import Any, cast

from pytest_kubesim.apimachinery import formats, json_scanner
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.core.config_map import (
    MAX_SIZE_BYTES,
    decoded_length,
    frozen_changes,
)
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import Plain, annotations_of

_DATA = Path("data")
_ACCOUNT = "kubernetes.io/service-account.name"
_REDACTED = "<secret contents redacted>"
_DOCKER = {
    "kubernetes.io/dockercfg": ".dockercfg",
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
}


class SecretStrategy(Plain):
    """`/secrets`."""

    selectable = ("metadata.name", "metadata.namespace", "type")

    def default(self, obj: Object) -> Object:
        """`SetDefaults_Secret`, and `stringData` where it belongs."""
        out: Object = {**obj, "type": obj.get("type") or "Opaque"}
        if strings := obj.get("stringData"):
            data: Object = dict(obj.get("data") or {})
            for key, text in strings.items():
                data[key] = base64.b64encode((text or "").encode("utf-8", "surrogatepass")).decode()
            out["data"] = data
            del out["stringData"]
        return out

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old type, if none is given."""
        del ctx
        return obj if obj.get("type") else {**obj, "type": old.get("type")}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """Keys, size, what the type demands, and what is frozen."""
        errors: ErrorList = []
        kind: str = obj.get("type") or ""
        if old is not None:
            if kind != (old.get("type") or ""):
                errors.append(field.invalid(Path("type"), kind, field.FIELD_IMMUTABLE))
            errors += frozen_changes(obj, old, "data")
        data: dict[str, str] = obj.get("data") or {}
        size = 0
        for key in sorted(data):
            errors += field.invalid_each(_DATA.key(key), key, formats.is_config_map_key(key))
            size += decoded_length(data[key])
        if size > MAX_SIZE_BYTES:
            errors.append(field.too_long(_DATA, MAX_SIZE_BYTES))
        return errors + _of_type(obj, kind, data)

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """The type."""
        return {"type": obj.get("type") or ""}

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """What is wrong with a key pair."""
        del ctx
        return _key_pair_warnings(obj)

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """The same."""
        del ctx, old
        return _key_pair_warnings(obj)


def _of_type(obj: Object, kind: str, data: dict[str, str]) -> ErrorList:
    if kind == "kubernetes.io/service-account-token":
        if annotations_of(obj).get(_ACCOUNT):
            return []
        return [field.required(Path("metadata", "annotations").key(_ACCOUNT))]
    if kind in _DOCKER:
        return _json(data, _DOCKER[kind])
    if kind == "kubernetes.io/basic-auth":
        if "username" in data or "password" in data:
            return []
        return [field.required(_DATA.key(key)) for key in ("username", "password")]
    if kind == "kubernetes.io/ssh-auth":
        key = "ssh-privatekey"
        return [] if data.get(key) else [field.required(_DATA.key(key))]
    if kind == "kubernetes.io/tls":
        return [field.required(_DATA.key(key)) for key in ("tls.crt", "tls.key") if key not in data]
    return []


def _json(data: dict[str, str], key: str) -> ErrorList:
    where = _DATA.key(key)
    if key not in data:
        return [field.required(where)]
    text = base64.b64decode(data[key]).decode("utf-8", "replace")
    problem = _json_problem(text)
    return [field.invalid(where, _REDACTED, problem)] if problem else []


def _json_problem(text: str) -> str:
    """Why Go cannot read a JSON map from the text, in its words as far as they can be told."""
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError:
        return json_scanner.explain(text)
    if value is None or isinstance(value, dict):
        return ""
    names = {"str": "string", "list": "array", "bool": "bool"}
    name = names.get(type(cast("object", value)).__name__, "number")
    return f"json: cannot unmarshal {name} into Go value of type map[string]interface {{}}"


_NO_PEM = "tls: failed to find any PEM data in {} input"


def _key_pair_warnings(obj: Object) -> list[str]:
    if obj.get("type") != "kubernetes.io/tls":
        return []
    data: dict[str, str] = obj.get("data") or {}
    for key, what in (("tls.crt", "certificate"), ("tls.key", "key")):
        if b"-----BEGIN " not in base64.b64decode(data.get(key) or ""):
            return [_NO_PEM.format(what)]
    return []


def _row(obj: Object, now_ns: int) -> list[Any]:
    return [
        obj["metadata"]["name"],
        obj.get("type") or "",
        len(obj.get("data") or ()),
        age(obj, now_ns),
    ]


KIND = Kind(strategy=SecretStrategy(), printer=printer("Secret", _row))
