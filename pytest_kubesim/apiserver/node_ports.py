"""The node ports that services have, as a bitmap in etcd: how several API servers agree on them.

The law: a port is marked before the service is stored, by a transaction that fails where another
server was faster, and is free again after the service has gone.  What a server that crashed in
between has left marked is cleared by the repair, when it has found no service for it three times.

Follows `pkg/registry/core/service/allocator/storage/storage.go`, `portallocator/allocator.go` and
`portallocator/controller/repair.go`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.storage.errors import EtcdError, StorageError
from pytest_kubesim.apiserver.storage.etcd3 import Etcd3
from pytest_kubesim.registry.core.service_allocation import PORTS, all_node_ports
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.server import APIServer

KEY = "/registry/ranges/servicenodeports"
REPAIR_INTERVAL_NS = 180 * NS
REPAIRS_BEFORE_CLEANUP = 3

_SERVICES = GroupResource("", "services")
_STATE = "node-ports"


class Collided(Exception):
    """Another server has given away what this one wanted: what is known to be taken."""

    def __init__(self, ports: Iterable[int] = (), ips: Iterable[str] = ()) -> None:
        super().__init__("allocated meanwhile")
        self.ports = frozenset(ports)
        self.ips = frozenset(ips)


async def claim(server: APIServer, ports: frozenset[int]) -> None:
    """Mark ports as taken.  Raises `Collided` where one of them is."""
    if ports:
        await _change(server, ports, frozenset())


async def release(server: APIServer, ports: frozenset[int]) -> None:
    """Mark ports as free."""
    if ports:
        await _change(server, frozenset(), ports)


async def _change(server: APIServer, taken: frozenset[int], freed: frozenset[int]) -> None:
    async def update(old: Object | None) -> Object:
        marked = _in_use(server) - taken if old is None else decoded(old)
        if taken & marked:
            raise Collided(ports=marked)
        return _encoded((marked | taken) - freed)

    _begin_repairs(server)
    storage = Etcd3(server.etcd, KEY, now_ns=server.process.now_ns)
    await storage.guaranteed_update(KEY, update, ignore_not_found=True)


def _in_use(server: APIServer) -> frozenset[int]:
    found = server.reader.list(_SERVICES)
    return frozenset(port for each in found for port in all_node_ports(each.get("spec") or {}))


# -- the bitmap --------------------------------------------------------------------------------


def decoded(allocation: Object) -> frozenset[int]:
    """The ports that a RangeAllocation marks."""
    bits = int.from_bytes(base64.b64decode(allocation["data"]), "big")
    first, last = PORTS
    return frozenset(port for port in range(first, last + 1) if bits >> port - first & 1)


def _encoded(ports: frozenset[int]) -> Object:
    first, last = PORTS
    bits = 0
    for port in ports:
        if first <= port <= last:
            bits |= 1 << port - first
    data = bits.to_bytes((bits.bit_length() + 7) // 8, "big")
    return {
        "kind": "RangeAllocation",
        "apiVersion": "v1",
        "metadata": {"name": "", "creationTimestamp": None},
        "range": f"{first}-{last}",
        "data": base64.b64encode(data).decode(),
    }


# -- repair ------------------------------------------------------------------------------------


def _begin_repairs(server: APIServer) -> None:
    """Repair from the first node port on that this life of the server has to do with."""
    if _STATE not in server.state:
        server.state[_STATE] = True
        server.process.spawn(_repair(server), name="node port repair", daemon=True)


async def _repair(server: APIServer) -> None:
    storage = Etcd3(server.etcd, KEY, now_ns=server.process.now_ns)
    leaks: dict[int, int] = {}

    async def update(old: Object | None) -> Object:
        marked = frozenset[int]() if old is None else decoded(old)
        used = _in_use(server)
        for port in sorted({*leaks, *(marked - used)}):
            if port in used or port not in marked:
                leaks.pop(port, None)
            else:
                leaks[port] = leaks.get(port, REPAIRS_BEFORE_CLEANUP) - 1
        return _encoded(used | {port for port, left in leaks.items() if left > 0})

    while True:
        await server.kernel.sleep(REPAIR_INTERVAL_NS, periodic=True)
        try:
            await storage.guaranteed_update(KEY, update, ignore_not_found=True)
        except (StorageError, EtcdError):
            # Upstream logs it and tries again when it is next due.
            continue
