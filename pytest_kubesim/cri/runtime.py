"""The simulated container runtime of one node: containerd, CRI-O or Docker by data.

The law: it outlives the kubelet and dies with the node.  When the node goes down, what ran has
ended without anybody seeing it; when the node is up again the records of containers and sandboxes
are there (they are on disk), none runs, and images need not be pulled again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.cri import failures, probing
from pytest_kubesim.cri.container import CREATED, EXITED, RUNNING, Container, ContainerConfig
from pytest_kubesim.cri.flavours import CONTAINERD, Flavour
from pytest_kubesim.cri.images import Images, digest_of, parse, size_of, with_tag
from pytest_kubesim.cri.programs import (
    SIGKILL_CODE,
    WELL,
    ExecResult,
    Probe,
    ProbeResult,
    Program,
    timed_out,
)
from pytest_kubesim.cri.services import (
    NOT_READY,
    READY,
    AddressRange,
    CannotRun,
    ExecTimeout,
    Image,
    Listener,
    PodSandbox,
    PodSandboxConfig,
    PodState,
    RuntimeServiceError,
)
from pytest_kubesim.cri.sessions import ExecSession
from pytest_kubesim.errors import NotSimulated
from pytest_kubesim.sim.process import Process

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.files import FileSystem
    from pytest_kubesim.sim.kernel import Kernel

MS = 1_000_000

UNAVAILABLE = (
    'rpc error: code = Unavailable desc = connection error: desc = "transport: Error while '
    'dialing: dial unix /run/containerd/containerd.sock: connect: connection refused"'
)

DEAD_KEPT = 2
"""How many ended containers of a name are kept; the kubelet's garbage collection keeps one besides
the newest."""


@attrs.frozen(slots=True, kw_only=True)
class RuntimeConfiguration:
    """How long things take: pairs (least, most) in nanoseconds."""

    sandbox_ns: tuple[int, int] = (100 * MS, 400 * MS)
    create_ns: tuple[int, int] = (10 * MS, 40 * MS)
    start_ns: tuple[int, int] = (50 * MS, 300 * MS)
    pull_ns: tuple[int, int] = (500 * MS, 3_000 * MS)
    failed_pull_ns: tuple[int, int] = (300 * MS, 1_500 * MS)
    sandbox_stop_ns: tuple[int, int] = (20 * MS, 80 * MS)

    @classmethod
    def instant(cls) -> RuntimeConfiguration:
        """Nothing takes any time."""
        none = (0, 0)
        return cls(
            sandbox_ns=none,
            create_ns=none,
            start_ns=none,
            pull_ns=none,
            failed_pull_ns=none,
            sandbox_stop_ns=none,
        )


@attrs.define(slots=True, eq=False)
class _Pod:
    sandboxes: list[PodSandbox] = attrs.field(factory=list[PodSandbox])
    containers: list[Container] = attrs.field(factory=list[Container])
    attempts: dict[str, int] = attrs.field(factory=dict[str, int])


_UNKNOWN_POD = PodState()


class Runtime:
    """A container runtime (`RuntimeService` and `ImageService`).

    Parameters: `kernel`; `node`, the name of the host it runs on; `images`, the registry it pulls
    from; `flavour`; `config`, its latencies; `host_ip`, the address of pods in the host's network;
    `pod_cidr`, the range of other pods' addresses until the kubelet names one, and `network`, which
    makes of a range what gives its addresses.
    """

    def __init__(
        self,
        kernel: Kernel,
        node: str,
        *,
        images: Images,
        flavour: Flavour = CONTAINERD,
        config: RuntimeConfiguration | None = None,
        host_ip: str = "172.18.0.2",
        pod_cidr: str = "10.244.0.0/24",
        network: Callable[[str], AddressRange],
        pod_network: Any = None,
        disks: Any = None,
    ) -> None:
        self.kernel = kernel
        self.node = node
        self.images = images
        self.flavour = flavour
        self.config = config or RuntimeConfiguration()
        self.host_ip = host_ip
        self.process = Process(kernel, f"{flavour.name}@{node}", host=node)
        self.process.on_exit.append(self._went_down)
        self.boot = 0
        """How many times its host was booted."""
        self.silent_since_ns: int | None = None
        """Since when it does not answer, though containers go on; None: it answers."""
        self.on_silence: list[Callable[[], object]] = []
        """Called when it falls silent and when it answers again."""
        self._unheard: dict[str, None] = {}
        self._pods: dict[str, _Pod] = {}
        self._store: dict[str, Image] = {}
        self._listener: Listener | None = None
        self._network = network
        self._ipam = network(pod_cidr)
        self._ranges = {pod_cidr: self._ipam}
        self._sequence = 0
        self.network = pod_network
        """The pods' network (`cni.network.PodNetwork`)."""
        self.disks = disks
        """The disks behind persistent volumes, by the volume's name."""
        self.volumes: dict[tuple[str, str], FileSystem] = {}
        """The contents of pods' volumes, by the pod's uid and the volume's name."""
        self.host_files: FileSystem | None = None
        """The node's own files, made when a pod looks at them."""
        if pod_network is not None:
            pod_network.attach(host_ip, node)

    # -- its life -----------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """Whether it answers."""
        return self.process.running and self.silent_since_ns is None

    def fall_silent(self) -> None:
        """Answer no more, nor tell of anything: its process hangs, its containers go on."""
        if self.silent_since_ns is None:
            self.silent_since_ns = self.kernel.now_ns
            self._tell_of_silence()

    def answer_again(self) -> None:
        """Answer again; what happened meanwhile can be seen."""
        if self.silent_since_ns is None:
            return
        self.silent_since_ns = None
        unheard, self._unheard = self._unheard, {}
        for uid in unheard:
            if self._listener is not None:
                self._listener("changed", uid, None)
        self._tell_of_silence()

    def _tell_of_silence(self) -> None:
        for callback in tuple(self.on_silence):
            callback()

    def start(self) -> None:
        """The host boots: containers that ran are found ended, sandboxes not ready."""
        if self.process.alive:
            return
        self.process.start()
        self.silent_since_ns = None
        self._unheard.clear()
        self.boot += 1
        code, reason = self.flavour.lost_container
        for pod in self._pods.values():
            for sandbox in pod.sandboxes:
                self._close(sandbox)
            for container in pod.containers:
                if container.state == RUNNING:
                    container.bury(code, reason)

    def crash(self) -> None:
        """The host goes down."""
        self.process.crash()

    def _went_down(self, process: Process) -> None:
        del process
        for pod in self._pods.values():
            for container in pod.containers:
                container.lose()

    # -- sandboxes ----------------------------------------------------------------------------

    def subscribe(self, listener: Listener) -> None:
        """Hear of events from here on, in place of whoever heard before."""
        self._listener = listener

    def update_runtime_config(self, pod_cidr: str) -> None:
        """Take pods' addresses from `pod_cidr`; those given stay."""
        if pod_cidr != self._ipam.cidr:
            known = self._ranges.get(pod_cidr)
            # A range that comes back is the same one: what is given stays given.
            self._ipam = self._ranges[pod_cidr] = known or self._network(pod_cidr)

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> PodSandbox:
        """Create and start a sandbox."""
        await self._take(self.config.sandbox_ns, "sandbox", config.uid, config.attempt)
        id_ = self._id("sandbox", config.uid, config.attempt)
        sandbox = PodSandbox(id_, config, self.process.now_ns())
        if config.host_network:
            sandbox.ip = self.host_ip
        else:
            try:
                sandbox.ip = self._ipam.allocate(id_)
            except LookupError as problem:
                raise RuntimeServiceError(
                    f'rpc error: code = Unknown desc = failed to setup network for sandbox "{id_}":'
                    f' plugin type="ptp" failed (add): {problem}'
                ) from None
        pod = self._pods.get(config.uid)
        if pod is None:
            pod = self._pods[config.uid] = _Pod()
        if self.network is not None:
            sandbox.network = self.network
            owner = "" if config.host_network else f"{config.namespace}/{config.name}"
            self.network.attach(sandbox.ip, self.node, owner)
            for source, port in self._host_ports(config):
                self.network.forward(source, (sandbox.ip, port))
        pod.sandboxes.insert(0, sandbox)
        del pod.sandboxes[2:]
        return sandbox

    def _host_ports(self, config: PodSandboxConfig) -> list[tuple[tuple[str, int, str], int]]:
        """The node's ports that lead to a pod; its loopback is the node's own."""
        loopback = f"127.0.0.1@{self.host_ip}"
        found: list[tuple[tuple[str, int, str], int]] = []
        for host_ip, host_port, protocol, port in config.host_ports:
            addresses = (host_ip,) if host_ip else (self.host_ip, loopback)
            if host_ip == "127.0.0.1":
                addresses = (loopback,)
            found += [((address, host_port, protocol), port) for address in addresses]
        return found

    async def stop_pod_sandbox(self, sandbox: PodSandbox) -> None:
        """Stop a sandbox; what runs in it is killed."""
        if sandbox.state != READY:
            return
        uid = sandbox.config.uid
        await self._take(self.config.sandbox_stop_ns, "sandbox-stop", uid, sandbox.config.attempt)
        for container in self._containers(uid):
            if container.sandbox is sandbox:
                container.signal("SIGKILL")
        self._close(sandbox)

    def _close(self, sandbox: PodSandbox) -> None:
        if sandbox.state == READY:
            sandbox.state = NOT_READY
            if self.network is not None:
                self.network.detach(sandbox.ip)
                for source, _ in self._host_ports(sandbox.config):
                    self.network.forward(source, None)
            if not sandbox.config.host_network:
                for given in self._ranges.values():
                    given.release(sandbox.ip, sandbox.id)

    def remove_pod(self, uid: str) -> None:
        """Remove all that is left of a pod."""
        for key in [key for key in self.volumes if key[0] == uid]:
            del self.volumes[key]
        pod = self._pods.pop(uid, None)
        if pod is not None:
            for container in pod.containers:
                container.signal("SIGKILL")
            for sandbox in pod.sandboxes:
                self._close(sandbox)

    def pod_state(self, uid: str) -> PodState:
        """What it knows of a pod now."""
        pod = self._pods.get(uid)
        if pod is None:
            return _UNKNOWN_POD
        return PodState(tuple(pod.sandboxes), tuple(pod.containers))

    def last_attempt(self, uid: str, name: str) -> int | None:
        """The attempt of the last container of that name, which may be removed; its log tells."""
        pod = self._pods.get(uid)
        return pod.attempts.get(name) if pod is not None else None

    def pods(self) -> list[str]:
        """The uids of the pods it knows."""
        return list(self._pods)

    # -- containers ---------------------------------------------------------------------------

    async def create_container(self, sandbox: PodSandbox, config: ContainerConfig) -> Container:
        """Create a container in a sandbox."""
        uid = sandbox.config.uid
        await self._take(self.config.create_ns, "create", uid, config.name, config.attempt)
        if sandbox.state != READY:
            raise RuntimeServiceError(
                "rpc error: code = Unknown desc = failed to get sandbox container task: "
                f"no running task found: task {sandbox.id} not found"
            )
        meta = sandbox.config
        program = config.program or self.images.program_for(
            config.image, meta.namespace, meta.name, config.name
        )
        container = Container(
            self._id("container", uid, config.name, config.attempt),
            config,
            sandbox,
            program.for_attempt(config.attempt),
            self.process,
            self._changed,
        )
        if self.flavour.fails_at_creation:
            try:
                container.program.prepare(container)
            except CannotRun as problem:
                why = failures.start_failure(self.flavour, problem)
                raise RuntimeServiceError(f"rpc error: code = Unknown desc = {why}") from None
        self.images.made(container)
        self._pods[uid].attempts[config.name] = config.attempt
        containers = self._pods[uid].containers
        containers.insert(0, container)
        dead = [c for c in containers if c.name == config.name][1 + DEAD_KEPT :]
        for old in dead:
            containers.remove(old)
        return container

    async def start_container(self, container: Container) -> None:
        """Start a created container."""
        uid, config = container.pod_uid, container.config
        await self._take(self.config.start_ns, "start", uid, config.name, config.attempt)
        if late_ns := self.images.start_delay_ns(container):
            await self._sleep(late_ns)
        if container.state != CREATED or container.sandbox.state != READY:
            raise RuntimeServiceError(
                "rpc error: code = Unknown desc = failed to start container "
                f'"{container.id}": container is not in created state'
            )
        try:
            container.program.prepare(container)
        except CannotRun as problem:
            raise self._not_started(container, problem) from None
        container.begin()

    def _not_started(self, container: Container, problem: CannotRun) -> RuntimeServiceError:
        flavour = self.flavour
        container.message = why = failures.start_failure(flavour, problem)
        code = flavour.start_failure_code
        if code == 127:
            # Docker answers as a shell would, and has no other times of it than its creation's.
            container.started_ns = container.created_ns
            code = 127 if problem.fault == "ENOENT" else 126
        container.bury(code, flavour.start_failure_reason)
        self._changed("stopped", container)
        told = flavour.start_failure_wrap.format(id=container.id, problem=why)
        return RuntimeServiceError(f"rpc error: code = Unknown desc = {told}")

    async def stop_container(self, container: Container, timeout_ns: int) -> None:
        """SIGTERM, then SIGKILL after `timeout_ns`; returns once it has ended."""
        if container.state == CREATED:
            container.bury(SIGKILL_CODE, "StartError")
            return
        if container.state == EXITED:
            return
        container.signal("SIGTERM")
        if container.state == RUNNING:
            ended = container.exited.future()
            if not await self.kernel.wait_any(ended, timeout_ns=timeout_ns):
                container.signal("SIGKILL")

    def remove_container(self, container: Container) -> None:
        """Forget a container that does not run."""
        pod = self._pods.get(container.pod_uid)
        if pod is not None and container in pod.containers:
            container.signal("SIGKILL")
            pod.containers.remove(container)

    async def exec_sync(
        self, container: Container, command: tuple[str, ...], timeout_ns: int = 0
    ) -> ExecResult:
        """Run a command in a running container."""
        if container.state != RUNNING:
            why = failures.not_running(self.flavour, container)
            raise RuntimeServiceError(f"rpc error: code = Unknown desc = {why}")
        if container.program.live:
            return await self._run_sync(container, command, timeout_ns)
        return container.program.exec(container, command)

    async def _run_sync(
        self, container: Container, command: tuple[str, ...], timeout_ns: int
    ) -> ExecResult:
        await container.program.awaken(container)
        try:
            container.program.check_command(container, command)
        except CannotRun as problem:
            return failures.exec_sync_failure(self.flavour, container, problem)
        session = ExecSession(self.kernel)
        if session.stdin is not None:
            session.stdin.close()
        container.execute(command, session)
        pieces: dict[str, list[bytes]] = {"stdout": [], "stderr": []}

        def take() -> None:
            pieces["stdout"].append(session.stdout.read_nowait(1 << 24))
            pieces["stderr"].append(session.stderr.read_nowait(1 << 24))

        session.stdout.on_change = session.stderr.on_change = take
        limit_ns = timeout_ns or None
        if not await self.kernel.wait_any(session.exit_code, timeout_ns=limit_ns):
            container.interrupt(session)
            return failures.exec_timeout(self.flavour, timeout_ns)
        take()
        code = session.exit_code.result()
        texts = {n: b"".join(found).decode(errors="replace") for n, found in pieces.items()}
        return ExecResult(code, texts["stdout"], texts["stderr"])

    def check_exec(self, container: Container) -> None:
        """Raises `NotSimulated` where the container's program simulates no commands."""
        if container.program.exec_hook is None and not container.program.live:
            raise NotSimulated(
                f'The program of container "{container.name}" does not simulate commands.',
                "Give it a hook: `kubesim.images[...] = runs_forever().having(exec=...)`.",
            )

    async def exec(
        self, container: Container, command: tuple[str, ...], *, tty: bool = False
    ) -> ExecSession:
        """Begin a command in a running container, joined to a client."""
        if container.state != RUNNING:
            raise RuntimeServiceError(failures.not_running(self.flavour, container))
        self.check_exec(container)
        await container.program.awaken(container)
        session = ExecSession(self.kernel, tty=tty)
        try:
            container.program.check_command(container, command)
        except CannotRun as problem:
            result = failures.exec_failure(self.flavour, container, problem)
            session.stdout.write(result.stdout.encode())
            session.stderr.write(result.stderr.encode())
            session.ended(result.exit_code)
            return session
        container.execute(command, session)
        return session

    def probe(self, container: Container, probe: Probe) -> ProbeResult:
        """Ask a running container's program whether it is well."""
        if container.state != RUNNING:
            return ProbeResult(False)
        override = container.probe_override
        if override is not None and (result := override(probe)) is not None:
            return result
        program = container.program
        return WELL if type(program) is Program and not program.volatile else program.probe(
            container, probe
        )

    async def ask(self, container: Container, probe: Probe) -> ProbeResult:
        """Ask a running container, by processes and over the network where it has such."""
        override = container.probe_override
        if override is not None and (result := override(probe)) is not None:
            return result
        if container.state != RUNNING:
            return ProbeResult(False)
        if probe.kind != "exec":
            return await probing.over_network(self.network, self.host_ip, probe)
        try:
            result = await self.exec_sync(container, probe.command, probe.timeout_ns)
        except ExecTimeout:
            return timed_out(probe)
        except RuntimeServiceError as problem:
            return ProbeResult(False, str(problem), "error")
        output = (result.stdout + result.stderr)[: probing.MAX_BODY]
        return ProbeResult(result.exit_code == 0, output)

    # -- images -------------------------------------------------------------------------------

    def image_status(self, image: str) -> Image | None:
        """The image, if it is on the node."""
        return self._store.get(parse(image).full)

    async def pull_image(self, image: str, credentials: Any = None) -> Image:
        """Bring an image to the node; one that is there is checked in no time."""
        del credentials
        full = parse(image).full
        self._sequence += 1
        error = self.images.error_for(image)
        if error is not None:
            await self._take(self.config.failed_pull_ns, "failed-pull", full, self._sequence)
            raise RuntimeServiceError(error.message(self.flavour, image))
        present = self._store.get(full)
        slow_ns = self.images.duration_for(image)
        if slow_ns is not None and present is None:
            await self._sleep(slow_ns)
        elif present is None:
            await self._take(self.config.pull_ns, "pull", full)
        else:
            # Only the manifest is asked for.
            check_ns = self.config.pull_ns[0] // 10
            await self._take((check_ns, check_ns), "pull", full)
        if (error := self.images.error_for(image)) is not None:
            raise RuntimeServiceError(error.message(self.flavour, image))
        return self._store.get(full) or self._add(image)

    def preload(self, *images: str) -> None:
        """Have images on the node without a pull."""
        for image in images:
            if parse(image).full not in self._store:
                self._add(image)

    def list_images(self) -> list[Image]:
        """All images on the node, in the order in which they came."""
        return list(self._store.values())

    def _add(self, image: str) -> Image:
        reference, digest = parse(image), digest_of(image)
        full_names = self.flavour.full_image_names
        repository = reference.repository if full_names else reference.short
        entry = self._store[reference.full] = Image(
            digest,
            f"{self.flavour.image_id_prefix}{repository}@{digest}",
            reference.full if full_names else with_tag(image),
            size_of(image),
            self.process.now_ns(),
        )
        return entry

    # -- inside -------------------------------------------------------------------------------

    def _containers(self, uid: str) -> list[Container]:
        pod = self._pods.get(uid)
        return list(pod.containers) if pod is not None else []

    def _id(self, *event: object) -> str:
        return self.kernel.rng.bytes(32, "container-id", self.node, self.boot, *event).hex()

    def _changed(self, what: str, container: Container) -> None:
        if what != "probes":
            fields: dict[str, Any] = {"what": what, "pod": container.pod_name}
            fields["namespace"], fields["container"] = container.namespace, container.name
            if what == "stopped":
                fields["exit_code"], fields["reason"] = container.exit_code, container.reason
            self.kernel.journal.record("container", self.node, **fields)
        if self.silent_since_ns is not None:
            self._unheard[container.pod_uid] = None
        elif self._listener is not None:
            self._listener(what, container.pod_uid, container)

    async def _take(self, bounds_ns: tuple[int, int], *event: object) -> None:
        if not self.up:
            raise RuntimeServiceError(UNAVAILABLE)
        if bounds_ns[1]:
            await self._sleep(self.kernel.rng.between_ns(*bounds_ns, "cri", self.node, *event))

    async def _sleep(self, duration_ns: int) -> None:
        boot = self.process.incarnation
        await self.kernel.sleep(duration_ns)
        if not self.up or boot != self.process.incarnation:
            raise RuntimeServiceError(UNAVAILABLE)

