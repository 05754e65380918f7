"""Statuses of a pod's containers as the API shows them, from what the runtime knows.

The law: pure functions of the pod, the runtime's state, the statuses reported before and the
reasons why containers could not be started.  What was `terminated` and is not in the runtime any
more stays as it was reported.

Follows `convertToAPIContainerStatuses` in `pkg/kubelet/kubelet_pods.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.timestamps import format_time
from pytest_kubesim.cri.container import CREATED, EXITED, RUNNING
from pytest_kubesim.kubelet.host import NOTHING
from pytest_kubesim.kubelet.restart_policy import is_sidecar, should_be_restarted

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.cri.services import PodState

CONTAINER_CREATING, POD_INITIALIZING = "ContainerCreating", "PodInitializing"
STATUS_UNKNOWN = "ContainerStatusUnknown"
RESTARTING_ALL = "RestartingAllContainers"
POD_MESSAGES_LIMIT = 12 * 1024

Reasons = Callable[[str], "tuple[str, str] | None"]
"""Why a container could not be started last time: `(reason, message)` by its name."""


def container_statuses(
    pod: Object,
    state: PodState,
    previous: Sequence[Object],
    containers: Sequence[Object],
    reasons: Reasons,
    runtime_name: str,
    *,
    init: bool = False,
    has_init: bool = False,
    restarting: bool = False,
    reports_user: bool = True,
) -> list[Object]:
    """The statuses of `containers`, in the order in which the API shows them."""
    before = {status["name"]: status for status in previous}
    statuses: list[Object] = []
    for container in containers:
        name = container["name"]
        old = before.get(name)
        runs = [c for c in state.containers if c.name == name]
        if runs:
            status = _known(container, runs[0], old, runtime_name, reports_user, pod)
            if len(runs) > 1:
                status["lastState"] = _state(runs[1], runtime_name, pod)
        else:
            status = _absent(container, old, pod, has_init, restarting)
        if _finished_init(init, container, runs, status, state, pod):
            statuses.append(status)
            continue
        if should_be_restarted(container, pod, state) and (why := reasons(name)) is not None:
            if "terminated" in status["state"]:
                status["lastState"] = status["state"]
            waiting: Object = {"reason": why[0]}
            if why[1]:
                waiting["message"] = why[1]
            status["state"] = {"waiting": waiting}
        statuses.append(status)
    if not init and len(statuses) > 1:
        statuses.sort(key=lambda status: status["name"])
    return statuses


def _message_limit(pod: Object) -> int:
    spec = pod["spec"]
    fields = ("containers", "initContainers", "ephemeralContainers")
    return POD_MESSAGES_LIMIT // sum(len(spec.get(field) or ()) for field in fields)


def _finished_init(
    init: bool,
    container: Object,
    runs: list[Container],
    status: Object,
    state: PodState,
    pod: Object,
) -> bool:
    if not init:
        return False
    if runs:
        return runs[0].state == EXITED and runs[0].exit_code == 0
    if is_sidecar(container) or "waiting" not in status["state"]:
        return False
    if not any(state.find(c["name"]) is not None for c in pod["spec"]["containers"]):
        return False
    status["state"] = {"terminated": {
        "exitCode": 0,
        "finishedAt": None,
        "startedAt": None,
        "reason": "Completed",
        "message": "Unable to get init container status from container runtime and pod has been "
        "initialized, treat it as exited normally",
    }}
    return True


def _absent(
    container: Object, old: Object | None, pod: Object, has_init: bool, restarting: bool
) -> Object:
    """The status of a container that the runtime does not know (any more, or yet)."""
    if old is not None and "terminated" in old["state"] and not restarting:
        return dict(old)
    status: Object = {
        "name": container["name"],
        "state": {"waiting": {"reason": POD_INITIALIZING if has_init else CONTAINER_CREATING}},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": container.get("image") or "",
        "imageID": "",
    }
    mounts = _volume_mounts(container)
    if mounts:
        status["volumeMounts"] = mounts
    if old is None:
        return status
    status["restartCount"] = old["restartCount"]
    status["lastState"] = old.get("lastState") or NOTHING
    if restarting and "waiting" not in old["state"]:
        words = "The container is removed because RestartAllContainers in place"
        status["state"] = {"waiting": {"reason": RESTARTING_ALL, "message": words}}
        status["lastState"] = {"terminated": _unseen(RESTARTING_ALL, words)}
        status["restartCount"] = old["restartCount"] + 1
    elif "running" in old["state"] and "terminated" not in status["lastState"]:
        status["lastState"] = {"terminated": _unseen(
            STATUS_UNKNOWN,
            "The container could not be located when the pod was deleted.  "
            "The container used to be Running",
        )}
        if not pod["metadata"].get("deletionTimestamp"):
            status["restartCount"] += 1
    return status


def _unseen(reason: str, message: str) -> Object:
    return {
        "exitCode": 137,
        "finishedAt": None,
        "startedAt": None,
        "reason": reason,
        "message": message,
    }


def lost(message: str = "The container could not be located when the pod was terminated") -> Object:
    """The state of a container that nobody saw end."""
    return {"terminated": _unseen(STATUS_UNKNOWN, message)}


def _known(
    container: Object,
    run: Container,
    old: Object | None,
    runtime_name: str,
    reports_user: bool,
    pod: Object,
) -> Object:
    config = run.config
    status: Object = {
        "name": run.name,
        "state": _state(run, runtime_name, pod),
        "lastState": {},
        "ready": False,
        "restartCount": config.attempt,
        "image": config.image_name or config.image,
        "imageID": config.image_ref,
        "containerID": f"{runtime_name}://{run.id}",
    }
    if old is not None:
        if mounts := old.get("volumeMounts"):
            status["volumeMounts"] = mounts
        if old["restartCount"] > config.attempt:
            status["restartCount"] = old["restartCount"]
        terminated = old["state"].get("terminated")
        if terminated is not None and old.get("containerID") != status["containerID"]:
            status["lastState"] = {"terminated": terminated}
        elif (old.get("lastState") or NOTHING).get("terminated") is not None:
            status["lastState"] = old["lastState"]
        if run.state == RUNNING and "started" in old:
            status["started"] = old["started"]
            if terminated is not None and old["restartCount"] >= config.attempt:
                status["restartCount"] = old["restartCount"] + 1
    resources = container.get("resources") or NOTHING
    actual = run.config.resources if run.state == RUNNING else resources
    status["resources"] = {k: v for k, v in actual.items() if k != "claims"}
    if requests := resources.get("requests"):
        status["allocatedResources"] = requests
    if reports_user and run.state != CREATED:
        uid, gid, groups = config.user
        status["user"] = {"linux": {"uid": uid, "gid": gid, "supplementalGroups": list(groups)}}
    return status


def _state(run: Container, runtime_name: str, pod: Object) -> Object:
    if run.state == RUNNING:
        return {"running": {"startedAt": format_time(run.started_ns or 0)}}
    if run.state == CREATED:
        return {"waiting": {}}
    terminated: dict[str, Any] = {
        "exitCode": run.exit_code,
        "reason": run.reason,
        # What never ran started at the beginning of Unix' time.
        "startedAt": format_time(run.started_ns or 0),
        "finishedAt": format_time(run.finished_ns or 0),
        "containerID": f"{runtime_name}://{run.id}",
    }
    if run.message:
        # `normalizeStatus`: 12 KiB for all containers of a pod.
        terminated["message"] = run.message[: _message_limit(pod)]
    return {"terminated": terminated}


def _volume_mounts(container: Object) -> list[Object]:
    mounts: list[Object] = []
    for mount in container.get("volumeMounts") or ():
        entry: Object = {"name": mount["name"], "mountPath": mount["mountPath"]}
        if mount.get("readOnly"):
            entry["readOnly"] = True
            wanted = mount.get("recursiveReadOnly") or "Disabled"
            enabled = wanted in ("Enabled", "IfPossible")
            entry["recursiveReadOnly"] = "Enabled" if enabled else "Disabled"
        mounts.append(entry)
    return mounts
