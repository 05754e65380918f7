"""What the API server is told of pods: statuses are cached, compared, sent one after the other.

The law (`pkg/kubelet/status/status_manager.go`): a status that says nothing new is not sent; a
later one replaces an earlier one that has not gone out; a terminal phase is withheld as long as
containers may still run; a pod that is marked for deletion and has ended for good is deleted with
grace 0.  What cannot be sent is sent again with the next tick of ten seconds, and so is what
somebody else overwrote.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import status as apistatus
from pytest_kubesim.client_go.resources import PODS
from pytest_kubesim.kubelet import hollow, pod_conditions
from pytest_kubesim.kubelet.beginnings import Beginnings
from pytest_kubesim.kubelet.container_statuses import lost
from pytest_kubesim.kubelet.status_patch import MERGE_KEYS, status_patch
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.sim.kernel import Timer

_NO_STATUS: Object = {}


@attrs.define(slots=True, eq=False)
class _Entry:
    uid: str
    namespace: str
    name: str
    pod: Object
    """The newest the kubelet has seen of the pod, its status included."""
    status: Object | None = None
    version: int = 0
    sent: int = 0
    finished: bool = False
    reconcile: bool = False


class StatusManager:
    """The statuses of one kubelet's pods.

    Parameters: `host`; `could_run`, whether containers of a pod (by UID) may still run.
    """

    def __init__(self, host: Host, could_run: Callable[[str], bool]) -> None:
        self._host = host
        self._could_run = could_run
        self._entries: dict[str, _Entry] = {}
        self._dirty: dict[str, None] = {}
        self._sending = False
        self._retry: Timer | None = None
        self._beginnings = Beginnings(host, self.send)
        self.mirrors: dict[str, str] = {}
        """By the UID of a static pod that of its mirror pod; empty while there is none."""

    # -- what the kubelet knows ---------------------------------------------------------------

    def observe(self, pod: Object) -> None:
        """The API server shows the pod like this."""
        meta = pod["metadata"]
        entry = self._entries.get(meta["uid"])
        if entry is None:
            self._entries[meta["uid"]] = _Entry(
                meta["uid"], meta["namespace"], meta["name"], pod
            )
            return
        if _version(pod) <= _version(entry.pod):
            return
        shown = entry.pod.get("status")
        entry.pod = pod
        if entry.status is None or entry.sent < entry.version:
            return
        if (
            not self._host.config.hollow
            and pod.get("status") is not shown
            and pod.get("status") != shown
        ):
            # Somebody else wrote it (`needsReconcile`); kwok lets that be.
            entry.reconcile = True
            self._later()
        elif entry.finished and meta.get("deletionTimestamp"):
            self._mark(entry)

    def get(self, uid: str) -> Object | None:
        """The status last set, or None."""
        entry = self._entries.get(uid)
        return None if entry is None else entry.status

    def pod(self, uid: str) -> Object | None:
        """The newest that is known of a pod, or None."""
        entry = self._entries.get(uid)
        return None if entry is None else entry.pod

    def send(self, uid: str) -> None:
        """Send the status of a pod (again)."""
        entry = self._entries.get(uid)
        if entry is not None and entry.status is not None:
            self._mark(entry)

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._entries.pop(uid, None)
        self._dirty.pop(uid, None)
        self._beginnings.forget(uid)

    # -- setting ------------------------------------------------------------------------------

    def set_pod_status(self, pod: Object, status: Object) -> None:
        """The pod's status is this now."""
        meta = pod["metadata"]
        if meta["uid"] in self._host.casting.taken:
            return
        if generation := meta.get("generation"):
            status["observedGeneration"] = generation
        self._update(pod, status, force="deletionTimestamp" in meta, finished=False)

    def set_condition(self, pod: Object, condition: Object) -> None:
        """Replace or append one condition of the status last set."""
        old = self.get(pod["metadata"]["uid"]) or pod.get("status") or _NO_STATUS
        present_ones: list[Object] = old.get("conditions") or []
        conditions = list(present_ones)
        for position, present in enumerate(conditions):
            if present["type"] == condition["type"]:
                conditions[position] = condition
                break
        else:
            conditions.append(condition)
        self.set_pod_status(pod, {**old, "conditions": conditions})

    def set_container_field(
        self, uid: str, container_id: str, field: str, value: bool
    ) -> None:
        """A probe found a container `started` or `ready`, or not."""
        entry = self._entries.get(uid)
        if entry is None or entry.status is None:
            return
        status, pod = dict(entry.status), entry.pod
        changed = False
        for part in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
            parts: list[Object] = status.get(part) or []
            for position, one in enumerate(parts):
                if one.get("containerID") == container_id and one.get(field) != value:
                    fresh = list(parts)
                    fresh[position] = {**one, field: value}
                    status[part] = fresh
                    changed = True
        if not changed:
            return
        if field == "ready":
            statuses = {s["name"]: s for s in status.get("containerStatuses") or ()}
            inits = {s["name"]: s for s in status.get("initContainerStatuses") or ()}
            containers = pod_conditions.containers_ready(pod, statuses, inits, status["phase"])
            conditions: list[Object] = status["conditions"]
            ready = pod_conditions.ready(pod, conditions, containers)
            found = {"ContainersReady": containers, "Ready": ready}
            status["conditions"] = [found.get(c["type"], c) for c in conditions]
        self._update(pod, status, force=False, finished=False)

    def terminate_pod(self, pod: Object) -> None:
        """Nothing of the pod runs any more, for good."""
        uid = pod["metadata"]["uid"]
        status = dict(self.get(uid) or pod.get("status") or _NO_STATUS)
        if _has_initialized(pod, status):
            status["containerStatuses"] = [
                s if "terminated" in s["state"] else {**s, "state": lost()}
                for s in status.get("containerStatuses") or ()
            ]
        inits: list[Object] = status.get("initContainerStatuses") or []
        if inits:
            last = max(
                (
                    i
                    for i, s in enumerate(inits)
                    if "waiting" not in s["state"] or s["lastState"].get("terminated")
                ),
                default=0,
            )
            status["initContainerStatuses"] = [
                s if i > last or "terminated" in s["state"] else {**s, "state": lost()}
                for i, s in enumerate(inits)
            ]
        if status.get("phase") not in pod_conditions.TERMINAL:
            status["phase"] = pod_conditions.FAILED
        self._update(pod, status, force=True, finished=True)

    def _update(self, pod: Object, status: Object, *, force: bool, finished: bool) -> None:
        meta = pod["metadata"]
        entry = self._entries.get(meta["uid"])
        if entry is None:
            self.observe(pod)
            entry = self._entries[meta["uid"]]
        cached = entry.status
        old = cached if cached is not None else pod.get("status") or _NO_STATUS
        now = self._host.now()
        status["conditions"] = _with_times(
            status.get("conditions") or [], old.get("conditions") or (), now
        )
        status["startTime"] = old.get("startTime") or status.get("startTime") or now
        if (observed := old.get("observedGeneration")) and observed > status.get(
            "observedGeneration", 0
        ):
            status["observedGeneration"] = observed
        if cached is not None and not force and _same(cached, status):
            return
        entry.status = status
        entry.version += 1
        entry.finished = entry.finished or finished
        if _version(pod) > _version(entry.pod):
            entry.pod = pod
        if entry.sent or not self._beginnings.keeps(entry.uid, status):
            self._mark(entry)

    # -- sending ------------------------------------------------------------------------------

    def _mark(self, entry: _Entry) -> None:
        self._dirty[entry.uid] = None
        if not self._sending:
            self._sending = True
            self._host.process.spawn(self._send_all(), name="status_manager")

    async def _send_all(self) -> None:
        try:
            while self._dirty:
                uid = next(iter(self._dirty))
                del self._dirty[uid]
                entry = self._entries.get(uid)
                if entry is None or entry.status is None:
                    continue
                try:
                    await self._send(entry)
                except (apistatus.APIStatus, ConnectionLost) as error:
                    self._failed(entry, error)
        finally:
            self._sending = False

    def _failed(self, entry: _Entry, error: Exception) -> None:
        if apistatus.is_not_found(error):
            return
        if apistatus.is_conflict(error):
            # The name belongs to another pod by now: this one is gone.
            self.forget(entry.uid)
            return
        entry.reconcile = True
        self._later()

    def _later(self) -> None:
        if self._retry is None:
            self._retry = self._host.process.call_later(
                self._host.config.status_retry_ns, self._tick, label="status_manager: send again"
            )

    def _tick(self) -> None:
        self._retry = None
        for entry in list(self._entries.values()):
            if entry.reconcile:
                entry.reconcile = False
                self._mark(entry)

    async def _send(self, entry: _Entry) -> None:
        status, version = entry.status, entry.version
        assert status is not None
        uid = self.mirrors.get(entry.uid, entry.uid)
        if not uid:
            return
        shown: Object = entry.pod.get("status") or _NO_STATUS
        is_hollow = self._host.config.hollow
        could_run = not is_hollow and self._could_run(entry.uid)
        merged = merge_pod_status(entry.pod, shown, status, could_run)
        if is_hollow:
            merged = _as_scheduled(shown, merged)
            merged = hollow.told(entry.pod, shown, merged, self._host.now())
        patch = status_patch(shown, merged, MERGE_KEYS)
        if patch and not (is_hollow and entry.pod["metadata"].get("deletionTimestamp")):
            pod = await self._host.client.patch(
                PODS,
                entry.namespace,
                entry.name,
                {"metadata": {"uid": uid}, "status": patch},
                subresource="status",
            )
            if _version(pod) > _version(entry.pod):
                entry.pod = pod if uid == entry.uid else _under(pod, entry.uid)
                if entry.status is status:
                    entry.status = _with_parts_of(pod.get("status") or _NO_STATUS, status)
        entry.sent = max(entry.sent, version)
        meta = entry.pod["metadata"]
        if (
            entry.finished
            and meta.get("deletionTimestamp")
            and (
                is_hollow
                or (entry.pod.get("status") or _NO_STATUS).get("phase") in pod_conditions.TERMINAL
            )
        ):
            await self._host.client.delete(
                PODS, entry.namespace, entry.name, grace_period_seconds=0, uid=uid
            )
            self.forget(entry.uid)


