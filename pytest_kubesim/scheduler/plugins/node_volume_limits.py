"""NodeVolumeLimits: a CSI driver says how many volumes a node can have.

Follows `pkg/scheduler/framework/plugins/nodevolumelimits/csi.go`; in-tree volumes that upstream
translates to CSI are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_kubesim.client_go.resources import (
    CSIDRIVERS,
    CSINODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    STORAGECLASSES,
    VOLUMEATTACHMENTS,
)
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.node_selection import NOTHING
from pytest_kubesim.scheduler.pod_info import PodInfo, claim_name
from pytest_kubesim.scheduler.volumes import claim_class

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import ClusterEventWithHint, CycleState, Handle, Status
    from pytest_kubesim.scheduler.node_info import NodeInfo

REASON = "node(s) exceed max volume count"
_REJECTED = fwk.unschedulable(REASON)
_BY_NODE = "va.spec.nodename"


class NodeVolumeLimits:
    """The plugin."""

    name = "NodeVolumeLimits"

    def attach(self, handle: Handle) -> None:
        """Learn where the claims, volumes and CSI nodes are."""
        informers = handle.informers
        self._claims = informers.informer(PERSISTENTVOLUMECLAIMS).store
        self._volumes = informers.informer(PERSISTENTVOLUMES).store
        self._classes = informers.informer(STORAGECLASSES).store
        self._csi_nodes = informers.informer(CSINODES).store
        self._drivers = informers.informer(CSIDRIVERS).store
        self._attachments = informers.informer(VOLUMEATTACHMENTS).store
        self._attachments.add_indexer(_BY_NODE, _node_of)

    def pre_filter(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> tuple[set[str] | None, Status | None]:
        """Skip a pod without claims."""
        return None, (None if pod.claims else fwk.SKIPPED)

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject a node that would have more volumes than the driver allows."""
        wanted: dict[str, str] = {}
        problem = self._collect(pod, wanted, new=True)
        if problem is not None:
            return fwk.unresolvable(problem)
        if not wanted:
            return None
        csi_node = self._csi_nodes.get(node.name)
        drivers: list[Object] = ((csi_node or NOTHING).get("spec") or NOTHING).get("drivers") or []
        for driver in wanted.values():
            if not self._installed(driver, drivers):
                return fwk.unschedulable(f"{driver} CSI driver is not installed on the node")
        limits = {
            driver["name"]: driver["allocatable"]["count"]
            for driver in drivers
            if (driver.get("allocatable") or NOTHING).get("count") is not None
        }
        if not limits:
            return None
        attached: dict[str, str] = {}
        for other in node.pods.values():
            if other.claims:
                self._collect(other, attached, new=False)
        attached.update(self._attached_to(node.name))
        for handle in attached:
            wanted.pop(handle, None)
        have = list(attached.values())
        new = list(wanted.values())
        for driver in sorted(set(new)):
            limit = limits.get(driver)
            if limit is not None and have.count(driver) + new.count(driver) > limit:
                return _REJECTED
        return None

    def _installed(self, driver: str, on_node: Sequence[Object]) -> bool:
        found = self._drivers.get(driver)
        if found is None or not (found.get("spec") or NOTHING).get("preventPodSchedulingIfMissing"):
            return True
        return any(entry["name"] == driver for entry in on_node)

    def _collect(self, pod: PodInfo, into: dict[str, str], *, new: bool) -> str | None:
        for volume in pod.spec.get("volumes") or ():
            name = claim_name(pod.pod, volume)
            if not name:
                continue
            claim = self._claims.get(f"{pod.namespace}/{name}")
            if claim is None:
                if new:
                    return (
                        f"looking up PVC {pod.namespace}/{name}: "
                        f'persistentvolumeclaim "{name}" not found'
                    )
                continue
            driver, handle = self._driver_and_handle(claim)
            if driver and handle:
                into[f"{driver}/{handle}"] = driver
        return None

    def _driver_and_handle(self, claim: Object) -> tuple[str, str]:
        volume = self._volumes.get(claim["spec"].get("volumeName") or "")
        if volume is None:
            storage_class = self._classes.get(claim_class(claim))
            if storage_class is None:
                return "", ""
            metadata = claim["metadata"]
            provisioner: str = storage_class.get("provisioner") or ""
            return provisioner, f"unbound-{metadata['namespace']}/{metadata['name']}"
        source: Object = volume["spec"].get("csi") or NOTHING
        return source.get("driver", ""), source.get("volumeHandle", "")

    def _attached_to(self, node_name: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for attachment in self._attachments.by_index(_BY_NODE, node_name):
            spec = attachment["spec"]
            name = (spec.get("source") or NOTHING).get("persistentVolumeName")
            volume = self._volumes.get(name) if name else None
            source = volume["spec"].get("csi") if volume is not None else None
            if source and spec.get("attacher"):
                found[f"{spec['attacher']}/{source.get('volumeHandle', '')}"] = spec["attacher"]
        return found

    # -- events -------------------------------------------------------------------------------

    def events(self) -> list[ClusterEventWithHint]:
        """Limits come or grow, volumes become free, the claim comes."""
        return [
            fwk.on(fwk.CSI_NODE, fwk.ADD),
            fwk.on(fwk.CSI_NODE, fwk.UPDATE, self._csi_node_helps),
            fwk.on(fwk.ASSIGNED_POD, fwk.DELETE, self._pod_helps),
            fwk.on(fwk.PERSISTENT_VOLUME_CLAIM, fwk.ADD, self._claim_helps),
            fwk.on(fwk.VOLUME_ATTACHMENT, fwk.DELETE, self._attachment_helps),
        ]

    @staticmethod
    def _csi_node_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del pod
        before, after = _limits(old), _limits(new)
        return any(limit > before.get(driver, 0) for driver, limit in after.items())

    @staticmethod
    def _pod_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del pod, new
        return old is not None and bool(PodInfo(old).claims)

    @staticmethod
    def _claim_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del old
        if new is None:
            return True
        metadata = new["metadata"]
        return f"{metadata.get('namespace')}/{metadata['name']}" in pod.claims

    @staticmethod
    def _attachment_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del old, new
        return any(volume.get("persistentVolumeClaim") for volume in pod.spec.get("volumes") or ())


def _node_of(attachment: Object) -> tuple[str, ...]:
    return (attachment["spec"].get("nodeName", ""),)


def _limits(csi_node: Object | None) -> dict[str, int]:
    drivers: list[Object] = ((csi_node or NOTHING).get("spec") or NOTHING).get("drivers") or []
    return {d["name"]: (d.get("allocatable") or NOTHING).get("count") or 0 for d in drivers}
