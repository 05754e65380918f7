"""HorizontalPodAutoscalers in autoscaling/v1, which has one metric only.

The law: what v1 has no field for goes through annotations and comes back from them, so that a
client of v1 that keeps annotations loses nothing.

Follows `pkg/apis/autoscaling/v1/conversion.go` and `pkg/apis/autoscaling/helpers.go`.
"""

from __future__ import annotations

import json
from typing import Any, cast

from pytest_kubesim.apimachinery import golang, quantity
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.rest import Conversion
from pytest_kubesim.registry.strategies import annotations_of

V1, V2 = "autoscaling/v1", "autoscaling/v2"
_PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS = f"{_PREFIX}metrics"
CURRENT_METRICS = f"{_PREFIX}current-metrics"
CONDITIONS = f"{_PREFIX}conditions"
BEHAVIOR = f"{_PREFIX}behavior"
_ROUND_TRIP = frozenset(
    {
        METRICS,
        CURRENT_METRICS,
        CONDITIONS,
        BEHAVIOR,
        f"{_PREFIX}scale-down-tolerance",
        f"{_PREFIX}scale-up-tolerance",
    }
)
DEFAULT_CPU_UTILIZATION = 80


def cpu_utilization(percent: int) -> Object:
    """The metric that v1 has a field for."""
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _plain(obj: Object) -> dict[str, str]:
    """The annotations without those that carry what v1 has no fields for."""
    return {k: v for k, v in annotations_of(obj).items() if k not in _ROUND_TRIP}


