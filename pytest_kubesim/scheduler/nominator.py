"""Which pods are promised which node, after preemption made room for them there.

Follows `pkg/scheduler/backend/queue/nominator.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_kubesim.scheduler.framework import NominatingInfo
    from pytest_kubesim.scheduler.pod_info import PodInfo


class Nominator:
    """Pods by the node they are promised."""

    __slots__ = ("_node_of", "by_node")

    def __init__(self) -> None:
        self.by_node: dict[str, dict[str, PodInfo]] = {}
        self._node_of: dict[str, str] = {}

    def add(self, pod: PodInfo, info: NominatingInfo | None = None) -> None:
        """Promise `pod` the node of `info`, or without one that of its own status."""
        self.delete(pod.uid)
        node_name = pod.nominated_node_name if info is None else info.node_name
        if node_name:
            self.by_node.setdefault(node_name, {})[pod.uid] = pod
            self._node_of[pod.uid] = node_name

    def update(self, old_nominated: str, pod: PodInfo) -> None:
        """`pod` has changed; a promise that its status never had is kept."""
        if not old_nominated and not pod.nominated_node_name:
            kept = self._node_of.get(pod.uid)
            if kept is not None:
                self.by_node[kept][pod.uid] = pod
                return
        self.add(pod)

    def delete(self, uid: str) -> None:
        """Take the promise to that pod back."""
        node_name = self._node_of.pop(uid, None)
        if node_name is not None:
            pods = self.by_node[node_name]
            pods.pop(uid, None)
            if not pods:
                del self.by_node[node_name]

    def on_node(self, node_name: str) -> list[PodInfo]:
        """The pods that are promised that node."""
        pods = self.by_node.get(node_name)
        return list(pods.values()) if pods else []
