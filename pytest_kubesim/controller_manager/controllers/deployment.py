"""The deployment controller: rollouts of pod templates by way of ReplicaSets.

The law: a sync does one thing and writes the status; the next one is caused by what that changed.
The Deployment that a sync works on is the informer's from its begin to its end, so that a second
write of its status meets a conflict, and the sync is done again, as upstream's.

Follows `pkg/controller/deployment/{deployment_controller,sync,rolling,recreate,rollback}.go`;
conditions are in `deployment_status`, the arithmetic in `rollout`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import labels, meta
from pytest_kubesim.client_go.resources import DEPLOYMENTS, PODS, REPLICASETS
from pytest_kubesim.controller_manager import fields, pods, rollout
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    Controller,
    Result,
    SyncError,
    is_namespace_terminating,
)
from pytest_kubesim.controller_manager.controller_ref_manager import ControllerRefManager
from pytest_kubesim.controller_manager.deployment_sync import KIND, DeploymentSync

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object



class DeploymentController(Controller):
    """Rolls out Deployments."""

    name = "deployment-controller"
    service_account = "deployment-controller"
    workers: ClassVar[int] = 5
    workers_flag = "concurrent-deployment-syncs"
    max_retries = 15

    def setup(self) -> None:
        """Listen to Deployments, ReplicaSets and the ends of pods."""
        self.deployments = self.watch(
            DEPLOYMENTS, add=self.enqueue, update=self.enqueue_new, delete=self.enqueue
        )
        self.sets = self.watch(
            REPLICASETS, add=self._add_set, update=self._update_set, delete=self._delete_set
        )
        pods.add_controller_index(self.sets)
        self.pods = self.watch(PODS, delete=self._delete_pod)
        pods.add_controller_index(self.pods)

    # -- handlers -----------------------------------------------------------------------------

    def _resolve(self, namespace: str, reference: Object | None) -> Object | None:
        if reference is None or reference["kind"] != KIND.kind:
            return None
        found = self.deployments.get(f"{namespace}/{reference['name']}")
        return found if found is not None and meta.uid(found) == reference["uid"] else None

    def _enqueue_owner(self, obj: Object, reference: Object | None) -> None:
        owner = self._resolve(meta.namespace(obj), reference)
        if owner is not None:
            self.enqueue(owner)

    def _enqueue_matching(self, replica_set: Object) -> None:
        set_labels = meta.labels(replica_set)
        if not set_labels:
            return
        for deployment in self.deployments.list(meta.namespace(replica_set)):
            try:
                selector = labels.from_label_selector(deployment["spec"].get("selector"))
            except ValueError:
                continue
            if not selector.empty and selector.matches(set_labels):
                self.enqueue(deployment)

    def _add_set(self, replica_set: Object) -> None:
        reference = meta.controller_of(replica_set)
        if reference is not None or meta.deletion_timestamp(replica_set):
            self._enqueue_owner(replica_set, reference)
        else:
            self._enqueue_matching(replica_set)

    def _update_set(self, old: Object, new: Object) -> None:
        if meta.resource_version(old) == meta.resource_version(new):
            return
        before, after = meta.controller_of(old), meta.controller_of(new)
        if before is not None and before != after:
            self._enqueue_owner(old, before)
        if after is not None:
            self._enqueue_owner(new, after)
        elif before is not None or meta.labels(old) != meta.labels(new):
            self._enqueue_matching(new)

    def _delete_set(self, replica_set: Object) -> None:
        self._enqueue_owner(replica_set, meta.controller_of(replica_set))

    def _delete_pod(self, pod: Object) -> None:
        reference = meta.controller_of(pod)
        if reference is None or reference["kind"] != "ReplicaSet":
            return
        replica_set = self.sets.get(f"{meta.namespace(pod)}/{reference['name']}")
        if replica_set is None or meta.uid(replica_set) != reference["uid"]:
            return
        deployment = self._resolve(meta.namespace(pod), meta.controller_of(replica_set))
        if deployment is not None:
            strategy = fields.mapping(deployment["spec"], "strategy")
            if strategy.get("type") == "Recreate":
                self.enqueue(deployment)

    # -- the sync -----------------------------------------------------------------------------

    async def reconcile(self, key: str) -> Result | None:
        """Sync one Deployment (`syncDeployment`)."""
        deployment = self.deployments.get(key)
        if deployment is None:
            return None
        selector = deployment["spec"].get("selector")
        if selector == {}:
            await self._select_all(deployment)
            return None
        try:
            parsed = labels.from_label_selector(selector)
        except ValueError as problem:
            raise SyncError(f"deployment {key} has invalid label selector: {problem}") from None
        manager = ControllerRefManager(
            self.client, DEPLOYMENTS, deployment, KIND, parsed, self._patch_set, what="ReplicaSet"
        )
        related = pods.of_owner(self.sets, deployment, KIND.kind, orphans=True)
        sets = await manager.claim(related)
        return await DeploymentSync(self, deployment, sets).run()

    def handle_error(self, key: str, error: Exception) -> None:
        """Nothing can be done in a namespace that is going away; all else is retried."""
        if is_namespace_terminating(error):
            self.queue.forget(key)
        else:
            super().handle_error(key, error)

    async def _patch_set(self, namespace: str, name: str, patch: Object) -> Object:
        return await self.client.patch(REPLICASETS, namespace, name, patch)

    async def _select_all(self, deployment: Object) -> None:
        message = "This deployment is selecting all pods. A non-empty selector is required."
        self.event(deployment, "Warning", "SelectingAll", message)
        generation = meta.generation(deployment)
        if rollout.observed(deployment, "observedGeneration") < generation:
            updated = meta.with_status(deployment, observedGeneration=generation)
            try:
                await self.update_status(updated)
            except RETRIABLE:
                return

    async def update_status(self, deployment: Object) -> Object:
        """Write the status (and, as `/status` of Deployments takes them, the annotations)."""
        namespace = meta.namespace(deployment)
        return await self.client.update(DEPLOYMENTS, namespace, deployment, subresource="status")


CONTROLLER = DeploymentController
