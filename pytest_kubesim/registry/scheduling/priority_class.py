"""PriorityClasses.

Follows `pkg/registry/scheduling/priorityclass/strategy.go`, `pkg/apis/scheduling/v1/{defaults,
helpers}.go` and `pkg/apis/scheduling/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import Plain, with_generation

HIGHEST_OF_USERS = 1_000_000_000
SYSTEM_CLASSES = {
    "system-node-critical": 2 * HIGHEST_OF_USERS + 1000,
    "system-cluster-critical": 2 * HIGHEST_OF_USERS,
}
PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")
_SYSTEM = "system-"
_POLICY = Path("preemptionPolicy")


class PriorityClassStrategy(Plain):
    """`/priorityclasses`."""

    def default(self, obj: Object) -> Object:
        """`SetDefaults_PriorityClass`."""
        if obj.get("preemptionPolicy") is not None:
            return obj
        return {**obj, "preemptionPolicy": "PreemptLowerPriority"}

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """At generation 1."""
        del ctx
        return with_generation(obj, 1)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidatePriorityClass`; value and policy are for ever."""
        value = parts.number(obj, "value")
        policy = obj.get("preemptionPolicy")
        if old is not None:
            errors: ErrorList = []
            if value != parts.number(old, "value"):
                errors.append(field.forbidden(Path("value"), "may not be changed in an update."))
            before = old.get("preemptionPolicy")
            return errors + field.validate_immutable_field(policy, before, _POLICY)
        errors = _value(parts.text(obj["metadata"], "name"), value, bool(obj.get("globalDefault")))
        if policy == "":
            errors.append(field.required(_POLICY))
        elif policy is not None and policy not in PREEMPTION_POLICIES:
            errors.append(field.not_supported(_POLICY, policy, PREEMPTION_POLICIES))
        return errors


def _value(name: str, value: int, is_default: bool) -> ErrorList:
    if name.startswith(_SYSTEM):
        problem = _system_problem(name, value, is_default)
        if not problem:
            return []
        detail = (
            f"priority class names with '{_SYSTEM}' prefix are reserved for system use only. "
            f"error: {problem}"
        )
        return [field.forbidden(Path("metadata", "name"), detail)]
    if value > HIGHEST_OF_USERS:
        detail = f"maximum allowed value of a user defined priority is {HIGHEST_OF_USERS}"
        return [field.forbidden(Path("value"), detail)]
    return []


def _system_problem(name: str, value: int, is_default: bool) -> str:
    known = SYSTEM_CLASSES.get(name)
    if known is None:
        return f"{name} is not a known system priority class"
    if value != known:
        return f"value of {name} PriorityClass must be {known}"
    return f"globalDefault of {name} PriorityClass must be false" if is_default else ""


def _row(obj: Object, now_ns: int) -> list[Any]:
    return [
        obj["metadata"]["name"],
        parts.number(obj, "value"),
        bool(obj.get("globalDefault")),
        age(obj, now_ns),
        parts.text(obj, "preemptionPolicy"),
    ]


KIND = Kind(strategy=PriorityClassStrategy(), printer=printer("PriorityClass", _row))
