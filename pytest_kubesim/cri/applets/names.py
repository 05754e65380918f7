"""Names and addresses: how programs of a container resolve them.

The law: `/etc/hosts` first, then servers and search domains of `/etc/resolv.conf`, as libc does.
The cluster's DNS server answers through the pods' network (`Resolver`).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.process import decode
from pytest_kubesim.sim.pipes import TimedOut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_kubesim.cri.linux.process import Proc, System


class Resolver(Protocol):
    """A DNS server."""

    async def query(self, name: str, kind: str) -> list[tuple[str, str, str]] | None:
        """Records `(name, type, data)`; None where the name does not exist (NXDOMAIN)."""
        ...


@attrs.frozen(slots=True)
class ResolvConf:
    """What `/etc/resolv.conf` says."""

    servers: tuple[str, ...]
    search: tuple[str, ...]
    ndots: int


def resolv_conf(system: System) -> ResolvConf:
    """The container's."""
    servers: list[str] = []
    search: list[str] = []
    ndots = 1
    for line in _file(system, "/etc/resolv.conf").splitlines():
        words = line.split()
        if words[:1] == ["nameserver"]:
            servers += words[1:2]
        elif words[:1] == ["search"]:
            search = words[1:]
        elif words[:1] == ["options"]:
            for word in words[1:]:
                if word.startswith("ndots:"):
                    ndots = int(word[6:])
    return ResolvConf(tuple(servers), tuple(search), ndots)


def _file(system: System, path: str) -> str:
    try:
        return decode(system.mounts.lookup(path).read())
    except Fault:
        return ""


def candidates(conf: ResolvConf, name: str) -> list[str]:
    """The names to ask for, in order."""
    if name.endswith("."):
        return [name]
    searched = [f"{name}.{domain.rstrip('.')}." for domain in conf.search]
    full = f"{name}."
    return [full, *searched] if name.count(".") >= conf.ndots else [*searched, full]


async def resolve(proc: Proc, name: str, kind: str = "A") -> list[str]:
    """The addresses of a name; none where it has none."""
    return await resolve_name(proc.system, name, kind)


async def resolve_name(system: System, name: str, kind: str = "A") -> list[str]:
    """The addresses of a name; none where it has none."""
    try:
        return [str(ipaddress.ip_address(name.strip("[]")))]
    except ValueError:
        pass
    plain = name.rstrip(".")
    if plain == "localhost":
        return ["127.0.0.1"]
    found: list[str] = []
    for line in _file(system, "/etc/hosts").splitlines():
        words = line.partition("#")[0].split()
        if plain in words[1:] and (":" in words[0]) == (kind == "AAAA"):
            found.append(words[0])
    if found:
        return found
    if plain == system.hostname:
        return [system.address]
    conf = resolv_conf(system)
    try:
        for full in candidates(conf, name):
            records = await ask(system, full, kind, conf.servers)
            if records:
                return [data for _, type_, data in records if type_ == kind]
    except TimedOut:
        return []
    return []


async def ask(
    system: System, name: str, kind: str, servers: Sequence[str]
) -> list[tuple[str, str, str]] | None:
    """What the first of the DNS servers that answers says; None: no such name.

    Raises: `TimedOut` where none answers.
    """
    network: Any = system.network
    if network is None:
        return None
    for server in servers:
        try:
            return await network.look_up(system.address, server, name, kind)
        except TimedOut:
            continue
    raise TimedOut


def reverse(address: str) -> str:
    """The name under which an address is looked up."""
    return f"{ipaddress.ip_address(address).reverse_pointer}."
