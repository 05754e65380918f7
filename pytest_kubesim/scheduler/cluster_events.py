"""What an update of a pod or a node means for scheduling: which cluster events it is.

Follows `pkg/scheduler/framework/events.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.framework import ClusterEvent
from pytest_kubesim.scheduler.node_selection import NOTHING
from pytest_kubesim.scheduler.pod_info import pod_requests, resize_status

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.pod_info import Requests

ASSIGNED_POD_ADD = ClusterEvent(fwk.ASSIGNED_POD, fwk.ADD)
ASSIGNED_POD_DELETE = ClusterEvent(fwk.ASSIGNED_POD, fwk.DELETE)
UNSCHEDULABLE_TIMEOUT = ClusterEvent(fwk.WILD_CARD, fwk.ALL)
FORCE_ACTIVATE = ClusterEvent(fwk.WILD_CARD, fwk.ALL)


def pod_changes(old: Object, new: Object, *, target: bool) -> list[ClusterEvent]:
    """The events of an update of a pod; `target`: it is the unschedulable pod itself."""
    if new["spec"].get("nodeName"):
        resource = fwk.ASSIGNED_POD
    else:
        resource = fwk.TARGET_POD if target else fwk.UNSCHEDULED_POD
    old_meta, new_meta = old["metadata"], new["metadata"]
    old_spec, new_spec = old["spec"], new["spec"]
    actions: list[int] = []
    if (old_meta.get("labels") or NOTHING) != (new_meta.get("labels") or NOTHING):
        actions.append(fwk.UPDATE_POD_LABEL)
    if old_spec != new_spec or resize_status(old) != resize_status(new):
        before, after = pod_requests(old), pod_requests(new)
        if before != after:
            if _any_more(before, after):
                actions.append(fwk.UPDATE_POD_SCALE_DOWN)
            if _any_more(after, before):
                actions.append(fwk.UPDATE_POD_SCALE_UP)
        if not new_spec.get("schedulingGates") and old_spec.get("schedulingGates"):
            actions.append(fwk.UPDATE_POD_SCHEDULING_GATES_ELIMINATED)
        if len(new_spec.get("tolerations") or ()) != len(old_spec.get("tolerations") or ()):
            actions.append(fwk.UPDATE_POD_TOLERATION)
    if _claim_statuses(old) != _claim_statuses(new):
        actions.append(fwk.UPDATE_POD_GENERATED_RESOURCE_CLAIM)
    if not actions:
        actions.append(fwk.UPDATE)
    return [ClusterEvent(resource, action) for action in actions]


def _claim_statuses(pod: Object) -> tuple[list[Object], Object | None]:
    status: Object = pod.get("status") or NOTHING
    return status.get("resourceClaimStatuses") or [], status.get("extendedResourceClaimStatus")


def _any_more(left: Requests, right: Requests) -> bool:
    return (
        left.milli_cpu > right.milli_cpu
        or left.memory > right.memory
        or left.ephemeral > right.ephemeral
        or any(value > right.scalars.get(name, 0) for name, value in left.scalars.items())
    )


def node_changes(old: Object, new: Object) -> list[ClusterEvent]:
    """The events of an update of a node; none when nothing that matters changed."""
    actions: list[int] = []
    old_spec, new_spec = old.get("spec") or NOTHING, new.get("spec") or NOTHING
    old_status, new_status = old.get("status") or NOTHING, new.get("status") or NOTHING
    old_meta, new_meta = old["metadata"], new["metadata"]
    if old_spec.get("unschedulable") and not new_spec.get("unschedulable"):
        actions.append(fwk.UPDATE_NODE_TAINT)
    if old_status.get("allocatable") != new_status.get("allocatable"):
        actions.append(fwk.UPDATE_NODE_ALLOCATABLE)
    if (old_meta.get("labels") or NOTHING) != (new_meta.get("labels") or NOTHING):
        actions.append(fwk.UPDATE_NODE_LABEL)
    if (old_spec.get("taints") or []) != (new_spec.get("taints") or []):
        actions.append(fwk.UPDATE_NODE_TAINT)
    if _conditions(old_status) != _conditions(new_status):
        actions.append(fwk.UPDATE_NODE_CONDITION)
    if (old_meta.get("annotations") or NOTHING) != (new_meta.get("annotations") or NOTHING):
        actions.append(fwk.UPDATE_NODE_ANNOTATION)
    if (old_status.get("declaredFeatures") or []) != (new_status.get("declaredFeatures") or []):
        actions.append(fwk.UPDATE_NODE_DECLARED_FEATURE)
    return [ClusterEvent(fwk.NODE, action) for action in actions]


def _conditions(status: Object) -> dict[str, str]:
    return {c["type"]: c.get("status", "") for c in status.get("conditions") or ()}
