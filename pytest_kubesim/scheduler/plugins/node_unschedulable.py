"""NodeUnschedulable: cordoned nodes take only pods that tolerate that.

Follows `pkg/scheduler/framework/plugins/nodeunschedulable/node_unschedulable.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.node_selection import NOTHING, tolerated
from pytest_kubesim.scheduler.pod_info import PodInfo, freeze

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import ClusterEventWithHint, CycleState, Status
    from pytest_kubesim.scheduler.node_info import NodeInfo

REASON = "node(s) were unschedulable"
_REJECTED = fwk.unresolvable(REASON)
_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


class NodeUnschedulable:
    """The plugin."""

    name = "NodeUnschedulable"

    def sign(self, pod: PodInfo) -> Any:
        """Tolerations decide."""
        return freeze(pod.tolerations)

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject a cordoned node."""
        if node.unschedulable and not tolerated(pod.tolerations, _TAINT):
            return _REJECTED
        return None

    def events(self) -> list[ClusterEventWithHint]:
        """A node comes or is uncordoned; the pod gets the toleration."""
        return [
            fwk.on(fwk.NODE, fwk.ADD | fwk.UPDATE_NODE_TAINT, self._node_helps),
            fwk.on(fwk.TARGET_POD, fwk.UPDATE_POD_TOLERATION, self._toleration_helps),
        ]

    @staticmethod
    def _node_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del pod
        was = old is None or bool((old.get("spec") or NOTHING).get("unschedulable"))
        return was and new is not None and not (new.get("spec") or NOTHING).get("unschedulable")

    @staticmethod
    def _toleration_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del pod, old
        return new is not None and tolerated(new["spec"].get("tolerations") or [], _TAINT)
