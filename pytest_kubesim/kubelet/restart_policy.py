"""Whether a container that has ended is started again: policies of pod and container, and rules.

Follows `pkg/api/v1/pod/util.go` (`ContainerShouldRestart`) and `pkg/kubelet/container/helpers.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.cri.container import CREATED, EXITED, RUNNING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.services import PodState

RESTART, RESTART_ALL = "Restart", "RestartAllContainers"


def is_sidecar(container: Object) -> bool:
    """Whether an init container is a restartable one."""
    return container.get("restartPolicy") == "Always"


def matching_rule(container: Object, exit_code: int) -> Object | None:
    """The first restart rule of the container that fits the exit code."""
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes")
        if codes is None:
            continue
        listed = exit_code in (codes.get("values") or ())
        if listed == (codes.get("operator") == "In"):
            return rule
    return None


def should_restart(container: Object, pod_policy: str, exit_code: int) -> bool:
    """Whether a container that ended with that code is started again."""
    policy = container.get("restartPolicy")
    if policy is not None:
        rule = matching_rule(container, exit_code)
        if rule is not None and rule.get("action") in (RESTART, RESTART_ALL):
            return True
    else:
        policy = pod_policy
    if policy == "OnFailure":
        return exit_code != 0
    return policy != "Never"


def should_be_restarted(container: Object, pod: Object, state: PodState) -> bool:
    """Whether the next sync of the pod starts (or starts again) that container."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    found = state.find(container["name"])
    if found is None or found.state == CREATED:
        return True
    if found.state == RUNNING:
        return False
    assert found.state == EXITED
    return should_restart(
        container, pod["spec"].get("restartPolicy") or "Always", found.exit_code or 0
    )


def is_restartable(container: Object, pod_policy: str) -> bool:
    """Whether a container may ever be started again (`IsContainerRestartable`)."""
    policy = container.get("restartPolicy")
    if policy is None:
        return pod_policy != "Never"
    rules = container.get("restartPolicyRules") or ()
    return policy != "Never" or any(rule.get("action") == RESTART for rule in rules)


def all_could_restart(pod: Object) -> bool:
    """Whether any rule of the pod restarts all its containers."""
    spec = pod["spec"]
    return any(
        rule.get("action") == RESTART_ALL
        for container in (*(spec.get("initContainers") or ()), *spec["containers"])
        for rule in container.get("restartPolicyRules") or ()
    )


def should_restart_all(pod: Object, state: PodState, status: Object) -> bool:
    """Whether a container ended in a way that restarts all containers of the pod."""
    for condition in status.get("conditions") or ():
        if condition["type"] == "AllContainersRestarting" and condition["status"] == "True":
            return True
    spec = pod["spec"]
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        if not container.get("restartPolicyRules"):
            continue
        found = state.find(container["name"])
        if found is None or found.state != EXITED:
            continue
        rule = matching_rule(container, found.exit_code or 0)
        if rule is not None and rule.get("action") == RESTART_ALL:
            return True
    return False
