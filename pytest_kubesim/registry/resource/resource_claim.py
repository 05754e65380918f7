"""ResourceClaims: devices asked for and, in the status, given.

Follows `pkg/registry/resource/resourceclaim/strategy.go`; `adminAccess` is not looked into.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.resource import allocations, requests
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    SPEC,
    StatusOnly,
    WithStatus,
    reset_metadata_for_status,
    semantically_equal,
)


class ResourceClaimStrategy(WithStatus):
    """`/resourceclaims`."""

    def default(self, obj: Object) -> Object:
        """`SetDefaults_ExactDeviceRequest`."""
        return {**obj, "spec": requests.default(parts.spec(obj))}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateResourceClaim`; the spec is not to change."""
        if old is None:
            return requests.validate(parts.spec(obj), SPEC)
        if semantically_equal(parts.spec(obj), parts.spec(old)):
            return []
        return [field.invalid(SPEC, None, field.FIELD_IMMUTABLE)]


class ResourceClaimStatusStrategy(StatusOnly):
    """`/resourceclaims/status`."""

    reset_fields = (("metadata",), ("spec",))

    def default(self, obj: Object) -> Object:
        """`SetDefaults_ExactDeviceRequest`."""
        return {**obj, "spec": requests.default(parts.spec(obj))}

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec; devices that are given back have no status."""
        obj = reset_metadata_for_status(super().prepare_for_update(ctx, obj, old), old)
        status = parts.status(obj)
        if not status:
            return obj
        return {**obj, "status": allocations.without_released(status, parts.status(old))}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateResourceClaimStatusUpdate`."""
        return [] if old is None else allocations.validate(obj, old)


def _state(obj: Object) -> str:
    status, deleted = parts.status(obj), bool(obj["metadata"].get("deletionTimestamp"))
    states = ["deleted"] if deleted else []
    if status.get("allocation") is not None:
        states.append("allocated")
        if parts.structs(status, "reservedFor"):
            states.append("reserved")
    elif not deleted:
        states.append("pending")
    return ",".join(states)


def _row(obj: Object, now_ns: int) -> list[Any]:
    return [obj["metadata"]["name"], _state(obj), age(obj, now_ns)]


KIND = Kind(
    strategy=ResourceClaimStrategy(),
    status=ResourceClaimStatusStrategy(),
    printer=printer("ResourceClaim", _row),
)
