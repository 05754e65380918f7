"""Which claims a pod's volumes mean: those that it names, and those that are made for it.

Follows `pkg/controller/volume/common/common.go` and
`component-helpers/storage/ephemeral/ephemeral.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.controller_manager import fields

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.store import Store

CLAIM_INDEX = "pod-pvc-index"


def volumes(pod: Object) -> list[Object]:
    """`spec.volumes`."""
    return fields.objects(fields.spec(pod), "volumes")


def ephemeral_claim_name(pod: Object, volume: Object) -> str:
    """The name of the claim that is made for an ephemeral volume."""
    return f"{meta.name(pod)}-{volume['name']}"


def claim_name(pod: Object, volume: Object) -> str | None:
    """The name of the claim that a volume means; None if it means none."""
    named = volume.get("persistentVolumeClaim")
    if named is not None:
        return named["claimName"]
    return ephemeral_claim_name(pod, volume) if volume.get("ephemeral") is not None else None


def why_not_made_for(pod: Object, claim: Object) -> str:
    """Why a claim is not one that was made for the pod; empty if it is."""
    if meta.namespace(pod) == meta.namespace(claim) and meta.is_controlled_by(claim, pod):
        return ""
    return (
        f"PVC {meta.namespace(claim)}/{meta.name(claim)} was not created for pod "
        f"{meta.namespace(pod)}/{meta.name(pod)} (pod is not owner)"
    )


def claim_keys(pod: Object) -> list[str]:
    """The keys of the claims of a pod."""
    found: list[str] = []
    for volume in volumes(pod):
        name = claim_name(pod, volume)
        if name is not None:
            found.append(f"{meta.namespace(pod)}/{name}")
    return found


def add_claim_index(store: Store) -> None:
    """Index pods by the keys of their claims."""
    store.add_indexer(CLAIM_INDEX, claim_keys)


def is_terminated(pod: Object) -> bool:
    """Whether its containers have ended (`volumeutil.IsPodTerminated`)."""
    status = fields.status(pod)
    if status.get("phase") in {"Failed", "Succeeded"}:
        return True
    return bool(meta.deletion_timestamp(pod)) and not any(
        fields.mapping(container, "state").keys().isdisjoint({"terminated", "waiting"})
        for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        for container in fields.objects(status, kind)
    )
