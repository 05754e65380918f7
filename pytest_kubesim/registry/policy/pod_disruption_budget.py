"""PodDisruptionBudgets.

Follows `pkg/registry/policy/poddisruptionbudget/strategy.go` and
`pkg/apis/policy/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import golang, metav1
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.apps import rollout_validation as rollout
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    SPEC,
    STATUS,
    StatusOnly,
    WithStatus,
    nonnegative,
    semantically_equal,
)

V1BETA1_LABEL = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"
POLICIES = ("AlwaysAllow", "IfHealthyBudget")


class PodDisruptionBudgetStrategy(WithStatus):
    """`/poddisruptionbudgets`."""

    generations = True
    validates_metadata = True
    any_finalizer = True
    allow_unconditional_update = False

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Without a status, at generation 1."""
        return _without_old_label(super().prepare_for_create(ctx, obj), None)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old status, a generation further if the spec has changed."""
        return _without_old_label(super().prepare_for_update(ctx, obj, old), old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidatePodDisruptionBudgetSpec`."""
        before = parts.spec(old).get("selector")
        lenient = bool(metav1.validate_label_selector(before, SPEC))
        return _spec(parts.spec(obj), lenient=lenient)


def _without_old_label(obj: Object, old: Object | None) -> Object:
    """The budget without the label by which v1beta1 said "all" or "none" (`dropDisabledFields`)."""
    spec = parts.spec(obj)
    selector = parts.struct(spec, "selector")
    expressions = parts.structs(selector, "matchExpressions")
    if all(each.get("key") != V1BETA1_LABEL for each in expressions):
        return obj
    if old is not None and semantically_equal(parts.spec(old).get("selector"), selector):
        return obj
    if len(expressions) == 1 and not parts.struct(selector, "matchLabels"):
        return obj
    kept = [each for each in expressions if each.get("key") != V1BETA1_LABEL]
    return {**obj, "spec": {**spec, "selector": {**selector, "matchExpressions": kept}}}


def _ordered(selector: Object | None) -> Object | None:
    """The selector with its labels as Go prints them."""
    pairs: dict[str, str] | None = (selector or {}).get("matchLabels")
    if not pairs:
        return selector
    return {**(selector or {}), "matchLabels": dict(sorted(pairs.items()))}


def _spec(spec: Object, *, lenient: bool) -> ErrorList:
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    errors: ErrorList = []
    if least is not None and most is not None:
        shown: Object = {
            "MinAvailable": least,
            "Selector": _ordered(spec.get("selector")),
            "MaxUnavailable": most,
            "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy"),
        }
        printed = field.Printed(golang.json_text(shown, sort_keys=False))
        detail = "minAvailable and maxUnavailable cannot be both set"
        errors.append(field.invalid(SPEC, printed, detail))
    for key, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            errors += rollout.positive_int_or_percent(value, SPEC.child(key))
            errors += rollout.at_most_100_percent(value, SPEC.child(key))
    errors += metav1.validate_label_selector(
        spec.get("selector"), SPEC.child("selector"), allow_invalid_values=lenient
    )
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in POLICIES:
        where = SPEC.child("unhealthyPodEvictionPolicy")
        errors.append(field.not_supported(where, policy, POLICIES))
    return errors


class PodDisruptionBudgetStatusStrategy(StatusOnly):
    """`/poddisruptionbudgets/{name}/status`."""

    allow_unconditional_update = False

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidatePodDisruptionBudgetStatusUpdate`."""
        del old
        status = parts.status(obj)
        conditions = parts.structs(status, "conditions")
        names = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
        errors = metav1.validate_conditions(conditions, STATUS.child("conditions"))
        return errors + nonnegative(status, STATUS, *names)


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec = parts.spec(obj)
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    return [
        obj["metadata"]["name"],
        "N/A" if least is None else str(least),
        "N/A" if most is None else str(most),
        parts.number(parts.status(obj), "disruptionsAllowed"),
        age(obj, now_ns),
    ]


KIND = Kind(
    strategy=PodDisruptionBudgetStrategy(),
    status=PodDisruptionBudgetStatusStrategy(),
    printer=printer("PodDisruptionBudget", _row),
)
