"""Claims and volumes: what they ask for and offer, and which volume suits which claim.

Follows `component-helpers/storage/volume/{helpers,pv_helpers}.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import labels as label_selectors
from pytest_kubesim.apimachinery import meta, quantity
from pytest_kubesim.scheduler.node_selection import NOTHING, NodeSelector

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.node_info import NodeInfo

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
BETA_STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
WAIT_FOR_FIRST_CONSUMER = "WaitForFirstConsumer"


def claim_class(claim: Object) -> str:
    """The storage class of a claim; "" for none."""
    beta = meta.annotations(claim).get(BETA_STORAGE_CLASS)
    return beta if beta is not None else claim["spec"].get("storageClassName") or ""


def volume_class(volume: Object) -> str:
    """The storage class of a volume; "" for none."""
    beta = meta.annotations(volume).get(BETA_STORAGE_CLASS)
    return beta if beta is not None else volume["spec"].get("storageClassName") or ""


def is_fully_bound(claim: Object) -> bool:
    """Whether the volume controller has finished with the claim."""
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in meta.annotations(claim)


def requested_storage(claim: Object) -> int:
    """How many bytes the claim asks for."""
    requests = (claim["spec"].get("resources") or NOTHING).get("requests") or NOTHING
    return quantity.value(requests.get("storage", 0))


def volume_limit(capacity: Object) -> int | None:
    """The largest volume a CSIStorageCapacity has room for, in bytes."""
    amount = capacity.get("maximumVolumeSize") or capacity.get("capacity")
    return None if amount is None else quantity.value(amount)


def reaches(volume: Object, labels: Mapping[str, str]) -> bool:
    """Whether the volume can be used on a node of these labels."""
    required = (volume["spec"].get("nodeAffinity") or NOTHING).get("required")
    if not required:
        return True
    return NodeSelector(required.get("nodeSelectorTerms") or []).matches(labels, "")


def bind_to_claim(volume: Object, claim: Object) -> Object:
    """The volume as it is when bound to the claim; itself when it is so already."""
    spec = volume["spec"]
    reference = spec.get("claimRef")
    annotations = meta.annotations(volume)
    by_controller = not _is_bound_to(volume, claim) and BOUND_BY_CONTROLLER not in annotations
    matches = (
        reference is not None
        and reference.get("name") == meta.name(claim)
        and reference.get("namespace") == meta.namespace(claim)
        and reference.get("uid") == meta.uid(claim)
    )
    if matches and not by_controller:
        return volume
    if not matches:
        volume = {**volume, "spec": {**spec, "claimRef": _claim_reference(claim)}}
    if by_controller:
        volume = meta.with_metadata(
            volume, annotations={**annotations, BOUND_BY_CONTROLLER: "yes"}
        )
    return volume


def _claim_reference(claim: Object) -> Object:
    return {
        "kind": "PersistentVolumeClaim",
        "namespace": meta.namespace(claim),
        "name": meta.name(claim),
        "uid": meta.uid(claim),
        "apiVersion": "v1",
        "resourceVersion": meta.resource_version(claim),
    }


def _is_bound_to(volume: Object, claim: Object) -> bool:
    reference = volume["spec"].get("claimRef")
    if not reference:
        return False
    if reference.get("name") != meta.name(claim) or reference.get("namespace") != meta.namespace(
        claim
    ):
        return False
    return not reference.get("uid") or reference["uid"] == meta.uid(claim)


def find_matching_volume(
    claim: Object, volumes: Sequence[Object], node: NodeInfo, excluded: set[str]
) -> Object | None:
    """The smallest volume for the claim that can be used on `node` and is not `excluded`."""
    size = requested_storage(claim)
    spec = claim["spec"]
    wanted_class = claim_class(claim)
    selector = spec.get("selector")
    matches = None if selector is None else label_selectors.from_label_selector(selector).matches
    best: Object | None = None
    best_size = 0
    for volume in volumes:
        offered = volume["spec"]
        if volume["metadata"]["name"] in excluded:
            continue
        bound = _is_bound_to(volume, claim)
        if offered.get("claimRef") and not bound:
            continue
        capacity = quantity.value((offered.get("capacity") or NOTHING).get("storage", 0))
        if (
            capacity < size
            or (spec.get("volumeMode") or "Filesystem")
            != (offered.get("volumeMode") or "Filesystem")
            or (spec.get("volumeAttributesClassName") or "")
            != (offered.get("volumeAttributesClassName") or "")
            or volume["metadata"].get("deletionTimestamp")
        ):
            continue
        reachable = reaches(volume, node.labels)
        if bound:
            return volume if reachable else None
        if (volume.get("status") or NOTHING).get("phase") != "Available":
            continue
        if matches is not None and not matches(meta.labels(volume)):
            continue
        if volume_class(volume) != wanted_class or not reachable:
            continue
        if not set(spec.get("accessModes") or ()) <= set(offered.get("accessModes") or ()):
            continue
        if best is None or best_size > capacity:
            best, best_size = volume, capacity
    return best


def topology_allows(terms: Sequence[Object], labels: Mapping[str, str]) -> bool:
    """Whether a class with these `allowedTopologies` makes volumes for a node of these labels."""
    if not terms:
        return True
    return any(
        all(
            labels.get(requirement.get("key", "")) in (requirement.get("values") or ())
            for requirement in term.get("matchLabelExpressions") or ()
        )
        for term in terms
        if term.get("matchLabelExpressions")
    )
