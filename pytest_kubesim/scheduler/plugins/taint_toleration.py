"""TaintToleration: nodes with taints that the pod does not tolerate are out, or score less.

Follows `pkg/scheduler/framework/plugins/tainttoleration/taint_toleration.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.node_selection import NOTHING, has_untolerated, tolerated
from pytest_kubesim.scheduler.pod_info import PodInfo, freeze

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import ClusterEventWithHint, CycleState, Status
    from pytest_kubesim.scheduler.node_info import NodeInfo

REASON = "node(s) had untolerated taint(s)"
_REJECTED = fwk.unresolvable(REASON)


class TaintToleration:
    """The plugin."""

    name = "TaintToleration"

    def sign(self, pod: PodInfo) -> Any:
        """Tolerations decide."""
        return freeze(pod.tolerations)

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject a node with a taint NoSchedule or NoExecute that is not tolerated."""
        if node.taints and has_untolerated(node.taints, pod.tolerations):
            return _REJECTED
        return None

    def score(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> int:
        """How many PreferNoSchedule taints are not tolerated."""
        taints = node.prefer_no_schedule_taints
        if not taints:
            return 0
        relevant = [
            t for t in pod.tolerations if t.get("effect") in (None, "", "PreferNoSchedule")
        ]
        return sum(not tolerated(relevant, taint) for taint in taints)

    def normalize(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo], scores: Sequence[int]
    ) -> list[int]:
        """Fewer is better."""
        return fwk.default_normalize(scores, reverse=True)

    def events(self) -> list[ClusterEventWithHint]:
        """A node comes without, or loses, the taint; the pod gets a toleration."""
        return [
            fwk.on(fwk.NODE, fwk.ADD | fwk.UPDATE_NODE_TAINT, self._node_helps),
            fwk.on(fwk.TARGET_POD, fwk.UPDATE_POD_TOLERATION),
        ]

    @staticmethod
    def _node_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        was = old is None or has_untolerated(_taints(old), pod.tolerations)
        return was and new is not None and not has_untolerated(_taints(new), pod.tolerations)


def _taints(node: Object) -> list[Object]:
    return (node.get("spec") or NOTHING).get("taints") or []
