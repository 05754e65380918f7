"""StorageVersionMigrations: objects of a resource are to be written anew.

Follows `pkg/registry/storagemigration/storagemigration/strategy.go` and
`pkg/apis/storagemigration/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, golang, metav1
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import printer
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    SPEC,
    STATUS,
    StatusOnly,
    WithStatus,
    reset_metadata_for_status,
    semantically_equal,
)

RUNNING, FAILED, SUCCEEDED = "Running", "Failed", "Succeeded"
_RESOURCE = SPEC.child("resource")
_CONDITIONS = STATUS.child("conditions")
_VERSION = STATUS.child("resourceVersion")


class StorageVersionMigrationStrategy(WithStatus):
    """`/storageversionmigrations`."""

    allow_unconditional_update = False

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateStorageVersionMigration`; the spec is not to change."""
        spec = parts.spec(obj)
        resource = parts.struct(spec, "resource")
        name, group = parts.text(resource, "resource"), parts.text(resource, "group")
        errors: ErrorList = []
        where = _RESOURCE.child("resource")
        if not name:
            errors.append(field.required(where, "resource is required to be set"))
        elif wrong := formats.is_dns1035_label(name):
            errors.append(field.invalid(where, name, ",".join(wrong)))
        if group and (wrong := formats.is_dns1123_subdomain(group)):
            errors.append(field.invalid(_RESOURCE.child("group"), group, ",".join(wrong)))
        if old is not None and not semantically_equal(spec, parts.spec(old)):
            which = {"group": group, "resource": name}
            shown = field.Printed(golang.json_text({"Resource": which}))
            errors.append(field.invalid(SPEC, shown, field.FIELD_IMMUTABLE))
        return errors


class StorageVersionMigrationStatusStrategy(StatusOnly):
    """`/storageversionmigrations/status`."""

    reset_fields = (("metadata",), ("spec",))
    allow_unconditional_update = False

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec and metadata."""
        return reset_metadata_for_status(super().prepare_for_update(ctx, obj, old), old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateStorageVersionMigrationStatusUpdate`."""
        status, before = parts.status(obj), parts.status(old)
        conditions = parts.structs(status, "conditions")
        errors = metav1.validate_conditions(conditions, _CONDITIONS)
        version, was = (parts.text(each, "resourceVersion") for each in (status, before))
        if was and version != was:
            errors.append(field.invalid(_VERSION, version, field.FIELD_IMMUTABLE))
        shown = field.Printed(golang.json_text(conditions or None))
        done = [what for what in (SUCCEEDED, FAILED) if _is(status, what)]
        if len(done) == 2:
            detail = "Both success and failed conditions cannot be true at the same time"
            errors.append(field.invalid(_CONDITIONS, shown, detail))
        for what, name in ((SUCCEEDED, "Success"), (FAILED, "Failed")):
            if _is(before, what) and what not in done:
                detail = f"{name} condition cannot be set to false once it is true"
                errors.append(field.invalid(_CONDITIONS, shown, detail))
        return errors


def _is(status: Object, what: str) -> bool:
    conditions = parts.structs(status, "conditions")
    return any(c.get("type") == what and c.get("status") == "True" for c in conditions)


def _row(obj: Object, now_ns: int) -> list[Any]:
    del now_ns
    resource = parts.struct(parts.spec(obj), "resource")
    names = (parts.text(resource, "resource"), parts.text(resource, "group"))
    status = "Unknown"
    for condition in parts.structs(parts.status(obj), "conditions"):
        kind = parts.text(condition, "type")
        if condition.get("status") == "True" and kind in (RUNNING, FAILED, SUCCEEDED):
            status = kind
    return [obj["metadata"]["name"], ".".join(filter(None, names)), status]


KIND = Kind(
    strategy=StorageVersionMigrationStrategy(),
    status=StorageVersionMigrationStatusStrategy(),
    printer=printer("StorageVersionMigration", _row),
)
