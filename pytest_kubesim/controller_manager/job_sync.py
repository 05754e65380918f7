"""One sync of one Job: count what ended, decide whether it is over, make or delete pods.

The law of the counting is told in `controllers/job`.  The order of writes is upstream's: pods are
deleted and created first, then the status says which pods are about to be counted, then these lose
their finalizers, then the status counts them.

Follows `syncJob`, `manageJob` and `trackJobStatusAndRemoveFinalizers` in
`pkg/controller/job/job_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import labels, meta, status, timestamps
from pytest_kubesim.apimachinery.meta import GroupVersionKind
from pytest_kubesim.client_go.resources import JOBS, PODS
from pytest_kubesim.controller_manager import (
    fields,
    job_indexes,
    job_policies,
    pod_ranking,
    pods,
)
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    SyncError,
    is_namespace_terminating,
)
from pytest_kubesim.controller_manager.controller_ref_manager import ControllerRefManager
from pytest_kubesim.controller_manager.job_policies import BackoffRecord
from pytest_kubesim.controller_manager.pod_control import all_at_once, pod_from_template
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.controller_manager.controllers.job import JobController
    from pytest_kubesim.controller_manager.job_indexes import Intervals

KIND = GroupVersionKind("batch", "v1", "Job")
FINALIZER = "batch.kubernetes.io/job-tracking"
FINALIZER_PATCH: dict[str, Any] = {
    "metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}
}
CONTROLLER_NAME = "kubernetes.io/job-controller"

MAX_UNCOUNTED_PODS = 500
MAX_PODS_PER_SYNC = 500

_OMITTED_WHEN_ZERO = ("active", "succeeded", "failed", "completedIndexes", "conditions")


def has_finalizer(pod: Object) -> bool:
    """Whether a pod is still to be counted."""
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def is_finished(job: Object) -> bool:
    """Whether a Job is complete or has failed."""
    return any(
        condition["type"] in {"Complete", "Failed"} and condition["status"] == "True"
        for condition in fields.conditions(job)
    )


def managed_by_other(job: Object) -> bool:
    """Whether somebody else's controller runs the Job."""
    name = job["spec"].get("managedBy")
    return name is not None and name != CONTROLLER_NAME


def is_suspended(job: Object) -> bool:
    """Whether the Job is to have no pods for now."""
    return bool(job["spec"].get("suspend"))


