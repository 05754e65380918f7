"""Making a pod run, and stopping it: the runtime manager.

Follows `pkg/kubelet/kuberuntime/{kuberuntime_manager,kuberuntime_container,
kuberuntime_termination_order}.go`, step by step and word for word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery.timestamps import format_duration
from pytest_kubesim.cri.container import EXITED, RUNNING, Container
from pytest_kubesim.cri.services import PodSandbox, PodSandboxConfig, RuntimeServiceError
from pytest_kubesim.kubelet import allocation, container_files, linux_resources, pod_actions
from pytest_kubesim.kubelet.backoff import Backoff
from pytest_kubesim.kubelet.container_config import ContainerConfigs
from pytest_kubesim.kubelet.errors import ResizeError, StartError, SyncError
from pytest_kubesim.kubelet.host import NORMAL, NOTHING, WARNING, full_name
from pytest_kubesim.kubelet.image_manager import ERR_IMAGE_PULL
from pytest_kubesim.kubelet.lifecycle_hooks import run_hook
from pytest_kubesim.kubelet.prober import LIVENESS, STARTUP
from pytest_kubesim.kubelet.restart_policy import is_sidecar
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.tasks import Event

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.services import PodState
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.kubelet.image_manager import ImageManager
    from pytest_kubesim.kubelet.pod_actions import PodActions, Results
    from pytest_kubesim.kubelet.reason_cache import ReasonCache
    from pytest_kubesim.kubelet.references import References
    from pytest_kubesim.kubelet.volume_contents import VolumeContents

MINIMUM_GRACE_SECONDS = 2

CRASH_LOOP_BACK_OFF = "CrashLoopBackOff"
CREATE_CONTAINER_ERROR = "CreateContainerError"
RUN_CONTAINER_ERROR = "RunContainerError"
POST_START_HOOK_ERROR = "PostStartHookError"


class KubeRuntime:
    """Brings pods to the state that their specs ask for.

    Parameters: `host`; `images`, which brings images; `references`, where environment variables
    come from; `reasons`, where failures to start are left; `results` of probes; `sandbox_ready`,
    told when a pod's sandbox is up; `contents` of volumes.
    """

    def __init__(
        self,
        host: Host,
        images: ImageManager,
        references: References,
        reasons: ReasonCache,
        results: Results,
        sandbox_ready: Callable[[Object], object],
        contents: VolumeContents,
    ) -> None:
        self._host = host
        self._images = images
        self._references = references
        self._reasons = reasons
        self._results = results
        self._sandbox_ready = sandbox_ready
        self._configs = ContainerConfigs(host, references, contents)
        config = host.config
        self._crash_loop = Backoff(
            config.crash_loop_initial_ns, config.crash_loop_max_ns, config.crash_loop_reset_ns
        )
        self._hurry: dict[str, Event] = {}
        self._resized: set[str] = set()

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._crash_loop.forget(f"{uid}/")
        self._hurry.pop(uid, None)
        self._resized.discard(uid)

    def has_resized(self, uid: str) -> bool:
        """Whether running containers of a pod were given something else, since this was asked."""
        if uid not in self._resized:
            return False
        self._resized.discard(uid)
        return True

    # -- making it run ------------------------------------------------------------------------

    async def sync_pod(self, pod: Object, state: PodState, *, restart_all: bool = False) -> bool:
        """Do what has to be done; whether anything was done.

        Raises: `SyncError` when something could not be done.
        """
        actions = pod_actions.compute(pod, state, self._results, restart_all=restart_all)
        if actions.create_sandbox and actions.sandbox is not None:
            self._host.pod_event(
                pod, NORMAL, "SandboxChanged",
                "Pod sandbox changed, it will be killed and re-created.",
            )
        if actions.kill_pod:
            await self.kill_pod(pod, state)
        else:
            for kill in actions.kill:
                await self._kill_container(
                    pod, kill.spec, kill.container, kill.message, kill.reason
                )
            for run in actions.reset:
                await self._reset(pod, run)
        sandbox, made_ns = actions.sandbox, None
        if actions.create_sandbox:
            sandbox = await self._create_sandbox(pod, actions.attempt)
            made_ns = self._host.kernel.now_ns
            self._sandbox_ready(pod)
        if sandbox is None:
            return actions.kill_pod
        before, sandbox.pod = sandbox.pod, pod
        try:
            await self._start_all(pod, state, sandbox, actions)
        except SyncError as error:
            error.sandbox_ns = made_ns
            raise
        try:
            resized = self._resize(pod, before, state, actions)
        except ResizeError:
            sandbox.pod = before
            raise
        return bool(
            resized or actions.kill_pod or actions.kill or actions.reset
            or actions.create_sandbox or actions.start or actions.start_init
            or actions.start_ephemeral
        )

    def _resize(
        self, pod: Object, before: Object | None, state: PodState, actions: PodActions
    ) -> bool:
        """Give the pod and its containers what it was allocated; whether any got something.

        Raises: `ResizeError` when one uses more than it is to have.
        """
        moved = allocation.pod_moved(pod, before)
        if not actions.resize and not moved:
            return False
        outer: Object = pod["spec"].get("resources") or NOTHING
        node = self._host.node
        after = linux_resources.of_pod(node, pod).memory_limit
        limits = (
            linux_resources.of_pod(node, before).memory_limit if before is not None else after,
            after,
        )
        running = [run for run in state.containers if run.state == RUNNING]
        if why := allocation.why_not_shrunk(actions.resize, outer, limits, running):
            raise ResizeError(why)
        for container, run in actions.resize:
            resources: Object = container.get("resources") or NOTHING
            run.config = attrs.evolve(
                run.config,
                resources=resources,
                pod_resources=outer,
                memory_limit=allocation.limit_of("memory", resources, outer) or None,
            )
        self._resized.add(pod["metadata"]["uid"])
        return True

    async def _start_all(
        self, pod: Object, state: PodState, sandbox: PodSandbox, actions: PodActions
    ) -> None:
        errors: list[StartError] = []
        for container in actions.start_ephemeral:
            await self._try_start(pod, state, sandbox, container, errors)
        for container in actions.start_init:
            started = await self._try_start(pod, state, sandbox, container, errors)
            if not started and not is_sidecar(container):
                break
        else:
            for container in actions.start:
                await self._try_start(pod, state, sandbox, container, errors)
        if errors:
            await self._tell_of_missing_secrets(pod, errors)
            retries = [e.retry_at_ns for e in errors if e.retry_at_ns is not None]
            raise SyncError("; ".join(map(str, errors)), min(retries) if retries else None)

    async def _tell_of_missing_secrets(self, pod: Object, errors: list[StartError]) -> None:
        """A pull has failed: perhaps for want of secrets that the pod names."""
        wanted = pod["spec"].get("imagePullSecrets")
        if not wanted or all(error.reason != ERR_IMAGE_PULL for error in errors):
            return
        namespace = pod["metadata"]["namespace"]
        missing = [
            name for ref in wanted
            if (name := ref.get("name")) and not await self._references.find(
                "Secret", namespace, name
            )
        ]
        if missing:
            self._host.pod_event(
                pod, WARNING, "FailedToRetrieveImagePullSecret",
                f"Unable to retrieve some image pull secrets ({', '.join(missing)}); attempting to "
                "pull the image may not succeed.",
            )

    async def _try_start(
        self,
        pod: Object,
        state: PodState,
        sandbox: PodSandbox,
        container: Object,
        errors: list[StartError],
    ) -> bool:
        uid, name = pod["metadata"]["uid"], container["name"]
        try:
            self._back_off(pod, state, container)
            await self._start_container(pod, state, sandbox, container)
        except StartError as error:
            self._reasons.put(uid, name, error.reason, error.message)
            errors.append(error)
            return False
        self._reasons.remove(uid, name)
        return True

    def _back_off(self, pod: Object, state: PodState, container: Object) -> None:
        name = container["name"]
        ended = next((c for c in state.containers if c.name == name and c.state == EXITED), None)
        if ended is None:
            return
        since_ns, now_ns = ended.finished_ns or 0, self._host.now_ns()
        resources = container.get("resources") or ""
        key = f"{pod['metadata']['uid']}/{name}/{container.get('image')}/{resources}"
        if self._crash_loop.since(key, since_ns, now_ns):
            self._host.container_event(
                pod, name, WARNING, "BackOff",
                f"Back-off restarting failed container {name} in pod {full_name(pod)}",
            )
            delay_ns = self._crash_loop.get(key)
            raise StartError(
                CRASH_LOOP_BACK_OFF,
                f"back-off {format_duration(delay_ns)} restarting failed container={name} "
                f"pod={full_name(pod)}",
                since_ns + delay_ns,
            )
        self._crash_loop.next(key, since_ns, now_ns)

    async def _create_sandbox(self, pod: Object, attempt: int) -> PodSandbox:
        meta, spec = pod["metadata"], pod["spec"]
        if spec.get("dnsConfig"):
            for complaint in container_files.dns_complaints(pod):
                self._host.pod_event(pod, WARNING, "DNSConfigForming", complaint)
        try:
            return await self._host.runtime.run_pod_sandbox(PodSandboxConfig(
                uid=meta["uid"],
                name=meta["name"],
                namespace=meta["namespace"],
                attempt=attempt,
                hostname=container_files.hostname(pod, self._host.node.name),
                host_network=bool(spec.get("hostNetwork")),
                labels=meta.get("labels") or {},
                annotations=meta.get("annotations") or {},
                sysctls=_sysctls(spec),
                host_ports=_host_ports(spec),
            ))
        except RuntimeServiceError as error:
            self._host.pod_event(
                pod, WARNING, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}"
            )
            raise SyncError(f"failed to CreatePodSandbox: {error}") from None

    # -- one container ------------------------------------------------------------------------

    async def _start_container(
        self, pod: Object, state: PodState, sandbox: PodSandbox, container: Object
    ) -> None:
        host, name = self._host, container["name"]
        try:
            image = await self._images.ensure_image_exists(pod, container)
        except StartError as error:
            host.container_event(pod, name, WARNING, "Failed", f"Error: {error.reason}")
            raise
        previous = state.find(name)
        last = previous.config.attempt if previous is not None else host.runtime.last_attempt(
            pod["metadata"]["uid"], name
        )
        attempt = 0 if last is None else last + 1
        try:
            config = await self._configs.make(pod, container, sandbox, image, attempt)
        except StartError as error:
            host.container_event(pod, name, WARNING, "Failed", f"Error: {error.message}")
            raise
        try:
            run = await host.runtime.create_container(sandbox, config)
        except RuntimeServiceError as error:
            raise self._failed(pod, name, CREATE_CONTAINER_ERROR, error) from None
        host.container_event(pod, name, NORMAL, "Created", "Container created")
        try:
            await host.runtime.start_container(run)
        except RuntimeServiceError as error:
            raise self._failed(pod, name, RUN_CONTAINER_ERROR, error) from None
        host.container_event(pod, name, NORMAL, "Started", "Container started")
        hook = (container.get("lifecycle") or NOTHING).get("postStart")
        if hook is not None:
            problem = await run_hook(host, pod, container, run, hook)
            if problem:
                host.container_event(
                    pod, name, WARNING, "FailedPostStartHook", "PostStartHook failed"
                )
                await self._kill_container(pod, container, run, "FailedPostStartHook")
                raise StartError(POST_START_HOOK_ERROR, problem)

    def _failed(
        self, pod: Object, name: str, reason: str, error: RuntimeServiceError
    ) -> StartError:
        message = str(error).partition(" desc = ")[2] or str(error)
        self._host.container_event(pod, name, WARNING, "Failed", f"Error: {message}")
        return StartError(reason, message)

    async def _reset(self, pod: Object, run: Container) -> None:
        container = _spec_of(pod, run.name)
        if run.state == RUNNING and container is not None:
            await self._kill_container(pod, container, run, "killing", grace_seconds=0)
        self._host.runtime.remove_container(run)

    # -- stopping it --------------------------------------------------------------------------

    async def kill_pod(
        self, pod: Object, state: PodState, grace_seconds: int | None = None
    ) -> None:
        """Stop all containers together, then the sandboxes."""
        host = self._host
        running = [c for c in state.containers if c.state == RUNNING]
        specs = [(run, _spec_of(pod, run.name)) for run in running]
        order: dict[str, Event] | None = None
        inits = pod["spec"].get("initContainers")
        if inits and any(is_sidecar(c) for c in inits):
            order = {run.name: Event(host.kernel) for run in running}
        jobs = [
            self._kill_container(
                pod, spec or {"name": run.name}, run, "", grace_seconds=grace_seconds, order=order
            )
            for run, spec in specs
        ]
        if len(jobs) == 1:
            await jobs[0]
        elif jobs:
            tasks = [
                host.process.spawn(job, name=f"kill {full_name(pod)}", daemon=True)
                for job in jobs
            ]
            for task in tasks:
                await task
        for sandbox in state.sandboxes:
            try:
                await host.runtime.stop_pod_sandbox(sandbox)
            except RuntimeServiceError as error:
                raise SyncError(f"failed to KillPodSandbox: {error}") from None

    def hurry(self, uid: str, state: PodState, grace_seconds: int) -> None:
        """The grace period of a pod that is being stopped was shortened."""
        for run in state.containers:
            if run.state == RUNNING:
                self._host.process.call_later(
                    max(grace_seconds, MINIMUM_GRACE_SECONDS) * NS, run.signal, "SIGKILL",
                    label=f"kill container {run.namespace}/{run.pod_name}/{run.name}",
                )
        event = self._hurry.get(uid)
        if event is not None:
            event.set()

    async def _kill_container(
        self,
        pod: Object,
        container: Object,
        run: Container,
        message: str,
        reason: str = "",
        *,
        grace_seconds: int | None = None,
        order: dict[str, Event] | None = None,
    ) -> None:
        host, name = self._host, run.name
        grace = _grace_seconds(pod, container, reason)
        host.container_event(
            pod, name, NORMAL, "Killing", message or f"Stopping container {name}"
        )
        if grace_seconds is not None:
            grace = grace_seconds
        hook = (container.get("lifecycle") or NOTHING).get("preStop")
        if hook is not None and grace > 0:
            grace -= await self._pre_stop(pod, container, run, hook, grace)
        if order is not None and grace > 0:
            grace -= await self._wait_for_turn(pod, name, order, grace)
        grace = max(grace, MINIMUM_GRACE_SECONDS)
        try:
            await host.runtime.stop_container(run, grace * NS)
        except RuntimeServiceError as error:
            raise SyncError(f"failed to KillContainer: {error}") from None
        if order is not None and name in order:
            order[name].set()

    async def _pre_stop(
        self, pod: Object, container: Object, run: Container, hook: Object, grace: int
    ) -> int:
        """Run the hook, at most for `grace` seconds; how many whole seconds it took."""
        host = self._host
        begun_ns = host.now_ns()

        async def run_it() -> None:
            if await run_hook(host, pod, container, run, hook):
                host.container_event(
                    pod, run.name, WARNING, "FailedPreStopHook", "PreStopHook failed"
                )

        task = host.process.spawn(run_it(), name=f"preStop {full_name(pod)}", daemon=True)
        hurry = self._hurry.setdefault(pod["metadata"]["uid"], Event(host.kernel))
        await host.kernel.wait_any(task, hurry.future(), timeout_ns=grace * NS)
        return (host.now_ns() - begun_ns) // NS

    async def _wait_for_turn(
        self, pod: Object, name: str, order: dict[str, Event], grace: int
    ) -> int:
        """Sidecars end after all containers, and after the sidecars that were started later."""
        host = self._host
        inits: list[Object] = pod["spec"]["initContainers"]
        sidecars = [c["name"] for c in inits if is_sidecar(c)]
        if name not in sidecars:
            return 0
        before = [c["name"] for c in pod["spec"]["containers"]]
        before += sidecars[sidecars.index(name) + 1 :][:1]
        begun_ns = host.now_ns()
        for other in before:
            event = order.get(other)
            if event is None or event.is_set():
                continue
            left_ns = grace * NS - (host.now_ns() - begun_ns)
            if not await host.kernel.wait_any(event.future(), timeout_ns=left_ns):
                break
        return (host.now_ns() - begun_ns) // NS


def _spec_of(pod: Object, name: str) -> Object | None:
    spec = pod["spec"]
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            if container["name"] == name:
                return container
    return None


def _grace_seconds(pod: Object, container: Object, reason: str) -> int:
    own = pod["metadata"].get("deletionGracePeriodSeconds")
    if own is not None:
        return own
    seconds = pod["spec"].get("terminationGracePeriodSeconds")
    if seconds is None:
        return MINIMUM_GRACE_SECONDS
    field = {STARTUP: "startupProbe", LIVENESS: "livenessProbe"}.get(reason, "")
    probe = container.get(field) or NOTHING
    return probe.get("terminationGracePeriodSeconds") or seconds


def _sysctls(spec: Object) -> dict[str, str]:
    context = spec.get("securityContext") or NOTHING
    return {entry["name"]: entry["value"] for entry in context.get("sysctls") or ()}


def _host_ports(spec: Object) -> tuple[tuple[str, int, str, int], ...]:
    if spec.get("hostNetwork"):
        return ()
    return tuple(
        (
            "" if (ip := port.get("hostIP") or "") in ("0.0.0.0", "::") else ip,  # noqa: S104
            port["hostPort"], port.get("protocol") or "TCP", port["containerPort"],
        )
        for container in spec["containers"]
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )
