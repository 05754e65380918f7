"""How full a node would be, as a score: the strategies of a configuration.

The law: a resource that the node does not have, and an extended one that the pod does not ask for,
does not count.

Follows `pkg/scheduler/framework/plugins/noderesources/{resource_allocation,least_allocated,
most_allocated,requested_to_capacity_ratio,balanced_allocation}.go` and `plugins/helper/
shape_score.go`; devices that stand for an extended resource count as none of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_kubesim.scheduler.framework import MAX_NODE_SCORE

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.node_info import NodeInfo
    from pytest_kubesim.scheduler.pod_info import PodInfo

LEAST_ALLOCATED, MOST_ALLOCATED = "LeastAllocated", "MostAllocated"
REQUESTED_TO_CAPACITY_RATIO = "RequestedToCapacityRatio"
DEFAULT_RESOURCES: dict[str, int] = {"cpu": 1, "memory": 1}
MAX_UTILIZATION = 100
MAX_CUSTOM_SCORE = 10

Score = Callable[["PodInfo", "NodeInfo"], int]
Amounts = tuple[int, int, int]
"""What the pod asks for, what is taken on the node, what the node has."""


def amounts(pod: PodInfo, node: NodeInfo, name: str, *, non_zero: bool) -> Amounts | None:
    """The amounts of one resource; None where it does not count.

    Parameters: `non_zero`, whether containers that request no cpu or memory count for something.
    """
    requests = pod.requests
    if name == "cpu":
        wanted = pod.non_zero_cpu if non_zero else requests.milli_cpu
        found = wanted, node.non_zero_cpu if non_zero else node.requested_cpu, node.cpu
    elif name == "memory":
        wanted = pod.non_zero_memory if non_zero else requests.memory
        found = wanted, node.non_zero_memory if non_zero else node.requested_memory, node.memory
    elif name == "ephemeral-storage":
        found = requests.ephemeral, node.requested_ephemeral, node.ephemeral
    else:
        wanted = requests.scalars.get(name, 0)
        if not wanted:
            return None
        found = wanted, node.requested_scalars.get(name, 0), node.scalars.get(name, 0)
    return found if found[2] else None


def broken_line(shape: Sequence[Object], scale: int) -> Callable[[int], int]:
    """The function through the points of `shape` (`utilization`, `score` times `scale`)."""
    points = [(p.get("utilization") or 0, (p.get("score") or 0) * scale) for p in shape]

    def value(at: int) -> int:
        left = None
        for x, y in points:
            if at <= x:
                if left is None:
                    return y
                rise, run = (y - left[1]) * (at - left[0]), x - left[0]
                # Go divides towards zero.
                return left[1] + (rise // run if rise >= 0 else -(-rise // run))
            left = x, y
        return points[-1][1]

    return value


def utilization_score(shape: Sequence[Object]) -> Callable[[int, int], int]:
    """The score of a requested amount out of a capacity, by a configured `shape`."""
    line = broken_line(shape, MAX_NODE_SCORE // MAX_CUSTOM_SCORE)

    def score(requested: int, capacity: int) -> int:
        if capacity == 0 or requested > capacity:
            return line(MAX_UTILIZATION)
        return line(requested * MAX_UTILIZATION // capacity)

    return score


def _least(requested: int, capacity: int) -> int:
    return 0 if requested > capacity else (capacity - requested) * MAX_NODE_SCORE // capacity


def _most(requested: int, capacity: int) -> int:
    # Pods without requests count for something: it can be more than there is.
    return min(requested, capacity) * MAX_NODE_SCORE // capacity


def strategy(arguments: Mapping[str, Any]) -> Score:
    """The score of a `scoringStrategy`."""
    kind = arguments.get("type") or LEAST_ALLOCATED
    resources = weights_of(arguments.get("resources"))
    ratio = kind == REQUESTED_TO_CAPACITY_RATIO
    if ratio:
        function: Object = arguments.get("requestedToCapacityRatio") or {}
        one = utilization_score(function.get("shape") or ())
    else:
        one = _most if kind == MOST_ALLOCATED else _least

    def score(pod: PodInfo, node: NodeInfo) -> int:
        total = weights = 0
        for name, weight in resources.items():
            found = amounts(pod, node, name, non_zero=True)
            if found is None:
                continue
            points = one(found[0] + found[1], found[2])
            if points > 0 or not ratio:
                total += points * weight
                weights += weight
        if not weights:
            return 0
        return math.floor(total / weights + 0.5) if ratio else total // weights

    return score


def balance(resources: Sequence[str]) -> Score:
    """How much a pod evens out the use of `resources`: 75 where nothing changes."""
    half = MAX_NODE_SCORE // 2

    def score(pod: PodInfo, node: NodeInfo) -> int:
        before: list[float] = []
        after: list[float] = []
        for name in resources:
            found = amounts(pod, node, name, non_zero=False)
            if found is not None:
                wanted, taken, capacity = found
                before.append(min(taken / capacity, 1.0))
                after.append(min((taken + wanted) / capacity, 1.0))
        return half + (half + _evenness(after) - _evenness(before)) // 2

    return score


def _evenness(shares: Sequence[float]) -> int:
    deviation = 0.0
    if len(shares) == 2:
        deviation = abs((shares[0] - shares[1]) / 2)
    elif len(shares) > 2:
        mean = sum(shares) / len(shares)
        squares = sum((share - mean) * (share - mean) for share in shares)
        deviation = math.sqrt(squares / len(shares))
    return int((1 - deviation) * MAX_NODE_SCORE)


def weights_of(resources: Sequence[Object] | None) -> dict[str, int]:
    """Weights by resource of a `ResourceSpec` list; cpu and memory alike when there is none."""
    if not resources:
        return DEFAULT_RESOURCES
    return {entry["name"]: entry.get("weight") or 1 for entry in resources}
