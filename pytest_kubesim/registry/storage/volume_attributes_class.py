"""VolumeAttributesClasses.

Follows `pkg/registry/storage/volumeattributesclass/strategy.go` and
`pkg/apis/storage/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.storage import classes
from pytest_kubesim.registry.strategies import Plain

_DRIVER = Path("driverName")


class VolumeAttributesClassStrategy(Plain):
    """`/volumeattributesclasses`."""

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateVolumeAttributesClass`; nothing in it may change."""
        name, given = parts.text(obj, "driverName"), parts.struct(obj, "parameters")
        errors: ErrorList = []
        if old is not None and name != parts.text(old, "driverName"):
            errors.append(field.forbidden(_DRIVER, "updates to driverName are forbidden."))
        if old is not None and given != parts.struct(old, "parameters"):
            detail = "updates to parameters are forbidden."
            errors.append(field.forbidden(classes.PARAMETERS, detail))
        errors += classes.provisioner(name, _DRIVER) if name else [field.required(_DRIVER)]
        return errors + classes.parameters(given, allow_empty=False)


def _row(obj: Object, now_ns: int) -> list[Any]:
    return [obj["metadata"]["name"], parts.text(obj, "driverName"), age(obj, now_ns)]


KIND = Kind(
    strategy=VolumeAttributesClassStrategy(), printer=printer("VolumeAttributesClass", _row)
)
