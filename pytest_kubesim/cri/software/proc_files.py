"""`/proc` and `/sys` of a container: what the kernel makes up when it is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pytest_kubesim.cri import cgroup_files
from pytest_kubesim.cri.cgroup_files import cpus_text
from pytest_kubesim.cri.linux import files
from pytest_kubesim.cri.linux.files import FileSystem

if TYPE_CHECKING:
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.cri.linux.process import System


def mount(system: System, container: Container) -> None:
    """Mount them in a new container."""
    made = FileSystem("proc", mode=0o555)
    root = made.root

    def put(path: str, content: str | Callable[[], bytes]) -> None:
        made = content.encode() if isinstance(content, str) else content
        files.put(root, path, files.regular(made, 0o444))

    put("mounts", partial(_mounts, system))
    put("uptime", partial(_uptime, container))
    put("loadavg", "0.00 0.00 0.00 1/100 1\n")
    put("version", "Linux version 6.8.0-85-generic (buildd@lcy02)\n")
    cgroup = container.cgroup()
    cpus, total = cgroup.machine.cpus, cgroup.machine.memory // 1024
    put("cpuinfo", "".join(f"processor\t: {n}\nmodel name\t: kubesim\n\n" for n in range(cpus)))
    put("meminfo", f"MemTotal:       {total:8d} kB\nMemFree:        {total // 2:8d} kB\n")
    config = container.config
    uid, gid, groups = config.user
    status = (
        f"Name:\t{container.name}\nState:\tR (running)\nPid:\t1\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n"
        f"Gid:\t{gid}\t{gid}\t{gid}\t{gid}\nGroups:\t{' '.join(map(str, groups))} \n"
        f"NoNewPrivs:\t{int(config.no_new_privs)}\nSeccomp:\t2\n"
        f"CapEff:\t{'000001ffffffffff' if config.privileged else '00000000a80425fb'}\n"
        f"Cpus_allowed:\t{(1 << cpus) - 1:x}\nCpus_allowed_list:\t{cpus_text(cpus)}\n"
        "Mems_allowed:\t1\nMems_allowed_list:\t0\n"
    )
    for place in ("self", "1"):
        put(f"{place}/status", status)
        put(f"{place}/mounts", partial(_mounts, system))
        put(f"{place}/cmdline", partial(_command_line, system))
        put(f"{place}/cgroup", "0::/\n")
        put(f"{place}/oom_score_adj", f"{cgroup.oom_score_adj}\n")
    for name, value in {**_SYSCTLS, **container.sandbox.config.sysctls}.items():
        put(f"sys/{name.replace('.', '/')}", f"{value}\n")
    put("sys/kernel/hostname", f"{container.hostname}\n")
    system.mounts.mount("/proc", made)
    own = FileSystem("cgroup2", mode=0o555, source="cgroup")
    own.root.entries = cgroup_files.entries(container.cgroup, lambda: (container,))
    system.mounts.mount("/sys/fs/cgroup", own, read_only=not config.privileged)


_SYSCTLS = {
    "kernel.shm_rmid_forced": "0", "kernel.msgmax": "8192", "kernel.ostype": "Linux",
    "net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ip_local_port_range": "32768\t60999",
    "net.core.somaxconn": "4096",
}


def _mounts(system: System) -> bytes:
    return "".join(
        f"{m.filesystem.source} {m.path} {m.filesystem.kind} {'ro' if m.read_only else 'rw'},"
        "relatime 0 0\n"
        for m in system.mounts.all
    ).encode()


def _command_line(system: System) -> bytes:
    first = system.processes.get(1)
    return b"" if first is None else b"".join(word.encode() + b"\0" for word in first.argv)


def _uptime(container: Container) -> bytes:
    seconds = (container.now_ns() - container.sandbox.created_ns) / 1e9
    return f"{seconds:.2f} {seconds:.2f}\n".encode()
