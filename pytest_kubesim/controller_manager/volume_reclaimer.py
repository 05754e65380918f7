"""Volumes that are let go: kept, emptied or deleted as their policy says.

The law: only what stands for a directory under `/tmp` of a host is deleted here; what a CSI driver
has made its own sidecar deletes; for everything else there is nobody, and the volume fails.

Follows `reclaimVolume` and what it calls in
`pkg/controller/volume/persistentvolume/pv_controller.go`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.client_go.resources import PERSISTENTVOLUMES
from pytest_kubesim.client_go.store import Store, key_of
from pytest_kubesim.controller_manager import fields, pod_claims
from pytest_kubesim.controller_manager import volume_binding as binding
from pytest_kubesim.controller_manager.controller import RETRIABLE, SyncError
from pytest_kubesim.controller_manager.volume_recycler import TIMEOUTS, recycle

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.controller_manager.volume_cache import VolumeCache
    from pytest_kubesim.controller_manager.volume_operations import Operations
    from pytest_kubesim.sim.journal import Journal

NAME = "persistentvolume-binder-controller"

VOLUME_FAILED_DELETE = "VolumeFailedDelete"
NO_DELETER = "no deletable volume plugin matched"
NO_PLUGIN = "no volume plugin matched"
NO_RECYCLER = "No recycler plugin found for the volume!"
HOST_PATH = "kubernetes.io/host-path"
_DELETABLE = re.compile("/tmp/.+")  # noqa: S108 - upstream's rule for host paths


class VolumeReclaimer:
    """Reclaims volumes.

    Parameters: `cache` of claims and volumes; `operations` that go on beside the loops; `pods`
    with the index of their claims; `journal` for what fails and is tried again.
    """

    def __init__(
        self, cache: VolumeCache, operations: Operations, pods: Store, journal: Journal
    ) -> None:
        self._cache = cache
        self._operations = operations
        self._pods = pods
        self._journal = journal

    async def release(self, volume: Object) -> None:
        """Do with a volume that its claim has left as its policy says."""
        if fields.status(volume).get("phase") not in {"Released", "Failed"}:
            volume = await self._cache.volume_phase(volume, "Released")
        if meta.annotations(volume).get(binding.MIGRATED_TO):
            return
        policy = fields.spec(volume).get("persistentVolumeReclaimPolicy")
        name = f"{meta.name(volume)}[{meta.uid(volume)}]"
        if policy == "Delete":
            self._operations.run(f"delete-{name}", lambda: self._delete(volume))
        elif policy == "Recycle":
            self._operations.run(f"recycle-{name}", lambda: self._recycle(volume))
        elif policy != "Retain":
            await self._cache.fail(
                volume, "VolumeUnknownReclaimPolicy",
                "Volume has unrecognized PersistentVolumeReclaimPolicy",
            )

    async def _delete(self, volume: Object) -> None:
        """Delete what only host paths let this controller delete; others have a driver."""
        problem = _deleter_problem(volume)
        if problem:
            await self._cache.fail(volume, VOLUME_FAILED_DELETE, problem)
            return
        if not _has_deleter(volume) or await self._released(volume) is None:
            return
        path = fields.text(fields.mapping(fields.spec(volume), "hostPath"), "path")
        if not _DELETABLE.search(path):
            problem = f"host_path deleter only supports /tmp/.+ but received provided {path}"
            await self._cache.fail(volume, VOLUME_FAILED_DELETE, problem)
            raise SyncError(problem)
        try:
            await self._cache.client.delete(PERSISTENTVOLUMES, "", meta.name(volume))
        except RETRIABLE as error:
            # The volume stays and will be deleted at the next resync.
            self._journal.record(
                "sync failed", NAME, key=meta.name(volume), error=str(error)
            )

    async def _recycle(self, volume: Object) -> None:
        """Empty a volume."""
        fresh = await self._released(volume)
        if fresh is None:
            return
        key = binding.claim_key(fresh["spec"]["claimRef"])
        used = sorted(
            key_of(pod)
            for pod in self._pods.by_index(pod_claims.CLAIM_INDEX, key)
            if not pod_claims.is_terminated(pod)
        )
        if used and self._cache.claims.get(key) is None:
            message = f"Volume is used by pods: {','.join(used)}"
            self._cache.record(volume, "Normal", "VolumeFailedRecycle", message)
            return
        if not (TIMEOUTS.keys() & fresh["spec"].keys()):
            await self._cache.fail(fresh, "VolumeFailedRecycle", NO_RECYCLER)
            return
        try:
            await recycle(self._cache.client, fresh, self._tell_of(fresh))
        except RETRIABLE as error:
            await self._cache.fail(fresh, "VolumeFailedRecycle", f"Recycle failed: {error}")
            return
        self._cache.record(fresh, "Normal", "VolumeRecycled", "Volume recycled")
        await self._cache.unbind(fresh)

    def _tell_of(self, volume: Object) -> Callable[[str, str], None]:
        """What says of a volume what was said of its pod."""

        def tell(type_: str, message: str) -> None:
            self._cache.record(volume, type_, "RecyclerPod", f"Recycler pod: {message}")

        return tell

    async def _released(self, volume: Object) -> Object | None:
        """The volume as it is now, if no claim has it (`isVolumeReleased`)."""
        try:
            fresh = await self._cache.client.get(PERSISTENTVOLUMES, "", meta.name(volume))
        except RETRIABLE:
            return None
        reference = binding.claim_ref(fresh)
        if reference is None or not reference.get("uid"):
            return None
        claim = self._cache.claims.get(binding.claim_key(reference))
        if claim is not None and meta.uid(claim) == reference["uid"]:
            name = fields.text(fields.spec(claim), "volumeName")
            return fresh if name and name != meta.name(fresh) else None
        return fresh


def _has_deleter(volume: Object) -> bool:
    """Whether this controller deletes what a volume stands for (`findDeletablePlugin`)."""
    provisioner = meta.annotations(volume).get(binding.DYNAMICALLY_PROVISIONED)
    if provisioner:
        return provisioner == HOST_PATH
    return "hostPath" in fields.spec(volume)


def _deleter_problem(volume: Object) -> str:
    """Why nobody can delete what a volume stands for; empty if somebody can."""
    provisioner = meta.annotations(volume).get(binding.DYNAMICALLY_PROVISIONED)
    if provisioner:
        if provisioner.startswith("kubernetes.io/") and provisioner != HOST_PATH:
            return f"no volume plugin matched name: {provisioner}"
        return ""
    spec = fields.spec(volume)
    if binding.has_annotation(volume, binding.MIGRATED_TO) or "csi" in spec or "hostPath" in spec:
        return ""
    problem = NO_DELETER if "nfs" in spec else NO_PLUGIN
    return f"error getting deleter volume plugin for volume {quote(meta.name(volume))}: {problem}"
