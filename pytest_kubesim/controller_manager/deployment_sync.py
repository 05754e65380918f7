"""One sync of one Deployment: its ReplicaSets made, scaled, cleaned up, its status written.

The law is told in `controllers/deployment`.  Follows
`pkg/controller/deployment/{sync,rolling,recreate,rollback}.go`; conditions are in
`deployment_status`, the arithmetic in `rollout`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, names, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupVersionKind
from pytest_kubesim.client_go.resources import DEPLOYMENTS, REPLICASETS
from pytest_kubesim.controller_manager import deployment_status, fields, pods, rollout
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    Result,
    SyncError,
    is_namespace_terminating,
)
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.controller_manager.controllers.deployment import DeploymentController


KIND = GroupVersionKind("apps", "v1", "Deployment")
MAX_NAME = 253


class DeploymentSync:
    """One sync of one Deployment: its working copy `d`, and its ReplicaSets `sets`."""

    def __init__(self, controller: DeploymentController, d: Object, sets: list[Object]) -> None:
        self.controller = controller
        self.client = controller.client
        self.namespace = meta.namespace(d)
        self.d = d
        self.sets = sets
        self.settled: tuple[Object, Object, list[Object]] | None = None
        """For this `d` its new set, in which nothing was to be changed, and the others."""

    async def run(self) -> Result | None:
        """Do what is to be done now (`syncDeployment`)."""
        if meta.deletion_timestamp(self.d):
            new, old = await self.new_and_old(create=False)
            await self.sync_status([*old, *_some(new)], new)
            return None
        await self.check_paused()
        if self.d["spec"].get("paused"):
            await self.sync()
            return None
        target = _rollback_to(self.d)
        if target is not None:
            await self.roll_back(target)
            return None
        if await self.is_scaling():
            await self.sync()
            return None
        kind = fields.mapping(self.d["spec"], "strategy").get("type")
        if kind == "Recreate":
            return await self.recreate()
        if kind == "RollingUpdate":
            return await self.roll()
        raise SyncError(f"unexpected deployment strategy type: {kind}")

    # -- sync.go ------------------------------------------------------------------------------

    async def sync(self) -> None:
        """Scale, and clean up while paused; nothing rolls."""
        new, old = await self.new_and_old(create=False)
        await self.scale(new, old)
        if self.d["spec"].get("paused") and _rollback_to(self.d) is None:
            await self.clean_up(old)
        await self.sync_status([*old, *_some(new)], new)

    async def check_paused(self) -> None:
        """Say in a condition that it was paused or resumed."""
        changed = deployment_status.with_paused_condition(self.d, self.controller.now())
        if changed is not None:
            self.d = changed
            await self.controller.update_status(changed)

    async def new_and_old(self, *, create: bool) -> tuple[Object | None, list[Object]]:
        """The set of the present template (made if `create`) and the others."""
        found = self.settled
        if found is not None and found[0] is self.d:
            return found[1], list(found[2])
        existing, old = rollout.split(self.d, self.sets)
        revision = rollout.max_revision(old) + 1
        if existing is not None:
            new = await self.existing_set(existing, revision)
            if new is existing:
                self.settled = self.d, new, old
            return new, old
        return (await self.create_set(old, revision) if create else None), old

    async def existing_set(self, replica_set: Object, revision: int) -> Object:
        """Bring the new set up to date, and take its revision over."""
        d = self.d
        annotated = rollout.annotate_new_set(d, replica_set, revision, exists=True)
        min_ready = fields.number(d["spec"], "minReadySeconds")
        if (
            annotated is not replica_set
            or fields.number(annotated["spec"], "minReadySeconds") != min_ready
        ):
            updated = meta.set_path(annotated, ("spec", "minReadySeconds"), min_ready)
            return await self.client.update(REPLICASETS, self.namespace, updated)
        changed = self.set_revision(meta.annotations(replica_set).get(rollout.REVISION, ""))
        if rollout.has_progress_deadline(d) and meta.condition(d, "Progressing") is None:
            message = f"Found new replica set {quote(meta.name(replica_set))}"
            self.set_progressing("True", deployment_status.FOUND_NEW_SET, message)
            changed = True
        if changed:
            await self.controller.update_status(self.d)
        return replica_set

    def set_revision(self, revision: str) -> bool:
        """Take a revision over; whether that changed anything."""
        annotations = meta.annotations(self.d)
        if annotations.get(rollout.REVISION, "") == revision:
            return False
        new = {**annotations, rollout.REVISION: revision}
        self.d = meta.with_metadata(self.d, annotations=new)
        return True

    def set_progressing(self, state: str, reason: str, message: str) -> None:
        """Set the condition Progressing."""
        conditions = deployment_status.with_condition(
            fields.conditions(self.d), "Progressing", state, reason, message,
            self.controller.now(),
        )
        self.d = meta.with_status(self.d, conditions=conditions)

    async def create_set(self, old: list[Object], revision: int) -> Object:
        """Make the set of the present template."""
        d = self.d
        collisions = fields.status(d).get("collisionCount")
        template = d["spec"]["template"]
        hash_ = names.pod_template_hash(template, collisions)
        template_labels = {**meta.labels(template), rollout.TEMPLATE_HASH: hash_}
        selector = d["spec"]["selector"]
        matched = {**fields.strings(selector, "matchLabels"), rollout.TEMPLATE_HASH: hash_}
        new: Object = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{meta.name(d)[: MAX_NAME - 1 - len(hash_)]}-{hash_}",
                "namespace": self.namespace,
                "ownerReferences": [meta.new_controller_ref(d, KIND)],
                "labels": template_labels,
            },
            "spec": {
                "replicas": 0,
                "selector": {**selector, "matchLabels": matched},
                "template": meta.with_metadata(template, labels=template_labels),
            },
        }
        if min_ready := fields.number(d["spec"], "minReadySeconds"):
            new["spec"]["minReadySeconds"] = min_ready
        count = rollout.new_set_replicas(d, [*old, new], new)
        new["spec"]["replicas"] = count
        new = rollout.annotate_new_set(d, new, revision, exists=False)
        try:
            created = await self.client.create(REPLICASETS, self.namespace, new)
        except RETRIABLE as error:
            return await self.not_created(new, revision, error)
        name = quote(meta.name(created))
        if count > 0:
            self.tell_scaled("up", meta.name(created), 0, count)
        changed = self.set_revision(str(revision))
        if rollout.has_progress_deadline(d):
            message = f"Created new replica set {name}"
            self.set_progressing("True", deployment_status.NEW_SET, message)
            changed = True
        if changed:
            await self.controller.update_status(self.d)
        return created

    async def not_created(self, new: Object, revision: int, error: Exception) -> Object:
        """The new set was refused: it is there already, its name is taken, or it may not be."""
        d = self.d
        if is_namespace_terminating(error):
            raise error
        if status.is_already_exists(error):
            found = self.controller.sets.get(f"{self.namespace}/{meta.name(new)}")
            if found is None:
                raise status.new_not_found(REPLICASETS.group_resource, meta.name(new)) from error
            if meta.is_controlled_by(found, d) and rollout.equal_ignoring_hash(
                d["spec"]["template"], found["spec"]["template"]
            ):
                if self.set_revision(str(revision)):
                    await self.controller.update_status(self.d)
                return found
            collisions = fields.number(fields.status(d), "collisionCount") + 1
            try:
                await self.controller.update_status(
                    meta.with_status(d, collisionCount=collisions)
                )
            except RETRIABLE:
                pass
            raise error
        message = f"Failed to create new replica set {quote(meta.name(new))}: {error}"
        if rollout.has_progress_deadline(d):
            self.set_progressing("False", deployment_status.SET_CREATE_ERROR, message)
            try:
                await self.controller.update_status(self.d)
            except RETRIABLE:
                pass
        self.controller.event(self.d, "Warning", deployment_status.SET_CREATE_ERROR, message)
        raise error

    async def scale(self, new: Object | None, old: list[Object]) -> None:
        """Give the sets the pods that the Deployment wants now."""
        d = self.d
        wanted = rollout.replicas(d)
        only = rollout.active_or_latest(new, old)
        if only is not None:
            await self.scale_set(only, wanted)
            return
        if rollout.is_saturated(d, new):
            for replica_set in rollout.active(rollout.by_creation(old)[::-1]):
                await self.scale_set(replica_set, 0)
            return
        if rollout.is_rolling_update(d):
            await self.scale_proportionally([*rollout.by_creation(old)[::-1], *_some(new)])

    async def scale_proportionally(self, sets: list[Object]) -> None:
        """Share what is to be added or removed among the sets that have pods."""
        d = self.d
        wanted = rollout.replicas(d)
        found = rollout.active(sets)
        allowed = wanted + rollout.max_surge(d) if wanted > 0 else 0
        to_add = allowed - rollout.total(found)
        if to_add != 0:
            found = rollout.by_size(found, newer_first=to_add > 0)
        sizes: list[int] = []
        added = 0
        for replica_set in found:
            part = rollout.proportion(replica_set, d, to_add, added) if to_add else 0
            sizes.append(rollout.replicas(replica_set) + part)
            added += part
        for position, replica_set in enumerate(found):
            size = sizes[position]
            if position == 0 and to_add != 0:
                size = max(0, size + to_add - added)
            await self.scale_set(replica_set, size, force=True)

    async def scale_set(
        self, replica_set: Object, size: int, *, force: bool = False
    ) -> tuple[bool, Object]:
        """Scale a set; whether it was scaled, and the set then."""
        before = rollout.replicas(replica_set)
        if not force and before == size:
            return False, replica_set
        desired = rollout.replicas(self.d)
        changed = rollout.with_replicas_annotations(
            replica_set, desired, desired + rollout.max_surge(self.d)
        )
        if before == size and changed is replica_set:
            return False, replica_set
        changed = meta.set_path(changed, ("spec", "replicas"), size)
        updated = await self.client.update(REPLICASETS, self.namespace, changed)
        if before == size:
            return False, updated
        self.tell_scaled("up" if before < size else "down", meta.name(updated), before, size)
        return True, updated

    def tell_scaled(self, direction: str, name: str, before: int, after: int) -> None:
        """Record that a set was scaled."""
        message = f"Scaled {direction} replica set {name} from {before} to {after}"
        self.controller.event(self.d, "Normal", "ScalingReplicaSet", message)

    async def clean_up(self, old: list[Object]) -> None:
        """Delete the oldest empty sets beyond the limit."""
        if not rollout.has_revision_history_limit(self.d):
            return
        alive = [rs for rs in old if not meta.deletion_timestamp(rs)]
        surplus = len(alive) - fields.number(self.d["spec"], "revisionHistoryLimit")
        if surplus <= 0:
            return
        ordered = sorted(
            rollout.by_creation(alive), key=lambda rs: rollout.revision(rs) or 0
        )
        for replica_set in ordered[:surplus]:
            if (
                rollout.observed(replica_set, "replicas") != 0
                or rollout.replicas(replica_set) != 0
                or meta.generation(replica_set)
                > rollout.observed(replica_set, "observedGeneration")
            ):
                continue
            try:
                await self.client.delete(REPLICASETS, self.namespace, meta.name(replica_set))
            except status.APIStatus as error:
                if not status.is_not_found(error):
                    raise

    async def is_scaling(self) -> bool:
        """Whether the sets were scaled for another number of pods."""
        new, old = await self.new_and_old(create=False)
        wanted = rollout.replicas(self.d)
        for replica_set in rollout.active([*old, *_some(new)]):
            desired = rollout.desired_replicas(replica_set)
            if desired is not None and desired != wanted:
                return True
        return False

    async def sync_status(self, sets: list[Object], new: Object | None) -> None:
        """Write the status without news of progress."""
        calculated = deployment_status.calculate(self.d, sets, new, self.controller.now())
        if not deployment_status.same(self.d, calculated):
            await self.controller.update_status({**self.d, "status": calculated})

    async def sync_rollout_status(
        self, sets: list[Object], new: Object | None
    ) -> Result | None:
        """Write the status; look again when the deadline will have passed."""
        controller = self.controller
        calculated = deployment_status.calculate(self.d, sets, new, controller.now())
        calculated = deployment_status.with_progress(
            self.d, calculated, sets, new, controller.now_ns()
        )
        if not deployment_status.same(self.d, calculated):
            await controller.update_status({**self.d, "status": calculated})
            return None
        after_ns = deployment_status.stuck_after_ns(self.d, calculated, controller.now_ns())
        if after_ns is None:
            return None
        if after_ns < NS:
            controller.queue.add_rate_limited(f"{self.namespace}/{meta.name(self.d)}")
            return None
        # A look at the clock and no work: a rollout that is through has it before it all the same.
        return Result(after_ns + NS, periodic=True)

    # -- rolling.go ---------------------------------------------------------------------------

    async def roll(self) -> Result | None:
        """One step of a rolling update (`rolloutRolling`)."""
        new, old = await self.new_and_old(create=True)
        assert new is not None
        sets = [*old, new]
        if await self.scale_new(sets, new):
            return await self.sync_rollout_status(sets, new)
        if await self.scale_old(sets, rollout.active(old), new):
            return await self.sync_rollout_status(sets, new)
        if deployment_status.is_complete(self.d, fields.status(self.d)):
            await self.clean_up(old)
        return await self.sync_rollout_status(sets, new)

    async def scale_new(self, sets: list[Object], new: Object) -> bool:
        """Scale the new set up; whether it was scaled."""
        wanted, size = rollout.replicas(self.d), rollout.replicas(new)
        if size == wanted:
            return False
        if size < wanted:
            wanted = rollout.new_set_replicas(self.d, sets, new)
        scaled, _ = await self.scale_set(new, wanted)
        return scaled

    async def scale_old(self, sets: list[Object], old: list[Object], new: Object) -> bool:
        """Scale old sets down; whether any was."""
        if rollout.total(old) == 0:
            return False
        minimum = rollout.replicas(self.d) - rollout.max_unavailable(self.d)
        missing = rollout.replicas(new) - rollout.observed(new, "availableReplicas")
        surplus = rollout.total(sets) - minimum - missing
        if surplus <= 0:
            return False
        try:
            old, cleaned = await self.clean_unhealthy(rollout.by_creation(old), surplus)
            scaled = await self.scale_down_old([*old, new], old, minimum)
        except RETRIABLE:
            # As upstream: what could not be scaled now is no error of this sync.
            return False
        return cleaned + scaled > 0

    async def clean_unhealthy(
        self, old: list[Object], limit: int
    ) -> tuple[list[Object], int]:
        """Take pods that are not available from old sets first."""
        result: list[Object] = []
        total = 0
        for replica_set in old:
            size = rollout.replicas(replica_set)
            unhealthy = size - rollout.observed(replica_set, "availableReplicas")
            if total < limit and size != 0 and unhealthy != 0:
                count = min(limit - total, unhealthy)
                if count < 0:
                    key = f"{self.namespace}/{meta.name(replica_set)}"
                    raise SyncError(
                        "when cleaning up unhealthy replicas, got invalid request to scale down "
                        f"{key} {size} -> {size - count}"
                    )
                _, replica_set = await self.scale_set(replica_set, size - count)
                total += count
            result.append(replica_set)
        return result, total

    async def scale_down_old(
        self, sets: list[Object], old: list[Object], minimum: int
    ) -> int:
        """Take available pods from old sets, the oldest first."""
        surplus = rollout.total_observed(sets, "availableReplicas") - minimum
        total = 0
        for replica_set in rollout.by_creation(old):
            if total >= surplus:
                break
            size = rollout.replicas(replica_set)
            if size == 0:
                continue
            count = min(size, surplus - total)
            await self.scale_set(replica_set, size - count)
            total += count
        return total

    # -- recreate.go --------------------------------------------------------------------------

    async def recreate(self) -> Result | None:
        """One step of replacing all pods at once (`rolloutRecreate`)."""
        running = self.running_pods()
        new, old = await self.new_and_old(create=False)
        sets = [*old, *_some(new)]
        scaled = False
        for replica_set in rollout.active(old):
            done, _ = await self.scale_set(replica_set, 0)
            scaled = scaled or done
        if scaled or self.old_pods_run(new, old, running):
            return await self.sync_rollout_status(sets, new)
        if new is None:
            new, old = await self.new_and_old(create=True)
            sets = [*old, *_some(new)]
        assert new is not None
        await self.scale_set(new, rollout.replicas(self.d))
        if deployment_status.is_complete(self.d, fields.status(self.d)):
            await self.clean_up(old)
        return await self.sync_rollout_status(sets, new)

    def running_pods(self) -> set[str]:
        """The UIDs of the sets that have pods which have not ended."""
        store = self.controller.pods
        return {
            meta.uid(rs)
            for rs in self.sets
            if any(
                not pods.is_terminal(pod)
                for pod in pods.of_owner(store, rs, "ReplicaSet", orphans=False)
            )
        }

    @staticmethod
    def old_pods_run(new: Object | None, old: list[Object], running: set[str]) -> bool:
        """Whether a pod of an old template is left."""
        if rollout.total_observed(old, "replicas") > 0:
            return True
        return bool(running - {meta.uid(new)} if new is not None else running)

    # -- rollback.go --------------------------------------------------------------------------

    async def roll_back(self, revision: int) -> None:
        """Go back to a revision, 0 for the last one."""
        new, old = await self.new_and_old(create=True)
        sets = [*old, *_some(new)]
        if revision == 0:
            revision = rollout.last_revision(sets)
            if revision == 0:
                self.warn("DeploymentRollbackRevisionNotFound", "Unable to find last revision.")
                await self.clear_rollback()
                return
        for replica_set in sets:
            if rollout.revision(replica_set) == revision:
                await self.roll_back_to(replica_set, revision)
                return
        self.warn(
            "DeploymentRollbackRevisionNotFound", "Unable to find the revision to rollback to."
        )
        await self.clear_rollback()

    async def roll_back_to(self, replica_set: Object, revision: int) -> None:
        """Take a set's template."""
        d, name = self.d, quote(meta.name(self.d))
        template = replica_set["spec"]["template"]
        if rollout.equal_ignoring_hash(d["spec"]["template"], template):
            message = (
                f"The rollback revision contains the same template as current deployment {name}"
            )
            self.warn("DeploymentRollbackTemplateUnchanged", message)
            await self.clear_rollback()
            return
        kept = {k: v for k, v in meta.labels(template).items() if k != rollout.TEMPLATE_HASH}
        annotations = {
            **{k: v for k, v in meta.annotations(d).items() if k in rollout.NOT_COPIED},
            **rollout.copied_annotations(replica_set),
        }
        d = meta.set_path(d, ("spec", "template"), meta.with_metadata(template, labels=kept))
        self.d = meta.with_metadata(d, annotations=annotations)
        await self.clear_rollback()
        message = f"Rolled back deployment {name} to revision {revision}"
        self.controller.event(self.d, "Normal", "DeploymentRollback", message)

    async def clear_rollback(self) -> None:
        """Take the annotation that asked for it away."""
        annotations = {
            k: v for k, v in meta.annotations(self.d).items() if k != rollout.ROLLBACK_TO
        }
        self.d = meta.with_metadata(self.d, annotations=annotations)
        await self.client.update(DEPLOYMENTS, self.namespace, self.d)

    def warn(self, reason: str, message: str) -> None:
        """Record a warning."""
        self.controller.event(self.d, "Warning", reason, message)


def _some(replica_set: Object | None) -> list[Object]:
    return [] if replica_set is None else [replica_set]


def _rollback_to(deployment: Object) -> int | None:
    text = meta.annotations(deployment).get(rollout.ROLLBACK_TO)
    try:
        return int(text) if text else None
    except ValueError:
        return None
