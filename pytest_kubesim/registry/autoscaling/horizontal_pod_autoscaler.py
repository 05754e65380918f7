"""HorizontalPodAutoscalers: stored in v2, served in v1 as well.

Follows `pkg/registry/autoscaling/horizontalpodautoscaler/strategy.go`,
`pkg/apis/autoscaling/{v1,v2}/defaults.go` and `pkg/apis/autoscaling/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.autoscaling import metrics, versions
from pytest_kubesim.registry.columns import NONE, UNKNOWN, age, printer
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.strategies import SPEC, STATUS, StatusOnly, WithStatus, nonnegative

MAX_PERIOD_SECONDS = 1800
MAX_WINDOW_SECONDS = 3600
SELECT_POLICIES = ("Disabled", "Max", "Min")
POLICY_TYPES = ("Percent", "Pods")
_PERCENT: Object = {"type": "Percent", "value": 100, "periodSeconds": 15}
_UP: Object = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, _PERCENT],
}
_DOWN: Object = {"selectPolicy": "Max", "policies": [_PERCENT]}


class HorizontalPodAutoscalerStrategy(WithStatus):
    """`/horizontalpodautoscalers`."""

    generations = True

    def default(self, obj: Object) -> Object:
        """`SetDefaults_HorizontalPodAutoscaler` of the version that the object is in."""
        spec: Object = dict(parts.spec(obj))
        if spec.get("minReplicas") is None:
            spec["minReplicas"] = 1
        if obj.get("apiVersion") != versions.V1:
            if not spec.get("metrics"):
                spec["metrics"] = [versions.cpu_utilization(versions.DEFAULT_CPU_UTILIZATION)]
            behavior: Object | None = spec.get("behavior")
            if behavior is not None:
                spec["behavior"] = {
                    "scaleUp": _rules(behavior.get("scaleUp"), _UP),
                    "scaleDown": _rules(behavior.get("scaleDown"), _DOWN),
                }
        elif not versions.has_metrics(obj):
            # The conversion to the version inside fills it in.
            spec["targetCPUUtilizationPercentage"] = versions.DEFAULT_CPU_UTILIZATION
        return {**obj, "spec": spec}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`validateHorizontalPodAutoscalerSpec`."""
        return _spec(parts.spec(obj), old)


def _rules(rules: Object | None, defaults: Object) -> Object:
    given = {key: value for key, value in (rules or {}).items() if value is not None}
    return {**defaults, **given}


def _spec(spec: Object, old: Object | None) -> ErrorList:
    before = parts.spec(old)
    least: int | None = spec.get("minReplicas")
    most = parts.number(spec, "maxReplicas")
    errors: ErrorList = []
    if least is not None and most < least:
        detail = "must be greater than or equal to `minReplicas`"
        errors.append(field.invalid(SPEC.child("maxReplicas"), most, detail))
    target, was = parts.struct(spec, "scaleTargetRef"), parts.struct(before, "scaleTargetRef")
    same = old is not None and all(
        parts.text(target, key) == parts.text(was, key) for key in ("apiVersion", "kind")
    )
    where = SPEC.child("scaleTargetRef")
    errors += metrics.reference(
        target,
        where,
        allow_empty_group=target.get("kind") == "ReplicationController",
        allow_bad_version=same,
    )
    bad = any(
        metrics.version_problem(parts.struct(source, "describedObject"), allow_empty=True)
        for metric in parts.structs(before, "metrics")
        if metric.get("type") == "Object" and (source := metric.get("object")) is not None
    )
    errors += metrics.validate_metrics(
        parts.structs(spec, "metrics"), SPEC.child("metrics"), least, allow_bad_version=bad
    )
    behavior = parts.struct(spec, "behavior")
    for key in ("scaleUp", "scaleDown"):
        if (rules := behavior.get(key)) is not None:
            errors += _scaling_rules(rules, SPEC.child("behavior", key))
    return errors + _counts(least, most)


def _counts(least: int | None, most: int) -> ErrorList:
    """What declarative validation says of the numbers, after all that is found by hand."""
    errors: ErrorList = []
    if least is not None and least < 0:
        errors.append(field.invalid(SPEC.child("minReplicas"), least, field.NOT_NEGATIVE))
    where = SPEC.child("maxReplicas")
    if most == 0:
        errors.append(field.required(where))
    elif most < 0:
        errors.append(field.invalid(where, most, "must be greater than or equal to 1"))
    return errors


