"""A container in which a script runs."""

from pytest_kubesim.cni.ipam import HostLocal
from pytest_kubesim.cni.network import PodNetwork
from pytest_kubesim.cri.container import ContainerConfig
from pytest_kubesim.cri.images import Images
from pytest_kubesim.cri.runtime import Runtime, RuntimeConfiguration
from pytest_kubesim.cri.services import PodSandboxConfig
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel


class Box:
    """A node's runtime with pods in one network."""

    made = []

    def __init__(self):
        self.made.append(self)
        self.kernel = Kernel(seed=3)
        self.network = PodNetwork(self.kernel)
        self.runtime = Runtime(
            self.kernel, "n", images=Images(), network=HostLocal, pod_network=self.network,
            config=RuntimeConfiguration.instant(),
        )
        self.runtime.start()
        self._count = 0

    def do(self, coro):
        return self.kernel.run_coroutine(coro)

    def run(self, seconds):
        self.kernel.run(until_ns=self.kernel.now_ns + round(seconds * NS))

    def start(self, *command, image="busybox", sandbox=None, **config):
        self._count += 1
        uid = f"u{self._count}"

        async def go():
            box = sandbox or await self.runtime.run_pod_sandbox(
                PodSandboxConfig(uid, f"pod-{self._count}", "default", hostname=f"pod-{self._count}")
            )
            await self.runtime.pull_image(image)
            container = await self.runtime.create_container(
                box, ContainerConfig("c", 0, image, command=tuple(command), **config)
            )
            await self.runtime.start_container(container)
            return container

        return self.do(go())

    def sh(self, script, seconds=3600, **config):
        """The output and exit code of a script."""
        container = self.start("sh", "-c", script, **config)
        self.run(seconds)
        return "".join(
            line.text + ("" if line.partial else "\n") for line in container.logs
        ), container.exit_code

    @classmethod
    def close_all(cls):
        """Power off: nothing that was started is left behind."""
        while cls.made:
            cls.made.pop().runtime.crash()
