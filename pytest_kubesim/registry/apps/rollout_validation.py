"""What the workloads of `apps` share: templates that match selectors, and rolling updates.

Follows `pkg/apis/apps/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, golang, labels, metav1
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.pod_template import options
from pytest_kubesim.registry.pod_template.pod_spec import validate_template
from pytest_kubesim.registry.strategies import EMPTY

MISMATCH = "`selector` does not match template `labels`"


def selector_of(
    spec: Object, path: Path, kind: str, *, allow_invalid_values: bool = False
) -> tuple[ErrorList, labels.Selector | None]:
    """What is wrong with `spec.selector`, and the selector if it can be made (None: it cannot)."""
    given: Object | None = spec.get("selector")
    where = path.child("selector")
    errors: ErrorList = []
    if given is None:
        errors.append(field.required(where))
    else:
        errors += metav1.validate_label_selector(
            given, where, allow_invalid_values=allow_invalid_values
        )
        if not given.get("matchLabels") and not given.get("matchExpressions"):
            errors.append(field.invalid(where, given, f"empty selector is invalid for {kind}"))
    try:
        return errors, labels.from_label_selector(given)
    except ValueError:
        return errors, None


def template_mismatch(template: Object, selector: labels.Selector, path: Path) -> ErrorList:
    """That the pods of a template would not be selected."""
    found: dict[str, str] | None = (template.get("metadata") or EMPTY).get("labels")
    if selector.empty or selector.matches(found):
        return []
    shown = found if found is not None or "metadata" in template else {}
    return [field.invalid(path.child("metadata", "labels"), shown, MISMATCH)]


def always_restarts(template: Object, path: Path, kind: str) -> ErrorList:
    """Pods that are kept running restart always and have no deadline."""
    spec: Object = template.get("spec") or {}
    errors: ErrorList = []
    policy = spec.get("restartPolicy") or ""
    if policy != "Always":
        where = path.child("spec", "restartPolicy")
        errors.append(field.not_supported(where, policy, ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        where = path.child("spec", "activeDeadlineSeconds")
        detail = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(field.forbidden(where, detail))
    return errors


def template_options(old: Object | None) -> options.PodOptions:
    """The options for a template that replaces that of `old` (None: it is new)."""
    if old is None:
        return options.TEMPLATE
    before: Object = (old.get("spec") or EMPTY).get("template") or {}
    return options.for_update(before.get("spec"), before.get("metadata"), is_pod=False)


def validate_replica_template(
    template: Object, selector: labels.Selector, path: Path, old: Object | None
) -> ErrorList:
    """The template of a ReplicaSet or Deployment (`ValidatePodTemplateSpecForReplicaSet`)."""
    errors = template_mismatch(template, selector, path)
    if old is None or template != old["spec"].get("template"):
        errors += validate_template(template, path, template_options(old))
    return errors + always_restarts(template, path, "ReplicaSet")


# -- numbers that may be percentages ---------------------------------------------------------


def positive_int_or_percent(value: Any, path: Path) -> ErrorList:
    """A count that is not negative, or a percentage."""
    if isinstance(value, str):
        return field.invalid_each(path, value, formats.is_valid_percent(value))
    return field.validate_nonnegative_field(value or 0, path)


def percent_of(value: Any) -> int | None:
    """The number before the percent sign; None for what is no percentage."""
    if isinstance(value, str) and not formats.is_valid_percent(value):
        return int(value[:-1])
    return None


def amount_of(value: Any) -> int:
    """The number, of whatever it is."""
    percent = percent_of(value)
    if percent is not None:
        return percent
    if isinstance(value, str):
        try:
            return golang.atoi(value)
        except ValueError:
            return 0
    return value or 0


def at_most_100_percent(value: Any, path: Path) -> ErrorList:
    """A percentage that is not beyond all."""
    percent = percent_of(value)
    if percent is None or percent <= 100:
        return []
    return [field.invalid(path, value, "must not be greater than 100%")]


def collision_count(status: Object, old: Object, path: Path) -> ErrorList:
    """`collisionCount` only rises."""
    new, before = status.get("collisionCount"), old.get("collisionCount")
    if before is None or (new is not None and new >= before):
        return []
    return [field.invalid(path.child("collisionCount"), new or 0, "cannot be decremented")]