def _assembled(
    obj: Object, version: str, annotations: dict[str, str], spec: Object, status: Object
) -> Object:
    metadata: Object = {k: v for k, v in obj["metadata"].items() if k != "annotations"}
    if annotations:
        metadata["annotations"] = annotations
    return {
        "kind": "HorizontalPodAutoscaler",
        "apiVersion": version,
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


def _given(**values: Any) -> Object:
    return {key: value for key, value in values.items() if value is not None}


# -- from v2 to v1 ---------------------------------------------------------------------------------


def _is_cpu(metric: Object) -> bool:
    resource = parts.struct(metric, "resource")
    return metric.get("type") == "Resource" and resource.get("name") == "cpu"


def _cpu_target(metric: Object) -> int | None:
    found: int | None = None
    if _is_cpu(metric):
        target = parts.struct(parts.struct(metric, "resource"), "target")
        found = target.get("averageUtilization")
    return found


def to_v1(obj: Object) -> Object:
    """A v2 object in v1."""
    spec, status = parts.spec(obj), parts.status(obj)
    annotations = _plain(obj)
    metrics = parts.structs(spec, "metrics")
    others = [_metric_to_v1(metric) for metric in metrics if _cpu_target(metric) is None]
    if others:
        annotations[METRICS] = _text(others)
    current = parts.structs(status, "currentMetrics")
    if current:
        annotations[CURRENT_METRICS] = _text([_status_to_v1(metric) for metric in current])
    behavior: Object | None = spec.get("behavior")
    if behavior is not None:
        annotations[BEHAVIOR] = _text(_internal_behavior(behavior))
    conditions = parts.structs(status, "conditions")
    if conditions:
        annotations[CONDITIONS] = _text([_condition(each) for each in conditions])
    utilization = next((t for t in map(_cpu_target, metrics) if t is not None), None)
    new_spec = _given(
        scaleTargetRef=spec.get("scaleTargetRef") or {},
        minReplicas=spec.get("minReplicas"),
        maxReplicas=spec.get("maxReplicas") or 0,
        targetCPUUtilizationPercentage=utilization,
    )
    seen = [
        parts.struct(parts.struct(metric, "resource"), "current").get("averageUtilization")
        for metric in current
        if _is_cpu(metric)
    ]
    new_status = _given(
        observedGeneration=status.get("observedGeneration"),
        lastScaleTime=status.get("lastScaleTime"),
        currentReplicas=status.get("currentReplicas"),
        desiredReplicas=status.get("desiredReplicas"),
        currentCPUUtilizationPercentage=next((s for s in reversed(seen) if s is not None), None),
    )
    return _assembled(obj, V1, annotations, new_spec, new_status)


def _text(value: Any) -> str:
    return golang.json_text(value, sort_keys=False)


def _described(source: Object) -> Object:
    described = parts.struct(source, "describedObject")
    return {
        "kind": parts.text(described, "kind"),
        "name": parts.text(described, "name"),
        **_given(apiVersion=described.get("apiVersion") or None),
    }


def _metric_to_v1(metric: Object) -> Object:
    out: Object = {"type": parts.text(metric, "type")}
    if (source := metric.get("object")) is not None:
        name, target = parts.struct(source, "metric"), parts.struct(source, "target")
        out["object"] = _given(
            target=_described(source),
            metricName=parts.text(name, "name"),
            targetValue=target.get("value") or "0",
            selector=name.get("selector"),
            averageValue=target.get("averageValue"),
        )
    if (source := metric.get("pods")) is not None:
        name, target = parts.struct(source, "metric"), parts.struct(source, "target")
        out["pods"] = _given(
            metricName=parts.text(name, "name"),
            targetAverageValue=target.get("averageValue") or "0",
            selector=name.get("selector"),
        )
    for key in ("resource", "containerResource"):
        if (source := metric.get(key)) is not None:
            target = parts.struct(source, "target")
            out[key] = _given(
                name=parts.text(source, "name"),
                targetAverageUtilization=target.get("averageUtilization"),
                targetAverageValue=target.get("averageValue"),
                container=parts.text(source, "container") if key != "resource" else None,
            )
    if (source := metric.get("external")) is not None:
        name, target = parts.struct(source, "metric"), parts.struct(source, "target")
        out["external"] = _given(
            metricName=parts.text(name, "name"),
            metricSelector=name.get("selector"),
            targetValue=target.get("value"),
            targetAverageValue=target.get("averageValue"),
        )
    return out


def _status_to_v1(metric: Object) -> Object:
    out: Object = {"type": parts.text(metric, "type")}
    if (source := metric.get("object")) is not None:
        name, current = parts.struct(source, "metric"), parts.struct(source, "current")
        out["object"] = _given(
            target=_described(source),
            metricName=parts.text(name, "name"),
            currentValue=current.get("value") or "0",
            selector=name.get("selector"),
            averageValue=current.get("averageValue"),
        )
    if (source := metric.get("pods")) is not None:
        name, current = parts.struct(source, "metric"), parts.struct(source, "current")
        out["pods"] = _given(
            metricName=parts.text(name, "name"),
            currentAverageValue=current.get("averageValue") or "0",
            selector=name.get("selector"),
        )
    for key in ("resource", "containerResource"):
        if (source := metric.get(key)) is not None:
            current = parts.struct(source, "current")
            out[key] = _given(
                name=parts.text(source, "name"),
                currentAverageUtilization=current.get("averageUtilization"),
                currentAverageValue=current.get("averageValue") or "0",
                container=parts.text(source, "container") if key != "resource" else None,
            )
    if (source := metric.get("external")) is not None:
        name, current = parts.struct(source, "metric"), parts.struct(source, "current")
        out["external"] = _given(
            metricName=parts.text(name, "name"),
            metricSelector=name.get("selector"),
            currentValue=current.get("value") or "0",
            currentAverageValue=current.get("averageValue"),
        )
    return out


def _condition(condition: Object) -> Object:
    return {
        "type": parts.text(condition, "type"),
        "status": parts.text(condition, "status"),
        "lastTransitionTime": condition.get("lastTransitionTime"),
        **_given(
            reason=condition.get("reason") or None,
            message=condition.get("message") or None,
            observedGeneration=condition.get("observedGeneration"),
        ),
    }


def _internal_behavior(behavior: Object) -> Object:
    """As Go prints the internal type, which has no JSON tags."""
    return {
        "ScaleUp": _internal_rules(behavior.get("scaleUp")),
        "ScaleDown": _internal_rules(behavior.get("scaleDown")),
    }


def _internal_rules(rules: Object | None) -> Object | None:
    if rules is None:
        return None
    policies = parts.structs(rules, "policies")
    return {
        "StabilizationWindowSeconds": rules.get("stabilizationWindowSeconds"),
        "SelectPolicy": rules.get("selectPolicy"),
        "Policies": [
            {
                "Type": parts.text(policy, "type"),
                "Value": parts.number(policy, "value"),
                "PeriodSeconds": parts.number(policy, "periodSeconds"),
            }
            for policy in policies
        ]
        or None,
        "Tolerance": rules.get("tolerance"),
    }


# -- from v1 to v2 ---------------------------------------------------------------------------------


def has_metrics(obj: Object) -> bool:
    """Whether a v1 object says by what to scale, in its spec or in an annotation."""
    if parts.spec(obj).get("targetCPUUtilizationPercentage") is not None:
        return True
    metadata: Object = obj.get("metadata") or {}
    given: dict[str, str] = metadata.get("annotations") or {}
    return bool(_read(given.get(METRICS), list))


def from_v1(obj: Object) -> Object:
    """A v1 object in v2."""
    spec, status = parts.spec(obj), parts.status(obj)
    given = annotations_of(obj)
    metrics: list[Object] = []
    percent = spec.get("targetCPUUtilizationPercentage")
    if percent is not None:
        metrics = [cpu_utilization(percent)]
    others = _read(given.get(METRICS), list)
    if others is not None:
        metrics = [_metric_from_v1(metric) for metric in others] + metrics
    new_spec = _given(
        scaleTargetRef=spec.get("scaleTargetRef") or {},
        minReplicas=spec.get("minReplicas"),
        maxReplicas=spec.get("maxReplicas") or 0,
        metrics=metrics or [cpu_utilization(DEFAULT_CPU_UTILIZATION)],
    )
    behavior = _read(given.get(BEHAVIOR), dict)
    if behavior:
        new_spec["behavior"] = _given(
            scaleUp=_rules(behavior.get("ScaleUp")), scaleDown=_rules(behavior.get("ScaleDown"))
        )
    current: list[Object] = []
    seen = status.get("currentCPUUtilizationPercentage")
    if seen is not None:
        value: Object = {"averageUtilization": seen}
        current = [{"type": "Resource", "resource": {"name": "cpu", "current": value}}]
    carried = _read(given.get(CURRENT_METRICS), list)
    if carried is not None:
        current = [_status_from_v1(metric) for metric in carried]
    new_status = _given(
        observedGeneration=status.get("observedGeneration"),
        lastScaleTime=status.get("lastScaleTime"),
        currentReplicas=status.get("currentReplicas"),
        desiredReplicas=status.get("desiredReplicas"),
        currentMetrics=current or None,
        conditions=_read(given.get(CONDITIONS), list),
    )
    return _assembled(obj, V2, _plain(obj), new_spec, new_status)


def _read(text: str | None, kind: type[Any]) -> Any:
    """What an annotation carries; None for none and for what cannot be read."""
    if text is None:
        return None
    try:
        found: Any = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, kind) else None


