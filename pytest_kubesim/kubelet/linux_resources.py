"""From what pods were allocated to the settings of cgroups.

The law: nothing is kept; what is asked follows from the pod as its kubelet last saw it and from the
resources that a container has by now.

Follows `pkg/kubelet/kuberuntime/kuberuntime_container_linux.go`, `ResourceConfigForPod`
(`pkg/kubelet/cm/helpers_linux.go`) and `pkg/kubelet/qos/policy.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.cri import cgroups
from pytest_kubesim.cri.cgroup_files import MAX_SHARES, MAX_WEIGHT, MIN_SHARES, weight_of
from pytest_kubesim.cri.cgroups import DEFAULT_PERIOD, Machine, Settings
from pytest_kubesim.kubelet.host import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.kubelet.config import NodeSpec

MIN_QUOTA = 1000
GUARANTEED_SCORE, BEST_EFFORT_SCORE = -997, 1000
NODE_CRITICAL = "system-node-critical"
_HUGE_PAGES = "hugepages-"
_PAGE_NAMES = {"1Gi": "1GB", "2Mi": "2MB"}


def shares_of(milli: int) -> int:
    """CPU shares of a request in thousandths of a core (`MilliCPUToShares`)."""
    return min(MAX_SHARES, max(MIN_SHARES, milli * 1024 // 1000))


def quota_of(milli: int) -> int | None:
    """The quota in microseconds of a period, None where there is no limit (`MilliCPUToQuota`)."""
    return max(MIN_QUOTA, milli * DEFAULT_PERIOD // 1000) if milli else None


def of_container(node: NodeSpec, run: Container) -> Settings:
    """The settings of a container's cgroup."""
    pod: Object = run.sandbox.pod or NOTHING
    spec: Object = pod.get("spec") or NOTHING
    own = run.config.resources
    limits: Mapping[str, str] = own.get("limits") or NOTHING
    outer: Mapping[str, str] = run.config.pod_resources.get("limits") or NOTHING
    limit = _units("cpu", limits) or _units("cpu", outer)
    requests: Mapping[str, str] = own.get("requests") or NOTHING
    request = _units("cpu", requests) if "cpu" in requests else limit
    container = next((c for c in _all(spec) if c["name"] == run.name), None)
    score = 0
    if container is not None:
        score = oom_score_adj(pod, container, quantity.value(node.memory))
    return Settings(
        cpu_weight=weight_of(shares_of(request)),
        cpu_quota=quota_of(limit),
        memory_limit=(_units("memory", limits) or _units("memory", outer)) or None,
        oom_score_adj=score,
        hugepages=_huge_pages({**outer, **limits}),
        machine=machine(node),
    )


def of_pod(node: NodeSpec, pod: Object) -> Settings:
    """The settings of a pod's cgroup, which the kubelet makes itself."""
    spec = pod["spec"]
    quality = cgroups.qos_class(pod)
    requests, limits = cgroups.pod_requests(pod), cgroups.pod_limits(pod)
    outer: Object = (spec.get("resources") or NOTHING).get("limits") or NOTHING
    declared = {
        name: bool(_units(name, outer)) or all(
            _units(name, (container.get("resources") or NOTHING).get("limits") or NOTHING)
            for container in (*spec["containers"], *(spec.get("initContainers") or ()))
        )
        for name in ("cpu", "memory")
    }
    shares = MIN_SHARES if quality == "BestEffort" else shares_of(_units("cpu", requests))
    capped = quality == "Guaranteed"
    burstable = quality == "Burstable"
    quota = capped or (burstable and declared["cpu"])
    memory = capped or (burstable and declared["memory"])
    return Settings(
        cpu_weight=pod_weight(shares),
        cpu_quota=quota_of(_units("cpu", limits)) if quota else None,
        memory_limit=_units("memory", limits) or None if memory else None,
        hugepages=_huge_pages(requests),
        confined=False,
        machine=machine(node),
    )


def of_quality(node: NodeSpec, kind: str, pods: Iterable[Object]) -> Settings:
    """The settings of the cgroup of all pods of a quality of service (`setCPUCgroupConfig`)."""
    milli = 0
    if kind == "Burstable":
        milli = sum(_units("cpu", cgroups.pod_requests(pod)) for pod in pods)
    return Settings(cpu_weight=pod_weight(shares_of(milli)), confined=False, machine=machine(node))


def of_all(node: NodeSpec) -> Settings:
    """The settings of the cgroup of all pods: all that the node has."""
    return Settings(
        cpu_weight=pod_weight(shares_of(quantity.milli_value(node.cpu))),
        memory_limit=quantity.value(node.memory),
        confined=False,
        machine=machine(node),
    )


def machine(node: NodeSpec) -> Machine:
    """What the node has."""
    return Machine(-(-quantity.milli_value(node.cpu) // 1000), quantity.value(node.memory))


def pod_weight(shares: int) -> int:
    """The weight of a pod: a straight line, unlike that of its containers (`getCPUWeight`)."""
    if shares >= MAX_SHARES:
        return MAX_WEIGHT
    return 1 + (shares - MIN_SHARES) * (MAX_WEIGHT - 1) // (MAX_SHARES - MIN_SHARES)


def oom_score_adj(pod: Object, container: Object, memory: int) -> int:
    """By how much processes of a container are rather killed, on a machine of so many bytes."""
    spec = pod["spec"]
    if spec.get("priorityClassName") == NODE_CRITICAL:
        return GUARANTEED_SCORE
    quality = cgroups.qos_class(pod)
    if quality == "Guaranteed":
        return GUARANTEED_SCORE
    if quality == "BestEffort":
        return BEST_EFFORT_SCORE
    share = _unallocated_share(spec)
    score = 1000 - 1000 * (_memory_request(container) + share) // memory
    if container.get("restartPolicy") == "Always" and container in (
        spec.get("initContainers") or ()
    ):
        least = min(_memory_request(each) for each in spec["containers"])
        score = min(score, 1000 - 1000 * (least + share) // memory)
    if score < 1000 + GUARANTEED_SCORE:
        return 1000 + GUARANTEED_SCORE
    return score - 1 if score == BEST_EFFORT_SCORE else score


def _unallocated_share(spec: Object) -> int:
    """What the pod asks for beyond its containers, divided among them."""
    outer: Object = (spec.get("resources") or NOTHING).get("requests") or NOTHING
    asked = _units("memory", outer)
    if not asked:
        return 0
    inner = {key: value for key, value in spec.items() if key not in ("resources", "overhead")}
    given = _units("memory", cgroups.pod_requests({"spec": inner}))
    count = len(spec["containers"]) + len(spec.get("initContainers") or ())
    return max(0, asked - given) // count


def _memory_request(container: Object) -> int:
    return _units("memory", (container.get("resources") or NOTHING).get("requests") or NOTHING)


def _units(name: str, amounts: Mapping[str, Any]) -> int:
    amount = amounts.get(name)
    return cgroups.units(name, amount) if amount else 0


def _huge_pages(amounts: Mapping[str, str]) -> dict[str, int]:
    return {
        _PAGE_NAMES.get(size, size): quantity.value(amount)
        for name, amount in amounts.items()
        if name.startswith(_HUGE_PAGES) and (size := name.removeprefix(_HUGE_PAGES))
    }


def _all(spec: Object) -> Iterator[Object]:
    for field in ("containers", "initContainers", "ephemeralContainers"):
        yield from spec.get(field) or ()
