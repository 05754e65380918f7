"""VolumeBinding: a pod goes where its claims are, or can be, satisfied.

Claims of classes that wait for the first consumer are bound on the way: a matching volume is
claimed, or the claim is told the node (`volume.kubernetes.io/selected-node`) and the provisioner
makes a volume; the pod is bound when all that is done.

Follows `pkg/scheduler/framework/plugins/volumebinding/volume_binding.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.node_selection import NOTHING
from pytest_kubesim.scheduler.pod_info import PodInfo, claim_name
from pytest_kubesim.scheduler.resource_scores import utilization_score
from pytest_kubesim.scheduler.volume_binder import (
    BIND_TIMEOUT_NS,
    BinderError,
    PodVolumeClaims,
    PodVolumes,
    VolumeBinder,
)
from pytest_kubesim.scheduler.volumes import requested_storage, volume_class, volume_limit
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import ClusterEventWithHint, CycleState, Handle, Status
    from pytest_kubesim.scheduler.node_info import NodeInfo

UNBOUND_IMMEDIATE = "pod has unbound immediate PersistentVolumeClaims"
DEFAULT_SHAPE: tuple[Object, ...] = (
    {"utilization": 0, "score": 10},
    {"utilization": 100, "score": 0},
)
_STATE = "VolumeBinding"


@attrs.define(slots=True)
class _State:
    claims: PodVolumeClaims
    by_node: dict[str, PodVolumes] = attrs.field(factory=dict[str, PodVolumes])
    all_bound: bool = True


class VolumeBinding:
    """The plugin.

    Parameters: `bind_timeout_ns`, how long bindings are waited for; `shape` of the score by how
    full volumes or storage would be.
    """

    name = "VolumeBinding"

    def __init__(
        self, *, bind_timeout_ns: int = BIND_TIMEOUT_NS, shape: Sequence[Object] = DEFAULT_SHAPE
    ) -> None:
        self._bind_timeout_ns = bind_timeout_ns
        self._utilization = utilization_score(shape)
        self._handle: Handle | None = None
        self._binder: VolumeBinder | None = None

    def attach(self, handle: Handle) -> None:
        """Learn where the claims and volumes are."""
        self._handle = handle
        self._binder = VolumeBinder(handle, self._bind_timeout_ns)

    @property
    def binder(self) -> VolumeBinder:
        """What finds and binds the volumes."""
        assert self._binder is not None
        return self._binder

    def pre_filter(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> tuple[set[str] | None, Status | None]:
        """Skip a pod without claims; refuse one whose claims are not there or not ready."""
        problem = self._problem(pod)
        if problem is not None:
            return None, fwk.unresolvable(problem)
        if not pod.claims:
            return None, fwk.SKIPPED
        try:
            claims = self.binder.claims_of(pod)
        except BinderError as failure:
            return None, fwk.error(str(failure))
        if claims.immediate:
            return None, fwk.unresolvable(UNBOUND_IMMEDIATE)
        state.data[_STATE] = _State(claims)
        return None, None

    def _problem(self, pod: PodInfo) -> str | None:
        if not pod.claims:
            return None
        for volume in pod.spec.get("volumes") or ():
            name = claim_name(pod.pod, volume)
            if not name:
                continue
            ephemeral = not volume.get("persistentVolumeClaim")
            claim = self.binder.claims.api(f"{pod.namespace}/{name}")
            if claim is None:
                if ephemeral:
                    return (
                        "waiting for ephemeral volume controller to create the "
                        f'persistentvolumeclaim "{name}"'
                    )
                return f'persistentvolumeclaim "{name}" not found'
            if (claim.get("status") or NOTHING).get("phase") == "Lost":
                lost = claim["spec"].get("volumeName", "")
                return (
                    f'persistentvolumeclaim "{name}" bound to non-existent '
                    f'persistentvolume "{lost}"'
                )
            if claim["metadata"].get("deletionTimestamp"):
                return f'persistentvolumeclaim "{name}" is being deleted'
            if ephemeral and not _owned_by(claim, pod):
                return (
                    f"PVC {pod.namespace}/{name} was not created for pod "
                    f"{pod.namespace}/{pod.name} (pod is not owner)"
                )
        return None

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject a node where a claim cannot be satisfied."""
        remembered: _State = state.data[_STATE]
        try:
            volumes, reasons = self.binder.find(remembered.claims, node)
        except BinderError as failure:
            return fwk.error(str(failure))
        if reasons:
            return fwk.unresolvable(*reasons)
        remembered.by_node[node.name] = volumes
        return None

    def pre_score(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> Status | None:
        """Skip where no volume was chosen and no capacity looked up."""
        remembered: _State | None = state.data.get(_STATE)
        if remembered is None or not any(
            volumes.static or any(volumes.capacities) for volumes in remembered.by_node.values()
        ):
            return fwk.SKIPPED
        return None

    def score(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> int:
        """How full the chosen volumes, or else how empty the storage, would be."""
        remembered: _State = state.data[_STATE]
        volumes = remembered.by_node.get(node.name)
        if volumes is None:
            return 0
        by_class: dict[str, tuple[int, int]] = {}
        if volumes.static:
            for volume, claim in volumes.static:
                requested, capacity = by_class.get(volume_class(volume), (0, 0))
                size = quantity.value((volume["spec"].get("capacity") or NOTHING).get("storage", 0))
                by_class[volume_class(volume)] = (
                    requested + requested_storage(claim),
                    capacity + size,
                )
        else:
            for claim, found in zip(volumes.dynamic, volumes.capacities, strict=True):
                if found is not None:
                    class_name = found["storageClassName"]
                    requested, _ = by_class.get(class_name, (0, 0))
                    size = quantity.value(found.get("capacity") or 0)
                    by_class[class_name] = (requested + requested_storage(claim), size)
        if not by_class:
            return 0
        total = sum(self._utilization(*amounts) for amounts in by_class.values())
        return int(total / len(by_class) + 0.5)

    def reserve(self, state: CycleState, pod: PodInfo, node_name: str) -> Status | None:
        """Assume the volumes that were found on the node."""
        remembered: _State | None = state.data.get(_STATE)
        if remembered is not None and node_name in remembered.by_node:
            volumes = remembered.by_node[node_name]
            remembered.all_bound = self.binder.assume(pod, node_name, volumes)
        return None

    def unreserve(self, state: CycleState, pod: PodInfo, node_name: str) -> None:
        """Take the assumption back."""
        remembered: _State | None = state.data.get(_STATE)
        if remembered is not None and node_name in remembered.by_node:
            self.binder.revert(remembered.by_node[node_name])

    def pre_bind_pre_flight(
        self, state: CycleState, pod: PodInfo, node_name: str
    ) -> Status | None:
        """Skip where everything is bound."""
        remembered: _State | None = state.data.get(_STATE)
        return fwk.SKIPPED if remembered is None or remembered.all_bound else None

    async def pre_bind(self, state: CycleState, pod: PodInfo, node_name: str) -> Status | None:
        """Write the bindings and wait until they are true."""
        assert self._handle is not None
        remembered: _State = state.data[_STATE]
        node = self._handle.cache.get(node_name)
        try:
            await self.binder.bind(pod, node, remembered.by_node[node_name])
        except (APIStatus, ConnectionLost, BinderError) as failure:
            return fwk.error(str(failure))
        return None

    # -- events -------------------------------------------------------------------------------

    def events(self) -> list[ClusterEventWithHint]:
        """Claims, volumes, classes, drivers, capacities and nodes come or change."""
        change = fwk.ADD | fwk.UPDATE
        return [
            fwk.on(fwk.STORAGE_CLASS, change, self._class_helps),
            fwk.on(fwk.PERSISTENT_VOLUME_CLAIM, change, self._claim_helps),
            fwk.on(fwk.PERSISTENT_VOLUME, change),
            fwk.on(fwk.NODE, fwk.ADD | fwk.UPDATE_NODE_LABEL),
            fwk.on(fwk.CSI_NODE, change, self._csi_node_helps),
            fwk.on(fwk.CSI_DRIVER, fwk.UPDATE, self._driver_helps),
            fwk.on(fwk.CSI_STORAGE_CAPACITY, change, self._capacity_helps),
        ]

    @staticmethod
    def _class_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del pod
        if old is None or new is None:
            return True
        return old.get("allowedTopologies") != new.get("allowedTopologies")

    @staticmethod
    def _claim_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del old
        if new is None:
            return True
        metadata = new["metadata"]
        return f"{metadata.get('namespace')}/{metadata['name']}" in pod.claims

    @staticmethod
    def _csi_node_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del pod
        if old is None or new is None:
            return True
        key = "storage.alpha.kubernetes.io/migrated-plugins"
        before: dict[str, Any] = old["metadata"].get("annotations") or NOTHING
        after: dict[str, Any] = new["metadata"].get("annotations") or NOTHING
        return before.get(key) != after.get(key)

    @staticmethod
    def _driver_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        if old is None or new is None:
            return True
        disabled = bool((old.get("spec") or NOTHING).get("storageCapacity")) and not (
            (new.get("spec") or NOTHING).get("storageCapacity")
        )
        name = new["metadata"]["name"]
        return disabled and any(
            (volume.get("csi") or NOTHING).get("driver") == name
            for volume in pod.spec.get("volumes") or ()
        )

    @staticmethod
    def _capacity_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del pod
        if old is None or new is None:
            return True
        before, after = volume_limit(old), volume_limit(new)
        return after is not None and (before is None or after > before)


def _owned_by(claim: Object, pod: PodInfo) -> bool:
    return any(
        owner.get("controller") and owner.get("uid") == pod.uid
        for owner in claim["metadata"].get("ownerReferences") or ()
    )