def _scaling_rules(rules: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    window, where = (
        rules.get("stabilizationWindowSeconds"),
        path.child("stabilizationWindowSeconds"),
    )
    if window is not None and window < 0:
        errors.append(field.invalid(where, window, "must be greater than or equal to zero"))
    if window is not None and window > MAX_WINDOW_SECONDS:
        detail = f"must be less than or equal to {MAX_WINDOW_SECONDS}"
        errors.append(field.invalid(where, window, detail))
    choice = rules.get("selectPolicy")
    if choice is not None and choice not in SELECT_POLICIES:
        errors.append(field.not_supported(path.child("selectPolicy"), choice, SELECT_POLICIES))
    policies, where = parts.structs(rules, "policies"), path.child("policies")
    if not policies:
        errors.append(field.required(where, "must specify at least one Policy"))
    for position, policy in enumerate(policies):
        errors += _scaling_policy(policy, where.index(position))
    tolerance = rules.get("tolerance")
    if tolerance is not None and quantity.sign(tolerance) < 0:
        shown = quantity.canonical(tolerance)
        errors.append(field.invalid(path.child("tolerance"), shown, field.NOT_NEGATIVE))
    return errors


def _scaling_policy(policy: Object, path: Path) -> ErrorList:
    kind, period = parts.text(policy, "type"), parts.number(policy, "periodSeconds")
    value = parts.number(policy, "value")
    errors: ErrorList = []
    if kind not in POLICY_TYPES:
        errors.append(field.not_supported(path.child("type"), kind, POLICY_TYPES))
    if value <= 0:
        errors.append(field.invalid(path.child("value"), value, "must be greater than zero"))
    where = path.child("periodSeconds")
    if period <= 0:
        errors.append(field.invalid(where, period, "must be greater than zero"))
    if period > MAX_PERIOD_SECONDS:
        detail = f"must be less than or equal to {MAX_PERIOD_SECONDS}"
        errors.append(field.invalid(where, period, detail))
    return errors


class HorizontalPodAutoscalerStatusStrategy(StatusOnly):
    """`/horizontalpodautoscalers/{name}/status`."""

    def default(self, obj: Object) -> Object:
        """As the main resource."""
        return _STRATEGY.default(obj)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateHorizontalPodAutoscalerStatusUpdate`."""
        del old
        status = parts.status(obj)
        errors: ErrorList = []
        for position, condition in enumerate(parts.structs(status, "conditions")):
            where = STATUS.child("conditions").index(position)
            errors += nonnegative(condition, where, "observedGeneration")
        return errors + nonnegative(status, STATUS, "currentReplicas", "desiredReplicas")


def _metrics_text(specs: list[Object], statuses: list[Object]) -> str:
    if not specs:
        return NONE
    shown = [_metric_text(spec, _at(statuses, position)) for position, spec in enumerate(specs)]
    if len(shown) > 2:
        return f"{', '.join(shown[:2])} + {len(shown) - 2} more..."
    return ", ".join(shown)


def _at(statuses: list[Object], position: int) -> Object:
    return statuses[position] if position < len(statuses) else {}


def _metric_text(spec: Object, status: Object) -> str:
    key = metrics.SOURCES.get(parts.text(spec, "type"))
    if key is None:
        return "<unknown type>"
    source = parts.struct(spec, key)
    target = parts.struct(source, "target")
    current = parts.struct(parts.struct(status, key), "current")
    mean = target.get("averageValue")
    if key in ("resource", "containerResource"):
        name = parts.text(source, "name")
        if mean is not None:
            return f"{name}: {current.get('averageValue') or UNKNOWN}/{mean}"
        seen, wanted = current.get("averageUtilization"), target.get("averageUtilization")
        left = UNKNOWN if seen is None else f"{seen}%"
        return f"{name}: {left}/{'<auto>' if wanted is None else f'{wanted}%'}"
    if key == "pods":
        return f"{current.get('averageValue') or UNKNOWN}/{mean}"
    if mean is not None:
        return f"{current.get('averageValue') or UNKNOWN}/{mean} (avg)"
    return f"{current.get('value') or UNKNOWN}/{target.get('value')}"


def _row(obj: Object, now_ns: int) -> list[Any]:
    if obj.get("apiVersion") == versions.V1:
        obj = versions.from_v1(obj)
    spec, status = parts.spec(obj), parts.status(obj)
    target = parts.struct(spec, "scaleTargetRef")
    least = spec.get("minReplicas")
    return [
        obj["metadata"]["name"],
        f"{parts.text(target, 'kind')}/{parts.text(target, 'name')}",
        _metrics_text(parts.structs(spec, "metrics"), parts.structs(status, "currentMetrics")),
        "<unset>" if least is None else str(least),
        parts.number(spec, "maxReplicas"),
        parts.number(status, "currentReplicas"),
        age(obj, now_ns),
    ]


_STRATEGY = HorizontalPodAutoscalerStrategy()
KIND = Kind(
    strategy=_STRATEGY,
    status=HorizontalPodAutoscalerStatusStrategy(),
    printer=printer("HorizontalPodAutoscaler", _row),
    conversions={"v1": versions.CONVERSION},
)
