"""The rules of what ``meta/v1`` shares out: selectors, conditions, and the options of requests.

Follows ``apimachinery/pkg/apis/meta/v1/validation/validation.go``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.objectmeta import (
    validate_field_manager,
    validate_label_name,
    validate_labels,
)
from pytest_kubesim.apimachinery.validation import ErrorList, Path

APPLY_PATCH_TYPES = frozenset({"application/apply-patch+yaml", "application/apply-patch+cbor"})
MAX_REASON_BYTES = 1024
MAX_MESSAGE_BYTES = 32 * 1024


# -- selectors -------------------------------------------------------------------------------------


def validate_label_selector(
    selector: Object | None,
    path: Path,
    *,
    allow_invalid_values: bool = False,
    allow_unknown_operator: bool = False,
) -> ErrorList:
    """A ``LabelSelector``; the permissions are for objects that were stored before the rule."""
    if selector is None:
        return []
    errors = validate_labels(selector.get("matchLabels"), path.child("matchLabels"))
    for position, expression in enumerate(selector.get("matchExpressions") or ()):
        errors += _requirement(
            expression,
            path.child("matchExpressions").index(position),
            allow_invalid_values=allow_invalid_values,
            allow_unknown_operator=allow_unknown_operator,
        )
    return errors


def _requirement(
    expression: Object, path: Path, *, allow_invalid_values: bool, allow_unknown_operator: bool
) -> ErrorList:
    values: Sequence[str] = expression.get("values") or ()
    errors = _operator(expression, path, allow_unknown=allow_unknown_operator)
    errors += validate_label_name(expression.get("key") or "", path.child("key"))
    if not allow_invalid_values:
        for position, value in enumerate(values):
            where = path.child("values").index(position)
            errors += field.invalid_each(where, value, formats.is_valid_label_value(value))
    return errors


def _operator(expression: Object, path: Path, *, allow_unknown: bool) -> ErrorList:
    operator = expression.get("operator") or ""
    values = expression.get("values") or ()
    if operator in {"In", "NotIn"}:
        detail = "must be specified when `operator` is 'In' or 'NotIn'"
        return [] if values else [field.required(path.child("values"), detail)]
    if operator in {"Exists", "DoesNotExist"}:
        detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        return [field.forbidden(path.child("values"), detail)] if values else []
    if allow_unknown:
        return []
    return [field.invalid(path.child("operator"), operator, "not a valid selector operator")]


def label_selector_has_invalid_label_value(selector: Object | None) -> bool:
    """Whether an expression holds a value that no label can have."""
    return any(
        formats.is_valid_label_value(value)
        for expression in (selector or {}).get("matchExpressions") or ()
        for value in expression.get("values") or ()
    )


def validate_field_selector_requirement(
    requirement: Object, path: Path, *, allow_unknown_operator: bool = False
) -> ErrorList:
    """A requirement of a field selector in a SubjectAccessReview."""
    errors: ErrorList = []
    if not requirement.get("key"):
        errors.append(field.required(path.child("key"), "must be specified"))
    return errors + _operator(requirement, path, allow_unknown=allow_unknown_operator)


# -- conditions ------------------------------------------------------------------------------------


def validate_conditions(conditions: Sequence[Object] | None, path: Path) -> ErrorList:
    """A list of conditions, each of a type of its own."""
    errors: ErrorList = []
    seen: set[str] = set()
    for position, condition in enumerate(conditions or ()):
        type_ = condition.get("type") or ""
        if type_ in seen:
            errors.append(field.duplicate(path.index(position), type_))
        seen.add(type_)
        errors += validate_condition(condition, path.index(position))
    return errors


def validate_condition(condition: Object, path: Path) -> ErrorList:
    """One condition."""
    errors: ErrorList = []
    if type_ := condition.get("type") or "":
        errors += validate_label_name(type_, path.child("type"))
    else:
        errors.append(field.required(path.child("type"), "is required"))
    status = condition.get("status") or ""
    if not status:
        errors.append(field.required(path.child("status")))
    elif status not in {"True", "False", "Unknown"}:
        supported = ("False", "True", "Unknown")
        errors.append(field.not_supported(path.child("status"), status, supported))
    observed = condition.get("observedGeneration") or 0
    if observed < 0:
        detail = "must be greater than or equal to zero"
        errors.append(field.invalid(path.child("observedGeneration"), observed, detail))
    if not condition.get("lastTransitionTime"):
        errors.append(field.required(path.child("lastTransitionTime")))
    if reason := condition.get("reason") or "":
        where = path.child("reason")
        errors += field.invalid_each(where, reason, formats.is_valid_condition_reason(reason))
        if len(reason.encode()) > MAX_REASON_BYTES:
            errors.append(field.too_long(where, MAX_REASON_BYTES))
    else:
        errors.append(field.required(path.child("reason")))
    if len((condition.get("message") or "").encode()) > MAX_MESSAGE_BYTES:
        errors.append(field.too_long(path.child("message"), MAX_MESSAGE_BYTES))
    return errors


# -- options of requests ---------------------------------------------------------------------------


def validate_create_options(options: Mapping[str, Any]) -> ErrorList:
    """``fieldManager``, ``dryRun`` and ``fieldValidation`` of a POST."""
    errors = validate_field_manager(options.get("fieldManager") or "", Path("fieldManager"))
    errors += validate_dry_run(Path("dryRun"), options.get("dryRun"))
    errors += validate_field_validation(
        Path("fieldValidation"), options.get("fieldValidation") or ""
    )
    return errors


def validate_update_options(options: Mapping[str, Any]) -> ErrorList:
    """``fieldManager``, ``dryRun`` and ``fieldValidation`` of a PUT."""
    return validate_create_options(options)


def validate_patch_options(options: Mapping[str, Any], patch_type: str) -> ErrorList:
    """The options of a PATCH of that media type."""
    errors: ErrorList = []
    if patch_type in APPLY_PATCH_TYPES:
        if not options.get("fieldManager"):
            detail = "is required for apply patch"
            errors.append(field.required(Path("fieldManager"), detail))
    elif options.get("force") is not None:
        errors.append(field.forbidden(Path("force"), "may not be specified for non-apply patch"))
    return errors + validate_create_options(options)


def validate_delete_options(options: Mapping[str, Any]) -> ErrorList:
    """The options of a DELETE."""
    errors: ErrorList = []
    policy = options.get("propagationPolicy")
    where = Path("propagationPolicy")
    if options.get("orphanDependents") is not None and policy is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(field.invalid(where, policy, detail))
    if policy is not None and policy not in {"Foreground", "Background", "Orphan"}:
        supported = ("Foreground", "Background", "Orphan", "nil")
        errors.append(field.not_supported(where, policy, supported))
    errors += validate_dry_run(Path("dryRun"), options.get("dryRun"))
    unsafe = "ignoreStoreReadErrorWithClusterBreakingPotential"
    if options.get(unsafe):
        errors += [
            field.invalid(Path(unsafe), True, f"cannot be set together with .{key}")
            for key in (
                "propagationPolicy",
                "orphanDependents",
                "gracePeriodSeconds",
                "preconditions",
            )
            if options.get(key) is not None
        ]
    return errors


def validate_dry_run(path: Path, dry_run: Sequence[str] | None) -> ErrorList:
    """``All``, as often as you like, or nothing."""
    given = list(dry_run or ())
    return [] if set(given) <= {"All"} else [field.not_supported(path, given, ("All",))]


def validate_field_validation(path: Path, value: str) -> ErrorList:
    """``Ignore``, ``Warn``, ``Strict`` or nothing."""
    allowed = ("", "Ignore", "Strict", "Warn")
    return [] if value in allowed else [field.not_supported(path, value, allowed)]


def validate_table_options(include_object: str) -> ErrorList:
    """What a table's rows carry beside their cells."""
    if include_object in {"", "Metadata", "None", "Object"}:
        return []
    detail = "must be 'Metadata', 'Object', 'None', or empty"
    return [field.invalid(Path("includeObject"), include_object, detail)]
