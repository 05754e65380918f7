"""Which failures of a Job's pods count, and when it has succeeded.

Follows `validatePodFailurePolicy` and `validateSuccessPolicy` of
`pkg/apis/batch/validation/validation.go`.
"""

from __future__ import annotations

import itertools

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import parse_int, quote
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.strategies import EMPTY

_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")


def _valid_values(values: tuple[str, ...]) -> str:
    return "valid values: [" + " ".join(quote(value) for value in values) + "]"


def validate_failure_policy(spec: Object, path: Path) -> ErrorList:
    """`spec.podFailurePolicy`."""
    rules: list[Object] = spec["podFailurePolicy"].get("rules") or []
    where = path.child("rules")
    errors: ErrorList = []
    if len(rules) > 20:
        errors.append(field.too_many(where, len(rules), 20))
    pod: Object = (spec.get("template") or EMPTY).get("spec") or {}
    names = {
        container.get("name") or ""
        for key in ("containers", "initContainers")
        for container in pod.get(key) or ()
    }
    for position, rule in enumerate(rules):
        errors += _rule(spec, rule, where.index(position), names)
    return errors


def _rule(spec: Object, rule: Object, path: Path, names: set[str]) -> ErrorList:
    errors: ErrorList = []
    action, where = rule.get("action") or "", path.child("action")
    if not action:
        errors.append(field.required(where, _valid_values(_ACTIONS)))
    elif action == "FailIndex":
        if spec.get("backoffLimitPerIndex") is None:
            detail = "requires the backoffLimitPerIndex to be set"
            errors.append(field.invalid(where, action, detail))
    elif action not in _ACTIONS:
        errors.append(field.not_supported(where, action, _ACTIONS))
    codes: Object | None = rule.get("onExitCodes")
    conditions: list[Object] = rule.get("onPodConditions") or []
    if codes is not None:
        errors += _exit_codes(codes, path.child("onExitCodes"), names)
    if conditions:
        errors += _conditions(conditions, path.child("onPodConditions"))
    if codes is not None and conditions:
        detail = "specifying both OnExitCodes and OnPodConditions is not supported"
        errors.append(field.invalid(path, field.OMITTED, detail))
    if codes is None and not conditions:
        detail = "specifying one of OnExitCodes and OnPodConditions is required"
        errors.append(field.invalid(path, field.OMITTED, detail))
    return errors


def _conditions(conditions: list[Object], path: Path) -> ErrorList:
    errors: ErrorList = []
    if len(conditions) > 20:
        errors.append(field.too_many(path, len(conditions), 20))
    for position, pattern in enumerate(conditions):
        where = path.index(position)
        kind, status = pattern.get("type") or "", pattern.get("status") or ""
        errors += field.invalid_each(where.child("type"), kind, formats.is_qualified_name(kind))
        if not status:
            errors.append(field.required(where.child("status"), _valid_values(_STATUSES)))
        elif status not in _STATUSES:
            errors.append(field.not_supported(where.child("status"), status, _STATUSES))
    return errors


def _exit_codes(codes: Object, path: Path, names: set[str]) -> ErrorList:
    errors: ErrorList = []
    operator, where = codes.get("operator") or "", path.child("operator")
    if not operator:
        errors.append(field.required(where, _valid_values(_OPERATORS)))
    elif operator not in _OPERATORS:
        errors.append(field.not_supported(where, operator, _OPERATORS))
    name = codes.get("containerName")
    if name is not None and name not in names:
        detail = "must be one of the container or initContainer names in the pod template"
        errors.append(field.invalid(path.child("containerName"), name, detail))
    values: list[int] = codes.get("values") or []
    where = path.child("values")
    if not values:
        errors.append(field.invalid(where, None, "at least one value is required"))
    elif len(values) > 255:
        errors.append(field.too_many(where, len(values), 255))
    for position, value in enumerate(values):
        if operator == "In" and value == 0:
            detail = "must not be 0 for the In operator"
            errors.append(field.invalid(where.index(position), value, detail))
        if value in values[:position]:
            errors.append(field.duplicate(where.index(position), value))
    if any(a > b for a, b in itertools.pairwise(values)):
        errors.append(field.invalid(where, values, "must be ordered"))
    return errors


def validate_success_policy(spec: Object, path: Path) -> ErrorList:
    """`spec.successPolicy` of an Indexed Job."""
    rules: list[Object] = spec["successPolicy"].get("rules") or []
    where = path.child("rules")
    errors: ErrorList = []
    if not rules:
        detail = "at least one rules must be specified when the successPolicy is specified"
        errors.append(field.required(where, detail))
    if len(rules) > 20:
        errors.append(field.too_many(where, len(rules), 20))
    for position, rule in enumerate(rules):
        errors += _success_rule(rule, where.index(position), spec.get("completions") or 0)
    return errors


def _success_rule(rule: Object, path: Path, completions: int) -> ErrorList:
    errors: ErrorList = []
    count, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
    if count is None and indexes is None:
        detail = "at least one of succeededCount or succeededIndexes must be specified"
        errors.append(field.required(path, detail))
    total = 0
    if indexes is not None:
        where = path.child("succeededIndexes")
        if len(indexes.encode()) > 64 * 1024:
            errors.append(field.too_long(where, 64 * 1024))
        try:
            total = count_indexes(indexes, completions)
        except ValueError as error:
            detail = f"error parsing succeededIndexes: {error}"
            errors.append(field.invalid(where, indexes, detail))
    if count is not None:
        where = path.child("succeededCount")
        errors += field.validate_nonnegative_field(count, where)
        must = "must be less than or equal to"
        if count > completions:
            detail = f"{must} {completions} (the number of specified completions)"
            errors.append(field.invalid(where, count, detail))
        if indexes is not None and count > total:
            what = "the number of indexes in the specified succeededIndexes field"
            errors.append(field.invalid(where, count, f"{must} {total} ({what})"))
    return errors


# -- lists of indexes --------------------------------------------------------------------------


def intervals(text: str, completions: int) -> list[tuple[int, int]]:
    """`0,2-4` as intervals.  Raises `ValueError` with upstream's text."""
    return [interval(part, completions) for part in text.split(",")] if text else []


def interval(text: str, completions: int) -> tuple[int, int]:
    """One index or `first-last`.  Raises `ValueError` with upstream's text."""
    limits = text.split("-")
    if len(limits) > 2:
        raise ValueError(
            f"the fragment {quote(text)} violates the requirement that an index interval can have "
            "at most two parts separated by '-'"
        )
    numbers: list[int] = []
    for limit in limits:
        try:
            number = parse_int(limit)
        except ValueError:
            problem = f"cannot convert string to integer for index: {quote(limit)}"
            raise ValueError(problem) from None
        if number >= completions:
            raise ValueError(f"too large index: {quote(limit)}")
        numbers.append(number)
    if len(numbers) == 2 and numbers[0] >= numbers[1]:
        raise ValueError(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
    return numbers[0], numbers[-1]


def count_indexes(text: str, completions: int) -> int:
    """How many indexes a list names.  Raises `ValueError` with upstream's text."""
    total, last = 0, None
    for part in text.split(",") if text else ():
        first, end = interval(part, completions)
        if last is not None and last >= first:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        total += end - first + 1
        last = end
    return total
