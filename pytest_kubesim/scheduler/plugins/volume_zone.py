"""VolumeZone: a pod goes to the zone of the volumes that its claims are bound to.

Follows `pkg/scheduler/framework/plugins/volumezone/volume_zone.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_kubesim.client_go.resources import (
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    STORAGECLASSES,
)
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.node_selection import NOTHING
from pytest_kubesim.scheduler.node_tree import (
    OLD_REGION_LABEL,
    OLD_ZONE_LABEL,
    REGION_LABEL,
    ZONE_LABEL,
)
from pytest_kubesim.scheduler.volumes import WAIT_FOR_FIRST_CONSUMER, claim_class

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import ClusterEventWithHint, CycleState, Handle, Status
    from pytest_kubesim.scheduler.node_info import NodeInfo
    from pytest_kubesim.scheduler.pod_info import PodInfo

REASON = "node(s) had no available volume zone"
_REJECTED = fwk.unresolvable(REASON)
_STATE = "VolumeZone"
TOPOLOGY_LABELS = (OLD_ZONE_LABEL, OLD_REGION_LABEL, ZONE_LABEL, REGION_LABEL)
_GA_LABEL = {OLD_ZONE_LABEL: ZONE_LABEL, OLD_REGION_LABEL: REGION_LABEL}

Topology = tuple[str, frozenset[str]]


class VolumeZone:
    """The plugin."""

    name = "VolumeZone"

    def attach(self, handle: Handle) -> None:
        """Learn where the claims and volumes are."""
        informers = handle.informers
        self._claims = informers.informer(PERSISTENTVOLUMECLAIMS).store
        self._volumes = informers.informer(PERSISTENTVOLUMES).store
        self._classes = informers.informer(STORAGECLASSES).store

    def pre_filter(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> tuple[set[str] | None, Status | None]:
        """Collect the zones of the pod's volumes; skip where there are none."""
        topologies: list[Topology] = []
        for volume in pod.spec.get("volumes") or ():
            source = volume.get("persistentVolumeClaim")
            if not source:
                continue
            problem = self._collect(pod.namespace, source.get("claimName", ""), topologies)
            if problem is not None:
                return None, fwk.unresolvable(problem)
        if not topologies:
            return None, fwk.SKIPPED
        state.data[_STATE] = topologies
        return None, None

    def _collect(self, namespace: str, name: str, into: list[Topology]) -> str | None:
        if not name:
            return "PersistentVolumeClaim had no name"
        claim = self._claims.get(f"{namespace}/{name}")
        if claim is None:
            return f'persistentvolumeclaim "{name}" not found'
        volume_name = claim["spec"].get("volumeName")
        if not volume_name:
            return self._unbound(claim)
        volume = self._volumes.get(volume_name)
        if volume is None:
            return f'persistentvolume "{volume_name}" not found'
        into.extend(topologies(volume))
        return None

    def _unbound(self, claim: Object) -> str | None:
        class_name = claim_class(claim)
        if not class_name:
            return "PersistentVolumeClaim had no pv name and storageClass name"
        storage_class = self._classes.get(class_name)
        if storage_class is None:
            return f'storageclass.storage.k8s.io "{class_name}" not found'
        mode = storage_class.get("volumeBindingMode")
        if mode is None:
            return f'VolumeBindingMode not set for StorageClass "{class_name}"'
        return None if mode == WAIT_FOR_FIRST_CONSUMER else "PersistentVolume had no name"

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject a node in another zone; one without zone will do."""
        labels = node.labels
        if not any(label in labels for label in TOPOLOGY_LABELS):
            return None
        remembered: list[Topology] = state.data[_STATE]
        for key, values in remembered:
            value = labels.get(key)
            if value is None:
                value = labels.get(_GA_LABEL.get(key, key))
            if value is None or value not in values:
                return _REJECTED
        return None

    def events(self) -> list[ClusterEventWithHint]:
        """Classes, nodes, claims and volumes come or change."""
        change = fwk.ADD | fwk.UPDATE
        return [
            fwk.on(fwk.STORAGE_CLASS, fwk.ADD, self._class_helps),
            fwk.on(fwk.NODE, fwk.ADD | fwk.UPDATE_NODE_LABEL),
            fwk.on(fwk.PERSISTENT_VOLUME_CLAIM, change, self._claim_helps),
            fwk.on(fwk.PERSISTENT_VOLUME, change, self._volume_helps),
        ]

    @staticmethod
    def _class_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del pod, old
        return new is not None and new.get("volumeBindingMode") == WAIT_FOR_FIRST_CONSUMER

    @staticmethod
    def _claim_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del old
        if new is None:
            return True
        metadata = new["metadata"]
        return f"{metadata.get('namespace')}/{metadata['name']}" in pod.claims

    @staticmethod
    def _volume_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del pod
        return old is None or new is None or topologies(old) != topologies(new)


def topologies(volume: Object) -> list[Topology]:
    """The zone and region labels of a volume; a label may name several, joined by `__`."""
    labels: dict[str, str] = volume["metadata"].get("labels") or NOTHING
    return [
        (key, frozenset(labels[key].split("__")))
        for key in TOPOLOGY_LABELS
        if labels.get(key)
    ]
