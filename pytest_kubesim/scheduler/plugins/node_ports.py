"""NodePorts: a host port can be taken once on a node.

Follows `pkg/scheduler/framework/plugins/nodeports/node_ports.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.node_info import NodeInfo, ports_conflict
from pytest_kubesim.scheduler.node_selection import NOTHING
from pytest_kubesim.scheduler.pod_info import PodInfo, host_ports

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import ClusterEventWithHint, CycleState, Status

REASON = "node(s) didn't have free ports for the requested pod ports"
_REJECTED = fwk.unschedulable(REASON)


class NodePorts:
    """The plugin."""

    name = "NodePorts"

    def sign(self, pod: PodInfo) -> Any:
        """The ports decide."""
        return pod.host_ports

    def pre_filter(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> tuple[set[str] | None, Status | None]:
        """Skip a pod without host ports."""
        return None, (None if pod.host_ports else fwk.SKIPPED)

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject a node where one of the ports is taken."""
        if node.ports and ports_conflict(pod.host_ports, node.ports):
            return _REJECTED
        return None

    def events(self) -> list[ClusterEventWithHint]:
        """A pod with such a port goes; a node comes."""
        return [
            fwk.on(fwk.ASSIGNED_POD, fwk.DELETE, self._pod_helps),
            fwk.on(fwk.NODE, fwk.ADD),
        ]

    @staticmethod
    def _pod_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del new
        if old is None or not (
            old["spec"].get("nodeName") or (old.get("status") or NOTHING).get("nominatedNodeName")
        ):
            return False
        return ports_conflict(pod.host_ports, host_ports(old["spec"]))
