"""So many pods of one template: what ReplicaSets and ReplicationControllers have in common.

The law (`pkg/controller/replicaset/replica_set.go`): count the pods that are the set's and neither
ended nor being deleted, create or delete the difference (at most 500 at once), then write the
status; nothing is created or deleted while earlier creations and deletions have not been seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.client_go.resources import PODS
from pytest_kubesim.client_go.store import Store, key_of
from pytest_kubesim.controller_manager import fields, pod_ranking, pods, replica_census
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    Controller,
    Result,
    is_namespace_terminating,
)
from pytest_kubesim.controller_manager.controller_ref_manager import ControllerRefManager
from pytest_kubesim.controller_manager.expectations import Expectations
from pytest_kubesim.controller_manager.pod_control import (
    PodControl,
    all_at_once,
    pod_from_template,
    slow_start_batch,
)
from pytest_kubesim.controller_manager.semantic import compact
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.apimachinery.meta import GroupVersionKind, GroupVersionResource, Object
    from pytest_kubesim.controller_manager.replica_census import Census

BURST_REPLICAS = 500
STATUS_UPDATE_RETRIES = 1
CONTROLLER_UID_INDEX = "controllerUID"
REPLICA_FAILURE = "ReplicaFailure"


def _by_controller_uid(obj: Object) -> Iterable[str]:
    reference = meta.controller_of(obj)
    return () if reference is None else (reference["uid"],)


class ReplicaController(Controller):
    """Keeps `spec.replicas` pods of `spec.template` alive.

    A subclass says of which resource; `counts_terminating`, whether the status says how many pods
    are being deleted.
    """

    gvr: ClassVar[GroupVersionResource]
    kind: ClassVar[GroupVersionKind]
    counts_terminating: ClassVar[bool] = False
    workers: ClassVar[int] = 5

    def setup(self) -> None:
        """Listen to the sets and to pods."""
        self.expectations = Expectations(self.process.monotonic_ns)
        self.pod_control = PodControl(self.client, self.recorder)
        self.sets: Store = self.watch(
            self.gvr, add=self.enqueue, update=self._update_set, delete=self._delete_set
        )
        self.sets.add_indexer(CONTROLLER_UID_INDEX, _by_controller_uid)
        self.pods: Store = self.watch(
            PODS, add=self._add_pod, update=self._update_pod, delete=self._delete_pod
        )
        pods.add_standing_tally(self.pods)

    def selector_of(self, obj: Object) -> Selector:
        """The pods that may be the set's.  Raises `ValueError` for a selector that is none."""
        raise NotImplementedError

    # -- handlers -----------------------------------------------------------------------------

    def _update_set(self, old: Object, new: Object) -> None:
        if old["metadata"]["uid"] != new["metadata"]["uid"]:
            self._delete_set(old)
        self.enqueue(new)

    def _delete_set(self, obj: Object) -> None:
        self.expectations.delete(key_of(obj))
        self.enqueue(obj)

    def _resolve(self, namespace: str, reference: Object) -> Object | None:
        if reference["kind"] != self.kind.kind:
            return None
        found = self.sets.get(f"{namespace}/{reference['name']}")
        return found if found is not None and found["metadata"]["uid"] == reference["uid"] else None

    def _enqueue_matching(self, pod: Object) -> None:
        pod_labels = meta.labels(pod)
        if not pod_labels:
            return
        for candidate in self.sets.list(meta.namespace(pod)):
            try:
                selector = self.selector_of(candidate)
            except ValueError:
                continue
            if not selector.empty and selector.matches(pod_labels):
                self.enqueue(candidate)

    def _add_pod(self, pod: Object) -> None:
        metadata = pod["metadata"]
        if metadata.get("deletionTimestamp"):
            self._delete_pod(pod)
            return
        reference = meta.controller_of(pod)
        if reference is None:
            self._enqueue_matching(pod)
            return
        owner = self._resolve(metadata["namespace"], reference)
        if owner is not None:
            key = key_of(owner)
            self.expectations.creation_observed(key)
            self.queue.add(key)

    def _update_pod(self, old: Object, new: Object) -> None:
        if meta.resource_version(old) == meta.resource_version(new):
            return
        labels_changed = meta.labels(old) != meta.labels(new)
        if meta.deletion_timestamp(new):
            self._delete_pod(new)
            if labels_changed:
                self._delete_pod(old)
            return
        before, after = meta.controller_of(old), meta.controller_of(new)
        namespace = meta.namespace(new)
        if before is not None and before != after:
            owner = self._resolve(namespace, before)
            if owner is not None:
                self.enqueue(owner)
        if after is not None:
            owner = self._resolve(namespace, after)
            if owner is None:
                return
            self.enqueue(owner)
            min_ready = fields.number(owner["spec"], "minReadySeconds")
            if min_ready > 0 and pods.is_ready(new) and not pods.is_ready(old):
                self.enqueue_after(owner, min_ready * NS)
        elif labels_changed or before is not None:
            self._enqueue_matching(new)

    def _delete_pod(self, pod: Object) -> None:
        reference = meta.controller_of(pod)
        if reference is None:
            return
        owner = self._resolve(meta.namespace(pod), reference)
        if owner is not None:
            key = key_of(owner)
            self.expectations.deletion_observed(key, key_of(pod))
            self.queue.add(key)

    # -- the sync -----------------------------------------------------------------------------

    async def reconcile(self, key: str) -> Result | None:
        """Sync one set (`syncReplicaSet`)."""
        replica_set = self.sets.get(key)
        if replica_set is None:
            self.expectations.delete(key)
            return None
        needs_sync = self.expectations.satisfied(key)
        try:
            selector = self.selector_of(replica_set)
        except ValueError:
            return None
        census = replica_census.counted(self.pods, replica_set, self.kind.kind, selector)
        active: list[Object] | None = None
        terminating: list[Object] = []
        min_ready = fields.number(replica_set["spec"], "minReadySeconds")
        if census is None:
            active, terminating = await self._claimed(replica_set, selector)
        elif min_ready:
            active = self._active(replica_set)
        failure: Exception | None = None
        if needs_sync and not meta.deletion_timestamp(replica_set):
            failure = await self._manage_replicas(key, replica_set, census, active)
        now_ns = self.now_ns()
        if census is None:
            census = replica_census.of_pods(
                active or [], terminating, replica_set, selector, now_ns
            )
        elif min_ready:
            census = replica_census.with_available(census, active or [], min_ready, now_ns)
        new_status = self._status(replica_set, census, failure)
        updated = await self._update_status(replica_set, new_status)
        if failure is not None:
            raise failure
        min_ready = fields.number(updated["spec"], "minReadySeconds")
        written = fields.status(updated)
        if min_ready > 0 and fields.number(written, "readyReplicas") != fields.number(
            written, "availableReplicas"
        ):
            check_ns = pods.next_availability_check_ns(active or (), min_ready, now_ns)
            return Result(min_ready * NS if check_ns is None else check_ns)
        return None

    async def _claimed(
        self, replica_set: Object, selector: Selector
    ) -> tuple[list[Object], list[Object]]:
        """Its active pods, after adopting and releasing, and all that are terminating."""
        related = pods.of_owner(self.pods, replica_set, self.kind.kind, orphans=True)
        active, terminating = replica_census.surveyed(related)
        manager = ControllerRefManager(
            self.client, self.gvr, replica_set, self.kind, selector, self.pod_control.patch
        )
        return await manager.claim(active), terminating

    def _active(self, replica_set: Object) -> list[Object]:
        """The active pods that it controls."""
        own = pods.of_owner(self.pods, replica_set, self.kind.kind, orphans=False)
        return [pod for pod in own if pods.is_active(pod)]

    async def _manage_replicas(
        self,
        key: str,
        replica_set: Object,
        census: Census | None,
        active: list[Object] | None,
    ) -> Exception | None:
        """Create or delete what differs; without `active`, all active pods it controls are its."""
        count = census.active if census is not None else len(active or ())
        difference = count - fields.number(replica_set["spec"], "replicas")
        if difference < 0:
            return await self._create(key, min(-difference, BURST_REPLICAS), replica_set)
        if difference > 0:
            if active is None:
                active = self._active(replica_set)
            return await self._delete(key, min(difference, BURST_REPLICAS), active, replica_set)
        return None

    async def _create(self, key: str, count: int, replica_set: Object) -> Exception | None:
        namespace = meta.namespace(replica_set)
        reference = meta.new_controller_ref(replica_set, self.kind)
        pod = pod_from_template(replica_set["spec"]["template"], replica_set, reference)
        self.expectations.expect_creations(key, count)

        async def create() -> None:
            try:
                await self.pod_control.create(namespace, pod, replica_set)
            except RETRIABLE as error:
                # Nothing more can be made in a namespace that is going away.
                if not is_namespace_terminating(error):
                    raise

        successes, failure = await slow_start_batch(self.process, count, create)
        if successes < count:
            self.expectations.creation_observed(key, count - successes)
        return failure

    async def _delete(
        self, key: str, count: int, active: list[Object], replica_set: Object
    ) -> Exception | None:
        chosen = pod_ranking.first_to_go(
            active, self._relatives(replica_set), count, self.now_ns()
        )
        self.expectations.expect_deletions(key, map(key_of, chosen))
        errors = await all_at_once(
            self.process, [self._delete_one(key, pod, replica_set) for pod in chosen]
        )
        return next((error for error in errors if error is not None), None)

    async def _delete_one(self, key: str, pod: Object, replica_set: Object) -> None:
        try:
            await self.pod_control.delete(meta.namespace(pod), meta.name(pod), replica_set)
        except RETRIABLE as error:
            self.expectations.deletion_observed(key, key_of(pod))
            if not status.is_not_found(error):
                raise

    def _relatives(self, replica_set: Object) -> list[Object]:
        reference = meta.controller_of(replica_set)
        if reference is None:
            return []
        seen: dict[str, Object] = {}
        for relative in self.sets.by_index(CONTROLLER_UID_INDEX, reference["uid"]):
            try:
                selector = self.selector_of(relative)
            except ValueError:
                continue
            # Its own pods and those of nobody: others that match are no concern of a ranking.
            for pod in pods.of_owner(self.pods, relative, self.kind.kind, orphans=True):
                if selector.matches(meta.labels(pod)):
                    seen[pod["metadata"]["uid"]] = pod
        return list(seen.values())

    # -- the status ---------------------------------------------------------------------------

    def _status(
        self, replica_set: Object, census: Census, failure: Exception | None
    ) -> dict[str, Any]:
        new = {
            "replicas": census.active,
            **compact(
                {
                    "fullyLabeledReplicas": census.full,
                    "readyReplicas": census.ready,
                    "availableReplicas": census.available,
                }
            ),
        }
        if self.counts_terminating:
            new["terminatingReplicas"] = census.terminating
        conditions = self._conditions(replica_set, census.active, failure)
        if conditions:
            new["conditions"] = conditions
        return new

    def _conditions(
        self, replica_set: Object, active: int, failure: Exception | None
    ) -> list[Object]:
        old = fields.conditions(replica_set)
        has_failed = any(condition["type"] == REPLICA_FAILURE for condition in old)
        if failure is not None and not has_failed:
            difference = active - fields.number(replica_set["spec"], "replicas")
            condition = {
                "type": REPLICA_FAILURE,
                "status": "True",
                "lastTransitionTime": self.now(),
                "reason": "FailedCreate" if difference < 0 else "FailedDelete",
                "message": str(failure),
            }
            return [*old, condition]
        if failure is None and has_failed:
            return [condition for condition in old if condition["type"] != REPLICA_FAILURE]
        return old

    async def _update_status(self, replica_set: Object, new: dict[str, Any]) -> Object:
        old = fields.status(replica_set)
        generation = meta.generation(replica_set)
        if generation == fields.number(old, "observedGeneration"):
            unobserved = {k: v for k, v in old.items() if k != "observedGeneration"}
            if {"replicas": 0, **unobserved} == new:
                return replica_set
        if generation:
            new = {**new, "observedGeneration": generation}
        current = replica_set
        for attempt in range(STATUS_UPDATE_RETRIES + 1):
            try:
                return await self.client.update(
                    self.gvr,
                    meta.namespace(current),
                    {**current, "status": new},
                    subresource="status",
                )
            except RETRIABLE:
                if attempt >= STATUS_UPDATE_RETRIES:
                    raise
            current = await self.client.get(self.gvr, meta.namespace(current), meta.name(current))
        raise AssertionError("unreachable")
