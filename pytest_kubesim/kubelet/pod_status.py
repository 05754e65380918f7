"""The status of a pod, made from what the runtime knows and what was said before.

Follows `generateAPIPodStatus` in `pkg/kubelet/kubelet_pods.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.timestamps import parse_time
from pytest_kubesim.cri import cgroups
from pytest_kubesim.kubelet import allocation, hollow, pod_conditions
from pytest_kubesim.kubelet.container_statuses import container_statuses
from pytest_kubesim.kubelet.host import NOTHING
from pytest_kubesim.kubelet.restart_policy import all_could_restart, should_restart_all
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.services import PodState
    from pytest_kubesim.kubelet.allocation import Allocations
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.kubelet.prober import Prober
    from pytest_kubesim.kubelet.reason_cache import ReasonCache

DEADLINE_REASON = "DeadlineExceeded"
DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"


class StatusGenerator:
    """Makes statuses; holds nothing but its collaborators."""

    def __init__(
        self, host: Host, prober: Prober, reasons: ReasonCache, allocations: Allocations
    ) -> None:
        self._host = host
        self._allocations = allocations
        self._prober = prober
        self._reasons = reasons

    def generate(
        self, pod: Object, state: PodState, old: Object, *, terminal: bool = False
    ) -> Object:
        """The status of `pod` now.

        Parameters: `old`, the status last set, or the API's; `terminal`, whether the containers
        have stopped for good.
        """
        spec, api = pod["spec"], pod.get("status") or NOTHING
        status = self._containers(pod, state, old)
        statuses = {s["name"]: s for s in status["containerStatuses"]}
        inits = {s["name"]: s for s in status.get("initContainerStatuses") or ()}
        phase = pod_conditions.phase(
            pod,
            statuses,
            inits,
            terminal=terminal,
            initialized=pod_conditions.any_main_started(pod, state),
        )
        if phase not in pod_conditions.TERMINAL:
            for earlier in (old.get("phase"), api.get("phase")):
                if earlier in pod_conditions.TERMINAL:
                    phase = earlier
                    break
        if phase == old.get("phase"):
            for field in ("reason", "message"):
                if value := old.get(field) or api.get(field):
                    status[field] = value
        if self.past_deadline(pod, old):
            self._host.pod_event(pod, "Normal", DEADLINE_REASON, DEADLINE_MESSAGE)
            phase = pod_conditions.FAILED
            status["reason"], status["message"] = DEADLINE_REASON, DEADLINE_MESSAGE
        if api.get("phase") in pod_conditions.TERMINAL:
            phase = api["phase"]
        status["phase"] = phase
        self._prober.update_pod_status(pod, status)
        self._allocations.settle(pod, state, terminal=terminal)
        self._conditions(pod, state, old, status, statuses, inits)
        self._addresses(spec, state, old, status)
        return status

    def _containers(self, pod: Object, state: PodState, old: Object) -> Object:
        spec, flavour = pod["spec"], self._host.runtime.flavour
        inits = spec.get("initContainers") or ()
        restarting = bool(inits or spec["containers"]) and (
            all_could_restart(pod) and should_restart_all(pod, state, old)
        )
        uid = pod["metadata"]["uid"]
        result: Object = {}
        for field, containers, init in (
            ("containerStatuses", spec["containers"], False),
            ("initContainerStatuses", inits, True),
            ("ephemeralContainerStatuses", spec.get("ephemeralContainers") or (), False),
        ):
            if not containers:
                continue
            result[field] = container_statuses(
                pod,
                state,
                old.get(field) or (),
                containers,
                lambda name: self._reasons.get(uid, name),
                flavour.name,
                init=init,
                has_init=bool(inits),
                restarting=restarting,
                reports_user=flavour.reports_user,
            )
        result["qosClass"] = cgroups.qos_class(pod)
        if allocated := cgroups.pod_requests(pod):
            result["allocatedResources"] = allocated
        has = allocation.actual(pod, state)
        requests, limits = cgroups.pod_requests(has), cgroups.pod_limits(has)
        resources: Object = {}
        if requests:
            resources["requests"] = requests
        if limits:
            resources["limits"] = limits
        result["resources"] = resources
        return result

    def _conditions(
        self,
        pod: Object,
        state: PodState,
        old: Object,
        status: Object,
        statuses: dict[str, Object],
        inits: dict[str, Object],
    ) -> None:
        phase = status["phase"]
        api: list[Object] = (pod.get("status") or NOTHING).get("conditions") or []
        conditions = [c for c in api if c["type"] not in pod_conditions.OWNED]
        for condition in old.get("conditions") or ():
            if condition["type"] == "DisruptionTarget":
                conditions = [c for c in conditions if c["type"] != "DisruptionTarget"]
                conditions.append(condition)
        if self._host.config.hollow:
            conditions = hollow.with_gates(pod, conditions)
        containers_ready = pod_conditions.containers_ready(pod, statuses, inits, phase)
        ready = pod_conditions.ready(pod, conditions, containers_ready)
        conditions += [
            *self._allocations.conditions(pod["metadata"]["uid"]),
            pod_conditions.ready_to_start(pod, state),
            pod_conditions.initialized(pod, old, statuses, inits, phase),
            ready,
            containers_ready,
            pod_conditions.scheduled(pod),
        ]
        if all_could_restart(pod):
            conditions.append(pod_conditions.all_restarting(pod, state, old, phase))
        status["conditions"] = conditions

    def _addresses(self, spec: Object, state: PodState, old: Object, status: Object) -> None:
        host_ip = self._host.node.host_ip
        status["hostIP"] = host_ip
        status["hostIPs"] = [{"ip": host_ip}]
        ips = (host_ip,) if spec.get("hostNetwork") else state.ips
        if ips:
            status["podIP"] = ips[0]
            status["podIPs"] = [{"ip": ip} for ip in ips]
        elif state.sandboxes and state.active_sandbox is None and old.get("podIP"):
            # A pod that has ended keeps its address (`pleg/generic.go`, getPodIPs).
            status["podIP"], status["podIPs"] = old["podIP"], old["podIPs"]

    def deadline_ns(self, pod: Object, status: Object) -> int | None:
        """When the pod will have been active for longer than it may, or None."""
        seconds = pod["spec"].get("activeDeadlineSeconds")
        start = status.get("startTime")
        if seconds is None or not start:
            return None
        return parse_time(start) + seconds * NS

    def past_deadline(self, pod: Object, status: Object) -> bool:
        """Whether the pod has been active for longer than it may."""
        deadline_ns = self.deadline_ns(pod, status)
        return deadline_ns is not None and self._host.now_ns() >= deadline_ns
