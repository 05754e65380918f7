"""The cluster's nodes: machines with a container runtime and a kubelet each.

A node's machine is not its Node object: deleting the object leaves the kubelet running, which
registers again when it restarts; cutting the power leaves the object, which goes NotReady.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.client_go.rest import RESTClient
from pytest_kubesim.cluster import manifests
from pytest_kubesim.cni.network import PodNetwork
from pytest_kubesim.cri.images import Images
from pytest_kubesim.cri.linux.files import FileSystem
from pytest_kubesim.errors import UsageError, suggestion
from pytest_kubesim.kube_proxy.dns import ClusterDNS
from pytest_kubesim.kube_proxy.policies import Policies
from pytest_kubesim.kube_proxy.proxier import Proxier
from pytest_kubesim.kube_proxy.state import ClusterState
from pytest_kubesim.kubelet.config import KubeletConfiguration, NodeSpec
from pytest_kubesim.kubelet.machine import Machine
from pytest_kubesim.kubelet.preemption import SYSTEM_CRITICAL_PRIORITY
from pytest_kubesim.kubelet.stages import definition
from pytest_kubesim.kubelet.stages.casting import Casting
from pytest_kubesim.sim import durations
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.durations import Duration
from pytest_kubesim.sim.process import Process

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.faults.node import NodeFaults
    from pytest_kubesim.kubelet.kubelet import Kubelet
    from pytest_kubesim.kubelet.stages.player import Player
    from pytest_kubesim.kubelet.usage import NodeUsage

POWER_OFF_NS = NS
"""How long the operating system takes when the kubelet is done."""

OPTIONS = ("name", "cpu", "memory", "pods", "labels", "taints", "zone", "runtime")


class Node:
    """A machine of the cluster, by `kubesim.nodes["node-1"]`."""

    def __init__(
        self,
        cluster: Cluster,
        spec: NodeSpec,
        images: Images,
        config: KubeletConfiguration,
        *,
        adopt: bool = False,
    ) -> None:
        self._cluster = cluster
        self.spec = spec
        self.name = spec.name
        self.adopted = adopt
        """Whether somebody else made its Node object."""
        self.machine = Machine(
            cluster.kernel, spec, client=self._client, images=images, config=config,
            adopt=adopt,
            pod_network=cluster.nodes.pod_network,
            disks=cluster.nodes.disks,
            casting=cluster.nodes.casting,
        )

    def _client(self, process: Process) -> RESTClient:
        return self._cluster.control_plane.client(
            process,
            f"system:node:{self.name}",
            "system:nodes",
            agent="kubelet/v1.37.2 (linux/amd64) kubernetes/kubesim",
        )

    @property
    def powered(self) -> bool:
        """Whether it has power."""
        return self.machine.running

    @property
    def faults(self) -> NodeFaults:
        """What can be made to happen to it: `kubesim.faults.node(name)`."""
        return self._cluster.faults.node(self.name)

    def power_on(self) -> None:
        """Boot it."""
        self._cluster.journal.record("node", self.name, what="power on")
        self.machine.start()

    def power_off(self) -> None:
        """Everything on it ends at once."""
        self._cluster.journal.record("node", self.name, what="power off")
        self.machine.crash()

    def shut_down(
        self,
        grace_period: Duration = "30s",
        *,
        critical_pods: Duration = "10s",
        by_priority: Mapping[int, Duration] | None = None,
    ) -> None:
        """Shut it down in order: its kubelet ends the pods, then power goes off.

        Parameters: `grace_period`, how long all of it may take; `critical_pods`, how much of that
        is for critical pods, which end last; `by_priority`, in place of both: how long pods of that
        priority and above may take, the lowest first.
        """
        grace_ns = durations.to_ns(grace_period, "grace_period")
        critical_ns = durations.to_ns(critical_pods, "critical_pods")
        periods = {0: (grace_ns - critical_ns) // NS, SYSTEM_CRITICAL_PRIORITY: critical_ns // NS}
        if by_priority:
            periods = {
                priority: durations.to_ns(period, "by_priority") // NS
                for priority, period in by_priority.items()
            }
        kubelet = self.machine.kubelet
        self._cluster.journal.record("node", self.name, what="shut down")
        if kubelet.active is None or not kubelet.process.running:
            self.power_off()
            return
        shutdown = kubelet.active.shutdown

        async def run() -> None:
            await shutdown.run(periods)
            self._cluster.kernel.call_later(POWER_OFF_NS, self.power_off)

        kubelet.process.spawn(run(), name="node_shutdown")

    def put_static_pod(self, *manifests_: Any) -> None:
        """Put manifests of pods into the folder from which its kubelet runs static pods.

        Parameters: what `kubesim.apply` takes.  One of the same name and namespace is replaced.
        """
        for manifest in manifests.load(*manifests_):
            self.machine.kubelet.manifests[_file_of(manifest)] = manifest
        self._look_at_manifests()

    def remove_static_pod(self, name: str, namespace: str = "default") -> None:
        """Take the manifest of a static pod (by its name there) away: the pod ends.

        Raises: `KeyError` if there is none.
        """
        del self.machine.kubelet.manifests[f"{namespace}/{name}"]
        self._look_at_manifests()

    def _look_at_manifests(self) -> None:
        kubelet = self.machine.kubelet
        if kubelet.active is not None and kubelet.process.running:
            kubelet.process.call_later(0, kubelet.active.static.look)

    def stop_kubelet(self) -> None:
        """Its kubelet ends; containers go on."""
        self.machine.stop_kubelet()

    def start_kubelet(self) -> None:
        """Its kubelet starts."""
        self.machine.start_kubelet()

    def __repr__(self) -> str:
        return f"<Node {self.name} {'up' if self.powered else 'down'}>"


def _file_of(manifest: Object) -> str:
    return f"{meta.namespace(manifest) or 'default'}/{meta.name(manifest)}"


class Nodes(Mapping[str, Node]):
    """All machines of a cluster by name."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._nodes: dict[str, Node] = {}
        self._played: set[str] = set()
        self._count = 0
        self.images = Images()
        """What images, pods and containers run, on all nodes."""
        self.pod_network = PodNetwork(cluster.kernel, cluster.network)
        """The network of all pods."""
        self.pod_network.measure = self._measure
        self._join_network()
        self.disks: dict[str, FileSystem] = {}
        """What is on the disks behind persistent volumes, by the volume's uid."""
        self.casting = Casting()
        """What stages play instead of kubelets."""
        self._player: Player | None = None
        cluster.control_plane.on_definition(definition.NAME, self.play_stages)
        self.config = (
            KubeletConfiguration.instant() if cluster.config.instant else KubeletConfiguration()
        )

    def _join_network(self) -> None:
        """Services, names and policies: asleep until a program in a container connects."""

        def client() -> RESTClient:
            process = Process(self._cluster.kernel, "kube-proxy")
            process.start()
            return self._cluster.control_plane.client(
                process, "system:kube-proxy", "system:masters", agent="kube-proxy/v1.37.2"
            )

        network = self.pod_network
        state = ClusterState(client)
        network.resolver = ClusterDNS(state)
        network.translators.append(Proxier(network, state, self))
        network.filters.append(Policies(network, state, self))

    def _measure(self) -> list[NodeUsage]:
        kubelets = [node.machine.kubelet for node in self._nodes.values()]
        return [
            kubelet.server.usage()
            for kubelet in kubelets
            if kubelet.process.running and kubelet.active is not None
        ]

    def play_stages(self) -> None:
        """Start the player of `Stage` objects, once."""
        if self._player is not None:
            return
        from pytest_kubesim.kubelet.stages.player import Player

        control_plane = self._cluster.control_plane

        def client(process: Process) -> RESTClient:
            return control_plane.client(
                process, "kwok-controller", "system:masters", agent="kwok/0.8.0"
            )

        self._player = Player(
            self._cluster.kernel, client, self.casting, lambda name: name in self._nodes,
            host=control_plane.server.host,
        )
        self._player.process.start()

    def node_at(self, address: str) -> str:
        """The name of the node that has an address, else empty."""
        interface = self.pod_network.interface(address)
        if interface is None or interface.node not in self._nodes:
            return ""
        return interface.node if self._nodes[interface.node].spec.host_ip == address else ""

    def node_address(self, name: str) -> str:
        """The address of a node, else empty."""
        node = self._nodes.get(name)
        return "" if node is None else node.spec.host_ip

    def __getitem__(self, name: str) -> Node:
        try:
            return self._nodes[name]
        except KeyError:
            there = ", ".join(self._nodes) or "none; add some with kubesim.add_nodes()"
            raise KeyError(f"there is no node {name!r}; there are: {there}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, count: int = 1, **options: Any) -> list[Node]:
        """Add `count` nodes and boot them; see `Cluster.add_nodes`."""
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"add_nodes: count={count!r}: give a whole number from 1 on")
        for option in options:
            if option not in OPTIONS:
                raise UsageError(
                    f"add_nodes: unknown option {option!r};",
                    f"{suggestion(option, OPTIONS)}the options are {', '.join(OPTIONS)}",
                )
        if self._cluster.config.components != "all":
            raise UsageError(
                f"add_nodes: this cluster has components={self._cluster.config.components!r}, and "
                "so no kubelets; leave the option out, or create Node objects"
            )
        self._cluster.control_plane.start_storage()
        name = options.pop("name", None)
        options.setdefault("runtime", self._cluster.config.container_runtime)
        chosen = {key: value for key, value in options.items() if value is not None}
        made: list[Node] = []
        for number in range(1, count + 1):
            self._count += 1
            own = self._name(name, number, count)
            spec = NodeSpec(name=own, index=self._count, **chosen)
            node = Node(self._cluster, spec, self.images, self.config)
            self._nodes[own] = node
            node.power_on()
            made.append(node)
        return made

    def kubelet(self, name: str) -> Kubelet | None:
        """The kubelet of a node, or None."""
        node = self._nodes.get(name)
        return None if node is None else node.machine.kubelet

    def manage_all(self) -> None:
        """From here on every Node object that anyone creates gets a machine of its own.

        Such a machine changes nothing of its object but the status, and goes when the object goes.
        Its kubelet is hollow, as those of kubemark and kwok: pods run and end, without events.
        A Node that comes with a condition `Ready` has a kubelet already: somebody plays it, and
        does so again if it is made anew.
        """
        self._cluster.control_plane.on_node(self._object_written, self._object_deleted)

    def _object_written(self, node: Any) -> None:
        name: str = node["metadata"]["name"]
        if name in self._nodes or name in self._played:
            return
        if meta.condition(node, "Ready") is not None:
            self._played.add(name)
            return
        self._count += 1
        spec = NodeSpec(name=name, index=self._count)
        made = Node(self._cluster, spec, self.images, self.config.as_hollow(), adopt=True)
        self._nodes[name] = made
        made.power_on()

    def _object_deleted(self, name: str) -> None:
        gone = self._nodes.get(name)
        if gone is not None and gone.adopted:
            del self._nodes[name]
            gone.power_off()

    def _name(self, name: str | None, number: int, count: int) -> str:
        if name is None:
            index = self._count
            while f"node-{index}" in self._nodes:
                index += 1
            return f"node-{index}"
        own = name if count == 1 else f"{name}-{number}"
        if own in self._nodes:
            raise UsageError(f"add_nodes: there is a node {own!r} already; choose another name")
        return own

    def close(self) -> None:
        """End everything that runs on them."""
        for node in self._nodes.values():
            node.machine.crash()
