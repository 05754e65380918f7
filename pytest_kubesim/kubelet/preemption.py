"""Room for critical pods: which pods have to go so that one may be admitted.

The law: only want of resources is met so; pods of the lowest quality go first, and of those as few
as do.

Follows `pkg/kubelet/preemption/preemption.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.cri import cgroups
from pytest_kubesim.kubelet.host import NOTHING
from pytest_kubesim.kubelet.static_pods import CONFIG_SOURCE

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

REASON = "Preempting"
MESSAGE = "Preempted in order to admit critical pod"
CONDITION_MESSAGE = "Pod was preempted by Kubelet to accommodate a critical pod."
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000
_QUALITIES = ("BestEffort", "Burstable", "Guaranteed")

Needs = dict[str, int]
"""What is missing, by resource, as the scheduler counts."""


class NoRoom(Exception):
    """Not even without all others is there room."""


def is_critical(pod: Object) -> bool:
    """Whether the node cannot do without the pod."""
    source = (pod["metadata"].get("annotations") or NOTHING).get(CONFIG_SOURCE, "api")
    return source != "api" or _priority(pod) >= SYSTEM_CRITICAL_PRIORITY


def _priority(pod: Object) -> int:
    return pod["spec"].get("priority") or 0


def missing(pod: Object, allocatable: dict[str, str], others: list[Object]) -> Needs:
    """What the pod asks for and is not there beside the others."""
    wanted = {**cgroups.pod_requests(pod), "pods": "1"}
    found: Needs = {}
    for name, amount in wanted.items():
        if name not in allocatable:
            continue
        used = sum(_request(other, name) for other in others)
        short = cgroups.units(name, amount) + used - cgroups.units(name, allocatable[name])
        if short > 0:
            found[name] = short
    return found


def to_preempt(pod: Object, others: list[Object], needs: Needs) -> list[Object]:
    """The pods that have to go.  Raises `NoRoom`, with upstream's words."""
    groups: dict[str, list[Object]] = {quality: [] for quality in _QUALITIES}
    for other in others:
        if (is_critical(pod) and not is_critical(other)) or _priority(pod) > _priority(other):
            groups[cgroups.qos_class(other)].append(other)
    best_effort, burstable, guaranteed = groups.values()
    if left := _less(needs, best_effort + burstable + guaranteed):
        raise NoRoom(f"no set of running pods found to reclaim resources: {_text(left)}")
    last = _nearest(guaranteed, _less(needs, best_effort + burstable))
    middle = _nearest(burstable, _less(needs, best_effort + last))
    return _nearest(best_effort, _less(needs, middle + last)) + middle + last


def _nearest(pods: list[Object], needs: Needs) -> list[Object]:
    """Pods that meet the needs, each time the one that leaves least of them."""
    left = list(pods)
    found: list[Object] = []
    while needs:
        best = min(
            range(len(left)),
            key=lambda number: (_distance(left[number], needs), _size(left[number])),
        )
        found.append(left.pop(best))
        needs = _less(needs, found[-1:])
    return found


def _request(pod: Object, name: str) -> int:
    if name == "pods":
        return 1
    requests = cgroups.pod_requests(pod)
    return cgroups.units(name, requests[name]) if name in requests else 0


def _distance(pod: Object, needs: Needs) -> float:
    return sum(
        max(0, amount - _request(pod, name)) ** 2 / amount**2 for name, amount in needs.items()
    )


def _size(pod: Object) -> tuple[Any, ...]:
    return _request(pod, "memory"), _request(pod, "cpu")


def _less(needs: Needs, pods: list[Object]) -> Needs:
    left = {
        name: amount - sum(_request(pod, name) for pod in pods) for name, amount in needs.items()
    }
    return {name: amount for name, amount in left.items() if amount > 0}


def _text(needs: Needs) -> str:
    return f"[{''.join(f'(res: {name}, q: {amount}), ' for name, amount in needs.items())}]"
