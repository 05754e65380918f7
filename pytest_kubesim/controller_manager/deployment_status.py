"""What a Deployment says of itself: its counts, and the conditions Available and Progressing.

Pure functions.  Follows `calculateStatus` in `pkg/controller/deployment/sync.go`,
`syncRolloutStatus` in `progress.go` and the conditions of `util/deployment_util.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import meta, timestamps
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.controller_manager import fields, rollout
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

SET_UPDATED = "ReplicaSetUpdated"
SET_CREATE_ERROR = "ReplicaSetCreateError"
NEW_SET = "NewReplicaSetCreated"
FOUND_NEW_SET = "FoundNewReplicaSet"
NEW_SET_AVAILABLE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"
RESUMED = "DeploymentResumed"
MINIMUM_AVAILABLE = "MinimumReplicasAvailable"
MINIMUM_UNAVAILABLE = "MinimumReplicasUnavailable"

_POINTERS = ("terminatingReplicas", "collisionCount")


def with_condition(
    conditions: list[Object], type_: str, status: str, reason: str, message: str, now: str
) -> list[Object]:
    """The conditions with one set (`SetDeploymentCondition`).

    One of the same status and reason stays as it is; a new status begins a new transition; what is
    set comes last.
    """
    new: Object = {
        "type": type_,
        "status": status,
        "lastUpdateTime": now,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }
    return set_condition(conditions, new)


def set_condition(conditions: list[Object], new: Object) -> list[Object]:
    """The same with a condition that is made already."""
    current = find(conditions, new["type"])
    if current is not None and current["status"] == new["status"]:
        if current.get("reason") == new["reason"]:
            return conditions
        new = {**new, "lastTransitionTime": current.get("lastTransitionTime")}
    return [*without(conditions, new["type"]), new]


def find(conditions: list[Object], type_: str) -> Object | None:
    """The condition of that type."""
    return next((c for c in conditions if c["type"] == type_), None)


def without(conditions: list[Object], type_: str) -> list[Object]:
    """All but the condition of that type."""
    return [c for c in conditions if c["type"] != type_]


def with_paused_condition(deployment: Object, now: str) -> Object | None:
    """The Deployment with a condition that says it was paused or resumed; None if it needs none."""
    if not rollout.has_progress_deadline(deployment):
        return None
    condition = meta.condition(deployment, "Progressing")
    reason = condition.get("reason") if condition is not None else None
    if reason == TIMED_OUT:
        return None
    paused = bool(deployment["spec"].get("paused"))
    if paused == (reason == PAUSED):
        return None
    reason, message = (
        (PAUSED, "Deployment is paused") if paused else (RESUMED, "Deployment is resumed")
    )
    conditions = with_condition(
        fields.conditions(deployment), "Progressing", "Unknown", reason, message, now
    )
    return meta.with_status(deployment, conditions=conditions)


def calculate(
    deployment: Object, sets: list[Object], new: Object | None, now: str
) -> dict[str, Any]:
    """The status without the news of its progress (`calculateStatus`)."""
    available = rollout.total_observed(sets, "availableReplicas")
    counts = {
        "observedGeneration": meta.generation(deployment),
        "replicas": rollout.total_observed(sets, "replicas"),
        "updatedReplicas": 0 if new is None else rollout.observed(new, "replicas"),
        "readyReplicas": rollout.total_observed(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, rollout.total(sets) - available),
    }
    status: dict[str, Any] = {key: count for key, count in counts.items() if count}
    collisions = fields.status(deployment).get("collisionCount")
    if collisions is not None:
        status["collisionCount"] = collisions
    terminating = _terminating(sets)
    if terminating is not None:
        status["terminatingReplicas"] = terminating
    minimum = rollout.replicas(deployment) - rollout.max_unavailable(deployment)
    if available >= minimum:
        said = ("True", MINIMUM_AVAILABLE, "Deployment has minimum availability.")
    else:
        said = (
            "False",
            MINIMUM_UNAVAILABLE,
            "Deployment does not have minimum availability.",
        )
    old = fields.conditions(deployment)
    status["conditions"] = with_condition(old, "Available", *said, now)
    return status


def _terminating(sets: list[Object]) -> int | None:
    total = 0
    for replica_set in sets:
        status = fields.status(replica_set)
        count = status.get("terminatingReplicas")
        if count is not None:
            total += count
        elif fields.number(status, "observedGeneration") != 0:
            return None
    return total


def same(deployment: Object, status: dict[str, Any]) -> bool:
    """Whether the Deployment has this status already."""
    old = {
        key: value
        for key, value in fields.status(deployment).items()
        if key in _POINTERS or value
    }
    return old == {key: value for key, value in status.items() if key in _POINTERS or value}


def is_complete(deployment: Object, status: dict[str, Any]) -> bool:
    """Whether all pods wanted are of the new template and available, and no others are left."""
    wanted = rollout.replicas(deployment)
    return (
        fields.number(status, "updatedReplicas") == wanted
        and fields.number(status, "replicas") == wanted
        and fields.number(status, "availableReplicas") == wanted
        and fields.number(status, "observedGeneration") >= meta.generation(deployment)
    )


def is_progressing(deployment: Object, status: dict[str, Any]) -> bool:
    """Whether more are updated, fewer old, more ready or available than were."""
    old = fields.status(deployment)
    number = fields.number
    return (
        number(status, "updatedReplicas") > number(old, "updatedReplicas")
        or number(status, "replicas") - number(status, "updatedReplicas")
        < number(old, "replicas") - number(old, "updatedReplicas")
        or number(status, "readyReplicas") > number(old, "readyReplicas")
        or number(status, "availableReplicas") > number(old, "availableReplicas")
    )


def has_timed_out(deployment: Object, status: dict[str, Any], now_ns: int) -> bool:
    """Whether it has not got on within its deadline."""
    if not rollout.has_progress_deadline(deployment):
        return False
    condition = find(fields.objects(status, "conditions"), "Progressing")
    if condition is None or condition.get("reason") == NEW_SET_AVAILABLE:
        return False
    if condition.get("reason") == TIMED_OUT:
        return True
    since_ns = timestamps.parse_time(condition["lastUpdateTime"])
    return since_ns + fields.number(deployment["spec"], "progressDeadlineSeconds") * NS < now_ns


def with_progress(
    deployment: Object,
    status: dict[str, Any],
    sets: list[Object],
    new: Object | None,
    now_ns: int,
) -> dict[str, Any]:
    """The status with its conditions Progressing and ReplicaFailure (`syncRolloutStatus`)."""
    conditions = fields.objects(status, "conditions")
    deadline = rollout.has_progress_deadline(deployment)
    if not deadline:
        conditions = without(conditions, "Progressing")
    current = meta.condition(deployment, "Progressing")
    number = fields.number
    finished = (
        number(status, "replicas") == number(status, "updatedReplicas")
        and current is not None
        and current.get("reason") == NEW_SET_AVAILABLE
    )
    if deadline and not finished:
        conditions = _news(deployment, {**status, "conditions": conditions}, new, now_ns)
    failure = _failure(sets, new)
    if failure is not None:
        conditions = set_condition(conditions, failure)
    else:
        conditions = without(conditions, "ReplicaFailure")
    return {**status, "conditions": conditions}


def _news(
    deployment: Object, status: dict[str, Any], new: Object | None, now_ns: int
) -> list[Object]:
    conditions = fields.objects(status, "conditions")
    current = meta.condition(deployment, "Progressing")
    now = timestamps.format_time(now_ns)
    if new is None:
        what = f"Deployment {quote(meta.name(deployment))}"
    else:
        what = f"ReplicaSet {quote(meta.name(new))}"
    if is_complete(deployment, status):
        message = f"{what} has successfully progressed."
        return with_condition(conditions, "Progressing", "True", NEW_SET_AVAILABLE, message, now)
    if is_progressing(deployment, status):
        condition: Object = {
            "type": "Progressing",
            "status": "True",
            "lastUpdateTime": now,
            "lastTransitionTime": now,
            "reason": SET_UPDATED,
            "message": f"{what} is progressing.",
        }
        if current is not None:
            if current["status"] == "True":
                condition["lastTransitionTime"] = current.get("lastTransitionTime")
            # Taken out first, so that lastUpdateTime tells of the latest progress.
            conditions = without(conditions, "Progressing")
        return [*conditions, condition]
    if has_timed_out(deployment, status, now_ns):
        message = f"{what} has timed out progressing."
        return with_condition(conditions, "Progressing", "False", TIMED_OUT, message, now)
    return conditions


def _failure(sets: list[Object], new: Object | None) -> Object | None:
    ordered = sets if new is None else [new, *sets]
    for replica_set in ordered:
        condition = meta.condition(replica_set, "ReplicaFailure")
        if condition is not None:
            return {
                "type": "ReplicaFailure",
                "status": condition["status"],
                "lastUpdateTime": condition.get("lastTransitionTime"),
                "lastTransitionTime": condition.get("lastTransitionTime"),
                "reason": condition.get("reason"),
                "message": condition.get("message"),
            }
    return None


def stuck_after_ns(deployment: Object, status: dict[str, Any], now_ns: int) -> int | None:
    """When to look whether it is stuck, in nanoseconds; None if it cannot be."""
    current = meta.condition(deployment, "Progressing")
    if not rollout.has_progress_deadline(deployment) or current is None:
        return None
    if is_complete(deployment, status) or current.get("reason") == TIMED_OUT:
        return None
    since_ns = timestamps.parse_time(current["lastUpdateTime"])
    deadline_ns = fields.number(deployment["spec"], "progressDeadlineSeconds") * NS
    return since_ns + deadline_ns - now_ns
