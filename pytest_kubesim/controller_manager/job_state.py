"""What one sync of a Job knows: who has ended, what counts, whether the Job is over.

Works on a copy of the Job's status and writes nothing.  Follows `syncJob` in
`pkg/controller/job/job_controller.go` as far as it decides, and `indexed_job_utils.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import meta, timestamps
from pytest_kubesim.apimachinery.meta import GroupVersionKind
from pytest_kubesim.controller_manager import (
    fields,
    job_indexes,
    job_policies,
    pods,
)
from pytest_kubesim.controller_manager.job_policies import BackoffRecord
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


class JobState:
    """A Job and its pods.  `status` is the working copy of the Job's."""

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
