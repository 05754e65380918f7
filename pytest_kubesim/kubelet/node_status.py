"""The Node object: registration, and what is reported of it.

The law (`pkg/kubelet/kubelet_node_status.go`): every ten seconds the status would be computed; it
is sent when it has changed, and every five minutes.  Here nothing is computed while nothing
changes: a change makes a timer for the next tick of those ten seconds, another runs for the five
minutes.

A kubelet that *adopts* a Node leaves its metadata and spec alone, and keeps what it has of
capacity, allocatable and addresses.

Follows also `pkg/kubelet/nodestatus/setters.go`.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import status as apistatus
from pytest_kubesim.apimachinery.timestamps import format_duration
from pytest_kubesim.client_go.resources import NODES
from pytest_kubesim.kubelet.config import VERSION
from pytest_kubesim.kubelet.eviction_manager import DISK, MEMORY, PID
from pytest_kubesim.kubelet.host import NORMAL, NOTHING, WARNING
from pytest_kubesim.kubelet.status_patch import NODE_MERGE_KEYS, status_patch
from pytest_kubesim.registry.pod_template import resource_names
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.sim.kernel import Timer

MAX_IMAGES = 50

RUNTIME_DOWN = "container runtime is down"
RUNTIME_SYNC_THRESHOLD_NS = 30 * NS
"""How long a runtime may be silent (`maxWaitForContainerRuntime`)."""
RELIST_THRESHOLD_NS = 180 * NS
"""How long the pod lifecycle event generator may not have listed (`genericPlegRelistThreshold`)."""

DECLARED_FEATURES = [
    "ExtendWebSocketsToKubelet",
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "RestartAllContainersOnContainerExits",
]

_PRESSURES = (
    (MEMORY, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available",
     "KubeletHasSufficientMemory", "kubelet has sufficient memory available",
     "NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
    (DISK, "KubeletHasDiskPressure", "kubelet has disk pressure",
     "KubeletHasNoDiskPressure", "kubelet has no disk pressure",
     "NodeHasDiskPressure", "NodeHasNoDiskPressure"),
    (PID, "KubeletHasInsufficientPID", "kubelet has insufficient PID available",
     "KubeletHasSufficientPID", "kubelet has sufficient PID available",
     "NodeHasInsufficientPID", "NodeHasSufficientPID"),
)

_DEFAULT_LABELS = (
    "kubernetes.io/hostname", "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
    "kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
)


class NodeStatus:
    """The Node of one kubelet.

    Parameters: `host`; `under`, whether the node is under a pressure; `adopt`, whether the Node is
    somebody else's.
    """

    def __init__(self, host: Host, under: Callable[[str], bool], *, adopt: bool) -> None:
        self._host = host
        self._under = under
        self._adopt = adopt
        self.node: Object | None = None
        """The newest that is known of it."""
        self._epoch_ns = host.now_ns()
        self._report: Timer | None = None
        self._change: Timer | None = None
        self._sending = False
        self._unschedulable = False
        self._shutting_down = False

    @property
    def name(self) -> str:
        """The node's name."""
        return self._host.node.name

    # -- registration -------------------------------------------------------------------------

    async def register(self) -> None:
        """Create the Node, or take over the one that is there; tries until that succeeds."""
        step_ns = NS // 10
        while True:
            try:
                self.node = await self._register()
            except (apistatus.APIStatus, ConnectionLost):
                await self._host.kernel.sleep(step_ns, periodic=True)
                step_ns = min(step_ns * 2, 7 * NS)
            else:
                break
        self._unschedulable = bool(self.node["spec"].get("unschedulable"))
        if not self._adopt:
            self._node_event(NORMAL, "Starting", "Starting kubelet.")
            # What is new to this start of the kubelet is told, whatever the Node said before.
            self._transitions({}, self.initial_node()["status"])
            self._node_event(
                NORMAL, "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods"
            )
        await self._send()

    async def _register(self) -> Object:
        client = self._host.client
        if self._adopt:
            return await client.get(NODES, "", self.name)
        initial = self.initial_node()
        try:
            return await client.create(NODES, "", initial)
        except apistatus.APIStatus as error:
            if not apistatus.is_already_exists(error):
                raise
        existing = await client.get(NODES, "", self.name)
        labels: dict[str, str] = existing["metadata"].get("labels") or NOTHING
        wanted = initial["metadata"]["labels"]
        stale = {
            k: wanted[k] for k in _DEFAULT_LABELS if k in wanted and labels.get(k) != wanted[k]
        }
        if stale:
            existing = await client.patch(NODES, "", self.name, {"metadata": {"labels": stale}})
        return existing

    def initial_node(self) -> Object:
        """The Node as this kubelet registers it."""
        spec = self._host.node
        labels = {
            "beta.kubernetes.io/arch": spec.architecture,
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": spec.architecture,
            "kubernetes.io/hostname": spec.name,
            "kubernetes.io/os": "linux",
        }
        if spec.zone:
            labels["topology.kubernetes.io/zone"] = spec.zone
        if spec.region:
            labels["topology.kubernetes.io/region"] = spec.region
        labels.update(spec.labels)
        node: Object = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": spec.name,
                "labels": labels,
                "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
            },
            "spec": {},
        }
        if spec.taints:
            node["spec"]["taints"] = list(spec.taints)
        if spec.provider_id:
            node["spec"]["providerID"] = spec.provider_id
        node["status"] = self.compute({})
        return node

    # -- the status ---------------------------------------------------------------------------

    def compute(self, old: Object) -> Object:
        """The status now; `old` is what it was."""
        host, spec = self._host, self._host.node
        flavour = host.runtime.flavour
        status = dict(old)
        if not self._adopt or not old.get("capacity"):
            # Extended resources that somebody has given the node stay (`nodestatus/setters.go`).
            given: dict[str, str] = old.get("capacity") or {}
            extended = {k: v for k, v in given.items() if resource_names.is_extended(k)}
            status["capacity"] = {**spec.capacity, **extended} if extended else spec.capacity
        if not self._adopt or not old.get("allocatable"):
            status["allocatable"] = status["capacity"]
        if not self._adopt or not old.get("addresses"):
            status["addresses"] = [
                {"type": "InternalIP", "address": spec.host_ip},
                {"type": "Hostname", "address": spec.name},
            ]
        status["nodeInfo"] = self._node_info()
        status["daemonEndpoints"] = {"kubeletEndpoint": {"Port": 10250}}
        if images := self._images():
            status["images"] = images
        status["runtimeHandlers"] = [
            {"name": name, "features": {
                "recursiveReadOnlyMounts": True, "userNamespaces": flavour.user_namespaces,
            }}
            for name in ("", "runc")
        ]
        status["features"] = {"supplementalGroupsPolicy": flavour.reports_user}
        status["declaredFeatures"] = DECLARED_FEATURES
        status["conditions"] = self._conditions(old.get("conditions") or ())
        return status

    def _node_info(self) -> Object:
        host, spec, flavour = self._host, self._host.node, self._host.runtime.flavour
        rng = host.kernel.rng
        return {
            "machineID": rng.bytes(16, "machine-id", spec.name).hex(),
            "systemUUID": str(uuid.UUID(bytes=rng.bytes(16, "system-uuid", spec.name))),
            "bootID": str(uuid.UUID(bytes=rng.bytes(16, "boot-id", spec.name, host.runtime.boot))),
            "kernelVersion": spec.kernel_version,
            "osImage": spec.os_image,
            "containerRuntimeVersion": f"{flavour.name}://{flavour.version}",
            "kubeletVersion": VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": spec.architecture,
        }

    def _images(self) -> list[Object]:
        images = sorted(self._host.runtime.list_images(), key=lambda i: (-i.size, i.name))
        return [{"names": [i.ref, i.name], "sizeBytes": i.size} for i in images[:MAX_IMAGES]]

    def _conditions(self, old: Any) -> list[Object]:
        now, before = self._host.now(), {c["type"]: c for c in old}
        computed: list[tuple[str, bool, str, str]] = []
        for type_, bad, bad_message, good, good_message, *_ in _PRESSURES:
            under = self._under(type_)
            words = (bad, bad_message) if under else (good, good_message)
            computed.append((type_, under, *words))
        computed.append(self._ready())
        conditions = [c for c in old if c["type"] not in {type_ for type_, *_ in computed}]
        for type_, holds, reason, message in computed:
            state = "True" if holds else "False"
            earlier = before.get(type_)
            since = now
            if earlier is not None and earlier.get("status") == state:
                since = earlier.get("lastTransitionTime") or now
            conditions.append({
                "type": type_,
                "status": state,
                "lastHeartbeatTime": now,
                "lastTransitionTime": since,
                "reason": reason,
                "message": message,
            })
        return conditions

    def _ready(self) -> tuple[str, bool, str, str]:
        host = self._host
        problems = self._runtime_problems()
        if self._shutting_down:
            problems.append("node is shutting down")
        if host.now_ns() < host.start_ns + host.config.network_ready_after_ns:
            problems.append(
                "container runtime network not ready: NetworkReady=false "
                "reason:NetworkPluginNotReady message:Network plugin returns error: "
                "cni plugin not initialized"
            )
        if not problems:
            return "Ready", True, "KubeletReady", "kubelet is posting ready status"
        message = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        return "Ready", False, "KubeletNotReady", message

    def _runtime_problems(self) -> list[str]:
        """What `runtimeState.runtimeErrors` finds (`pkg/kubelet/runtime.go`)."""
        runtime = self._host.runtime
        since_ns = runtime.silent_since_ns
        if since_ns is None:
            return [] if runtime.up else [RUNTIME_DOWN]
        silent_ns, problems = self._host.kernel.now_ns - since_ns, list[str]()
        if silent_ns >= RUNTIME_SYNC_THRESHOLD_NS:
            problems.append(RUNTIME_DOWN)
        if silent_ns > RELIST_THRESHOLD_NS:
            elapsed = format_duration(silent_ns)
            problems.append(
                f"PLEG is not healthy: pleg was last seen active {elapsed} ago; threshold is "
                f"{format_duration(RELIST_THRESHOLD_NS)}"
            )
        return problems

    def runtime_heard(self) -> None:
        """The runtime has fallen silent, or answers again."""
        if self._host.runtime.silent_since_ns is None:
            self.changed()
        elif self._host.process.alive:
            self._host.process.spawn(self._while_silent(), name="runtime_state", daemon=True)

    async def _while_silent(self) -> None:
        host, since_ns = self._host, self._host.runtime.silent_since_ns
        await host.kernel.sleep(RUNTIME_SYNC_THRESHOLD_NS)
        while host.runtime.silent_since_ns == since_ns:
            self.changed(background=True)
            await host.kernel.sleep(host.config.node_status_update_ns, periodic=True)

    # -- reporting ----------------------------------------------------------------------------

    def observe(self, node: Object) -> None:
        """The API server shows the Node like this."""
        known = self.node
        if known is None or known["metadata"]["uid"] != node["metadata"]["uid"]:
            self.node = node
            self.changed(background=True)
            return
        if _version(node) <= _version(known):
            return
        self.node = node
        unschedulable = bool(node["spec"].get("unschedulable"))
        if unschedulable != self._unschedulable:
            self._unschedulable = unschedulable
            self._status_event("NodeNotSchedulable" if unschedulable else "NodeSchedulable")
        if node.get("status") is not known.get("status") and self._differs(node["status"]):
            self.changed(background=False)

    def changed(self, *, background: bool = False) -> None:
        """Something that the status shows has changed: report at the next tick."""
        if self._change is not None and (background or not self._change.periodic):
            return
        if self._change is not None:
            self._change.cancel()
        period_ns = self._host.config.node_status_update_ns
        delay_ns = period_ns - (self._host.now_ns() - self._epoch_ns) % period_ns
        self._change = self._host.process.call_later(
            delay_ns, self._tick, periodic=background, label=f"kubelet: status of node {self.name}"
        )

    def network_ready(self) -> None:
        """The CNI plugin is initialised: tell at once, as the first fast status updates do."""
        self._tick()

    def shutting_down(self) -> None:
        """The node shuts down: tell at once."""
        self._shutting_down = True
        self._tick()

    def _tick(self) -> None:
        if self._change is not None:
            self._change.cancel()
            self._change = None
        if self.node is not None and not self._sending:
            self._sending = True
            self._host.process.spawn(self._report_now(), name="node_status")

    async def _report_now(self) -> None:
        try:
            await self._send()
        finally:
            self._sending = False

    async def _send(self) -> None:
        node = self.node
        assert node is not None
        if self._host.casting.takes_node(node):
            return
        old: Object = node.get("status") or NOTHING
        new = self.compute(old)
        self._transitions(old, new)
        patch = status_patch(old, new, NODE_MERGE_KEYS)
        delay_ns = self._host.config.node_status_report_ns
        try:
            if patch:
                node = await self._host.client.patch(
                    NODES, "", self.name, {"status": patch}, subresource="status"
                )
                self.node = node
                # Somebody else may have written in between (that the node is silent): the patch
                # has left that alone, the next will not.
                if self._differs(node["status"]):
                    self.changed()
        except (apistatus.APIStatus, ConnectionLost) as error:
            if not apistatus.is_not_found(error):
                delay_ns = self._host.config.node_status_update_ns
        if self._report is not None:
            self._report.cancel()
        self._report = self._host.process.call_later(
            delay_ns, self._tick, periodic=True, label=f"kubelet: status of node {self.name}"
        )

    def _differs(self, status: Object) -> bool:
        return _essence(self.compute(status)) != _essence(status)

    def _transitions(self, old: Object, new: Object) -> None:
        """Events for conditions that have changed, and for a boot."""
        if self._adopt:
            return
        boot, known = new["nodeInfo"]["bootID"], (old.get("nodeInfo") or NOTHING).get("bootID")
        if known and known != boot:
            self._node_event(
                WARNING, "Rebooted", f"Node {self.name} has been rebooted, boot id: {boot}"
            )
        before = {c["type"]: c["status"] for c in old.get("conditions") or ()}
        after = {c["type"]: c["status"] for c in new["conditions"]}
        for type_, *_, bad, good in _PRESSURES:
            if before.get(type_) != after[type_]:
                self._status_event(bad if after[type_] == "True" else good)
        if before.get("Ready") not in (None, after["Ready"]):
            self._status_event("NodeReady" if after["Ready"] == "True" else "NodeNotReady")

    def _status_event(self, reason: str) -> None:
        if not self._adopt:
            self._node_event(NORMAL, reason, f"Node {self.name} status is now: {reason}")

    def _node_event(self, type_: str, reason: str, message: str) -> None:
        uid = self.node["metadata"]["uid"] if self.node is not None else self.name
        reference = {"kind": "Node", "name": self.name, "uid": uid, "apiVersion": "v1"}
        self._host.event(reference, type_, reason, message)


def _version(node: Object) -> int:
    return int(node["metadata"].get("resourceVersion") or 0)


def _essence(status: Object) -> Object:
    """A status without the times that change at every report."""
    conditions = [
        (c["type"], c.get("status"), c.get("reason"), c.get("message"))
        for c in status.get("conditions") or ()
    ]
    return {**status, "conditions": sorted(conditions, key=str)}
