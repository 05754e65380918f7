"""How the scheduler writes a pod's status: strategic patches of a condition and a nomination.

Follows `PatchPodStatus` in `pkg/scheduler/util/utils.go` and `UpdatePodCondition` in
`pkg/api/v1/pod/util.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.scheduler.node_selection import NOTHING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import NominatingInfo

POD_SCHEDULED = "PodScheduled"
UNSCHEDULABLE = "Unschedulable"
SCHEDULER_ERROR = "SchedulerError"


def condition_patch(pod: Object, condition: Object, now: str) -> Object:
    """The patch of a pod's status that sets `condition` at `now`; {} when nothing changes.

    As upstream's two-way merge patch: an existing condition gets only its changed fields.
    """
    conditions: list[Object] = (pod.get("status") or NOTHING).get("conditions") or []
    type_ = condition["type"]
    old = next((c for c in conditions if c["type"] == type_), None)
    if old is None:
        changed: Object = {**condition, "lastProbeTime": None, "lastTransitionTime": now}
        order = [*(c["type"] for c in conditions), type_]
    else:
        changed = {k: v for k, v in condition.items() if old.get(k) != v}
        if old.get("status") != condition.get("status"):
            changed["lastTransitionTime"] = now
        if not changed:
            return {}
        changed["type"] = type_
        order = [c["type"] for c in conditions]
    return {
        "$setElementOrder/conditions": [{"type": t} for t in order],
        "conditions": [changed],
    }


def scheduling_patch(
    pod: Object, condition: Object | None, nominating: NominatingInfo | None, now: str
) -> Object:
    """The patch of a pod's status for a condition and a nomination; {} when nothing changes."""
    patch: dict[str, Any] = {}
    if condition is not None:
        patch = condition_patch(pod, condition, now)
    if nominating is not None:
        nominated = (pod.get("status") or NOTHING).get("nominatedNodeName") or ""
        if nominated != nominating.node_name:
            patch["nominatedNodeName"] = nominating.node_name or None
    return patch
