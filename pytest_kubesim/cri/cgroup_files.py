"""What a cgroup's folder shows: the files of the unified hierarchy (cgroup v2).

The law: a file is made up when it is read, from what the kubelet wants of the cgroup at that
moment, so that a resize is seen at once.  Limits of memory are whole pages, as the kernel keeps
them.

Follows `Documentation/admin-guide/cgroup-v2.rst` of Linux and, for what a runtime writes,
`fs2/{cpu,memory}.go` and `utils.go` of `github.com/opencontainers/cgroups@v0.0.7`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pytest_kubesim.cri import cgroups
from pytest_kubesim.cri.cgroups import DEFAULT_WEIGHT, Settings
from pytest_kubesim.cri.container import RUNNING
from pytest_kubesim.cri.linux import files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.cri.linux.files import Node

MIN_SHARES, MAX_SHARES, MAX_WEIGHT = 2, 262_144, 10_000
PAGE = 4096
CONTROLLERS = "cpuset cpu io memory hugetlb pids rdma misc"

_NICE_WEIGHTS = (
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904,
    3906, 3121, 2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87,
    70, 56, 45, 36, 29, 23, 18, 15,
)
"""`sched_prio_to_weight` of the kernel, from -20 to 19."""


def weight_of(shares: int) -> int:
    """The weight that a runtime gives for shares (`ConvertCPUSharesToCgroupV2Value`)."""
    if shares <= MIN_SHARES:
        return 1
    if shares >= MAX_SHARES:
        return MAX_WEIGHT
    exponent = math.log2(shares)
    return math.ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def cpus_text(count: int) -> str:
    """The processors of a machine as a list: `0-3`."""
    return "0" if count <= 1 else f"0-{count - 1}"


def entries(
    settings: Callable[[], Settings],
    containers: Callable[[], Sequence[Container]],
    *,
    leaf: bool = True,
) -> dict[str, Node]:
    """The files of a cgroup.

    Parameters: `settings`, gives what is wanted of it; `containers`, those that are in it or below;
    `leaf`, whether its processes are in it, not below it.
    """
    found: dict[str, Node] = {}

    def put(name: str, mode: int, text: Callable[[Settings], str]) -> None:
        found[name] = files.regular(partial(_line, lambda: text(settings())), mode)

    def fixed(name: str, mode: int, text: str) -> None:
        found[name] = files.regular(partial(_fixed_line, text), mode)

    def measured(name: str, text: Callable[[], str]) -> None:
        found[name] = files.regular(partial(_line, text), 0o444)

    for name, mode, text in _FIXED:
        fixed(name, mode, text)
    fixed("cgroup.subtree_control", 0o644, "" if leaf else CONTROLLERS)
    found["cgroup.procs"] = files.regular(
        lambda: "".join(f"{pid}\n" for pid in _pids(containers())).encode() if leaf else b"", 0o644
    )
    found["cgroup.threads"] = found["cgroup.procs"]
    measured("cgroup.events", lambda: f"populated {int(bool(_running(containers())))}\nfrozen 0")
    put("cpu.max", 0o644, lambda s: f"{_or_max(s.cpu_quota)} {s.cpu_period}")
    put("cpu.weight", 0o644, lambda s: str(s.cpu_weight))
    put("cpu.weight.nice", 0o644, lambda s: str(nice_of(s.cpu_weight)))
    put("cpuset.cpus.effective", 0o444, lambda s: cpus_text(s.machine.cpus))
    put("memory.max", 0o644, lambda s: _or_max(_pages(s.memory_limit)))
    put("memory.swap.max", 0o644, lambda s: "0" if s.confined else "max")
    put("memory.oom.group", 0o644, lambda s: str(int(s.confined)))
    measured("cpu.stat", lambda: _cpu_stat(containers()))
    for name in ("memory.current", "memory.peak"):
        measured(name, lambda: str(_pages(_memory(containers()))))
    measured("memory.stat", lambda: _memory_stat(containers()))
    measured("pids.current", lambda: str(sum(1 for _ in _pids(containers()))))
    for size in ("1GB", "2MB"):
        put(f"hugetlb.{size}.max", 0o644, lambda s, size=size: str(s.hugepages.get(size, 0)))
        fixed(f"hugetlb.{size}.current", 0o444, "0")
    return {name: found[name] for name in sorted(found)}


def _line(text: Callable[[], str]) -> bytes:
    return f"{text()}\n".encode()


def _fixed_line(text: str) -> bytes:
    return f"{text}\n".encode() if text else b""


_FIXED = (
    ("cgroup.controllers", 0o444, CONTROLLERS),
    ("cgroup.freeze", 0o644, "0"),
    ("cgroup.max.depth", 0o644, "max"),
    ("cgroup.max.descendants", 0o644, "max"),
    ("cgroup.stat", 0o444, "nr_descendants 0\nnr_dying_descendants 0"),
    ("cgroup.type", 0o644, "domain"),
    ("cpu.idle", 0o644, "0"),
    ("cpu.max.burst", 0o644, "0"),
    ("cpuset.cpus", 0o644, ""),
    ("cpuset.cpus.partition", 0o644, "member"),
    ("cpuset.mems", 0o644, ""),
    ("cpuset.mems.effective", 0o444, "0"),
    ("io.stat", 0o444, ""),
    ("memory.events", 0o444, "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0"),
    ("memory.high", 0o644, "max"),
    ("memory.low", 0o644, "0"),
    ("memory.min", 0o644, "0"),
    ("memory.swap.current", 0o444, "0"),
    ("memory.swap.events", 0o444, "high 0\nmax 0\nfail 0"),
    ("memory.swap.high", 0o644, "max"),
    ("pids.events", 0o444, "max 0"),
    ("pids.max", 0o644, "max"),
)


def nice_of(weight: int) -> int:
    """The nice value whose weight is nearest (`cpu_weight_nice_read_s64`)."""
    scaled = (weight * 1024 + DEFAULT_WEIGHT // 2) // DEFAULT_WEIGHT
    last = math.inf
    for place, nice_weight in enumerate(_NICE_WEIGHTS):
        delta = abs(nice_weight - scaled)
        if delta >= last:
            return place - 1 - 20
        last = delta
    return 19


def _or_max(amount: int | None) -> str:
    return "max" if amount is None else str(amount)


def _pages(amount: int | None) -> int | None:
    return None if amount is None else amount // PAGE * PAGE


def _running(containers: Sequence[Container]) -> list[Container]:
    return [container for container in containers if container.state == RUNNING]


def _pids(containers: Sequence[Container]) -> list[int]:
    return [
        pid
        for container in _running(containers)
        for pid in (sorted(container.system.processes) if container.system is not None else (1,))
    ]


def _memory(containers: Sequence[Container]) -> int:
    return cgroups.usage(_running(containers))["memory"]


def _memory_stat(containers: Sequence[Container]) -> str:
    used = _pages(_memory(containers))
    return (
        f"anon {used}\nfile 0\nkernel 0\nkernel_stack 0\npagetables 0\nsock 0\nshmem 0\n"
        f"file_mapped 0\nfile_dirty 0\nfile_writeback 0\ninactive_anon {used}\nactive_anon 0\n"
        "inactive_file 0\nactive_file 0\nunevictable 0\nslab 0\npgfault 0\npgmajfault 0"
    )


def _cpu_stat(containers: Sequence[Container]) -> str:
    used = sum(
        (each.now_ns() - (each.started_ns or 0)) // 1000
        * cgroups.usage([each])["cpu_milli"] // 1000
        for each in _running(containers)
    )
    return (
        f"usage_usec {used}\nuser_usec {used}\nsystem_usec 0\nnice_usec 0\n"
        "core_sched.force_idle_usec 0\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n"
        "nr_bursts 0\nburst_usec 0"
    )
