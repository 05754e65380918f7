"""NodeResourcesBalancedAllocation: prefer the node whose cpu and memory use the pod evens out.

Follows `pkg/scheduler/framework/plugins/noderesources/balanced_allocation.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.framework import MAX_NODE_SCORE
from pytest_kubesim.scheduler.resource_scores import balance

if TYPE_CHECKING:
    from pytest_kubesim.scheduler.framework import CycleState, Status
    from pytest_kubesim.scheduler.node_info import NodeInfo
    from pytest_kubesim.scheduler.pod_info import PodInfo


class NodeResourcesBalancedAllocation:
    """The plugin.

    Parameters: `resources` by name, instead of cpu and memory.
    """

    name = "NodeResourcesBalancedAllocation"

    def __init__(self, *, resources: Sequence[str] = ("cpu", "memory")) -> None:
        self._resources = tuple(resources)
        self._balance = None if self._resources == ("cpu", "memory") else balance(self._resources)

    def sign(self, pod: PodInfo) -> Any:
        """The requests decide."""
        requests = pod.requests
        if self._balance is None:
            return requests.milli_cpu, requests.memory
        return (
            requests.milli_cpu,
            requests.memory,
            requests.ephemeral,
            tuple(requests.scalars.items()),
        )

    def pre_score(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> Status | None:
        """Skip a pod that requests nothing: it would draw all such pods to one node."""
        requests = pod.requests
        if self._balance is None:
            return None if requests.milli_cpu or requests.memory else fwk.SKIPPED
        wanted = {
            "cpu": requests.milli_cpu,
            "memory": requests.memory,
            "ephemeral-storage": requests.ephemeral,
            **requests.scalars,
        }
        return None if any(wanted.get(name) for name in self._resources) else fwk.SKIPPED

    def score(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> int:
        """75 where nothing changes, up to 100 where the pod evens out, down to 50."""
        if self._balance is not None:
            return self._balance(pod, node)
        requests = pod.requests
        used_cpu, used_memory = node.requested_cpu, node.requested_memory
        after = _balance(
            used_cpu + requests.milli_cpu, node.cpu, used_memory + requests.memory, node.memory
        )
        before = _balance(used_cpu, node.cpu, used_memory, node.memory)
        half = MAX_NODE_SCORE // 2
        # Go divides towards zero, but what is divided here is never negative.
        return half + (half + after - before) // 2


def _balance(cpu: int, all_cpu: int, memory: int, all_memory: int) -> int:
    if not all_cpu or not all_memory:
        return MAX_NODE_SCORE
    deviation = abs((min(cpu / all_cpu, 1.0) - min(memory / all_memory, 1.0)) / 2)
    return int((1 - deviation) * MAX_NODE_SCORE)
