"""Pressure on a node's memory, disk and process ids, and what it does to pods.

How much is left is set from outside (nothing here measures the host); what pods use, their programs
say.  Every ten seconds, while a threshold is met, one pod is evicted, the one that ranks first:

    memory   who uses more than it asked for, then low priority, then most above its request
    disk     low priority (containers here use no disk)
    pids     low priority

The law: a condition stays for five minutes after the pressure was last seen; under it pods of lower
quality are not admitted; critical pods are never evicted.

Follows `pkg/kubelet/eviction/{eviction_manager,helpers,defaults_linux}.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.cri import cgroups
from pytest_kubesim.cri.container import RUNNING
from pytest_kubesim.kubelet.admission import Rejection, tolerates
from pytest_kubesim.kubelet.host import NOTHING, WARNING
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.kubelet.host import Host

MEMORY, DISK, PID = "MemoryPressure", "DiskPressure", "PIDPressure"
RESOURCES = {MEMORY: "memory", DISK: "ephemeral-storage", PID: "pids"}

EVICTED = "Evicted"
IMMEDIATE_GRACE_SECONDS = 1
MONITORING_INTERVAL_NS = 10 * NS
TRANSITION_PERIOD_NS = 300 * NS

MEMORY_THRESHOLD = "100Mi"
NODEFS_THRESHOLD_PERCENT = 10
PID_THRESHOLD = 1000
"""Upstream has no default for process ids; whoever wants that pressure sets one."""

_CRITICAL = 2_000_000_000


class EvictionManager:
    """The pressures on one node.

    Parameters: `host`; `pressures`, by kind what is left of it (None: too little, whatever pods
    give back); `changed`, called when a condition comes or goes; `kill`, which ends a pod by UID
    with a grace period and fields of its status; `active`, which gives the pods that run.
    """

    def __init__(
        self,
        host: Host,
        pressures: dict[str, int | None],
        changed: Callable[[], object],
        kill: Callable[[str, int, Object], object],
        active: Callable[[], list[Object]] = list,
    ) -> None:
        self._host = host
        self._pressures = pressures
        self._changed = changed
        self._kill = kill
        self._active = active
        self._seen_ns: dict[str, int] = {}
        self._freed: dict[str, int] = {}
        self._evicted: set[str] = set()
        self._looking = False

    # -- what is seen -------------------------------------------------------------------------

    def start(self) -> None:
        """Look at the host from here on."""
        if self._pressures:
            self.look()

    def look(self) -> None:
        """The host has come under a pressure, or is relieved of one: see, and go on looking."""
        self._observe()
        if not self._looking and (self._pressures or self._seen_ns):
            self._looking = True
            self._host.process.spawn(self._run(), name="eviction_manager", daemon=True)

    def under(self, pressure: str) -> bool:
        """Whether the node reports that pressure."""
        return pressure in self._seen_ns

    def _met(self, pressure: str) -> bool:
        """Whether the threshold is met now."""
        if pressure not in self._pressures:
            return False
        left = self._pressures[pressure]
        return left is None or left + self._freed.get(pressure, 0) < self._threshold(pressure)

    def _observe(self) -> None:
        now_ns, before = self._host.kernel.now_ns, set(self._seen_ns)
        for pressure in RESOURCES:
            if self._met(pressure):
                self._seen_ns[pressure] = now_ns
            elif now_ns - self._seen_ns.get(pressure, now_ns) >= TRANSITION_PERIOD_NS:
                del self._seen_ns[pressure]
            if pressure not in self._pressures:
                self._freed.pop(pressure, None)
        if set(self._seen_ns) != before:
            self._changed()

    async def _run(self) -> None:
        try:
            while self._pressures or self._seen_ns:
                self._observe()
                self._reclaim()
                # Who is under pressure for good is none that others wait for.
                await self._host.kernel.sleep(
                    MONITORING_INTERVAL_NS, periodic=bool(self._pressures)
                )
        finally:
            self._looking = False

    # -- eviction -----------------------------------------------------------------------------

    def _reclaim(self) -> None:
        """Evict at most one pod, for the resource that comes first: memory before all."""
        met = [pressure for pressure in RESOURCES if self._met(pressure)]
        if not met:
            return
        pressure = met[0]
        reference = {
            "kind": "Node", "apiVersion": "v1", "name": self._host.node.name,
            "uid": self._host.node.name,
        }
        self._host.event(
            reference, WARNING, "EvictionThresholdMet",
            f"Attempting to reclaim {RESOURCES[pressure]}",
        )
        for pod in self.ranked(self._candidates(), pressure):
            if not _critical(pod):
                self._freed[pressure] = self._freed.get(pressure, 0) + self._usage(pod, pressure)
                self._evicted.add(pod["metadata"]["uid"])
                self.evict(pod, pressure)
                return

    def _candidates(self) -> list[Object]:
        return [
            pod for pod in self._active()
            if pod["metadata"]["uid"] not in self._evicted and self._running(pod)
        ]

    def evict(self, pod: Object, pressure: str, *, grace_seconds: int = 0) -> None:
        """Evict one pod for want of what `pressure` is about."""
        message = self._message(pod, pressure)
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
            grace_seconds or IMMEDIATE_GRACE_SECONDS,
            {"phase": "Failed", "reason": EVICTED, "message": message, "conditions": [condition]},
        )

    def _message(self, pod: Object, pressure: str) -> str:
        resource = RESOURCES[pressure]
        message = f"The node was low on resource: {resource}. "
        if pressure in self._pressures:
            threshold = self._threshold(pressure)
            left = self._pressures[pressure]
            left = threshold // 2 if left is None else left
            message += f"Threshold quantity: {_text(threshold)}, available: {_text(left)}. "
        if pressure != MEMORY:
            return message
        for container in self._running(pod):
            request = _memory_request(pod, container.name)
            used = cgroups.usage([container])["memory"]
            if used > quantity.value(request):
                message += (
                    f"Container {container.name} was using {_text(used)}, request is {request}, "
                    f"has larger consumption of {resource}. "
                )
        return message

    def ranked(self, pods: list[Object], pressure: str = MEMORY) -> list[Object]:
        """Pods in the order in which they are evicted."""

        def rank(pod: Object) -> tuple[Any, ...]:
            metadata = pod["metadata"]
            tail = (metadata.get("creationTimestamp") or "", metadata["name"])
            priority = pod["spec"].get("priority") or 0
            if pressure != MEMORY:
                return (priority, *tail)
            requested = quantity.value(cgroups.pod_requests(pod).get("memory", "0"))
            above = self._usage(pod, MEMORY) - requested
            return (above <= 0, priority, -above, *tail)

        return sorted(pods, key=rank)

    # -- numbers ------------------------------------------------------------------------------

    def _threshold(self, pressure: str) -> int:
        if pressure == MEMORY:
            return quantity.value(MEMORY_THRESHOLD)
        if pressure == DISK:
            capacity = quantity.value(self._host.node.capacity["ephemeral-storage"])
            return capacity * NODEFS_THRESHOLD_PERCENT // 100
        return PID_THRESHOLD

    def _running(self, pod: Object) -> list[Container]:
        state = self._host.runtime.pod_state(pod["metadata"]["uid"])
        return [container for container in state.containers if container.state == RUNNING]

    def _usage(self, pod: Object, pressure: str) -> int:
        running = self._running(pod)
        if pressure == MEMORY:
            return cgroups.usage(running)["memory"]
        return len(running) if pressure == PID else 0

    # -- admission ----------------------------------------------------------------------------

    def admit(self, pod: Object) -> Rejection | None:
        """Whether a pod may start under the present conditions."""
        conditions = set(self._seen_ns)
        if not conditions or _critical(pod):
            return None
        if conditions == {MEMORY}:
            taint = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}
            if cgroups.qos_class(pod) != "BestEffort" or tolerates(pod, taint):
                return None
        listed = " ".join(sorted(conditions))
        return Rejection(EVICTED, f"The node had condition: [{listed}]. ")


def _critical(pod: Object) -> bool:
    return (pod["spec"].get("priority") or 0) >= _CRITICAL


def _memory_request(pod: Object, container: str) -> str:
    spec = pod["spec"]
    for each in [*spec["containers"], *(spec.get("initContainers") or ())]:
        if each["name"] == container:
            resources: Object = each.get("resources") or NOTHING
            requests: dict[str, str] = resources.get("requests") or NOTHING
            return requests.get("memory") or "0"
    return "0"


def _text(units: int) -> str:
    return quantity.from_value(units, quantity.BINARY_SI)
