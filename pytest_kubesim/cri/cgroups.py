"""What pods ask for and what containers use, in numbers.

Requests and limits follow `component-helpers/resource/helpers.go`: containers add up, sidecars add
to what starts after them, an ordinary init container counts alone, pod-level cpu and memory
replace the sum, overhead comes on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.container import Container

_NOTHING: dict[str, Any] = {}

_POD_LEVEL = ("cpu", "memory")

IDLE_CPU_MILLI, IDLE_MEMORY = 1, 8 * 1024 * 1024
"""What a container uses whose program does not say: a thousandth of a core, 8 MiB."""


DEFAULT_WEIGHT, DEFAULT_PERIOD = 100, 100_000
"""What the kernel begins with: a cgroup's weight, and the period of its quota in microseconds."""


@attrs.frozen(slots=True)
class Machine:
    """What is there to be divided: processors, and bytes of memory."""

    cpus: int = 4
    memory: int = 16 << 30


@attrs.frozen(slots=True, kw_only=True)
class Settings:
    """What a kubelet wants of a cgroup (`LinuxContainerResources` of the CRI), and its machine.

    Parameters: `cpu_weight`; `cpu_quota` and `cpu_period` in microseconds, no quota is None;
    `memory_limit` in bytes or None; `oom_score_adj` of its processes; `hugepages`, bytes by the
    size of the page (`2MB`); `confined`, whether it is kept from swapping and dies as a whole when
    one of it is killed for want of memory, as containers do and pods do not; the `machine`.
    """

    cpu_weight: int = DEFAULT_WEIGHT
    cpu_quota: int | None = None
    cpu_period: int = DEFAULT_PERIOD
    memory_limit: int | None = None
    oom_score_adj: int = 0
    hugepages: Mapping[str, int] = attrs.field(factory=dict[str, int])
    confined: bool = True
    machine: Machine = attrs.field(factory=Machine)


def pod_requests(pod: Object) -> dict[str, str]:
    """The pod's effective requests as quantities."""
    return _aggregate(pod["spec"], "requests", overhead=True)


def pod_limits(pod: Object) -> dict[str, str]:
    """The pod's effective limits as quantities."""
    spec = pod["spec"]
    limits = _aggregate(spec, "limits", overhead=False)
    for name, amount in (spec.get("overhead") or _NOTHING).items():
        if name in limits:
            limits[name] = quantity.add(limits[name], amount)
    return limits


def _aggregate(spec: Object, field: str, *, overhead: bool) -> dict[str, str]:
    containers, inits = spec["containers"], spec.get("initContainers") or ()
    own = (spec.get("resources") or _NOTHING).get(field) or _NOTHING
    extra = (spec.get("overhead") or _NOTHING) if overhead else {}
    if len(containers) == 1 and not inits and not own and not extra:
        # By far the most common pod: nothing to add up.
        return dict((containers[0].get("resources") or _NOTHING).get(field) or _NOTHING)
    total: dict[str, str] = {}
    for container in containers:
        _add(total, _of(container, field))
    sidecars: dict[str, str] = {}
    highest: dict[str, str] = {}
    for container in inits:
        wanted = _of(container, field)
        if container.get("restartPolicy") == "Always":
            _add(total, wanted)
            _add(sidecars, wanted)
            wanted = sidecars
        else:
            wanted = dict(wanted)
            _add(wanted, sidecars)
        for name, amount in wanted.items():
            highest[name] = quantity.maximum(highest.get(name, "0"), amount)
    for name, amount in highest.items():
        total[name] = quantity.maximum(total.get(name, "0"), amount)
    total.update({
        name: amount
        for name, amount in own.items()
        if name in _POD_LEVEL or name.startswith("hugepages-")
    })
    _add(total, extra)
    return total


def _of(container: Object, field: str) -> dict[str, str]:
    return (container.get("resources") or _NOTHING).get(field) or _NOTHING


def _add(total: dict[str, str], more: dict[str, str]) -> None:
    for name, amount in more.items():
        total[name] = quantity.add(total[name], amount) if name in total else amount


def units(name: str, amount: str) -> int:
    """An amount as the scheduler counts it: thousandths of cpu, whole units of the rest."""
    return quantity.milli_value(amount) if name == "cpu" else quantity.value(amount)


def cores_of(amount: float | str) -> float:
    """Cores, from a number or a quantity (`"300m"`)."""
    return quantity.milli_value(amount) / 1000 if isinstance(amount, str) else amount


def bytes_of(amount: int | str) -> int:
    """Bytes, from a number or a quantity (`"100Mi"`)."""
    return quantity.value(amount) if isinstance(amount, str) else amount


def usage(containers: Iterable[Container]) -> dict[str, Any]:
    """What running containers use now: `{"cpu_milli": ..., "memory": ...}`."""
    cpu, memory = 0, 0
    for container in containers:
        program = container.program
        cores = program.cpu() if callable(program.cpu) else program.cpu
        size = program.memory() if callable(program.memory) else program.memory
        cpu += IDLE_CPU_MILLI if cores is None else round(cores_of(cores) * 1000)
        memory += IDLE_MEMORY if size is None else bytes_of(size)
        if container.used_cpu_milli:
            cpu += _throttled(container)
        memory += container.used_memory
    return {"cpu_milli": cpu, "memory": memory}


def _throttled(container: Container) -> int:
    """What its processes get of the cpu that they would use."""
    limits = container.config.resources.get("limits") or _NOTHING
    limit = limits.get("cpu")
    wanted = container.used_cpu_milli
    return min(wanted, units("cpu", limit)) if limit else wanted


_BURSTABLE, _GUARANTEED, _BEST_EFFORT = "Burstable", "Guaranteed", "BestEffort"


def qos_class(pod: Object) -> str:
    """The pod's quality of service, as the API server found it or computed."""
    known = (pod.get("status") or _NOTHING).get("qosClass")
    if known:
        return known
    spec = pod["spec"]
    parts = [spec] if (spec.get("resources") or _NOTHING) else [
        *spec["containers"], *(spec.get("initContainers") or ())
    ]
    any_set, guaranteed = False, True
    for part in parts:
        resources = part.get("resources") or _NOTHING
        requests: dict[str, str] = resources.get("requests") or _NOTHING
        limits: dict[str, str] = resources.get("limits") or _NOTHING
        for name in _POD_LEVEL:
            request, limit = requests.get(name), limits.get(name)
            wanted = request or limit
            if wanted and not quantity.is_zero(wanted):
                any_set = True
            if not limit or (request and quantity.cmp(request, limit) != 0):
                guaranteed = False
    if not any_set:
        return _BEST_EFFORT
    return _GUARANTEED if guaranteed else _BURSTABLE
