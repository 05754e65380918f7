"""A node as a machine: the host, its container runtime and its kubelet live and die together.

The law: a crash of the machine ends both at one instant; a boot starts the runtime, which finds its
containers ended, then the kubelet, which starts them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.cni.ipam import HostLocal
from pytest_kubesim.cni.network import PodNetwork
from pytest_kubesim.cri import flavours
from pytest_kubesim.cri.runtime import Runtime
from pytest_kubesim.kubelet.config import KubeletConfiguration, NodeSpec
from pytest_kubesim.kubelet.kubelet import ClientFactory, Kubelet

if TYPE_CHECKING:
    from pytest_kubesim.cri.images import Images
    from pytest_kubesim.cri.linux.files import FileSystem
    from pytest_kubesim.kubelet.stages.casting import Casting
    from pytest_kubesim.sim.kernel import Kernel


class Machine:
    """A node's host.

    Parameters: `kernel`; `spec`, what the node is like; `client`, which makes the kubelet's client;
    `images`, the registry and what its images do; `config`; `adopt`, to play the kubelet of a Node
    object that somebody else made; `pod_network`, `disks` and `casting` that it shares with others.
    """

    def __init__(
        self,
        kernel: Kernel,
        spec: NodeSpec,
        *,
        client: ClientFactory,
        images: Images,
        config: KubeletConfiguration | None = None,
        adopt: bool = False,
        pod_network: PodNetwork | None = None,
        disks: dict[str, FileSystem] | None = None,
        casting: Casting | None = None,
    ) -> None:
        config = config or KubeletConfiguration()
        self.spec = spec
        self.runtime = Runtime(
            kernel,
            spec.name,
            images=images,
            flavour=flavours.flavour(spec.runtime),
            config=config.runtime,
            host_ip=spec.host_ip,
            pod_cidr=spec.default_pod_cidr,
            network=HostLocal,
            pod_network=pod_network or PodNetwork(kernel),
            disks={} if disks is None else disks,
        )
        self.kubelet = Kubelet(
            kernel, node=spec, client=client, runtime=self.runtime, config=config, adopt=adopt,
            casting=casting,
        )

    @property
    def name(self) -> str:
        """The node's name."""
        return self.spec.name

    @property
    def running(self) -> bool:
        """Whether the host is up."""
        return self.runtime.process.alive

    def start(self) -> None:
        """Boot."""
        self.runtime.start()
        self.kubelet.start()

    def crash(self) -> None:
        """Power off, without a word."""
        self.kubelet.process.crash()
        self.runtime.crash()

    def reboot(self) -> None:
        """Power off and boot at the same instant."""
        self.crash()
        self.start()

    def stop_kubelet(self) -> None:
        """Stop the kubelet; containers go on, heartbeats do not."""
        self.kubelet.stop()

    def start_kubelet(self) -> None:
        """Start the kubelet (again)."""
        self.kubelet.start()

    def pause(self) -> None:
        """Freeze the host."""
        self.kubelet.process.pause()
        self.runtime.process.pause()

    def resume(self) -> None:
        """Let it go on."""
        self.runtime.process.resume()
        self.kubelet.process.resume()
