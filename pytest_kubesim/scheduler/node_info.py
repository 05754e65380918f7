"""A node and the pods on it, summed up in integers.

The law: the sums are always those of `pods`.  A NodeInfo belongs to the cache, which notes every
change of it; "what if" works on a `clone`.

Follows `NodeInfo` in `pkg/scheduler/framework/types.go`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.scheduler.node_selection import DO_NOT_SCHEDULE, NOTHING
from pytest_kubesim.scheduler.pod_info import ANY_IP, NO_LABELS, PodInfo, is_native_scalar

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.pod_info import HostPort


class NodeInfo:
    """A node (or, before it is known, only the pods that are said to be on it)."""

    __slots__ = (
        "allowed_pods",
        "cpu",
        "ephemeral",
        "images",
        "index",
        "labels",
        "memory",
        "name",
        "node",
        "non_zero_cpu",
        "non_zero_memory",
        "pods",
        "pods_with_affinity",
        "pods_with_anti_affinity",
        "ports",
        "prefer_no_schedule_taints",
        "requested_cpu",
        "requested_ephemeral",
        "requested_memory",
        "requested_scalars",
        "scalars",
        "taints",
        "unschedulable",
    )

    def __init__(self, name: str, node: Object | None = None, pods: Iterable[PodInfo] = ()) -> None:
        self.name = name
        self.index = -1
        """Its place in the cache's order of nodes."""
        self.pods: dict[str, PodInfo] = {}
        self.pods_with_affinity: dict[str, PodInfo] = {}
        self.pods_with_anti_affinity: dict[str, PodInfo] = {}
        self.ports: dict[HostPort, int] = {}
        self.requested_cpu = self.requested_memory = self.requested_ephemeral = 0
        self.requested_scalars: dict[str, int] = {}
        self.non_zero_cpu = self.non_zero_memory = 0
        self.set_node(node)
        for pod in pods:
            self.add_pod(pod)

    def set_node(self, node: Object | None) -> None:
        """Take over what `node` says (None: it is not known any more)."""
        self.node = node
        spec: Object = (node or NOTHING).get("spec") or NOTHING
        status: Object = (node or NOTHING).get("status") or NOTHING
        self.labels: dict[str, str] = (node or {"metadata": {}})["metadata"].get("labels") or (
            NO_LABELS
        )
        taints: list[Object] = spec.get("taints") or []
        self.taints = [t for t in taints if t.get("effect") in DO_NOT_SCHEDULE]
        self.prefer_no_schedule_taints = [
            t for t in taints if t.get("effect") == "PreferNoSchedule"
        ]
        self.unschedulable = bool(spec.get("unschedulable"))
        allocatable: dict[str, str] = status.get("allocatable") or NOTHING
        self.cpu = quantity.milli_value(allocatable.get("cpu", 0))
        self.memory = quantity.value(allocatable.get("memory", 0))
        self.ephemeral = quantity.value(allocatable.get("ephemeral-storage", 0))
        self.allowed_pods = quantity.value(allocatable.get("pods", 0))
        self.scalars = {
            k: quantity.value(v) for k, v in allocatable.items() if is_native_scalar(k)
        }
        self.images: dict[str, int] = {
            name: image.get("sizeBytes", 0)
            for image in status.get("images") or ()
            for name in image.get("names") or ()
        }

    def add_pod(self, pod: PodInfo) -> None:
        """`pod` is on it."""
        uid = pod.uid
        self.pods[uid] = pod
        if pod.has_affinity:
            self.pods_with_affinity[uid] = pod
            if pod.anti_affinity_terms:
                self.pods_with_anti_affinity[uid] = pod
        requests = pod.requests
        self.requested_cpu += requests.milli_cpu
        self.requested_memory += requests.memory
        self.requested_ephemeral += requests.ephemeral
        self.non_zero_cpu += pod.non_zero_cpu
        self.non_zero_memory += pod.non_zero_memory
        if requests.scalars:
            for name, value in requests.scalars.items():
                self.requested_scalars[name] = self.requested_scalars.get(name, 0) + value
        for port in pod.host_ports:
            self.ports[port] = self.ports.get(port, 0) + 1

    def remove_pod(self, uid: str) -> PodInfo | None:
        """The pod of that uid is not on it any more; gives what was there."""
        pod = self.pods.pop(uid, None)
        if pod is None:
            return None
        self.pods_with_affinity.pop(uid, None)
        self.pods_with_anti_affinity.pop(uid, None)
        requests = pod.requests
        self.requested_cpu -= requests.milli_cpu
        self.requested_memory -= requests.memory
        self.requested_ephemeral -= requests.ephemeral
        self.non_zero_cpu -= pod.non_zero_cpu
        self.non_zero_memory -= pod.non_zero_memory
        for name, value in requests.scalars.items():
            self.requested_scalars[name] = self.requested_scalars.get(name, 0) - value
        for port in pod.host_ports:
            left = self.ports.get(port, 0) - 1
            if left > 0:
                self.ports[port] = left
            else:
                self.ports.pop(port, None)
        return pod

    def clone(self) -> NodeInfo:
        """A copy to try things out on."""
        copy = object.__new__(NodeInfo)
        for slot in _SLOTS:
            setattr(copy, slot, getattr(self, slot))
        copy.pods = dict(self.pods)
        copy.pods_with_affinity = dict(self.pods_with_affinity)
        copy.pods_with_anti_affinity = dict(self.pods_with_anti_affinity)
        copy.ports = dict(self.ports)
        copy.requested_scalars = dict(self.requested_scalars)
        return copy

    def port_conflict(self, ports: Iterable[HostPort]) -> bool:
        """Whether one of `ports` is taken; the address 0.0.0.0 stands for all."""
        return ports_conflict(ports, self.ports)


_SLOTS = NodeInfo.__slots__


def ports_conflict(wanted: Iterable[HostPort], taken: Iterable[HostPort]) -> bool:
    """Whether one of `wanted` clashes with one of `taken` (`HostPortInfo.CheckConflict`)."""
    for address, protocol, number in wanted:
        for other_address, other_protocol, other_number in taken:
            if (
                number == other_number
                and protocol == other_protocol
                and (ANY_IP in (address, other_address) or address == other_address)
            ):
                return True
    return False
