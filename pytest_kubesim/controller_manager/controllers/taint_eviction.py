"""The taint eviction controller: pods leave nodes whose NoExecute taints they do not tolerate.

The law: a pod that does not tolerate a taint goes at once; one that tolerates all of them for a
time goes when the shortest of these times is over, counted from when it was first seen so; that
eviction is called off when the taints go or the tolerations grow.

Follows `pkg/controller/tainteviction/{taint_eviction,timed_workers}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.client_go.resources import NODES, PODS
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.controller_manager import fields, node_taints, pods
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller
from pytest_kubesim.controller_manager.node_fit import NO_EXECUTE, tolerates
from pytest_kubesim.controller_manager.pod_status_patch import (
    changes_pod_condition,
    patch_pod_status,
    with_pod_condition,
)
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.sim.kernel import Timer

RETRIES = 5
RETRY_NS = 10_000_000

TAINT_MANAGER_EVICTION = "TaintManagerEviction"


class TaintEvictionController(Controller):
    """Evicts pods by taint."""

    name = "taint-eviction-controller"
    service_account = "node-controller"

    def setup(self) -> None:
        """Listen to nodes and pods."""
        self.tainted: dict[str, list[Object]] = {}
        """The NoExecute taints of the nodes that have any."""
        self.evictions: dict[str, Timer | None] = {}
        """The evictions to come, by pod; one without a timer is under way."""
        self.nodes = self.watch(
            NODES, add=self._node_added, update=self._node_updated, delete=self._node_deleted
        )
        self.pods = self.watch(
            PODS, add=self._pod_added, update=self._pod_updated, delete=self._pod_deleted
        )
        pods.add_node_index(self.pods)

    # -- nodes --------------------------------------------------------------------------------

    def _node_added(self, node: Object) -> None:
        if _no_execute(node):
            self._handle_node(node)

    def _node_updated(self, old: Object, node: Object) -> None:
        if _no_execute(old) != _no_execute(node):
            self._handle_node(node)

    def _node_deleted(self, node: Object) -> None:
        self.tainted.pop(meta.name(node), None)

    def _handle_node(self, node: Object) -> None:
        name = meta.name(node)
        taints = _no_execute(node)
        if taints:
            self.tainted[name] = taints
        else:
            self.tainted.pop(name, None)
        for pod in self.pods.by_index(pods.NODE_INDEX, name):
            if taints:
                self._handle(pod, taints)
            else:
                self._cancel(key_of(pod))

    # -- pods ---------------------------------------------------------------------------------

    def _pod_added(self, pod: Object) -> None:
        taints = self.tainted.get(fields.text(fields.spec(pod), "nodeName"))
        if taints:
            self._handle(pod, taints)

    def _pod_updated(self, old: Object, pod: Object) -> None:
        before, now = fields.spec(old), fields.spec(pod)
        if before.get("nodeName") != now.get("nodeName") or (
            before.get("tolerations") != now.get("tolerations")
        ):
            self._pod_added(pod)

    def _pod_deleted(self, pod: Object) -> None:
        if self.evictions:
            self._cancel(key_of(pod))

    def _handle(self, pod: Object, taints: list[Object]) -> None:
        """`processPodOnNode`."""
        key = key_of(pod)
        used = _matching(taints, fields.objects(fields.spec(pod), "tolerations"))
        if used is None:
            self._cancel(key)
            self._add(key, 0)
            return
        seconds = _least_seconds(used)
        if seconds is None:
            self._cancel(key)
            return
        # What is scheduled was scheduled earlier, be it in the same instant: it stays as it is.
        if key not in self.evictions:
            self._add(key, seconds * NS)

    # -- evictions ----------------------------------------------------------------------------

    def _add(self, key: str, delay_ns: int) -> None:
        if key in self.evictions:
            return
        if delay_ns > 0:
            timer = self.process.call_later(
                delay_ns, self._evict_now, key, label=f"{self.name}: {key}"
            )
            self.evictions[key] = timer
        else:
            self._evict_now(key)

    def _cancel(self, key: str) -> None:
        timer = self.evictions.pop(key, None)
        if timer is not None:
            timer.cancel()
            self._record(key, f"Cancelling deletion of Pod {key}")

    def _evict_now(self, key: str) -> None:
        self.evictions[key] = None
        self.process.spawn(self._evict(key), name=f"{self.name} {key}")

    async def _evict(self, key: str) -> None:
        self._record(key, f"Marking for deletion Pod {key}")
        for _attempt in range(RETRIES):
            try:
                await self._mark_and_delete(*meta.split_key(key))
            except RETRIABLE as error:
                self.kernel.journal.record("sync failed", self.name, key=key, error=str(error))
                await self.kernel.sleep(RETRY_NS)
            else:
                break
        self.evictions.pop(key, None)

    async def _mark_and_delete(self, namespace: str, name: str) -> None:
        pod = await self.client.get(PODS, namespace, name)
        condition = {
            "type": "DisruptionTarget",
            "observedGeneration": meta.generation(pod),
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
        }
        if changes_pod_condition(pod, condition):
            changed = with_pod_condition(pod, condition, self.now())
            await patch_pod_status(self.client, pod, changed)
        await self.client.delete(PODS, namespace, name)

    def _record(self, key: str, message: str) -> None:
        namespace, name = meta.split_key(key)
        reference = {"kind": "Pod", "namespace": namespace, "name": name, "apiVersion": "v1"}
        self.event(reference, "Normal", TAINT_MANAGER_EVICTION, message)


def _no_execute(node: Object) -> list[Object]:
    return [taint for taint in node_taints.taints_of(node) if taint["effect"] == NO_EXECUTE]


def _matching(taints: list[Object], tolerations: list[Object]) -> list[Object] | None:
    """The first toleration of each taint; None if one has none (`GetMatchingTolerations`)."""
    used: list[Object] = []
    for taint in taints:
        found = next((entry for entry in tolerations if tolerates(entry, taint)), None)
        if found is None:
            return None
        used.append(found)
    return used


def _least_seconds(tolerations: list[Object]) -> int | None:
    """How long all taints are tolerated; None for ever."""
    if not tolerations:
        return 0
    seconds = [
        entry["tolerationSeconds"]
        for entry in tolerations
        if entry.get("tolerationSeconds") is not None
    ]
    return max(0, min(seconds)) if seconds else None


CONTROLLER = TaintEvictionController
