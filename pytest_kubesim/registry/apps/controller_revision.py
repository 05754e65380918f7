"""ControllerRevisions: what a StatefulSet or DaemonSet has been.

Follows `pkg/registry/apps/controllerrevision/strategy.go` and `ValidateControllerRevision*` of
`pkg/apis/apps/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import json_text
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError, Path
from pytest_kubesim.registry.columns import NONE, age, printer
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.strategies import Plain

_DATA = Path("data")


class ControllerRevisionStrategy(Plain):
    """`/controllerrevisions`."""

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """The number is not negative, the data are an object and never change."""
        errors: list[FieldError] = []
        revision = obj.get("revision") or 0
        if revision < 0:
            errors.append(field.invalid(Path("revision"), revision, field.NOT_NEGATIVE))
        data: Any = obj.get("data")
        if old is None:
            if data is None:
                errors.append(field.required(_DATA, "data is mandatory"))
            elif not isinstance(data, dict):
                errors.append(field.required(_DATA, "data must be a valid JSON object"))
        elif data != old.get("data") or json_text(data, sort_keys=False) != json_text(
            old.get("data"), sort_keys=False
        ):
            # Upstream compares the bytes: the order of keys counts.
            text = json_text(data, sort_keys=False)
            errors.append(field.invalid(_DATA, field.Printed(text), field.FIELD_IMMUTABLE))
        return errors


def _row(obj: Object, now_ns: int) -> list[Any]:
    owner = meta.controller_of(obj)
    shown = NONE
    if owner is not None:
        group = meta.parse_api_version(owner.get("apiVersion") or "").group
        kind = str(meta.GroupKind(group, owner.get("kind") or "")).lower()
        shown = f"{kind}/{owner.get('name') or ''}"
    return [obj["metadata"]["name"], shown, obj.get("revision") or 0, age(obj, now_ns)]


KIND = Kind(strategy=ControllerRevisionStrategy(), printer=printer("ControllerRevision", _row))
