"""The spec of a PersistentVolumeClaim: in claims, in templates of StatefulSets and of volumes.

Follows `ValidatePersistentVolumeClaimSpec` of `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import formats, metav1, objectmeta, quantity
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.pod_template import resource_names
from pytest_kubesim.registry.strategies import EMPTY

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
NOT_POSITIVE = "must be greater than zero"
_METADATA_FIELDS = (
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
)


def validate_template_metadata(metadata: Object, path: Path) -> ErrorList:
    """The metadata of a template, which has labels and annotations only."""
    errors = objectmeta.validate_annotations(metadata.get("annotations"), path.child("annotations"))
    errors += objectmeta.validate_labels(metadata.get("labels"), path.child("labels"))
    return errors + [
        field.forbidden(path.child("uID" if name == "uid" else name), "cannot be set")
        for name in _METADATA_FIELDS
        if metadata.get(name)
    ]


def access_modes(modes: list[str], path: Path) -> ErrorList:
    """Modes that exist, and ReadWriteOncePod alone."""
    errors = [
        field.not_supported(path, mode, ACCESS_MODES) for mode in modes if mode not in ACCESS_MODES
    ]
    known = {mode for mode in modes if mode in ACCESS_MODES}
    if "ReadWriteOncePod" in known and len(known) > 1:
        detail = "may not use ReadWriteOncePod with other access modes"
        errors.append(field.forbidden(path, detail))
    return errors


def positive(amount: str, path: Path) -> ErrorList:
    """An amount above zero."""
    if quantity.sign(amount) > 0:
        return []
    return [field.invalid(path, quantity.canonical(amount), NOT_POSITIVE)]


def validate_claim_spec(
    spec: Object,
    path: Path,
    *,
    allow_invalid_selector_values: bool = False,
    allow_invalid_api_group: bool = False,
) -> ErrorList:
    """The spec of a claim."""
    errors: ErrorList = []
    modes: list[str] = spec.get("accessModes") or []
    if not modes:
        detail = "at least 1 access mode is required"
        errors.append(field.required(path.child("accessModes"), detail))
    errors += metav1.validate_label_selector(
        spec.get("selector"),
        path.child("selector"),
        allow_invalid_values=allow_invalid_selector_values,
    )
    errors += access_modes(modes, path.child("accessModes"))
    requests: Object = (spec.get("resources") or EMPTY).get("requests") or {}
    where = path.child("resources").key("storage")
    storage = requests.get("storage")
    if storage is None:
        errors.append(field.required(where))
    elif problems := positive(storage, where):
        errors += problems
    else:
        errors += resource_names.validate_amount("storage", storage, where)
    if name := spec.get("storageClassName"):
        details = formats.is_dns1123_subdomain(name)
        errors += field.invalid_each(path.child("storageClassName"), name, details)
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        errors.append(field.not_supported(path.child("volumeMode"), mode, VOLUME_MODES))
    errors += _sources(spec, path, allow_invalid_api_group=allow_invalid_api_group)
    if name := spec.get("volumeAttributesClassName"):
        details = formats.is_dns1123_subdomain(name)
        errors += field.invalid_each(path.child("volumeAttributesClassName"), name, details)
    return errors


def _sources(spec: Object, path: Path, *, allow_invalid_api_group: bool) -> ErrorList:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    errors: ErrorList = []
    if source is not None:
        errors += _data_source(source, path.child("dataSource"), allow_invalid_api_group)
    if reference is not None:
        where = path.child("dataSourceRef")
        errors += _data_source(reference, where, allow_invalid_api_group)
        if namespace := reference.get("namespace"):
            details = formats.is_dns1123_label(namespace)
            errors += field.invalid_each(where.child("namespace"), namespace, details)
    if source is None or reference is None:
        return errors
    # Upstream's bad value is a path, which prints as an empty struct.
    shown = field.Printed("{}")
    if reference.get("namespace"):
        detail = "may not be specified when dataSourceRef.namespace is specified"
        errors.append(field.invalid(path, shown, detail))
    elif any(
        (source.get(k) or "") != (reference.get(k) or "") for k in ("apiGroup", "kind", "name")
    ):
        errors.append(field.invalid(path, shown, "must match dataSourceRef"))
    return errors


def _data_source(source: Object, path: Path, allow_invalid_api_group: bool) -> ErrorList:
    errors = [field.required(path.child(name)) for name in ("name", "kind") if not source.get(name)]
    group, kind = source.get("apiGroup") or "", source.get("kind") or ""
    if not group and kind != "PersistentVolumeClaim":
        detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(field.invalid(path, kind, detail))
    if group and not allow_invalid_api_group:
        details = formats.is_dns1123_subdomain(group)
        errors += field.invalid_each(path.child("apiGroup"), group, details)
    return errors


def spec_warnings(path: Path, spec: Object) -> list[str]:
    """Warnings of a claim's spec."""
    warnings: list[str] = []
    resources: Object = spec.get("resources") or {}
    for key in ("requests", "limits"):
        amount = (resources.get(key) or EMPTY).get("storage")
        if amount is not None and quantity.milli_value(amount) % 1000:
            where = path.child("resources", key).key("storage")
            shown = quote(quantity.canonical(amount))
            warnings.append(
                f"{where}: fractional byte value {shown} is invalid, must be an integer"
            )
    return warnings
