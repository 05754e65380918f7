"""PersistentVolumeClaims.

The law: `dataSource` and `dataSourceRef` are two spellings of one thing and are kept in step; once
made, a claim only grows.

Follows `pkg/registry/core/persistentvolumeclaim/strategy.go`,
`pkg/api/persistentvolumeclaim/util.go`
and `ValidatePersistentVolumeClaimUpdate` of `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, metav1, quantity
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import NIL, ErrorList, FieldError, Path
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.core.persistent_volume import STORAGE_CLASS, modes_text
from pytest_kubesim.registry.pod_template import claims, defaults, go_structs
from pytest_kubesim.registry.pod_template import resource_names as names
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    EMPTY,
    METADATA,
    SPEC,
    STATUS,
    StatusOnly,
    WithStatus,
    annotations_of,
    semantically_equal,
)

_DEPRECATED_CLASS = 'deprecated since v1.8; use "storageClassName" attribute instead'
_RESIZE_STATUSES = (
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizePending",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
)
_STORAGE = SPEC.child("resources", "requests", "storage")
_CLASS = SPEC.child("volumeAttributesClassName")


def _with_sources(spec: Object, old: Object | None) -> Object:
    """Both data sources in step (`NormalizeDataSources` and what goes before it)."""
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    out: Object = dict(spec)
    if (
        reference is not None
        and reference.get("namespace")
        and (old or EMPTY).get("dataSourceRef") is None
    ):
        # References across namespaces are behind a feature gate.
        del out["dataSourceRef"]
        reference = None
    in_use = old is not None and (
        old.get("dataSource") is not None or old.get("dataSourceRef") is not None
    )
    if not in_use and reference is None and not _is_claim_or_snapshot(source):
        out.pop("dataSource", None)
        source = None
    keys = ("apiGroup", "kind", "name")
    if source is not None and reference is None:
        out["dataSourceRef"] = {key: source[key] for key in keys if key in source}
    elif reference is not None and source is None and not reference.get("namespace"):
        out["dataSource"] = {key: reference[key] for key in keys if key in reference}
    return out


def _is_claim_or_snapshot(source: Object | None) -> bool:
    if source is None:
        return False
    group, kind = source.get("apiGroup") or "", source.get("kind") or ""
    return (group, kind) in (
        ("", "PersistentVolumeClaim"),
        ("snapshot.storage.k8s.io", "VolumeSnapshot"),
    )


class PersistentVolumeClaimStrategy(WithStatus):
    """`/persistentvolumeclaims`."""

    def default(self, obj: Object) -> Object:
        """`SetObjectDefaults_PersistentVolumeClaim`."""
        status: Object = dict(obj.get("status") or {})
        status["phase"] = status.get("phase") or "Pending"
        for key in ("capacity", "allocatedResources"):
            if status.get(key):
                status[key] = names.rounded(status[key])
        return {**obj, "spec": defaults.claim_spec(obj.get("spec")), "status": status}

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """With both data sources; its phase is a default, which nobody writes down here."""
        del ctx
        return {**obj, "spec": _with_sources(obj["spec"], None), "status": {}}

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old status and both data sources."""
        obj = super().prepare_for_update(ctx, obj, old)
        return {**obj, "spec": _with_sources(obj["spec"], old["spec"])}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidatePersistentVolumeClaim`, `ValidatePersistentVolumeClaimUpdate`."""
        if old is None:
            return claims.validate_claim_spec(obj["spec"], SPEC)
        before: Object = old["spec"]
        errors = claims.validate_claim_spec(
            obj["spec"],
            SPEC,
            allow_invalid_selector_values=bool(
                metav1.validate_label_selector(before.get("selector"), NIL)
            ),
            allow_invalid_api_group=any(
                (before.get(key) or EMPTY).get("apiGroup") is not None
                for key in ("dataSource", "dataSourceRef")
            ),
        )
        return errors + _update(obj, old)

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """The old annotation, and parts of bytes."""
        del ctx
        found: list[str] = []
        if STORAGE_CLASS in annotations_of(obj):
            found.append(f"{METADATA.child('annotations').key(STORAGE_CLASS)}: {_DEPRECATED_CLASS}")
        return found + claims.spec_warnings(SPEC, obj["spec"])

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """The same."""
        del old
        return self.warnings_on_create(ctx, obj)


def _requested(spec: Object) -> str:
    found: str = ((spec.get("resources") or EMPTY).get("requests") or EMPTY).get("storage") or "0"
    return found


def _update(obj: Object, old: Object) -> ErrorList:
    errors: ErrorList = []
    spec, before = dict(obj["spec"]), dict(old["spec"])
    status: Object = obj.get("status") or {}
    if not before.get("volumeName") and spec.get("volumeName"):
        before["volumeName"] = spec["volumeName"]
    errors += _class_update(obj, old, spec)
    if status.get("phase") == "Bound":
        requests = (spec.get("resources") or EMPTY).get("requests")
        if requests is not None:
            asked = {**requests, "storage": _requested(before)}
            spec["resources"] = {**spec["resources"], "requests": asked}
        for target, source in ((spec, before),):
            target.pop("volumeAttributesClassName", None)
            if "volumeAttributesClassName" in source:
                target["volumeAttributesClassName"] = source["volumeAttributesClassName"]
    if not semantically_equal(spec, before):
        difference = go_structs.diff("PersistentVolumeClaimSpec", before, spec)
        detail = (
            "spec is immutable after creation except resources.requests and "
            f"volumeAttributesClassName for bound claims\n{difference}"
        )
        errors.append(field.forbidden(SPEC, detail))
    size = _requested(obj["spec"])
    if quantity.cmp(size, _requested(old["spec"])) < 0:
        capacity = ((old.get("status") or EMPTY).get("capacity") or EMPTY).get("storage") or "0"
        if quantity.cmp(size, capacity) <= 0:
            errors.append(field.forbidden(_STORAGE, "field can not be less than status.capacity"))
    errors += field.validate_immutable_field(
        obj["spec"].get("volumeMode"), old["spec"].get("volumeMode"), Path("volumeMode")
    )
    return errors + _attributes_class(obj["spec"], old)


def _class_update(obj: Object, old: Object, spec: Object) -> ErrorList:
    """The storage class may come, from the annotation or from nowhere, but not change."""
    new_class, old_class = spec.get("storageClassName"), old["spec"].get("storageClassName")
    new, before = annotations_of(obj), annotations_of(old)
    annotation = before.get(STORAGE_CLASS)
    if (
        annotation is not None
        and old_class is None
        and new_class == annotation
        and new.get(STORAGE_CLASS, annotation) == annotation
    ):
        spec.pop("storageClassName", None)
        return []
    errors: ErrorList = []
    if (new.get(STORAGE_CLASS) or "") != (annotation or ""):
        where = METADATA.child("annotations", STORAGE_CLASS)
        errors.append(field.invalid(where, new.get(STORAGE_CLASS) or "", field.FIELD_IMMUTABLE))
    if new_class is not None and old_class is None and annotation in (None, new_class):
        spec.pop("storageClassName", None)
    return errors


def _attributes_class(spec: Object, old: Object) -> ErrorList:
    new = spec.get("volumeAttributesClassName")
    if new == old["spec"].get("volumeAttributesClassName"):
        return []
    if (old.get("status") or EMPTY).get("currentVolumeAttributesClassName") is None or new:
        return []
    what = "nil" if new is None else "empty string"
    detail = (
        f"update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
    )
    return [field.forbidden(_CLASS, detail)]


class PersistentVolumeClaimStatusStrategy(StatusOnly):
    """`/persistentvolumeclaims/{name}/status`."""

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec."""
        obj = super().prepare_for_update(ctx, obj, old)
        status: Object = obj.get("status") or {}
        if "healthStatus" in status and "healthStatus" not in (old.get("status") or {}):
            obj = {**obj, "status": {k: v for k, v in status.items() if k != "healthStatus"}}
        return obj

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidatePersistentVolumeClaimStatusUpdate`."""
        del old
        errors: ErrorList = []
        if not obj["spec"].get("accessModes"):
            errors.append(field.required(Path("Spec", "accessModes")))
        status: Object = obj.get("status") or {}
        capacity: Object = status.get("capacity") or {}
        for name in sorted(capacity):
            errors += _basic(capacity[name], STATUS.child("capacity").key(name))
        statuses: Object = status.get("allocatedResourceStatuses") or {}
        where = STATUS.child("allocatedResourceStatuses")
        for name in sorted(statuses):
            errors += _resource_key(name, where)
            if statuses[name] not in _RESIZE_STATUSES:
                errors.append(field.not_supported(where, name, sorted(_RESIZE_STATUSES)))
        allocated: Object = status.get("allocatedResources") or {}
        where = STATUS.child("allocatedResources")
        for name in sorted(allocated):
            problems = _resource_key(name, where)
            if not problems:
                at = where.key(name)
                problems = _basic(allocated[name], at) or names.validate_amount(
                    "storage", allocated[name], at
                )
            errors += problems
        return errors


def _basic(amount: str, path: Path) -> ErrorList:
    value = quantity.value(amount)
    return [field.invalid(path, value, "must be a valid resource quantity")] if value < 0 else []


def _resource_key(name: str, path: Path) -> ErrorList:
    if details := formats.is_qualified_name(name):
        return field.invalid_each(path, name, details)
    if names.is_native(name) and name != "storage":
        return [field.not_supported(path, name, ("storage",))]
    return []


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec: Object = obj.get("spec") or {}
    status: Object = obj.get("status") or {}
    terminating = obj["metadata"].get("deletionTimestamp")
    capacity = modes = ""
    if spec.get("volumeName"):
        modes = modes_text(status.get("accessModes"))
        capacity = (status.get("capacity") or EMPTY).get("storage") or "0"
    mode, attributes = spec.get("volumeMode"), spec.get("volumeAttributesClassName")
    return [
        obj["metadata"]["name"],
        "Terminating" if terminating else status.get("phase") or "",
        spec.get("volumeName") or "",
        capacity,
        modes,
        annotations_of(obj).get(STORAGE_CLASS, spec.get("storageClassName") or ""),
        "<unset>" if attributes is None else attributes,
        age(obj, now_ns),
        "<unset>" if mode is None else mode,
    ]


def _with_phase(obj: Object) -> Object:
    """As it is read: so the first change of a claim, even of nothing, is written."""
    status: Object = obj.get("status") or {}
    return obj if status.get("phase") else {**obj, "status": {"phase": "Pending", **status}}


KIND = Kind(
    decode_stored=_with_phase,
    strategy=PersistentVolumeClaimStrategy(),
    status=PersistentVolumeClaimStatusStrategy(),
    printer=printer("PersistentVolumeClaim", _row),
)
