"""The phase of a pod and the conditions that a kubelet owns.

The law: pure functions; the words are upstream's.  Times of transitions are the status manager's.

Follows `getPhase` in `pkg/kubelet/kubelet_pods.go` and `pkg/kubelet/status/generate.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.cri.container import EXITED
from pytest_kubesim.cri.services import READY
from pytest_kubesim.kubelet.container_statuses import RESTARTING_ALL
from pytest_kubesim.kubelet.restart_policy import is_sidecar, should_restart, should_restart_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.services import PodState

PENDING, RUNNING, SUCCEEDED, FAILED = "Pending", "Running", "Succeeded", "Failed"
TERMINAL = (SUCCEEDED, FAILED)

OWNED = frozenset({
    "PodScheduled", "Ready", "Initialized", "ContainersReady", "PodResizeInProgress",
    "PodResizePending", "PodReadyToStartContainers", "AllContainersRestarting",
})
"""Conditions that belong to the kubelet (`pkg/kubelet/types/pod_status.go`)."""


def any_main_started(pod: Object, state: PodState) -> bool:
    """Whether an ordinary container of the present sandbox has been created."""
    sandbox = state.active_sandbox
    if sandbox is None:
        return False
    names = {container["name"] for container in pod["spec"]["containers"]}
    return any(c.sandbox is sandbox and c.name in names for c in state.containers)


def phase(
    pod: Object,
    statuses: dict[str, Object],
    init_statuses: dict[str, Object],
    *,
    terminal: bool,
    initialized: bool,
) -> str:
    """The pod's phase by the statuses of its containers."""
    spec = pod["spec"]
    policy = spec.get("restartPolicy") or "Always"
    pending_init = pending_sidecars = lost = 0
    unknown = running = waiting = stopped = final = succeeded = 0
    for container in spec.get("initContainers") or ():
        status = init_statuses.get(container["name"])
        if is_sidecar(container):
            if status is None:
                unknown += 1
            elif "running" in status["state"]:
                pending_sidecars += not status.get("started")
                running += 1
            elif "waiting" in status["state"] and not status["lastState"].get("terminated"):
                pending_sidecars += 1
                waiting += 1
            continue
        ended = _ended(status)
        if ended is None:
            pending_init += 1
        elif ended["exitCode"] != 0 and not _restartable(container, policy, ended):
            lost += 1
    for container in spec["containers"]:
        status = statuses.get(container["name"])
        if status is None:
            unknown += 1
        elif "running" in status["state"]:
            running += 1
        else:
            ended = _ended(status)
            if ended is None:
                waiting += 1
            else:
                stopped += 1
                final += not _restartable(container, policy, ended)
                succeeded += "terminated" in status["state"] and ended["exitCode"] == 0
    if lost:
        return FAILED
    if pending_init or (pending_sidecars and not initialized) or waiting:
        return PENDING
    if running and not unknown:
        return RUNNING
    if not running and stopped and not unknown:
        if not terminal and stopped != final:
            return RUNNING
        return SUCCEEDED if stopped == succeeded else FAILED
    return PENDING


def _ended(status: Object | None) -> Object | None:
    if status is None:
        return None
    terminated = status["state"].get("terminated")
    if terminated is None and "waiting" in status["state"]:
        terminated = status["lastState"].get("terminated")
    return terminated


def _restartable(container: Object, policy: str, ended: Object) -> bool:
    return (
        should_restart(container, policy, ended["exitCode"])
        or ended.get("reason") == RESTARTING_ALL
    )


# -- conditions ------------------------------------------------------------------------------


def sandbox_changed(pod: Object, state: PodState) -> tuple[bool, int, str]:
    """Whether a new sandbox is needed, which attempt it is, and why."""
    if not state.sandboxes:
        return True, 0, "no pod sandbox exists"
    newest = state.sandboxes[0]
    attempt = newest.config.attempt
    if sum(sandbox.state == READY for sandbox in state.sandboxes) > 1:
        return True, attempt + 1, "multiple pod sandboxes are ready and need to be reconciled"
    if newest.state != READY:
        return True, attempt + 1, "pod sandbox is not ready"
    if newest.config.host_network != bool(pod["spec"].get("hostNetwork")):
        return (
            True,
            attempt + 1,
            "network namespace mode changed and sandbox needs to be recreated",
        )
    if not newest.config.host_network and not newest.ip:
        return True, attempt + 1, "pod sandbox has no IP address"
    return False, attempt, ""


def _condition(
    pod: Object, type_: str, ok: bool, reason: str = "", message: str = ""
) -> Object:
    condition: Object = {"type": type_, "status": "True" if ok else "False"}
    if generation := pod["metadata"].get("generation"):
        condition["observedGeneration"] = generation
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def ready_to_start(pod: Object, state: PodState) -> Object:
    """`PodReadyToStartContainers`."""
    needed, _, why = sandbox_changed(pod, state)
    if not needed:
        return _condition(pod, "PodReadyToStartContainers", True)
    return _condition(pod, "PodReadyToStartContainers", False, "PodSandboxNotReady", why)


