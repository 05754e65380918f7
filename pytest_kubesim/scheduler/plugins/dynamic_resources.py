"""DynamicResources: device claims are not simulated; a pod that has one is refused aloud.

What remains is upstream's part in other pods' messages: where the attempt ended before this
plugin's turn, its PostFilter finds no state and says "not found", and preemption is not tried.

Follows `pkg/scheduler/framework/plugins/dynamicresources/dynamicresources.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_kubesim.scheduler import framework as fwk

if TYPE_CHECKING:
    from pytest_kubesim.scheduler.framework import (
        ClusterEventWithHint,
        CycleState,
        NodeToStatus,
        NominatingInfo,
        Status,
    )
    from pytest_kubesim.scheduler.node_info import NodeInfo
    from pytest_kubesim.scheduler.pod_info import PodInfo

NOT_SIMULATED = "NotSimulated: pods with resourceClaims (dynamic resource allocation)"
_STATE = "DynamicResources"


class DynamicResources:
    """The plugin."""

    name = "DynamicResources"

    def pre_filter(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> tuple[set[str] | None, Status | None]:
        """Refuse a pod with claims; skip all others."""
        state.data[_STATE] = True
        if pod.spec.get("resourceClaims"):
            return None, fwk.unresolvable(NOT_SIMULATED)
        return None, fwk.SKIPPED

    def post_filter(
        self, state: CycleState, pod: PodInfo, statuses: NodeToStatus
    ) -> tuple[NominatingInfo | None, Status | None]:
        """There is nothing to deallocate."""
        if _STATE not in state.data:
            return None, fwk.error("not found")
        return None, fwk.unschedulable()

    def events(self) -> list[ClusterEventWithHint]:
        """Nothing helps."""
        return []
