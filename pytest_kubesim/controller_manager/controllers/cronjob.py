"""The cronjob controller: Jobs at times.

The law: of all times that were missed since the last Job, the latest one gets a Job, unless it is
past its deadline; the Job's name tells its minute, so that it is made once whoever makes it.

Follows `pkg/controller/cronjob/cronjob_controllerv2.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import cron, meta, status, timestamps
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.client_go.resources import CRONJOBS, JOBS
from pytest_kubesim.controller_manager import cron_schedule, fields
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    Controller,
    Result,
    SyncError,
    is_namespace_terminating,
)
from pytest_kubesim.controller_manager.cron_schedule import KIND

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_kubesim.apimachinery.cron import Schedule
    from pytest_kubesim.apimachinery.meta import Object

JOB_INDEX = "jobControllerUID"


def _by_controller(job: Object) -> Iterable[str]:
    reference = meta.controller_of(job)
    return () if reference is None else (reference["uid"],)


def _finished_as(job: Object) -> str:
    """`Complete` or `Failed`; empty while it is not finished."""
    for condition in fields.conditions(job):
        if condition["type"] in {"Complete", "Failed"} and condition["status"] == "True":
            return condition["type"]
    return ""


class CronJobController(Controller):
    """Makes the Jobs of CronJobs."""

    name = "cronjob-controller"
    service_account = "cronjob-controller"
    workers: ClassVar[int] = 5
    workers_flag = "concurrent-cron-job-syncs"

    def setup(self) -> None:
        """Listen to CronJobs and Jobs."""
        self.jobs = self.watch(
            JOBS, add=self._enqueue_owner, update=self._update_job, delete=self._enqueue_owner
        )
        self.jobs.add_indexer(JOB_INDEX, _by_controller)
        self.cron_jobs = self.watch(
            CRONJOBS, add=self.enqueue, update=self._update_cron_job, delete=self.enqueue
        )

    # -- handlers -----------------------------------------------------------------------------

    def _enqueue_owner(self, job: Object) -> None:
        reference = meta.controller_of(job)
        if reference is None or reference["kind"] != KIND.kind:
            return
        found = self.cron_jobs.get(f"{meta.namespace(job)}/{reference['name']}")
        if found is not None and meta.uid(found) == reference["uid"]:
            self.enqueue(found)

    def _update_job(self, old: Object, new: Object) -> None:
        if meta.resource_version(old) == meta.resource_version(new):
            return
        if meta.controller_of(old) != meta.controller_of(new):
            self._enqueue_owner(old)
        self._enqueue_owner(new)

    def _update_cron_job(self, old: Object, new: Object) -> None:
        before, after = old["spec"], new["spec"]
        if before["schedule"] == after["schedule"] and before.get("timeZone") == after.get(
            "timeZone"
        ):
            self.enqueue(new)
            return
        try:
            schedule = cron.parse(cron_schedule.full_schedule(new))
        except ValueError:
            message = f"unparseable schedule for cronjob: {after['schedule']}"
            self.event(new, "Warning", "UnParseableCronJobSchedule", message)
            return
        delay_ns = cron_schedule.until_next_ns(new, self.now_ns(), schedule)
        self.enqueue_after(new, delay_ns, periodic=True)

    # -- the sync -----------------------------------------------------------------------------

    async def reconcile(self, key: str) -> Result | None:
        """Sync one CronJob."""
        cron_job = self.cron_jobs.get(key)
        if cron_job is None:
            return None
        jobs = self.jobs.by_index(JOB_INDEX, meta.uid(cron_job))
        sync = _Sync(self, cron_job, jobs)
        await sync.clean_up()
        failure: Exception | None = None
        try:
            await sync.run()
        except RETRIABLE as error:
            failure = error
        if sync.changed:
            await self.client.update(
                CRONJOBS, meta.namespace(cron_job), sync.cron_job, subresource="status"
            )
        if sync.again_ns is not None:
            return Result(max(sync.again_ns, 1), periodic=True)
        if failure is not None:
            raise failure
        return None


class _Sync:
    """One sync of one CronJob: its working copy, and whether its status changed."""

    def __init__(self, controller: CronJobController, cron_job: Object, jobs: list[Object]) -> None:
        self.controller = controller
        self.client = controller.client
        self.cron_job = cron_job
        self.namespace = meta.namespace(cron_job)
        self.spec: Object = cron_job["spec"]
        self.jobs = jobs
        self.changed = False
        self.again_ns: int | None = None

    def event(self, type_: str, reason: str, message: str) -> None:
        """Record an event of the CronJob."""
        self.controller.event(self.cron_job, type_, reason, message)

    def active(self) -> list[Object]:
        """`status.active`."""
        return fields.objects(fields.status(self.cron_job), "active")

    def is_active(self, uid: str) -> bool:
        """Whether a Job is among the active ones."""
        return any(reference.get("uid") == uid for reference in self.active())

    def drop_active(self, uid: str) -> None:
        """Take a Job from the active ones."""
        left = [reference for reference in self.active() if reference.get("uid") != uid]
        self.cron_job = meta.with_status(self.cron_job, active=left or None)

    async def delete(self, job: Object) -> bool:
        """Delete a Job; whether that succeeded."""
        try:
            await self.client.delete(
                JOBS, self.namespace, meta.name(job), propagation_policy="Background"
            )
        except RETRIABLE as error:
            self.event("Warning", "FailedDelete", f"Deleted job: {error}")
            return False
        self.drop_active(meta.uid(job))
        self.event("Normal", "SuccessfulDelete", f"Deleted job {meta.name(job)}")
        return True

    async def clean_up(self) -> None:
        """Delete the oldest finished Jobs beyond the limits."""
        for limit, condition in (
            ("successfulJobsHistoryLimit", "Complete"),
            ("failedJobsHistoryLimit", "Failed"),
        ):
            count = self.spec.get(limit)
            if count is None:
                continue
            finished = [job for job in self.jobs if _finished_as(job) == condition]
            finished.sort(key=_start)
            for job in finished[: max(0, len(finished) - count)]:
                if await self.delete(job):
                    self.changed = True

    async def run(self) -> None:
        """Take note of Jobs, then make the one that is due (`syncCronJob`)."""
        for job in self.jobs:
            await self.look_at(job)
        await self.find_missing()
        if meta.deletion_timestamp(self.cron_job):
            return
        zone = self.spec.get("timeZone")
        if zone is not None:
            try:
                cron.load_location(zone)
            except cron.UnknownTimeZone as problem:
                message = f"invalid timeZone: {quote(zone)}: {problem}"
                self.event("Warning", "UnknownTimeZone", message)
                return
        if self.spec.get("suspend"):
            return
        await self.schedule()

    async def look_at(self, job: Object) -> None:
        """Follow one Job in the status."""
        uid, name = meta.uid(job), meta.name(job)
        found, finished = self.is_active(uid), _finished_as(job)
        if not finished:
            if found:
                return
            fresh = await self.client.get(CRONJOBS, self.namespace, meta.name(self.cron_job))
            references = fields.objects(fields.status(fresh), "active")
            if any(reference.get("uid") == uid for reference in references):
                self.cron_job = fresh
                return
            message = f"Saw a job that the controller did not create or forgot: {name}"
            self.event("Warning", "UnexpectedJob", message)
            return
        if found:
            self.drop_active(uid)
            message = f"Saw completed job: {name}, condition: {finished}"
            self.event("Normal", "SawCompletedJob", message)
            self.changed = True
        if finished == "Complete":
            completed = fields.status(job).get("completionTime")
            last = fields.status(self.cron_job).get("lastSuccessfulTime")
            if completed and (last is None or completed > last):
                self.cron_job = meta.with_status(self.cron_job, lastSuccessfulTime=completed)
                self.changed = True

    async def find_missing(self) -> None:
        """Take Jobs that are gone from the active ones."""
        children = {meta.uid(job) for job in self.jobs}
        for reference in self.active():
            if reference.get("uid") in children:
                continue
            try:
                await self.client.get(JOBS, reference["namespace"], reference["name"])
            except status.APIStatus as error:
                if not status.is_not_found(error):
                    raise
                message = f"Active job went missing: {reference['name']}"
                self.event("Normal", "MissingJob", message)
                self.drop_active(fields.text(reference, "uid"))
                self.changed = True

    async def schedule(self) -> None:
        """Make the Job that is due, and say when to look again."""
        text: str = self.spec["schedule"]
        if "TZ" in text:
            message = (
                f"CRON_TZ or TZ used in schedule {quote(text)} is not officially supported, see "
                "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ "
                "for more details"
            )
            self.event("Warning", "UnsupportedSchedule", message)
        try:
            schedule = cron.parse(cron_schedule.full_schedule(self.cron_job))
        except ValueError as problem:
            message = f"unparseable schedule: {quote(text)} : {problem}"
            self.event("Warning", "UnparseableSchedule", message)
            return
        now_ns = self.controller.now_ns()
        try:
            missed = cron_schedule.most_recent(
                self.cron_job, now_ns, schedule, with_deadline=True
            )
        except ValueError as problem:
            self.event("Warning", "InvalidSchedule", f"invalid schedule: {text} : {problem}")
            return
        due_ns = missed.latest_ns
        if due_ns is not None and missed.missed > cron_schedule.MANY_MISSED:
            message = (
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds "
                "or check clock skew"
            )
            self.event("Warning", "TooManyMissedTimes", message)
        if due_ns is not None and self.may_start(due_ns, now_ns):
            await self.replace_active()
            if not await self.create(due_ns):
                return
        self.look_again(now_ns, schedule)

    def look_again(self, now_ns: int, schedule: Schedule) -> None:
        """Say when it is due next."""
        self.again_ns = cron_schedule.until_next_ns(self.cron_job, now_ns, schedule)

    def may_start(self, due_ns: int, now_ns: int) -> bool:
        """Whether a Job is to be made for that instant."""
        deadline = self.spec.get("startingDeadlineSeconds")
        if deadline is not None and due_ns + deadline * cron.SECOND < now_ns:
            when = cron_schedule.rfc1123z(due_ns)
            message = f"Missed scheduled time to start a job: {when}"
            self.event("Warning", "MissSchedule", message)
            return False
        name = cron_schedule.job_name(self.cron_job, due_ns)
        last = fields.status(self.cron_job).get("lastScheduleTime")
        if last == timestamps.format_time(due_ns) or any(
            (reference.get("name"), reference.get("namespace")) == (name, self.namespace)
            for reference in self.active()
        ):
            return False
        if self.spec.get("concurrencyPolicy") == "Forbid" and self.active():
            message = (
                "Not starting job because prior execution is running and "
                "concurrency policy is Forbid"
            )
            self.event("Normal", "JobAlreadyActive", message)
            return False
        return True

    async def replace_active(self) -> None:
        """Delete what runs, where the policy is Replace."""
        if self.spec.get("concurrencyPolicy") != "Replace":
            return
        for reference in self.active():
            try:
                job = await self.client.get(JOBS, reference["namespace"], reference["name"])
            except RETRIABLE as error:
                self.event("Warning", "FailedGet", f"Get job: {error}")
                raise
            if not await self.delete(job):
                raise SyncError(f"could not replace job {meta.namespace(job)}/{meta.name(job)}")
            self.changed = True

    async def create(self, due_ns: int) -> bool:
        """Make the Job of that instant; False where somebody else's has its name."""
        wanted = cron_schedule.new_job(self.cron_job, due_ns)
        try:
            job = await self.client.create(JOBS, self.namespace, wanted)
        except RETRIABLE as error:
            if is_namespace_terminating(error):
                raise
            if not status.is_already_exists(error):
                self.event("Warning", "FailedCreate", f"Error creating job: {error}")
                raise
            job = await self.client.get(JOBS, self.namespace, meta.name(wanted))
            if not meta.is_controlled_by(job, self.cron_job) or self.is_active(meta.uid(job)):
                return False
        else:
            self.event("Normal", "SuccessfulCreate", f"Created job {meta.name(job)}")
        self.cron_job = meta.with_status(
            self.cron_job,
            active=[*self.active(), meta.object_reference(job)],
            lastScheduleTime=timestamps.format_time(due_ns),
        )
        self.changed = True
        return True


def _start(job: Object) -> tuple[bool, str, str]:
    started = fields.text(fields.status(job), "startTime")
    return (not started, started, meta.name(job))


CONTROLLER = CronJobController
