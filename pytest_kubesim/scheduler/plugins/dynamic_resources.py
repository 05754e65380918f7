"""DynamicResources: a pod goes where devices can be given to its claims.

A claim that is allocated binds the pod to where its devices can be reached; one that is not is
allocated with the pod: devices are looked for on each node, kept in mind from Reserve on, and
written, with the pod as a user, before it is bound.  Devices that have to be prepared are waited
for.  A claim in use by others waits.  Extended resources that devices stand for become one more
claim, which is written when the pod has a node.

Not here: claims of pod groups, devices that stand for cpu and memory (both are off in 1.37).

Follows `pkg/scheduler/framework/plugins/dynamicresources/{dynamicresources,dra_manager}.go`.
"""

from __future__ import annotations

import operator
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.client_go.resources import (
    DEVICECLASSES,
    DEVICETAINTRULES,
    RESOURCECLAIMS,
    RESOURCESLICES,
)
from pytest_kubesim.scheduler import allocation_results, binding_conditions, devices
from pytest_kubesim.scheduler import extended_resources as extended
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.claim_binder import ClaimBinder
from pytest_kubesim.scheduler.device_allocator import AllocationError, Allocator, Given, NodeError
from pytest_kubesim.scheduler.node_selection import NOTHING, NodeSelector
from pytest_kubesim.scheduler.pod_claims import (
    ClaimError,
    allocation_of,
    claims_of,
    is_used_by,
    users_of,
)
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.store import Store
    from pytest_kubesim.scheduler.device_allocator import Choice
    from pytest_kubesim.scheduler.devices import Slices
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

MAX_USERS = 256
NOT_ALL = "cannot allocate all claims"
NOT_THERE = "resourceclaim not available on the node"
DEALLOCATED = "deallocation of ResourceClaim completed"
DELETED = "deletion of ResourceClaim completed"
STALE = "cannot schedule extended resource claim"
BINDING_TIMEOUT_NS = 600 * NS
"""How long devices may take to be prepared, unless configured otherwise."""
BINDING_POLL_NS = 5 * NS
_TIMED_OUT = "device binding timeout"
_STATE = "DynamicResources"


@attrs.frozen(slots=True)
class _OnNode:
    """What one node gives."""

    choices: list[list[Choice]]
    extended: Object | None = None
    """The claim for extended resources, with the requests for this node."""
    mappings: list[Object] = attrs.field(factory=list["Object"])


@attrs.define(slots=True)
class _State:
    claims: list[Object] = attrs.field(factory=list["Object"])
    extended: Object | None = None
    """The last of the claims, where it is for extended resources."""
    selectors: dict[int, NodeSelector] = attrs.field(factory=dict[int, NodeSelector])
    slices: Slices | None = None
    given: Given = attrs.field(factory=Given)
    by_node: dict[str, _OnNode] = attrs.field(factory=dict[str, _OnNode])
    unavailable: set[int] = attrs.field(factory=set[int])
    allocations: dict[int, Object] = attrs.field(factory=dict[int, "Object"])
    """What was reserved, by the places of the claims."""

    @property
    def to_allocate(self) -> list[int]:
        """The places of the claims that have no devices yet."""
        return [at for at, claim in enumerate(self.claims) if allocation_of(claim) is None]

    @property
    def users_claims(self) -> bool:
        """Whether there are claims besides the one for extended resources."""
        return len(self.claims) > (self.extended is not None)


