"""What pods have been granted of the node, and what becomes of wishes for more or less.

The law: a pod is run by what it was *allocated*, not by what it now asks for; a wish is granted if
it fits beside what others were allocated, and else deferred, to be looked at again when room is
made and every three minutes.  A granted wish is *in progress* until the containers have it.  What
was allocated outlives the kubelet: it lies in a file of the node.

Follows `pkg/kubelet/allocation/{allocation_manager,handlers}.go`, the resize conditions of
`pkg/kubelet/status/status_manager.go` and the messages of `pkg/kubelet/events/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.golang import json_text
from pytest_kubesim.cri import cgroups
from pytest_kubesim.cri.container import RUNNING, Container
from pytest_kubesim.kubelet.host import NORMAL, NOTHING, WARNING
from pytest_kubesim.kubelet.restart_policy import is_sidecar
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.services import PodState
    from pytest_kubesim.kubelet.admission import Rejection
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.sim.kernel import Timer

RETRY_NS = 180 * NS

PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
DEFERRED, INFEASIBLE, ERROR = "Deferred", "Infeasible", "Error"
_RESIZABLE = ("cpu", "memory")

Checkpoint = dict[str, "dict[str, Object | None]"]
"""By the pod's UID: resources by container; those of the pod itself under an empty name."""


