"""The status of a Job: what its controller, whoever it is, may say.

Follows `ValidateJobStatusUpdate` of `pkg/apis/batch/validation/validation.go` and
`getStatusValidationOptions` of `pkg/registry/batch/job/strategy.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry.batch.job_policies import count_indexes, interval
from pytest_kubesim.registry.batch.job_validation import is_condition_true
from pytest_kubesim.registry.pod_template import go_structs
from pytest_kubesim.registry.strategies import nonnegative

_STATUS = Path("status")
_CONDITIONS = _STATUS.child("conditions")


def _condition(detail: str) -> FieldError:
    return field.invalid(_CONDITIONS, field.OMITTED, detail)


class _Job:
    """What matters of a Job's status."""

    def __init__(self, job: Object) -> None:
        self.spec: Object = job["spec"]
        self.status: Object = job.get("status") or {}
        self.complete = is_condition_true(job, "Complete")
        self.failed = is_condition_true(job, "Failed")
        self.failure_target = is_condition_true(job, "FailureTarget")
        self.criteria_met = is_condition_true(job, "SuccessCriteriaMet")
        self.finished = self.complete or self.failed
        self.suspended = is_condition_true(job, "Suspended")
        self.resumed = is_condition_true(job, "Suspended", "False")

    def get(self, name: str, default: Any = None) -> Any:
        return self.status.get(name, default)


def validate_status_update(job: Object, old: Object) -> ErrorList:
    """A change through `/status`; the specs are equal by then."""
    new, before = _Job(job), _Job(old)
    changed = {
        name: new.get(name) != before.get(name)
        for name in (
            "completedIndexes",
            "failedIndexes",
            "active",
            "startTime",
            "completionTime",
            "uncountedTerminatedPods",
            "ready",
            "terminating",
        )
    }
    errors = _counters(new)
    errors += _conditions(new, before, changed)
    errors += _finished(new, before, changed)
    errors += _indexes(new, changed)
    errors += _pods(new, before, changed)
    errors += _contradictions(new)
    return errors + _transitions(new, before, changed)


def _counters(new: _Job) -> ErrorList:
    names = ("active", "succeeded", "failed", "ready", "terminating")
    errors = nonnegative(new.status, _STATUS, *names)
    uncounted: Object | None = new.get("uncountedTerminatedPods")
    if uncounted is None:
        return errors
    seen: set[str] = set()
    for key in ("succeeded", "failed"):
        for position, uid in enumerate(uncounted.get(key) or ()):
            where = _STATUS.child("uncountedTerminatedPods", key).index(position)
            if not uid:
                errors.append(field.invalid(where, uid, "must not be empty"))
            elif uid in seen:
                errors.append(field.duplicate(where, uid))
            seen.add(uid)
    return errors


def _conditions(new: _Job, before: _Job, changed: dict[str, bool]) -> ErrorList:
    errors: ErrorList = []
    complete_changed = new.complete != before.complete
    failed_changed = new.failed != before.failed
    target_changed = new.failure_target != before.failure_target
    if (complete_changed or failed_changed) and new.complete and new.failed:
        errors.append(_condition("cannot set Complete=True and Failed=true conditions"))
    if (complete_changed or target_changed) and new.complete and new.failure_target:
        errors.append(_condition("cannot set Complete=True and FailureTarget=true conditions"))
    done, where = new.get("completionTime"), _STATUS.child("completionTime")
    if complete_changed or changed["completionTime"]:
        if done is not None and not new.complete:
            detail = "cannot set completionTime when there is no Complete=True condition"
            errors.append(field.invalid(where, done, detail))
        if done is None and new.complete:
            errors.append(field.required(where, "completionTime is required for Complete jobs"))
    start = new.get("startTime")
    if (changed["startTime"] or changed["completionTime"]) and start and done:
        if timestamps.parse_time(done) < timestamps.parse_time(start):
            detail = "must be equal to or after `startTime`"
            errors.append(field.invalid(where, done, detail))
    if (failed_changed or changed["failedIndexes"]) and new.failed and not new.failure_target:
        detail = "cannot set Failed=True condition without the FailureTarget=true condition"
        errors.append(_condition(detail))
    met_changed = new.criteria_met != before.criteria_met
    if (complete_changed or met_changed) and new.complete and not new.criteria_met:
        detail = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"
        errors.append(_condition(detail))
    return errors


def _finished(new: _Job, before: _Job, changed: dict[str, bool]) -> ErrorList:
    errors: ErrorList = []
    if not new.finished:
        return errors
    finished_changed = new.finished != before.finished
    active = new.get("active") or 0
    if (finished_changed or changed["active"]) and active > 0:
        detail = "active>0 is invalid for finished job"
        errors.append(field.invalid(_STATUS.child("active"), active, detail))
    empty = new.spec.get("suspend") is True and new.spec.get("completions") == 0
    if (finished_changed or changed["startTime"]) and not empty and new.get("startTime") is None:
        where = _STATUS.child("startTime")
        errors.append(field.required(where, "startTime is required for finished job"))
    uncounted: Object | None = new.get("uncountedTerminatedPods")
    if (
        (finished_changed or changed["uncountedTerminatedPods"])
        and uncounted
        and (uncounted.get("failed") or uncounted.get("succeeded"))
    ):
        where = _STATUS.child("uncountedTerminatedPods")
        shown = go_structs.printed("UncountedTerminatedPods", uncounted)
        errors.append(field.invalid(where, shown, "must be empty for finished job"))
    return errors


