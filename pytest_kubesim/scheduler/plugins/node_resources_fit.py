"""NodeResourcesFit: what a pod requests must be free; the emptier node scores more.

Unless configured otherwise the strategy is LeastAllocated over cpu and memory, alike.

Follows `pkg/scheduler/framework/plugins/noderesources/{fit,least_allocated}.go`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.client_go.resources import DEVICECLASSES
from pytest_kubesim.registry.pod_template.resource_names import is_extended
from pytest_kubesim.scheduler import extended_resources as extended
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.framework import MAX_NODE_SCORE
from pytest_kubesim.scheduler.node_info import NodeInfo
from pytest_kubesim.scheduler.node_selection import NOTHING
from pytest_kubesim.scheduler.pod_info import PodInfo, pod_requests
from pytest_kubesim.scheduler.resource_scores import strategy

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.store import Store
    from pytest_kubesim.scheduler.framework import (
        ClusterEventWithHint,
        CycleState,
        Handle,
        Status,
    )
    from pytest_kubesim.scheduler.pod_info import Requests

TOO_MANY_PODS = "Too many pods"


class NodeResourcesFit:
    """The plugin.

    Parameters: `scoring_strategy` as a configuration's `scoringStrategy`; extended resources that
    the filter does not look at, by name (`ignored_resources`) and by what is before the slash
    (`ignored_resource_groups`).
    """

    name = "NodeResourcesFit"

    def __init__(
        self,
        *,
        scoring_strategy: Object | None = None,
        ignored_resources: Iterable[str] = (),
        ignored_resource_groups: Iterable[str] = (),
    ) -> None:
        self._classes: Store | None = None
        self._strategy = None if scoring_strategy is None else strategy(scoring_strategy)
        self._ignored = frozenset(ignored_resources)
        self._ignored_groups = frozenset(ignored_resource_groups)

    def attach(self, handle: Handle) -> None:
        """Learn where device classes are."""
        self._classes = handle.informers.informer(DEVICECLASSES).store

    def sign(self, pod: PodInfo) -> Any:
        """The requests decide."""
        requests = pod.requests
        return (
            requests.milli_cpu,
            requests.memory,
            requests.ephemeral,
            tuple(requests.scalars.items()),
            pod.non_zero_cpu,
            pod.non_zero_memory,
        )

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject a node on which something is not free in the amount requested."""
        requests = pod.requests
        if (
            not requests.scalars
            and not requests.ephemeral
            and len(node.pods) < node.allowed_pods
            and requests.milli_cpu <= node.cpu - node.requested_cpu
            and requests.memory <= node.memory - node.requested_memory
        ):
            return None
        if requests.scalars and (self._ignored or self._ignored_groups):
            requests = attrs.evolve(requests, scalars={
                name: value for name, value in requests.scalars.items() if not self._ignores(name)
            })
        return _why_not(requests, node, state.data.get(extended.DELEGATED) or _NONE)

    def _ignores(self, name: str) -> bool:
        if not is_extended(name):
            return False
        return name in self._ignored or name.partition("/")[0] in self._ignored_groups

    def score(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> int:
        """The mean of the free shares of cpu and memory, after the pod, or as configured."""
        if self._strategy is not None:
            return self._strategy(pod, node)
        total = weights = 0
        if node.cpu:
            weights = 1
            free = node.cpu - node.non_zero_cpu - pod.non_zero_cpu
            if free > 0:
                total = free * MAX_NODE_SCORE // node.cpu
        if node.memory:
            weights += 1
            free = node.memory - node.non_zero_memory - pod.non_zero_memory
            if free > 0:
                total += free * MAX_NODE_SCORE // node.memory
        return total // weights if weights else 0

    def events(self) -> list[ClusterEventWithHint]:
        """Something becomes free: a pod goes or shrinks, a node comes or grows."""
        return [
            fwk.on(fwk.ASSIGNED_POD, fwk.DELETE, self._deletion_helps),
            fwk.on(fwk.NODE, fwk.ADD | fwk.UPDATE_NODE_ALLOCATABLE, self._node_helps),
            fwk.on(fwk.ASSIGNED_POD, fwk.UPDATE_POD_SCALE_DOWN, self._scale_down_helps),
            fwk.on(fwk.TARGET_POD, fwk.UPDATE_POD_SCALE_DOWN),
            fwk.on(fwk.DEVICE_CLASS, fwk.ADD | fwk.UPDATE, self._class_helps),
        ]

    @staticmethod
    def _deletion_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del pod, new
        return old is not None and bool(
            old["spec"].get("nodeName") or (old.get("status") or NOTHING).get("nominatedNodeName")
        )

    def _node_helps(self, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        if new is None:
            return False
        node = NodeInfo(new["metadata"]["name"], new)
        of_devices = _NONE
        if pod.requests.scalars and self._classes is not None:
            of_devices = extended.delegated(
                pod, extended.classes_by_resource(self._classes.list())
            )
        if _why_not(pod.requests, node, of_devices) is not None:
            return False
        return old is None or _grown(pod.requests, NodeInfo(node.name, old), node)

    @staticmethod
    def _class_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        """Devices stand for a resource of the pod from now on."""
        if new is None:
            return False
        explicit = new["spec"].get("extendedResourceName")
        if old is not None and old["spec"].get("extendedResourceName") == explicit:
            return False
        implicit = extended.CLASS_PREFIX + new["metadata"]["name"]
        scalars = pod.requests.scalars
        return explicit in scalars or (old is None and implicit in scalars)

    @staticmethod
    def _scale_down_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        if old is None or new is None or not new["spec"].get("nodeName"):
            return False
        wanted, before, after = pod.requests, pod_requests(old), pod_requests(new)
        return bool(
            (wanted.milli_cpu and before.milli_cpu > after.milli_cpu)
            or (wanted.memory and before.memory > after.memory)
            or (wanted.ephemeral and before.ephemeral > after.ephemeral)
            or any(
                value and before.scalars.get(name, 0) > after.scalars.get(name, 0)
                for name, value in wanted.scalars.items()
            )
        )


_NONE: frozenset[str] = frozenset()


def _why_not(requests: Requests, node: NodeInfo, of_devices: frozenset[str]) -> Status | None:
    """What is not free; a node need not have of itself what devices stand for."""
    reasons: list[str] = []
    code = fwk.UNSCHEDULABLE
    if len(node.pods) + 1 > node.allowed_pods:
        reasons.append(TOO_MANY_PODS)
    amounts = [
        ("cpu", requests.milli_cpu, node.cpu, node.requested_cpu),
        ("memory", requests.memory, node.memory, node.requested_memory),
        ("ephemeral-storage", requests.ephemeral, node.ephemeral, node.requested_ephemeral),
    ]
    for name, value in requests.scalars.items():
        have, used = node.scalars.get(name, 0), node.requested_scalars.get(name, 0)
        if not have and name in of_devices:
            continue
        amounts.append((name, value, have, used))
    for name, wanted, capacity, used in amounts:
        if wanted > 0 and wanted > capacity - used:
            reasons.append(f"Insufficient {name}")
            if wanted > capacity:
                code = fwk.UNSCHEDULABLE_AND_UNRESOLVABLE
    return fwk.Status(code, tuple(reasons)) if reasons else None


def _grown(requests: Requests, old: NodeInfo, new: NodeInfo) -> bool:
    return bool(
        new.allowed_pods > old.allowed_pods
        or (requests.milli_cpu and new.cpu > old.cpu)
        or (requests.memory and new.memory > old.memory)
        or (requests.ephemeral and new.ephemeral > old.ephemeral)
        or any(
            value and new.scalars.get(name, 0) > old.scalars.get(name, 0)
            for name, value in requests.scalars.items()
        )
    )
