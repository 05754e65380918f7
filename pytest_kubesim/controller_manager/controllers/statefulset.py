"""The statefulset controller: pods with names, in order.

The law: ordinals are filled from the first, one after the other being ready, and taken away and
updated from the last (with podManagementPolicy Parallel all at once); what is being deleted blocks
what comes after it.  Nothing is expected: the controller works on what its informers show, and
waits for them to show its own writes.

Follows `pkg/controller/statefulset/{stateful_set,stateful_set_control}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import labels, meta
from pytest_kubesim.client_go.resources import (
    CONTROLLERREVISIONS,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    STATEFULSETS,
)
from pytest_kubesim.controller_manager import fields, history, pods, stateful_pods
from pytest_kubesim.controller_manager.consistency import ConsistencyStore
from pytest_kubesim.controller_manager.controller import (
    Controller,
    Result,
    SyncError,
)
from pytest_kubesim.controller_manager.controller_ref_manager import (
    ControllerRefManager,
)
from pytest_kubesim.controller_manager.pod_control import PodControl
from pytest_kubesim.controller_manager.stateful_pod_control import StatefulPodControl
from pytest_kubesim.controller_manager.stateful_pods import KIND
from pytest_kubesim.controller_manager.stateful_set_sync import StatefulSetSync
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.apimachinery.meta import Object




class StatefulSetController(Controller):
    """Keeps the pods and claims of StatefulSets."""

    name = "statefulset-controller"
    service_account = "statefulset-controller"
    workers: ClassVar[int] = 5
    workers_flag = "concurrent-statefulset-syncs"

    def setup(self) -> None:
        """Listen to sets and pods; read claims and revisions."""
        self.sets = self.watch(
            STATEFULSETS, add=self.enqueue, update=self.enqueue_new, delete=self.enqueue
        )
        self.pods = self.watch(
            PODS, add=self._add_pod, update=self._update_pod, delete=self._delete_pod
        )
        pods.add_controller_index(self.pods)
        self.steady: dict[str, tuple[Object, list[Object], bool]] = {}
        """By UID versions of pods that nothing is wrong with, and whether they run, ready."""
        claims = self.informer(PERSISTENTVOLUMECLAIMS)
        revisions = self.informer(CONTROLLERREVISIONS)
        self.history = history.History(self.client, revisions.store, KIND)
        self.consistency = ConsistencyStore(
            self.informer(PODS), claims, self.informer(STATEFULSETS)
        )
        self.control = StatefulPodControl(
            self.client, self.recorder, self.pods, claims.store, self.consistency
        )
        self.adoption = PodControl(self.client, self.recorder)

    # -- handlers -----------------------------------------------------------------------------

    def _resolve(self, namespace: str, reference: Object) -> Object | None:
        if reference["kind"] != KIND.kind:
            return None
        found = self.sets.get(f"{namespace}/{reference['name']}")
        return found if found is not None and meta.uid(found) == reference["uid"] else None

    def _enqueue_owner(self, pod: Object, reference: Object | None) -> Object | None:
        if reference is None:
            return None
        owner = self._resolve(meta.namespace(pod), reference)
        if owner is not None:
            self.enqueue(owner)
        return owner

    def _enqueue_matching(self, pod: Object) -> None:
        pod_labels = meta.labels(pod)
        if not pod_labels:
            return
        for stateful_set in self.sets.list(meta.namespace(pod)):
            try:
                selector = labels.from_label_selector(stateful_set["spec"].get("selector"))
            except ValueError:
                continue
            if not selector.empty and selector.matches(pod_labels):
                self.enqueue(stateful_set)

    def _add_pod(self, pod: Object) -> None:
        reference = meta.controller_of(pod)
        if reference is not None or meta.deletion_timestamp(pod):
            self._enqueue_owner(pod, reference)
        else:
            self._enqueue_matching(pod)

    def _update_pod(self, old: Object, new: Object) -> None:
        if meta.resource_version(old) == meta.resource_version(new):
            return
        before, after = meta.controller_of(old), meta.controller_of(new)
        if before is not None and before != after:
            self._enqueue_owner(old, before)
        if after is not None:
            owner = self._enqueue_owner(new, after)
            if owner is not None:
                min_ready = fields.number(owner["spec"], "minReadySeconds")
                if min_ready > 0 and pods.is_ready(new) and not pods.is_ready(old):
                    self.enqueue_after(owner, min_ready * NS)
        elif before is not None or meta.labels(old) != meta.labels(new):
            self._enqueue_matching(new)

    def _delete_pod(self, pod: Object) -> None:
        self.steady.pop(meta.uid(pod), None)
        self._enqueue_owner(pod, meta.controller_of(pod))

    # -- the sync -----------------------------------------------------------------------------

    async def reconcile(self, key: str) -> Result | None:
        """Sync one StatefulSet."""
        self.consistency.ensure_ready(key)
        stateful_set = self.sets.get(key)
        if stateful_set is None:
            self.consistency.clear(key)
            return None
        try:
            selector = labels.from_label_selector(stateful_set["spec"].get("selector"))
        except ValueError:
            return None
        manager = ControllerRefManager(
            self.client, STATEFULSETS, stateful_set, KIND, selector, self.adoption.patch
        )
        await self._adopt_revisions(stateful_set, selector, manager)
        owned = await manager.claim(
            pods.of_owner(self.pods, stateful_set, KIND.kind, orphans=True),
            lambda pod: stateful_pods.is_member(stateful_set, pod),
        )
        now_ns = self.now_ns()
        status = await StatefulSetSync(self, stateful_set, owned, selector, now_ns).run()
        min_ready = fields.number(stateful_set["spec"], "minReadySeconds")
        if min_ready > 0 and status["readyReplicas"] != status["availableReplicas"]:
            check_ns = pods.next_availability_check_ns(owned, min_ready, now_ns)
            return Result(min_ready * NS if check_ns is None else check_ns)
        return None

    async def _adopt_revisions(
        self, stateful_set: Object, selector: Selector, manager: ControllerRefManager
    ) -> None:
        orphans = [
            revision
            for revision in self.history.list(stateful_set, selector)
            if meta.controller_of(revision) is None
        ]
        if not orphans:
            return
        problem = await manager.why_not_adoptable()
        if problem:
            raise SyncError(f"can't adopt ControllerRevisions: {problem}")
        for revision in orphans:
            await self.history.adopt(stateful_set, revision)


CONTROLLER = StatefulSetController
