"""PodTopologySpread: spread pods alike over zones, nodes, or any label.

A pod without constraints gets the system's: softly over hostnames (skew 3) and zones (skew 5), for
the pods that its services and its controller select.

Counting the pods alike on every node for every attempt would cost more than all the rest of
scheduling; `MatchCounts` keeps the counts and looks again only at nodes that changed.

Follows `pkg/scheduler/framework/plugins/podtopologyspread/{common,filtering,scoring,plugin}.go`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import labels as label_selectors
from pytest_kubesim.apimachinery.labels import Requirement, Selector
from pytest_kubesim.client_go.resources import (
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    SERVICES,
    STATEFULSETS,
)
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.framework import MAX_NODE_SCORE
from pytest_kubesim.scheduler.node_selection import NOTHING, has_untolerated
from pytest_kubesim.scheduler.pod_counts import MatchCounts
from pytest_kubesim.scheduler.pod_info import NO_LABELS, PodInfo
from pytest_kubesim.scheduler.window import column

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import ClusterEventWithHint, CycleState, Handle, Status
    from pytest_kubesim.scheduler.node_info import NodeInfo

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
REASON = "node(s) didn't match pod topology spread constraints"
REASON_LABEL = f"{REASON} (missing required label)"
_REJECTED = fwk.unschedulable(REASON)
_REJECTED_LABEL = fwk.unresolvable(REASON_LABEL)

SYSTEM_DEFAULTS: tuple[Object, ...] = (
    {"topologyKey": HOSTNAME, "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 3},
    {"topologyKey": ZONE, "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 5},
)

_FILTER_STATE = "PodTopologySpread/filter"
_SCORE_STATE = "PodTopologySpread/score"
_INVALID = -1
_MAX_COUNTERS = 512


@attrs.frozen(slots=True)
class Constraint:
    """A topology spread constraint, parsed."""

    max_skew: int
    topology_key: str
    selector: Selector
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False

    def counts_node(self, pod: PodInfo, node: NodeInfo) -> bool:
        """Whether its inclusion policies let pods on `node` count for `pod`."""
        if self.honor_affinity and not pod.required_node_affinity.matches(node.labels, node.name):
            return False
        return not (self.honor_taints and has_untolerated(node.taints, pod.tolerations))


class FilterState:
    """How many pods alike each topology value has, by constraint."""

    __slots__ = ("constraints", "counts")

    def __init__(self, constraints: tuple[Constraint, ...], counts: list[dict[str, int]]) -> None:
        self.constraints = constraints
        self.counts = counts

    def clone(self) -> FilterState:
        """A copy that can be changed."""
        return FilterState(self.constraints, [dict(counts) for counts in self.counts])


class PodTopologySpread:
    """The plugin.

    Parameters: `default_constraints` for pods that have none, instead of the system's.
    """

    name = "PodTopologySpread"

    def __init__(self, default_constraints: Sequence[Object] | None = None) -> None:
        self._system_defaulted = default_constraints is None
        self._defaults = (
            SYSTEM_DEFAULTS if default_constraints is None else tuple(default_constraints)
        )
        self._handle: Handle | None = None
        self._counts: dict[tuple[str, Selector], MatchCounts] = {}
        self._service_sets: dict[Any, tuple[tuple[str, str], ...]] = {}

    def attach(self, handle: Handle) -> None:
        """Learn where the services and the controllers are."""
        self._handle = handle
        self._counts = {}
        informers = handle.informers
        self._services = informers.informer(SERVICES)
        self._owners = {
            ("v1", "ReplicationController"): informers.informer(REPLICATIONCONTROLLERS).store,
            ("apps/v1", "ReplicaSet"): informers.informer(REPLICASETS).store,
            ("apps/v1", "StatefulSet"): informers.informer(STATEFULSETS).store,
        }
        self._services.add_event_handler(
            add=self._services_changed, update=self._service_updated, delete=self._services_changed
        )

    def _services_changed(self, _service: Object) -> None:
        self._service_sets.clear()

    def _service_updated(self, old: Object, new: Object) -> None:
        if _service_selector(old) != _service_selector(new):
            self._service_sets.clear()

    # -- constraints --------------------------------------------------------------------------

    def _constraints(self, pod: PodInfo, action: str) -> tuple[Constraint, ...]:
        own = pod.spec.get("topologySpreadConstraints")
        if own:
            key = f"spread/{action}"
            parsed = pod.signatures.get(key)
            if parsed is None:
                parsed = pod.signatures[key] = parse_constraints(own, pod.labels, action)
            return parsed
        if not any(c["whenUnsatisfiable"] == action for c in self._defaults):
            return ()
        selector = self._default_selector(pod)
        if selector.empty:
            return ()
        return tuple(
            attrs.evolve(constraint, selector=selector)
            for constraint in parse_constraints(self._defaults, pod.labels, action)
        )

    def _default_selector(self, pod: PodInfo) -> Selector:
        pairs = self._service_pairs(pod)
        owner = _controller(pod.pod)
        if owner is None:
            return label_selectors.from_set(dict(pairs))
        store = self._owners.get((owner.get("apiVersion", ""), owner.get("kind", "")))
        found = store.get_by_name(pod.namespace, owner["name"]) if store is not None else None
        if found is None:
            return label_selectors.from_set(dict(pairs))
        selector = (found.get("spec") or NOTHING).get("selector")
        if owner.get("kind") == "ReplicationController":
            return label_selectors.from_set({**dict(pairs), **(selector or NOTHING)})
        try:
            other = label_selectors.from_label_selector(selector)
        except ValueError:
            return label_selectors.from_set(dict(pairs))
        if not pairs:
            return other if other.requirements else label_selectors.everything()
        return label_selectors.from_set(dict(pairs)).add(*other.requirements)

    def _service_pairs(self, pod: PodInfo) -> tuple[tuple[str, str], ...]:
        key = (pod.namespace, tuple(pod.labels.items()))
        pairs = self._service_sets.get(key)
        if pairs is None:
            merged: dict[str, str] = {}
            for service in self._services.store.list(pod.namespace):
                selector = _service_selector(service)
                if selector and all(pod.labels.get(k) == v for k, v in selector.items()):
                    merged.update(selector)
            if len(self._service_sets) > 4096:
                self._service_sets.clear()
            pairs = self._service_sets[key] = tuple(merged.items())
        return pairs

    def _match_counts(self, namespace: str, selector: Selector) -> MatchCounts:
        key = (namespace, selector)
        counts = self._counts.get(key)
        if counts is None:
            assert self._handle is not None
            if len(self._counts) >= _MAX_COUNTERS:
                del self._counts[next(iter(self._counts))]
            counts = self._counts[key] = MatchCounts(self._handle.cache, namespace, selector)
        return counts.refresh()

    # -- filtering ----------------------------------------------------------------------------

    def pre_filter(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> tuple[set[str] | None, Status | None]:
        """Count the pods alike by topology value; skip a pod without hard constraints."""
        constraints = self._constraints(pod, "DoNotSchedule")
        if not constraints:
            return None, fwk.SKIPPED
        per_constraint = [
            self._match_counts(pod.namespace, c.selector).by_node for c in constraints
        ]
        counts: list[dict[str, int]] = [{} for _ in constraints]
        for node in nodes:
            if not _has_labels(node.labels, constraints):
                continue
            for i, constraint in enumerate(constraints):
                if constraint.counts_node(pod, node):
                    value = node.labels[constraint.topology_key]
                    of_node = per_constraint[i][node.index]
                    counts[i][value] = counts[i].get(value, 0) + of_node
        state.data[_FILTER_STATE] = FilterState(constraints, counts)
        return None, None

    def add_pod(
        self, state: CycleState, pod: PodInfo, other: PodInfo, node: NodeInfo
    ) -> Status | None:
        """As if `other` were on `node`."""
        return self._shift(state, pod, other, node, 1)

    def remove_pod(
        self, state: CycleState, pod: PodInfo, other: PodInfo, node: NodeInfo
    ) -> Status | None:
        """As if `other` were not on `node`."""
        return self._shift(state, pod, other, node, -1)

    @staticmethod
    def _shift(
        state: CycleState, pod: PodInfo, other: PodInfo, node: NodeInfo, delta: int
    ) -> Status | None:
        counted: FilterState | None = state.data.get(_FILTER_STATE)
        if (
            counted is None
            or other.namespace != pod.namespace
            or not _has_labels(node.labels, counted.constraints)
        ):
            return None
        for i, constraint in enumerate(counted.constraints):
            if constraint.selector.matches(other.labels) and constraint.counts_node(pod, node):
                value = node.labels[constraint.topology_key]
                counted.counts[i][value] = counted.counts[i].get(value, 0) + delta
        return None

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject a node where the pod would make the skew too large."""
        counted: FilterState = state.data[_FILTER_STATE]
        for i, constraint in enumerate(counted.constraints):
            value = node.labels.get(constraint.topology_key)
            if value is None:
                return _REJECTED_LABEL
            counts = counted.counts[i]
            if len(counts) < constraint.min_domains:
                least = 0
            else:
                least = min(counts.values(), default=2**31 - 1)
            own = 1 if constraint.selector.matches(pod.labels) else 0
            if counts.get(value, 0) + own - least > constraint.max_skew:
                return _REJECTED
        return None

    # -- scoring ------------------------------------------------------------------------------

    def pre_score(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> Status | None:
        """Skip a pod without soft constraints."""
        constraints = self._constraints(pod, "ScheduleAnyway")
        if not constraints:
            return fwk.SKIPPED
        state.data[_SCORE_STATE] = constraints
        return None

    def score_nodes(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> list[int]:
        """How crowded with pods alike each node's topology values are; -1 leaves a node out."""
        constraints: tuple[Constraint, ...] = state.data[_SCORE_STATE]
        strict = not self._system_defaulted or bool(pod.spec.get("topologySpreadConstraints"))
        scored = [n for n in nodes if _has_labels(n.labels, constraints)] if strict else nodes
        columns: list[list[Any]] = []
        tables: list[dict[Any, float]] = []
        assert self._handle is not None
        cache = self._handle.cache
        for constraint in constraints:
            counts = self._match_counts(pod.namespace, constraint.selector)
            of_all, everywhere = cache.label_column(constraint.topology_key)
            values: list[Any] = column(scored, of_all)
            if constraint.topology_key == HOSTNAME:
                values, table = _by_host(
                    constraint, column(scored, counts.by_node), None if everywhere else values
                )
            else:
                demanded = constraints if strict else ()
                table = self._by_domain(constraint, counts, pod, set(values), demanded)
            if any(table.values()):
                columns.append(values)
                tables.append(table)
        rounded = _rounded_sums(columns, tables, len(scored))
        if len(scored) == len(nodes):
            return rounded
        by_name = {node.name: score for node, score in zip(scored, rounded, strict=True)}
        return [by_name.get(node.name, _INVALID) for node in nodes]

    def _by_domain(
        self,
        constraint: Constraint,
        counts: MatchCounts,
        pod: PodInfo,
        values: set[str | None],
        demanded: tuple[Constraint, ...],
    ) -> dict[Any, float]:
        """Points by topology value; none for nodes without the label."""
        assert self._handle is not None
        if values == {None}:
            return {None: 0.0}
        totals: dict[str | None, int] = dict.fromkeys(values, 0)
        weight = math.log(len(totals) + 2)
        nodes = self._handle.cache.nodes
        for index, count in counts.occupied.items():
            node = nodes[index]
            value = node.labels.get(constraint.topology_key)
            if (
                count
                and value in totals
                and _has_labels(node.labels, demanded)
                and constraint.counts_node(pod, node)
            ):
                totals[value] += count
        points: dict[Any, float] = {
            value: count * weight + constraint.max_skew - 1 for value, count in totals.items()
        }
        if None in points:
            points[None] = 0.0
        return points

    def normalize(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo], scores: Sequence[int]
    ) -> list[int]:
        """Less crowded is better."""
        valid = [score for score in scores if score != _INVALID] if _INVALID in scores else scores
        if not valid:
            return [0] * len(scores)
        least, most = min(valid), max(valid)
        if most == 0:
            points = {0: MAX_NODE_SCORE}
        else:
            points = {s: MAX_NODE_SCORE * (most + least - s) // most for s in set(valid)}
        points[_INVALID] = 0
        return [points[score] for score in scores]

    # -- events -------------------------------------------------------------------------------

    def events(self) -> list[ClusterEventWithHint]:
        """Pods alike come, go or change; nodes come, go or change."""
        pod_actions = fwk.ADD | fwk.UPDATE_POD_LABEL | fwk.DELETE
        node_actions = fwk.ADD | fwk.DELETE | fwk.UPDATE_NODE_LABEL | fwk.UPDATE_NODE_TAINT
        target_actions = fwk.UPDATE_POD_TOLERATION | fwk.UPDATE_POD_LABEL
        return [
            fwk.on(fwk.ASSIGNED_POD, pod_actions, self._pod_helps),
            fwk.on(fwk.TARGET_POD, target_actions, self._target_helps),
            fwk.on(fwk.NODE, node_actions, self._node_helps),
        ]

    def _pod_helps(self, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        for other in (old, new):
            if other is not None and not (_placed(other) and _namespace(other) == pod.namespace):
                return False
        constraints = self._constraints(pod, "DoNotSchedule")
        if old is not None and new is not None:
            return _relabelled(constraints, old, new)
        other = new if new is not None else old
        return other is not None and any(c.selector.matches(_labels(other)) for c in constraints)

    def _target_helps(self, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        if old is None or new is None:
            return True
        constraints = self._constraints(pod, "DoNotSchedule")
        if old["spec"].get("tolerations") != new["spec"].get("tolerations") and any(
            constraint.honor_taints for constraint in constraints
        ):
            return True
        return _relabelled(constraints, old, new)

    def _node_helps(self, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        constraints = self._constraints(pod, "DoNotSchedule")
        was = old is not None and _has_labels(_labels(old), constraints)
        is_now = new is not None and _has_labels(_labels(new), constraints)
        if old is None or new is None:
            return was or is_now
        if was != is_now:
            return True
        if not is_now:
            return False
        if (old.get("spec") or NOTHING).get("taints") != (new.get("spec") or NOTHING).get("taints"):
            return True
        before, after = _labels(old), _labels(new)
        return any(before.get(c.topology_key) != after.get(c.topology_key) for c in constraints)


def _by_host(
    constraint: Constraint, counts: list[int], hosts: list[str | None] | None
) -> tuple[list[Any], dict[Any, float]]:
    """Points by the count of a node; none without a host name (`hosts` None: all have one)."""
    keys: list[Any] = counts
    if hosts is not None:
        keys = [None if host is None else n for n, host in zip(counts, hosts, strict=True)]
    weight = math.log(len(keys) + 2)
    table: dict[Any, float] = {
        count: 0.0 if count is None else count * weight + constraint.max_skew - 1
        for count in set(keys)
    }
    return keys, table


def _rounded_sums(
    columns: Sequence[list[Any]], tables: Sequence[dict[Any, float]], rows: int
) -> list[int]:
    """The sum over the columns of each row's points.  Halves go up: nothing is negative."""
    if not columns:
        return [0] * rows
    if len(columns) == 1:
        points = {key: int(value + 0.5) for key, value in tables[0].items()}
        return [points[key] for key in columns[0]]
    keys = list(zip(*columns, strict=True))
    sums = {
        key: int(sum(table[part] for table, part in zip(tables, key, strict=True)) + 0.5)
        for key in set(keys)
    }
    return [sums[key] for key in keys]


def parse_constraints(
    constraints: Sequence[Object], labels: Mapping[str, str], action: str
) -> tuple[Constraint, ...]:
    """The constraints with that `whenUnsatisfiable`, for a pod of these labels."""
    parsed: list[Constraint] = []
    for constraint in constraints:
        if constraint.get("whenUnsatisfiable") != action:
            continue
        selector = label_selectors.from_label_selector(constraint.get("labelSelector"))
        keys = [k for k in constraint.get("matchLabelKeys") or () if k in labels]
        if keys:
            selector = selector.add(
                *(Requirement(k, label_selectors.EQUALS, (labels[k],)) for k in keys)
            )
        parsed.append(Constraint(
            constraint.get("maxSkew", 0),
            constraint.get("topologyKey", ""),
            selector,
            constraint.get("minDomains") or 1,
            constraint.get("nodeAffinityPolicy", "Honor") == "Honor",
            constraint.get("nodeTaintsPolicy", "Ignore") == "Honor",
        ))
    return tuple(parsed)


def _service_selector(service: Object) -> dict[str, str]:
    return (service.get("spec") or NOTHING).get("selector") or NOTHING


def _has_labels(labels: Mapping[str, str], constraints: Sequence[Constraint]) -> bool:
    return all(constraint.topology_key in labels for constraint in constraints)


def _relabelled(constraints: Sequence[Constraint], old: Object, new: Object) -> bool:
    before, after = _labels(old), _labels(new)
    return before != after and any(
        c.selector.matches(before) != c.selector.matches(after) for c in constraints
    )


def _labels(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("labels") or NO_LABELS


def _namespace(obj: Object) -> str:
    return obj["metadata"].get("namespace") or "default"


def _placed(pod: Object) -> bool:
    return bool(
        pod["spec"].get("nodeName") or (pod.get("status") or NOTHING).get("nominatedNodeName")
    )


def _controller(pod: Object) -> Object | None:
    for owner in pod["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return owner
    return None