class Allocations:
    """The allocations of one node's pods.

    Parameters: `host`; `checkpoint`, the file; `active`, gives the pods that use the node;
    `admit(pod, others)`, why a pod does not fit beside others; `sync(uid, pod)`, called with a pod
    whose allocation or conditions have changed.
    """

    def __init__(
        self,
        host: Host,
        checkpoint: Checkpoint,
        active: Callable[[], list[Object]],
        admit: Callable[[Object, list[Object]], Rejection | None],
        sync: Callable[[Object], object],
    ) -> None:
        self._host = host
        self._allocated = checkpoint
        self._active = active
        self._admit = admit
        self._sync = sync
        self._pending: dict[str, Object] = {}
        self._conditions: dict[str, dict[str, Object]] = {}
        self._timer: Timer | None = None

    # -- what was allocated -------------------------------------------------------------------

    def admitted(self, pod: Object) -> None:
        """The pod may run: it has what it asks for, unless it has been granted something before."""
        self._allocated.setdefault(pod["metadata"]["uid"], _resources_of(pod))

    def applied(self, pod: Object) -> Object:
        """The pod with what it was allocated; itself if that is what it asks for."""
        allocated = self._allocated.get(pod["metadata"]["uid"])
        if allocated is None or allocated == _resources_of(pod):
            return pod
        spec = {**pod["spec"]}
        for field in ("containers", "initContainers"):
            if spec.get(field):
                spec[field] = [_with(container, allocated) for container in spec[field]]
        spec.pop("resources", None)
        if allocated.get(""):
            spec["resources"] = allocated[""]
        return {**pod, "spec": spec}

    def forget(self, uid: str) -> None:
        """The pod is gone: there may be room for others."""
        self._allocated.pop(uid, None)
        self._conditions.pop(uid, None)
        self._pending.pop(uid, None)
        self.retry()

    # -- wishes -------------------------------------------------------------------------------

    def changed(self, old: Object, pod: Object) -> None:
        """The pod asks for something else now."""
        uid = pod["metadata"]["uid"]
        if uid in self._pending:
            self._pending[uid] = pod
        if uid not in self._allocated or _resources_of(old) == _resources_of(pod):
            return
        if self.applied(pod) is pod:
            # It is content with what it has.
            self._pending.pop(uid, None)
            self._clear(uid, PENDING)
            return
        self._pending[uid] = pod
        self.retry()

    def started(self, pod: Object) -> None:
        """The kubelet has just met the pod: what is said of it is taken up."""
        uid = pod["metadata"]["uid"]
        conditions: list[Object] = (pod.get("status") or NOTHING).get("conditions") or []
        for condition in conditions:
            if condition["type"] in (PENDING, IN_PROGRESS):
                self._conditions.setdefault(uid, {})[condition["type"]] = condition
        if uid in self._allocated and self.applied(pod) is not pod:
            self._pending[uid] = pod
            self.retry()

    def retry(self) -> None:
        """Look at what was deferred, in the order of urgency."""
        if not self._pending:
            return
        for uid in sorted(self._pending, key=self._urgency):
            pod = self._pending[uid]
            before = dict(self._conditions.get(uid) or {})
            granted = self._grant(pod)
            condition = (self._conditions.get(uid) or NOTHING).get(PENDING)
            if condition is None or condition["reason"] != DEFERRED:
                del self._pending[uid]
            if granted or before != (self._conditions.get(uid) or {}):
                self._sync(pod)
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pending:
            self._timer = self._host.process.call_later(
                RETRY_NS, self.retry, periodic=True, label="kubelet: deferred resizes"
            )

    def _urgency(self, uid: str) -> tuple[Any, ...]:
        """Those that give back first; then by priority, quality of service, and waiting time."""
        pod = self._pending[uid]
        asked, has = cgroups.pod_requests(pod), cgroups.pod_requests(self.applied(pod))
        more = any(
            cgroups.units(name, asked.get(name, "0")) > cgroups.units(name, has.get(name, "0"))
            for name in _RESIZABLE
        )
        condition = (self._conditions.get(uid) or NOTHING).get(PENDING)
        since = "~" if condition is None else condition["lastTransitionTime"]
        guaranteed = cgroups.qos_class(pod) == "Guaranteed"
        return more, -(pod["spec"].get("priority") or 0), not guaranteed, since

    def _grant(self, pod: Object) -> bool:
        """`handlePodResourcesResize`: whether the pod has been allocated what it asks for."""
        uid = pod["metadata"]["uid"]
        if self.applied(pod) is pod:
            self._clear(uid, PENDING)
            return False
        others = [other for other in self._active() if other["metadata"]["uid"] != uid]
        refusal = self._admit(pod, others)
        generation: int = pod["metadata"].get("generation") or 0
        if refusal is None:
            self._allocated[uid] = _resources_of(pod)
            self._clear(uid, PENDING)
            self._clear(uid, IN_PROGRESS)
            self._set(uid, IN_PROGRESS, "", "", generation)
            self._host.pod_event(
                pod, NORMAL, "ResizeStarted", _summary("Pod resize started", pod, generation)
            )
            return True
        before = (self._conditions.get(uid) or NOTHING).get(PENDING) or NOTHING
        reason = INFEASIBLE if refusal.reason == INFEASIBLE else DEFERRED
        self._set(uid, PENDING, reason, refusal.message, generation)
        if (before.get("reason"), before.get("observedGeneration")) != (reason, generation):
            words = _summary(f"Pod resize {refusal.reason}", pod, generation, refusal.message)
            self._host.pod_event(pod, WARNING, f"Resize{reason}", words)
        return False

    # -- conditions ---------------------------------------------------------------------------

    def conditions(self, uid: str) -> list[Object]:
        """What is said of the pod's resize, if there is one."""
        found = self._conditions.get(uid)
        if not found:
            return []
        return [found[type_] for type_ in (PENDING, IN_PROGRESS) if type_ in found]

    def _set(
        self, uid: str, type_: str, reason: str, message: str, generation: int
    ) -> None:
        conditions = self._conditions.setdefault(uid, {})
        old = conditions.get(type_)
        now = self._host.now()
        same = old is not None and old.get("reason", "") == reason
        condition: Object = {
            "type": type_,
            "status": "True",
            "lastProbeTime": now,
            "lastTransitionTime": old["lastTransitionTime"] if same and old else now,
        }
        if generation:
            condition["observedGeneration"] = generation
        if reason:
            condition["reason"] = reason
        if message:
            condition["message"] = message
        conditions[type_] = condition

    def _clear(self, uid: str, type_: str) -> Object | None:
        return (self._conditions.get(uid) or {}).pop(type_, None)

    def settle(self, pod: Object, state: PodState, *, terminal: bool = False) -> None:
        """Compare what was allocated with what containers have (`SyncPod`, at its start)."""
        uid = pod["metadata"]["uid"]
        if terminal:
            self._conditions.pop(uid, None)
            self._pending.pop(uid, None)
            return
        sandbox = state.active_sandbox
        moved = sandbox is not None and pod_moved(pod, sandbox.pod)
        if moved or any(True for _ in differing(pod, state)):
            if IN_PROGRESS not in (self._conditions.get(uid) or NOTHING):
                self._set(uid, IN_PROGRESS, "", "", pod["metadata"].get("generation") or 0)
            return
        condition = self._clear(uid, IN_PROGRESS)
        if condition is not None:
            generation: int = condition.get("observedGeneration") or 0
            words = _summary("Pod resize completed", pod, generation)
            self._host.pod_event(pod, NORMAL, "ResizeCompleted", words)

    def failed(self, pod: Object, message: str) -> None:
        """The containers could not be given what was allocated."""
        uid = pod["metadata"]["uid"]
        old = (self._conditions.get(uid) or NOTHING).get(IN_PROGRESS) or NOTHING
        generation: int = (
            old.get("observedGeneration") or pod["metadata"].get("generation") or 0
        )
        self._set(uid, IN_PROGRESS, ERROR, message, generation)
        if (old.get("reason"), old.get("message")) != (ERROR, message):
            words = _summary("Pod resize error", pod, generation, message)
            self._host.pod_event(pod, WARNING, "ResizeError", words)


# -- containers -------------------------------------------------------------------------------


def differing(pod: Object, state: PodState) -> Iterator[tuple[Object, Container]]:
    """The running containers that have something else than the pod was allocated.

    Init containers that end are not waited for, as `isResizableContainer` says.
    """
    spec = pod["spec"]
    outer: Object = spec.get("resources") or NOTHING
    sidecars = [c for c in spec.get("initContainers") or () if is_sidecar(c)]
    for container in (*spec["containers"], *sidecars):
        run = state.find(container["name"])
        if run is not None and run.state == RUNNING and changes(container, run, outer):
            yield container, run


