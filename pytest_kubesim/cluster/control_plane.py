"""The control plane's processes: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.

They are wired here and nowhere else.  The binaries reach the API server through `client_go`, each
as its own user with its own user agent.  One control plane runs on the host `control-plane`;
several on `control-plane-1`, `control-plane-2` ..., each with an API server of its own, to which
its controllers and its scheduler speak and to no other (as kubeadm configures them); all others are
clients of all API servers (`client_go.servers`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim import config
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apiserver import bootstrap
from pytest_kubesim.apiserver.admission import chain
from pytest_kubesim.apiserver.endpoint_reconciler import EndpointReconciler
from pytest_kubesim.apiserver.identity_lease import IdentityLease
from pytest_kubesim.apiserver.server import APIServer
from pytest_kubesim.apiserver.storage.reader import LocalReader
from pytest_kubesim.client_go.resources import STORAGECLASSES
from pytest_kubesim.client_go.rest import RESTClient
from pytest_kubesim.client_go.servers import Servers
from pytest_kubesim.cluster import binaries
from pytest_kubesim.cluster.binaries import CONTROLLER_MANAGER, SCHEDULER, ClientOf
from pytest_kubesim.cluster.changes import Written
from pytest_kubesim.cluster.static_pods import StaticPods
from pytest_kubesim.etcd.client import Client
from pytest_kubesim.etcd.member import Member
from pytest_kubesim.etcd.messages import DeleteRangeRequest, Event, WatchResponse, prefix_end
from pytest_kubesim.registry.generic import Catalog
from pytest_kubesim.sim.clock import NS, VirtualClock
from pytest_kubesim.sim.process import Process
from pytest_kubesim.wire import ConnectionLost, UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import GroupVersionResource, Object
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.controller_manager.manager import ControllerManager
    from pytest_kubesim.csi.provisioner import Provisioner
    from pytest_kubesim.etcd.group import Group
    from pytest_kubesim.etcd.member import MemberSnapshot
    from pytest_kubesim.etcd.mvcc.watchable_store import WatchableStore
    from pytest_kubesim.registry.rest import Resource
    from pytest_kubesim.sim.kernel import Timer

HOST = bootstrap.HOST
WATCH_LATENCY_NS = (500_000, 3_000_000)
"""How long a watch event is under way, unless the cluster is instant: 0.5 to 3 ms."""
ETCD_WATCH_LATENCY_NS = (200_000, 2_000_000)
"""How late each of several API servers hears of changes, unless the cluster is instant.  One alone
hears of them at once: nobody could tell."""

IS_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
ADDONS_RETRY_NS = 5 * NS
_ROOT = "/registry/"
_HEARTBEATS = ("/registry/leases/", "/registry/events/", "/registry/masterleases/")
_NODES = "/registry/minions/"
_DEFINITIONS = "/registry/apiextensions.k8s.io/customresourcedefinitions/"


class ControlPlane:
    """Etcd, one API server or several, and (unless left out) controllers and schedulers."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._kernel = kernel = cluster.kernel
        self._instant = cluster.config.instant
        self.group: Group | None = None
        """The members of etcd, where there are several."""
        if cluster.config.etcd_members > 1:
            self.group = self._make_group(cluster.config.etcd_members)
            self.etcd = self.group.observer
        else:
            self.etcd = Member(clock=lambda: kernel.now_ns)
            self.etcd.restore(self._beginning(kernel.start_ns))
        self._clients = 0
        self._number = cluster.config.control_planes
        self.servers = tuple(self._make_server(number) for number in range(1, self._number + 1))
        """The API servers, in the order of their numbers."""
        self.server = self.servers[0]
        for server in self.servers:
            # They are configured alike: the same tokens, the same keys.
            server.authenticators.tokens = self.server.authenticators.tokens
            server.start()
        self.controller_managers: list[ControllerManager] = []
        self.schedulers: list[Process] = []
        self._static_pods = StaticPods()
        self._readers: dict[APIServer, LocalReader] = {}
        self.provisioner: Provisioner | None = None
        self._tick: Timer | None = None
        if cluster.config.components != "apiserver":
            self._start_binaries()

    def _make_group(self, count: int) -> Group:
        from pytest_kubesim.etcd.group import Group

        cluster = self._cluster
        group = Group(
            self._kernel, cluster.network, cluster.faultpoints, count, instant=self._instant
        )
        group.restore(self._beginning(self._kernel.start_ns))
        group.start()
        return group

    def _make_server(self, number: int) -> APIServer:
        cluster, several = self._cluster, self._number > 1
        name, host = f"kube-apiserver-{number}", f"{HOST}-{number}" if several else HOST
        group = self.group
        server = APIServer(
            self._kernel,
            Client(self.etcd) if group is None else group.client(name, host),
            catalog=Catalog(cluster.config.version),
            name=name,
            host=host,
            faultpoints=cluster.faultpoints,
            admission=_admission(cluster.config.admission_plugins),
        )
        address = bootstrap.advertise_address(number)
        # What one that is alone says of itself is there from the beginning.
        EndpointReconciler(server, address, known=not several, alone=not several)
        IdentityLease(
            server,
            f"{address}:{bootstrap.PORT}",
            known=not several,
            renewed=several or not isinstance(self._kernel.clock, VirtualClock),
        )
        if several and not self._instant:
            server.delivery.latency_ns = ETCD_WATCH_LATENCY_NS
        return server

    @property
    def current(self) -> APIServer:
        """The first API server that runs (the first of all, where none does)."""
        if self._number > 1:
            for server in self.servers:
                if server.process.running:
                    return server
        return self.server

    @property
    def catalog(self) -> Catalog:
        """What is served at present."""
        return self.current.catalog

    def processes(self) -> dict[str, Process]:
        """All processes of the control planes by name, whatever has become of them."""
        found = [server.process for server in self.servers]
        found += [manager.process for manager in self.controller_managers]
        found += self.schedulers
        if self.group is not None:
            found += [member.process for member in self.group.members.values()]
        return {process.name: process for process in found}

    @property
    def observed(self) -> WatchableStore:
        """What is stored, as of the newest write that any member of etcd has applied."""
        return self.etcd.store

    # -- the binaries -------------------------------------------------------------------------

    def client(
        self, process: Process, user: str, *groups: str, agent: str
    ) -> RESTClient:
        """A client for `process` as `user` in `groups` (besides `system:authenticated`).

        Of several API servers it speaks to one after the other client's, and to the next where that
        is down.
        """
        servers = None
        if self._number > 1:
            servers = Servers(self.servers, self._clients)
            self._clients += 1
        return self._client(process, UserInfo(user, (*groups, AUTHENTICATED)), agent, servers)

    def _client(
        self,
        process: Process,
        user: UserInfo,
        agent: str,
        servers: Servers | None = None,
        server: APIServer | None = None,
    ) -> RESTClient:
        server = server or self.server
        return RESTClient(
            process,
            server,
            self._cluster.network,
            user=user,
            user_agent=agent,
            server_host=server.host,
            watch_latency_ns=(0, 0) if self._instant else WATCH_LATENCY_NS,
            servers=servers,
        )

    def admin(self, name: str, agent: str) -> RESTClient:
        """A client with all rights, as a process of its own."""
        process = Process(self._kernel, name, host=self.server.host)
        return self.client(process, "kubernetes-admin", MASTERS, agent=agent)

    def _beginning(self, start_ns: int) -> MemberSnapshot:
        """What etcd holds when the API servers start."""
        config = self._cluster.config
        if config.components == "apiserver":
            found = bootstrap.snapshot(Catalog(config.version), start_ns)
        else:
            from pytest_kubesim.cluster import settled

            found = settled.snapshot(config.version, start_ns)
        if config.control_planes == 1:
            return found
        # None of several is the one that was alone: each says itself who it is.
        member = Member(clock=lambda: start_ns)
        member.restore(found)
        member.apply(DeleteRangeRequest(bootstrap.IDENTITY_KEY))
        return member.snapshot()

    def _client_of(self, server: APIServer) -> ClientOf:
        """Clients of one API server alone: the one beside them, where there are several."""

        def client(process: Process, user: str, agent: str) -> RESTClient:
            return self._client(process, UserInfo(user, (AUTHENTICATED,)), agent, server=server)

        return client

    def _start_binaries(self) -> None:
        """A controller manager and a scheduler beside each API server."""
        controllers = self._cluster.extensions("pytest_kubesim_controllers")
        plugins = tuple(self._cluster.extensions("pytest_kubesim_scheduler_plugins"))
        several = self._number > 1
        for number, server in enumerate(self.servers, 1):
            client_of = self._client_of(server)
            manager = binaries.controller_manager(
                self._kernel,
                client_of,
                name=f"{CONTROLLER_MANAGER}-{number}" if several else CONTROLLER_MANAGER,
                host=server.host,
                elect=several,
                settings={"service-account-signer": server.authenticators.sign},
                extra=controllers,
            )
            manager.start()
            scheduler = binaries.scheduler(
                self._kernel,
                client_of,
                name=f"{SCHEDULER}-{number}" if several else SCHEDULER,
                host=server.host,
                elect=several,
                instant=self._instant,
                plugins=plugins,
                config=self._cluster.config.scheduler_config,
            )
            scheduler.start()
            self.controller_managers.append(manager)
            self.schedulers.append(scheduler)
            if several:
                self._static_pods.supervise(manager.process)
                self._static_pods.supervise(scheduler)

    def start_storage(self) -> None:
        """Start the driver that makes disks, with the default storage class `standard`; once.

        It comes with the first nodes that are ours: a bare control plane has no disks.
        """
        if self.provisioner is not None:
            return
        from pytest_kubesim.csi.provisioner import DRIVER, LATENCY_NS, Provisioner

        agent = "csi-provisioner/v6.0.0 (linux/amd64) kubernetes/kubesim"
        self.provisioner = Provisioner(
            self._kernel,
            lambda process: self.client(
                process, "system:serviceaccount:kube-system:csi-provisioner", MASTERS, agent=agent
            ),
            latency_ns=(0, 0) if self._instant else LATENCY_NS,
            host=self.server.host,
        )
        self.provisioner.start()
        default = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "standard", "annotations": {IS_DEFAULT_CLASS: "true"}},
            "provisioner": DRIVER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
            "allowVolumeExpansion": True,
        }
        self._kernel.spawn(self._add(STORAGECLASSES, default), name="addons", eager=True)

    async def _add(self, gvr: GroupVersionResource, obj: Object) -> None:
        """Create what an addon brings, however long the control plane does not take it."""
        admin = self.admin("addons", "kubesim")
        while True:
            try:
                await admin.create(gvr, "", obj)
            except ConnectionLost:
                pass
            except APIStatus as error:
                if error.reason == "AlreadyExists":
                    return
            else:
                return
            await self._kernel.sleep(ADDONS_RETRY_NS)

    # -- what is stored -----------------------------------------------------------------------

    def read(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """One object as it is stored now, in the version of `resource`; shared, immutable."""
        if resource.custom:
            return self._reader().get_as(resource, namespace, name)
        found = self._reader().get(resource.group_resource, namespace, name)
        return None if found is None else _served(resource, found)

    def read_all(self, resource: Resource, namespace: str = "") -> list[Object]:
        """All objects of a resource (of a namespace) as they are stored now, by key."""
        if resource.custom:
            return list(self._reader().list_as(resource, namespace))
        found = self._reader().list(resource.group_resource, namespace)
        return [_served(resource, obj) for obj in found]

    def _reader(self) -> LocalReader:
        """Reads what is stored, not what one API server has heard of."""
        server = self.current
        if self.group is None:
            return server.reader
        found = self._readers.get(server)
        if found is None:
            found = self._readers[server] = LocalReader(server, self.observed)
        return found

    def changes(self, directory: str) -> Written:
        """Tells what was written below `directory` since it was last asked."""
        etcd = self.etcd
        return Written(lambda: etcd.store, directory)

    def on_change(self, listener: Callable[[bool], None]) -> None:
        """Call `listener(meaningful)` at every write; heartbeats and events mean nothing."""

        def written(response: WatchResponse) -> None:
            for event in response.events:
                listener(_meaningful(event))
            self._arm_tick()

        self.etcd.store.watch(_ROOT, prefix_end(_ROOT), 0, written, prev_kv=True)

    def observe(self, listener: Callable[[WatchResponse], object]) -> None:
        """Call `listener` with every change of what is stored, previous values included."""
        self.etcd.store.watch(_ROOT, prefix_end(_ROOT), 0, listener, prev_kv=True)

    def on_node(
        self, written_: Callable[[Object], object], deleted: Callable[[str], object]
    ) -> None:
        """Call `written_(node)` and `deleted(name)` soon after a Node object has changed."""

        def heard(response: WatchResponse) -> None:
            for event in response.events:
                if event.type == "PUT":
                    self._kernel.call_soon(written_, event.kv.value)
                else:
                    self._kernel.call_soon(deleted, event.kv.key.removeprefix(_NODES))

        self.etcd.store.watch(_NODES, prefix_end(_NODES), 0, heard)
        for kv in self.etcd.store.range(_NODES, prefix_end(_NODES)).kvs:
            written_(kv.value)

    def on_definition(self, name: str, written_: Callable[[], object]) -> None:
        """Call `written_()` soon after a CustomResourceDefinition of that name has been stored."""
        key = f"{_DEFINITIONS}{name}"

        def heard(response: WatchResponse) -> None:
            if any(event.type == "PUT" for event in response.events):
                self._kernel.call_soon(written_)

        self.etcd.store.watch(key, key + "\0", 0, heard)

    def _arm_tick(self) -> None:
        deadline_ns = self.etcd.lessor.next_deadline_ns()
        if deadline_ns is None:
            return
        tick = self._tick
        if tick is not None and not tick.cancelled and tick.time_ns <= deadline_ns:
            return
        if tick is not None:
            tick.cancel()
        self._tick = self._kernel.call_at(
            deadline_ns, self._expire, periodic=True, label="etcd: leases expire"
        )

    def _expire(self) -> None:
        async def expire() -> None:
            await self.etcd.tick()
            self._arm_tick()

        self._kernel.spawn(expire(), name="etcd: leases expire")

    def close(self) -> None:
        """End its processes."""
        for manager in self.controller_managers:
            manager.process.stop()
        for scheduler in self.schedulers:
            scheduler.crash()  # nothing is left to which it could give its Lease back
        if self.provisioner is not None:
            self.provisioner.process.stop()
        for server in self.servers:
            server.process.stop()
        if self.group is not None:
            self.group.close()


def _served(resource: Resource, stored: Object) -> Object:
    if resource.conversion is not None:
        return resource.conversion.from_storage(stored)
    return stored


def _meaningful(event: Event) -> bool:
    key = event.kv.key
    if key.startswith(_HEARTBEATS):
        return False
    if key.startswith(_NODES) and event.prev_kv is not None and event.type == "PUT":
        return _without_heartbeats(event.kv.value) != _without_heartbeats(event.prev_kv.value)
    return True


def _without_heartbeats(node: Object) -> Object:
    status: Object = node.get("status") or {}
    found: list[Object] = status.get("conditions") or []
    conditions = [
        {k: v for k, v in condition.items() if k != "lastHeartbeatTime"} for condition in found
    ]
    metadata = {k: v for k, v in node["metadata"].items() if k != "managedFields"}
    return {**node, "metadata": metadata, "status": {**status, "conditions": conditions}}


def _admission(plugins: tuple[str, ...]) -> chain.Chain | None:
    """The admission plugins of an API server; None: those that are on by default."""
    return chain.load(chain.chosen(*config.switched(plugins))) if plugins else None