class DynamicResources:
    """The plugin.

    Parameters: `binding_timeout_ns`, how long devices may take to be prepared.
    """

    name = "DynamicResources"

    def __init__(self, *, binding_timeout_ns: int = BINDING_TIMEOUT_NS) -> None:
        self._binding_timeout_ns = binding_timeout_ns
        self._handle: Handle | None = None
        self._binder: ClaimBinder | None = None
        self._stores: dict[str, Store] = {}
        self._pending: dict[str, Object] = {}
        """What has been given to claims and the informer does not show yet, by their UIDs."""
        self._slices: tuple[list[Object], list[Object], Slices] | None = None

    def attach(self, handle: Handle) -> None:
        """Learn where claims, slices, classes and rules are."""
        self._handle = handle
        self._binder = ClaimBinder(handle)
        for gvr in (RESOURCECLAIMS, RESOURCESLICES, DEVICECLASSES, DEVICETAINTRULES):
            self._stores[gvr.resource] = handle.informers.informer(gvr).store
        handle.informers.informer(RESOURCECLAIMS).add_event_handler(
            add=self._seen, update=lambda _, new: self._seen(new), delete=self._gone
        )

    def _seen(self, claim: Object) -> None:
        """What the informer shows needs not be kept in mind."""
        if allocation_of(claim) is not None:
            self._pending.pop(meta.uid(claim), None)

    def _gone(self, claim: Object) -> None:
        self._pending.pop(meta.uid(claim), None)

    # -- a pod's claims -----------------------------------------------------------------------

    def _class(self, name: str) -> Object | None:
        return self._stores["deviceclasses"].get(name)

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        """Keep a pod away until its claims are there."""
        if not pod.spec.get("resourceClaims"):
            return None
        try:
            claims_of(pod, self._stores["resourceclaims"])
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
        scalars = pod.requests.scalars
        if not pod.spec.get("resourceClaims") and not scalars:
            return None, fwk.SKIPPED
        try:
            mine.claims = claims_of(pod, self._stores["resourceclaims"])
        except ClaimError as error:
            return None, fwk.unresolvable(str(error))
        if scalars and (meant := extended.delegated(pod, self._classes())):
            state.data[extended.DELEGATED] = meant
            mine.extended = self._extended_claim(pod)
            mine.claims.append(mine.extended)
        if not mine.claims:
            return None, fwk.SKIPPED
        for index, claim in enumerate(mine.claims):
            problem = self._problem(pod, claim, is_extended=claim is mine.extended)
            if problem:
                return None, fwk.unresolvable(problem)
            selector = (allocation_of(claim) or NOTHING).get("nodeSelector")
            if selector is not None:
                mine.selectors[index] = NodeSelector(selector["nodeSelectorTerms"])
        if mine.to_allocate:
            mine.slices = self._indexed()
            allocations = map(allocation_of, self._stores["resourceclaims"].list())
            mine.given = Given.by((*filter(None, allocations), *self._pending.values()))
        return None, None

    def _classes(self) -> dict[str, Object]:
        return extended.classes_by_resource(self._stores["deviceclasses"].list())

    def _extended_claim(self, pod: PodInfo) -> Object:
        found = extended.find(pod, self._stores["resourceclaims"].list(pod.namespace))
        return found or extended.template(pod, f"extended resources of {pod.uid}")

    def _indexed(self) -> Slices:
        """The slices by node; worked out again when one of them has changed."""
        slices, rules = (
            self._stores[each].list() for each in ("resourceslices", "devicetaintrules")
        )
        known = self._slices
        if known is None or not (_are_same(known[0], slices) and _are_same(known[1], rules)):
            known = self._slices = (slices, rules, devices.indexed(slices, rules))
        return known[2]

    def _problem(self, pod: PodInfo, claim: Object, *, is_extended: bool) -> str:
        if allocation_of(claim) is not None:
            in_use = len(users_of(claim)) >= MAX_USERS and not is_used_by(claim, pod)
            return "resourceclaim in use" if in_use else ""
        where = f"{meta.namespace(claim)}/{meta.name(claim)}"
        if meta.uid(claim) in self._pending:
            return f"resource claim {where} is in the process of being allocated"
        if is_extended:
            return ""
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

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject a node from which devices cannot be reached, or that has none."""
        mine: _State = state.data[_STATE]
        status_, for_node, mappings = self._of_node(mine, state, pod, node)
        if status_ is not None:
            return status_
        if for_node is None and not mine.users_claims:
            return None
        labels = meta.labels(node.node or NOTHING)
        elsewhere = {
            index
            for index, claim in enumerate(mine.claims)
            if (index in mine.selectors and not mine.selectors[index].matches(labels, node.name))
            or self._has_failed(claim)
        }
        wanted = [
            for_node if claim is mine.extended and for_node is not None else claim
            for claim in map(mine.claims.__getitem__, mine.to_allocate)
        ]
        choices: list[list[Choice]] | None = []
        if mine.slices is not None:

            def here(selector: Object) -> bool:
                return NodeSelector(selector["nodeSelectorTerms"]).matches(labels, node.name)

            pools = devices.pools_for(mine.slices, node.name, here)
            allocator = Allocator(wanted, self._class, pools, mine.given, node.name, here)
            try:
                choices = allocator.allocate()
            except NodeError as error:
                return fwk.unresolvable(str(error))
            except AllocationError as error:
                return fwk.error(str(error))
            if choices is None:
                return fwk.unresolvable(NOT_ALL)
        if elsewhere:
            mine.unavailable |= elsewhere
            return fwk.unresolvable(NOT_THERE)
        mine.by_node[node.name] = _OnNode(choices, for_node, mappings)
        return None

    def _of_node(
        self, mine: _State, state: CycleState, pod: PodInfo, node: NodeInfo
    ) -> tuple[Status | None, Object | None, list[Object]]:
        """The claim for extended resources as this node has to serve it, if it has to at all."""
        claim = mine.extended
        if claim is None:
            return None, None, []
        if (claim["spec"].get("devices") or NOTHING).get("requests"):
            return fwk.unresolvable(STALE), None, []
        meant: frozenset[str] = state.data[extended.DELEGATED]
        asked = [
            name for name, amount in pod.requests.scalars.items()
            if amount and extended.is_extended(name)
        ]
        wanted = [name for name in asked if name in meant and not node.scalars.get(name)]
        if any(name not in meant and name not in node.scalars for name in asked):
            return fwk.unresolvable("cannot fit resource"), None, []
        if not wanted and not mine.users_claims:
            return None, None, []
        demand = extended.demand(pod, wanted, self._classes().get)
        return None, {**claim, "spec": {"devices": {"requests": demand.requests}}}, demand.mappings

    def _has_failed(self, claim: Object) -> bool:
        """Whether devices of a claim could not be prepared, or were not in time."""
        if allocation_of(claim) is None:
            return False
        try:
            return not binding_conditions.are_met(claim) and self._is_late(claim)
        except ClaimError:
            return True

    def _is_late(self, claim: Object) -> bool:
        assert self._handle is not None
        since_ns = binding_conditions.waiting_since(claim)
        return since_ns is not None and (
            since_ns + self._binding_timeout_ns < self._handle.process.now_ns()
        )

    def post_filter(
        self, state: CycleState, pod: PodInfo, statuses: NodeToStatus
    ) -> tuple[NominatingInfo | None, Status | None]:
        """Free a claim that nobody else uses and whose devices are out of reach."""
        del statuses
        if _STATE not in state.data:
            return None, fwk.error("not found")
        mine: _State = state.data[_STATE]
        assert self._binder is not None
        for index in sorted(mine.unavailable):
            claim = mine.claims[index]
            if claim is mine.extended:
                continue
            if all(user["uid"] == pod.uid for user in users_of(claim)):
                self._binder.free(claim)
                return None, fwk.unschedulable(DEALLOCATED)
        if mine.extended is not None and meta.name(mine.extended) != extended.IN_MEMORY:
            self._binder.delete(mine.extended)
            return None, fwk.unschedulable(DELETED)
        return None, fwk.unschedulable()

    # -- preferences --------------------------------------------------------------------------

    def pre_score(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> Status | None:
        """Only alternatives make nodes differ."""
        mine: _State | None = state.data.get(_STATE)
        if mine is None or not any(
            request.get("firstAvailable")
            for at in mine.to_allocate
            for request in (mine.claims[at]["spec"].get("devices") or NOTHING).get("requests") or ()
        ):
            return fwk.SKIPPED
        return None

    def score(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> int:
        """The better the alternatives that were found, the more."""
        mine: _State = state.data[_STATE]
        on_node = mine.by_node.get(node.name)
        if on_node is None:
            return 0
        total = 0
        for at, choices in zip(mine.to_allocate, on_node.choices, strict=False):
            given = {choice.request.name for choice in choices}
            for request in mine.claims[at]["spec"].get("devices", NOTHING).get("requests") or ():
                total += sum(
                    8 - place
                    for place, sub in enumerate(request.get("firstAvailable") or ())
                    if f"{request['name']}/{sub['name']}" in given
                )
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
        on_node = None if mine is None else mine.by_node.get(node_name)
        if mine is None or on_node is None:
            return None
        for at, choices in zip(mine.to_allocate, on_node.choices, strict=False):
            claim = mine.claims[at]
            if claim is mine.extended and on_node.extended is not None:
                claim = on_node.extended
            draw = partial(self._share_id, pod, meta.uid(claim), iter(range(len(choices))))
            found = allocation_results.allocation(claim, choices, node_name, draw)
            mine.allocations[at] = self._pending[meta.uid(claim)] = found
        return None

    def _share_id(self, pod: PodInfo, claim: str, counter: Iterator[int]) -> str:
        assert self._handle is not None
        process = self._handle.process
        drawn = process.kernel.rng.bytes(
            16, "share of a device", pod.uid, claim, process.now_ns(), next(counter)
        )
        return str(uuid.UUID(bytes=drawn, version=4))

    def unreserve(self, state: CycleState, pod: PodInfo, node_name: str) -> None:
        """Forget it; the pod is no user of its claims any more."""
        mine: _State | None = state.data.get(_STATE)
        if mine is None or not mine.claims:
            return
        assert self._binder is not None
        for claim in mine.claims:
            self._pending.pop(meta.uid(claim), None)
            if claim is mine.extended:
                if meta.name(claim) != extended.IN_MEMORY:
                    self._binder.delete(claim)
            elif allocation_of(claim) is not None and is_used_by(claim, pod):
                self._binder.release(pod, claim)

    def pre_bind_pre_flight(
        self, state: CycleState, pod: PodInfo, node_name: str
    ) -> Status | None:
        """Skip a pod without claims."""
        mine: _State | None = state.data.get(_STATE)
        return None if mine is not None and mine.claims else fwk.SKIPPED

    async def pre_bind(self, state: CycleState, pod: PodInfo, node_name: str) -> Status | None:
        """Write what was given, with the pod as a user; wait for devices to be prepared."""
        mine: _State = state.data[_STATE]
        try:
            for at, claim in enumerate(mine.claims):
                if not is_used_by(claim, pod):
                    await self._bind(mine, at, pod, node_name)
            if any(map(binding_conditions.of, mine.claims)):
                await self._prepared(mine, pod, node_name)
        except (status.APIStatus, ConnectionLost, ClaimError) as error:
            return fwk.error(str(error))
        return None

    async def _bind(self, mine: _State, at: int, pod: PodInfo, node_name: str) -> None:
        """`bindClaim`."""
        assert self._binder is not None
        claim, given = mine.claims[at], mine.allocations.get(at)
        on_node = mine.by_node.get(node_name)
        is_extended = claim is mine.extended
        if is_extended and given is None:
            return
        if is_extended and on_node is not None and on_node.extended is not None:
            claim = await self._binder.create(on_node.extended)
            mine.claims[at] = mine.extended = claim
            self._pending[meta.uid(claim)] = self._pending.pop(meta.uid(on_node.extended))
        claim = mine.claims[at] = await self._binder.bind(pod, claim, given)
        if is_extended:
            mine.extended = claim
            await self._binder.tell(pod, claim, [] if on_node is None else on_node.mappings)

    async def _prepared(self, mine: _State, pod: PodInfo, node_name: str) -> None:
        """Wait until the devices of all claims are prepared.  Raises `ClaimError`."""
        assert self._handle is not None
        process = self._handle.process
        note = f"waiting for binding conditions for device on node {node_name}"
        self._handle.recorder.eventf(
            pod.pod, None, "Normal", "BindingConditionsPending", "Scheduling", note
        )
        end_ns = process.now_ns() + self._binding_timeout_ns
        while not self._are_ready(mine):
            if process.now_ns() + BINDING_POLL_NS > end_ns:
                raise ClaimError(f"{_TIMED_OUT}: context deadline exceeded")
            await process.kernel.sleep(BINDING_POLL_NS)

    def _are_ready(self, mine: _State) -> bool:
        """Whether all claims are, as the informer shows them.  Raises `ClaimError`."""
        for at, claim in enumerate(mine.claims):
            name = meta.name(claim)
            newest = self._stores["resourceclaims"].get_by_name(meta.namespace(claim), name)
            if newest is None and meta.uid(claim) not in self._pending:
                raise ClaimError(f'resourceclaim.resource.k8s.io "{name}" not found')
            if newest is not None and meta.uid(claim) not in self._pending:
                claim = mine.claims[at] = newest
            if not binding_conditions.are_met(claim):
                if self._is_late(claim):
                    raise ClaimError(f"{_TIMED_OUT}: claim={name}")
                return False
        return True

    # -- events -------------------------------------------------------------------------------

    def events(self) -> list[ClusterEventWithHint]:
        """Claims, slices, classes and nodes come or change."""
        change = fwk.ADD | fwk.UPDATE
        node = fwk.ADD | fwk.UPDATE_NODE_LABEL | fwk.UPDATE_NODE_TAINT
        return [
            fwk.on(fwk.NODE, node | fwk.UPDATE_NODE_ALLOCATABLE),
            fwk.on(fwk.RESOURCE_CLAIM, change | fwk.DELETE, self._claim_helps),
            fwk.on(fwk.TARGET_POD, fwk.UPDATE_POD_GENERATED_RESOURCE_CLAIM, self._pod_helps),
            fwk.on(fwk.DEVICE_CLASS, change),
            fwk.on(fwk.RESOURCE_SLICE, change),
        ]

    def _pod_helps(self, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        """The pod knows its claims now, and they are there."""
        del old
        return new is None or self.pre_enqueue(pod) is None

    def _claim_helps(self, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        """Devices are free again, or a claim of the pod has changed."""
        if new is None:
            return old is not None and allocation_of(old) is not None
        try:
            mine = claims_of(pod, self._stores["resourceclaims"])
        except ClaimError:
            return False
        if old is not None and allocation_of(old) is not None and allocation_of(new) is None:
            return True
        return any(meta.uid(claim) == meta.uid(new) for claim in mine) and (
            old is None or old.get("status") != new.get("status")
        )


def _are_same(left: list[Object], right: list[Object]) -> bool:
    return len(left) == len(right) and all(map(operator.is_, left, right))
