"""Leases.

The law: a renewal is the commonest write of a cluster, so nothing here may cost more than a look.
The fields of coordinated leader election are dropped, as its feature is off by default.

Follows `pkg/registry/coordination/lease/strategy.go` and
`pkg/apis/coordination/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.rest import Context, Kind, Strategy
from pytest_kubesim.registry.strategies import SPEC

STRATEGIES = ("OldestEmulationVersion",)
_COORDINATED = frozenset({"strategy", "preferredHolder"})


class LeaseStrategy(Strategy):
    """`/leases`."""

    allow_create_on_update = True
    allow_unconditional_update = False

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Without the fields of coordinated leader election."""
        del ctx
        return _without_coordination(obj, {})

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """Without the fields of coordinated leader election, unless they are there already."""
        del ctx
        return _without_coordination(obj, parts.spec(old))

    def validate(self, ctx: Context, obj: Object) -> list[FieldError]:
        """`ValidateLeaseSpec`."""
        del ctx
        return _spec(parts.spec(obj))

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> list[FieldError]:
        """`ValidateLeaseSpec`."""
        del ctx, old
        return _spec(parts.spec(obj))


def _without_coordination(obj: Object, before: Object) -> Object:
    spec = parts.spec(obj)
    if spec.keys().isdisjoint(_COORDINATED):
        return obj
    kept = {k: v for k, v in spec.items() if k not in _COORDINATED or before.get(k) is not None}
    return {**obj, "spec": kept}


def _spec(spec: Object) -> ErrorList:
    errors: ErrorList = []
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        where = SPEC.child("leaseDurationSeconds")
        errors.append(field.invalid(where, duration, "must be greater than 0"))
    transitions = spec.get("leaseTransitions")
    if transitions is not None and transitions < 0:
        where = SPEC.child("leaseTransitions")
        errors.append(field.invalid(where, transitions, field.NOT_NEGATIVE))
    strategy = spec.get("strategy")
    if strategy is not None:
        errors += _strategy(strategy)
    if spec.get("preferredHolder") and not strategy:
        where = SPEC.child("preferredHolder")
        errors.append(field.forbidden(where, "may only be specified if `strategy` is defined"))
    return errors


def _strategy(strategy: str) -> ErrorList:
    where = SPEC.child("strategy").child("strategy")
    if "/" in strategy:
        return field.invalid_each(where, strategy, formats.is_qualified_name(strategy))
    return [] if strategy in STRATEGIES else [field.not_supported(where, strategy, STRATEGIES)]


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec = parts.spec(obj)
    return [obj["metadata"]["name"], parts.text(spec, "holderIdentity"), age(obj, now_ns)]


KIND = Kind(strategy=LeaseStrategy(), printer=printer("Lease", _row))
