"""The node lifecycle controller: nodes that are silent are Unknown, ill nodes are tainted.

The law: a node is heard of by a new heartbeat in its condition Ready or by the renewal of its
lease; after 50 seconds of silence (60 for one that was never ready) its conditions become Unknown.
What conditions say becomes taints: NoSchedule at once, NoExecute at the rate that the node's zone
allows.  Pods of a node that fell silent are marked as not ready.

Upstream looks at every node every five seconds.  Here the looks that would change nothing are left
out; those that are taken fall on the same seconds.  A node counts as heard of at the next look.

Follows `pkg/controller/nodelifecycle/node_lifecycle_controller.go` and
`pkg/controller/util/node/controller_utils.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from pytest_kubesim.apimachinery import meta, status, timestamps
from pytest_kubesim.client_go.resources import DAEMONSETS, LEASES, NODES, PODS
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.client_go.workqueue import RateLimitingQueue
from pytest_kubesim.controller_manager import fields, node_taints, pods
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller
from pytest_kubesim.controller_manager.controller_ref_manager import aggregate
from pytest_kubesim.controller_manager.node_evictor import (
    EVICTION_QPS,
    LARGE_CLUSTER,
    SECONDARY_EVICTION_QPS,
    UNHEALTHY_ZONE,
    EvictionSettings,
    NodeEvictor,
)
from pytest_kubesim.controller_manager.node_fit import NO_SCHEDULE
from pytest_kubesim.controller_manager.pod_status_patch import with_pod_condition
from pytest_kubesim.controller_manager.silent_nodes import is_complete, silent_conditions
from pytest_kubesim.controller_manager.zone_tainter import zone_of
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.sim.kernel import Timer

LEASE_NAMESPACE = "kube-node-lease"

MONITOR_PERIOD_NS = 5 * NS
MONITOR_GRACE_NS = 50 * NS
STARTUP_GRACE_NS = 60 * NS
SUSPICIOUS_NS = 25 * NS
"""A node that has missed two renewals of its lease is expected to be found silent."""
UPDATE_RETRIES, RETRY_SLEEP_NS = 5, 20_000_000

EXCLUDE_DISRUPTION = "node.kubernetes.io/exclude-disruption"

_TAINT_OF: dict[tuple[str, str], str] = {
    ("Ready", "False"): node_taints.NOT_READY,
    ("Ready", "Unknown"): node_taints.UNREACHABLE,
    ("MemoryPressure", "True"): node_taints.MEMORY_PRESSURE,
    ("DiskPressure", "True"): node_taints.DISK_PRESSURE,
    ("NetworkUnavailable", "True"): node_taints.NETWORK_UNAVAILABLE,
    ("PIDPressure", "True"): node_taints.PID_PRESSURE,
}
_CONDITION_TAINTS = frozenset({*_TAINT_OF.values(), node_taints.UNSCHEDULABLE})

_LABELS = (
    ("kubernetes.io/os", "beta.kubernetes.io/os"),
    ("kubernetes.io/arch", "beta.kubernetes.io/arch"),
)


@attrs.define(slots=True)
class _Health:
    """When a node was heard of last, and what its condition Ready was at the last look."""

    probe_ns: int
    ready: str | None = None
    lease_version: str = ""


class _StaleLeases(Exception):
    """The leases that are known are old: nobody is declared silent by them."""


class NodeLifecycleController(Controller):
    """Watches over nodes."""

    name = "node-lifecycle-controller"
    service_account = "node-controller"
    component = "node-controller"
    workers: ClassVar[int] = 8

    def setup(self) -> None:
        """Listen to nodes, leases and pods."""
        setting = self.context.setting
        self.grace_ns: int = setting("node-monitor-grace-period", MONITOR_GRACE_NS)
        self.startup_grace_ns: int = setting("node-startup-grace-period", STARTUP_GRACE_NS)
        self.period_ns: int = setting("node-monitor-period", MONITOR_PERIOD_NS)
        self.health: dict[str, _Health] = {}
        self.known: dict[str, Object] = {}
        self.retry: dict[str, None] = {}
        self.pod_queue: RateLimitingQueue[str] = RateLimitingQueue(
            self.process, "node_lifecycle_controller_pods"
        )
        self._start_ns = self.kernel.now_ns
        self._running = False
        self._look: Timer | None = None
        self._silence: Timer | None = None

        self.leases = self.watch(
            LEASES, add=self._lease_added, update=self._lease_updated
        )
        self.nodes = self.watch(
            NODES, add=self._node_added, update=self._node_updated, delete=self._node_deleted
        )
        self.pods = self.watch(PODS, add=self._pod_added, update=self._pod_updated)
        pods.add_node_index(self.pods)
        self.informer(DAEMONSETS)
        rates = EvictionSettings(
            setting("node-eviction-rate", EVICTION_QPS),
            setting("secondary-node-eviction-rate", SECONDARY_EVICTION_QPS),
            setting("large-cluster-size-threshold", LARGE_CLUSTER),
            setting("unhealthy-zone-threshold", UNHEALTHY_ZONE),
        )
        self.evictor = NodeEvictor(self.process, self.client, self.nodes, rates)

    # -- what is heard ------------------------------------------------------------------------

    def _next_look_ns(self) -> int:
        """The time of the next look: now, if there is one now."""
        elapsed_ns = self.kernel.now_ns - self._start_ns
        return self.kernel.now_ns + -elapsed_ns % self.period_ns

    def _node_added(self, node: Object) -> None:
        self.enqueue(node)
        ready = meta.condition(node, "Ready")
        if ready is None:
            probe_ns = timestamps.parse_time(node["metadata"]["creationTimestamp"])
        else:
            probe_ns = self._next_look_ns()
        if meta.name(node) not in self.health:
            health = self.health[meta.name(node)] = _Health(probe_ns)
            lease = self.leases.get_by_name(LEASE_NAMESPACE, meta.name(node))
            if lease is not None:
                health.lease_version = meta.resource_version(lease)
                health.probe_ns = self._next_look_ns()
        self._look_soon()

    def _node_updated(self, old: Object, node: Object) -> None:
        self.enqueue(node)
        before, now = meta.condition(old, "Ready"), meta.condition(node, "Ready")
        if (before is None) != (now is None) or (
            before is not None
            and now is not None
            and before.get("lastHeartbeatTime") != now.get("lastHeartbeatTime")
        ):
            health = self.health.get(meta.name(node))
            if health is not None:
                health.probe_ns = self._next_look_ns()
        if (
            _status(before) != _status(now)
            or node_taints.taints_of(old) != node_taints.taints_of(node)
            or zone_of(old) != zone_of(node)
        ):
            self._look_soon()

    def _node_deleted(self, node: Object) -> None:
        self.retry.pop(meta.name(node), None)
        self._look_soon()

    def _lease_added(self, lease: Object) -> None:
        if meta.namespace(lease) == LEASE_NAMESPACE:
            health = self.health.get(meta.name(lease))
            if health is not None:
                health.lease_version = meta.resource_version(lease)
                health.probe_ns = self._next_look_ns()

    def _lease_updated(self, old: Object, lease: Object) -> None:
        if old["spec"].get("renewTime") != lease["spec"].get("renewTime"):
            self._lease_added(lease)

    def _pod_added(self, pod: Object) -> None:
        if fields.spec(pod).get("nodeName"):
            self.pod_queue.add(key_of(pod))

    def _pod_updated(self, old: Object, pod: Object) -> None:
        name = fields.spec(pod).get("nodeName")
        if name and name != fields.spec(old).get("nodeName"):
            self.pod_queue.add(key_of(pod))

    # -- NoSchedule taints and labels ---------------------------------------------------------

    async def reconcile(self, key: str) -> None:
        """Make the NoSchedule taints and the old labels of one node what they should be."""
        node = self.nodes.get(key)
        if node is None:
            return
        await self._no_schedule(node)
        labels = meta.labels(node)
        changed = {
            secondary: labels[primary]
            for primary, secondary in _LABELS
            if primary in labels and labels.get(secondary) != labels[primary]
        }
        if changed:
            await node_taints.add_labels(self.client, key, changed)

    def handle_error(self, key: str, error: Exception) -> None:
        """Upstream logs it and waits for the node's next change."""
        del error
        self.queue.forget(key)

    async def _no_schedule(self, node: Object) -> None:
        wanted: list[Object] = []
        for condition in fields.conditions(node):
            key = _TAINT_OF.get((condition["type"], condition["status"]))
            if key is not None:
                wanted.append({"key": key, "effect": NO_SCHEDULE})
        if fields.spec(node).get("unschedulable"):
            wanted.append({"key": node_taints.UNSCHEDULABLE, "effect": NO_SCHEDULE})
        present = [
            taint
            for taint in node_taints.taints_of(node)
            if taint["effect"] == NO_SCHEDULE and taint["key"] in _CONDITION_TAINTS
        ]
        added, removed = node_taints.difference(wanted, present)
        if added or removed:
            await node_taints.swap(self.client, node, added, removed, self.now())

    # -- when to look -------------------------------------------------------------------------

    async def run(self) -> None:
        """Look for the first time; mark pods that come to nodes which are not ready."""
        self._running = True
        self._start_ns = self.evictor.start_ns = self.kernel.now_ns
        for health in self.health.values():
            health.probe_ns = min(health.probe_ns, self._start_ns)
        await self._monitor()
        while True:
            key = await self.pod_queue.get()
            try:
                await self._process_pod(key)
            except RETRIABLE:
                self.pod_queue.add_rate_limited(key)
            self.pod_queue.done(key)

    def _look_soon(self) -> None:
        """Look at the nodes at the next fifth second."""
        if self._running and self._look is None:
            delay_ns = self._next_look_ns() - self.kernel.now_ns
            self._look = self.process.call_later(
                delay_ns or self.period_ns, self._look_now, label=f"{self.name}: monitor nodes"
            )

    def _look_now(self) -> None:
        self._look = None
        self.process.spawn(self._monitor(), name=f"{self.name} monitor")

    def _grace_of(self, name: str) -> int:
        health = self.health[name]
        return self.startup_grace_ns if health.ready is None else self.grace_ns

    def _await_silence(self) -> None:
        """Wake when the first node that is thought to be well has been silent for too long.

        That a node will be silent is known only once it has been for a while: until then the
        timer is one of those that come for ever.
        """
        now_ns = self.kernel.now_ns
        due_ns: int | None = None
        expected = False
        for name, health in self.health.items():
            if health.ready == "Unknown":
                continue
            suspicious_ns = health.probe_ns + SUSPICIOUS_NS
            silent = suspicious_ns <= now_ns
            wake_ns = health.probe_ns + self._grace_of(name) if silent else suspicious_ns
            if due_ns is None or wake_ns < due_ns:
                due_ns, expected = wake_ns, silent
            elif wake_ns == due_ns:
                expected = expected or silent
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        if due_ns is not None:
            self._silence = self.process.call_later(
                max(0, due_ns - now_ns), self._maybe_silent, periodic=not expected,
                label=f"{self.name}: a node is silent",
            )

    def _maybe_silent(self) -> None:
        self._silence = None
        if self._has_silent():
            self._maybe_look_now()
        else:
            self._await_silence()

    def _has_silent(self) -> bool:
        """Whether a node that is not Unknown yet has been silent for too long."""
        now_ns = self.kernel.now_ns
        return any(
            health.ready != "Unknown" and health.probe_ns + self._grace_of(name) <= now_ns
            for name, health in self.health.items()
        )

    def _maybe_look_now(self) -> None:
        if self._next_look_ns() == self.kernel.now_ns:
            if self._look is not None:
                self._look.cancel()
            self._look_now()
        else:
            self._look_soon()

    # -- the look (`monitorNodeHealth`) -------------------------------------------------------

    async def _monitor(self) -> None:
        nodes = self.nodes.list()
        await self._classify(nodes)
        conditions: dict[str, list[bool]] = {}
        stale = False
        for node in nodes:
            try:
                await self._monitor_node(node, conditions)
            except _StaleLeases:
                stale = True
                break
            except RETRIABLE as error:
                self.kernel.journal.record(
                    "sync failed", self.name, key=meta.name(node), error=str(error)
                )
                self._look_soon()
        if stale:
            self._look_soon()
        else:
            verdict = await self.evictor.judge(conditions, nodes)
            if verdict.failed:
                self._look_soon()
            if verdict.recovered:
                for health in self.health.values():
                    health.probe_ns = self.kernel.now_ns
        if self._has_silent():
            self._look_soon()  # The look has left it as it was, for whatever reason.
        if self._look is None:
            # Otherwise the next look is at the next fifth second, and no silence ends before that.
            self._await_silence()

    async def _classify(self, nodes: list[Object]) -> None:
        present = {meta.name(node) for node in nodes}
        for node in nodes:
            self.evictor.know(node)
        for node in nodes:
            name = meta.name(node)
            if name not in self.known:
                self._node_event(node, "RegisteredNode", f"Registered Node {name} in Controller")
                self.known[name] = node
                await self.evictor.mark_reachable(node)
        for name in [name for name in self.known if name not in present]:
            node = self.known.pop(name)
            self.health.pop(name, None)
            self._node_event(node, "RemovingNode", f"Removing Node {name} from Controller")
        # One that goes before anybody has looked at it has never been known.
        for name in [name for name in self.health if name not in present]:
            del self.health[name]

    def _node_event(self, node: Object, reason: str, text: str) -> None:
        self.event(
            _reference(node), "Normal", reason, f"Node {meta.name(node)} event: {text}"
        )

    async def _monitor_node(self, node: Object, zones: dict[str, list[bool]]) -> None:
        name = meta.name(node)
        for attempt in range(UPDATE_RETRIES):
            try:
                observed, current = await self._update_health(node)
                break
            except RETRIABLE:
                if attempt == UPDATE_RETRIES - 1:
                    raise
                node = await self.client.get(NODES, "", name)
            await self.kernel.sleep(RETRY_SLEEP_NS)
        else:
            return
        if EXCLUDE_DISRUPTION not in meta.labels(node):
            zones.setdefault(zone_of(node), []).append(current == "True")
        if current is not None:
            await self.evictor.by_readiness(node, current)
            if current != "True" and observed == "True":
                self.event(
                    _reference(node), "Normal", "NodeNotReady",
                    f"Node {name} status is now: NodeNotReady",
                )
                await self._mark_pods_of(name)
            elif name in self.retry and observed != "True":
                await self._mark_pods_of(name)
        self.retry.pop(name, None)

    async def _mark_pods_of(self, name: str) -> None:
        try:
            await self._mark_not_ready(self.pods.by_index(pods.NODE_INDEX, name))
        except RETRIABLE:
            self.retry[name] = None
            raise

    async def _update_health(self, node: Object) -> tuple[str, str | None]:
        """Declare a node Unknown if it is silent: its readiness before, and now."""
        name = meta.name(node)
        ready = meta.condition(node, "Ready")
        health = self.health.setdefault(name, _Health(self.kernel.now_ns))
        health.ready = _status(ready)
        observed = "Unknown" if ready is None else ready["status"]
        if self.kernel.now_ns < health.probe_ns + self._grace_of(name):
            return observed, health.ready
        if ready is not None and ready["status"] == "Unknown" and is_complete(node):
            return observed, health.ready
        await self._check_lease(name, health)
        conditions = silent_conditions(node, self.now())
        changed = meta.with_status(node, conditions=conditions)
        if meta.condition(changed, "Ready") != ready:
            await self.client.update(NODES, "", changed, subresource="status")
        health.ready = _status(meta.condition(changed, "Ready"))
        return observed, health.ready

    async def _check_lease(self, name: str, health: _Health) -> None:
        """Ask the API server whether the lease is really old (1.37's circuit breaker)."""
        try:
            lease = await self.client.get(LEASES, LEASE_NAMESPACE, name)
        except status.APIStatus as error:
            if status.is_not_found(error):
                return
            raise
        if meta.resource_version(lease) != health.lease_version:
            raise _StaleLeases

    # -- pods ---------------------------------------------------------------------------------

    async def _process_pod(self, key: str) -> None:
        pod = self.pods.get(key)
        if pod is None:
            return
        health = self.health.get(fields.text(fields.spec(pod), "nodeName"))
        if health is not None and health.ready is not None and health.ready != "True":
            await self._mark_not_ready([pod])

    async def _mark_not_ready(self, found: list[Object]) -> None:
        errors: list[Exception] = []
        for pod in found:
            ready = pods.ready_condition(pod)
            if ready is None:
                continue
            changed = with_pod_condition(pod, {**ready, "status": "False"}, self.now())
            if changed is pod:
                continue
            try:
                await self.client.update(PODS, meta.namespace(pod), changed, subresource="status")
            except RETRIABLE as error:
                if status.is_not_found(error):
                    continue
                errors.append(error)
            self.event(pod, "Warning", "NodeNotReady", "Node is not ready")
        if errors:
            raise aggregate(errors)


def _status(condition: Object | None) -> str | None:
    return None if condition is None else condition["status"]



def _reference(node: Object) -> Object:
    return {
        "kind": "Node", "name": meta.name(node), "uid": meta.uid(node), "apiVersion": "v1",
    }


CONTROLLER = NodeLifecycleController