def _with_parts_of(shown: Object, status: Object) -> Object:
    """The status, without copies of its own of what the API server shows just so."""
    same = {
        field: shown[field]
        for field, value in status.items()
        if isinstance(value, (dict, list)) and shown.get(field) == value
    }
    kept = {**status, **same}
    if "conditions" not in same:
        there: list[Object] = shown.get("conditions") or []
        conditions: list[Object] = status["conditions"]
        kept["conditions"] = [next((c for c in there if c == own), own) for own in conditions]
    return kept


def _under(pod: Object, uid: str) -> Object:
    return {**pod, "metadata": {**pod["metadata"], "uid": uid}}


def merge_pod_status(pod: Object, old: Object, new: Object, could_run: bool) -> Object:
    """What may be sent: others' conditions stay, a terminal phase waits for its containers."""
    conditions = [
        c for c in old.get("conditions") or () if c["type"] not in pod_conditions.OWNED
    ]
    becomes_terminal = (
        old.get("phase") not in pod_conditions.TERMINAL
        and new.get("phase") in pod_conditions.TERMINAL
    )
    for condition in new["conditions"]:
        if condition["type"] in pod_conditions.OWNED:
            conditions.append(condition)
        elif condition["type"] == "DisruptionTarget" and becomes_terminal and not could_run:
            conditions = [c for c in conditions if c["type"] != "DisruptionTarget"]
            conditions.append(condition)
    merged = {**new, "conditions": conditions}
    for field in ("resourceClaimStatuses", "extendedResourceClaimStatus", "nominatedNodeName"):
        if field in old:
            merged[field] = old[field]
        else:
            merged.pop(field, None)
    if becomes_terminal and could_run:
        for field in ("phase", "reason", "message"):
            if field in old:
                merged[field] = old[field]
            else:
                merged.pop(field, None)
    phase = merged.get("phase")
    if phase in pod_conditions.TERMINAL:
        merged["conditions"] = [
            {
                **pod_conditions.terminal_readiness(pod, c["type"], phase),
                "lastTransitionTime": c.get("lastTransitionTime"),
            }
            if c["type"] in ("Ready", "ContainersReady") and c["status"] == "True"
            else c
            for c in conditions
        ]
    return merged


