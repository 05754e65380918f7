"""InterPodAffinity: near to some pods, away from others, by topology.

Follows `pkg/scheduler/framework/plugins/interpodaffinity/{filtering,scoring,plugin}.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import labels as label_selectors
from pytest_kubesim.client_go.resources import NAMESPACES
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.framework import MAX_NODE_SCORE
from pytest_kubesim.scheduler.node_selection import NOTHING
from pytest_kubesim.scheduler.pod_info import NO_LABELS, PodInfo

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import ClusterEventWithHint, CycleState, Handle, Status
    from pytest_kubesim.scheduler.node_info import NodeInfo
    from pytest_kubesim.scheduler.pod_info import AffinityTerm

REASON_EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"
REASON_AFFINITY = "node(s) didn't match pod affinity rules"
REASON_ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
_REJECTED_EXISTING = fwk.unschedulable(REASON_EXISTING)
_REJECTED_AFFINITY = fwk.unresolvable(REASON_AFFINITY)
_REJECTED_ANTI_AFFINITY = fwk.unschedulable(REASON_ANTI_AFFINITY)

HARD_POD_AFFINITY_WEIGHT = 1

_FILTER_STATE = "InterPodAffinity/filter"
_SCORE_STATE = "InterPodAffinity/score"

Counts = dict[tuple[str, str], int]


class FilterState:
    """How many pods match which terms in which topology (key, value)."""

    __slots__ = ("affinity", "affinity_terms", "anti", "anti_terms", "existing", "ns_labels")

    def __init__(
        self,
        affinity_terms: Sequence[AffinityTerm],
        anti_terms: Sequence[AffinityTerm],
        ns_labels: Mapping[str, str],
    ) -> None:
        self.affinity_terms = affinity_terms
        self.anti_terms = anti_terms
        self.ns_labels = ns_labels
        self.existing: Counts = {}
        self.affinity: Counts = {}
        self.anti: Counts = {}

    def clone(self) -> FilterState:
        """A copy that can be changed."""
        copy = FilterState(self.affinity_terms, self.anti_terms, self.ns_labels)
        copy.existing = dict(self.existing)
        copy.affinity = dict(self.affinity)
        copy.anti = dict(self.anti)
        return copy

    def count(self, pod: PodInfo, other: PodInfo, node: NodeInfo, delta: int) -> None:
        """`other` is (`delta` 1) or is not (-1) on `node`."""
        self.count_existing(pod, other, node, delta)
        self.count_incoming(other, node, delta)

    def count_existing(self, pod: PodInfo, other: PodInfo, node: NodeInfo, delta: int) -> None:
        """What `other` demands of `pod`."""
        for term in other.anti_affinity_terms:
            if term.matches(pod, self.ns_labels):
                _bump(self.existing, node, term.topology_key, delta)

    def count_incoming(self, other: PodInfo, node: NodeInfo, delta: int) -> None:
        """What the pod demands of `other`."""
        if self.affinity_terms and _matches_all(self.affinity_terms, other):
            for term in self.affinity_terms:
                _bump(self.affinity, node, term.topology_key, delta)
        for term in self.anti_terms:
            if term.matches(other, None):
                _bump(self.anti, node, term.topology_key, delta)


class InterPodAffinity:
    """The plugin.

    Parameters: `hard_pod_affinity_weight`, what a required term of a pod that is there weighs for
    a pod that it selects; `ignore_preferred_terms_of_existing_pods`, for pods without preferences.
    """

    name = "InterPodAffinity"

    def __init__(
        self,
        *,
        hard_pod_affinity_weight: int = HARD_POD_AFFINITY_WEIGHT,
        ignore_preferred_terms_of_existing_pods: bool = False,
    ) -> None:
        self._handle: Handle | None = None
        self._hard_weight = hard_pod_affinity_weight
        self._ignores_existing = ignore_preferred_terms_of_existing_pods

    def attach(self, handle: Handle) -> None:
        """Learn where the pods and the namespaces are."""
        self._handle = handle
        self._namespaces = handle.informers.informer(NAMESPACES).store

    def _namespace_labels(self, name: str) -> Mapping[str, str]:
        namespace = self._namespaces.get(name)
        return (namespace["metadata"].get("labels") or NO_LABELS) if namespace else NO_LABELS

    def _merged(self, terms: Sequence[AffinityTerm]) -> tuple[AffinityTerm, ...]:
        return tuple(map(self._merge, terms))

    def _merge(self, term: AffinityTerm) -> AffinityTerm:
        """The term with the namespaces that its selector selects now, by name."""
        selector = term.namespace_selector
        if selector.empty or not selector.selects:
            return term
        names = {
            namespace["metadata"]["name"]
            for namespace in self._namespaces.list()
            if selector.matches(namespace["metadata"].get("labels"))
        }
        return attrs.evolve(
            term,
            namespaces=term.namespaces | names,
            namespace_selector=label_selectors.nothing(),
        )

    # -- filtering ----------------------------------------------------------------------------

    def pre_filter(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> tuple[set[str] | None, Status | None]:
        """Count who matches whom; skip where nobody demands anything."""
        assert self._handle is not None
        with_anti = self._handle.cache.with_anti_affinity
        demands = bool(pod.affinity_terms or pod.anti_affinity_terms)
        if not with_anti and not demands:
            return None, fwk.SKIPPED
        counted = FilterState(
            self._merged(pod.affinity_terms),
            self._merged(pod.anti_affinity_terms),
            self._namespace_labels(pod.namespace),
        )
        for node in with_anti.values():
            if node.node is not None:
                for other in node.pods_with_anti_affinity.values():
                    counted.count_existing(pod, other, node, 1)
        if demands:
            for node in nodes:
                for other in node.pods.values():
                    counted.count_incoming(other, node, 1)
        elif not counted.existing:
            return None, fwk.SKIPPED
        state.data[_FILTER_STATE] = counted
        return None, None

    def add_pod(
        self, state: CycleState, pod: PodInfo, other: PodInfo, node: NodeInfo
    ) -> Status | None:
        """As if `other` were on `node`."""
        counted: FilterState | None = state.data.get(_FILTER_STATE)
        if counted is not None:
            counted.count(pod, other, node, 1)
        return None

    def remove_pod(
        self, state: CycleState, pod: PodInfo, other: PodInfo, node: NodeInfo
    ) -> Status | None:
        """As if `other` were not on `node`."""
        counted: FilterState | None = state.data.get(_FILTER_STATE)
        if counted is not None:
            counted.count(pod, other, node, -1)
        return None

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject a node by its pods' rules, or by the pod's."""
        counted: FilterState = state.data[_FILTER_STATE]
        if counted.affinity_terms and not _satisfies_affinity(counted, pod, node):
            return _REJECTED_AFFINITY
        if counted.anti:
            for term in counted.anti_terms:
                value = node.labels.get(term.topology_key)
                if value is not None and counted.anti.get((term.topology_key, value), 0) > 0:
                    return _REJECTED_ANTI_AFFINITY
        if counted.existing:
            for pair in node.labels.items():
                if counted.existing.get(pair, 0) > 0:
                    return _REJECTED_EXISTING
        return None

    # -- scoring ------------------------------------------------------------------------------

    def pre_score(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> Status | None:
        """Weigh every topology value by who is there; skip where nobody prefers anything."""
        assert self._handle is not None
        cache = self._handle.cache
        prefers = bool(pod.preferred_affinity_terms or pod.preferred_anti_affinity_terms)
        if not prefers and (self._ignores_existing or not cache.with_affinity):
            return fwk.SKIPPED
        affinity = self._merged(pod.preferred_affinity_terms)
        anti = self._merged(pod.preferred_anti_affinity_terms)
        ns_labels = self._namespace_labels(pod.namespace)
        weights: dict[str, dict[str, int]] = {}
        for node in cache.nodes if prefers else cache.with_affinity.values():
            if node.node is None or not node.labels:
                continue
            others = node.pods if prefers else node.pods_with_affinity
            for other in others.values():
                _weigh(weights, affinity, other, None, node, 1)
                _weigh(weights, anti, other, None, node, -1)
                if other.has_affinity:
                    if self._hard_weight:
                        _weigh(
                            weights, other.affinity_terms, pod, ns_labels, node,
                            1, self._hard_weight,
                        )
                    _weigh(weights, other.preferred_affinity_terms, pod, ns_labels, node, 1)
                    _weigh(weights, other.preferred_anti_affinity_terms, pod, ns_labels, node, -1)
        if not weights:
            return fwk.SKIPPED
        state.data[_SCORE_STATE] = weights
        return None

    def score_nodes(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> list[int]:
        """The sum of the weights of each node's topology values."""
        weights: dict[str, dict[str, int]] = state.data[_SCORE_STATE]
        scores = [0] * len(nodes)
        for key, by_value in weights.items():
            for i, node in enumerate(nodes):
                value = node.labels.get(key)
                if value is not None:
                    scores[i] += by_value.get(value, 0)
        return scores

    def normalize(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo], scores: Sequence[int]
    ) -> list[int]:
        """From the least (0) to the most (100) wanted."""
        least, most = min(scores), max(scores)
        spread = most - least
        if spread == 0:
            return [0] * len(scores)
        return [int(MAX_NODE_SCORE * ((score - least) / spread)) for score in scores]

    # -- events -------------------------------------------------------------------------------

    def events(self) -> list[ClusterEventWithHint]:
        """Pods come, go or change their labels; nodes come or change theirs."""
        pod_actions = fwk.ADD | fwk.UPDATE_POD_LABEL | fwk.DELETE
        return [
            fwk.on(fwk.ASSIGNED_POD, pod_actions, self._pod_helps),
            fwk.on(fwk.TARGET_POD, fwk.UPDATE_POD_LABEL),
            fwk.on(fwk.NODE, fwk.ADD | fwk.UPDATE_NODE_LABEL, self._node_helps),
        ]

    @staticmethod
    def _pod_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        if any(other is not None and not _placed(other) for other in (old, new)):
            return False
        # Upstream looks up no namespaces here: what a selector of labels finds is no help, and a
        # pod that waits for it is tried again only when something else happens (or after 5 min).
        affinity, anti = pod.affinity_terms, pod.anti_affinity_terms
        before = None if old is None else PodInfo(old)
        after = None if new is None else PodInfo(new)
        if before is not None and after is not None:
            joins = not _matches_all(affinity, before) and _matches_all(affinity, after)
            leaves = _matches_any(anti, before) and not _matches_any(anti, after)
            return joins or leaves
        if after is not None:
            return _matches_all(affinity, after)
        assert before is not None
        return _matches_any(anti, before) or _matches_any(before.anti_affinity_terms, pod)

    @staticmethod
    def _node_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        if new is None:
            return False
        after = new["metadata"].get("labels") or NO_LABELS
        if old is None:
            return bool(pod.anti_affinity_terms) or any(
                term.topology_key in after for term in pod.affinity_terms
            )
        before = old["metadata"].get("labels") or NO_LABELS
        for term in pod.affinity_terms:
            if term.topology_key in after and before.get(term.topology_key) != after.get(
                term.topology_key
            ):
                return True
        return any(
            term.topology_key in before
            and before.get(term.topology_key) != after.get(term.topology_key)
            for term in pod.anti_affinity_terms
        )


def _bump(counts: Counts, node: NodeInfo, key: str, delta: int) -> None:
    value = node.labels.get(key)
    if value is not None:
        pair = (key, value)
        left = counts.get(pair, 0) + delta
        if left:
            counts[pair] = left
        else:
            counts.pop(pair, None)


def _satisfies_affinity(counted: FilterState, pod: PodInfo, node: NodeInfo) -> bool:
    exist = True
    for term in counted.affinity_terms:
        value = node.labels.get(term.topology_key)
        if value is None:
            return False
        if counted.affinity.get((term.topology_key, value), 0) <= 0:
            exist = False
    if exist:
        return True
    # The first pod of a group that wants to be together may go anywhere.
    return not counted.affinity and _matches_all(counted.affinity_terms, pod)


def _matches_all(terms: Sequence[AffinityTerm], pod: PodInfo) -> bool:
    return bool(terms) and all(term.matches(pod, NO_LABELS) for term in terms)


def _matches_any(terms: Iterable[AffinityTerm], pod: PodInfo) -> bool:
    return any(term.matches(pod, NO_LABELS) for term in terms)


def _weigh(
    weights: dict[str, dict[str, int]],
    terms: Iterable[AffinityTerm],
    pod: PodInfo,
    ns_labels: Mapping[str, str] | None,
    node: NodeInfo,
    sign: int,
    fixed: int = 0,
) -> None:
    for term in terms:
        value: Any = node.labels.get(term.topology_key)
        if value is not None and term.matches(pod, ns_labels):
            by_value = weights.setdefault(term.topology_key, {})
            by_value[value] = by_value.get(value, 0) + sign * (fixed or term.weight)


def _placed(pod: Object) -> bool:
    return bool(
        pod["spec"].get("nodeName") or (pod.get("status") or NOTHING).get("nominatedNodeName")
    )
