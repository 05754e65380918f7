"""When a CronJob is due: what was missed, what is next, and the Job that is made of it.

Pure functions.  Follows `pkg/controller/cronjob/utils.go`.  Instants are nanoseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from pytest_kubesim.apimachinery import cron, meta, timestamps
from pytest_kubesim.apimachinery.meta import GroupVersionKind
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.cron import Schedule
    from pytest_kubesim.apimachinery.meta import Object

KIND = GroupVersionKind("batch", "v1", "CronJob")
SCHEDULED_TIMESTAMP = "batch.kubernetes.io/cronjob-scheduled-timestamp"

NEXT_SCHEDULE_DELTA_NS = 100_000_000
MANY_MISSED = 100
FOREVER_NS = 10 * 365 * 86_400 * NS
"""Until when a schedule is put off that never comes."""


def full_schedule(cron_job: Object) -> str:
    """The schedule with its time zone in front."""
    schedule: str = cron_job["spec"]["schedule"]
    zone = cron_job["spec"].get("timeZone")
    if "TZ" in schedule or zone is None:
        return schedule
    try:
        cron.load_location(zone)
    except cron.UnknownTimeZone:
        return schedule
    return f"TZ={zone} {schedule}"


class Missed(NamedTuple):
    """The instant from which it was looked, the last one that was due, how many were due."""

    earliest_ns: int
    latest_ns: int | None
    missed: int


def most_recent(
    cron_job: Object, now_ns: int, schedule: Schedule, *, with_deadline: bool
) -> Missed:
    """What was due since it ran last (`mostRecentScheduleTime`).

    Raises: `ValueError` where the schedule's times are closer than a second.
    """
    last = fields.status(cron_job).get("lastScheduleTime")
    earliest_ns = timestamps.parse_time(last or cron_job["metadata"]["creationTimestamp"])
    deadline = cron_job["spec"].get("startingDeadlineSeconds")
    if with_deadline and deadline is not None:
        earliest_ns = max(earliest_ns, now_ns - deadline * NS)
    first_ns = _next(schedule, earliest_ns)
    second_ns = _next(schedule, first_ns)
    if now_ns < first_ns:
        return Missed(earliest_ns, None, 0)
    if now_ns < second_ns:
        return Missed(earliest_ns, first_ns, 0)
    between = round((second_ns - first_ns) / NS)
    if between < 1:
        raise ValueError("time difference between two schedules is less than 1 second")
    count = (now_ns - first_ns) // NS // between + 1
    latest_ns: int | None = None
    candidate_ns = _next(schedule, first_ns + (count - 2) * between * NS)
    while candidate_ns <= now_ns:
        latest_ns = candidate_ns
        candidate_ns = _next(schedule, candidate_ns)
    return Missed(earliest_ns, latest_ns, count)


def _next(schedule: Schedule, after_ns: int) -> int:
    found = schedule.next(after_ns)
    return after_ns + FOREVER_NS if found is None else found


def until_next_ns(cron_job: Object, now_ns: int, schedule: Schedule) -> int:
    """How long until it is due next (`nextScheduleTimeDuration`)."""
    try:
        missed = most_recent(cron_job, now_ns, schedule, with_deadline=False)
    except ValueError:
        since_ns = now_ns
    else:
        since_ns = missed.latest_ns if missed.latest_ns is not None else missed.earliest_ns
        if missed.latest_ns is None and missed.missed:
            since_ns = now_ns
    return _next(schedule, since_ns) + NEXT_SCHEDULE_DELTA_NS - now_ns


def job_name(cron_job: Object, scheduled_ns: int) -> str:
    """The name of the Job of that instant: it tells the minute."""
    return f"{meta.name(cron_job)}-{scheduled_ns // NS // 60}"


def new_job(cron_job: Object, scheduled_ns: int) -> Object:
    """The Job of that instant."""
    template = fields.mapping(cron_job["spec"], "jobTemplate")
    zone = cron.load_location(fields.text(cron_job["spec"], "timeZone"))
    moment = datetime.fromtimestamp(scheduled_ns // NS, UTC).astimezone(zone)
    text = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(cron_job, scheduled_ns),
            "namespace": meta.namespace(cron_job),
            "labels": dict(meta.labels(template)),
            "annotations": {**meta.annotations(template), SCHEDULED_TIMESTAMP: text},
            "ownerReferences": [meta.new_controller_ref(cron_job, KIND)],
        },
        "spec": fields.spec(template),
    }


def rfc1123z(time_ns: int) -> str:
    """`Mon, 02 Jan 2006 15:04:05 -0700`, in UTC."""
    moment = datetime.fromtimestamp(time_ns // NS, UTC)
    day = _DAYS[moment.weekday()]
    month = _MONTHS[moment.month - 1]
    return f"{day}, {moment:%d} {month} {moment:%Y %H:%M:%S} +0000"


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