def _indexes(new: _Job, changed: dict[str, bool]) -> ErrorList:
    errors: ErrorList = []
    completions = new.spec.get("completions")
    done, failed = new.get("completedIndexes") or "", new.get("failedIndexes")
    at_done, at_failed = _STATUS.child("completedIndexes"), _STATUS.child("failedIndexes")
    per_index = new.spec.get("backoffLimitPerIndex") is not None
    if changed["completedIndexes"] and completions is not None:
        errors += _parsed(done, completions, at_done, "completedIndexes")
    if changed["failedIndexes"] and completions is not None and per_index and failed is not None:
        errors += _parsed(failed, completions, at_failed, "failedIndexes")
    if changed["completedIndexes"] and done and new.spec.get("completionMode") != "Indexed":
        detail = "cannot set non-empty completedIndexes when non-indexed completion mode"
        errors.append(field.invalid(at_done, done, detail))
    if changed["failedIndexes"] and not per_index and failed is not None:
        detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        errors.append(field.invalid(at_failed, failed, detail))
    if (changed["failedIndexes"] or changed["completedIndexes"]) and completions is not None:
        index = _overlap(done, failed or "", completions)
        if index is not None:
            detail = f"failedIndexes and completedIndexes overlap at index: {index}"
            errors.append(field.invalid(at_failed, failed, detail))
    return errors


def _parsed(text: str, completions: int, path: Path, name: str) -> ErrorList:
    try:
        count_indexes(text, completions)
    except ValueError as error:
        return [field.invalid(path, text, f"error parsing {name}: {error}")]
    return []


def _overlap(done: str, failed: str, completions: int) -> int | None:
    left, right = _well_formed(done, completions), _well_formed(failed, completions)
    for first, last in left:
        for start, end in right:
            if first <= end and start <= last:
                return max(first, start)
    return None


def _well_formed(text: str, completions: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for part in text.split(",") if text else ():
        try:
            found.append(interval(part, completions))
        except ValueError:
            continue
    return found


def _pods(new: _Job, before: _Job, changed: dict[str, bool]) -> ErrorList:
    errors: ErrorList = []
    terminating, ready = new.get("terminating"), new.get("ready")
    if new.finished and (new.finished != before.finished or changed["terminating"]):
        if (terminating or 0) > 0:
            detail = "terminating>0 is invalid for finished job"
            errors.append(field.invalid(_STATUS.child("terminating"), terminating, detail))
    if (changed["ready"] or changed["active"]) and (ready or 0) > (new.get("active") or 0):
        detail = "cannot set more ready pods than active"
        errors.append(field.invalid(_STATUS.child("ready"), ready, detail))
    return errors


def _contradictions(new: _Job) -> ErrorList:
    errors: ErrorList = []
    if new.criteria_met and new.failed:
        errors.append(_condition("cannot set SuccessCriteriaMet=True and Failed=true conditions"))
    if new.criteria_met and new.failure_target:
        detail = "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"
        errors.append(_condition(detail))
    if new.spec.get("successPolicy") is not None and new.complete and not new.criteria_met:
        detail = (
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
        )
        errors.append(_condition(detail))
    return errors


def _transitions(new: _Job, before: _Job, changed: dict[str, bool]) -> ErrorList:
    errors: ErrorList = []
    for name, was, holds in (
        ("Failed", before.failed, new.failed),
        ("Complete", before.complete, new.complete),
        ("FailureTarget", before.failure_target, new.failure_target),
    ):
        if was and not holds:
            errors.append(_condition(f"cannot disable the terminal {name}=True condition"))
    errors += _decreases(new, before)
    done, start = new.get("completionTime"), new.get("startTime")
    if done is not None and before.get("completionTime") is not None and changed["completionTime"]:
        errors.append(field.invalid(_STATUS.child("completionTime"), done, field.FIELD_IMMUTABLE))
    resuming = before.suspended and new.resumed
    if (
        changed["startTime"]
        and not resuming
        and before.get("startTime") is not None
        and not new.spec.get("suspend")
    ):
        detail = "field is immutable for unsuspended job once set"
        errors.append(field.invalid(_STATUS.child("startTime"), start, detail))
    if before.criteria_met and not new.criteria_met:
        errors.append(_condition("cannot disable the SuccessCriteriaMet=True condition"))
    if before.complete and not before.criteria_met and new.criteria_met:
        detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
        errors.append(_condition(detail))
    return errors


def _decreases(new: _Job, before: _Job) -> ErrorList:
    errors: ErrorList = []
    spec = new.spec
    elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get(
        "parallelism"
    )
    for name in ("failed", "succeeded"):
        if name == "succeeded" and elastic:
            continue
        count = new.get(name) or 0
        if count < (before.get(name) or 0):
            detail = f"cannot decrease the {name} counter"
            errors.append(field.invalid(_STATUS.child(name), count, detail))
    return errors
