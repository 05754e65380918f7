"""ServiceCIDRs: where the addresses of services come from.

Follows `pkg/registry/networking/servicecidr/strategy.go` and
`pkg/apis/networking/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import addresses, golang
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    SPEC,
    StatusOnly,
    WithStatus,
    reset_metadata_for_status,
)

_CIDRS = SPEC.child("cidrs")
_FAMILIES = (
    "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
)


class ServiceCIDRStrategy(WithStatus):
    """`/servicecidrs`."""

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateServiceCIDR`; once there, a second family may be added and nothing else."""
        cidrs = parts.texts(parts.spec(obj), "cidrs")
        if old is None:
            return _spec(cidrs)
        before = parts.texts(parts.spec(old), "cidrs")
        immutable = field.FIELD_IMMUTABLE
        if len(cidrs) == len(before):
            return [
                field.invalid(_CIDRS.index(position), new, immutable)
                for position, (new, there) in enumerate(zip(cidrs, before, strict=True))
                if new != there
            ]
        if (len(before), len(cidrs)) != (1, 2):
            return [field.invalid(_CIDRS, cidrs or None, immutable)]
        errors: ErrorList = []
        if cidrs[0] != before[0]:
            errors.append(field.invalid(_CIDRS.index(0), cidrs[0], immutable))
        return errors + _spec(cidrs)


def _spec(cidrs: list[str]) -> ErrorList:
    if not cidrs:
        return [field.required(_CIDRS, "at least one CIDR required")]
    if len(cidrs) > 2:
        shown = field.Printed(golang.json_text({"CIDRs": cidrs}))
        return [field.invalid(_CIDRS, shown, "may only hold up to 2 values")]
    errors: ErrorList = []
    families: list[int] = []
    for position, cidr in enumerate(cidrs):
        errors += field.validate_cidr(_CIDRS.index(position), cidr)
        parsed = addresses.parse_cidr_sloppy(cidr)
        families.append(0 if parsed is None else parsed[0].version)
    if len(cidrs) == 2 and families[0] == families[1] != 0:
        errors.append(field.invalid(_CIDRS, cidrs, _FAMILIES))
    return errors


class ServiceCIDRStatusStrategy(StatusOnly):
    """`/servicecidrs/{name}/status`."""

    reset_fields = (("metadata",), ("spec",))

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec and metadata."""
        return reset_metadata_for_status(super().prepare_for_update(ctx, obj, old), old)


def _row(obj: Object, now_ns: int) -> list[Any]:
    cidrs = parts.texts(parts.spec(obj), "cidrs")
    return [obj["metadata"]["name"], ",".join(cidrs), age(obj, now_ns)]


KIND = Kind(
    strategy=ServiceCIDRStrategy(),
    status=ServiceCIDRStatusStrategy(),
    printer=printer("ServiceCIDR", _row),
)
