"""Changing the status of a pod that a kubelet writes too: conditions, and the least patch.

Follows `UpdatePodCondition` of `pkg/api/v1/pod/util.go` and `PatchPodStatus` of
`pkg/util/pod/pod.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.client_go.resources import PODS
from pytest_kubesim.controller_manager import fields

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.rest import RESTClient


def with_pod_condition(pod: Object, condition: Object, now: str) -> Object:
    """The pod with a condition; the pod itself if that changes nothing.

    `lastTransitionTime` becomes `now` where the status changes, else it stays.
    """
    conditions = fields.conditions(pod)
    for position, old in enumerate(conditions):
        if old["type"] == condition["type"]:
            same = old["status"] == condition["status"]
            transition = old.get("lastTransitionTime") if same else now
            new = _condition(condition, transition)
            if {k: v for k, v in old.items() if v is not None} == {
                k: v for k, v in new.items() if v is not None
            }:
                return pod
            changed = [*conditions[:position], new, *conditions[position + 1 :]]
            return meta.with_status(pod, conditions=changed)
    return meta.with_status(pod, conditions=[*conditions, _condition(condition, now)])


def changes_pod_condition(pod: Object, condition: Object) -> bool:
    """Whether a condition says anything new; that it was observed later is nothing new."""
    old = meta.condition(pod, condition["type"])
    return old is None or any(
        (old.get(key) or "") != (condition.get(key) or "")
        for key in ("status", "reason", "message")
    )


def _condition(condition: Object, transition: str | None) -> Object:
    new = {"lastProbeTime": None, **condition}
    if transition is None:
        new.pop("lastTransitionTime", None)
    else:
        new["lastTransitionTime"] = transition
    return {key: value for key, value in new.items() if value or key == "lastProbeTime"}


async def patch_pod_status(client: RESTClient, old: Object, new: Object) -> Object | None:
    """Send what differs between the statuses of `old` and `new`, with the UID as a precondition.

    Gives the pod as it is then, or None if nothing differs.
    """
    before, after = fields.status(old), fields.status(new)
    patch: Object = {
        key: value
        for key, value in after.items()
        if key != "conditions" and before.get(key) != value
    }
    known = {condition["type"]: condition for condition in fields.conditions(old)}
    conditions = [
        condition
        for condition in fields.conditions(new)
        if known.get(condition["type"]) != condition
    ]
    if conditions:
        patch["$setElementOrder/conditions"] = [
            {"type": condition["type"]} for condition in fields.conditions(new)
        ]
        patch["conditions"] = conditions
    if not patch:
        return None
    return await client.patch(
        PODS,
        meta.namespace(old),
        meta.name(old),
        {"metadata": {"uid": meta.uid(old)}, "status": patch},
        subresource="status",
    )
