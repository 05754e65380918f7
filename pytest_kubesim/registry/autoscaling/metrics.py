"""The metrics by which pods are scaled, and how each may be asked for.

Follows `pkg/apis/autoscaling/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import formats, quantity
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object, parse_api_version
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.pod_template import resource_names

SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
"""The field of a metric by its type."""
TARGETS = ("Utilization", "Value", "AverageValue")
_MISSING = "must populate information for the given metric source"


def validate_metrics(
    metrics: list[Object], path: Path, minimum: int | None, *, allow_bad_version: bool
) -> ErrorList:
    """`spec.metrics`.  `allow_bad_version`: there are objects of unreadable versions already."""
    errors: ErrorList = []
    for position, metric in enumerate(metrics):
        errors += _metric(metric, path.index(position), allow_bad_version=allow_bad_version)
    types = {parts.text(metric, "type") for metric in metrics}
    if minimum == 0 and types.isdisjoint({"Object", "External"}):
        detail = (
            "must specify at least one Object or External metric to support scaling to zero "
            "replicas"
        )
        errors.append(field.forbidden(path, detail))
    return errors


def _metric(metric: Object, path: Path, *, allow_bad_version: bool) -> ErrorList:
    kind = parts.text(metric, "type")
    where = path.child("type")
    errors: ErrorList = []
    if not kind:
        errors.append(field.required(where, "must specify a metric source type"))
    if kind not in SOURCES:
        errors.append(field.not_supported(where, kind, SOURCES))
    present = [key for key in _ORDER if metric.get(key) is not None]
    if present:
        errors += _source(metric, present[0], path, allow_bad_version=allow_bad_version)
    expected = SOURCES.get(kind)
    if expected is None:
        errors.append(field.not_supported(where, kind, SOURCES))
    elif expected not in present:
        errors.append(field.required(path.child(expected), _MISSING))
    if len(present) != 1:
        errors += [
            field.forbidden(path.child(key), "must populate the given metric source only")
            for key in sorted(present)
            if key != expected
        ]
    return errors


_ORDER = ("object", "external", "pods", "resource", "containerResource")


def _source(metric: Object, key: str, path: Path, *, allow_bad_version: bool) -> ErrorList:
    source, where = parts.struct(metric, key), path.child(key)
    target = parts.struct(source, "target")
    if key in ("resource", "containerResource"):
        return _resource(source, target, where, of_container=key == "containerResource")
    errors: ErrorList = []
    if key == "object":
        described = parts.struct(source, "describedObject")
        errors += reference(
            described,
            where.child("describedObject"),
            allow_empty_group=True,
            allow_bad_version=allow_bad_version,
        )
    name = parts.text(parts.struct(source, "metric"), "name")
    if name:
        details = formats.is_valid_path_segment_name(name)
        errors += field.invalid_each(where.child("metric", "name"), name, details)
    else:
        errors.append(field.required(where.child("metric", "name"), "must specify a metric name"))
    errors += _target(target, where.child("target"))
    average = where.child("target", "averageValue")
    value, mean = target.get("value"), target.get("averageValue")
    if key == "pods":
        if mean is None:
            detail = "must specify a positive target averageValue"
            errors.append(field.required(average, detail))
    elif value is None and mean is None:
        detail = "must set either a target value or averageValue"
        if key == "external":
            detail = "must set either a target value for metric or a per-pod target"
        errors.append(field.required(average, detail))
    elif key == "external" and value is not None and mean is not None:
        detail = "may not set both a target value for metric and a per-pod target"
        errors.append(field.forbidden(where.child("target", "value"), detail))
    return errors


def _resource(source: Object, target: Object, path: Path, *, of_container: bool) -> ErrorList:
    name, where = parts.text(source, "name"), path.child("name")
    errors: ErrorList = []
    if not name:
        errors.append(field.required(where, "must specify a resource name"))
    elif of_container:
        errors += resource_names.validate_container_name(name, where)
    if of_container:
        container, where = parts.text(source, "container"), path.child("container")
        if container:
            errors += field.invalid_each(where, container, formats.is_dns1123_label(container))
        else:
            errors.append(field.required(where, "must specify a container"))
    errors += _target(target, path.child("target"))
    share, mean = target.get("averageUtilization"), target.get("averageValue")
    if share is None and mean is None:
        detail = "must set either a target raw value or a target utilization"
        errors.append(field.required(path.child("target", "averageUtilization"), detail))
    if share is not None and mean is not None:
        detail = "may not set both a target raw value and a target utilization"
        errors.append(field.forbidden(path.child("target", "averageValue"), detail))
    return errors


def _target(target: Object, path: Path) -> ErrorList:
    kind = parts.text(target, "type")
    errors: ErrorList = []
    if not kind:
        errors.append(field.required(path.child("type"), "must specify a metric target type"))
    if kind not in TARGETS:
        detail = "must be either Utilization, Value, or AverageValue"
        errors.append(field.invalid(path.child("type"), kind, detail))
    for key in ("value", "averageValue"):
        amount = target.get(key)
        if amount is not None and quantity.sign(amount) != 1:
            shown = quantity.canonical(amount)
            errors.append(field.invalid(path.child(key), shown, "must be positive"))
    share = target.get("averageUtilization")
    if share is not None and share < 1:
        where = path.child("averageUtilization")
        errors.append(field.invalid(where, share, "must be greater than 0"))
    return errors


def reference(
    target: Object, path: Path, *, allow_empty_group: bool, allow_bad_version: bool
) -> ErrorList:
    """A reference to an object in any version (`ValidateCrossVersionObjectReference`)."""
    errors: ErrorList = []
    for key in ("kind", "name"):
        value = parts.text(target, key)
        if value:
            details = formats.is_valid_path_segment_name(value)
            errors += field.invalid_each(path.child(key), value, details)
        else:
            errors.append(field.required(path.child(key)))
    problem = "" if allow_bad_version else version_problem(target, allow_empty=allow_empty_group)
    if problem:
        where, version = path.child("apiVersion"), parts.text(target, "apiVersion")
        errors.append(field.invalid(where, version, problem))
    return errors


def version_problem(target: Object, *, allow_empty: bool) -> str:
    """What is wrong with the version in a reference (`ValidateAPIVersion`)."""
    version = parts.text(target, "apiVersion")
    try:
        group = parse_api_version(version).group if version else ""
    except ValueError as error:
        return str(error)
    return "" if group or allow_empty else "apiVersion must specify API group"
