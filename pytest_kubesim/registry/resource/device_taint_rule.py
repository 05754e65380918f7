"""DeviceTaintRules: taints for devices that a selector names.

Follows `pkg/registry/resource/devicetaintrule/strategy.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer, since
from pytest_kubesim.registry.resource import allocations, names
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    SPEC,
    STATUS,
    StatusOnly,
    WithStatus,
    reset_metadata_for_status,
)


def selects(rule: Object, driver: str, pool: str, device: str) -> bool:
    """Whether a rule taints a device; without a selector it taints none."""
    selector: Object | None = parts.spec(rule).get("deviceSelector")
    if selector is None:
        return False
    return all(
        selector.get(key) in (None, value)
        for key, value in (("driver", driver), ("pool", pool), ("device", device))
    )


def _taint(obj: Object) -> Object:
    return parts.struct(parts.spec(obj), "taint")


def _timed(obj: Object, now: str) -> Object:
    taint = {**_taint(obj), "timeAdded": now}
    return {**obj, "spec": {**parts.spec(obj), "taint": taint}}


class DeviceTaintRuleStrategy(WithStatus):
    """`/devicetaintrules`."""

    generations = True
    allow_unconditional_update = False

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Added now, unless it says when."""
        obj = super().prepare_for_create(ctx, obj)
        return obj if _taint(obj).get("timeAdded") else _timed(obj, ctx.now)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """Added anew if the effect has changed and the time has not."""
        taint, before = _taint(obj), _taint(old)
        added = taint.get("timeAdded")
        changed = parts.text(taint, "effect") != parts.text(before, "effect")
        if not added or (changed and added == before.get("timeAdded")):
            obj = _timed(obj, ctx.now)
        return super().prepare_for_update(ctx, obj, old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`validateDeviceTaintRuleSpec`."""
        selector = parts.struct(parts.spec(obj), "deviceSelector")
        where = SPEC.child("deviceSelector")
        errors: list[FieldError] = []
        for key, rule in (("driver", names.driver), ("pool", names.pool), ("device", names.short)):
            name: str | None = selector.get(key)
            if name is not None:
                errors += rule(name, where.child(key))
        before = None if old is None else _taint(old)
        return errors + names.taint(_taint(obj), before, SPEC.child("taint"))


class DeviceTaintRuleStatusStrategy(StatusOnly):
    """`/devicetaintrules/status`."""

    reset_fields = (("metadata",), ("spec",))
    allow_unconditional_update = False

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec and metadata."""
        return reset_metadata_for_status(super().prepare_for_update(ctx, obj, old), old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """The conditions."""
        del old
        return allocations.conditions(parts.status(obj), STATUS.child("conditions"))


def _row(obj: Object, now_ns: int) -> list[Any]:
    taint = _taint(obj)
    added = parts.text(taint, "timeAdded")
    return [
        obj["metadata"]["name"],
        *(parts.text(taint, key) for key in ("key", "value", "effect")),
        since(added, now_ns) if added else "",
        age(obj, now_ns),
    ]


KIND = Kind(
    strategy=DeviceTaintRuleStrategy(),
    status=DeviceTaintRuleStatusStrategy(),
    printer=printer("DeviceTaint", _row),
)
