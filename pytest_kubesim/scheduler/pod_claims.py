"""A pod's claims: which they are, what they have been given, who has reserved them.

Follows `dynamic-resource-allocation/resourceclaim/claim.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.scheduler.node_selection import NOTHING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.store import Store
    from pytest_kubesim.scheduler.pod_info import PodInfo


class ClaimError(Exception):
    """A pod's claim cannot be used (yet)."""


def allocation_of(claim: Object) -> Object | None:
    """What a claim has been given."""
    return (claim.get("status") or NOTHING).get("allocation")


def users_of(claim: Object) -> list[Object]:
    """Who has reserved a claim."""
    return (claim.get("status") or NOTHING).get("reservedFor") or []


def is_used_by(claim: Object, pod: PodInfo) -> bool:
    """Whether a claim is reserved for a pod."""
    return any(user["uid"] == pod.uid for user in users_of(claim))


def claims_of(pod: PodInfo, store: Store) -> list[Object]:
    """The claims that a pod names or has been made, from `store`.  Raises `ClaimError`."""
    generated: dict[str, str | None] = {
        entry["name"]: entry.get("resourceClaimName")
        for entry in (pod.pod.get("status") or NOTHING).get("resourceClaimStatuses") or ()
    }
    found: list[Object] = []
    for entry in pod.spec.get("resourceClaims") or ():
        name: str | None = entry.get("resourceClaimName")
        if name is None:
            if entry["name"] not in generated:
                raise ClaimError(
                    f'pod "{pod.namespace}/{pod.name}": ResourceClaim not created yet'
                )
            name = generated[entry["name"]]
            if name is None:
                continue
        claim = store.get_by_name(pod.namespace, name)
        if claim is None:
            raise ClaimError(f'resourceclaim.resource.k8s.io "{name}" not found')
        if meta.deletion_timestamp(claim):
            raise ClaimError(f'resourceclaim "{name}" is being deleted')
        if entry.get("resourceClaimName") is None and not meta.is_controlled_by(claim, pod.pod):
            raise ClaimError(
                f"ResourceClaim {pod.namespace}/{name} was not created for Pod "
                f"{pod.namespace}/{pod.name} (Pod is not owner)"
            )
        found.append(claim)
    return found
