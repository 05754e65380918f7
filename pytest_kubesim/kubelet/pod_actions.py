"""What has to be done for a pod: sandboxes, init containers, sidecars, containers.

The law: a pure function of the pod, the runtime's state and the probes' results; `kuberuntime`
carries it out.  Init containers run one after the other, each to its end (a sidecar: until it has
started); ordinary containers start together after the last; when none is to be kept or started, the
pod is to be killed.

Follows `computePodActions` and `computeInitContainerActions` in `pkg/kubelet/kuberuntime`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from pytest_kubesim.cri.container import CREATED, EXITED, RUNNING
from pytest_kubesim.kubelet import allocation
from pytest_kubesim.kubelet.host import NOTHING
from pytest_kubesim.kubelet.pod_conditions import any_main_started, sandbox_changed
from pytest_kubesim.kubelet.prober import LIVENESS, STARTUP
from pytest_kubesim.kubelet.restart_policy import (
    is_sidecar,
    matching_rule,
    should_be_restarted,
    should_restart,
)

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.cri.services import PodSandbox, PodState


class Results(Protocol):
    """What is known of a container's probes."""

    def verdict(self, kind: str, container: Container) -> bool | None:
        """The result of a probe; None while there is none."""
        ...


@attrs.frozen(slots=True)
class Kill:
    """A container to stop, and what is said of it."""

    container: Container
    spec: Object
    message: str
    reason: str = ""


@attrs.define(slots=True)
class PodActions:
    """What has to be done, in this order: kill, reset, sandbox, start."""

    kill_pod: bool = False
    create_sandbox: bool = False
    sandbox: PodSandbox | None = None
    attempt: int = 0
    kill: list[Kill] = attrs.field(factory=list[Kill])
    reset: list[Container] = attrs.field(factory=list["Container"])
    start_ephemeral: list[Object] = attrs.field(factory=list["Object"])
    start_init: list[Object] = attrs.field(factory=list["Object"])
    start: list[Object] = attrs.field(factory=list["Object"])
    resize: list[tuple[Object, Container]] = attrs.field(
        factory=list["tuple[Object, Container]"]
    )
    """Containers that go on running with other resources."""


def spec_hash(container: Object) -> str:
    """What makes a running container another one when it changes: name and image."""
    return f"{container['name']}\x1f{container.get('image') or ''}"


def compute(
    pod: Object, state: PodState, results: Results, *, restart_all: bool = False
) -> PodActions:
    """What has to be done for the pod now."""
    spec = pod["spec"]
    needed, attempt, _ = sandbox_changed(pod, state)
    actions = PodActions(
        kill_pod=needed,
        create_sandbox=needed,
        sandbox=state.sandboxes[0] if state.sandboxes else None,
        attempt=attempt,
    )
    if restart_all:
        actions.kill_pod = actions.create_sandbox = False
        actions.reset = _to_reset(pod, state)
        return actions
    if needed:
        _new_sandbox(pod, state, actions)
        return actions
    for entry in spec.get("ephemeralContainers") or ():
        if state.find(entry["name"]) is None:
            actions.start_ephemeral.append(entry)
    initialized = _init_containers(pod, state, results, actions)
    if actions.kill_pod or not initialized:
        return actions
    kept = _containers(pod, state, results, actions)
    if not kept and not actions.start:
        actions.kill_pod = True
        actions.start_init = []
    return actions


def _new_sandbox(pod: Object, state: PodState, actions: PodActions) -> None:
    spec = pod["spec"]
    policy = spec.get("restartPolicy") or "Always"
    if policy == "Never" and actions.attempt != 0 and state.containers:
        actions.create_sandbox = False
        return
    to_start: list[Object] = []
    for container in spec["containers"]:
        run = state.find(container["name"])
        once = (container.get("restartPolicy") or policy) == "OnFailure"
        if once and run is not None and run.state == EXITED and run.exit_code == 0:
            continue
        to_start.append(container)
    if not to_start and any(
        state.find(container["name"]) is not None for container in spec["containers"]
    ):
        actions.create_sandbox = False
        return
    if inits := spec.get("initContainers"):
        actions.start_init = [inits[0]]
    else:
        actions.start = to_start