class JobSync:
    """What one sync knows.  `status` is its working copy of the Job's."""

    def __init__(self, controller: JobController, job: Object, key: str) -> None:
        self.controller = controller
        self.job = job
        self.key = key
        self.spec: Object = job["spec"]
        self.namespace = meta.namespace(job)
        self.status: Object = dict(fields.status(job))
        self.uncounted: dict[str, list[str]] = {"succeeded": [], "failed": []}
        self.read_uncounted()
        self.noted = {kind: frozenset(uids) for kind, uids in self.uncounted.items()}
        self.indexed = self.spec.get("completionMode") == "Indexed"
        self.per_index = self.spec.get("backoffLimitPerIndex") is not None
        self.completions: int | None = self.spec.get("completions")
        self.being_released = frozenset(controller.finalizer_removals.get(key, ()))
        self.finished: Object | None = None
        self.pods: list[Object] = []
        self.active_pods: list[Object] = []
        self.ready = self.terminating = self.succeeded = self.failed = 0
        self.previously_succeeded: Intervals = ()
        self.succeeded_indexes: Intervals = ()
        self.failed_indexes: Intervals | None = None
        self.delayed: dict[int, Object] = {}
        self.record = BackoffRecord()

    def read_uncounted(self) -> None:
        """Take over what the status has noted."""
        noted = fields.mapping(self.status, "uncountedTerminatedPods")
        self.uncounted = {
            "succeeded": list(fields.texts(noted, "succeeded")),
            "failed": list(fields.texts(noted, "failed")),
        }

    # -- the whole ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Do it (`syncJob`)."""
        controller = self.controller
        satisfied = controller.expectations.satisfied(self.key)
        self.pods = await self.owned()
        self.active_pods = [pod for pod in self.pods if pods.is_active(pod)]
        self.ready = sum(map(pods.is_ready, self.active_pods))
        self.terminating = sum(map(pods.is_terminating, self.pods))
        active = len(self.active_pods)
        self.count()
        if not self.status.get("startTime") and not is_suspended(self.job):
            self.status["startTime"] = controller.now()
        self.decide()
        suspension = False
        failure: Exception | None = None
        if self.finished is not None:
            ready, deleted, failure = await self.delete_pods(self.active_pods, release=False)
            if deleted != active or not satisfied:
                self.finished = None
            active -= deleted
            self.terminating += deleted
            self.ready -= ready
        else:
            managed = satisfied and not meta.deletion_timestamp(self.job)
            if managed:
                active, failure = await self.manage()
            if self.is_complete(active):
                self.finished = self.condition(
                    "SuccessCriteriaMet",
                    "CompletionsReached",
                    "Reached expected number of succeeded pods",
                )
            elif managed:
                suspension = self.set_suspension()
        flush = (
            suspension
            or active != fields.number(self.status, "active")
            or self.status.get("ready") != self.ready
            or self.status.get("terminating") != self.terminating
        )
        self.status.update(active=active, ready=self.ready, terminating=self.terminating)
        try:
            await self.track(flush=flush)
        except RETRIABLE as error:
            raise SyncError(f"tracking status: {error}") from error
        if failure is not None:
            raise failure

    async def owned(self) -> list[Object]:
        """The Job's pods, after adopting and releasing."""
        controller = self.controller
        try:
            selector = labels.from_label_selector(self.spec.get("selector"))
        except ValueError as problem:
            raise SyncError(f"couldn't convert Job selector: {problem}") from None
        manager = ControllerRefManager(
            controller.client,
            JOBS,
            self.job,
            KIND,
            selector,
            controller.pod_control.patch,
            finalizer=FINALIZER,
        )
        related = pods.of_owner(controller.pods, self.job, KIND.kind, orphans=True)
        claimed = await manager.claim(related)
        return [
            pod
            if has_finalizer(pod) or meta.is_controlled_by(pod, self.job)
            # Adopted just now: it has the finalizer, though the informer does not know it yet.
            else meta.with_metadata(pod, finalizers=[*meta.finalizers(pod), FINALIZER])
            for pod in claimed
        ]

    # -- counting -----------------------------------------------------------------------------

    def is_valid_index(self, index: int) -> bool:
        """Whether it is an index that the Job has."""
        return index != job_indexes.UNKNOWN and index < (self.completions or 0)

    def valid_pods(self, noted: frozenset[str]) -> list[Object]:
        """Pods still to be counted that are not noted and whose index the Job has."""
        return [
            pod
            for pod in self.pods
            if has_finalizer(pod)
            and meta.uid(pod) not in noted
            and meta.uid(pod) not in self.being_released
            and (not self.indexed or self.is_valid_index(job_indexes.index_of(pod)))
        ]

    def count(self) -> None:
        """How many have succeeded and failed, and what that means for the back-off."""
        succeeded = [
            pod
            for pod in self.valid_pods(self.noted["succeeded"])
            if pods.phase(pod) == "Succeeded"
        ]
        failed = [
            pod
            for pod in self.valid_pods(self.noted["failed"])
            if job_policies.is_failed(pod, self.job)
        ]
        counted = sum(job_policies.pod_failure(self.job, pod).counts for pod in failed)
        number = fields.number
        self.succeeded = (
            number(self.status, "succeeded") + len(succeeded) + len(self.noted["succeeded"])
        )
        self.failed = number(self.status, "failed") + counted + len(self.noted["failed"])
        old = self.controller.backoff_records.get(self.key, BackoffRecord())
        self.record = job_policies.next_record(old, succeeded, failed)

    def count_indexes(self) -> None:
        """Which indexes have succeeded and failed."""
        completions = self.completions or 0
        tracked = [
            (job_indexes.index_of(pod), pod) for pod in self.pods if has_finalizer(pod)
        ]
        tracked = [(index, pod) for index, pod in tracked if self.is_valid_index(index)]
        self.previously_succeeded = job_indexes.parse(
            fields.text(self.status, "completedIndexes"), completions
        )
        self.succeeded_indexes = job_indexes.with_indexes(
            self.previously_succeeded,
            [index for index, pod in tracked if pods.phase(pod) == "Succeeded"],
        )
        self.succeeded = job_indexes.total(self.succeeded_indexes)
        if self.per_index:
            before = job_indexes.parse(fields.text(self.status, "failedIndexes"), completions)
            self.failed_indexes = job_indexes.with_indexes(
                before, [index for index, pod in tracked if self.is_index_failed(pod)]
            )

    def is_index_failed(self, pod: Object) -> bool:
        """Whether with this pod its index has failed for good."""
        if not job_policies.is_failed(pod, self.job):
            return False
        verdict = job_policies.pod_failure(self.job, pod)
        if verdict.action == job_policies.FAIL_INDEX:
            return True
        limit = fields.number(self.spec, "backoffLimitPerIndex")
        return verdict.counts and job_indexes.failure_count(pod) >= limit

    def find_delayed(self) -> None:
        """The last failed pod of each index that is to be tried again."""
        active = job_indexes.indexes_of(self.active_pods)
        for pod in self.valid_pods(frozenset()):
            index = job_indexes.index_of(pod)
            if (
                not job_policies.is_failed(pod, self.job)
                or job_indexes.has(self.succeeded_indexes, index)
                or job_indexes.has(self.failed_indexes or (), index)
                or index in active
            ):
                continue
            last = self.delayed.get(index)
            if last is None or (
                job_indexes.absolute_failure_count(last)
                <= job_indexes.absolute_failure_count(pod)
                and job_policies.finished_ns(pod) >= job_policies.finished_ns(last)
            ):
                self.delayed[index] = pod

    # -- is it over? --------------------------------------------------------------------------

    def condition(self, type_: str, reason: str, message: str, state: str = "True") -> Object:
        """A condition as of now."""
        now = self.controller.now()
        return {
            "type": type_,
            "status": state,
            "lastProbeTime": now,
            "lastTransitionTime": now,
            "reason": reason,
            "message": message,
        }

    def find_condition(self, type_: str) -> Object | None:
        """The condition of that type that holds."""
        for condition in fields.objects(self.status, "conditions"):
            if condition["type"] == type_ and condition["status"] == "True":
                return condition
        return None

    def decide(self) -> None:
        """Whether the Job has succeeded or failed, and why."""
        self.finished = self.find_condition("SuccessCriteriaMet")
        if self.finished is None:
            target = self.find_condition("FailureTarget")
            if target is not None:
                self.finished = self.condition(
                    "Failed", target.get("reason", ""), target.get("message", "")
                )
            else:
                message = job_policies.failure_message(self.job, self.pods)
                if message is not None:
                    self.finished = self.condition("FailureTarget", "PodFailurePolicy", message)
        if self.finished is None:
            self.check_limits()
        if self.indexed:
            self.decide_indexed()

    def check_limits(self) -> None:
        """The limit of failures and the deadline."""
        deadline = self.spec.get("activeDeadlineSeconds")
        started = self.status.get("startTime")
        left_ns: int | None = None
        if deadline is not None and started and not is_suspended(self.job):
            started_ns = timestamps.parse_time(started)
            left_ns = deadline * NS - (self.controller.now_ns() - started_ns)
        if self.failed > fields.number(
            self.spec, "backoffLimit"
        ) or job_policies.restarts_exceed_limit(self.job, self.pods):
            self.finished = self.condition(
                "FailureTarget",
                "BackoffLimitExceeded",
                "Job has reached the specified backoff limit",
            )
        elif left_ns is not None and left_ns <= 0:
            self.finished = self.condition(
                "FailureTarget",
                "DeadlineExceeded",
                "Job was active longer than specified deadline",
            )
        elif left_ns is not None:
            self.controller.queue.add_after(self.key, left_ns)

    def decide_indexed(self) -> None:
        """The same by index: failed indexes and the success policy."""
        self.count_indexes()
        if self.failed_indexes is not None:
            failed = job_indexes.total(self.failed_indexes)
            limit = self.spec.get("maxFailedIndexes")
            if self.finished is None and limit is not None and failed > limit:
                self.finished = self.condition(
                    "FailureTarget",
                    "MaxFailedIndexesExceeded",
                    "Job has exceeded the specified maximal number of failed indexes",
                )
            elif (
                self.finished is None
                and failed > 0
                and failed + self.succeeded >= (self.completions or 0)
            ):
                self.finished = self.condition(
                    "FailureTarget", "FailedIndexes", "Job has failed indexes"
                )
            self.find_delayed()
        if self.finished is None:
            message = job_policies.success_message(self.job, self.succeeded_indexes)
            if message is not None:
                self.finished = self.condition("SuccessCriteriaMet", "SuccessPolicy", message)

    def is_complete(self, active: int) -> bool:
        """Whether enough have succeeded and none runs any more."""
        if self.completions is None:
            return self.succeeded > 0 and active == 0
        return self.succeeded >= self.completions and active == 0

    def ensure_condition(self, new: Object) -> bool:
        """Set a condition in the status; whether that changed anything."""
        old = fields.objects(self.status, "conditions")
        for position, condition in enumerate(old):
            if condition["type"] == new["type"]:
                if all(
                    (condition.get(key) or "") == new[key]
                    for key in ("status", "reason", "message")
                ):
                    return False
                self.status["conditions"] = [*old[:position], new, *old[position + 1 :]]
                return True
        if new["status"] == "False":
            return False
        self.status["conditions"] = [*old, new]
        return True

    def set_suspension(self) -> bool:
        """The condition Suspended; whether it changed."""
        controller = self.controller
        if is_suspended(self.job):
            new = self.condition("Suspended", "JobSuspended", "Job suspended")
            if not self.ensure_condition(new):
                return False
            controller.event(self.job, "Normal", "Suspended", "Job suspended")
            self.status.pop("startTime", None)
            return True
        new = self.condition("Suspended", "JobResumed", "Job resumed", "False")
        if not self.ensure_condition(new):
            return False
        controller.event(self.job, "Normal", "Resumed", "Job resumed")
        self.status["startTime"] = controller.now()
        return True

    # -- pods ---------------------------------------------------------------------------------

    async def manage(self) -> tuple[int, Exception | None]:
        """Delete or create pods; gives how many are active then (`manageJob`)."""
        active = len(self.active_pods)
        if is_suspended(self.job):
            return await self.remove(self.for_removal(active))
        parallelism = fields.number(self.spec, "parallelism")
        if self.completions is None:
            wanted = active if self.succeeded > 0 else parallelism
        else:
            wanted = max(0, min(self.completions - self.succeeded, parallelism))
        surplus = self.for_removal(max(0, active - wanted))[:MAX_PODS_PER_SYNC]
        if surplus:
            return await self.remove(surplus)
        terminating = self.terminating if job_policies.only_replaces_failed(self.job) else 0
        missing = wanted - terminating - active
        if missing <= 0:
            return active, None
        now_ns = self.controller.now_ns()
        wait_ns = 0 if self.per_index else job_policies.remaining_ns(self.record, now_ns)
        indexes: list[int] = []
        missing = min(missing, MAX_PODS_PER_SYNC)
        if wait_ns == 0 and self.indexed:
            indexes = job_indexes.first_pending(
                self.taken_indexes(), missing, self.completions or 0
            )
            if self.per_index:
                indexes, wait_ns = self.indexes_due(indexes, now_ns)
            missing = len(indexes)
        if wait_ns > 0:
            self.controller.queue.add_after(self.key, max(wait_ns, NS))
            return active, None
        return await self.create(active, missing, indexes)

    def taken_indexes(self) -> Intervals:
        """Indexes that need no new pod."""
        taken = job_indexes.with_indexes(
            self.succeeded_indexes, job_indexes.indexes_of(self.active_pods)
        )
        if job_policies.only_replaces_failed(self.job):
            terminating = [pod for pod in self.pods if pods.is_terminating(pod)]
            taken = job_indexes.with_indexes(taken, job_indexes.indexes_of(terminating))
        return job_indexes.merge(taken, self.failed_indexes or ())

    def indexes_due(self, indexes: list[int], now_ns: int) -> tuple[list[int], int]:
        """Those whose back-off is over; if there are none, how long the first has to wait."""
        waits = {
            index: job_policies.remaining_of_index_ns(self.delayed.get(index), now_ns)
            for index in indexes
        }
        due = [index for index, wait_ns in waits.items() if wait_ns == 0]
        return due, 0 if due else min(waits.values(), default=0)

    def for_removal(self, at_least: int) -> list[Object]:
        """Active pods to delete: superfluous ones of an index, and as many as asked for."""
        removed: list[Object] = []
        left = self.active_pods
        if self.indexed:
            removed, left = job_indexes.split_duplicates(left, self.completions or 0)
        if len(removed) < at_least:
            removed = removed + pod_ranking.active_pods(left)[: at_least - len(removed)]
        return removed

    async def remove(self, surplus: list[Object]) -> tuple[int, Exception | None]:
        """Delete pods without counting them."""
        self.controller.expectations.set(self.key, 0, len(surplus))
        ready, deleted, failure = await self.delete_pods(surplus, release=True)
        self.terminating += deleted
        self.ready -= ready
        return len(self.active_pods) - deleted, failure

    async def delete_pods(
        self, several: list[Object], *, release: bool
    ) -> tuple[int, int, Exception | None]:
        """Delete pods; gives how many of them were ready, how many are deleted, an error."""
        errors = await all_at_once(
            self.controller.process, [self.delete(pod, release=release) for pod in several]
        )
        failed = [error for error in errors if error is not None]
        ready = sum(map(pods.is_ready, several))
        return ready, len(several) - len(failed), failed[0] if failed else None

    async def delete(self, pod: Object, *, release: bool) -> None:
        """Delete a pod; with `release` it loses its finalizer first, as it is not counted."""
        control = self.controller.pod_control
        name = meta.name(pod)
        try:
            if release and has_finalizer(pod):
                try:
                    await control.patch(self.namespace, name, FINALIZER_PATCH)
                except RETRIABLE as error:
                    if status.is_not_found(error):
                        raise
                    raise SyncError(f"removing completion finalizer: {error}") from error
            await control.delete(self.namespace, name, self.job)
        except RETRIABLE as error:
            if release:
                self.controller.expectations.deletion_observed(self.key)
            if not status.is_not_found(error):
                raise

    async def create(
        self, active: int, missing: int, indexes: list[int]
    ) -> tuple[int, Exception | None]:
        """Create pods in batches that double."""
        expectations = self.controller.expectations
        expectations.expect_creations(self.key, missing)
        template = self.template()
        done, size = 0, 1
        while done < missing:
            batch = range(done, min(done + size, missing))
            calls = [
                self.create_one(template, indexes[number] if indexes else None)
                for number in batch
            ]
            errors = await all_at_once(self.controller.process, calls)
            failed = [error for error in errors if error is not None]
            active += len(batch) - len(failed)
            done += len(batch)
            size *= 2
            if failed:
                expectations.creation_observed(self.key, missing - done)
                return active, failed[0]
        return active, None

    def template(self) -> Object:
        """The template of the Job's pods, with the finalizer."""
        template = self.spec["template"]
        if self.indexed:
            template = job_indexes.with_environment(template)
        finalizers = meta.finalizers(template)
        if FINALIZER not in finalizers:
            template = meta.with_metadata(template, finalizers=[*finalizers, FINALIZER])
        return template

    async def create_one(self, template: Object, index: int | None) -> None:
        """Create a pod (of an index)."""
        job = self.job
        generate_name = ""
        if index is not None:
            template = job_indexes.with_index(template, meta.name(job), index)
            generate_name = job_indexes.generate_name(meta.name(job), index)
            if self.per_index:
                template = self.with_failure_count(template, self.delayed.get(index))
        pod = pod_from_template(
            template, job, meta.new_controller_ref(job, KIND), generate_name=generate_name
        )
        try:
            created = await self.controller.pod_control.create(self.namespace, pod, job)
        except RETRIABLE as error:
            if is_namespace_terminating(error):
                return
            self.controller.expectations.creation_observed(self.key)
            raise
        self.controller.consistency.wrote(self.key, PODS, created)

    def with_failure_count(self, template: Object, replaced: Object | None) -> Object:
        """The template with how often its index has failed."""
        counted = ignored = 0
        if replaced is not None:
            counted = job_indexes.failure_count(replaced)
            ignored = job_indexes.ignored_failure_count(replaced)
            if job_policies.pod_failure(self.job, replaced).counts:
                counted += 1
            else:
                ignored += 1
        annotations = {**meta.annotations(template), job_indexes.FAILURE_COUNT: str(counted)}
        if ignored > 0:
            annotations[job_indexes.IGNORED_FAILURE_COUNT] = str(ignored)
        return meta.with_metadata(template, annotations=annotations)

    # -- the status ---------------------------------------------------------------------------

    async def write(self) -> None:
        """Write the status; what the server made of it is worked on."""
        self.status["uncountedTerminatedPods"] = {
            kind: uids for kind, uids in self.uncounted.items() if uids
        }
        new = {
            key: value
            for key, value in self.status.items()
            if value is not None and (value or key not in _OMITTED_WHEN_ZERO)
        }
        self.job = await self.controller.client.update(
            JOBS, self.namespace, {**self.job, "status": new}, subresource="status"
        )
        self.controller.consistency.wrote(self.key, JOBS, self.job)
        self.status = dict(fields.status(self.job))
        self.read_uncounted()

    async def track(self, *, flush: bool) -> None:
        """Note, release and count pods, and finish the Job."""
        if self.indexed:
            self.pods.sort(key=job_indexes.index_of)
        tracked = {
            meta.uid(pod)
            for pod in self.pods
            if has_finalizer(pod) and meta.uid(pod) not in self.being_released
        }
        flush = self.count_released(tracked) or flush
        released, new_indexes, noted, full = self.note_ended()
        flush = noted or flush
        if self.indexed:
            flush = self.note_indexes(new_indexes) or flush
        flush = self.note_end() or flush
        if flush:
            try:
                await self.write()
            except RETRIABLE as error:
                raise SyncError(f"adding uncounted pods to status: {error}") from error
            self.controller.backoff_records[self.key] = self.record
        failure = await self.release(released, tracked)
        flush = self.count_released(tracked)
        if failure is not None:
            if flush:
                await self.write_counted()
            raise failure
        finished = not full and self.finish()
        if flush or finished:
            await self.write_counted()
            if finished:
                self.tell_finished()
                self.controller.finished_uids.add(meta.uid(self.job))

    async def write_counted(self) -> None:
        """Write the status once pods are counted."""
        try:
            await self.write()
        except RETRIABLE as error:
            raise SyncError(f"removing uncounted pods from status: {error}") from error

    def count_released(self, tracked: set[str]) -> bool:
        """Count noted pods that have no finalizer any more; whether there were any."""
        changed = False
        for kind, uids in self.uncounted.items():
            left = [uid for uid in uids if uid in tracked]
            if len(left) != len(uids):
                changed = True
                count = len(uids) - len(left)
                self.status[kind] = fields.number(self.status, kind) + count
                self.uncounted[kind] = left
        return changed

    def note_ended(self) -> tuple[list[Object], list[int], bool, bool]:
        """Note pods that have ended.

        Returns: pods to release, indexes that have newly succeeded, whether the status changed,
        whether no more pods can be noted now.
        """
        released: list[Object] = []
        indexes: list[int] = []
        changed = False
        for pod in self.pods:
            uid = meta.uid(pod)
            if not has_finalizer(pod) or uid in self.being_released:
                continue
            failed = job_policies.is_failed(pod, self.job)
            if not self.can_release(pod, failed=failed):
                continue
            released.append(pod)
            index = job_indexes.index_of(pod)
            if pods.phase(pod) == "Succeeded" and uid not in self.noted["failed"]:
                if self.indexed:
                    if self.is_valid_index(index) and not job_indexes.has(
                        self.previously_succeeded, index
                    ):
                        indexes.append(index)
                        changed = True
                elif uid not in self.noted["succeeded"]:
                    self.uncounted["succeeded"].append(uid)
                    changed = True
            elif (
                (failed or self.has_failed())
                and uid not in self.noted["failed"]
                and (not self.indexed or self.is_valid_index(index))
                and job_policies.pod_failure(self.job, pod).counts
            ):
                self.uncounted["failed"].append(uid)
                changed = True
            noted = len(indexes) + sum(map(len, self.uncounted.values()))
            if noted >= MAX_UNCOUNTED_PODS:
                return released, indexes, changed, True
        return released, indexes, changed, False

    def has_failed(self) -> bool:
        """Whether the Job is over and did not succeed."""
        return self.finished is not None and self.finished["type"] != "SuccessCriteriaMet"

    def can_release(self, pod: Object, *, failed: bool) -> bool:
        """Whether a pod may be counted now."""
        if (
            meta.deletion_timestamp(self.job)
            or self.finished is not None
            or pods.phase(pod) == "Succeeded"
        ):
            return True
        if not failed:
            return False
        if self.per_index:
            delayed = self.delayed.get(job_indexes.index_of(pod))
            return delayed is None or meta.uid(delayed) != meta.uid(pod)
        return True

    def note_indexes(self, new_indexes: list[int]) -> bool:
        """The indexes in the status; whether they changed."""
        changed = False
        self.succeeded_indexes = job_indexes.with_indexes(self.succeeded_indexes, new_indexes)
        text = job_indexes.to_text(self.succeeded_indexes)
        if text != fields.text(self.status, "completedIndexes"):
            changed = True
        self.status["succeeded"] = job_indexes.total(self.succeeded_indexes)
        self.status["completedIndexes"] = text
        failed = None
        if self.failed_indexes is not None:
            failed = job_indexes.to_text(self.failed_indexes)
        if self.status.get("failedIndexes") != failed:
            self.status["failedIndexes"] = failed
            changed = True
        return changed

    def note_end(self) -> bool:
        """The conditions that say that the Job will end; whether they changed."""
        finished = self.finished
        if finished is None:
            return False
        conditions = fields.objects(self.status, "conditions")
        reason, message = finished.get("reason", ""), finished.get("message", "")
        changed = False
        if finished["type"] == "FailureTarget":
            self.status["conditions"] = [*conditions, finished]
            changed = True
            self.finished = self.condition("Failed", reason, message)
        elif finished["type"] == "SuccessCriteriaMet":
            if self.find_condition("SuccessCriteriaMet") is None:
                self.status["conditions"] = [*conditions, finished]
                changed = True
            self.finished = self.condition("Complete", reason, message)
        return changed

    async def release(self, several: list[Object], tracked: set[str]) -> Exception | None:
        """Take the finalizers from pods; `tracked` loses those where that succeeded."""
        if not several:
            return None
        controller = self.controller
        expected = controller.finalizer_removals.setdefault(self.key, set())
        expected.update(map(meta.uid, several))
        errors = await all_at_once(controller.process, [self.release_one(p) for p in several])
        for pod, error in zip(several, errors, strict=True):
            if error is None:
                tracked.discard(meta.uid(pod))
        return next((error for error in errors if error is not None), None)

    async def release_one(self, pod: Object) -> None:
        """Take the finalizer from a pod."""
        try:
            await self.controller.pod_control.patch(
                self.namespace, meta.name(pod), FINALIZER_PATCH
            )
        except RETRIABLE as error:
            self.controller.removal_observed(self.key, meta.uid(pod))
            if not status.is_not_found(error):
                raise

    def finish(self) -> bool:
        """Say that the Job is over, once all its pods are counted and gone (`enactJobFinished`)."""
        finished = self.finished
        if finished is None or any(self.uncounted.values()) or self.terminating > 0:
            return False
        self.ensure_condition(
            self.condition(finished["type"], finished["reason"], finished["message"])
        )
        if finished["type"] == "Complete":
            self.status["completionTime"] = finished["lastTransitionTime"]
        return True

    def tell_finished(self) -> None:
        """The event of the Job's end."""
        finished = self.finished
        assert finished is not None
        event = self.controller.event
        if finished["type"] != "Complete":
            event(self.job, "Warning", finished["reason"], finished["message"])
            return
        if self.completions is not None and fields.number(
            self.status, "succeeded"
        ) > self.completions:
            message = "Too many succeeded pods running after completion count reached"
            event(self.job, "Warning", "TooManySucceededPods", message)
        event(self.job, "Normal", "Completed", "Job completed")
