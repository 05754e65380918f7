"""The daemonset controller: a pod on every node that may have one.

The law: pods are made for nodes, pinned by node affinity, and bound by the scheduler; a node that a
pod may not be on any more loses it.  A node's change is looked at by itself, and wakes those sets
only that it makes a difference for.

Follows `pkg/controller/daemon/{daemon_controller,update}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pytest_kubesim.apimachinery import labels, meta, names, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupVersionKind
from pytest_kubesim.client_go.resources import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.client_go.workqueue import RateLimitingQueue
from pytest_kubesim.controller_manager import daemon_pods, fields, history, pods
from pytest_kubesim.controller_manager.backoff import Backoff
from pytest_kubesim.controller_manager.consistency import ConsistencyStore
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    Controller,
    Result,
    SyncError,
    is_namespace_terminating,
)
from pytest_kubesim.controller_manager.controller_ref_manager import (
    ControllerRefManager,
    aggregate,
)
from pytest_kubesim.controller_manager.expectations import Expectations
from pytest_kubesim.controller_manager.pod_control import (
    PodControl,
    all_at_once,
    pod_from_template,
)
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.apimachinery.meta import Object

KIND = GroupVersionKind("apps", "v1", "DaemonSet")
BURST_REPLICAS = 250
STATUS_UPDATE_RETRIES = 1
BACKOFF_NS, MAX_BACKOFF_NS = NS, 900 * NS

Pods = dict[str, list[dict[str, Any]]]


class DaemonSetsController(Controller):
    """Keeps the pods of DaemonSets."""

    name = "daemonset-controller"
    service_account = "daemon-set-controller"
    workers: ClassVar[int] = 2
    workers_flag = "concurrent-daemonset-syncs"

    def setup(self) -> None:
        """Listen to sets, revisions, pods and nodes."""
        self.expectations = Expectations(self.now_ns)
        self.pod_control = PodControl(self.client, self.recorder)
        self.backoff = Backoff(BACKOFF_NS, MAX_BACKOFF_NS)
        self.node_queue: RateLimitingQueue[str] = RateLimitingQueue(
            self.process, "daemonset-node-updates"
        )
        self.sets = self.watch(
            DAEMONSETS, add=self.enqueue, update=self._update_set, delete=self._delete_set
        )
        revisions = self.watch(
            CONTROLLERREVISIONS,
            add=self._add_revision,
            update=self._update_revision,
            delete=self._enqueue_owner,
        )
        self.revisions = revisions
        history.add_index(revisions)
        self.pods = self.watch(
            PODS, add=self._add_pod, update=self._update_pod, delete=self._delete_pod
        )
        pods.add_node_index(self.pods)
        pods.add_controller_index(self.pods)
        self.nodes = self.watch(NODES, add=self._add_node, update=self._update_node)
        self.consistency = ConsistencyStore(self.informer(PODS), self.informer(DAEMONSETS))

    # -- handlers -----------------------------------------------------------------------------

    def _update_set(self, old: Object, new: Object) -> None:
        if meta.uid(old) != meta.uid(new):
            self._delete_set(old)
        self.enqueue(new)

    def _delete_set(self, daemon_set: Object) -> None:
        key = key_of(daemon_set)
        self.consistency.clear(key)
        self.expectations.delete(key)
        self.queue.add(key)

    def _resolve(self, namespace: str, reference: Object | None) -> Object | None:
        if reference is None or reference["kind"] != KIND.kind:
            return None
        found = self.sets.get(f"{namespace}/{reference['name']}")
        return found if found is not None and meta.uid(found) == reference["uid"] else None

    def _enqueue_owner(self, obj: Object) -> Object | None:
        owner = self._resolve(meta.namespace(obj), meta.controller_of(obj))
        if owner is not None:
            self.enqueue(owner)
        return owner

    def _enqueue_matching(self, obj: Object) -> None:
        its_labels = meta.labels(obj)
        if not its_labels:
            return
        for daemon_set in self.sets.list(meta.namespace(obj)):
            try:
                selector = labels.from_label_selector(daemon_set["spec"].get("selector"))
            except ValueError:
                continue
            if not selector.empty and selector.matches(its_labels):
                self.enqueue(daemon_set)

    def _add_revision(self, revision: Object) -> None:
        if meta.deletion_timestamp(revision):
            self._enqueue_owner(revision)
        elif meta.controller_of(revision) is None:
            self._enqueue_matching(revision)

    def _update_revision(self, old: Object, new: Object) -> None:
        if meta.resource_version(old) != meta.resource_version(new):
            self._follow(old, new)

    def _follow(self, old: Object, new: Object) -> Object | None:
        before, after = meta.controller_of(old), meta.controller_of(new)
        if before is not None and before != after:
            self._enqueue_owner(old)
        if after is not None:
            return self._enqueue_owner(new)
        if before is not None or meta.labels(old) != meta.labels(new):
            self._enqueue_matching(new)
        return None

    def _add_pod(self, pod: Object) -> None:
        if meta.deletion_timestamp(pod):
            self._delete_pod(pod)
        elif meta.controller_of(pod) is None:
            self._enqueue_matching(pod)
        else:
            owner = self._enqueue_owner(pod)
            if owner is not None:
                self.expectations.creation_observed(key_of(owner))

    def _update_pod(self, old: Object, new: Object) -> None:
        if meta.resource_version(old) == meta.resource_version(new):
            return
        if meta.deletion_timestamp(new):
            self._delete_pod(new)
            return
        owner = self._follow(old, new)
        if owner is not None:
            min_ready = fields.number(owner["spec"], "minReadySeconds")
            if min_ready > 0 and pods.is_ready(new) and not pods.is_ready(old):
                # One second for the clocks of nodes, which may be behind.
                self.enqueue_after(owner, (min_ready + 1) * NS)

    def _delete_pod(self, pod: Object) -> None:
        owner = self._resolve(meta.namespace(pod), meta.controller_of(pod))
        if owner is not None:
            self.expectations.deletion_observed(key_of(owner))
            self.enqueue(owner)

    def _add_node(self, node: Object) -> None:
        self.node_queue.add(meta.name(node))

    def _update_node(self, old: Object, new: Object) -> None:
        if meta.labels(old) != meta.labels(new) or fields.objects(
            fields.spec(old), "taints"
        ) != fields.objects(fields.spec(new), "taints"):
            self.node_queue.add(meta.name(new))

    async def run(self) -> None:
        """Look at nodes that have changed (`syncNodeUpdate`)."""
        while True:
            name = await self.node_queue.get()
            self._sync_node(name)
            self.node_queue.forget(name)
            self.node_queue.done(name)

    def _sync_node(self, name: str) -> None:
        node = self.nodes.get(name)
        if node is None:
            return
        scheduled: set[str] = set()
        for pod in self.pods.by_index(pods.NODE_INDEX, name):
            reference = meta.controller_of(pod)
            if reference is not None and reference["kind"] == KIND.kind:
                scheduled.add(f"{meta.namespace(pod)}/{reference['name']}")
        for daemon_set in self.sets.list():
            fit = daemon_pods.Predicates(daemon_set).fit(node)
            key = key_of(daemon_set)
            misscheduled = fields.number(fields.status(daemon_set), "numberMisscheduled")
            if key in scheduled:
                if not fit.should_continue or misscheduled > 0:
                    self.queue.add(key)
            elif fit.should_run:
                self.queue.add(key)

    # -- the sync -----------------------------------------------------------------------------

    async def reconcile(self, key: str) -> Result | None:
        """Sync one DaemonSet (`syncDaemonSet`)."""
        self.consistency.ensure_ready(key)
        daemon_set = self.sets.get(key)
        if daemon_set is None:
            self.expectations.delete(key)
            self.consistency.clear(key)
            return None
        selector = daemon_set["spec"].get("selector")
        if selector == {}:
            message = (
                "This daemon set is selecting all pods. A non-empty selector is required."
            )
            self.event(daemon_set, "Warning", "SelectingAll", message)
            return None
        if meta.deletion_timestamp(daemon_set):
            return None
        try:
            parsed = labels.from_label_selector(selector)
        except ValueError as problem:
            raise SyncError(f"failed to construct revisions of DaemonSet: {problem}") from None
        sync = _Sync(self, daemon_set, key, parsed)
        current, old = await sync.construct_history()
        sync.hash = meta.labels(current).get(daemon_pods.HASH_LABEL, "")
        if not self.expectations.satisfied(key):
            return await sync.update_status(observe=False)
        failure: Exception | None = None
        try:
            await sync.update(old)
        except RETRIABLE as error:
            failure = error
        try:
            result = await sync.update_status(observe=True)
        except RETRIABLE as error:
            raise failure or error from error
        if failure is not None:
            raise failure
        return result


class _Sync:
    """One sync of one DaemonSet."""

    def __init__(
        self, controller: DaemonSetsController, daemon_set: Object, key: str, selector: Selector
    ) -> None:
        self.controller = controller
        self.client = controller.client
        self.expectations = controller.expectations
        self.set = daemon_set
        self.key = key
        self.namespace = meta.namespace(daemon_set)
        self.selector = selector
        self.nodes = controller.nodes.list()
        self.predicates = daemon_pods.Predicates(daemon_set)
        self.generation = daemon_pods.template_generation(daemon_set)
        self.min_ready = fields.number(daemon_set["spec"], "minReadySeconds")
        self.hash = ""

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

    async def owned(self) -> list[Object]:
        """The set's pods, after adopting and releasing."""
        manager = ControllerRefManager(
            self.client,
            DAEMONSETS,
            self.set,
            KIND,
            self.selector,
            self.controller.pod_control.patch,
        )
        related = pods.of_owner(self.controller.pods, self.set, KIND.kind, orphans=True)
        return await manager.claim(related)

    async def by_node(self, *, with_ended: bool = False) -> Pods:
        """The set's pods by the node they are on or are meant for."""
        try:
            owned = await self.owned()
        except RETRIABLE as error:
            name = quote(meta.name(self.set))
            raise SyncError(
                f"couldn't get node to daemon pod mapping for daemon set {name}: {error}"
            ) from error
        result: Pods = {}
        for pod in owned:
            if not with_ended and pods.is_terminal(pod) and meta.deletion_timestamp(pod):
                continue
            node = daemon_pods.target_node(pod)
            if node is not None:
                result.setdefault(node, []).append(pod)
        return result

    # -- one pod a node -----------------------------------------------------------------------

    async def manage(self) -> None:
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
        if not daemon_pods.allows_surge(self.set):
            return False, surplus + [meta.name(pod) for pod in ordered[1:]]
        if len(running) <= 1:
            return not running and fit.should_run, surplus
        return False, surplus + self.surplus_of_surge(ordered)

    def without_ended(self, node: str, several: list[Object]) -> tuple[list[Object], list[str]]:
        """The pods that run, and the names of those that have ended and are to be deleted."""
        controller = self.controller
        running: list[Object] = []
        ended: list[str] = []
        observed = fields.number(fields.status(self.set), "observedGeneration")
        backoff_key = f"{meta.uid(self.set)}/{observed}/{node}"
        for pod in several:
            if meta.deletion_timestamp(pod):
                continue
            about = f"daemon pod {meta.namespace(pod)}/{meta.name(pod)} on node {node}, will try to"
            phase = pods.phase(pod)
            if phase == "Failed":
                now_ns = controller.now_ns()
                if controller.backoff.is_in_backoff(backoff_key, now_ns):
                    delay_ns = controller.backoff.get_ns(backoff_key)
                    controller.enqueue_after(self.set, delay_ns)
                    continue
                controller.backoff.next(backoff_key, now_ns)
                message = f"Found failed {about} kill it"
                controller.event(self.set, "Warning", "FailedDaemonPod", message)
                ended.append(meta.name(pod))
            elif phase == "Succeeded":
                message = f"Found succeeded {about} delete it"
                controller.event(self.set, "Normal", "SucceededDaemonPod", message)
                ended.append(meta.name(pod))
            else:
                running.append(pod)
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
        try:
            await self.controller.pod_control.delete(self.namespace, name, self.set)
        except RETRIABLE as error:
            self.expectations.deletion_observed(self.key)
            if not status.is_not_found(error):
                raise

    # -- the rolling update -------------------------------------------------------------------

    async def roll(self) -> None:
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

    # -- the revisions ------------------------------------------------------------------------

    async def construct_history(self) -> tuple[Object, list[Object]]:
        """The revision of the present template, made or renumbered, and the others."""
        try:
            return await self._construct_history()
        except RETRIABLE as error:
            raise SyncError(f"failed to construct revisions of DaemonSet: {error}") from error

    async def _construct_history(self) -> tuple[Object, list[Object]]:
        manager = ControllerRefManager(
            self.client,
            DAEMONSETS,
            self.set,
            KIND,
            self.selector,
            self.patch_revision,
            what="ControllerRevision",
        )
        wanted = {"data": history.patch_of(self.set)}
        current: list[Object] = []
        old: list[Object] = []
        for revision in await manager.claim(self.related_revisions()):
            if daemon_pods.HASH_LABEL not in meta.labels(revision):
                named = {**meta.labels(revision), daemon_pods.HASH_LABEL: meta.name(revision)}
                revision = await self.write_revision(
                    meta.with_metadata(revision, labels=named)
                )
            (current if history.equal(revision, wanted) else old).append(revision)
        number = max((fields.number(r, "revision") for r in old), default=0) + 1
        if not current:
            return await self.snapshot(number), old
        kept = await self.keep_one(current)
        if fields.number(kept, "revision") < number:
            await self.write_revision({**kept, "revision": number})
        return kept, old

    def related_revisions(self) -> list[Object]:
        store = self.controller.revisions
        owned = f"{self.namespace}/{KIND.kind}/{meta.name(self.set)}/{meta.uid(self.set)}"
        return [
            *store.by_index(history.INDEX, owned),
            *store.by_index(history.INDEX, self.namespace),
        ]

    async def patch_revision(self, namespace: str, name: str, patch: Object) -> Object:
        return await self.client.patch(CONTROLLERREVISIONS, namespace, name, patch)

    async def write_revision(self, revision: Object) -> Object:
        return await self.client.update(CONTROLLERREVISIONS, self.namespace, revision)

    async def keep_one(self, current: list[Object]) -> Object:
        """Of several revisions of one template the newest; the pods get its label."""
        if len(current) == 1:
            return current[0]
        kept = current[0]
        for revision in current:
            if fields.number(revision, "revision") >= fields.number(kept, "revision"):
                kept = revision
        hash_ = meta.labels(kept).get(daemon_pods.HASH_LABEL)
        for pod in await self.owned():
            if meta.labels(pod).get(daemon_pods.HASH_LABEL) != hash_:
                patch = {"metadata": {"labels": {daemon_pods.HASH_LABEL: hash_}}}
                await self.client.patch(
                    PODS, self.namespace, meta.name(pod), patch, patch_type="merge"
                )
        for revision in current:
            if revision is not kept:
                await self.client.delete(
                    CONTROLLERREVISIONS, self.namespace, meta.name(revision)
                )
        return kept

    async def snapshot(self, number: int) -> Object:
        """A revision of the present template."""
        daemon_set = self.set
        template = daemon_set["spec"]["template"]
        collisions = fields.status(daemon_set).get("collisionCount")
        hash_ = names.pod_template_hash(template, collisions)
        revision: Object = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": f"{meta.name(daemon_set)}-{hash_}",
                "namespace": self.namespace,
                "labels": {**meta.labels(template), daemon_pods.HASH_LABEL: hash_},
                "annotations": dict(meta.annotations(daemon_set)),
                "ownerReferences": [meta.new_controller_ref(daemon_set, KIND)],
            },
            "data": history.patch_of(daemon_set),
            "revision": number,
        }
        try:
            return await self.client.create(CONTROLLERREVISIONS, self.namespace, revision)
        except status.APIStatus as error:
            if not status.is_already_exists(error):
                raise
            existing = await self.client.get(
                CONTROLLERREVISIONS, self.namespace, meta.name(revision)
            )
            if history.equal(existing, revision):
                return existing
            await self.count_collision(collisions)
            raise

    async def count_collision(self, collisions: int | None) -> None:
        fresh = await self.client.get(DAEMONSETS, self.namespace, meta.name(self.set))
        if fields.status(fresh).get("collisionCount") != collisions:
            raise SyncError(
                f"found a stale collision count of DaemonSet {quote(meta.name(self.set))} while "
                "processing; will retry until it is updated"
            )
        counted = meta.with_status(fresh, collisionCount=(collisions or 0) + 1)
        await self.client.update(DAEMONSETS, self.namespace, counted, subresource="status")

    async def clean_history(self, old: list[Object]) -> None:
        """Delete the oldest revisions that no pod has, beyond the limit."""
        surplus = len(old) - fields.number(self.set["spec"], "revisionHistoryLimit", 10)
        if surplus <= 0:
            return
        live = {
            meta.labels(pod).get(daemon_pods.HASH_LABEL)
            for several in (await self.by_node(with_ended=True)).values()
            for pod in several
        }
        for revision in sorted(old, key=lambda r: fields.number(r, "revision")):
            if surplus <= 0:
                break
            if meta.labels(revision).get(daemon_pods.HASH_LABEL) in live:
                continue
            await self.client.delete(CONTROLLERREVISIONS, self.namespace, meta.name(revision))
            surplus -= 1

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
        counts["currentNumberScheduled"] += 1
        if pods.is_ready(pod):
            counts["numberReady"] += 1
            counts["numberAvailable"] += self.is_available(pod)
        counts["updatedNumberScheduled"] += daemon_pods.is_updated(
            pod, self.hash, self.generation
        )

    async def store_status(self, counts: dict[str, int], *, observe: bool) -> None:
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

CONTROLLER = DaemonSetsController
