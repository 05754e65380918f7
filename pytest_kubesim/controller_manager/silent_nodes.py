"""What a node's conditions say when nobody has heard of its kubelet for too long.

Follows `tryUpdateNodeHealth` of `pkg/controller/nodelifecycle/node_lifecycle_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.controller_manager import fields

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

NEVER_UPDATED = ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
STOPPED = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
KUBELET_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def is_complete(node: Object) -> bool:
    """Whether a node has all the conditions that its kubelet posts."""
    return all(meta.condition(node, type_) is not None for type_ in KUBELET_CONDITIONS)


def silent_conditions(node: Object, now: str) -> list[Object]:
    """The conditions of a node that is silent: Unknown, all that its kubelet posts."""
    conditions = list(fields.conditions(node))
    for type_ in KUBELET_CONDITIONS:
        for position, condition in enumerate(conditions):
            if condition["type"] == type_:
                if condition["status"] != "Unknown":
                    reason, message = STOPPED
                    conditions[position] = {
                        **condition,
                        "status": "Unknown",
                        "reason": reason,
                        "message": message,
                        "lastTransitionTime": now,
                    }
                break
        else:
            reason, message = NEVER_UPDATED
            conditions.append({
                "type": type_,
                "status": "Unknown",
                "lastHeartbeatTime": meta.creation_timestamp(node),
                "lastTransitionTime": now,
                "reason": reason,
                "message": message,
            })
    return conditions
