"""The lanes of the timeline: one for each actor, in the order in which a person looks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster

GROUPS = (
    "test and operators", "API servers", "etcd", "controllers", "scheduler", "nodes", "others",
    "pods",
)
_TEST, _API, _ETCD, _CONTROLLERS, _SCHEDULER, _NODES, _OTHERS, PODS = GROUPS

_PREFIXES = (
    ("kube-apiserver", _API),
    ("etcd", _ETCD),
    ("kube-controller-manager", _CONTROLLERS),
    ("kube-scheduler", _SCHEDULER),
)


@attrs.frozen(slots=True)
class Lane:
    """A row of the timeline."""

    name: str
    group: str


class Lanes:
    """Which actor is on which lane."""

    def __init__(self, cluster: Cluster) -> None:
        self._mine = {"test", *(operator.name for operator in cluster.operators)}
        self._nodes = set(cluster.nodes)
        self._lanes: dict[Lane, None] = {}

    def of(self, actor: str) -> Lane:
        """The lane of an actor: what belongs to a node is on the node's."""
        return self._keep(Lane(*self._place(actor)))

    def of_pod(self, namespace: str, name: str) -> Lane:
        """The lane of a pod."""
        return self._keep(Lane(f"{namespace}/{name}", PODS))

    def in_order(self) -> list[Lane]:
        """All lanes that were asked for: by group, in a group by name (pods: as they came)."""
        return sorted(
            self._lanes,
            key=lambda lane: (GROUPS.index(lane.group), "" if lane.group == PODS else lane.name),
        )

    def _place(self, actor: str) -> tuple[str, str]:
        if actor in self._mine:
            return actor, _TEST
        host = actor.rpartition("@")[2]
        if host in self._nodes or actor in self._nodes:
            return host, _NODES
        for prefix, group in _PREFIXES:
            if actor.startswith(prefix):
                return actor, group
        if actor.endswith("-controller"):
            return actor, _CONTROLLERS
        return actor or "somebody", _OTHERS

    def _keep(self, lane: Lane) -> Lane:
        self._lanes.setdefault(lane)
        return lane
