"""What faults find in a cluster: whom they can strike, and how.

The room of faults knows the cluster only by this: names of processes and hosts, and the ways to end
and start what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.cluster import waiting
from pytest_kubesim.errors import UsageError
from pytest_kubesim.etcd.messages import prefix_end
from pytest_kubesim.faults import requests
from pytest_kubesim.faults.watches import Watches

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.cri.images import Images
    from pytest_kubesim.etcd.group import Group
    from pytest_kubesim.etcd.member import Member, MemberSnapshot
    from pytest_kubesim.etcd.mvcc.watchable_store import WatchableStore
    from pytest_kubesim.registry.rest import Resource
    from pytest_kubesim.sim.process import Process

CONTROL_PLANE = "control-plane"
"""In faults of the network: all hosts of the control plane."""

_ROOT = "/registry/"


class FaultGround:
    """A cluster as faults see it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.kernel = cluster.kernel
        self.network = cluster.network
        self.faultpoints = cluster.faultpoints
        self.watches = Watches(cluster.kernel, lambda: self.servers)
        self.backups: dict[str, MemberSnapshot] = {}
        self.early = False

    # -- the API ------------------------------------------------------------------------------

    @property
    def servers(self) -> tuple[APIServer, ...]:
        """The API servers."""
        return tuple(self._cluster.control_plane.servers)

    def known_resource(self, plural: str) -> bool:
        """Whether a resource of that plural name is served."""
        return self._cluster.names.knows(plural)

    def resources(self) -> list[str]:
        """The plural names of what is served."""
        return self._cluster.names.plurals()

    def other_name(self, text: str) -> str | None:
        """The plural name of what is served under another name: a kind, a short name."""
        return self._cluster.names.plural_of(text)

    def subresources(self, plural: str | None) -> set[str]:
        """The subresources of a resource; of all of them, and of custom ones that may come."""
        found = self._cluster.names.subresources(plural)
        return found | {"status", "scale"} if plural is None else found

    def server_names(self) -> list[str]:
        """The API servers."""
        return [server.process.name for server in self.servers]

    def serves(self, ref: str) -> bool:
        """Whether what a reference names is served."""
        try:
            self._cluster.names.parse(ref)
        except UsageError:
            return False
        return True

    def check_reference(self, ref: str, *, now: bool) -> None:
        """Raises: `UsageError` for what is not served, and (`now`) may not yet come."""
        try:
            self._cluster.names.parse(ref)
        except UsageError as error:
            kind, slash, name = ref.partition("/")
            if (slash and not name) or not kind or (now and not self.early):
                raise UsageError(f"faults: {error}") from None
            requests.doubt(self, kind, str(error))

    def resource_of(self, kind: str) -> Resource:
        """The resource of a kind, or of any of its names.  Raises: `UsageError`."""
        return self._cluster.names.resource(kind)

    def seen_clients(self) -> list[str]:
        """Who has sent requests."""
        entries = self._cluster.journal.entries("request")
        return sorted({entry.actor for entry in entries if entry.actor})

    def webhook_names(self) -> list[str]:
        """The webhooks that are configured."""
        found: set[str] = set()
        for plural in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"):
            resource = self._cluster.names.resource(plural)
            for each in self._cluster.control_plane.read_all(resource):
                found.update(webhook["name"] for webhook in each.get("webhooks") or ())
        return sorted(found)

    def operator_names(self) -> list[str]:
        """The operators that were run."""
        return [each.name for each in self._cluster.operators]

    # -- conditions ---------------------------------------------------------------------------

    def condition(self, what: Any, match: Any = None, **options: Any) -> Any:
        """What `eventually` would wait for."""
        return waiting.condition_of(self._cluster, what, match, **options)

    def on_write(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Call `listener` after every write to what is stored; returns what ends that."""
        watcher = self.observed.watch(_ROOT, prefix_end(_ROOT), 0, lambda _: listener())
        return watcher.cancel

    def field(self, ref: str, path: str, namespace: str | None) -> Any:
        """A field of an object as it is stored now; None where either is not there."""
        reference = self._cluster.names.parse(ref)
        if reference.name is None:
            raise UsageError(f"faults: {ref!r} names no object; write 'deployment/web'")
        where = (namespace or "default") if reference.resource.namespaced else ""
        found: Any = self._cluster.control_plane.read(reference.resource, where, reference.name)
        for part in path.split("."):
            if isinstance(found, list) and part.isdigit():
                items = cast("list[Any]", found)
                found = items[int(part)] if int(part) < len(items) else None
            elif isinstance(found, Mapping):
                found = cast("Mapping[str, Any]", found).get(part)
            else:
                return None
        return found

    # -- etcd ---------------------------------------------------------------------------------

    @property
    def group(self) -> Group | None:
        """The members of etcd, where there are several."""
        return self._cluster.control_plane.group

    @property
    def member(self) -> Member:
        """The only member, or the one that follows all of them."""
        group = self.group
        return self._cluster.control_plane.etcd if group is None else group.observer

    @property
    def observed(self) -> WatchableStore:
        """What is stored."""
        return self._cluster.control_plane.observed

    def restart_api_servers(self, meanwhile: Callable[[], object]) -> None:
        """Stop all API servers, do something, start those that ran."""
        ran = [server for server in self.servers if server.process.alive]
        for server in ran:
            server.process.stop()
        meanwhile()
        for server in ran:
            server.start()

    def restore_etcd(self, snapshot: MemberSnapshot) -> None:
        """Give etcd the data of a backup."""
        group = self.group
        if group is not None:
            group.restore(snapshot)
            return
        member = self.member
        member.restore(snapshot)
        member.lessor.promote(self.kernel.now_ns)

    # -- processes and hosts ------------------------------------------------------------------

    def processes(self) -> dict[str, Process]:
        """All processes by name: the control plane's, the operators', the kubelets'."""
        cluster = self._cluster
        found = dict(cluster.control_plane.processes())
        found.update((each.name, each.process) for each in cluster.operators)
        for node in cluster.nodes.values():
            for process in (node.machine.kubelet.process, node.machine.runtime.process):
                found[process.name] = process
        group = self.group
        if group is not None:
            found.update((name, member.process) for name, member in group.members.items())
        return found

    def start_process(self, name: str) -> None:
        """Start a process (again), as it is started."""
        for server in self.servers:
            if server.process.name == name:
                server.start()
                return
        group = self.group
        if group is not None and name in group.members:
            group.members[name].start()
            return
        self.processes()[name].start()

    def external_hosts(self) -> tuple[str, ...]:
        """The systems outside that the test has declared."""
        return self._cluster.externals.hosts

    def hosts(self) -> dict[str, tuple[str, ...]]:
        """By every name that an end of the network may have, the hosts it means."""
        cluster = self._cluster
        planes = tuple(dict.fromkeys(server.process.host for server in self.servers))
        found: dict[str, tuple[str, ...]] = {CONTROL_PLANE: planes}
        found.update((host, (host,)) for host in planes)
        found.update((name, (name,)) for name in cluster.nodes)
        found.update((name, (name,)) for name in cluster.externals.hosts)
        for name, process in self.processes().items():
            found.setdefault(name, (process.host,))
        return found

    # -- nodes and what runs on them ----------------------------------------------------------

    @property
    def nodes(self) -> Mapping[str, Any]:
        """The nodes by name."""
        return self._cluster.nodes

    @property
    def images(self) -> Images:
        """What images can be pulled."""
        return self._cluster.images

    def containers(self) -> list[Container]:
        """The containers of all nodes that are up."""
        found: list[Container] = []
        for node in self._cluster.nodes.values():
            runtime = node.machine.runtime
            if node.powered:
                found += [c for uid in runtime.pods() for c in runtime.pod_state(uid).containers]
        return found

    # -- whom a nemesis may strike ------------------------------------------------------------

    def clients(self) -> list[str]:
        """The operators, and the control plane's own clients."""
        cluster = self._cluster
        found = [each.name for each in cluster.operators]
        planes = cluster.control_plane.processes()
        found += [name for name in planes if not name.startswith("kube-apiserver")]
        found += [f"kubelet@{name}" for name in cluster.nodes]
        return found or ["test"]

    def victims(self) -> dict[str, list[str]]:
        """By kind, the names of those that a nemesis may strike."""
        group = self.group
        return {
            "node": list(self._cluster.nodes),
            "operator": [each.name for each in self._cluster.operators],
            "api_server": [server.process.name for server in self.servers],
            "etcd": [] if group is None else list(group.members),
        }
