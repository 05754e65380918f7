"""When a Job's pod counts as failed, when a Job has failed or succeeded, and when to try again.

Pure functions.  Follows `pkg/controller/job/{pod_failure_policy,success_policy,backoff_utils}.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import meta, timestamps
from pytest_kubesim.controller_manager import fields, job_indexes, pods
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.controller_manager.job_indexes import Intervals

POD_FAILURE_BACKOFF_NS = 10 * NS
MAX_POD_FAILURE_BACKOFF_NS = 600 * NS

IGNORE, FAIL_JOB, FAIL_INDEX, COUNT = "Ignore", "FailJob", "FailIndex", "Count"


def only_replaces_failed(job: Object) -> bool:
    """Whether a pod is replaced only when it has ended (`podReplacementPolicy: Failed`)."""
    return job["spec"].get("podReplacementPolicy") == "Failed"


def is_failed(pod: Object, job: Object) -> bool:
    """Whether a pod counts as failed: it is, or it is being deleted and will be replaced."""
    phase = pods.phase(pod)
    if phase == "Failed":
        return True
    if only_replaces_failed(job):
        return False
    return phase != "Succeeded" and meta.deletion_timestamp(pod) is not None


# -- the pod failure policy ----------------------------------------------------------------------


@attrs.frozen(slots=True)
class Verdict:
    """What the policy says of a failed pod.

    `message` where the Job fails because of it; `counts`, whether it counts against the limit;
    `action` of the rule that matched.
    """

    message: str | None
    counts: bool
    action: str | None


_COUNTED = Verdict(None, counts=True, action=None)


def pod_failure(job: Object, pod: Object) -> Verdict:
    """The verdict of the first rule that matches (`matchPodFailurePolicy`)."""
    policy = job["spec"].get("podFailurePolicy")
    if policy is None:
        return _COUNTED
    for index, rule in enumerate(fields.objects(policy, "rules")):
        action = rule["action"]
        key = f"{meta.namespace(pod)}/{meta.name(pod)}"
        if rule.get("onExitCodes") is not None:
            container = _on_exit_codes(pod, rule["onExitCodes"])
            if container is None:
                continue
            code = container["state"]["terminated"].get("exitCode", 0)
            message = (
                f"Container {container['name']} for pod {key} failed with exit code {code} "
                f"matching {action} rule at index {index}"
            )
        elif rule.get("onPodConditions") is not None:
            condition = _on_conditions(pod, fields.objects(rule, "onPodConditions"))
            if condition is None:
                continue
            message = (
                f"Pod {key} has condition {condition['type']} matching {action} rule "
                f"at index {index}"
            )
        else:
            continue
        if action in {IGNORE, FAIL_INDEX, COUNT, FAIL_JOB}:
            said = message if action == FAIL_JOB else None
            return Verdict(said, counts=action != IGNORE, action=action)
    return _COUNTED


def _on_exit_codes(pod: Object, requirement: Object) -> Object | None:
    name = requirement.get("containerName")
    values = requirement.get("values") or ()
    operator = requirement.get("operator")
    status = fields.status(pod)
    for key in ("containerStatuses", "initContainerStatuses"):
        for container in fields.objects(status, key):
            terminated = fields.mapping(container, "state").get("terminated")
            if terminated is None or (name is not None and name != container["name"]):
                continue
            code = fields.number(terminated, "exitCode")
            if code == 0:
                continue
            if (operator == "In" and code in values) or (
                operator == "NotIn" and code not in values
            ):
                return container
    return None


def _on_conditions(pod: Object, patterns: Sequence[Object]) -> Object | None:
    for condition in fields.conditions(pod):
        for pattern in patterns:
            if (condition["type"], condition["status"]) == (
                pattern["type"],
                pattern.get("status"),
            ):
                return condition
    return None


def failure_message(job: Object, several: Sequence[Object]) -> str | None:
    """Why the Job fails by its pod failure policy; None if it does not."""
    if job["spec"].get("podFailurePolicy") is None:
        return None
    for pod in several:
        if is_failed(pod, job):
            message = pod_failure(job, pod).message
            if message is not None:
                return message
    return None


# -- the success policy --------------------------------------------------------------------------


def success_message(job: Object, succeeded: Intervals) -> str | None:
    """Which rule of the success policy is met; None if none is."""
    policy = job["spec"].get("successPolicy")
    if policy is None or not succeeded:
        return None
    completions = fields.number(job["spec"], "completions")
    for index, rule in enumerate(fields.objects(policy, "rules")):
        count = rule.get("succeededCount")
        text = rule.get("succeededIndexes")
        if text is not None:
            required = job_indexes.parse(text, completions)
            if not required:
                continue
            met = _overlap(required, succeeded)
            if met == job_indexes.total(required) or (count is not None and met >= count):
                return f"Matched rules at index {index}"
        elif count is not None and job_indexes.total(succeeded) >= count:
            return f"Matched rules at index {index}"
    return None


def _overlap(left: Intervals, right: Intervals) -> int:
    return sum(
        max(0, min(last, other_last) - max(first, other_first) + 1)
        for first, last in left
        for other_first, other_last in right
    )


# -- back-off ------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class BackoffRecord:
    """How many pods failed since the last that succeeded, and when the last one did."""

    failures: int = 0
    last_failure_ns: int | None = None


def next_record(
    record: BackoffRecord, succeeded: Sequence[Object], failed: Sequence[Object]
) -> BackoffRecord:
    """The record after these pods have ended, too."""
    if not succeeded and not failed:
        return record
    if not succeeded:
        last_ns = max(finished_ns(pod) for pod in failed)
        return BackoffRecord(record.failures + len(failed), last_ns)
    success_ns = max(finished_ns(pod) for pod in succeeded)
    later = [ns for ns in map(finished_ns, failed) if ns > success_ns]
    return BackoffRecord(len(later), max(later, default=None))


def remaining_ns(record: BackoffRecord, now_ns: int) -> int:
    """How long to wait before a pod is made again."""
    if record.failures == 0 or record.last_failure_ns is None:
        return 0
    shift = min(record.failures - 1, 20)
    backoff_ns = min(POD_FAILURE_BACKOFF_NS << shift, MAX_POD_FAILURE_BACKOFF_NS)
    return max(0, backoff_ns - (now_ns - record.last_failure_ns))


def remaining_of_index_ns(last_failed: Object | None, now_ns: int) -> int:
    """How long to wait before a pod of this pod's index is made again."""
    if last_failed is None:
        return 0
    failures = job_indexes.absolute_failure_count(last_failed) + 1
    return remaining_ns(BackoffRecord(failures, finished_ns(last_failed)), now_ns)


