"""The persistent volume binder: claims get volumes, volumes that are let go are reclaimed.

The law: two loops, one over claims and one over volumes, each bringing its object one step nearer
to where it should be; every write can fail, and the next sync goes on from what is there.  What the
controller has written it sees at once, whatever its informers show.  What waits is looked at every
15 seconds: a volume that becomes available is no reason to look at claims before.

Follows `pkg/controller/volume/persistentvolume/{pv_controller,pv_controller_base,index}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta, quantity, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.client_go.resources import (
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    STORAGECLASSES,
)
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.client_go.workqueue import RateLimitingQueue
from pytest_kubesim.controller_manager import fields, pod_claims
from pytest_kubesim.controller_manager import volume_binding as binding
from pytest_kubesim.controller_manager.claim_provisioning import ClaimProvisioning
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller, SyncError
from pytest_kubesim.controller_manager.volume_cache import VolumeCache, store
from pytest_kubesim.controller_manager.volume_operations import Operations
from pytest_kubesim.controller_manager.volume_reclaimer import VolumeReclaimer
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.sim.kernel import Timer

RESYNC_NS = 15 * NS

FAILED_BINDING = "FailedBinding"
VOLUME_MISMATCH = "VolumeMismatch"
WAIT_FOR_FIRST_CONSUMER = "WaitForFirstConsumer"
WAIT_FOR_POD_SCHEDULED = "WaitForPodScheduled"


class PersistentVolumeBinderController(Controller):
    """Binds claims and volumes."""

    name = "persistentvolume-binder-controller"
    service_account = "persistent-volume-binder"
    component = "persistentvolume-controller"
    workers: ClassVar[int] = 1

    def setup(self) -> None:
        """Listen to claims and volumes; read classes, pods and nodes."""
        self.cache = VolumeCache(self.client, self.event)
        self.volume_queue: RateLimitingQueue[str] = RateLimitingQueue(self.process, "volumes")
        self.waiting_claims: dict[str, None] = {}
        self.waiting_volumes: dict[str, None] = {}
        self._start_ns = self.kernel.now_ns
        self._resync: Timer | None = None

        self.classes = self.watch(STORAGECLASSES, add=self._hope, update=self._hope_again)
        self.shown_volumes = self.watch(
            PERSISTENTVOLUMES, add=self._volume, update=self._volume_updated, delete=self._volume
        )
        self.shown_claims = self.watch(
            PERSISTENTVOLUMECLAIMS, add=self.enqueue, update=self.enqueue_new, delete=self.enqueue
        )
        self.pods = self.informer(PODS).store
        pod_claims.add_claim_index(self.pods)
        self.informer(NODES)
        operations = Operations(self.process, self.name)
        self.reclaimer = VolumeReclaimer(self.cache, operations, self.pods, self.kernel.journal)
        self.provisioning = ClaimProvisioning(self.cache, operations, self.classes)

    def _volume(self, volume: Object) -> None:
        self.volume_queue.add(key_of(volume))

    def _volume_updated(self, _old: Object, volume: Object) -> None:
        self.volume_queue.add(key_of(volume))

    # -- the loops ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Work on volumes; claims are what `reconcile` works on."""
        self._start_ns = self.kernel.now_ns
        for volume in self.shown_volumes.list():
            store(self.cache.volumes, volume)
        for claim in self.shown_claims.list():
            store(self.cache.claims, claim)
        queue = self.volume_queue
        while True:
            key = await queue.get()
            try:
                await self._sync_volume_key(key)
            except RETRIABLE as error:
                self.kernel.journal.record("sync failed", self.name, key=key, error=str(error))
                queue.add_rate_limited(key)
            else:
                queue.forget(key)
            queue.done(key)

    async def reconcile(self, key: str) -> None:
        """Sync one claim."""
        claim = self.shown_claims.get(key)
        if claim is None:
            self.waiting_claims.pop(key, None)
            gone = self.cache.claims.remove(key)
            name = "" if gone is None else fields.text(fields.spec(gone), "volumeName")
            if name:
                self.volume_queue.add(name)
            return
        if not store(self.cache.claims, claim):
            return
        claim = await self._migrate_claim(claim)
        if binding.has_annotation(claim, binding.BIND_COMPLETED):
            await self._sync_bound_claim(claim)
        else:
            await self._sync_unbound_claim(claim)
        known = self.cache.claims.get(key)
        if known is not None and fields.status(known).get("phase") != "Bound":
            self.waiting_claims[key] = None
            self._arm(expected=False)
        else:
            self.waiting_claims.pop(key, None)

    async def _sync_volume_key(self, key: str) -> None:
        volume = self.shown_volumes.get(key)
        if volume is None:
            self.waiting_volumes.pop(key, None)
            gone = self.cache.volumes.remove(key)
            reference = None if gone is None else binding.claim_ref(gone)
            if reference is not None:
                self.queue.add(binding.claim_key(reference))
            return
        if store(self.cache.volumes, volume):
            await self._sync_volume(volume)
            known = self.cache.volumes.get(key)
            phase = None if known is None else fields.status(known).get("phase")
            if phase in {"Released", "Failed"} and self._reclaims(volume):
                self.waiting_volumes[key] = None
                self._arm(expected=False)
            else:
                self.waiting_volumes.pop(key, None)
                if phase == "Available":
                    self._hope(volume)

    @staticmethod
    def _reclaims(volume: Object) -> bool:
        return fields.spec(volume).get("persistentVolumeReclaimPolicy") != "Retain"

    # -- what waits ---------------------------------------------------------------------------

    def _hope(self, _obj: Object) -> None:
        """Something came that claims which wait may have waited for."""
        if self.waiting_claims:
            self._arm(expected=True)

    def _hope_again(self, _old: Object, obj: Object) -> None:
        self._hope(obj)

    def _arm(self, *, expected: bool) -> None:
        """Look at what waits at the next fifteenth second."""
        timer = self._resync
        if timer is not None:
            if timer.periodic == (not expected) or not timer.periodic:
                return
            timer.cancel()
        elapsed_ns = self.kernel.now_ns - self._start_ns
        self._resync = self.process.call_later(
            RESYNC_NS - elapsed_ns % RESYNC_NS, self._look_again, periodic=not expected,
            label=f"{self.name}: resync",
        )

    def _look_again(self) -> None:
        self._resync = None
        for key in self.waiting_claims:
            self.queue.add(key)
        for key in self.waiting_volumes:
            self.volume_queue.add(key)

    def _storage_class(self, claim: Object) -> Object | None:
        name = binding.class_of(claim)
        return self.classes.get(name) if name else None

    async def _migrate_claim(self, claim: Object) -> Object:
        new = binding.migrated(
            claim, binding.STORAGE_PROVISIONER, binding.BETA_STORAGE_PROVISIONER
        )
        return claim if new is claim else await self.cache.write_claim(new)

    # -- claims -------------------------------------------------------------------------------

    async def _sync_unbound_claim(self, claim: Object) -> None:
        name = fields.text(fields.spec(claim), "volumeName")
        if name:
            await self._sync_claim_for(claim, name)
            return
        storage_class = self._storage_class(claim)
        delay = binding.is_delay_binding(storage_class)
        candidates = self.cache.candidates(claim)
        try:
            volume = binding.best_match(claim, candidates, delay_binding=delay)
        except ValueError as problem:
            key = key_of(claim)
            raise SyncError(
                f"error finding PV for claim {quote(key)}: error creating internal label selector "
                f"for claim: {key}: {problem}"
            ) from None
        if volume is not None:
            await self._bind(volume, claim)
            return
        if await self._assign_default_class(claim):
            return
        if delay and not binding.has_annotation(claim, binding.SELECTED_NODE):
            self._tell_of_delay(claim)
        elif binding.class_of(claim):
            self.provisioning.provision(claim)
            return
        else:
            self.event(
                claim, "Normal", FAILED_BINDING,
                "no persistent volumes available for this claim and no storage class is set",
            )
        await self._claim_status(claim, "Pending", None)

    async def _sync_claim_for(self, claim: Object, name: str) -> None:
        """A claim that names its volume."""
        volume = self.cache.volumes.get(name)
        if volume is None:
            await self._claim_status(claim, "Pending", None)
        elif binding.claim_ref(volume) is None:
            problem = binding.why_not(volume, claim)
            if problem:
                message = f"Cannot bind to requested volume {quote(name)}: {problem}"
                self.event(claim, "Warning", VOLUME_MISMATCH, message)
                await self._claim_status(claim, "Pending", None)
            else:
                await self._bind(volume, claim)
        elif binding.is_bound_to(volume, claim):
            await self._bind(volume, claim)
        else:
            message = f"volume {quote(name)} already bound to a different claim."
            self.event(claim, "Warning", FAILED_BINDING, message)
            if binding.has_annotation(claim, binding.BOUND_BY_CONTROLLER):
                reference = binding.claim_ref(volume)
                assert reference is not None
                raise SyncError(
                    f"invalid binding of claim {quote(key_of(claim))} to volume {quote(name)}: "
                    f"volume already claimed by {quote(binding.claim_key(reference))}"
                )
            await self._claim_status(claim, "Pending", None)

    async def _sync_bound_claim(self, claim: Object) -> None:
        name = fields.text(fields.spec(claim), "volumeName")
        volume = self.cache.volumes.get(name) if name else None
        if volume is None:
            lost = "its PersistentVolume" if name else "reference to PersistentVolume"
            await self._lose(
                claim, "ClaimLost",
                f"Bound claim has lost {lost}. Data on the volume is lost!",
            )
            return
        reference = binding.claim_ref(volume)
        if reference is None or reference.get("uid") == meta.uid(claim):
            await self._bind(volume, claim)
        else:
            await self._lose(
                claim, "ClaimMisbound",
                "Two claims are bound to the same volume, this one is bound incorrectly",
            )

    async def _lose(self, claim: Object, reason: str, message: str) -> None:
        if fields.status(claim).get("phase") != "Lost":
            new = await self._claim_status(claim, "Lost", None)
            self.event(new, "Warning", reason, message)

    async def _assign_default_class(self, claim: Object) -> bool:
        if binding.has_class(claim):
            return False
        found = binding.default_class(self.classes.list())
        if found is None:
            return False
        new = meta.set_path(claim, ("spec", "storageClassName"), meta.name(found))
        await self.client.update(PERSISTENTVOLUMECLAIMS, meta.namespace(claim), new)
        return True

    def _tell_of_delay(self, claim: Object) -> None:
        waiting = [
            meta.name(pod)
            for pod in self.pods.by_index(pod_claims.CLAIM_INDEX, key_of(claim))
            if not pod_claims.is_terminated(pod) and not fields.spec(pod).get("nodeName")
        ]
        if not waiting:
            reason = WAIT_FOR_FIRST_CONSUMER
            message = "waiting for first consumer to be created before binding"
        else:
            reason = WAIT_FOR_POD_SCHEDULED
            many = "s" if len(waiting) > 1 else ""
            message = f"waiting for pod{many} {','.join(waiting)} to be scheduled"
        self.event(claim, "Normal", reason, message)

    async def _claim_status(self, claim: Object, phase: str, volume: Object | None) -> Object:
        """`updateClaimStatus`: the claim as it is then."""
        before = fields.status(claim)
        changes: Object = {}
        if before.get("phase") != phase:
            changes["phase"] = phase
        if volume is None:
            for name in ("accessModes", "capacity", "currentVolumeAttributesClassName"):
                if before.get(name) is not None:
                    changes[name] = None
        else:
            modes = binding.access_modes(volume)
            if before.get("accessModes") != modes:
                changes["accessModes"] = modes
            if "phase" in changes:
                changes.update(self._capacity(claim, volume))
            attributes = fields.spec(volume).get("volumeAttributesClassName")
            if (
                (before.get("phase"), phase) == ("Pending", "Bound")
                and before.get("currentVolumeAttributesClassName") != attributes
            ):
                changes["currentVolumeAttributesClassName"] = attributes
        if not changes:
            return claim
        return await self.cache.write_claim(meta.with_status(claim, **changes), "status")

    @staticmethod
    def _capacity(claim: Object, volume: Object) -> Object:
        offered = fields.mapping(fields.spec(volume), "capacity")
        if "storage" not in offered:
            raise SyncError(
                f"PersistentVolume {quote(meta.name(volume))} is without a storage capacity"
            )
        known = fields.mapping(fields.status(claim), "capacity")
        previous = meta.annotations(volume).get(binding.PRE_RESIZE_CAPACITY)
        if previous is not None:
            return {"capacity": {**known, "storage": previous}}
        if "storage" not in known or quantity.cmp(offered["storage"], known["storage"]):
            return {"capacity": offered}
        return {}

    # -- binding ------------------------------------------------------------------------------

    async def _bind(self, volume: Object, claim: Object) -> None:
        new_volume = binding.bound_volume(volume, claim)
        if new_volume is not volume:
            volume = await self.cache.write_volume(new_volume)
        volume = await self.cache.volume_phase(volume, "Bound")
        new_claim = binding.bound_claim(claim, volume)
        if new_claim is not claim:
            claim = await self.cache.write_claim(new_claim)
        await self._claim_status(claim, "Bound", volume)

    # -- volumes ------------------------------------------------------------------------------

    async def _sync_volume(self, volume: Object) -> None:
        new = binding.migrated(volume, binding.DYNAMICALLY_PROVISIONED)
        if new is not volume:
            volume = await self.cache.write_volume(new)
        reference = binding.claim_ref(volume)
        if reference is None or not reference.get("uid"):
            await self.cache.volume_phase(volume, "Available")
            return
        claim = await self._claim_of(volume, reference)
        if claim is None:
            await self.reclaimer.release(volume)
            return
        name = fields.text(fields.spec(claim), "volumeName")
        if not name:
            if binding.volume_mode(claim) != binding.volume_mode(volume):
                self._tell_of_mode(volume, claim)
            else:
                self.queue.add(key_of(claim))
        elif name == meta.name(volume):
            await self.cache.volume_phase(volume, "Bound")
        elif (
            binding.has_annotation(volume, binding.DYNAMICALLY_PROVISIONED)
            and fields.spec(volume).get("persistentVolumeReclaimPolicy") == "Delete"
        ):
            await self.reclaimer.release(volume)
        else:
            await self.cache.unbind(volume)

    async def _claim_of(self, volume: Object, reference: Object) -> Object | None:
        key = binding.claim_key(reference)
        claim = self.cache.claims.get(key)
        settled = fields.status(volume).get("phase") in {"Released", "Failed"}
        if claim is None and not settled:
            claim = self.shown_claims.get(key) or await self._live_claim(reference)
        if claim is not None and meta.uid(claim) != reference["uid"]:
            claim = await self._live_claim(reference)
            if claim is not None and meta.uid(claim) != reference["uid"]:
                return None
        return claim

    async def _live_claim(self, reference: Object) -> Object | None:
        try:
            return await self.client.get(
                PERSISTENTVOLUMECLAIMS, reference["namespace"], reference["name"]
            )
        except status.APIStatus as error:
            if status.is_not_found(error):
                return None
            raise

    def _tell_of_mode(self, volume: Object, claim: Object) -> None:
        self.event(
            volume, "Warning", VOLUME_MISMATCH,
            "Cannot bind PersistentVolume to requested PersistentVolumeClaim "
            f"{quote(meta.name(claim))} due to incompatible volumeMode.",
        )
        self.event(
            claim, "Warning", VOLUME_MISMATCH,
            f"Cannot bind PersistentVolume {quote(meta.name(volume))} to requested "
            "PersistentVolumeClaim due to incompatible volumeMode.",
        )


CONTROLLER = PersistentVolumeBinderController
