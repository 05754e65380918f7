"""Claims and volumes: which volume is for a claim, and what binds them to each other.

The law: a claim is bound by `spec.volumeName`, a volume by `spec.claimRef`; both are needed, and
the annotation `pv.kubernetes.io/bind-completed` on the claim says that it is done.  What the
controller bound by itself it may also undo; what a user bound stays.

Pure functions.  Follows `component-helpers/storage/volume/{helpers,pv_helpers}.go`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import labels, meta, quantity
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.controller_manager import fields

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
DYNAMICALLY_PROVISIONED = "pv.kubernetes.io/provisioned-by"
MIGRATED_TO = "pv.kubernetes.io/migrated-to"
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
BETA_STORAGE_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
BETA_STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
PRE_RESIZE_CAPACITY = "volume.alpha.kubernetes.io/pre-resize-capacity"
DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)

MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")

IN_TREE_DRIVERS = {
    "kubernetes.io/aws-ebs": "ebs.csi.aws.com",
    "kubernetes.io/azure-disk": "disk.csi.azure.com",
    "kubernetes.io/azure-file": "file.csi.azure.com",
    "kubernetes.io/cinder": "cinder.csi.openstack.org",
    "kubernetes.io/gce-pd": "pd.csi.storage.gke.io",
    "kubernetes.io/portworx-volume": "pxd.portworx.com",
    "kubernetes.io/vsphere-volume": "csi.vsphere.vmware.com",
}
"""Provisioners that once were part of Kubernetes, and the CSI drivers that took over."""


def has_annotation(obj: Object, name: str) -> bool:
    """Whether an annotation is there, whatever its value."""
    return name in meta.annotations(obj)


def with_annotation(obj: Object, name: str, value: str) -> Object:
    """The object with an annotation."""
    return meta.with_metadata(obj, annotations={**meta.annotations(obj), name: value})


def class_of(obj: Object) -> str:
    """The storage class of a claim or a volume; empty for none."""
    beta = meta.annotations(obj).get(BETA_STORAGE_CLASS)
    return beta if beta is not None else fields.text(fields.spec(obj), "storageClassName")


def has_class(claim: Object) -> bool:
    """Whether a claim says of which class it is, be it none."""
    return (
        has_annotation(claim, BETA_STORAGE_CLASS)
        or fields.spec(claim).get("storageClassName") is not None
    )


def default_class(classes: Iterable[Object]) -> Object | None:
    """The newest of the default storage classes; None if there is none."""
    found = [
        storage_class
        for storage_class in classes
        if any(meta.annotations(storage_class).get(name) == "true" for name in DEFAULT_CLASS)
    ]
    found.sort(key=meta.name)
    found.sort(key=lambda entry: meta.creation_timestamp(entry) or "", reverse=True)
    return found[0] if found else None


def attributes_class_of(obj: Object) -> str:
    """`spec.volumeAttributesClassName`."""
    return fields.text(fields.spec(obj), "volumeAttributesClassName")


def volume_mode(obj: Object) -> str:
    """`spec.volumeMode`."""
    return fields.text(fields.spec(obj), "volumeMode") or "Filesystem"


def access_modes(obj: Object) -> list[str]:
    """`spec.accessModes`."""
    return fields.texts(fields.spec(obj), "accessModes")


def has_access_modes(volume: Object, claim: Object) -> bool:
    """Whether a volume can be accessed in all the ways that a claim wants."""
    offered = access_modes(volume)
    return all(mode in offered for mode in access_modes(claim))


def capacity(volume: Object) -> str:
    """How much a volume holds."""
    return fields.mapping(fields.spec(volume), "capacity").get("storage", "0")


def requested(claim: Object) -> str:
    """How much a claim wants."""
    resources = fields.mapping(fields.spec(claim), "resources")
    return fields.mapping(resources, "requests").get("storage", "0")


def claim_ref(volume: Object) -> Object | None:
    """`spec.claimRef`."""
    return fields.spec(volume).get("claimRef")


def claim_key(reference: Object) -> str:
    """The key of the claim that a claimRef means."""
    return f"{reference.get('namespace', '')}/{reference.get('name', '')}"


def is_bound_to(volume: Object, claim: Object) -> bool:
    """Whether a volume is bound to a claim, or bound beforehand to one of that name."""
    reference = claim_ref(volume)
    if reference is None or claim_key(reference) != meta.key_of(claim):
        return False
    return reference.get("uid") in {None, "", meta.uid(claim)}


def is_delay_binding(storage_class: Object | None) -> bool:
    """Whether claims of a class wait until a pod that uses them is placed."""
    return (
        storage_class is not None
        and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
    )


def why_not(volume: Object, claim: Object) -> str:
    """Why a volume that a claim names cannot be for it; empty if it can."""
    if meta.deletion_timestamp(volume):
        return f"the volume is marked for deletion {quote(meta.name(volume))}"
    if quantity.value(capacity(volume)) < quantity.value(requested(claim)):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if attributes_class_of(volume) != attributes_class_of(claim):
        return "volumeAttributesClassName does not match"
    if volume_mode(volume) != volume_mode(claim):
        return "incompatible volumeMode"
    if not has_access_modes(volume, claim):
        return "incompatible accessMode"
    return ""


def best_match(
    claim: Object, volumes: Iterable[Object], *, delay_binding: bool
) -> Object | None:
    """The volume for a claim: of those with the fewest access modes the smallest.

    Raises `ValueError` for a selector that is wrong.
    """
    spec = fields.spec(claim)
    selector = spec.get("selector")
    matcher = None if selector is None else labels.from_label_selector(selector)
    groups: dict[tuple[str, ...], list[Object]] = {}
    for volume in volumes:
        if has_access_modes(volume, claim):
            offered = access_modes(volume)
            groups.setdefault(tuple(m for m in MODES if m in offered), []).append(volume)
    for modes in sorted(groups, key=len):
        smallest: Object | None = None
        for volume in groups[modes]:
            bound = is_bound_to(volume, claim)
            if not _could_be(volume, claim, bound=bound):
                continue
            if bound:
                return volume
            if (
                delay_binding
                or fields.status(volume).get("phase") != "Available"
                or (matcher is not None and not matcher.matches(meta.labels(volume)))
                or class_of(volume) != class_of(claim)
            ):
                continue
            if smallest is None or quantity.cmp(capacity(smallest), capacity(volume)) > 0:
                smallest = volume
        if smallest is not None:
            return smallest
    return None


def _could_be(volume: Object, claim: Object, *, bound: bool) -> bool:
    if claim_ref(volume) is not None and not bound:
        return False
    return (
        quantity.cmp(capacity(volume), requested(claim)) >= 0
        and volume_mode(volume) == volume_mode(claim)
        and attributes_class_of(volume) == attributes_class_of(claim)
        and not meta.deletion_timestamp(volume)
    )


def bound_volume(volume: Object, claim: Object) -> Object:
    """The volume bound to a claim; the volume itself if it is already (`GetBindVolumeToClaim`)."""
    reference = claim_ref(volume)
    by_controller = not is_bound_to(volume, claim)
    new = volume
    if (
        reference is None
        or claim_key(reference) != meta.key_of(claim)
        or reference.get("uid") != meta.uid(claim)
    ):
        new = meta.set_path(new, ("spec", "claimRef"), meta.object_reference(claim))
    if by_controller and not has_annotation(new, BOUND_BY_CONTROLLER):
        new = with_annotation(new, BOUND_BY_CONTROLLER, "yes")
    return new


def bound_claim(claim: Object, volume: Object) -> Object:
    """The claim bound to a volume; the claim itself if it is already (`bindClaimToVolume`)."""
    new = claim
    if fields.spec(claim).get("volumeName") != meta.name(volume):
        new = meta.set_path(new, ("spec", "volumeName"), meta.name(volume))
        if not has_annotation(new, BOUND_BY_CONTROLLER):
            new = with_annotation(new, BOUND_BY_CONTROLLER, "yes")
    if not has_annotation(new, BIND_COMPLETED):
        new = with_annotation(new, BIND_COMPLETED, "yes")
    return new


def migrated(obj: Object, *provisioner_annotations: str) -> Object:
    """The object with the annotation that names the driver which took over its provisioner."""
    annotations = meta.annotations(obj)
    provisioner = next(
        (annotations[name] for name in provisioner_annotations if name in annotations), None
    )
    if provisioner is None:
        return obj
    driver = IN_TREE_DRIVERS.get(provisioner, "")
    if annotations.get(MIGRATED_TO, "") == driver:
        return obj
    if driver:
        return with_annotation(obj, MIGRATED_TO, driver)
    kept = {name: value for name, value in annotations.items() if name != MIGRATED_TO}
    return meta.with_metadata(obj, annotations=kept)
