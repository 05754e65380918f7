"""CronJobs.

Follows `pkg/registry/batch/cronjob/strategy.go`, `pkg/apis/batch/v1/defaults.go` and
`validateCronJobSpec` of `pkg/apis/batch/validation/validation.go`.
"""

from __future__ import annotations

import re
from typing import Any

from pytest_kubesim.apimachinery import formats, labels
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import bracketed
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError
from pytest_kubesim.registry.batch import cron_schedule, job_validation, time_zones
from pytest_kubesim.registry.batch.job import default_spec, dropped, spec_warnings
from pytest_kubesim.registry.columns import NONE, age, layout_containers, printer, since
from pytest_kubesim.registry.pod_template import options
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    DNS_LABEL_RECOMMENDED,
    EMPTY,
    METADATA,
    SPEC,
    StatusOnly,
    WithStatus,
    nonnegative,
    selector_value,
)

_JOB = SPEC.child("jobTemplate", "spec")
_POLICIES = ("Allow", "Forbid", "Replace")
_ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}").fullmatch
_TZ_WARNING = (
    "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see "
    "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
)


class CronJobStrategy(WithStatus):
    """`/cronjobs`."""

    generations = True

    def default(self, obj: Object) -> Object:
        """`SetObjectDefaults_CronJob`."""
        spec: Object = dict(obj.get("spec") or {})
        spec["concurrencyPolicy"] = spec.get("concurrencyPolicy") or "Allow"
        for key, value in (
            ("suspend", False),
            ("successfulJobsHistoryLimit", 3),
            ("failedJobsHistoryLimit", 1),
        ):
            if spec.get(key) is None:
                spec[key] = value
        template: Object = spec.get("jobTemplate") or {}
        spec["jobTemplate"] = {**template, "spec": default_spec(template.get("spec") or {})}
        return {**obj, "spec": spec}

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Without a status, at generation 1."""
        return _dropped(super().prepare_for_create(ctx, obj), None)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old status; a generation further if the spec has changed."""
        return super().prepare_for_update(ctx, _dropped(obj, old), old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateCronJobCreate`, `ValidateCronJobUpdate`."""
        errors, late = _spec(obj["spec"], None if old is None else old["spec"])
        name = obj["metadata"].get("name") or ""
        if old is None and len(name.encode()) > 52:
            detail = "must be no more than 52 characters"
            errors.append(field.invalid(METADATA.child("name"), name, detail))
        return errors + late

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """A name that makes no hostname, and what the template deserves."""
        del ctx
        messages = formats.is_dns1123_label(obj["metadata"].get("name") or "")
        found = [f"{DNS_LABEL_RECOMMENDED}{bracketed(messages)}"] if messages else []
        return found + spec_warnings(obj["spec"]["jobTemplate"]["spec"], _JOB)

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """The same if the generation has risen, and a time zone in the schedule."""
        del ctx
        found: list[str] = []
        if obj["metadata"].get("generation") != old["metadata"].get("generation"):
            found = spec_warnings(obj["spec"]["jobTemplate"]["spec"], _JOB)
        return [*found, _TZ_WARNING] if "TZ" in (obj["spec"].get("schedule") or "") else found


def _dropped(obj: Object, old: Object | None) -> Object:
    template: Object = obj["spec"]["jobTemplate"]
    before = None if old is None else old["spec"]["jobTemplate"].get("spec")
    new = dropped(template["spec"], before)
    if new is template["spec"]:
        return obj
    return {**obj, "spec": {**obj["spec"], "jobTemplate": {**template, "spec": new}}}


def _spec(spec: Object, old: Object | None) -> tuple[ErrorList, ErrorList]:
    errors: ErrorList = []
    late: ErrorList = []
    schedule, where = spec.get("schedule") or "", SPEC.child("schedule")
    zone = spec.get("timeZone")
    if not schedule:
        late.append(field.required(where))
    else:
        errors += _schedule(schedule, zone, old)
    errors += nonnegative(spec, SPEC, "startingDeadlineSeconds")
    if old is None or old.get("timeZone") != zone:
        errors += _zone(zone)
    policy = spec.get("concurrencyPolicy") or ""
    if policy not in _POLICIES:
        where = SPEC.child("concurrencyPolicy")
        errors.append(
            field.not_supported(where, policy, _POLICIES) if policy else field.required(where)
        )
    job: Object = spec["jobTemplate"]["spec"]
    before: Object | None = None if old is None else old["jobTemplate"].get("spec")
    pod: Object = (before or EMPTY).get("template") or {}
    opts = options.for_update(pod.get("spec"), pod.get("metadata"), is_pod=False)
    errors += job_validation.validate_spec(job, before, _JOB, opts)
    if job.get("selector") is not None:
        detail = "`selector` will be auto-generated"
        shown = selector_value(job["selector"])
        errors.append(field.invalid(_JOB.child("selector"), shown, detail))
    if job.get("manualSelector"):
        where = _JOB.child("manualSelector")
        errors.append(field.not_supported(where, True, ("nil", "false")))
    errors += nonnegative(spec, SPEC, "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    return errors, late


def _schedule(schedule: str, zone: str | None, old: Object | None) -> ErrorList:
    errors: ErrorList = []
    where = SPEC.child("schedule")
    try:
        cron_schedule.parse(schedule)
    except ValueError as error:
        errors.append(field.invalid(where, schedule, str(error)))
    if "TZ" not in schedule:
        return errors
    if "TZ" not in ((old or EMPTY).get("schedule") or ""):
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.append(field.invalid(where, schedule, detail))
    elif zone is not None:
        detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        errors.append(field.invalid(where, schedule, detail))
    return errors


def _zone(zone: str | None) -> ErrorList:
    if zone is None:
        return []
    where = SPEC.child("timeZone")
    if not zone:
        return [field.invalid(where, zone, "timeZone must be nil or non-empty string")]
    for part in zone.split("/"):
        if part in (".", "..") or part.startswith("-") or not _ZONE_PART(part):
            return [field.invalid(where, zone, f"unknown time zone {zone}")]
    errors: ErrorList = []
    if zone.lower() == "local":
        detail = (
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        )
        errors.append(field.invalid(where, zone, detail))
    if problem := time_zones.problem(zone):
        errors.append(field.invalid(where, zone, problem))
    return errors


class CronJobStatusStrategy(StatusOnly):
    """`/cronjobs/{name}/status`."""


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec: Object = obj.get("spec") or {}
    status: Object = obj.get("status") or {}
    job: Object = (spec.get("jobTemplate") or EMPTY).get("spec") or {}
    last = status.get("lastScheduleTime")
    suspend = spec.get("suspend")
    names, images = layout_containers(
        ((job.get("template") or EMPTY).get("spec") or EMPTY).get("containers")
    )
    return [
        obj["metadata"]["name"],
        spec.get("schedule") or "",
        NONE if spec.get("timeZone") is None else spec["timeZone"],
        "<unset>" if suspend is None else str(bool(suspend)),
        len(status.get("active") or ()),
        since(last, now_ns) if last else NONE,
        age(obj, now_ns),
        names,
        images,
        labels.format_label_selector(job.get("selector")),
    ]


KIND = Kind(
    strategy=CronJobStrategy(),
    status=CronJobStatusStrategy(),
    printer=printer("CronJob", _row),
)
