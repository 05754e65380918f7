"""NodeAffinity: node selectors, required and preferred node affinity.

Follows `pkg/scheduler/framework/plugins/nodeaffinity/node_affinity.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.node_selection import (
    NODE_NAME_FIELD,
    NOTHING,
    NodeSelector,
    preferred_terms,
    required_terms,
    term_test,
)
from pytest_kubesim.scheduler.pod_info import PodInfo, freeze

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import ClusterEventWithHint, CycleState, Status
    from pytest_kubesim.scheduler.node_info import NodeInfo

REASON = "node(s) didn't match Pod's node affinity/selector"
REASON_ADDED = "node(s) didn't match scheduler-enforced node affinity"
REASON_CONFLICT = "pod affinity terms conflict"
_REJECTED = fwk.unresolvable(REASON)
_REJECTED_ADDED = fwk.unresolvable(REASON_ADDED)
_STATE = "NodeAffinity/preferred"


class NodeAffinity:
    """The plugin.

    Parameters: `added_affinity`, a node affinity that holds for all pods of the profile besides
    their own.
    """

    name = "NodeAffinity"

    def __init__(self, *, added_affinity: Object | None = None) -> None:
        added: Object = {"affinity": {"nodeAffinity": added_affinity or {}}}
        required = required_terms(added)
        self._added = None if required is None else NodeSelector(required)
        self._added_preferred = [
            (entry.get("weight", 0), term_test(entry.get("preference") or NOTHING))
            for entry in preferred_terms(added)
            if entry.get("weight")
        ]

    def sign(self, pod: PodInfo) -> Any:
        """Node selector and node affinity decide."""
        affinity = pod.spec.get("affinity")
        node_affinity = affinity.get("nodeAffinity") if affinity else None
        selector = pod.spec.get("nodeSelector")
        if node_affinity is None and selector is None:
            return None, None
        return freeze(selector), freeze(node_affinity)

    def pre_filter(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> tuple[set[str] | None, Status | None]:
        """Skip a pod without; narrow the search where every term names nodes."""
        terms = required_terms(pod.spec)
        if terms is None:
            idle = self._added is None and pod.spec.get("nodeSelector") is None
            return None, (fwk.SKIPPED if idle else None)
        if not terms:
            return None, None
        names: set[str] = set()
        for term in terms:
            of_term = _named_nodes(term)
            if of_term is None:
                return None, None
            names |= of_term
        if not names:
            return None, fwk.unresolvable(REASON_CONFLICT)
        return names, None

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject a node that does not match."""
        if self._added is not None and not self._added.matches(node.labels, node.name):
            return _REJECTED_ADDED
        if pod.required_node_affinity.matches(node.labels, node.name):
            return None
        return _REJECTED

    def pre_score(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> Status | None:
        """Skip a pod that prefers nothing."""
        preferred = preferred_terms(pod.spec)
        if not preferred and not self._added_preferred:
            return fwk.SKIPPED
        state.data[_STATE] = self._added_preferred + [
            (entry.get("weight", 0), term_test(entry.get("preference") or NOTHING))
            for entry in preferred
            if entry.get("weight")
        ]
        return None

    def score_nodes(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> list[int]:
        """The sum of the weights of the terms that match."""
        terms = state.data[_STATE]
        return [
            sum(weight for weight, test in terms if test(node.labels, node.name))
            for node in nodes
        ]

    def normalize(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo], scores: Sequence[int]
    ) -> list[int]:
        """More is better."""
        return fwk.default_normalize(scores, reverse=False)

    def events(self) -> list[ClusterEventWithHint]:
        """A node comes, or changes its labels, and matches now."""
        return [fwk.on(fwk.NODE, fwk.ADD | fwk.UPDATE_NODE_LABEL, self._node_helps)]

    def _node_helps(self, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        if new is not None and self._added is not None and not self._added.matches(
            *_labels_and_name(new)
        ):
            return False
        affinity = pod.required_node_affinity
        if new is None or not affinity.matches(*_labels_and_name(new)):
            return False
        return old is None or not affinity.matches(*_labels_and_name(old))


def _labels_and_name(node: Object) -> tuple[dict[str, str], str]:
    return node["metadata"].get("labels") or NOTHING, node["metadata"]["name"]


def _named_nodes(term: Object) -> set[str] | None:
    names: set[str] | None = None
    for field in term.get("matchFields") or ():
        if field.get("key") == NODE_NAME_FIELD and field.get("operator") == "In":
            values = set[str](field.get("values") or ())
            names = values if names is None else names & values
    return names
