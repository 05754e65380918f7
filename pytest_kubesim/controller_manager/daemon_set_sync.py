"""One sync of one DaemonSet: a pod on every node, old pods replaced, revisions kept.

The law is told in `controllers/daemonset`.  Follows
`pkg/controller/daemon/{daemon_controller,update}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.client_go.resources import DAEMONSETS, NODES, PODS
from pytest_kubesim.controller_manager import daemon_pods, fields, pods
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    Result,
    SyncError,
    is_namespace_terminating,
)
from pytest_kubesim.controller_manager.controller_ref_manager import (
    aggregate,
)
from pytest_kubesim.controller_manager.daemon_set_revisions import (
    KIND,
    DaemonSetRevisions,
    Pods,
)
from pytest_kubesim.controller_manager.pod_control import (
    all_at_once,
    pod_from_template,
)
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object


BURST_REPLICAS = 250
STATUS_UPDATE_RETRIES = 1


class DaemonSetSync(DaemonSetRevisions):
    """One sync of one DaemonSet."""

    async def update(self, old: list[Object]) -> None:
        """Give every node its pod, then replace old pods, then forget old revisions."""
        await self.manage()
        if self.expectations.satisfied(self.key):
            strategy = fields.mapping(self.set["spec"], "updateStrategy")
            if strategy.get("type") == "RollingUpdate":
                await self.roll()
        try:
            await self.clean_history(old)
        except RETRIABLE as error:
            raise SyncError(f"failed to clean up revisions of DaemonSet: {error}") from error

    def is_available(self, pod: Object) -> bool:
        """Whether it has been ready for long enough."""
        return pods.is_available(pod, self.min_ready, self.controller.now_ns())

    # -- one pod a node -----------------------------------------------------------------------

    async def manage(self) -> None:
        """Give every node its pod, take away what is too many."""
        by_node = await self.by_node()
        needing: list[str] = []
        surplus: list[str] = []
        for node in self.nodes:
            missing, deleted = self.should_be_on(node, by_node)
            if missing:
                needing.append(meta.name(node))
            surplus += deleted
        running = {meta.name(node) for node in self.nodes}
        for name, several in by_node.items():
            if name not in running:
                surplus += [
                    meta.name(pod) for pod in several if not pod["spec"].get("nodeName")
                ]
        await self.sync_nodes(surplus, needing)

    def should_be_on(self, node: Object, by_node: Pods) -> tuple[bool, list[str]]:
        """Whether a node needs a pod, and which of its pods are too many."""
        fit = self.predicates.fit(node)
        name = meta.name(node)
        several = by_node.get(name)
        if fit.should_run and several is None:
            return True, []
        if not fit.should_continue:
            return False, [
                meta.name(pod) for pod in several or () if not meta.deletion_timestamp(pod)
            ]
        running, surplus = self.without_ended(name, several or [])
        ordered = daemon_pods.by_age(running)
        if not self.surges:
            return False, surplus + [meta.name(pod) for pod in ordered[1:]]
        if len(running) <= 1:
            return not running and fit.should_run, surplus
        return False, surplus + self.surplus_of_surge(ordered)

    def without_ended(self, node: str, several: list[Object]) -> tuple[list[Object], list[str]]:
        """The pods that run, and the names of those that have ended and are to be deleted."""
        controller = self.controller
        running: list[Object] = []
        ended: list[str] = []
        for pod in several:
            if meta.deletion_timestamp(pod):
                continue
            phase = pods.phase(pod)
            if phase not in {"Failed", "Succeeded"}:
                running.append(pod)
                continue
            about = f"daemon pod {meta.namespace(pod)}/{meta.name(pod)} on node {node}, will try to"
            if phase == "Failed":
                observed = fields.number(fields.status(self.set), "observedGeneration")
                backoff_key = f"{meta.uid(self.set)}/{observed}/{node}"
                now_ns = controller.now_ns()
                if controller.backoff.is_in_backoff(backoff_key, now_ns):
                    delay_ns = controller.backoff.get_ns(backoff_key)
                    controller.enqueue_after(self.set, delay_ns)
                    continue
                controller.backoff.next(backoff_key, now_ns)
                message = f"Found failed {about} kill it"
                controller.event(self.set, "Warning", "FailedDaemonPod", message)
                ended.append(meta.name(pod))
            else:
                message = f"Found succeeded {about} delete it"
                controller.event(self.set, "Normal", "SucceededDaemonPod", message)
                ended.append(meta.name(pod))
        return running, ended

    def surplus_of_surge(self, ordered: list[Object]) -> list[str]:
        """Of several pods on a node all but the oldest new and the oldest old one."""
        new: Object | None = None
        old: Object | None = None
        surplus: list[str] = []
        for pod in ordered:
            if meta.labels(pod).get(daemon_pods.HASH_LABEL) == self.hash:
                if new is None:
                    new = pod
                    continue
            elif old is None:
                old = pod
                continue
            surplus.append(meta.name(pod))
        if new is not None and old is not None and (
            not pods.is_ready(old) or self.is_available(new)
        ):
            surplus.append(meta.name(old))
        return surplus

    async def sync_nodes(self, surplus: list[str], needing: list[str]) -> None:
        """Create pods for nodes, in batches that double, and delete pods by name."""
        needing = needing[:BURST_REPLICAS]
        surplus = surplus[:BURST_REPLICAS]
        self.expectations.set(self.key, len(needing), len(surplus))
        template = daemon_pods.pod_template(self.set, self.hash) if needing else {}
        process = self.controller.process
        failed: list[Exception] = []
        done, size = 0, 1
        while done < len(needing):
            batch = needing[done : done + size]
            errors = await all_at_once(
                process, [self.create_on(node, template) for node in batch]
            )
            done += len(batch)
            size = 2 * size
            failed += [error for error in errors if error is not None]
            if failed:
                self.expectations.creation_observed(self.key, len(needing) - done)
                break
        errors = await all_at_once(process, [self.delete(name) for name in surplus])
        failed += [error for error in errors if error is not None]
        if failed:
            raise aggregate(failed)

    async def create_on(self, node: str, template: Object) -> None:
        """Create a pod for a node."""
        reference = meta.new_controller_ref(self.set, KIND)
        pod = pod_from_template(daemon_pods.pinned_to(template, node), self.set, reference)
        try:
            created = await self.controller.pod_control.create(self.namespace, pod, self.set)
        except RETRIABLE as error:
            if is_namespace_terminating(error):
                return
            self.expectations.creation_observed(self.key)
            raise
        self.controller.consistency.wrote(self.key, PODS, created)

    async def delete(self, name: str) -> None:
        """Delete a pod by name."""
        try:
            await self.controller.pod_control.delete(self.namespace, name, self.set)
        except RETRIABLE as error:
            self.expectations.deletion_observed(self.key)
            if not status.is_not_found(error):
                raise

    # -- the rolling update -------------------------------------------------------------------

    async def roll(self) -> None:
        """One step of the rolling update."""
        by_node = await self.by_node()
        desired = 0
        for node in self.nodes:
            if self.predicates.fit(node).should_run:
                desired += 1
                by_node.setdefault(meta.name(node), [])
        try:
            max_unavailable = daemon_pods.unavailable_count(self.set, desired)
            max_surge = daemon_pods.surge_count(self.set, desired)
        except ValueError as problem:
            raise SyncError(f"couldn't get unavailable numbers: {problem}") from None
        if desired > 0 and max_unavailable == 0 and max_surge == 0:
            max_unavailable = 1
        if max_surge == 0:
            await self.sync_nodes(self.replaceable(by_node, max_unavailable), [])
        else:
            surplus, needing = self.surge(by_node, max_surge, desired)
            await self.sync_nodes(surplus, needing)

    def replaceable(self, by_node: Pods, max_unavailable: int) -> list[str]:
        """The old pods that may be deleted now: those not available, others within the budget."""
        unavailable = 0
        allowed: list[str] = []
        candidates: list[str] = []
        for several in by_node.values():
            found = daemon_pods.new_and_old(several, self.hash, self.generation)
            if found is None:
                unavailable += 1
                continue
            new, old = found
            if (new is None) == (old is None):
                unavailable += 1
            elif new is not None:
                unavailable += not self.is_available(new)
            elif old is not None and not self.is_available(old):
                allowed.append(meta.name(old))
                unavailable += 1
            elif old is not None and unavailable < max_unavailable:
                candidates.append(meta.name(old))
        return allowed + candidates[: max(0, max_unavailable - unavailable)]

    def surge(
        self, by_node: Pods, max_surge: int, desired: int
    ) -> tuple[list[str], list[str]]:
        """The old pods to delete, and the nodes that get a new pod beside their old one."""
        deleted: list[str] = []
        misplaced: list[str] = []
        allowed: list[str] = []
        candidates: list[str] = []
        surging = available = 0
        for node_name, several in by_node.items():
            found = daemon_pods.new_and_old(several, self.hash, self.generation)
            if found is None:
                surging += 1
                continue
            new, old = found
            if old is None:
                available += new is not None and self.is_available(new)
                continue
            old_available = self.is_available(old)
            available += old_available
            if new is not None:
                if self.is_available(new):
                    deleted.append(meta.name(old))
                else:
                    surging += 1
                continue
            node = self.controller.nodes.get(node_name)
            if node is None:
                missing = status.new_not_found(NODES.group_resource, node_name)
                raise SyncError(f"couldn't get node for nodeName {quote(node_name)}: {missing}")
            if not self.predicates.fit(node).should_run:
                (misplaced if old_available else deleted).append(meta.name(old))
            elif not old_available:
                allowed.append(node_name)
            elif surging < max_surge:
                candidates.append(node_name)
        deleted += misplaced[: max(0, available - desired)]
        return deleted, allowed + candidates[: max(0, max_surge - surging)]

    # -- the status ---------------------------------------------------------------------------

    async def update_status(self, *, observe: bool) -> Result | None:
        """Count, and write the counts if they are new (`updateDaemonSetStatus`)."""
        by_node = await self.by_node()
        counts: dict[str, int] = dict.fromkeys(_COUNTS, 0)
        for node in self.nodes:
            several = by_node.get(meta.name(node))
            if self.predicates.fit(node).should_run:
                counts["desiredNumberScheduled"] += 1
                if several:
                    self.count(counts, daemon_pods.by_age(several)[0])
            elif several:
                counts["numberMisscheduled"] += 1
        counts["numberUnavailable"] = counts["desiredNumberScheduled"] - counts["numberAvailable"]
        await self.store_status(counts, observe=observe)
        if self.min_ready > 0 and counts["numberReady"] != counts["numberAvailable"]:
            return Result(self.min_ready * NS)
        return None

    def count(self, counts: dict[str, int], pod: Object) -> None:
        """Count the pod of a node."""
        counts["currentNumberScheduled"] += 1
        if pods.is_ready(pod):
            counts["numberReady"] += 1
            counts["numberAvailable"] += self.is_available(pod)
        counts["updatedNumberScheduled"] += daemon_pods.is_updated(
            pod, self.hash, self.generation
        )

    async def store_status(self, counts: dict[str, int], *, observe: bool) -> None:
        """Write the counts if they are new."""
        old = fields.status(self.set)
        generation = meta.generation(self.set)
        if all(fields.number(old, key) == value for key, value in counts.items()) and (
            fields.number(old, "observedGeneration") >= generation
        ):
            return
        current = self.set
        for attempt in range(STATUS_UPDATE_RETRIES + 1):
            new = {
                key: value
                for key, value in {**fields.status(current), **counts}.items()
                if value or key in _ALWAYS or key == "collisionCount"
            }
            if observe:
                new["observedGeneration"] = generation
            try:
                updated = await self.client.update(
                    DAEMONSETS, self.namespace, {**current, "status": new}, subresource="status"
                )
            except RETRIABLE:
                if attempt >= STATUS_UPDATE_RETRIES:
                    raise
            else:
                self.controller.consistency.wrote(self.key, DAEMONSETS, updated)
                return
            current = await self.client.get(DAEMONSETS, self.namespace, meta.name(self.set))


_ALWAYS = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
)
_COUNTS = (*_ALWAYS, "updatedNumberScheduled", "numberAvailable", "numberUnavailable")
