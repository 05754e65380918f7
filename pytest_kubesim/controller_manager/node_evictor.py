"""NoExecute taints of nodes that are not ready or silent, at the rate that their zones allow.

Follows `doNoExecuteTaintingPass`, `processTaintBaseEviction` and `handleDisruption` of
`pkg/controller/nodelifecycle/node_lifecycle_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import meta, timestamps
from pytest_kubesim.controller_manager import node_taints
from pytest_kubesim.controller_manager.controller import RETRIABLE
from pytest_kubesim.controller_manager.node_fit import NO_EXECUTE
from pytest_kubesim.controller_manager.zone_tainter import (
    FULL_DISRUPTION,
    INITIAL,
    NORMAL,
    PARTIAL_DISRUPTION,
    ZoneTainter,
    state_of,
    zone_of,
)

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.client_go.store import Store
    from pytest_kubesim.sim.kernel import Timer
    from pytest_kubesim.sim.process import Process

NAME = "node-lifecycle-controller"

TAINT_PERIOD_NS = 100_000_000
TAINT_RETRY_NS = 50_000_000

EVICTION_QPS = 0.1
SECONDARY_EVICTION_QPS = 0.01
LARGE_CLUSTER = 50
UNHEALTHY_ZONE = 0.55

_UNREACHABLE: Object = {"key": node_taints.UNREACHABLE, "effect": NO_EXECUTE}
_NOT_READY: Object = {"key": node_taints.NOT_READY, "effect": NO_EXECUTE}


@attrs.frozen(slots=True)
class EvictionSettings:
    """The rates, in nodes per second, and from what size and share of ill nodes they hold."""

    qps: float = EVICTION_QPS
    secondary_qps: float = SECONDARY_EVICTION_QPS
    large_cluster: int = LARGE_CLUSTER
    unhealthy_zone: float = UNHEALTHY_ZONE


@attrs.frozen(slots=True)
class Verdict:
    """What came of judging the zones: whether nodes can be seen again, whether a write failed."""

    recovered: bool = False
    failed: bool = False


class NodeEvictor:
    """Taints nodes so that their pods leave.

    Parameters: `process`; `client` that writes; `nodes` as they are known; `settings`.
    """

    def __init__(
        self, process: Process, client: RESTClient, nodes: Store, settings: EvictionSettings
    ) -> None:
        self._process = process
        self._client = client
        self._nodes = nodes
        self._settings = settings
        self._tainting: Timer | None = None
        self.start_ns = process.kernel.now_ns
        self.zone_states: dict[str, str] = {}
        self.tainters: dict[str, ZoneTainter] = {}

    def _now(self) -> str:
        return timestamps.format_time(self._process.now_ns())

    def know(self, node: Object) -> None:
        """Make the line of a node's zone, if it is new."""
        zone = zone_of(node)
        if zone not in self.tainters:
            self.tainters[zone] = ZoneTainter(self._settings.qps, self._process.kernel.now_ns)
        self.zone_states.setdefault(zone, INITIAL)

    async def by_readiness(self, node: Object, ready: str) -> None:
        """Bring a node's NoExecute taints in agreement with its readiness, in its turn."""
        if ready == "True":
            await self.mark_reachable(node)
            return
        mine, other = (_NOT_READY, _UNREACHABLE) if ready == "False" else (_UNREACHABLE, _NOT_READY)
        if node_taints.exists(node_taints.taints_of(node), other):
            await node_taints.swap(self._client, node, [mine], [other], self._now())
            return
        tainter = self.tainters[zone_of(node)]
        if not node_taints.exists(node_taints.taints_of(node), mine):
            tainter.remove(meta.name(node))
        if tainter.add(meta.name(node), self._process.kernel.now_ns):
            self.taint_soon()

    async def mark_reachable(self, node: Object) -> None:
        """Take a node's NoExecute taints away, and the node out of the line."""
        await node_taints.remove(self._client, node, [_UNREACHABLE])
        await node_taints.remove(self._client, node, [_NOT_READY])
        self.tainters[zone_of(node)].remove(meta.name(node))

    def taint_soon(self) -> None:
        """Taint the nodes in line at the next tenth of a second at which one may be."""
        due = [ns for tainter in self.tainters.values() if (ns := tainter.next_ns()) is not None]
        if not due:
            return
        now_ns = self._process.kernel.now_ns
        due_ns = max(min(due), now_ns)
        due_ns += -(due_ns - self.start_ns) % TAINT_PERIOD_NS
        if self._tainting is not None:
            if self._tainting.time_ns <= due_ns:
                return
            self._tainting.cancel()
        self._tainting = self._process.call_later(
            due_ns - now_ns, self._taint_now, label=f"{NAME}: NoExecute taints"
        )

    def _taint_now(self) -> None:
        self._tainting = None
        self._process.spawn(self._taint_pass(), name=f"{NAME} taints")

    async def _taint_pass(self) -> None:
        for tainter in list(self.tainters.values()):
            while (name := tainter.head(self._process.kernel.now_ns)) is not None:
                if await self._taint(name):
                    tainter.done(name)
                else:
                    tainter.retry(name, self._process.kernel.now_ns + TAINT_RETRY_NS)
        self.taint_soon()

    async def _taint(self, name: str) -> bool:
        node = self._nodes.get(name)
        if node is None:
            return True
        ready = meta.condition(node, "Ready")
        if ready is None:
            return False
        if ready["status"] == "False":
            mine, other = _NOT_READY, _UNREACHABLE
        elif ready["status"] == "Unknown":
            mine, other = _UNREACHABLE, _NOT_READY
        else:
            return True
        return await node_taints.swap(self._client, node, [mine], [other], self._now())

    async def judge(self, zones: dict[str, list[bool]], nodes: list[Object]) -> Verdict:
        """Set the zones' rates by how many of their nodes are ready (`handleDisruption`).

        When no zone has a node that is ready nobody is evicted: rather can nobody be seen.
        """
        new = {
            zone: state_of(ready, self._settings.unhealthy_zone) for zone, ready in zones.items()
        }
        all_are = all(state == FULL_DISRUPTION for state in new.values())
        for zone in new:
            self.zone_states.setdefault(zone, INITIAL)
        for zone in [zone for zone in self.zone_states if zone not in zones]:
            del self.zone_states[zone]
        all_were = all(state == FULL_DISRUPTION for state in self.zone_states.values())
        if all_are and all_were:
            return Verdict()
        now_ns = self._process.kernel.now_ns
        if all_are:
            failed = False
            for node in nodes:
                try:
                    await self.mark_reachable(node)
                except RETRIABLE:
                    failed = True
            for zone in self.zone_states:
                self.tainters[zone].swap_limiter(0, now_ns)
                self.zone_states[zone] = FULL_DISRUPTION
            return Verdict(failed=failed)
        for zone, state in self.zone_states.items():
            if all_were or state != new[zone]:
                self._limit(zone, len(zones[zone]), new[zone])
                self.zone_states[zone] = new[zone]
        self.taint_soon()
        return Verdict(recovered=all_were)

    def _limit(self, zone: str, size: int, state: str) -> None:
        if state in {NORMAL, FULL_DISRUPTION}:
            qps = self._settings.qps
        elif state == PARTIAL_DISRUPTION:
            qps = self._settings.secondary_qps if size > self._settings.large_cluster else 0
        else:
            return
        self.tainters[zone].swap_limiter(qps, self._process.kernel.now_ns)