def initialized(
    pod: Object,
    old_status: Object,
    statuses: dict[str, Object],
    init_statuses: dict[str, Object],
    phase_: str,
) -> Object:
    """`Initialized`."""
    inits: Sequence[Object] = pod["spec"].get("initContainers") or ()
    if not inits and phase_ != SUCCEEDED:
        return _condition(pod, "Initialized", True)
    unknown: list[str] = []
    incomplete: list[str] = []
    for container in inits:
        status = init_statuses.get(container["name"])
        if status is None:
            unknown.append(container["name"])
        elif not status.get("started" if is_sidecar(container) else "ready"):
            incomplete.append(container["name"])
    if phase_ == SUCCEEDED and not unknown:
        return _condition(pod, "Initialized", True, "PodCompleted")
    if any("running" in s["state"] or "terminated" in s["state"] for s in statuses.values()):
        return _condition(pod, "Initialized", True)
    message = _listing(
        ("containers with unknown status", unknown),
        ("containers with incomplete status", incomplete),
    )
    if message and not any(
        c["type"] == "Initialized" and c["status"] == "True"
        for c in old_status.get("conditions") or ()
    ):
        return _condition(pod, "Initialized", False, "ContainersNotInitialized", message)
    return _condition(pod, "Initialized", True)


def containers_ready(
    pod: Object, statuses: dict[str, Object], init_statuses: dict[str, Object], phase_: str
) -> Object:
    """`ContainersReady`."""
    unknown: list[str] = []
    unready: list[str] = []
    spec = pod["spec"]
    parts = [(c, init_statuses) for c in spec.get("initContainers") or () if is_sidecar(c)]
    parts += [(c, statuses) for c in spec["containers"]]
    for container, known in parts:
        status = known.get(container["name"])
        if status is None:
            unknown.append(container["name"])
        elif not status["ready"]:
            unready.append(container["name"])
    if phase_ == SUCCEEDED and not unknown:
        return _condition(pod, "ContainersReady", False, "PodCompleted")
    if phase_ == FAILED:
        return _condition(pod, "ContainersReady", False, "PodFailed")
    message = _listing(
        ("containers with unknown status", unknown), ("containers with unready status", unready)
    )
    if message:
        return _condition(pod, "ContainersReady", False, "ContainersNotReady", message)
    return _condition(pod, "ContainersReady", True)


def ready(pod: Object, others: Sequence[Object], containers: Object) -> Object:
    """`Ready`: as `ContainersReady`, and all readiness gates are open."""
    if containers["status"] != "True":
        return {**containers, "type": "Ready"}
    closed: list[str] = []
    for gate in pod["spec"].get("readinessGates") or ():
        type_ = gate["conditionType"]
        found = next((c for c in others if c["type"] == type_), None)
        if found is None:
            closed.append(
                f'corresponding condition of pod readiness gate "{type_}" does not exist.'
            )
        elif found["status"] != "True":
            closed.append(
                f'the status of pod readiness gate "{type_}" is not "True", but {found["status"]}'
            )
    if closed:
        return _condition(pod, "Ready", False, "ReadinessGatesNotReady", ", ".join(closed))
    return _condition(pod, "Ready", True)


def scheduled(pod: Object) -> Object:
    """`PodScheduled`: the kubelet would not see the pod otherwise."""
    return _condition(pod, "PodScheduled", True)


def all_restarting(pod: Object, state: PodState, old_status: Object, phase_: str) -> Object:
    """`AllContainersRestarting`, for pods with a rule that can cause it."""
    condition: Object = {"type": "AllContainersRestarting", "status": "False"}
    if phase_ in TERMINAL:
        condition["reason"] = "PodCompleted" if phase_ == SUCCEEDED else "PodFailed"
    elif should_restart_all(pod, state, old_status) and state.containers:
        condition["status"] = "True"
        condition["reason"] = "RestartAllContainersStarted"
        condition["message"] = "container exited with restart policy rule"
    return condition


def terminal_readiness(pod: Object, type_: str, phase_: str) -> Object:
    """`Ready` or `ContainersReady` of a pod that has ended."""
    return _condition(pod, type_, False, "PodFailed" if phase_ == FAILED else "PodCompleted")


def exited_cleanly(state: PodState) -> bool:
    """Whether every container that the runtime knows has ended."""
    return all(container.state == EXITED for container in state.containers)


def _listing(*groups: tuple[str, list[str]]) -> str:
    return ", ".join(f"{what}: [{' '.join(names)}]" for what, names in groups if names)
