"""The CRI: what a kubelet asks of a container runtime, as protocols and records.

Calls that take time in production are coroutines; reading state is not: it costs the kubelet no
turn.  Errors are `RuntimeServiceError` with the text that a gRPC status would carry.

Follows `k8s.io/cri-api/pkg/apis/services.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from pytest_kubesim.cri.container import Container, ContainerConfig
from pytest_kubesim.cri.flavours import Flavour
from pytest_kubesim.cri.programs import ExecResult, Probe, ProbeResult

READY, NOT_READY = "SANDBOX_READY", "SANDBOX_NOTREADY"


class RuntimeServiceError(Exception):
    """What the runtime answered instead; `str(error)` is what events show."""


class CannotRun(RuntimeServiceError):
    """An image holds no such executable; `executable` as the pod names it, `fault` the errno."""

    def __init__(self, problem: str, executable: str = "", fault: str = "ENOENT") -> None:
        super().__init__(problem)
        self.executable = executable
        self.fault = fault


class ExecTimeout(RuntimeServiceError):
    """A command did not end in time."""


@attrs.frozen(slots=True)
class PodSandboxConfig:
    """What a sandbox is made for."""

    uid: str
    name: str
    namespace: str
    attempt: int = 0
    hostname: str = ""
    host_network: bool = False
    labels: Mapping[str, str] = attrs.field(factory=dict[str, str])
    annotations: Mapping[str, str] = attrs.field(factory=dict[str, str])
    sysctls: Mapping[str, str] = attrs.field(factory=dict[str, str])
    host_ports: tuple[tuple[str, int, str, int], ...] = ()
    """Ports of the node that lead to it: (host IP, host port, protocol, its port)."""


@attrs.define(slots=True, eq=False)
class PodSandbox:
    """The surroundings of a pod's containers: its address above all."""

    id: str
    config: PodSandboxConfig
    created_ns: int
    state: str = READY
    ip: str = ""
    network: Any = None
    """The pods' network."""
    pod: Any = None
    """The pod with what it was allocated, as its kubelet last looked at it."""


@attrs.frozen(slots=True)
class Image:
    """An image on the node."""

    id: str
    """The digest of its content."""
    ref: str
    """`registry/path@digest`: what status calls `imageID`."""
    name: str
    """What status calls `image`."""
    size: int
    pulled_ns: int


@attrs.frozen(slots=True)
class PodState:
    """All that the runtime knows of one pod, newest first (`kubecontainer.PodStatus`)."""

    sandboxes: tuple[PodSandbox, ...] = ()
    containers: tuple[Container, ...] = ()

    def find(self, name: str) -> Container | None:
        """The newest container of that name."""
        for container in self.containers:
            if container.name == name:
                return container
        return None

    def find_active(self, name: str) -> Container | None:
        """The newest container of that name in the newest sandbox, if that is ready."""
        sandbox = self.active_sandbox
        if sandbox is None:
            return None
        for container in self.containers:
            if container.name == name and container.sandbox is sandbox:
                return container
        return None

    @property
    def active_sandbox(self) -> PodSandbox | None:
        """The newest sandbox, if it is ready."""
        if self.sandboxes and self.sandboxes[0].state == READY:
            return self.sandboxes[0]
        return None

    @property
    def ips(self) -> tuple[str, ...]:
        """The pod's addresses."""
        sandbox = self.active_sandbox
        return (sandbox.ip,) if sandbox is not None and sandbox.ip else ()


Listener = Callable[[str, str, Container | None], object]
"""Hears of `(what, pod uid, container)`: `started`, `stopped`, `probes`, `sandbox`."""


class AddressRange(Protocol):
    """Where the addresses of sandboxes come from: what a CNI plugin brings."""

    cidr: str

    def allocate(self, owner: str) -> str:
        """A free address; raises `LookupError` with the plugin's words when there is none."""
        ...

    def release(self, address: str, owner: str) -> None:
        """Give an address back, if it is the owner's."""
        ...


class RuntimeService(Protocol):
    """Sandboxes and containers of one node."""

    flavour: Flavour

    @property
    def up(self) -> bool:
        """Whether it answers."""
        ...

    def subscribe(self, listener: Listener) -> None:
        """Hear of events from here on, replacing whoever heard before (`GetContainerEvents`)."""
        ...

    def update_runtime_config(self, pod_cidr: str) -> None:
        """Take pods' addresses from `pod_cidr`."""
        ...

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> PodSandbox:
        """Create and start a sandbox; raises `RuntimeServiceError`."""
        ...

    async def stop_pod_sandbox(self, sandbox: PodSandbox) -> None:
        """Stop a sandbox: kills what still runs in it and gives its address back."""
        ...

    def remove_pod(self, uid: str) -> None:
        """Remove all sandboxes and containers of a pod, and their logs."""
        ...

    def pod_state(self, uid: str) -> PodState:
        """What it knows of a pod now."""
        ...

    def last_attempt(self, uid: str, name: str) -> int | None:
        """The attempt of the last container of that name, which may be removed; its log tells."""
        ...

    def pods(self) -> list[str]:
        """The uids of the pods it knows."""
        ...

    async def create_container(self, sandbox: PodSandbox, config: ContainerConfig) -> Container:
        """Create a container; raises `RuntimeServiceError`."""
        ...

    async def start_container(self, container: Container) -> None:
        """Start it; raises `RuntimeServiceError`."""
        ...

    async def stop_container(self, container: Container, timeout_ns: int) -> None:
        """SIGTERM, and SIGKILL after `timeout_ns`; returns when it has ended."""
        ...

    def remove_container(self, container: Container) -> None:
        """Forget a container that has ended."""
        ...

    async def exec_sync(
        self, container: Container, command: tuple[str, ...], timeout_ns: int
    ) -> ExecResult:
        """Run a command in it."""
        ...

    def probe(self, container: Container, probe: Probe) -> ProbeResult:
        """Ask a running container's program whether it is well."""
        ...


class ImageService(Protocol):
    """Images of one node."""

    def image_status(self, image: str) -> Image | None:
        """The image, if it is on the node."""
        ...

    async def pull_image(self, image: str, credentials: Any = None) -> Image:
        """Bring it to the node; raises `RuntimeServiceError`."""
        ...

    def list_images(self) -> list[Image]:
        """All images on the node, in the order in which they came."""
        ...
