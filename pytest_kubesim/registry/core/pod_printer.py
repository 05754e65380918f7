"""How a Pod is shown: what all its states amount to, in a word.

Follows `printPod` of `pkg/printers/internalversion/printers.go`.
"""

from __future__ import annotations

from typing import Any

import attrs

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.registry.columns import NONE, age, printer, since
from pytest_kubesim.registry.strategies import EMPTY


class _Restarts:
    """How often containers have been restarted, and when last."""

    def __init__(self) -> None:
        self.count = 0
        self.last = ""

    def add(self, status: Object) -> None:
        self.count += status.get("restartCount") or 0
        ended = ((status.get("lastState") or EMPTY).get("terminated") or EMPTY).get(
            "finishedAt"
        ) or ""
        self.last = max(self.last, ended)

    def text(self, now_ns: int) -> str:
        if self.count and self.last:
            return f"{self.count} ({since(self.last, now_ns)} ago)"
        return str(self.count)


def _is_true(status: Object, kind: str) -> bool:
    return any(
        c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or ()
    )


def _reason(terminated: Object, prefix: str) -> str:
    if terminated.get("reason"):
        return f"{prefix}{terminated['reason']}"
    if terminated.get("signal"):
        return f"{prefix}Signal:{terminated['signal']}"
    return f"{prefix}ExitCode:{terminated.get('exitCode') or 0}"


class _Pod:
    """One pod on its way into a row."""

    def __init__(self, pod: Object) -> None:
        self.spec: Object = pod.get("spec") or {}
        self.status: Object = pod.get("status") or {}
        self.metadata: Object = pod["metadata"]
        self.ready = 0
        self.reason: str = self.status.get("reason") or self.status.get("phase") or ""
        init: list[Object] = self.spec.get("initContainers") or []
        self.sidecars = {c.get("name") for c in init if c.get("restartPolicy") == "Always"}
        self.init_count = len(init)
        self.total = len(self.spec.get("containers") or ()) + len(self.sidecars)
        self.restarts = _Restarts()
        for condition in self.status.get("conditions") or ():
            if (
                condition.get("type") == "PodScheduled"
                and condition.get("reason") == "SchedulingGated"
            ):
                self.reason = "SchedulingGated"

    def look(self) -> None:
        """Go through the containers."""
        of_sidecars = _Restarts()
        initializing = self._init_containers(of_sidecars)
        if not initializing or _is_true(self.status, "Initialized"):
            self.restarts = of_sidecars
            self._containers()
        if self.metadata.get("deletionTimestamp"):
            if self.status.get("reason") == "NodeLost":
                self.reason = "Unknown"
            elif self.status.get("phase") not in ("Failed", "Succeeded"):
                self.reason = "Terminating"

    def _init_containers(self, of_sidecars: _Restarts) -> bool:
        for position, status in enumerate(self.status.get("initContainerStatuses") or ()):
            sidecar = status.get("name") in self.sidecars
            self.restarts.add(status)
            if sidecar:
                of_sidecars.add(status)
            state: Object = status.get("state") or {}
            terminated, waiting = (
                state.get("terminated"),
                (state.get("waiting") or EMPTY).get("reason"),
            )
            if terminated is not None and not terminated.get("exitCode"):
                continue
            if sidecar and status.get("started"):
                self.ready += bool(status.get("ready"))
                continue
            if terminated is not None:
                self.reason = _reason(terminated, "Init:")
            elif waiting and waiting != "PodInitializing":
                self.reason = f"Init:{waiting}"
            else:
                self.reason = f"Init:{position}/{self.init_count}"
            return True
        return False

    def _containers(self) -> None:
        running, failure = False, ""
        for status in reversed(self.status.get("containerStatuses") or []):
            self.restarts.add(status)
            state: Object = status.get("state") or {}
            terminated, waiting = (
                state.get("terminated"),
                (state.get("waiting") or EMPTY).get("reason"),
            )
            if waiting:
                self.reason = waiting
            elif terminated is not None:
                self.reason = _reason(terminated, "")
                if terminated.get("exitCode"):
                    failure = self.reason
            elif status.get("ready") and state.get("running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed":
            if running and _is_true(self.status, "Ready"):
                self.reason = "Running"
            elif failure:
                self.reason = failure
            elif running:
                self.reason = "NotReady"

    def gates(self) -> str:
        """How many readiness gates are open."""
        gates: list[Object] = self.spec.get("readinessGates") or []
        if not gates:
            return NONE
        true = sum(_is_true(self.status, gate.get("conditionType") or "") for gate in gates)
        return f"{true}/{len(gates)}"


def _row(obj: Object, now_ns: int) -> list[Any]:
    pod = _Pod(obj)
    pod.look()
    addresses: list[Object] = pod.status.get("podIPs") or []
    return [
        obj["metadata"]["name"],
        f"{pod.ready}/{pod.total}",
        pod.reason,
        pod.restarts.text(now_ns),
        age(obj, now_ns),
        (addresses[0].get("ip") if addresses else "") or NONE,
        pod.spec.get("nodeName") or NONE,
        pod.status.get("nominatedNodeName") or NONE,
        pod.gates(),
    ]


_ENDED = {
    "Succeeded": "The pod has completed successfully.",
    "Failed": "The pod failed.",
}


def _conditions(obj: Object) -> list[Object]:
    phase = (obj.get("status") or EMPTY).get("phase") or ""
    if phase not in _ENDED:
        return []
    message = _ENDED[phase]
    return [{"type": "Completed", "status": "True", "reason": phase, "message": message}]


PRINTER = attrs.evolve(printer("Pod", _row), conditions=_conditions)
