"""What a node and its pods use now, as its kubelet measures it.

The law: a container uses what its program says (a number, or a callable asked at each look), the
node what its containers use and what the system itself takes.

Follows `pkg/kubelet/server/stats` and `pkg/kubelet/metrics/collectors/resource_metrics.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.cri import cgroups
from pytest_kubesim.cri.container import RUNNING
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.kubelet.kubelet import ActiveKubelet

SYSTEM_CPU_MILLI, SYSTEM_MEMORY = 50, 300 * 1024 * 1024
"""What kubelet, runtime and the operating system take."""


@attrs.frozen(slots=True)
class ContainerUsage:
    """One running container: cpu in thousandths, memory in bytes."""

    name: str
    started_ns: int
    cpu_milli: int
    memory: int

    def cpu_ns(self, now_ns: int) -> int:
        """Core nanoseconds since it started, as if it had always used so much."""
        return (now_ns - self.started_ns) * self.cpu_milli // 1000


@attrs.frozen(slots=True)
class PodUsage:
    """One pod."""

    pod: Object
    containers: tuple[ContainerUsage, ...]


@attrs.frozen(slots=True)
class NodeUsage:
    """One node; `memory_total` is what it has."""

    name: str
    started_ns: int
    now_ns: int
    memory_total: int
    pods: tuple[PodUsage, ...]

    @property
    def cpu_milli(self) -> int:
        """What all of it uses."""
        return SYSTEM_CPU_MILLI + sum(c.cpu_milli for pod in self.pods for c in pod.containers)

    @property
    def memory(self) -> int:
        """The working set of all of it."""
        return SYSTEM_MEMORY + sum(c.memory for pod in self.pods for c in pod.containers)

    @property
    def cpu_ns(self) -> int:
        """Core nanoseconds since the start."""
        system = (self.now_ns - self.started_ns) * SYSTEM_CPU_MILLI // 1000
        return system + sum(c.cpu_ns(self.now_ns) for pod in self.pods for c in pod.containers)


def of_container(container: Container) -> ContainerUsage:
    """What a running container uses."""
    used = cgroups.usage([container])
    return ContainerUsage(
        container.name, container.started_ns or 0, used["cpu_milli"], used["memory"]
    )


def of_node(kubelet: ActiveKubelet) -> NodeUsage:
    """What a node uses."""
    host = kubelet.host
    pods: list[PodUsage] = []
    for pod in kubelet.workers.unfinished_pods():
        state = host.runtime.pod_state(pod["metadata"]["uid"])
        running = [c for c in state.containers if c.state == RUNNING]
        if running:
            order = sorted(running, key=lambda c: c.name)
            pods.append(PodUsage(pod, tuple(map(of_container, order))))
    return NodeUsage(
        host.node.name, host.start_ns, host.now_ns(), quantity.value(host.node.memory),
        tuple(pods),
    )


def available(node: NodeUsage) -> int:
    """Memory that is left, in bytes."""
    return max(0, node.memory_total - node.memory)


def seconds(time_ns: int) -> str:
    """A time in seconds as Prometheus' text format writes it."""
    return format(time_ns / NS, ".9g")