def actual(pod: Object, state: PodState) -> Object:
    """The pod with what it and its running containers have; itself if that was allocated."""
    found = {container["name"]: run.config.resources for container, run in differing(pod, state)}
    sandbox = state.active_sandbox
    before: Object | None = None if sandbox is None else sandbox.pod
    moved = pod_moved(pod, before)
    if not found and not moved:
        return pod
    spec = {**pod["spec"]}
    for field in ("containers", "initContainers"):
        if spec.get(field):
            spec[field] = [
                {**c, "resources": found[c["name"]]} if c["name"] in found else c
                for c in spec[field]
            ]
    if moved and before is not None:
        spec["resources"] = before["spec"].get("resources") or NOTHING
    return {**pod, "spec": spec}


def changes(container: Object, run: Container, outer: Object) -> list[str]:
    """Which of cpu and memory a running container has otherwise than it should.

    `outer`: what the pod as a whole was allocated.
    """
    wanted: Object = container.get("resources") or NOTHING
    config = run.config
    if config.resources is wanted and config.pod_resources is outer:
        return []
    return [
        name
        for name in _RESIZABLE
        if _units(name, "requests", wanted) != _units(name, "requests", config.resources)
        or limit_of(name, wanted, outer) != limit_of(name, config.resources, config.pod_resources)
    ]


def limit_of(name: str, resources: Mapping[str, Any], outer: Mapping[str, Any]) -> int:
    """A container's limit, that of its pod where it has none (`kubeutil.GetLimits`); 0: none."""
    return _units(name, "limits", resources) or _units(name, "limits", outer)


def _units(name: str, field: str, resources: Mapping[str, Any]) -> int:
    amount = (resources.get(field) or NOTHING).get(name)
    return cgroups.units(name, amount) if amount else 0


def pod_moved(pod: Object, before: Object | None) -> bool:
    """Whether the pod as a whole was allocated something else than it had before."""
    if before is None or before is pod:
        return False
    wanted: Object = pod["spec"].get("resources") or NOTHING
    has: Object = before["spec"].get("resources") or NOTHING
    return wanted is not has and any(
        _units(name, field, wanted) != _units(name, field, has)
        for name in _RESIZABLE
        for field in ("requests", "limits")
    )


def needs_restart(container: Object, run: Container, outer: Object) -> bool:
    """Whether what changes cannot be changed while it runs (`resizePolicy`)."""
    changed = changes(container, run, outer)
    return any(
        policy["resourceName"] in changed and policy.get("restartPolicy") == "RestartContainer"
        for policy in container.get("resizePolicy") or ()
    )


def why_not_shrunk(
    resized: Iterable[tuple[Object, Container]],
    outer: Object,
    pod_limits: tuple[int | None, int | None],
    running: list[Container],
) -> str:
    """Why memory limits cannot be lowered now; empty if they can (`validateMemoryResizeAction`).

    Parameters: `resized`, the containers that get something else; `outer`, what the pod as a whole
    was allocated; `pod_limits`, the limit of its cgroup before and after; `running` containers.
    """
    whole: int = cgroups.usage(running)["memory"]
    before, after = pod_limits
    problems: list[str] = []
    if after is not None and (before is None or after < before) and whole >= after:
        problems.append(
            f"attempting to set pod memory limit ({after}) below current usage ({whole})"
        )
    for container, run in resized:
        wanted = limit_of("memory", container.get("resources") or NOTHING, outer)
        has = limit_of("memory", run.config.resources, run.config.pod_resources)
        used: int = cgroups.usage([run])["memory"]
        if wanted and (not has or wanted < has) and used >= wanted:
            # Upstream says here what the whole pod uses.
            problems.append(
                f'attempting to set container "{container["name"]}" memory limit ({wanted}) below '
                f"current usage ({whole})"
            )
    if not problems:
        return ""
    listed = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    return f"cannot decrease memory limits: {listed}"


def _resources_of(pod: Object) -> dict[str, Object | None]:
    spec = pod["spec"]
    found: dict[str, Object | None] = {"": spec.get("resources")}
    for container in (*spec["containers"], *(spec.get("initContainers") or ())):
        found[container["name"]] = container.get("resources") or {}
    return found


def _with(container: Object, allocated: dict[str, Object | None]) -> Object:
    resources = allocated.get(container["name"])
    if resources is None or resources == (container.get("resources") or {}):
        return container
    return {**container, "resources": resources}


def _summary(words: str, pod: Object, generation: int, error: str = "") -> str:
    spec, summary = pod["spec"], dict[str, Any]()
    for field in ("initContainers", "containers"):
        containers: list[Object] = spec.get(field) or []
        if containers:
            summary[field] = [
                {"name": c["name"], "resources": _ordered(c.get("resources") or NOTHING)}
                for c in containers
            ]
    summary["generation"] = generation
    if error:
        summary["error"] = error
    return f"{words}: {json_text(summary, sort_keys=False)}"


def _ordered(resources: Object) -> Object:
    return {
        field: dict(sorted(resources[field].items()))
        for field in ("limits", "requests")
        if resources.get(field)
    }
