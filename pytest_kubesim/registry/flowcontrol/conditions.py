"""What both kinds of flow control have: a status of conditions, and how it is written.

Follows `pkg/apis/flowcontrol/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.rest import Context
from pytest_kubesim.registry.strategies import STATUS, StatusOnly

_CONDITIONS = STATUS.child("conditions")


def validate_conditions(obj: Object) -> ErrorList:
    """Every condition of a type, and of a type of its own."""
    errors: ErrorList = []
    seen: set[str] = set()
    for position, condition in enumerate(parts.structs(parts.status(obj), "conditions")):
        where = _CONDITIONS.index(position).child("type")
        kind = parts.text(condition, "type")
        if kind in seen:
            errors.append(field.duplicate(where, kind))
        seen.add(kind)
        if not kind:
            errors.append(field.required(where))
    return errors


class FlowStatusStrategy(StatusOnly):
    """`/status` of flow schemas and priority levels."""

    reset_fields = (("metadata",), ("spec",))

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec and all of the old metadata but its managed fields."""
        obj = super().prepare_for_update(ctx, obj, old)
        metadata: Object = {**old["metadata"]}
        managed = obj["metadata"].get("managedFields")
        if managed:
            metadata["managedFields"] = managed
        return {**obj, "metadata": metadata}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """The conditions alone."""
        del old
        return validate_conditions(obj)
