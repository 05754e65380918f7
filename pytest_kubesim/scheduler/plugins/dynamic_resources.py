"""DynamicResources: a pod goes where devices can be given to its claims.

A claim that is allocated binds the pod to where its devices can be reached; one that is not is
allocated with the pod: devices are looked for on each node, kept in mind from Reserve on, and
written, with the pod as a user, before it is bound.  A claim in use by others waits.

Not here: extended resources that devices stand for, claims of pod groups, consumable capacity.

Follows `pkg/scheduler/framework/plugins/dynamicresources/{dynamicresources,dra_manager}.go` and
`dynamic-resource-allocation/resourceclaim/claim.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import meta, status, timestamps
from pytest_kubesim.client_go.resources import DEVICECLASSES, RESOURCECLAIMS, RESOURCESLICES
from pytest_kubesim.scheduler import devices
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.device_allocator import AllocationError, Allocator
from pytest_kubesim.scheduler.node_selection import NOTHING, NodeSelector
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.store import Store
    from pytest_kubesim.scheduler.devices import Pool
    from pytest_kubesim.scheduler.framework import (
        ClusterEventWithHint,
        CycleState,
        Handle,
        NodeToStatus,
        NominatingInfo,
        Status,
    )
    from pytest_kubesim.scheduler.node_info import NodeInfo
    from pytest_kubesim.scheduler.pod_info import PodInfo

FINALIZER = "resource.kubernetes.io/delete-protection"
MAX_USERS = 256
NOT_ALL = "cannot allocate all claims"
NOT_THERE = "resourceclaim not available on the node"
DEALLOCATED = "deallocation of ResourceClaim completed"
RETRIES = 5
_STATE = "DynamicResources"


class ClaimError(Exception):
    """A pod's claim cannot be used (yet)."""


@attrs.define(slots=True)
class _State:
    claims: list[Object] = attrs.field(factory=list["Object"])
    selectors: dict[int, NodeSelector] = attrs.field(factory=dict[int, NodeSelector])
    pools: list[Pool] = attrs.field(factory=list["Pool"])
    used: set[tuple[str, str, str]] = attrs.field(factory=set["tuple[str, str, str]"])
    by_node: dict[str, list[Object]] = attrs.field(factory=dict[str, "list[Object]"])
    unavailable: set[int] = attrs.field(factory=set[int])

    @property
    def to_allocate(self) -> list[Object]:
        """The claims that have no devices yet."""
        return [claim for claim in self.claims if _allocation(claim) is None]


