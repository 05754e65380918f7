"""NodeName: a pod that names its node goes nowhere else.

Follows `pkg/scheduler/framework/plugins/nodename/node_name.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.scheduler import framework as fwk

if TYPE_CHECKING:
    from pytest_kubesim.scheduler.framework import ClusterEventWithHint, CycleState, Status
    from pytest_kubesim.scheduler.node_info import NodeInfo
    from pytest_kubesim.scheduler.pod_info import PodInfo

REASON = "node(s) didn't match the requested node name"
_REJECTED = fwk.unresolvable(REASON)


class NodeName:
    """The plugin."""

    name = "NodeName"

    def sign(self, pod: PodInfo) -> Any:
        """The name decides."""
        return pod.node_name

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject any other node."""
        if pod.node_name and pod.node_name != node.name:
            return _REJECTED
        return None

    def events(self) -> list[ClusterEventWithHint]:
        """The node comes."""
        return [fwk.on(fwk.NODE, fwk.ADD)]
