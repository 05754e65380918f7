"""VolumeRestrictions: disks that cannot be shared, and claims for a single pod.

Follows `pkg/scheduler/framework/plugins/volumerestrictions/volume_restrictions.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pytest_kubesim.client_go.resources import PERSISTENTVOLUMECLAIMS
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.pod_info import PodInfo

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import ClusterEventWithHint, CycleState, Handle, Status
    from pytest_kubesim.scheduler.node_info import NodeInfo

REASON_DISK = "node(s) had no available disk"
REASON_ONCE = (
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already "
    "in-use by another pod"
)
_REJECTED_DISK = fwk.unschedulable(REASON_DISK)
_REJECTED_ONCE = fwk.unschedulable(REASON_ONCE)
_STATE = "VolumeRestrictions"
_EXCLUSIVE = ("gcePersistentDisk", "awsElasticBlockStore", "rbd", "iscsi")


class _State:
    __slots__ = ("claims", "conflicts")

    def __init__(self, claims: frozenset[str], conflicts: int) -> None:
        self.claims = claims
        self.conflicts = conflicts

    def clone(self) -> _State:
        return _State(self.claims, self.conflicts)


class VolumeRestrictions:
    """The plugin."""

    name = "VolumeRestrictions"

    def __init__(self) -> None:
        self._handle: Handle | None = None

    def attach(self, handle: Handle) -> None:
        """Learn where the claims are."""
        self._handle = handle
        self._claims = handle.informers.informer(PERSISTENTVOLUMECLAIMS).store

    def pre_filter(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> tuple[set[str] | None, Status | None]:
        """Skip a pod whose volumes can all be shared."""
        volumes: list[Object] = pod.spec.get("volumes") or []
        if not volumes:
            return None, fwk.SKIPPED
        once: list[str] = []
        for name in _claim_names(pod.spec):
            key = f"{pod.namespace}/{name}"
            claim = self._claims.get(key)
            if claim is None:
                return None, fwk.unresolvable(f'persistentvolumeclaim "{name}" not found')
            if "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ()):
                once.append(key)
        assert self._handle is not None
        users = self._handle.cache.claim_users
        conflicts = sum(key in users for key in set(once))
        if not conflicts and not any(key in volume for volume in volumes for key in _EXCLUSIVE):
            return None, fwk.SKIPPED
        state.data[_STATE] = _State(frozenset(once), conflicts)
        return None, None

    def add_pod(
        self, state: CycleState, pod: PodInfo, other: PodInfo, node: NodeInfo
    ) -> Status | None:
        """As if `other` were there."""
        self._shift(state, other, 1)
        return None

    def remove_pod(
        self, state: CycleState, pod: PodInfo, other: PodInfo, node: NodeInfo
    ) -> Status | None:
        """As if `other` were gone."""
        self._shift(state, other, -1)
        return None

    @staticmethod
    def _shift(state: CycleState, other: PodInfo, delta: int) -> None:
        remembered: _State | None = state.data.get(_STATE)
        if remembered is not None:
            remembered.conflicts += delta * sum(key in remembered.claims for key in other.claims)

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject a node whose pods have the disk, or everything while a claim is in use."""
        if _disk_conflict(pod, node.pods.values()):
            return _REJECTED_DISK
        remembered: _State = state.data[_STATE]
        return _REJECTED_ONCE if remembered.conflicts > 0 else None

    def events(self) -> list[ClusterEventWithHint]:
        """A pod with such a volume goes; a node or the claim comes."""
        return [
            fwk.on(fwk.ASSIGNED_POD, fwk.DELETE, self._pod_helps),
            fwk.on(fwk.NODE, fwk.ADD),
            fwk.on(fwk.PERSISTENT_VOLUME_CLAIM, fwk.ADD, self._claim_helps),
        ]

    @staticmethod
    def _pod_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del new
        if old is None or (old["metadata"].get("namespace") or "default") != pod.namespace:
            return False
        if _disk_conflict(pod, [PodInfo(old)]):
            return True
        return bool(set(_claim_names(pod.spec)) & set(_claim_names(old["spec"])))

    @staticmethod
    def _claim_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del old
        return (
            new is not None
            and new["metadata"].get("namespace") == pod.namespace
            and new["metadata"]["name"] in _claim_names(pod.spec)
        )


def _claim_names(spec: Object) -> list[str]:
    return [
        volume["persistentVolumeClaim"].get("claimName", "")
        for volume in spec.get("volumes") or ()
        if volume.get("persistentVolumeClaim")
    ]


def _disk_conflict(pod: PodInfo, others: Iterable[PodInfo]) -> bool:
    wanted = [
        volume
        for volume in pod.spec.get("volumes") or ()
        if any(key in volume for key in _EXCLUSIVE)
    ]
    if not wanted:
        return False
    return any(
        _same_disk(volume, taken)
        for other in others
        for taken in other.spec.get("volumes") or ()
        for volume in wanted
    )


def _same_disk(left: Object, right: Object) -> bool:
    for kind in _EXCLUSIVE:
        a, b = left.get(kind), right.get(kind)
        if not a or not b:
            continue
        read_only = bool(a.get("readOnly")) and bool(b.get("readOnly"))
        if kind == "awsElasticBlockStore":
            if a.get("volumeID") == b.get("volumeID"):
                return True
        elif kind == "gcePersistentDisk":
            if a.get("pdName") == b.get("pdName") and not read_only:
                return True
        elif kind == "iscsi":
            if a.get("iqn") == b.get("iqn") and not read_only:
                return True
        elif (
            set(a.get("monitors") or ()) & set(b.get("monitors") or ())
            and (a.get("pool") or "rbd") == (b.get("pool") or "rbd")
            and a.get("image") == b.get("image")
            and not read_only
        ):
            return True
    return False
