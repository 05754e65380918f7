"""The daemonset controller: a pod on every node that may have one.

The law: pods are made for nodes, pinned by node affinity, and bound by the scheduler; a node that a
pod may not be on any more loses it.  A node's change is looked at by itself, and wakes those sets
only that it makes a difference for.

Follows `pkg/controller/daemon/{daemon_controller,update}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import labels, meta
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
)
from pytest_kubesim.controller_manager.daemon_set_revisions import KIND
from pytest_kubesim.controller_manager.daemon_set_sync import DaemonSetSync
from pytest_kubesim.controller_manager.expectations import Expectations
from pytest_kubesim.controller_manager.pod_control import (
    PodControl,
)
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

BACKOFF_NS, MAX_BACKOFF_NS = NS, 900 * NS



class DaemonSetsController(Controller):
    """Keeps the pods of DaemonSets."""

    name = "daemonset-controller"
    service_account = "daemon-set-controller"
    workers: ClassVar[int] = 2
    workers_flag = "concurrent-daemonset-syncs"

    def setup(self) -> None:
        """Listen to sets, revisions, pods and nodes."""
        self.expectations = Expectations(self.process.monotonic_ns)
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
        self.predicates: dict[str, daemon_pods.Predicates] = {}
        """By set, as long as its template is the same."""
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
        self.predicates.pop(key, None)
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
        sync = DaemonSetSync(self, daemon_set, key, parsed)
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


CONTROLLER = DaemonSetsController
