"""Claims and volumes as the volume binder knows them: as shown, or as it has written them.

The law: what was written is known at once, whatever an informer shows later; an older version never
replaces a newer one.

Follows the caches of `pkg/controller/volume/persistentvolume/pv_controller_base.go` and the writes
of `pv_controller.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.client_go.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from pytest_kubesim.client_go.store import Store, key_of
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager import volume_binding as binding

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.rest import RESTClient

_CLAIM_INDEX = "claim"

Record = Callable[["Object", str, str, str], None]
"""Records an event: object, type, reason, message."""


def _by_claim(volume: Object) -> tuple[str]:
    reference = binding.claim_ref(volume)
    return ("",) if reference is None else (binding.claim_key(reference),)


def store(known: Store, obj: Object) -> bool:
    """Remember an object unless a newer one is known; whether it was remembered."""
    old = known.get(key_of(obj))
    if old is not None and int(meta.resource_version(old)) > int(meta.resource_version(obj)):
        return False
    known.put(obj)
    return True


class VolumeCache:
    """What one binder knows and writes.

    Parameters: `client` that writes; `record`, which records events.
    """

    def __init__(self, client: RESTClient, record: Record) -> None:
        self.client = client
        self.record = record
        self.claims = Store()
        self.volumes = Store()
        self.volumes.add_indexer(_CLAIM_INDEX, _by_claim)

    def candidates(self, claim: Object) -> list[Object]:
        """The volumes that nobody has, and those that this claim (or one of its name) has."""
        return self.volumes.by_index(_CLAIM_INDEX, key_of(claim)) + self.volumes.by_index(
            _CLAIM_INDEX, ""
        )

    async def write_claim(self, claim: Object, subresource: str = "") -> Object:
        """Update a claim; the claim as it is then."""
        new = await self.client.update(
            PERSISTENTVOLUMECLAIMS, meta.namespace(claim), claim, subresource=subresource
        )
        store(self.claims, new)
        return new

    async def write_volume(self, volume: Object, subresource: str = "") -> Object:
        """Update a volume; the volume as it is then."""
        new = await self.client.update(PERSISTENTVOLUMES, "", volume, subresource=subresource)
        store(self.volumes, new)
        return new

    async def volume_phase(self, volume: Object, phase: str, message: str = "") -> Object:
        """Bring a volume into a phase."""
        if fields.status(volume).get("phase") == phase:
            return volume
        new = meta.with_status(volume, phase=phase, message=message or None)
        return await self.write_volume(new, "status")

    async def fail(self, volume: Object, reason: str, message: str) -> None:
        """Let a volume fail, with an event."""
        if fields.status(volume).get("phase") != "Failed":
            new = await self.volume_phase(volume, "Failed", message)
            self.record(new, "Warning", reason, message)

    async def unbind(self, volume: Object) -> None:
        """Take a volume from its claim; what a user bound beforehand stays meant for the claim."""
        if binding.has_annotation(volume, binding.BOUND_BY_CONTROLLER):
            new = meta.delete_path(volume, ("spec", "claimRef"))
            kept = {
                name: value
                for name, value in meta.annotations(volume).items()
                if name != binding.BOUND_BY_CONTROLLER
            }
            new = meta.with_metadata(new, annotations=kept or None)
        else:
            new = meta.delete_path(volume, ("spec", "claimRef", "uid"))
        await self.volume_phase(await self.write_volume(new), "Available")
