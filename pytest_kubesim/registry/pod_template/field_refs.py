"""References to a pod's own fields and resources: the downward API.

Follows `validateObjectFieldSelector`, `validateContainerResourceFieldSelector` and
`validateDownwardAPIVolumeFile` of `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import formats, quantity
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.pod_template.volume_sources import file_mode, local_non_reserved, user

ENV_FIELDS = frozenset(
    {
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    }
)
VOLUME_FIELDS = frozenset(
    {
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
    }
)
_CONVERTIBLE = (
    ENV_FIELDS | VOLUME_FIELDS | {"spec.restartPolicy", "spec.schedulerName", "status.phase"}
)
_RESOURCES = frozenset(
    f"{kind}.{name}"
    for kind in ("limits", "requests")
    for name in ("cpu", "memory", "ephemeral-storage")
)
_HUGE_PAGES = ("requests.hugepages-", "limits.hugepages-")
_UNITS = (
    "1",
    *(f"1{unit}" for unit in ("k", "M", "G", "T", "P", "E")),
    *(f"1{unit}i" for unit in ("K", "M", "G", "T", "P", "E")),
)


def split_subscript(path: str) -> tuple[str, str, bool]:
    """`metadata.labels['a']` as (`metadata.labels`, `a`, True)."""
    if path.endswith("']"):
        head, bracket, key = path[:-2].partition("['")
        if bracket and head:
            return head, key, True
    return path, "", False


def _converted(version: str, label: str) -> str:
    """The internal name of a field; raises `ValueError` with upstream's text."""
    if version != "v1":
        raise ValueError(f"unsupported pod version: {version}")
    head, _, subscripted = split_subscript(label)
    if subscripted:
        if head in ("metadata.annotations", "metadata.labels"):
            return label
        raise ValueError(f"field label does not support subscript: {label}")
    if label == "spec.host":
        return "spec.nodeName"
    if label in _CONVERTIBLE:
        return label
    raise ValueError(f"field label not supported: {label}")


def field_selector(reference: Object, allowed: frozenset[str], path: Path) -> ErrorList:
    """A `fieldRef`."""
    version, label = reference.get("apiVersion") or "", reference.get("fieldPath") or ""
    if not version:
        return [field.required(path.child("apiVersion"))]
    if not label:
        return [field.required(path.child("fieldPath"))]
    if label in allowed and version == "v1":
        return []
    try:
        internal = _converted(version, label)
    except ValueError as error:
        detail = f"error converting fieldPath: {error}"
        return [field.invalid(path.child("fieldPath"), label, detail)]
    head, key, subscripted = split_subscript(internal)
    if not subscripted:
        if head in allowed:
            return []
        return [field.not_supported(path.child("fieldPath"), head, sorted(allowed))]
    if head == "metadata.annotations":
        key = key.lower()
    return field.invalid_each(path, key, formats.is_qualified_name(key))


def resource_selector(reference: Object, path: Path, *, volume: bool) -> ErrorList:
    """A `resourceFieldRef`."""
    errors: ErrorList = []
    resource = reference.get("resource") or ""
    if volume and not reference.get("containerName"):
        errors.append(field.required(path.child("containerName")))
    elif not resource:
        errors.append(field.required(path.child("resource")))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE_PAGES):
        errors.append(field.not_supported(path.child("resource"), resource, sorted(_RESOURCES)))
    divisor = reference.get("divisor")
    if divisor is None or quantity.is_zero(divisor):
        return errors
    name = resource.partition(".")[2]
    shown = quantity.canonical(divisor)
    where = path.child("divisor")
    if resource in ("limits.cpu", "requests.cpu"):
        if shown not in ("1m", "1"):
            detail = "only divisor's values 1m and 1 are supported with the cpu resource"
            errors.append(field.invalid(where, resource, detail))
    elif shown not in _UNITS and (resource in _RESOURCES or resource.startswith(_HUGE_PAGES)):
        kind = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}
        detail = (
            f"only divisor's values {', '.join(_UNITS)} are supported with the "
            f"{kind.get(name, 'hugepages')} resource"
        )
        errors.append(field.invalid(where, resource, detail))
    return errors


def downward_file(item: Object, path: Path) -> ErrorList:
    """A file of a downwardAPI volume."""
    errors: ErrorList = []
    target = item.get("path") or ""
    if not target:
        errors.append(field.required(path.child("path")))
    errors += local_non_reserved(target, path.child("path"))
    reference, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if reference is not None:
        errors += field_selector(reference, VOLUME_FIELDS, path.child("fieldRef"))
        if resource is not None:
            detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.append(field.invalid(path, "resource", detail))
    elif resource is not None:
        errors += resource_selector(resource, path.child("resourceFieldRef"), volume=True)
    else:
        detail = "one of fieldRef and resourceFieldRef is required"
        errors.append(field.required(path, detail))
    errors += file_mode(item.get("mode"), path.child("mode"))
    return errors + user(item.get("user"), path.child("user"))
