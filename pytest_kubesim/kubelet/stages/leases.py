"""The leases of nodes that stages play and that have no kubelet.

Follows `pkg/kwok/controllers/node_lease_controller.go` of `sigs.k8s.io/kwok@v0.8.0`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.apimachinery.timestamps import format_micro_time
from pytest_kubesim.client_go.resources import LEASES
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.sim.process import Process

NAMESPACE = "kube-node-lease"
DURATION_SECONDS = 40
PERIOD_NS = DURATION_SECONDS * NS // 4


class Leases:
    """Renews them every ten seconds."""

    def __init__(
        self, process: Process, client: RESTClient, has_kubelet: Callable[[str], bool]
    ) -> None:
        self._process = process
        self._client = client
        self._has_kubelet = has_kubelet
        self._kept: dict[str, str] = {}

    def keep(self, node: Object) -> None:
        """Renew the lease of a node from now on, unless its kubelet does."""
        name = meta.name(node)
        if self._kept.get(name) == meta.uid(node) or self._has_kubelet(name):
            return
        self._kept[name] = meta.uid(node)
        self._process.spawn(self._run(name, meta.uid(node)), name=f"lease {name}")

    def stop(self, name: str) -> None:
        """The node is gone."""
        self._kept.pop(name, None)

    async def _run(self, name: str, uid: str) -> None:
        while self._kept.get(name) == uid:
            try:
                await self._renew(name, uid)
            except (status.APIStatus, ConnectionLost) as error:
                journal = self._process.kernel.journal
                journal.record("sync failed", self._process.name, key=name, error=str(error))
            await self._process.kernel.sleep(PERIOD_NS, periodic=True)

    async def _renew(self, name: str, uid: str) -> None:
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": DURATION_SECONDS,
            "renewTime": format_micro_time(self._process.now_ns()),
        }
        try:
            lease = await self._client.get(LEASES, NAMESPACE, name)
        except status.APIStatus as error:
            if not status.is_not_found(error):
                raise
            owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}
            metadata = {"name": name, "namespace": NAMESPACE, "ownerReferences": [owner]}
            lease = {
                "apiVersion": LEASES.api_version, "kind": "Lease", "metadata": metadata,
                "spec": spec,
            }
            await self._client.create(LEASES, NAMESPACE, lease)
        else:
            await self._client.update(LEASES, NAMESPACE, {**lease, "spec": spec})
