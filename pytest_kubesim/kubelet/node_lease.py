"""The node's lease in `kube-node-lease`: the heartbeat, every ten seconds.

Follows `component-helpers/apimachinery/lease/controller.go` and `pkg/kubelet/util/nodelease.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status as apistatus
from pytest_kubesim.apimachinery.timestamps import format_micro_time
from pytest_kubesim.client_go.resources import LEASES
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host

NAMESPACE = "kube-node-lease"
MAX_RETRIES = 5
MAX_BACKOFF_NS = 7 * NS


class NodeLease:
    """Renews one node's lease.

    Parameters: `host`; `node`, which gives the Node that owns the lease.
    """

    def __init__(self, host: Host, node: Callable[[], Object | None]) -> None:
        self._host = host
        self._node = node
        self._latest: Object | None = None
        self._renewals = 0
        config = host.config
        self._interval_ns = config.lease_duration_seconds * NS // 4

    def start(self) -> None:
        """Renew it now, and from then on every quarter of its duration."""
        self._host.process.spawn(self._run(), name="lease")

    async def _run(self) -> None:
        host = self._host
        rng, name = host.kernel.rng, host.node.name
        jitter_ns = int(self._interval_ns * host.config.lease_jitter)
        sleep, interval_ns = host.kernel.sleep, self._interval_ns
        while True:
            await self._sync()
            self._renewals += 1
            extra_ns = rng.between_ns(0, jitter_ns, "lease", name, self._renewals)
            await sleep(interval_ns + extra_ns, periodic=True)

    async def _sync(self) -> None:
        if self._latest is not None and await self._update():
            return
        if not await self._ensure():
            await self._update()

    async def _update(self) -> bool:
        client = self._host.client
        for _ in range(MAX_RETRIES):
            lease = self._latest
            assert lease is not None
            try:
                self._latest = await client.update(LEASES, NAMESPACE, self._renewed(lease))
            except apistatus.APIStatus as error:
                if apistatus.is_conflict(error):
                    await self._ensure()
            except ConnectionLost:
                pass
            else:
                return True
        return False

    def _renewed(self, lease: Object) -> Object:
        spec = {**lease["spec"], "renewTime": format_micro_time(self._host.now_ns())}
        return {**lease, "spec": spec}

    async def _ensure(self) -> bool:
        """Get the lease, or create it (True); tries until that succeeds."""
        client, name = self._host.client, self._host.node.name
        pause_ns = NS // 10
        while True:
            try:
                try:
                    self._latest = await client.get(LEASES, NAMESPACE, name)
                except apistatus.APIStatus as error:
                    if not apistatus.is_not_found(error):
                        raise
                    self._latest = await client.create(LEASES, NAMESPACE, self._new())
                    return True
            except (apistatus.APIStatus, ConnectionLost):
                pause_ns = min(2 * pause_ns, MAX_BACKOFF_NS)
                await self._host.kernel.sleep(pause_ns, periodic=True)
            else:
                return False

    def _new(self) -> Object:
        name, node = self._host.node.name, self._node()
        metadata: Object = {"name": name, "namespace": NAMESPACE}
        if node is not None:
            metadata["ownerReferences"] = [{
                "apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"],
            }]
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": name,
                "leaseDurationSeconds": self._host.config.lease_duration_seconds,
                "renewTime": format_micro_time(self._host.now_ns()),
            },
        }
