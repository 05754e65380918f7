"""How the service `kubernetes` finds the API servers: each says every ten seconds that it is there.

An API server keeps a key of its own in etcd that dies 15 seconds after it was last renewed, and
makes the endpoints of the service `default/kubernetes` list the addresses of all such keys.  One
that is stopped in an orderly way takes its key away; one that crashed is found missing by another,
or by itself when it comes back.  Service and endpoints come back when somebody deletes them.

One that is alone looks every ten seconds whether somebody has touched them, and does no more: its
key could die unseen.

Follows `pkg/controlplane/controller/kubernetesservice/controller.go` and
`pkg/controlplane/reconcilers/lease.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver import loopback
from pytest_kubesim.apiserver.storage.errors import EtcdError, StorageError
from pytest_kubesim.apiserver.storage.etcd3 import Etcd3
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.server import APIServer

PREFIX = "/registry/masterleases"
TTL_SECONDS = 15
INTERVAL_NS = 10 * NS
PORT = 6443
SERVICE_IP = "10.96.0.1"

_NAME, _NAMESPACE = "kubernetes", "default"
_SERVICES = "/api/v1/namespaces/default/services"
_ENDPOINTS = "/api/v1/namespaces/default/endpoints"
_SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
_DIRECTORIES = (
    "/registry/services/specs/default",
    "/registry/services/endpoints/default",
    "/registry/endpointslices/default",
)
_SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
_PORTS: list[Object] = [{"name": "https", "port": PORT, "protocol": "TCP"}]


class EndpointReconciler:
    """The endpoints of one API server.

    Parameters: `server`; `address` at which it says that it can be reached; `known`: whether what
    is stored when it first starts says so already; `alone`: whether there is no other server.
    """

    def __init__(
        self, server: APIServer, address: str, *, known: bool = False, alone: bool = False
    ) -> None:
        self.address = address
        self._alone = alone
        self._server = server
        self._known = known
        self._stopped = False
        self._leases = Etcd3(server.etcd, PREFIX, now_ns=server.process.now_ns)
        server.on_start.append(self._start)
        server.on_stop.append(self._stop)

    def _start(self, server: APIServer) -> None:
        known, self._known, self._stopped = self._known, False, False
        server.kernel.spawn(
            self._run(known=known), name=f"{server.process.name}/kubernetes service",
            process=server.process, daemon=True, eager=True,
        )

    async def _run(self, *, known: bool) -> None:
        sleep = self._server.kernel.sleep
        seen: tuple[int, ...] | None = None
        if known:
            seen = self._touched()
            await sleep(INTERVAL_NS, periodic=True)
        else:
            await self._tried(self._remove())
        while not self._stopped:
            if not self._alone or self._touched() != seen:
                await self._tried(self._update())
                seen = self._touched()
            await sleep(INTERVAL_NS, periodic=True)

    def _touched(self) -> tuple[int, ...]:
        """Numbers that differ after every change of what it looks after."""
        store = self._server.etcd.member.store
        return tuple(store.touched(directory) for directory in _DIRECTORIES)

    async def _stop(self) -> None:
        self._stopped = True
        await self._tried(self._remove())

    @staticmethod
    async def _tried(work: Awaitable[None]) -> None:
        try:
            await work
        except (status.APIStatus, StorageError, EtcdError):
            # Upstream logs it; in ten seconds it tries again.
            return

    async def _update(self) -> None:
        await self._ensure_service()
        await self._leases.guaranteed_update(
            f"{PREFIX}/{self.address}",
            self._renewed,
            ignore_not_found=True,
            ttl_seconds=TTL_SECONDS,
        )
        await self._reconcile()

    async def _remove(self) -> None:
        await self._leases.delete(f"{PREFIX}/{self.address}")
        await self._reconcile()

    async def _renewed(self, old: Object | None) -> Object:
        # The generation is there to change: what does not change would not be written.
        generation = 0 if old is None else old["metadata"].get("generation") or 0
        return {
            "kind": "Endpoints",
            "apiVersion": "v1",
            "metadata": {"generation": generation + 1},
            "subsets": [{"addresses": [{"ip": self.address}]}],
        }

    # -- the objects --------------------------------------------------------------------------

    async def _ensure_service(self) -> None:
        if self._get(GroupResource("", "services")) is None:
            await self._create(_SERVICES, {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {
                    "name": _NAME,
                    "namespace": _NAMESPACE,
                    "labels": {"provider": "kubernetes", "component": "apiserver"},
                },
                "spec": {
                    "clusterIP": SERVICE_IP,
                    "ipFamilyPolicy": "SingleStack",
                    "ports": [
                        {"name": "https", "port": 443, "protocol": "TCP", "targetPort": PORT}
                    ],
                    "sessionAffinity": "None",
                    "type": "ClusterIP",
                },
            })

    async def _reconcile(self) -> None:
        """Make endpoints and slice list the addresses of all servers that are there."""
        leases = await self._leases.list(PREFIX)
        addresses = sorted(each["subsets"][0]["addresses"][0]["ip"] for each in leases.items)
        if not addresses and not self._stopped:
            # Its own key has just been renewed, or removed in the course of a start.
            return
        found = self._get(GroupResource("", "endpoints"))
        subsets: list[Object] = []
        if addresses:
            subsets = [{"addresses": [{"ip": each} for each in addresses], "ports": _PORTS}]
        if found is None:
            await self._create(_ENDPOINTS, {
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": {
                    "name": _NAME, "namespace": _NAMESPACE, "labels": {_SKIP_MIRROR: "true"},
                },
                "subsets": subsets,
            })
        else:
            metadata: Object = found["metadata"]
            labels: Object = metadata.get("labels") or {}
            if (found.get("subsets") or []) != subsets or labels.get(_SKIP_MIRROR) != "true":
                metadata = {**metadata, "labels": {**labels, _SKIP_MIRROR: "true"}}
                changed = {**found, "metadata": metadata, "subsets": subsets}
                await loopback.send(self._server, "PUT", f"{_ENDPOINTS}/{_NAME}", changed)
        await self._ensure_slice(addresses)

    async def _ensure_slice(self, addresses: list[str]) -> None:
        wanted: Object = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": _NAME,
                "namespace": _NAMESPACE,
                "labels": {"kubernetes.io/service-name": _NAME},
            },
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": [each], "conditions": {"ready": True}} for each in addresses
            ],
            "ports": _PORTS if addresses else [],
        }
        found = self._get(GroupResource("discovery.k8s.io", "endpointslices"))
        if found is None:
            await self._create(_SLICES, wanted)
            return
        same = (
            (found.get("endpoints") or []) == wanted["endpoints"]
            and (found.get("ports") or []) == wanted["ports"]
            and found["metadata"].get("labels") == wanted["metadata"]["labels"]
        )
        if not same:
            await loopback.send(self._server, "PUT", f"{_SLICES}/{_NAME}", wanted)

    def _get(self, resource: GroupResource) -> Object | None:
        return self._server.reader.get(resource, _NAMESPACE, _NAME)

    async def _create(self, path: str, obj: Object) -> None:
        try:
            await loopback.send(self._server, "POST", path, obj)
        except status.APIStatus as error:
            if not status.is_already_exists(error):
                raise
