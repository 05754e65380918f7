"""Pressure on a node's memory, disk and process ids, and what it does to pods.

How much is left is set from outside (nothing here measures the host); what pods use, their programs
say and their files weigh.  Every ten seconds, while a threshold is met, one pod is evicted, the one
that ranks first:

    memory   who uses more than it asked for, then low priority, then most above its request
    disk     the same
    pids     low priority, then most processes

and every pod that takes more of the disk than it may.

The law: a condition stays for five minutes after the pressure was last seen; under it pods of lower
quality are not admitted; critical pods are never evicted.

Follows `pkg/kubelet/eviction/{eviction_manager,helpers,defaults_linux}.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.cri import cgroups
from pytest_kubesim.cri.container import RUNNING, Container
from pytest_kubesim.kubelet import local_storage
from pytest_kubesim.kubelet.admission import Rejection, tolerates
from pytest_kubesim.kubelet.host import NOTHING, WARNING
from pytest_kubesim.kubelet.preemption import is_critical
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
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
        self._limited: dict[str, None] = {}
        """Pods that may take only so much of the disk."""
        self._looking = False

    # -- what is seen -------------------------------------------------------------------------

    def start(self) -> None:
        """Look at the host from here on."""
        if self._pressures:
            self.look()

    def admitted(self, pod: Object) -> None:
        """The pod runs from now on."""
        if local_storage.is_limited(pod):
            self._limited[pod["metadata"]["uid"]] = None
            self._go_on()

    def look(self) -> None:
        """The host has come under a pressure, or is relieved of one: see, and go on looking."""
        self._observe()
        self._go_on()

    def _go_on(self) -> None:
        if not self._looking and (self._pressures or self._seen_ns or self._limited):
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
            while self._pressures or self._seen_ns or self._limited:
                self._observe()
                if not self._keep_limits():
                    self._reclaim()
                # Who is under pressure for good is none that others wait for.
                await self._host.kernel.sleep(
                    MONITORING_INTERVAL_NS, periodic=bool(self._pressures or self._limited)
                )
        finally:
            self._looking = False

    # -- eviction -----------------------------------------------------------------------------

    def _keep_limits(self) -> bool:
        """Evict who takes more of the disk than it may; whether there was one."""
        active = {pod["metadata"]["uid"]: pod for pod in self._active()} if self._limited else {}
        found = False
        for uid in list(self._limited):
            if uid not in active or uid in self._evicted:
                del self._limited[uid]
            elif message := local_storage.excess(active[uid], self._host.runtime):
                if not is_critical(active[uid]):
                    found = True
                    self._evicted.add(uid)
                    self._end(active[uid], message)
        return found

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
            if not is_critical(pod):
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
        message, annotations = self._message(pod, pressure)
        condition: Object = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "TerminationByKubelet",
            "message": message,
        }
        if generation := pod["metadata"].get("generation"):
            condition["observedGeneration"] = generation
        self._end(pod, message, annotations, condition, grace_seconds)

    def _end(
        self,
        pod: Object,
        message: str,
        annotations: dict[str, str] | None = None,
        condition: Object | None = None,
        grace_seconds: int = 0,
    ) -> None:
        self._host.event(pod, WARNING, EVICTED, message, annotations=annotations)
        status: Object = {"phase": "Failed", "reason": EVICTED, "message": message}
        if condition is not None:
            status["conditions"] = [condition]
        self._kill(pod["metadata"]["uid"], grace_seconds or IMMEDIATE_GRACE_SECONDS, status)

    def _message(self, pod: Object, pressure: str) -> tuple[str, dict[str, str]]:
        """What is said of an eviction, and the annotations of its event."""
        resource = RESOURCES[pressure]
        message = f"The node was low on resource: {resource}. "
        if pressure in self._pressures:
            threshold = self._threshold(pressure)
            left = self._pressures[pressure]
            left = threshold // 2 if left is None else left
            message += f"Threshold quantity: {_text(threshold)}, available: {_text(left)}. "
        annotations: dict[str, str] = {}
        meta, running = pod["metadata"], {run.name: run for run in self._running(pod)}
        own: dict[str, str] = (pod["spec"].get("resources") or NOTHING).get("requests") or NOTHING
        if pressure == MEMORY and resource in own:
            used = _text(self._usage(pod, MEMORY))
            message += (
                f"Pod {meta['name']} was using {used}, request is {own[resource]}, has larger "
                f"consumption of {resource}. "
            )
            annotations = {"offending_pod": meta["name"], "offending_pod_usage": used}
        offenders: dict[str, str] = {}
        for container in _containers(pod) if pressure in _MEASURED else ():
            name = container["name"]
            requests: Object = (container.get("resources") or NOTHING).get("requests") or NOTHING
            request: str = requests.get(resource) or "0"
            run = running.get(name)
            taken = 0 if run is None else _MEASURED[pressure](run)
            if taken > quantity.value(request):
                offenders[name] = _text(taken)
                message += (
                    f"Container {name} was using {_text(taken)}, request is {request}, "
                    f"has larger consumption of {resource}. "
                )
        return message, annotations | {
            "offending_containers": ",".join(offenders),
            "offending_containers_usage": ",".join(offenders.values()),
            "starved_resource": resource,
        }

    def ranked(self, pods: list[Object], pressure: str = MEMORY) -> list[Object]:
        """Pods in the order in which they are evicted."""

        def rank(pod: Object) -> tuple[Any, ...]:
            metadata = pod["metadata"]
            tail = (metadata.get("creationTimestamp") or "", metadata["name"])
            priority, used = pod["spec"].get("priority") or 0, self._usage(pod, pressure)
            if pressure == PID:
                return (priority, -used, *tail)
            requested = quantity.value(cgroups.pod_requests(pod).get(RESOURCES[pressure], "0"))
            return (used <= requested, priority, requested - used, *tail)

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
        if pressure == DISK:
            return local_storage.pod_bytes(pod, self._host.runtime)
        running = self._running(pod)
        if pressure == MEMORY:
            return cgroups.usage(running)["memory"]
        return sum(map(local_storage.processes, running))

    # -- admission ----------------------------------------------------------------------------

    def admit(self, pod: Object) -> Rejection | None:
        """Whether a pod may start under the present conditions."""
        conditions = set(self._seen_ns)
        if not conditions or is_critical(pod):
            return None
        if conditions == {MEMORY}:
            taint = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}
            if cgroups.qos_class(pod) != "BestEffort" or tolerates(pod, taint):
                return None
        listed = " ".join(sorted(conditions))
        return Rejection(EVICTED, f"The node had condition: [{listed}]. ")


def _memory_of(run: Container) -> int:
    return cgroups.usage([run])["memory"]


_MEASURED: dict[str, Callable[[Container], int]] = {
    MEMORY: _memory_of, DISK: local_storage.container_bytes,
}


def _containers(pod: Object) -> list[Object]:
    return [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())]


def _text(units: int) -> str:
    return quantity.from_value(units, quantity.BINARY_SI)
