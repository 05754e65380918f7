"""ConfigMaps.

Follows `pkg/registry/core/configmap/strategy.go` and `ValidateConfigMap` of
`pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.strategies import Plain

MAX_SIZE_BYTES = 1024 * 1024
_DATA, _BINARY = Path("data"), Path("binaryData")


def decoded_length(encoded: str) -> int:
    """How many bytes a base64 text stands for."""
    return len(encoded) * 3 // 4 - encoded[-2:].count("=")


def frozen_changes(obj: Object, old: Object, *keys: str) -> ErrorList:
    """What may not change any more once `immutable` is set."""
    if not old.get("immutable"):
        return []
    detail = "field is immutable when `immutable` is set"
    errors: ErrorList = []
    if not obj.get("immutable"):
        errors.append(field.forbidden(Path("immutable"), detail))
    return errors + [
        field.forbidden(Path(key), detail)
        for key in keys
        if (obj.get(key) or {}) != (old.get(key) or {})
    ]


class ConfigMapStrategy(Plain):
    """`/configmaps`."""

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """Keys, size, and what is frozen."""
        errors = [] if old is None else frozen_changes(obj, old, "data", "binaryData")
        data: dict[str, str] = obj.get("data") or {}
        binary: dict[str, str] = obj.get("binaryData") or {}
        size = 0
        for key in sorted(data):
            errors += field.invalid_each(_DATA.key(key), key, formats.is_config_map_key(key))
            if key in binary:
                detail = "duplicate of key present in binaryData"
                errors.append(field.invalid(_DATA.key(key), key, detail))
            size += len(data[key].encode("utf-8", "surrogatepass"))
        for key in sorted(binary):
            errors += field.invalid_each(_BINARY.key(key), key, formats.is_config_map_key(key))
            size += decoded_length(binary[key])
        if size > MAX_SIZE_BYTES:
            errors.append(FieldError(field.TOO_LONG, "[]", "<value omitted>", _TOO_LONG))
        return errors


_TOO_LONG = f"may not be more than {MAX_SIZE_BYTES} bytes"


def _row(obj: Object, now_ns: int) -> list[Any]:
    count = len(obj.get("data") or ()) + len(obj.get("binaryData") or ())
    return [obj["metadata"]["name"], count, age(obj, now_ns)]


KIND = Kind(strategy=ConfigMapStrategy(), printer=printer("ConfigMap", _row))
