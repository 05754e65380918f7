"""sysctl, ip, ifconfig, dmesg, free, uptime: what the kernel says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.cri.applets.options import parse
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.process import decode

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc


async def sysctl(proc: Proc, args: list[str]) -> int:
    """`sysctl [-nwq] name[=value]`."""
    given = await parse(proc, args, "nwqea")
    status = 0
    for word in given.rest:
        name, equals, _ = word.partition("=")
        path = "/proc/sys/" + name.replace(".", "/")
        try:
            text = decode(await proc.contents(path)).rstrip("\n")
        except Fault as fault:
            status = await proc.complain(f"error: '{path}' is an unknown key: {fault}")
            continue
        if equals:
            status = await proc.complain(f"error setting key '{name}': Read-only file system")
        else:
            await proc.out(f"{text}\n" if "n" in given else f"{name.replace('/', '.')} = {text}\n")
    return status


def _privileged(proc: Proc) -> bool:
    container = proc.system.surroundings
    return bool(container is not None and container.config.privileged)


async def ip(proc: Proc, args: list[str]) -> int:
    """`ip addr`, `ip route`, `ip link`."""
    words = [word for word in args if not word.startswith("-")]
    what = words[0] if words else ""
    verb = words[1] if len(words) > 1 else "show"
    address = proc.system.address
    if verb not in ("show", "list", "ls", "get"):
        if not _privileged(proc) or proc.who.uid != 0:
            await proc.err("ip: RTNETLINK answers: Operation not permitted\n")
            return 2
        return 0
    if what.startswith("a"):
        await proc.out(
            "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue qlen 1000\n"
            "    inet 127.0.0.1/8 scope host lo\n"
            "2: eth0@if3: <BROADCAST,MULTICAST,UP,LOWER_UP,M-DOWN> mtu 1500 qdisc noqueue\n"
            f"    inet {address}/24 brd {address.rpartition('.')[0]}.255 scope global eth0\n"
        )
    elif what.startswith("r"):
        await proc.out(f"default via {address.rpartition('.')[0]}.1 dev eth0\n")
    elif what.startswith("l"):
        await proc.out(
            "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue qlen 1000\n"
            "2: eth0@if3: <BROADCAST,MULTICAST,UP,LOWER_UP,M-DOWN> mtu 1500 qdisc noqueue\n"
        )
    else:
        await proc.err("Usage: ip [OPTIONS] address|route|link [ARGS]\n")
        return 1
    return 0


async def ifconfig(proc: Proc, args: list[str]) -> int:
    """`ifconfig`."""
    del args
    await proc.out(
        "eth0      Link encap:Ethernet\n"
        f"          inet addr:{proc.system.address}  Mask:255.255.255.0\n"
        "          UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1\n\n"
    )
    return 0


async def dmesg(proc: Proc, args: list[str]) -> int:
    """`dmesg`: not for everybody."""
    del args
    if not _privileged(proc):
        return await proc.complain("klogctl: Operation not permitted")
    return 0


async def uptime(proc: Proc, args: list[str]) -> int:
    """`uptime`."""
    del args
    minutes = int(float(decode(await proc.contents("/proc/uptime")).split()[0]) // 60)
    await proc.out(f" up {minutes} min,  0 users,  load average: 0.00, 0.00, 0.00\n")
    return 0


async def free(proc: Proc, args: list[str]) -> int:
    """`free`."""
    del args
    await proc.out(
        "              total        used        free      shared  buff/cache   available\n"
        "Mem:       16777216     8388608     8388608           0           0     8388608\n"
        "Swap:             0           0           0\n"
    )
    return 0


APPLETS = {
    "sysctl": sysctl, "ip": ip, "ifconfig": ifconfig, "dmesg": dmesg, "uptime": uptime,
    "free": free,
}
