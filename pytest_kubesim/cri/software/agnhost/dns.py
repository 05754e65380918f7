"""dns-suffix, dns-server-list, etc-hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.cri.linux.process import decode

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc


async def _list(proc: Proc, word: str) -> int:
    for line in decode(await proc.contents("/etc/resolv.conf")).split("\n"):
        if line.startswith(word):
            await proc.out(",".join(line.split(" ")[1:]) + "\n")
            return 0
    await proc.err("panic: Could not find DNS search list!\n")
    return 2


async def dns_suffix(proc: Proc, args: list[str]) -> int:
    """`dns-suffix`."""
    del args
    return await _list(proc, "search")


async def dns_server_list(proc: Proc, args: list[str]) -> int:
    """`dns-server-list`."""
    del args
    return await _list(proc, "nameserver")


async def etc_hosts(proc: Proc, args: list[str]) -> int:
    """`etc-hosts`."""
    del args
    await proc.out(decode(await proc.contents("/etc/hosts")) + "\n")
    return 0


COMMANDS = {"dns-suffix": dns_suffix, "dns-server-list": dns_server_list, "etc-hosts": etc_hosts}
