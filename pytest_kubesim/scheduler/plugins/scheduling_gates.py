"""SchedulingGates: a pod with gates does not enter the active queue.

Follows `pkg/scheduler/framework/plugins/schedulinggates/scheduling_gates.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.scheduler import framework as fwk

if TYPE_CHECKING:
    from pytest_kubesim.scheduler.framework import ClusterEventWithHint, Status
    from pytest_kubesim.scheduler.pod_info import PodInfo


class SchedulingGates:
    """The plugin."""

    name = "SchedulingGates"

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        """Keep out a pod that has gates."""
        gates = pod.spec.get("schedulingGates")
        if not gates:
            return None
        names = " ".join(gate["name"] for gate in gates)
        return fwk.unresolvable(f"waiting for scheduling gates: [{names}]")

    def events(self) -> list[ClusterEventWithHint]:
        """The last gate is gone."""
        return [fwk.on(fwk.TARGET_POD, fwk.UPDATE_POD_SCHEDULING_GATES_ELIMINATED)]
