"""The garbage collector: what nobody owns any more is deleted, what waits for its own is let go.

The law: what is known of objects comes from informers of every resource that can be listed, watched
and deleted, and is only a hint; before anything is deleted it is read from the API server, and so
are its owners.  Resources come and go (custom resources): every 30 seconds the monitors are made to
agree with discovery.

Follows `pkg/controller/garbagecollector/{garbagecollector,operations,patch}.go`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.client_go.discovery import NoMatch, RESTMapper, preferred, server_resources
from pytest_kubesim.client_go.informer import SharedIndexInformer
from pytest_kubesim.client_go.resources import APISERVICES, CUSTOMRESOURCEDEFINITIONS
from pytest_kubesim.client_go.workqueue import RateLimitingQueue
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller, SyncError
from pytest_kubesim.controller_manager.controller_ref_manager import aggregate
from pytest_kubesim.controller_manager.object_graph import (
    FOREGROUND_FINALIZER,
    ORPHAN_FINALIZER,
    Graph,
    Identity,
    Node,
    identity_from_reference,
)
from pytest_kubesim.controller_manager.retry import DEFAULT_BACKOFF, on_conflict
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import GroupVersionResource, Object
    from pytest_kubesim.client_go.discovery import APIResource

SYNC_PERIOD_NS = 30 * NS
WORKERS = 20
FIRST_SYNC_NS = 100_000_000
"""When the first monitors start; a real controller manager takes longer to discover resources."""

IGNORED = {("", "events"), ("events.k8s.io", "events")}

OWNER_REF_INVALID_NAMESPACE = "OwnerRefInvalidNamespace"


class NamespacedOwnerOfClusterScoped(Exception):
    """A cluster-scoped object names an owner that has a namespace: nothing can be done."""


class _Owners(NamedTuple):
    solid: list[Object]
    dangling: list[Object]
    waiting: list[Object]


class _Gone(Exception):
    """The object that was to be looked at is not there: the graph has been told."""


class GarbageCollectorController(Controller):
    """Deletes objects whose owners are gone."""

    name = "garbage-collector-controller"
    service_account = "generic-garbage-collector"

    def setup(self) -> None:
        """Make the graph and its two queues."""
        self.to_delete: RateLimitingQueue[Node] = RateLimitingQueue(
            self.process, "garbage_collector_attempt_to_delete"
        )
        self.to_orphan: RateLimitingQueue[Node] = RateLimitingQueue(
            self.process, "garbage_collector_attempt_to_orphan"
        )
        self.graph = Graph(
            attempt_to_delete=self.to_delete.add,
            attempt_again=self.to_delete.add_rate_limited,
            attempt_to_orphan=self.to_orphan.add,
            invalid_namespace=self._report_invalid_namespace,
        )
        self.mapper = RESTMapper(self.client)
        self.monitors: dict[GroupVersionResource, SharedIndexInformer] = {}
        self._resources: frozenset[GroupVersionResource] = frozenset()
        self._changed = True
        for gvr in (CUSTOMRESOURCEDEFINITIONS, APISERVICES):
            self.watch(
                gvr, add=self._resources_change, update=self._resources_update,
                delete=self._resources_change,
            )

    # -- monitors -----------------------------------------------------------------------------

    def _resources_change(self, _obj: Object) -> None:
        self._changed = True

    def _resources_update(self, old: Object, new: Object) -> None:
        # Conditions that come and go (established, names accepted) decide what is served.
        if old.get("spec") != new.get("spec") or old.get("status") != new.get("status"):
            self._changed = True

    async def run(self) -> None:
        """Keep the monitors in agreement with discovery; start the workers after the first time."""
        await self.kernel.sleep(FIRST_SYNC_NS)
        started = False
        while True:
            if self._changed:
                self._changed = False
                try:
                    await self._sync_monitors()
                except RETRIABLE:
                    self._changed = True
            if not started and self.monitors:
                for monitor in list(self.monitors.values()):
                    await monitor.synced.wait()
                self._start_attempts()
                started = True
            await self.kernel.sleep(SYNC_PERIOD_NS, periodic=True)

    async def _sync_monitors(self) -> None:
        found = await server_resources(self.client)
        self.mapper.fill(found)
        wanted = {
            resource.gvr: resource
            for resource in preferred(found)
            if resource.supports("delete", "list", "watch")
            and (resource.gvr.group, resource.gvr.resource) not in IGNORED
        }
        for gvr in [gvr for gvr in self.monitors if gvr not in wanted]:
            self.monitors.pop(gvr).stop()
        for gvr, resource in wanted.items():
            if gvr not in self.monitors:
                self.monitors[gvr] = self._monitor(resource)

    def _monitor(self, resource: APIResource) -> SharedIndexInformer:
        gvr, kind, api_version = resource.gvr, resource.kind, resource.api_version
        graph = self.graph
        if "." in gvr.group and not gvr.group.endswith(".k8s.io"):
            informer = SharedIndexInformer(self.context.client, gvr)
        else:
            informer = self.context.informers.informer(gvr)
        informer.add_event_handler(
            add=lambda obj: graph.observed(api_version, kind, None, obj),
            update=lambda old, obj: graph.observed(api_version, kind, old, obj),
            delete=lambda obj: graph.deleted(api_version, kind, obj),
        )
        informer.start()
        return informer

    def _report_invalid_namespace(self, node: Node, owner_uid: str) -> None:
        identity = node.identity
        for reference in node.owners:
            if reference["uid"] == owner_uid:
                invalid = identity_from_reference(reference, identity.namespace)
                about = {
                    "kind": identity.kind,
                    "namespace": identity.namespace,
                    "name": identity.name,
                    "uid": identity.uid,
                    "apiVersion": identity.api_version,
                }
                message = (
                    f"ownerRef {invalid} does not exist in namespace {quote(identity.namespace)}"
                )
                self.event(
                    {k: v for k, v in about.items() if v},
                    "Warning", OWNER_REF_INVALID_NAMESPACE, message,
                )
                return

    # -- the workers --------------------------------------------------------------------------

    def _start_attempts(self) -> None:
        workers = self.context.setting("concurrent-gc-syncs", WORKERS)
        self._staff("delete", workers, self.to_delete, self._attempt_to_delete)
        self._staff("orphan", workers, self.to_orphan, self._attempt_to_orphan)

    def _staff(
        self,
        what: str,
        vacancies: int,
        queue: RateLimitingQueue[Node],
        attempt: Callable[[Node], Awaitable[bool]],
    ) -> None:
        def hire() -> None:
            nonlocal vacancies
            if vacancies:
                vacancies -= 1
                self.process.spawn(
                    self._attempts(queue, attempt), name=f"{self.name} {what}"
                )

        queue.staff(hire)

    async def _attempts(
        self, queue: RateLimitingQueue[Node], attempt: Callable[[Node], Awaitable[bool]]
    ) -> None:
        while True:
            node = await queue.get()
            try:
                again = await attempt(node)
            except (*RETRIABLE, NoMatch) as error:
                self.kernel.journal.record(
                    "sync failed", self.name, key=str(node), error=str(error)
                )
                again = True
            if again:
                queue.add_rate_limited(node)
            else:
                queue.forget(node)
            queue.done(node)

    async def _attempt_to_delete(self, node: Node) -> bool:
        """Look at a node; whether to look again later."""
        if node.virtual:
            present = self.graph.nodes.get(node.identity.uid)
            if present is None or not present.virtual:
                return False
        try:
            await self._look_at(node)
        except _Gone:
            return False
        except NamespacedOwnerOfClusterScoped:
            return False
        # A virtual node that exists is looked at until an informer shows it.
        return node.virtual

    async def _look_at(self, node: Node) -> None:
        if node.being_deleted and not node.deleting_dependents:
            return
        identity = node.identity
        latest = await self._get(identity)
        if latest is None or meta.uid(latest) != identity.uid:
            self.graph.virtual_delete(identity)
            raise _Gone
        if node.deleting_dependents:
            await self._process_deleting_dependents(node)
            return
        references = meta.owner_references(latest)
        if not references:
            return
        owners = await self._classify(node, references)
        if owners.solid:
            if owners.dangling or owners.waiting:
                gone = [reference["uid"] for reference in owners.dangling + owners.waiting]
                await self._patch(
                    node,
                    _delete_owners_patch(identity.uid, gone),
                    lambda live: [r for r in live if r["uid"] not in gone],
                )
            return
        if owners.waiting and node.dependents:
            if any(dependent.deleting_dependents for dependent in node.dependents):
                # Perhaps a circle: let the owners go.
                await self._patch(node, _unblock_patch(node), _unblocked)
            policy = "Foreground"
        elif ORPHAN_FINALIZER in meta.finalizers(latest):
            policy = "Orphan"
        elif FOREGROUND_FINALIZER in meta.finalizers(latest):
            policy = "Foreground"
        else:
            policy = "Background"
        try:
            await self._delete(identity, latest, policy)
        except status.APIStatus as error:
            if not status.is_not_found(error):
                raise
            self.graph.virtual_delete(identity)
            raise _Gone from None

    async def _process_deleting_dependents(self, node: Node) -> None:
        blocking = node.blocking_dependents()
        if not blocking:
            await self._remove_finalizer(node, FOREGROUND_FINALIZER)
            return
        for dependent in blocking:
            if not dependent.deleting_dependents:
                self.to_delete.add(dependent)

    async def _classify(self, node: Node, references: list[Object]) -> _Owners:
        owners = _Owners([], [], [])
        for reference in references:
            owner = await self._owner(node, reference)
            if owner is None:
                owners.dangling.append(reference)
            elif meta.deletion_timestamp(owner) and FOREGROUND_FINALIZER in meta.finalizers(owner):
                owners.waiting.append(reference)
            else:
                owners.solid.append(reference)
        return owners

    async def _owner(self, node: Node, reference: Object) -> Object | None:
        """The owner that a reference means, as the API server has it; None if there is none."""
        namespace = node.identity.namespace
        absent = self.graph.absent
        key = identity_from_reference(reference, namespace)
        if key._replace(namespace="") in absent or key in absent:
            return None
        resource = await self.mapper.mapping(reference["apiVersion"], reference["kind"])
        if not resource.namespaced:
            key = key._replace(namespace="")
        elif not namespace:
            raise NamespacedOwnerOfClusterScoped
        try:
            owner = await self.client.get(resource.gvr, key.namespace, reference["name"])
        except status.APIStatus as error:
            if not status.is_not_found(error):
                raise
            absent.add(key)
            return None
        if meta.uid(owner) != reference["uid"]:
            absent.add(key)
            return None
        return owner

    async def _attempt_to_orphan(self, owner: Node) -> bool:
        uid = owner.identity.uid
        errors: list[Exception] = []
        for dependent in list(owner.dependents):
            try:
                await self._patch(
                    dependent,
                    _delete_owners_patch(dependent.identity.uid, [uid]),
                    lambda live: [r for r in live if r["uid"] != uid],
                )
            except (*RETRIABLE, NoMatch) as error:
                if not status.is_not_found(error):
                    errors.append(
                        SyncError(f"orphaning {dependent.identity} failed, {error}")
                    )
        if errors:
            raise SyncError(
                f"failed to orphan dependents of owner {owner.identity}, got errors: "
                f"{aggregate(errors)}"
            )
        await self._remove_finalizer(owner, ORPHAN_FINALIZER)
        return False

    # -- requests -----------------------------------------------------------------------------

    async def _resource(self, identity: Identity) -> tuple[GroupVersionResource, str]:
        resource = await self.mapper.mapping(identity.api_version, identity.kind)
        return resource.gvr, identity.namespace if resource.namespaced else ""

    async def _get(self, identity: Identity) -> Object | None:
        resource = await self.mapper.mapping(identity.api_version, identity.kind)
        if resource.namespaced and not identity.namespace:
            raise NamespacedOwnerOfClusterScoped
        namespace = identity.namespace if resource.namespaced else ""
        try:
            return await self.client.get(resource.gvr, namespace, identity.name)
        except status.APIStatus as error:
            if status.is_not_found(error):
                return None
            raise

    async def _delete(self, identity: Identity, latest: Object, policy: str) -> None:
        gvr, namespace = await self._resource(identity)
        try:
            await self.client.delete(
                gvr, namespace, identity.name, propagation_policy=policy, uid=identity.uid,
                resource_version=meta.resource_version(latest),
            )
        except status.APIStatus as error:
            if not status.is_conflict(error):
                raise
            live = await self.client.get(gvr, namespace, identity.name)
            if meta.uid(live) != identity.uid or meta.owner_references(
                live
            ) != meta.owner_references(latest):
                raise error from None
            # It changed, but not its owners: busy objects must not starve the collector.
            await self.client.delete(
                gvr, namespace, identity.name, propagation_policy=policy, uid=identity.uid
            )

    async def _patch(
        self, node: Node, strategic: Object, owners: Callable[[list[Object]], list[Object]]
    ) -> None:
        """Patch; custom resources get a merge patch with all their `owners`."""
        identity = node.identity
        gvr, namespace = await self._resource(identity)
        try:
            await self.client.patch(gvr, namespace, identity.name, strategic)
        except status.APIStatus as error:
            if not status.is_unsupported_media_type(error):
                raise
        else:
            return
        live = await self._metadata(gvr, namespace, identity.name)
        patch = {
            "metadata": {
                "resourceVersion": meta.resource_version(live),
                "ownerReferences": owners(meta.owner_references(live)) or None,
            }
        }
        await self.client.patch(gvr, namespace, identity.name, patch, patch_type="merge")

    async def _metadata(self, gvr: GroupVersionResource, namespace: str, name: str) -> Object:
        monitor = self.monitors.get(gvr)
        if monitor is not None:
            found = monitor.store.get_by_name(namespace, name)
            if found is not None:
                return found
        return await self.client.get(gvr, namespace, name)

    async def _remove_finalizer(self, node: Node, finalizer: str) -> None:
        identity = node.identity

        async def attempt() -> None:
            obj = await self._get(identity)
            if obj is None or finalizer not in meta.finalizers(obj):
                return
            kept = [name for name in meta.finalizers(obj) if name != finalizer]
            metadata = {"resourceVersion": meta.resource_version(obj), "finalizers": kept or None}
            gvr, namespace = await self._resource(identity)
            await self.client.patch(
                gvr, namespace, identity.name, {"metadata": metadata}, patch_type="merge"
            )

        try:
            await on_conflict(self.process, DEFAULT_BACKOFF, attempt)
        except status.APIStatus as error:
            if not status.is_conflict(error):
                raise
            raise SyncError(
                f"updateMaxRetries({DEFAULT_BACKOFF.steps}) has reached. The garbage collector "
                f"will retry later for owner {identity}"
            ) from None


def _delete_owners_patch(uid: str, owners: list[str]) -> Object:
    removed = [{"$patch": "delete", "uid": owner} for owner in owners]
    return {"metadata": {"uid": uid, "ownerReferences": removed}}


def _unblock_patch(node: Node) -> Object:
    blocking = [
        {**reference, "blockOwnerDeletion": False}
        for reference in node.owners
        if reference.get("blockOwnerDeletion")
    ]
    return {"metadata": {"uid": node.identity.uid, "ownerReferences": blocking}}


def _unblocked(owners: list[Object]) -> list[Object]:
    return [{**reference, "blockOwnerDeletion": False} for reference in owners]


CONTROLLER = GarbageCollectorController