def _metric_name(name: Any, selector: Any) -> Object:
    return _given(name=name or "", selector=selector)


def _metric_from_v1(metric: Object) -> Object:
    out: Object = {"type": parts.text(metric, "type")}
    if (source := metric.get("object")) is not None:
        average, value = source.get("averageValue"), source.get("targetValue") or "0"
        if average is not None and quantity.is_zero(value):
            value = None
        kind = "Value" if average is None else "AverageValue"
        out["object"] = {
            "describedObject": source.get("target") or {},
            "metric": _metric_name(source.get("metricName"), source.get("selector")),
            "target": _given(type=kind, value=value, averageValue=average),
        }
    if (source := metric.get("pods")) is not None:
        average = source.get("targetAverageValue") or "0"
        out["pods"] = {
            "metric": _metric_name(source.get("metricName"), source.get("selector")),
            "target": {"type": "AverageValue", "averageValue": average},
        }
    for key in ("resource", "containerResource"):
        if (source := metric.get(key)) is not None:
            percent = source.get("targetAverageUtilization")
            out[key] = _given(
                name=parts.text(source, "name"),
                container=source.get("container"),
                target=_given(
                    type="AverageValue" if percent is None else "Utilization",
                    averageValue=source.get("targetAverageValue"),
                    averageUtilization=percent,
                ),
            )
    if (source := metric.get("external")) is not None:
        value = source.get("targetValue")
        out["external"] = {
            "metric": _metric_name(source.get("metricName"), source.get("metricSelector")),
            "target": _given(
                type="AverageValue" if value is None else "Value",
                value=value,
                averageValue=source.get("targetAverageValue"),
            ),
        }
    return out


def _status_from_v1(metric: Object) -> Object:
    out: Object = {"type": parts.text(metric, "type")}
    if (source := metric.get("object")) is not None:
        out["object"] = {
            "metric": _metric_name(source.get("metricName"), source.get("selector")),
            "current": _given(
                value=source.get("currentValue") or "0", averageValue=source.get("averageValue")
            ),
            "describedObject": source.get("target") or {},
        }
    if (source := metric.get("pods")) is not None:
        out["pods"] = {
            "metric": _metric_name(source.get("metricName"), source.get("selector")),
            "current": {"averageValue": source.get("currentAverageValue") or "0"},
        }
    for key in ("resource", "containerResource"):
        if (source := metric.get(key)) is not None:
            out[key] = _given(
                name=parts.text(source, "name"),
                container=source.get("container"),
                current=_given(
                    averageValue=source.get("currentAverageValue") or "0",
                    averageUtilization=source.get("currentAverageUtilization"),
                ),
            )
    if (source := metric.get("external")) is not None:
        out["external"] = {
            "metric": _metric_name(source.get("metricName"), source.get("metricSelector")),
            "current": _given(
                value=source.get("currentValue") or "0",
                averageValue=source.get("currentAverageValue"),
            ),
        }
    return out


def _rules(rules: Any) -> Object | None:
    if not isinstance(rules, dict):
        return None
    given = cast("Object", rules)
    policies: list[Object] | None = given.get("Policies")
    return _given(
        stabilizationWindowSeconds=given.get("StabilizationWindowSeconds"),
        selectPolicy=given.get("SelectPolicy"),
        policies=None if policies is None else [_policy(policy) for policy in policies],
        tolerance=given.get("Tolerance"),
    )


def _policy(policy: Object) -> Object:
    return {
        "type": parts.text(policy, "Type"),
        "value": parts.number(policy, "Value"),
        "periodSeconds": parts.number(policy, "PeriodSeconds"),
    }


CONVERSION = Conversion(to_storage=from_v1, from_storage=to_v1)
