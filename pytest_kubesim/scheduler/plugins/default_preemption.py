"""DefaultPreemption: make room for a pod by evicting pods of lower priority.

The node with the least damage is chosen: fewest violated disruption budgets, then the lowest
highest priority, the smallest sum of priorities, the fewest victims, the youngest of the most
important ones.  The victims are told (`DisruptionTarget`) and deleted in the background; meanwhile
the pod is promised the node and kept out of the active queue.

Follows `pkg/scheduler/framework/plugins/defaultpreemption/default_preemption.go` and
`pkg/scheduler/framework/preemption/preemption.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import labels as label_selectors
from pytest_kubesim.client_go.resources import PODDISRUPTIONBUDGETS
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.framework import (
    CLEAR_NOMINATION,
    CycleState,
    Diagnosis,
    FitError,
    NodeToStatus,
    NominatingInfo,
    Status,
)
from pytest_kubesim.scheduler.node_selection import NOTHING
from pytest_kubesim.scheduler.pod_info import PodInfo
from pytest_kubesim.scheduler.preemption_executor import Executor, start_time_ns, terminating

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import ClusterEventWithHint, Handle
    from pytest_kubesim.scheduler.node_info import NodeInfo

NEVER = "not eligible due to preemptionPolicy=Never."
WAITING = "not eligible due to a terminating pod on the nominated node."
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
MIN_CANDIDATES_PERCENTAGE, MIN_CANDIDATES = 10, 100


@attrs.frozen(slots=True)
class Candidate:
    """A node and the pods that would have to go, most important first."""

    node_name: str
    victims: tuple[PodInfo, ...]
    violations: int


class DefaultPreemption:
    """The plugin.

    Parameters: how many candidates are enough: `min_candidate_nodes_percentage` of the nodes, at
    least `min_candidate_nodes_absolute`.
    """

    name = "DefaultPreemption"

    def __init__(
        self,
        *,
        min_candidate_nodes_percentage: int = MIN_CANDIDATES_PERCENTAGE,
        min_candidate_nodes_absolute: int = MIN_CANDIDATES,
    ) -> None:
        self._percentage = min_candidate_nodes_percentage
        self._absolute = min_candidate_nodes_absolute
        self._handle: Handle | None = None
        self._executor: Executor | None = None
        self._attempts = 0

    def attach(self, handle: Handle) -> None:
        """Learn where pods and disruption budgets are, and how to evict."""
        self._handle = handle
        self._executor = Executor(handle)
        self._budgets = handle.informers.informer(PODDISRUPTIONBUDGETS).store

    @property
    def handle(self) -> Handle:
        """The scheduler."""
        assert self._handle is not None
        return self._handle

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        """Keep a pod out while its victims are being told."""
        assert self._executor is not None
        if self._executor.is_running_for(pod.uid):
            return fwk.unresolvable("waiting for the preemption for this pod to be finished")
        return None

    def events(self) -> list[ClusterEventWithHint]:
        """Nothing by itself: what rejected the pod before is what has to be helped."""
        return [fwk.on(fwk.ASSIGNED_POD, fwk.DELETE, lambda _pod, _old, _new: False)]

    def post_filter(
        self, state: CycleState, pod: PodInfo, statuses: NodeToStatus
    ) -> tuple[NominatingInfo | None, Status | None]:
        """Evict, or say why that does not help."""
        result, status = self._preempt(state, pod, statuses)
        if status is not None and status.message:
            return result, Status(status.code, (f"preemption: {status.message}",))
        return result, status

    def _preempt(
        self, state: CycleState, pod: PodInfo, statuses: NodeToStatus
    ) -> tuple[NominatingInfo | None, Status | None]:
        current = self.handle.get_pod(pod.namespace, pod.name)
        if current is None:
            return None, fwk.error(f'pod "{pod.name}" not found')
        refusal = self._not_eligible(PodInfo(current), statuses)
        if refusal:
            return None, fwk.unschedulable(refusal)
        potential = [
            node
            for node in self.handle.cache.nodes
            if statuses.get(node.name).code == fwk.UNSCHEDULABLE
        ]
        why_not = NodeToStatus(fwk.unresolvable(NOT_HELPFUL))
        candidates, mishaps = self._dry_run(state, pod, potential, why_not)
        if not candidates:
            if mishaps:
                return None, fwk.error(*mishaps)
            fit_error = FitError(len(self.handle.cache.nodes), Diagnosis(why_not))
            return CLEAR_NOMINATION, fwk.unschedulable(fit_error.message())
        best = pick_one(candidates, self.handle.process.now_ns())
        assert self._executor is not None
        self._executor.evict(pod, best.node_name, best.victims)
        note = f"found a potential placement for pod on node {best.node_name}, preempting "
        outcome = Status(fwk.SUCCESS, (f"{note}{len(best.victims)} victims",))
        return NominatingInfo(best.node_name), outcome

    def _not_eligible(self, pod: PodInfo, statuses: NodeToStatus) -> str:
        if pod.spec.get("preemptionPolicy") == "Never":
            return NEVER
        nominated = pod.nominated_node_name
        if nominated and statuses.get(nominated).code != fwk.UNSCHEDULABLE_AND_UNRESOLVABLE:
            node = self.handle.cache.get(nominated)
            if node is not None and any(
                other.priority < pod.priority and terminating(other.pod)
                for other in node.pods.values()
            ):
                return WAITING
        return ""

    # -- candidates ---------------------------------------------------------------------------

    def _dry_run(
        self,
        state: CycleState,
        pod: PodInfo,
        potential: Sequence[NodeInfo],
        why_not: NodeToStatus,
    ) -> tuple[list[Candidate], list[str]]:
        count = len(potential)
        if not count:
            return [], []
        self._attempts += 1
        rng = self.handle.process.kernel.rng
        offset = rng.below(count, "preemption-offset", pod.uid, self._attempts)
        wanted = min(max(count * self._percentage // 100, self._absolute), count)
        budgets = self._budgets.list()
        clean: list[Candidate] = []
        violating: list[Candidate] = []
        mishaps: list[str] = []
        for i in range(count):
            node = potential[(offset + i) % count]
            found = self._victims_on(state.clone(), pod, node.clone(), budgets)
            if isinstance(found, Status):
                why_not.statuses[node.name] = found
                if not found.rejected:
                    mishaps.extend(found.reasons)
                continue
            (violating if found.violations else clean).append(found)
            if clean and len(clean) + len(violating) >= wanted:
                break
        return clean + violating, mishaps

    def _victims_on(
        self, state: CycleState, pod: PodInfo, node: NodeInfo, budgets: Sequence[Object]
    ) -> Candidate | Status:
        handle = self.handle
        possible = [other for other in node.pods.values() if other.priority < pod.priority]
        if not possible:
            return fwk.unresolvable(NO_VICTIMS)
        for other in possible:
            node.remove_pod(other.uid)
            handle.run_remove_pod(state, pod, other, node)
        status = handle.run_filters(state, pod, node)
        if status is not None:
            return status
        now_ns = handle.process.now_ns()
        possible.sort(key=lambda other: importance(other, now_ns))
        violating, others = split_by_budgets(possible, budgets)
        victims: list[PodInfo] = []
        violations = 0
        for other, violates in [(v, True) for v in violating] + [(o, False) for o in others]:
            node.add_pod(other)
            handle.run_add_pod(state, pod, other, node)
            if handle.run_filters(state, pod, node) is not None:
                node.remove_pod(other.uid)
                handle.run_remove_pod(state, pod, other, node)
                victims.append(other)
                violations += violates
        if not victims:
            return fwk.error(f'expected at least one victim pod on node "{node.name}"')
        victims.sort(key=lambda other: importance(other, now_ns))
        return Candidate(node.name, tuple(victims), violations)


def importance(pod: PodInfo, now_ns: int) -> tuple[int, int]:
    """The key by which more important pods sort first: priority, then age."""
    return (-pod.priority, start_time_ns(pod.pod, now_ns))


def split_by_budgets(
    pods: Sequence[PodInfo], budgets: Sequence[Object]
) -> tuple[list[PodInfo], list[PodInfo]]:
    """Those whose eviction would violate a disruption budget, and the others, each in order."""
    matching = [
        (
            budget["metadata"].get("namespace") or "default",
            _selector(budget),
            (budget.get("status") or NOTHING).get("disruptedPods") or NOTHING,
        )
        for budget in budgets
    ]
    allowed = [
        (budget.get("status") or NOTHING).get("disruptionsAllowed") or 0 for budget in budgets
    ]
    violating: list[PodInfo] = []
    others: list[PodInfo] = []
    for pod in pods:
        violates = False
        for i, (namespace, selector, disrupted) in enumerate(matching):
            if (
                not pod.labels
                or namespace != pod.namespace
                or selector.empty
                or not selector.matches(pod.labels)
                or pod.name in disrupted
            ):
                continue
            allowed[i] -= 1
            if allowed[i] < 0:
                violates = True
                break
        (violating if violates else others).append(pod)
    return violating, others


def _selector(budget: Object) -> label_selectors.Selector:
    try:
        return label_selectors.from_label_selector((budget.get("spec") or NOTHING).get("selector"))
    except ValueError:
        return label_selectors.nothing()


def pick_one(candidates: Sequence[Candidate], now_ns: int) -> Candidate:
    """The candidate with the least damage; the first of equals (`pickOneNodeForPreemption`)."""
    offset = 2**31

    def damage(candidate: Candidate) -> tuple[int, ...]:
        victims = candidate.victims
        highest = max(victim.priority for victim in victims)
        earliest = min(
            start_time_ns(victim.pod, now_ns) for victim in victims if victim.priority == highest
        )
        return (
            candidate.violations,
            victims[0].priority,
            sum(victim.priority + offset for victim in victims),
            len(victims),
            -earliest,
        )

    return min(candidates, key=damage)