def _as_scheduled(shown: Object, status: Object) -> Object:
    """The status with `PodScheduled` as it is shown."""
    found = {c["type"]: c for c in shown.get("conditions") or () if c["type"] == "PodScheduled"}
    conditions = [found.get(c["type"], c) for c in status["conditions"]]
    return {**status, "conditions": conditions}


def _version(pod: Object) -> int:
    return int(pod["metadata"].get("resourceVersion") or 0)


def _with_times(
    conditions: list[Object], old: list[Object] | tuple[Object, ...], now: str
) -> list[Object]:
    before = {c["type"]: c for c in old}
    result: list[Object] = []
    for condition in conditions:
        earlier = before.get(condition["type"])
        time = now
        if earlier is not None and earlier["status"] == condition["status"]:
            time = earlier.get("lastTransitionTime") or now
        if condition.get("lastTransitionTime") != time:
            if condition["type"] not in pod_conditions.OWNED and "lastTransitionTime" in condition:
                result.append(condition)
                continue
            condition = {**condition, "lastTransitionTime": time}
        result.append(condition)
    return result


def _same(old: Object, new: Object) -> bool:
    """`isPodStatusByKubeletEqual`: all but others' conditions and the times of its own."""
    for field in old.keys() | new.keys():
        if field != "conditions" and old.get(field) != new.get(field):
            return False
    before, after = _essence(old), _essence(new)
    return before == after


def _essence(status: Object) -> dict[str, tuple[str, str, str]]:
    return {
        c["type"]: (c["status"], c.get("reason") or "", c.get("message") or "")
        for c in status["conditions"]
        if c["type"] in pod_conditions.OWNED or c["type"] == "DisruptionTarget"
    }


def _has_initialized(pod: Object, status: Object) -> bool:
    if not pod["spec"].get("initContainers"):
        return True
    for one in status.get("containerStatuses") or ():
        if one["lastState"].get("terminated") or "waiting" not in one["state"]:
            return True
    inits = status.get("initContainerStatuses") or ()
    if not inits:
        return False
    last = inits[-1]
    if "running" in last["state"] and last.get("started"):
        return True
    ended = last["state"].get("terminated") or last["lastState"].get("terminated")
    return ended is not None and ended["exitCode"] == 0
