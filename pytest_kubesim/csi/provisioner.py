"""The sidecar that makes volumes for claims: external-provisioner with a simulated disk driver.

The law: it answers to one provisioner's name alone (`disk.kubesim.io`).  A claim that the volume
binder has marked for it gets a volume that is bound to it beforehand, after a time that is drawn by
the claim; a volume of its own that is released and is to be deleted is deleted, after a time.
Claims for other provisioners wait for ever, as in production.

Follows `sigs.k8s.io/sig-storage-lib-external-provisioner/controller/controller.go` and
`kubernetes-csi/external-provisioner/pkg/controller/controller.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.client_go.informer import SharedInformerFactory
from pytest_kubesim.client_go.record import EventRecorder
from pytest_kubesim.client_go.resources import (
    CSIDRIVERS,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    STORAGECLASSES,
)
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.client_go.workqueue import RateLimitingQueue
from pytest_kubesim.sim.process import Process
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.sim.kernel import Kernel

DRIVER = "disk.kubesim.io"
PROCESS = "csi-provisioner"
WORKERS = 4
LATENCY_NS = (500_000_000, 2_000_000_000)
"""How long a disk takes to be made or deleted, least and most."""

FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
STORAGE_PROVISIONER = (
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
)
_NOTHING: Object = {}


class Provisioner:
    """A provisioner of disks, as a process.

    Parameters: `kernel`; `client_factory`, which gives a process its client; `latency_ns`, least
    and most time that a disk takes; `driver`, the provisioner's name in storage classes.
    """

    def __init__(
        self,
        kernel: Kernel,
        client_factory: Callable[[Process], RESTClient],
        *,
        latency_ns: tuple[int, int] = LATENCY_NS,
        driver: str = DRIVER,
        host: str = "control-plane",
    ) -> None:
        self.driver = driver
        self.latency_ns = latency_ns
        self._client_factory = client_factory
        self.process = Process(kernel, PROCESS, self._main, host=host)

    def start(self) -> None:
        """Start the process."""
        self.process.start()

    async def _main(self, process: Process) -> None:
        await _Run(self, process, self._client_factory(process)).main()


class _Run:
    """One incarnation of the process."""

    def __init__(self, provisioner: Provisioner, process: Process, client: RESTClient) -> None:
        self.driver = provisioner.driver
        self.latency_ns = provisioner.latency_ns
        self.process = process
        self.client = client
        self.recorder = EventRecorder(client, f"{self.driver}_{process.host}")
        self.claim_queue: RateLimitingQueue[str] = RateLimitingQueue(process, "claims")
        self.volume_queue: RateLimitingQueue[str] = RateLimitingQueue(process, "volumes")
        self.informers = SharedInformerFactory(client)
        informer = self.informers.informer
        self.classes = informer(STORAGECLASSES).store
        self.nodes = informer(NODES).store
        claims, volumes = informer(PERSISTENTVOLUMECLAIMS), informer(PERSISTENTVOLUMES)
        self.claims, self.volumes = claims.store, volumes.store
        claims.add_event_handler(
            add=lambda claim: self.claim_queue.add(key_of(claim)),
            update=lambda _old, claim: self.claim_queue.add(key_of(claim)),
        )
        volumes.add_event_handler(
            add=lambda volume: self.volume_queue.add(key_of(volume)),
            update=lambda _old, volume: self.volume_queue.add(key_of(volume)),
        )

    async def main(self) -> None:
        """Work for ever."""
        self.informers.start()
        await self._register()
        await self.informers.wait_for_cache_sync()
        for number in range(WORKERS):
            self.process.spawn(
                self._work(self.claim_queue, self._provision), name=f"claims {number}"
            )
            self.process.spawn(
                self._work(self.volume_queue, self._delete), name=f"volumes {number}"
            )
        await self.process.kernel.future()

    async def _register(self) -> None:
        """Say what the driver can, as its deployment does: its disks need no attaching."""
        driver = {
            "kind": "CSIDriver",
            "apiVersion": "storage.k8s.io/v1",
            "metadata": {"name": self.driver},
            "spec": {"attachRequired": False, "podInfoOnMount": False},
        }
        try:
            await self.client.create(CSIDRIVERS, "", driver)
        except (status.APIStatus, ConnectionLost):
            # It is there already, or nobody asks for it before the server is back.
            return

    async def _work(
        self, queue: RateLimitingQueue[str], sync: Callable[[str], Awaitable[None]]
    ) -> None:
        while True:
            key = await queue.get()
            try:
                await sync(key)
            except (status.APIStatus, ConnectionLost):
                queue.add_rate_limited(key)
            else:
                queue.forget(key)
            queue.done(key)

    async def _disk(self, what: str, uid: str) -> None:
        """The time that the driver takes."""
        low, high = self.latency_ns
        if high > 0:
            kernel = self.process.kernel
            await kernel.sleep(kernel.rng.between_ns(low, high, "csi", self.driver, what, uid))

    # -- claims -------------------------------------------------------------------------------

    def _should_provision(self, claim: Object) -> bool:
        annotations = meta.annotations(claim)
        wanted = next((annotations[n] for n in STORAGE_PROVISIONER if n in annotations), None)
        if wanted != self.driver or claim["spec"].get("volumeName"):
            return False
        storage_class = self._class_of(claim)
        if storage_class is None or storage_class.get("provisioner") != self.driver:
            return False
        late = storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
        return not late or bool(annotations.get(SELECTED_NODE))

    def _class_of(self, claim: Object) -> Object | None:
        name = claim["spec"].get("storageClassName")
        return self.classes.get(name) if name else None

    async def _provision(self, key: str) -> None:
        claim = self.claims.get(key)
        if claim is None or meta.deletion_timestamp(claim) or not self._should_provision(claim):
            return
        name = f"pvc-{meta.uid(claim)}"
        if self.volumes.get(name) is not None:
            return
        storage_class = self._class_of(claim)
        assert storage_class is not None
        self.recorder.event(
            claim, "Normal", "Provisioning",
            f'External provisioner is provisioning volume for claim "{key}"',
        )
        problem = _problem(claim)
        if problem:
            message = f"failed to provision volume with StorageClass {quote(_class(claim))}: "
            self.recorder.event(claim, "Warning", "ProvisioningFailed", message + problem)
            return
        await self._disk("create", meta.uid(claim))
        try:
            await self.client.create(
                PERSISTENTVOLUMES, "", self._volume(name, claim, storage_class)
            )
        except status.APIStatus as error:
            if not status.is_already_exists(error):
                raise
        self.recorder.event(
            claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}"
        )

    def _volume(self, name: str, claim: Object, storage_class: Object) -> Object:
        spec = claim["spec"]
        policy = storage_class.get("reclaimPolicy") or "Delete"
        metadata: Object = {
            "name": name,
            "annotations": {
                PROVISIONED_BY: self.driver,
                "volume.kubernetes.io/provisioner-deletion-secret-name": "",
                "volume.kubernetes.io/provisioner-deletion-secret-namespace": "",
            },
        }
        if policy == "Delete":
            metadata["finalizers"] = [FINALIZER]
        storage = ((spec.get("resources") or _NOTHING).get("requests") or _NOTHING).get("storage")
        parameters: dict[str, str] = storage_class.get("parameters") or {}
        source: Object = {
            "driver": self.driver,
            "volumeHandle": f"disk-{meta.uid(claim)}",
            "volumeAttributes": {
                **parameters,
                "storage.kubernetes.io/csiProvisionerIdentity": f"1-{self.driver}",
            },
        }
        if spec.get("volumeMode", "Filesystem") == "Filesystem":
            source["fsType"] = "ext4"
        optional: dict[str, Any] = {
            "mountOptions": storage_class.get("mountOptions"),
            "volumeAttributesClassName": spec.get("volumeAttributesClassName"),
        }
        return {
            "kind": "PersistentVolume",
            "apiVersion": "v1",
            "metadata": metadata,
            "spec": {
                "capacity": {"storage": storage},
                "accessModes": spec["accessModes"],
                "claimRef": meta.object_reference(claim),
                "persistentVolumeReclaimPolicy": policy,
                "storageClassName": meta.name(storage_class),
                "volumeMode": spec.get("volumeMode", "Filesystem"),
                "csi": source,
                **{field: value for field, value in optional.items() if value},
            },
        }

    # -- volumes ------------------------------------------------------------------------------

    def _should_delete(self, volume: Object) -> bool:
        state = volume.get("status") or _NOTHING
        return (
            meta.annotations(volume).get(PROVISIONED_BY) == self.driver
            and state.get("phase") == "Released"
            and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
            and (not meta.deletion_timestamp(volume) or FINALIZER in meta.finalizers(volume))
        )

    async def _delete(self, key: str) -> None:
        volume = self.volumes.get(key)
        if volume is None or not self._should_delete(volume):
            return
        await self._disk("delete", meta.uid(volume))
        if not meta.deletion_timestamp(volume):
            try:
                await self.client.delete(PERSISTENTVOLUMES, "", key)
            except status.APIStatus as error:
                if status.is_not_found(error):
                    return
                raise
        try:
            live = await self.client.get(PERSISTENTVOLUMES, "", key)
        except status.APIStatus as error:
            if status.is_not_found(error):
                return
            raise
        if FINALIZER in meta.finalizers(live):
            kept = [name for name in meta.finalizers(live) if name != FINALIZER]
            await self.client.update(
                PERSISTENTVOLUMES, "", meta.with_metadata(live, finalizers=kept or None)
            )


def _class(claim: Object) -> str:
    return claim["spec"].get("storageClassName") or ""


def _problem(claim: Object) -> str:
    """What the driver says about a claim that it cannot serve; empty if it can."""
    if claim["spec"].get("selector") is not None:
        return "claim Selector is not supported"
    return ""
