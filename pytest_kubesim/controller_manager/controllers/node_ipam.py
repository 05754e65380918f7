"""The node IPAM controller: each node has a range of addresses for its pods.

The law: ranges are given out one after the other; one that comes back is given out again only when
the search comes round to it.  What nodes have already is taken, before anything is given out.

Follows `pkg/controller/nodeipam/ipam/range_allocator.go` and `cidrset/cidr_set.go`.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.client_go.resources import NODES
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller, SyncError

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

CLUSTER_CIDR = "10.244.0.0/16"
MASK_SIZES = {4: 24, 6: 64}
RETRIES = 3

NO_RANGES_LEFT = (
    "CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range"
)

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class _Ranges:
    """The ranges that one cluster range is divided into."""

    def __init__(self, cluster: str, mask_size: int) -> None:
        self._network: _Network = ipaddress.ip_network(cluster)
        self._count: int = 2 ** (mask_size - self._network.prefixlen)
        self._mask_size = mask_size
        self._used: set[int] = set()
        self._next = 0

    def allocate(self) -> str:
        """The next free range.  Raises `SyncError` when there is none."""
        if len(self._used) == self._count:
            raise SyncError(NO_RANGES_LEFT)
        candidate = self._next
        while candidate in self._used:
            candidate = (candidate + 1) % self._count
        self._next = (candidate + 1) % self._count
        self._used.add(candidate)
        size = 1 << (self._network.max_prefixlen - self._mask_size)
        address = self._network.network_address + candidate * size
        return f"{address}/{self._mask_size}"

    def occupy(self, cidr: str) -> None:
        """Take a range; nothing if it is outside of the cluster's."""
        self._used.update(self._indexes(cidr))

    def release(self, cidr: str) -> None:
        """Give a range back."""
        self._used.difference_update(self._indexes(cidr))

    def _indexes(self, cidr: str) -> range:
        network = ipaddress.ip_network(cidr, strict=False)
        mine = self._network
        if network.version != mine.version:
            return range(0)
        shift = mine.max_prefixlen - self._mask_size
        first = (int(network.network_address) - int(mine.network_address)) >> shift
        last = (int(network.broadcast_address) - int(mine.network_address)) >> shift
        return range(max(first, 0), min(last, self._count - 1) + 1)


class NodeIPAMController(Controller):
    """Gives nodes ranges of pod addresses."""

    name = "node-ipam-controller"
    service_account = "node-controller"
    component = "cidrAllocator"
    workers: ClassVar[int] = 30

    def setup(self) -> None:
        """Divide the cluster's ranges; listen to nodes."""
        setting = self.context.setting
        self.ranges: list[_Ranges] = []
        for cidr in str(setting("cluster-cidr", CLUSTER_CIDR)).split(","):
            version = ipaddress.ip_network(cidr).version
            mask = setting(f"node-cidr-mask-size-ipv{version}", MASK_SIZES[version])
            self.ranges.append(_Ranges(cidr, mask))
        service_cidr = setting("service-cluster-ip-range", "10.96.0.0/12")
        for ranges in self.ranges:
            ranges.occupy(service_cidr)
        self.nodes = self.watch(
            NODES, add=self._added, update=self.enqueue_new, delete=self._release
        )

    def _added(self, node: Object) -> None:
        self._occupy(node)
        self.enqueue(node)

    def _occupy(self, node: Object) -> None:
        for ranges, cidr in zip(self.ranges, _cidrs(node), strict=False):
            ranges.occupy(cidr)

    def _release(self, node: Object) -> None:
        for ranges, cidr in zip(self.ranges, _cidrs(node), strict=False):
            ranges.release(cidr)

    async def reconcile(self, key: str) -> None:
        """Give one node what it has not."""
        node = self.nodes.get(key)
        if node is None or meta.deletion_timestamp(node):
            return
        if _cidrs(node):
            self._occupy(node)
            return
        try:
            cidrs = [ranges.allocate() for ranges in self.ranges]
        except SyncError as error:
            self._record(node, "CIDRNotAvailable")
            problem = f"failed to allocate cidr from cluster cidr at idx:0: {error}"
            raise SyncError(problem) from None
        patch = {"spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs}}
        for attempt in range(RETRIES):
            try:
                await self.client.patch(NODES, "", key, patch)
            except RETRIABLE as error:
                if attempt < RETRIES - 1:
                    continue
                self._record(node, "CIDRAssignmentFailed")
                if not status.is_server_timeout(error):
                    for ranges, cidr in zip(self.ranges, cidrs, strict=True):
                        ranges.release(cidr)
                raise
            else:
                return

    def _record(self, node: Object, what: str) -> None:
        name = meta.name(node)
        about = {"kind": "Node", "name": name, "uid": meta.uid(node), "apiVersion": "v1"}
        self.event(about, "Normal", what, f"Node {name} status is now: {what}")


def _cidrs(node: Object) -> list[str]:
    return fields.texts(fields.spec(node), "podCIDRs")


CONTROLLER = NodeIPAMController