class DynamicResources:
    """The plugin."""

    name = "DynamicResources"

    def __init__(self) -> None:
        self._handle: Handle | None = None
        self._stores: dict[str, Store] = {}
        self._pending: dict[str, Object] = {}
        """What has been given to claims and is not written yet, by their UIDs."""

    def attach(self, handle: Handle) -> None:
        """Learn where claims, slices and classes are."""
        self._handle = handle
        for gvr in (RESOURCECLAIMS, RESOURCESLICES, DEVICECLASSES):
            self._stores[gvr.resource] = handle.informers.informer(gvr).store

    # -- a pod's claims -----------------------------------------------------------------------

    def _claims_of(self, pod: PodInfo) -> list[Object]:
        """The claims of a pod.  Raises `ClaimError`."""
        generated: dict[str, str | None] = {
            entry["name"]: entry.get("resourceClaimName")
            for entry in (pod.pod.get("status") or NOTHING).get("resourceClaimStatuses") or ()
        }
        found: list[Object] = []
        for entry in pod.spec.get("resourceClaims") or ():
            name: str | None = entry.get("resourceClaimName")
            if name is None:
                if entry["name"] not in generated:
                    raise ClaimError(
                        f'pod "{pod.namespace}/{pod.name}": ResourceClaim not created yet'
                    )
                name = generated[entry["name"]]
                if name is None:
                    continue
            claim = self._stores["resourceclaims"].get_by_name(pod.namespace, name)
            if claim is None:
                raise ClaimError(f'resourceclaim.resource.k8s.io "{name}" not found')
            if meta.deletion_timestamp(claim):
                raise ClaimError(f'resourceclaim "{name}" is being deleted')
            if entry.get("resourceClaimName") is None and not meta.is_controlled_by(claim, pod.pod):
                raise ClaimError(
                    f"ResourceClaim {pod.namespace}/{name} was not created for Pod "
                    f"{pod.namespace}/{pod.name} (Pod is not owner)"
                )
            found.append(claim)
        return found

    def _class(self, name: str) -> Object | None:
        return self._stores["deviceclasses"].get(name)

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        """Keep a pod away until its claims are there."""
        if not pod.spec.get("resourceClaims"):
            return None
        try:
            self._claims_of(pod)
        except ClaimError as error:
            return fwk.unresolvable(str(error))
        return None

    # -- where to -----------------------------------------------------------------------------

    def pre_filter(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> tuple[set[str] | None, Status | None]:
        """Skip a pod without claims; refuse one whose claims are in use or ask for nonsense."""
        del nodes
        mine = _State()
        state.data[_STATE] = mine
        if not pod.spec.get("resourceClaims"):
            return None, fwk.SKIPPED
        try:
            mine.claims = self._claims_of(pod)
        except ClaimError as error:
            return None, fwk.unresolvable(str(error))
        if not mine.claims:
            return None, fwk.SKIPPED
        for index, claim in enumerate(mine.claims):
            problem = self._problem(pod, claim)
            if problem:
                return None, fwk.unresolvable(problem)
            selector = (_allocation(claim) or NOTHING).get("nodeSelector")
            if selector is not None:
                mine.selectors[index] = NodeSelector(selector["nodeSelectorTerms"])
        if mine.to_allocate:
            mine.pools = devices.pools(self._stores["resourceslices"].list())
            mine.used = self._used()
        return None, None

    def _problem(self, pod: PodInfo, claim: Object) -> str:
        if _allocation(claim) is not None:
            users = _users(claim)
            if len(users) >= MAX_USERS and all(user["uid"] != pod.uid for user in users):
                return "resourceclaim in use"
            return ""
        where = f"{meta.namespace(claim)}/{meta.name(claim)}"
        if meta.uid(claim) in self._pending:
            return f"resource claim {where} is in the process of being allocated"
        for request in (claim["spec"].get("devices") or NOTHING).get("requests") or ():
            wanted = [(request["name"], request.get("exactly"))]
            wanted += [
                (f"{request['name']}/{sub['name']}", sub)
                for sub in request.get("firstAvailable") or ()
            ]
            for name, spec in wanted:
                if spec is not None and self._class(spec["deviceClassName"]) is None:
                    class_name = spec["deviceClassName"]
                    return f"request {name}: device class {class_name} does not exist"
        return ""

    def _used(self) -> set[tuple[str, str, str]]:
        """The devices that are given, written or not."""
        given = [_allocation(claim) for claim in self._stores["resourceclaims"].list()]
        given += self._pending.values()
        return {
            (result["driver"], result["pool"], result["device"])
            for allocation in given
            if allocation is not None
            for result in (allocation.get("devices") or NOTHING).get("results") or ()
            if not result.get("adminAccess")
        }

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject a node from which devices cannot be reached, or that has none."""
        mine: _State = state.data[_STATE]
        labels = meta.labels(node.node or NOTHING)
        elsewhere = {
            index for index, selector in mine.selectors.items()
            if not selector.matches(labels, node.name)
        }
        if elsewhere:
            mine.unavailable |= elsewhere
            return fwk.unresolvable(NOT_THERE)
        claims = mine.to_allocate
        if not claims:
            return None

        def here(selector: Object) -> bool:
            return NodeSelector(selector["nodeSelectorTerms"]).matches(labels, node.name)

        allocator = Allocator(claims, self._class, mine.pools, mine.used, node.name, here)
        try:
            found = allocator.allocate()
        except AllocationError as error:
            return fwk.error(str(error))
        if found is None:
            return fwk.unresolvable(NOT_ALL)
        mine.by_node[node.name] = found
        return None

    def post_filter(
        self, state: CycleState, pod: PodInfo, statuses: NodeToStatus
    ) -> tuple[NominatingInfo | None, Status | None]:
        """Free a claim that nobody else uses and whose devices are out of reach."""
        del statuses
        if _STATE not in state.data:
            return None, fwk.error("not found")
        mine: _State = state.data[_STATE]
        for index in sorted(mine.unavailable):
            claim = mine.claims[index]
            if all(user["uid"] == pod.uid for user in _users(claim)):
                freed = meta.with_status(claim, allocation=None, reservedFor=None, devices=None)
                assert self._handle is not None
                self._handle.process.spawn(self._write(freed), name=f"free {meta.name(claim)}")
                return None, fwk.unschedulable(DEALLOCATED)
        return None, fwk.unschedulable()

    async def _write(self, claim: Object) -> None:
        assert self._handle is not None
        try:
            await self._handle.client.update(
                RESOURCECLAIMS, meta.namespace(claim), claim, subresource="status"
            )
        except (status.APIStatus, ConnectionLost) as error:
            self._handle.process.kernel.journal.record(
                "sync failed", self.name, key=meta.name(claim), error=str(error)
            )

    # -- preferences --------------------------------------------------------------------------

    def pre_score(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> Status | None:
        """Only alternatives make nodes differ."""
        mine: _State | None = state.data.get(_STATE)
        if mine is None or not any(
            request.get("firstAvailable")
            for claim in mine.to_allocate
            for request in (claim["spec"].get("devices") or NOTHING).get("requests") or ()
        ):
            return fwk.SKIPPED
        return None

    def score(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> int:
        """The better the alternatives that were found, the more."""
        mine: _State = state.data[_STATE]
        total = 0
        allocations = mine.by_node.get(node.name) or []
        for claim, allocation in zip(mine.to_allocate, allocations, strict=False):
            given = {result["request"] for result in allocation["devices"]["results"]}
            for request in claim["spec"]["devices"]["requests"]:
                for at, sub in enumerate(request.get("firstAvailable") or ()):
                    if f"{request['name']}/{sub['name']}" in given:
                        total += 8 - at
                        break
        return total

    def normalize(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo], scores: Sequence[int]
    ) -> list[int]:
        """Scale to 0..100."""
        return fwk.default_normalize(scores, reverse=False)

    # -- giving -------------------------------------------------------------------------------

    def reserve(self, state: CycleState, pod: PodInfo, node_name: str) -> Status | None:
        """Keep in mind what the chosen node gives."""
        mine: _State | None = state.data.get(_STATE)
        if mine is not None:
            allocations = mine.by_node.get(node_name) or []
            for claim, allocation in zip(mine.to_allocate, allocations, strict=False):
                self._pending[meta.uid(claim)] = allocation
        return None

    def unreserve(self, state: CycleState, pod: PodInfo, node_name: str) -> None:
        """Forget it; the pod is no user of its claims any more."""
        mine: _State | None = state.data.get(_STATE)
        if mine is None or not mine.claims:
            return
        assert self._handle is not None
        for claim in mine.claims:
            self._pending.pop(meta.uid(claim), None)
            newest = self._stores["resourceclaims"].get_by_name(pod.namespace, meta.name(claim))
            if newest is not None and any(user["uid"] == pod.uid for user in _users(newest)):
                left = [user for user in _users(newest) if user["uid"] != pod.uid]
                freed = meta.with_status(newest, reservedFor=left or None)
                self._handle.process.spawn(self._write(freed), name=f"free {meta.name(claim)}")

    def pre_bind_pre_flight(
        self, state: CycleState, pod: PodInfo, node_name: str
    ) -> Status | None:
        """Skip a pod without claims."""
        mine: _State | None = state.data.get(_STATE)
        return None if mine is not None and mine.claims else fwk.SKIPPED

    async def pre_bind(self, state: CycleState, pod: PodInfo, node_name: str) -> Status | None:
        """Write what was given, with the pod as a user."""
        mine: _State = state.data[_STATE]
        for claim in mine.claims:
            if any(user["uid"] == pod.uid for user in _users(claim)):
                continue
            try:
                await self._bind(pod, claim, self._pending.get(meta.uid(claim)))
            except (status.APIStatus, ConnectionLost, ClaimError) as error:
                return fwk.error(str(error))
            self._pending.pop(meta.uid(claim), None)
        return None

    async def _bind(self, pod: PodInfo, claim: Object, allocation: Object | None) -> None:
        """`bindClaim`."""
        assert self._handle is not None
        client, namespace, name = self._handle.client, pod.namespace, meta.name(claim)
        for attempt in range(RETRIES):
            if attempt:
                claim = await client.get(RESOURCECLAIMS, namespace, name)
            try:
                await self._bind_once(pod, claim, allocation)
            except status.APIStatus as error:
                if not status.is_conflict(error) or attempt == RETRIES - 1:
                    raise
            else:
                return

    async def _bind_once(self, pod: PodInfo, claim: Object, allocation: Object | None) -> None:
        assert self._handle is not None
        client, namespace = self._handle.client, pod.namespace
        where = f"{namespace}/{meta.name(claim)}"
        if meta.deletion_timestamp(claim):
            raise ClaimError(f"claim {where} got deleted in the meantime")
        held = _allocation(claim)
        if allocation is not None:
            if held is not None:
                raise ClaimError(f"claim {where} got allocated elsewhere in the meantime")
            if FINALIZER not in meta.finalizers(claim):
                claim = await client.update(RESOURCECLAIMS, namespace, meta.with_metadata(
                    claim, finalizers=[*meta.finalizers(claim), FINALIZER]
                ))
            held = allocation
        if held is None:
            raise ClaimError(f"claim {where} got deallocated elsewhere in the meantime")
        if not held.get("allocationTimestamp"):
            now = timestamps.format_time(self._handle.process.now_ns())
            held = {**held, "allocationTimestamp": now}
        user = {"resource": "pods", "name": pod.name, "uid": pod.uid}
        new = meta.with_status(claim, allocation=held, reservedFor=[*_users(claim), user])
        await client.update(RESOURCECLAIMS, namespace, new, subresource="status")

    # -- events -------------------------------------------------------------------------------

    def events(self) -> list[ClusterEventWithHint]:
        """Claims, slices, classes and nodes come or change."""
        change = fwk.ADD | fwk.UPDATE
        return [
            fwk.on(fwk.NODE, fwk.ADD | fwk.UPDATE_NODE_LABEL | fwk.UPDATE_NODE_TAINT),
            fwk.on(fwk.TARGET_POD, fwk.UPDATE_POD_GENERATED_RESOURCE_CLAIM),
            fwk.on(fwk.RESOURCE_CLAIM, change | fwk.DELETE, self._claim_helps),
            fwk.on(fwk.DEVICE_CLASS, change),
            fwk.on(fwk.RESOURCE_SLICE, change),
        ]

    def _claim_helps(self, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        """Devices are free again, or a claim of the pod has changed."""
        if new is None:
            return old is not None and _allocation(old) is not None
        if old is not None and _allocation(old) is not None and _allocation(new) is None:
            return True
        try:
            mine = self._claims_of(pod)
        except ClaimError:
            return False
        return any(meta.uid(claim) == meta.uid(new) for claim in mine) and (
            old is None or old.get("status") != new.get("status")
        )


def _allocation(claim: Object) -> Object | None:
    return (claim.get("status") or NOTHING).get("allocation")


def _users(claim: Object) -> list[Object]:
    return (claim.get("status") or NOTHING).get("reservedFor") or []