def _containers(
    pod: Object, state: PodState, results: Results, actions: PodActions
) -> int:
    kept = 0
    policy = pod["spec"].get("restartPolicy") or "Always"
    outer: Object = pod["spec"].get("resources") or NOTHING
    for container in pod["spec"]["containers"]:
        name = container["name"]
        run = state.find(name)
        if run is None or run.state != RUNNING:
            if should_be_restarted(container, pod, state):
                actions.start.append(container)
            continue
        restart = (container.get("restartPolicy") or policy) != "Never"
        reason = ""
        if run.config.spec_hash != spec_hash(container):
            message = f"Container {name} definition changed"
            restart = True
        elif results.verdict(LIVENESS, run) is False:
            message, reason = f"Container {name} failed liveness probe", LIVENESS
        elif results.verdict(STARTUP, run) is False:
            message, reason = f"Container {name} failed startup probe", STARTUP
        elif allocation.changes(container, run, outer):
            if not allocation.needs_restart(container, run, outer):
                actions.resize.append((container, run))
                kept += 1
                continue
            actions.kill.append(Kill(run, container, f"Container {name} resize requires restart"))
            actions.start.append(container)
            continue
        else:
            kept += 1
            continue
        if restart:
            message = f"{message}, will be restarted"
            actions.start.append(container)
        actions.kill.append(Kill(run, container, message, reason))
    return kept


def _init_containers(
    pod: Object, state: PodState, results: Results, actions: PodActions
) -> bool:
    """Whether the pod is initialized; fills in what its init containers need."""
    inits: list[Object] = pod["spec"].get("initContainers") or []
    if not inits:
        return True
    outer: Object = pod["spec"].get("resources") or NOTHING
    initialized = any_main_started(pod, state)
    previously = initialized
    start: list[int] = []
    last = len(inits) - 1
    for index in range(last, -1, -1):
        container = inits[index]
        run = state.find_active(container["name"])
        if run is None:
            if previously and is_sidecar(container):
                start.append(index)
            continue
        if previously and not is_sidecar(container):
            continue
        if run.state == CREATED:
            start.append(index)
        elif run.state == RUNNING:
            if is_sidecar(container) and _sidecar_up(
                container, run, results, actions, start, index
            ):
                if index == last:
                    initialized = True
                elif not previously:
                    start.append(index + 1)
                _sidecar_check(pod, container, run, results, actions, start, index)
            elif not is_sidecar(container) and allocation.changes(container, run, outer):
                actions.resize.append((container, run))
        elif is_sidecar(container):
            start.append(index)
        elif run.exit_code != 0 or run.reason == "OOMKilled":
            policy = pod["spec"].get("restartPolicy") or "Always"
            if pod["metadata"].get("deletionTimestamp") or not should_restart(
                container, policy, run.exit_code or 0
            ):
                actions.kill_pod = True
                actions.start_init = []
                return False
            start.append(index)
        elif index == last:
            initialized = True
        else:
            start.append(index + 1)
        previously = True
    if not previously:
        start.append(0)
    actions.start_init = [inits[index] for index in reversed(start)]
    return initialized


def _sidecar_up(
    container: Object,
    run: Container,
    results: Results,
    actions: PodActions,
    start: list[int],
    index: int,
) -> bool:
    """Whether a running sidecar has started; one whose startup probe failed is restarted."""
    if "startupProbe" not in container:
        return True
    verdict = results.verdict(STARTUP, run)
    if verdict is False:
        message = f"Init container {container['name']} failed startup probe"
        actions.kill.append(Kill(run, container, message, STARTUP))
        start.append(index)
    return verdict is True


def _sidecar_check(
    pod: Object,
    container: Object,
    run: Container,
    results: Results,
    actions: PodActions,
    start: list[int],
    index: int,
) -> None:
    name = container["name"]
    outer: Object = pod["spec"].get("resources") or NOTHING
    if run.config.spec_hash != spec_hash(container):
        actions.kill.append(Kill(run, container, f"Init container {name} definition changed"))
        start.append(index)
    elif "livenessProbe" in container and results.verdict(LIVENESS, run) is False:
        message = f"Init container {name} failed liveness probe"
        actions.kill.append(Kill(run, container, message, LIVENESS))
        start.append(index)
    elif allocation.changes(container, run, outer):
        if not allocation.needs_restart(container, run, outer):
            actions.resize.append((container, run))
            return
        actions.kill.append(Kill(run, container, f"Container {name} resize requires restart"))
        start.append(index)


def _to_reset(pod: Object, state: PodState) -> list[Container]:
    """All containers, those that caused the restart last (`getContainersToReset`)."""
    sources: list[Container] = []
    targets: list[Container] = []
    spec = pod["spec"]
    for container in (*spec["containers"], *(spec.get("initContainers") or ())):
        for run in state.containers:
            if run.name != container["name"]:
                continue
            rule = matching_rule(container, run.exit_code or 0) if run.state == EXITED else None
            caused = rule is not None and rule.get("action") == "RestartAllContainers"
            (sources if caused else targets).append(run)
    return targets + sources
