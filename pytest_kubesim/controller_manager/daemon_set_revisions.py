"""What one sync of a DaemonSet knows: its pods by node, and its revisions.

A revision is found by its data, so that a template that comes back finds its own; of several with
the same data the newest is kept.  Follows `pkg/controller/daemon/update.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import meta, names, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupVersionKind
from pytest_kubesim.client_go.resources import CONTROLLERREVISIONS, DAEMONSETS, PODS
from pytest_kubesim.controller_manager import daemon_pods, fields, history, pods
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    SyncError,
)
from pytest_kubesim.controller_manager.controller_ref_manager import (
    ControllerRefManager,
)

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.controller_manager.controllers.daemonset import DaemonSetsController


KIND = GroupVersionKind("apps", "v1", "DaemonSet")
Pods = dict[str, list[dict[str, Any]]]


class DaemonSetRevisions:
    """The pods and the revisions of one DaemonSet in one sync."""

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
        predicates = controller.predicates.get(key)
        if predicates is None or not predicates.are_of(daemon_set):
            predicates = controller.predicates[key] = daemon_pods.Predicates(daemon_set)
        self.predicates = predicates
        self.surges = daemon_pods.allows_surge(daemon_set)
        self.generation = daemon_pods.template_generation(daemon_set)
        self.min_ready = fields.number(daemon_set["spec"], "minReadySeconds")
        self.hash = ""

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
        """Revisions that are the set's or nobody's."""
        store = self.controller.revisions
        owned = f"{self.namespace}/{KIND.kind}/{meta.name(self.set)}/{meta.uid(self.set)}"
        return [
            *store.by_index(history.INDEX, owned),
            *store.by_index(history.INDEX, self.namespace),
        ]

    async def patch_revision(self, namespace: str, name: str, patch: Object) -> Object:
        """Strategic merge patch of a revision."""
        return await self.client.patch(CONTROLLERREVISIONS, namespace, name, patch)

    async def write_revision(self, revision: Object) -> Object:
        """Write a revision."""
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
        """Count that a revision's name was taken, in the status."""
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
