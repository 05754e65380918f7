"""Pressure on a node's memory, disk and process ids, and what it does to pods.

Pressure is set from outside (nothing here measures); under it pods of lower quality are not
admitted, and pods are evicted in upstream's words when asked.

Follows `pkg/kubelet/eviction/{eviction_manager,helpers}.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.cri import cgroups
from pytest_kubesim.kubelet.admission import Rejection, tolerates
from pytest_kubesim.kubelet.host import WARNING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host

MEMORY, DISK, PID = "MemoryPressure", "DiskPressure", "PIDPressure"
RESOURCES = {MEMORY: "memory", DISK: "ephemeral-storage", PID: "pids"}

EVICTED = "Evicted"
_CRITICAL = 2_000_000_000


class EvictionManager:
    """The pressures on one node.

    Parameters: `host`; `changed`, called when a pressure comes or goes; `kill`, which ends a pod
    by UID with a grace period and fields of its status.
    """

    def __init__(
        self,
        host: Host,
        pressures: set[str],
        changed: Callable[[], object],
        kill: Callable[[str, int, Object], object],
    ) -> None:
        self._host = host
        self._pressures = pressures
        self._changed = changed
        self._kill = kill

    def under(self, pressure: str) -> bool:
        """Whether the node is under that pressure."""
        return pressure in self._pressures

    def set_pressure(self, pressure: str, present: bool) -> None:
        """A pressure comes or goes."""
        if present == (pressure in self._pressures):
            return
        if present:
            self._pressures.add(pressure)
        else:
            self._pressures.discard(pressure)
        self._changed()

    def admit(self, pod: Object) -> Rejection | None:
        """Whether a pod may start under the present pressures."""
        if not self._pressures or (pod["spec"].get("priority") or 0) >= _CRITICAL:
            return None
        if self._pressures == {MEMORY}:
            taint = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}
            if cgroups.qos_class(pod) != "BestEffort" or tolerates(pod, taint):
                return None
        listed = " ".join(sorted(self._pressures))
        return Rejection(EVICTED, f"The node had condition: [{listed}]. ")

    def evict(self, pod: Object, pressure: str, *, grace_seconds: int = 0) -> None:
        """Evict one pod for want of what `pressure` is about."""
        message = f"The node was low on resource: {RESOURCES[pressure]}. "
        self._host.pod_event(pod, WARNING, EVICTED, message)
        condition: Object = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "TerminationByKubelet",
            "message": message,
        }
        if generation := pod["metadata"].get("generation"):
            condition["observedGeneration"] = generation
        self._kill(
            pod["metadata"]["uid"],
            grace_seconds or 1,
            {"phase": "Failed", "reason": EVICTED, "message": message, "conditions": [condition]},
        )

    @staticmethod
    def ranked(pods: list[Object]) -> list[Object]:
        """Pods in the order in which they are evicted: no requests first, then low priority."""
        order = {"BestEffort": 0, "Burstable": 1, "Guaranteed": 2}
        return sorted(
            pods,
            key=lambda pod: (
                order[cgroups.qos_class(pod)],
                pod["spec"].get("priority") or 0,
                pod["metadata"].get("creationTimestamp") or "",
                pod["metadata"]["name"],
            ),
        )
