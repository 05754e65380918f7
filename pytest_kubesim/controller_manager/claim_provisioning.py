"""Claims for which a volume is to be made: handed over to the provisioner of their class.

Follows `provisionClaim` and what it calls in
`pkg/controller/volume/persistentvolume/pv_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.client_go.store import Store, key_of
from pytest_kubesim.controller_manager import volume_binding as binding
from pytest_kubesim.controller_manager.controller import RETRIABLE, SyncError
from pytest_kubesim.controller_manager.volume_reclaimer import HOST_PATH

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.controller_manager.volume_cache import VolumeCache
    from pytest_kubesim.controller_manager.volume_operations import Operations

PROVISIONING_FAILED = "ProvisioningFailed"
EXTERNAL_PROVISIONING = "ExternalProvisioning"


class ClaimProvisioning:
    """Has volumes made.

    Parameters: `cache` of claims and volumes; `operations` that go on beside the loops; `classes`
    of storage.
    """

    def __init__(self, cache: VolumeCache, operations: Operations, classes: Store) -> None:
        self._cache = cache
        self._operations = operations
        self._classes = classes

    def provision(self, claim: Object) -> None:
        """Have a volume made for a claim by the provisioner of its class."""
        name = binding.class_of(claim)
        storage_class = self._classes.get(name)
        if storage_class is None:
            missing = status.new_not_found(GroupResource("storage.k8s.io", "storageclass"), name)
            message = missing.message
            self._cache.record(claim, "Warning", PROVISIONING_FAILED, message)
            return
        provisioner: str = storage_class["provisioner"]
        operation = self._external
        in_tree = provisioner.startswith("kubernetes.io/")
        if in_tree and provisioner not in binding.IN_TREE_DRIVERS:
            if provisioner != HOST_PATH:
                message = f"no volume plugin matched name: {provisioner}"
                self._cache.record(claim, "Warning", PROVISIONING_FAILED, message)
                return
            operation = self._host_path
        self._operations.run(
            f"provision-{key_of(claim)}[{meta.uid(claim)}]",
            lambda: operation(claim, provisioner),
        )

    async def _host_path(self, claim: Object, provisioner: str) -> None:
        await self._set_provisioner(claim, provisioner)
        problem = f"provisioning in volume plugin {quote(provisioner)} is disabled"
        message = f"Failed to create provisioner: {problem}"
        self._cache.record(claim, "Warning", PROVISIONING_FAILED, message)
        raise SyncError(problem)

    async def _external(self, claim: Object, provisioner: str) -> None:
        provisioner = binding.IN_TREE_DRIVERS.get(provisioner, provisioner)
        try:
            claim = await self._set_provisioner(claim, provisioner)
        except RETRIABLE as error:
            message = f"Error saving claim: {error}"
            self._cache.record(claim, "Warning", PROVISIONING_FAILED, message)
            raise
        message = (
            "Waiting for a volume to be created either by the external provisioner "
            f"'{provisioner}' or manually by the system administrator. If volume creation is "
            "delayed, please verify that the provisioner is running and correctly registered."
        )
        self._cache.record(claim, "Normal", EXTERNAL_PROVISIONING, message)

    async def _set_provisioner(self, claim: Object, provisioner: str) -> Object:
        if meta.annotations(claim).get(binding.STORAGE_PROVISIONER) == provisioner:
            return claim
        new = binding.with_annotation(claim, binding.BETA_STORAGE_PROVISIONER, provisioner)
        new = binding.with_annotation(new, binding.STORAGE_PROVISIONER, provisioner)
        return await self._cache.write_claim(new)
