"""The resource quota controller: how much of every quota is used.

The law: admission counts what comes; this controller counts everything anew, when a quota is made
or changes, when something that it measures goes or no longer counts, and every five minutes.

What custom resources there are it learns every 30 seconds; that one of them is new is no reason to
count.  Informers of what only quotas ask for are started with the first quota, of what was known at
the last of these looks.

Follows `pkg/controller/resourcequota/{resource_quota_controller,resource_quota_monitor}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta, quantity, timestamps
from pytest_kubesim.client_go.discovery import preferred, server_resources
from pytest_kubesim.client_go.informer import SharedIndexInformer
from pytest_kubesim.client_go.resources import CUSTOMRESOURCEDEFINITIONS, RESOURCEQUOTAS
from pytest_kubesim.controller_manager import fields, semantic
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller
from pytest_kubesim.registry import quota as evaluators
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_kubesim.apimachinery.meta import GroupResource, GroupVersionResource, Object
    from pytest_kubesim.client_go.discovery import APIResource

RESYNC_NS = 300 * NS
DISCOVERY_NS = 30 * NS


class ResourceQuotaController(Controller):
    """Works out quotas."""

    name = "resourcequota-controller"
    service_account = "resourcequota-controller"
    workers: ClassVar[int] = 5
    workers_flag = "concurrent-resource-quota-syncs"

    def setup(self) -> None:
        """Listen to quotas."""
        self.monitors: dict[GroupVersionResource, SharedIndexInformer] = {}
        self._needed = False
        self._changed = True
        self._running = False
        self._busy = False
        self._start_ns = 0
        self.quotas = self.watch(
            RESOURCEQUOTAS, add=self._added, update=self._updated, delete=self.enqueue
        )
        self.definitions = self.watch(
            CUSTOMRESOURCEDEFINITIONS, add=self._definitions_change,
            update=self._definition_updated, delete=self._definitions_change,
        )

    def _added(self, quota: Object) -> None:
        self.enqueue(quota)
        if not self._needed:
            self._needed = True
            self._begin()

    def _updated(self, old: Object, quota: Object) -> None:
        if not _equal(_hard(old), _hard(quota)):
            self.enqueue(quota)

    def _definitions_change(self, _obj: Object) -> None:
        self._changed = True

    def _definition_updated(self, _old: Object, obj: Object) -> None:
        self._definitions_change(obj)

    # -- monitors -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Count everything every five minutes."""
        self._running = True
        self._start_ns = self.kernel.now_ns
        if self._needed:
            self._begin()
        while True:
            await self.kernel.sleep(RESYNC_NS, periodic=True)
            for quota in self.quotas.list():
                self.enqueue(quota)

    def _begin(self) -> None:
        if self._running and not self._busy:
            self._busy = True
            self.process.spawn(self._discover(), name=f"{self.name} monitors")

    async def _discover(self) -> None:
        """Monitor what discovery knows, at first and every 30 seconds."""
        new = self._new_definitions()
        while True:
            if self._changed:
                self._changed = bool(new)
                try:
                    await self._sync_monitors(new)
                except RETRIABLE:
                    self._changed = True
            new = set[tuple[str, str]]()
            elapsed_ns = self.kernel.now_ns - self._start_ns
            await self.kernel.sleep(DISCOVERY_NS - elapsed_ns % DISCOVERY_NS, periodic=True)

    def _new_definitions(self) -> set[tuple[str, str]]:
        """Group and resource of the definitions that came after the last look there was."""
        elapsed_ns = self.kernel.now_ns - self._start_ns
        last_ns = self.now_ns() - elapsed_ns % DISCOVERY_NS
        return {
            (spec["group"], spec["names"]["plural"])
            for definition in self.definitions.list()
            if timestamps.parse_time(meta.creation_timestamp(definition) or "") >= last_ns
            and (spec := fields.spec(definition))
        }

    async def _sync_monitors(self, new: set[tuple[str, str]]) -> None:
        first = not self.monitors
        found = {
            resource.gvr: resource
            for resource in preferred(await server_resources(self.client))
            if resource.namespaced
            and resource.supports("create", "list", "watch", "delete")
            and resource.gvr.group_resource not in evaluators.IGNORED
            and (resource.gvr.group, resource.gvr.resource) not in new
        }
        for gvr in [gvr for gvr in self.monitors if gvr not in found]:
            self.monitors.pop(gvr).stop()
        added = [
            self._monitor(resource) for gvr, resource in found.items() if gvr not in self.monitors
        ]
        for informer in added:
            await informer.synced.wait()
        if first:
            for quota in self.quotas.list():
                self.enqueue(quota)

    def _monitor(self, resource: APIResource) -> SharedIndexInformer:
        gvr = resource.gvr
        if "." in gvr.group and not gvr.group.endswith(".k8s.io"):
            informer = SharedIndexInformer(self.context.client, gvr)
        else:
            informer = self.context.informers.informer(gvr)
        self.monitors[gvr] = informer
        counted = gvr.group_resource

        def updated(old: Object, new: Object) -> None:
            if self.quotas.list(meta.namespace(new)) and self._gives_back(counted, old, new):
                self._replenish(counted, meta.namespace(new))

        informer.add_event_handler(
            update=updated, delete=lambda obj: self._replenish(counted, meta.namespace(obj))
        )
        informer.start()
        return informer

    def _gives_back(self, resource: GroupResource, old: Object, new: Object) -> bool:
        """Whether an object uses another amount than before (`DefaultUpdateFilter`)."""
        if resource == evaluators.PODS:
            now_ns = self.now_ns()
            return (
                evaluators.is_terminating(old) != evaluators.is_terminating(new)
                or (evaluators.counts(old, now_ns) and not evaluators.counts(new, now_ns))
                or _resources(old) != _resources(new)
            )
        if resource == evaluators.SERVICES:
            return fields.spec(old).get("type") != fields.spec(new).get("type")
        if resource == evaluators.CLAIMS:
            return any(
                fields.status(old).get(name) != fields.status(new).get(name)
                for name in ("allocatedResources", "currentVolumeAttributesClassName")
            )
        return False

    def _replenish(self, resource: GroupResource, namespace: str) -> None:
        for quota in self.quotas.list(namespace):
            if evaluators.measured(resource, fields.mapping(fields.status(quota), "hard")):
                self.enqueue(quota)

    # -- the sync -----------------------------------------------------------------------------

    async def reconcile(self, key: str) -> None:
        """Count what is used of one quota."""
        quota = self.quotas.get(key)
        if quota is None or not self.monitors:
            return
        for informer in self.monitors.values():
            if not informer.has_synced:
                return
        state = fields.status(quota)
        hard = _hard(quota)
        used = dict(fields.mapping(state, "used"))
        used.update(self._used(quota))
        used = {name: value for name, value in used.items() if name in hard}
        if (
            "hard" in state
            and "used" in state
            and semantic.equal(hard, state["hard"])
            and _equal(used, state["used"])
        ):
            return
        new = {**quota, "status": {"hard": hard, "used": used}}
        await self.client.update(RESOURCEQUOTAS, meta.namespace(quota), new, subresource="status")

    def _used(self, quota: Object) -> Mapping[str, str]:
        namespace = meta.namespace(quota)
        names = _hard(quota)
        objects = {
            gvr.group_resource: informer.store.list(namespace)
            for gvr, informer in self.monitors.items()
            if evaluators.measured(gvr.group_resource, names)
        }
        return evaluators.calculate(quota, objects, self.now_ns())


def _hard(quota: Object) -> dict[str, str]:
    return fields.mapping(fields.spec(quota), "hard")


def _equal(left: Mapping[str, str], right: Mapping[str, str]) -> bool:
    return left.keys() == right.keys() and all(
        quantity.cmp(value, right[name]) == 0 for name, value in left.items()
    )


def _resources(pod: Object) -> list[object]:
    containers = fields.objects(fields.spec(pod), "containers")
    return [container.get("resources") for container in containers]


CONTROLLER = ResourceQuotaController