def finished_ns(pod: Object) -> int:
    """When a pod ended, as well as that can be told."""
    metadata, status = pod["metadata"], fields.status(pod)
    sidecars = {
        container["name"]
        for container in fields.objects(fields.spec(pod), "initContainers")
        if container.get("restartPolicy") == "Always"
    }
    latest = _latest(None, fields.objects(status, "containerStatuses"))
    latest = _latest(
        latest,
        [c for c in fields.objects(status, "initContainerStatuses") if c["name"] in sidecars],
    )
    if latest is not None:
        return timestamps.parse_time(latest)
    ready = pods.ready_condition(pod)
    if ready is not None and ready["status"] == "False" and ready.get("lastTransitionTime"):
        return timestamps.parse_time(ready["lastTransitionTime"])
    deleted = metadata.get("deletionTimestamp")
    if deleted is not None:
        grace = fields.number(metadata, "deletionGracePeriodSeconds")
        return timestamps.parse_time(deleted) - grace * NS
    return timestamps.parse_time(metadata["creationTimestamp"])


def _latest(previous: str | None, statuses: Sequence[Object]) -> str | None:
    latest = previous
    for status in statuses:
        finished = fields.mapping(fields.mapping(status, "state"), "terminated").get("finishedAt")
        if not finished:
            return None
        if latest is None or latest < finished:
            latest = finished
    return latest


def restarts_exceed_limit(job: Object, several: Sequence[Object]) -> bool:
    """Whether containers were restarted in place more often than the Job allows."""
    spec = job["spec"]
    if fields.spec(spec["template"]).get("restartPolicy") != "OnFailure":
        return False
    count = 0
    for pod in several:
        if pods.phase(pod) in {"Running", "Pending"}:
            status = fields.status(pod)
            for key in ("initContainerStatuses", "containerStatuses"):
                count += sum(fields.number(c, "restartCount") for c in fields.objects(status, key))
    limit = fields.number(spec, "backoffLimit")
    return count > 0 if limit == 0 else count >= limit
