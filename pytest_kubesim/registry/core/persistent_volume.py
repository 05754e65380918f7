"""PersistentVolumes.

Follows `pkg/registry/core/persistentvolume/strategy.go`, `SetDefaults_PersistentVolume`,
`ValidatePersistentVolumeSpec` and `pkg/volume/validation/pv_validation.go`.
"""

from __future__ import annotations

import posixpath
from typing import Any, cast

from pytest_kubesim.apimachinery import formats, quantity
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.pod_template import claims, defaults, go_structs, volume_sources
from pytest_kubesim.registry.pod_template.resource_names import rounded
from pytest_kubesim.registry.pod_template.scheduling import validate_node_selector
from pytest_kubesim.registry.pod_template.warnings import NODE_LABELS, node_selector_term_warnings
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    EMPTY,
    METADATA,
    SPEC,
    StatusOnly,
    WithStatus,
    annotations_of,
    semantically_equal,
)

STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
_MOUNT_OPTIONS = "volume.beta.kubernetes.io/mount-options"
_RECLAIM = ("Delete", "Recycle", "Retain")
_MOUNTABLE = (
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
)
_SOURCES = tuple(key for key, *_ in volume_sources.PERSISTENT)
_BETA_LABELS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}
assert _BETA_LABELS.keys() <= NODE_LABELS.keys()


class PersistentVolumeStrategy(WithStatus):
    """`/persistentvolumes`."""

    def default(self, obj: Object) -> Object:
        """`SetObjectDefaults_PersistentVolume`."""
        spec: Object = defaults.persistent_volume_source(dict(obj.get("spec") or {}))
        spec = {
            **spec,
            "persistentVolumeReclaimPolicy": spec.get("persistentVolumeReclaimPolicy") or "Retain",
        }
        if spec.get("volumeMode") is None:
            spec["volumeMode"] = "Filesystem"
        if spec.get("capacity"):
            spec["capacity"] = rounded(spec["capacity"])
        status: Object = obj.get("status") or {}
        if not status.get("phase"):
            status = {**status, "phase": "Pending"}
        return {**obj, "spec": spec, "status": status}

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Pending as of now."""
        return {**obj, "status": {"phase": "Pending", "lastPhaseTransitionTime": ctx.now}}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidatePersistentVolume`, `ValidatePersistentVolumeUpdate`."""
        errors = _spec(obj, old) + _mount_options(obj)
        return errors if old is None else errors + _update(obj["spec"], old["spec"])

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """Deprecated annotations, policies, labels and drivers."""
        del ctx
        return _warnings(obj)

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """The same."""
        del ctx, old
        return _warnings(obj)


def _spec(obj: Object, old: Object | None) -> ErrorList:
    spec: Object = obj["spec"]
    modes: list[str] = spec.get("accessModes") or []
    errors: ErrorList = []
    if not modes:
        errors.append(field.required(SPEC.child("accessModes")))
    errors += claims.access_modes(modes, SPEC.child("accessModes"))
    errors += _capacity(spec.get("capacity"), SPEC.child("capacity"))
    policy = spec.get("persistentVolumeReclaimPolicy") or ""
    if policy and policy not in _RECLAIM:
        where = SPEC.child("persistentVolumeReclaimPolicy")
        errors.append(field.not_supported(where, policy, _RECLAIM))
    affinity: Object | None = spec.get("nodeAffinity")
    if affinity is not None:
        errors += _node_affinity(affinity, old)
    errors += _sources(spec, obj["metadata"].get("name") or "", has_affinity=affinity is not None)
    path: str = (spec.get("hostPath") or EMPTY).get("path") or ""
    if policy == "Recycle" and path and posixpath.normpath(path) in ("/", "//"):
        where = SPEC.child("persistentVolumeReclaimPolicy")
        errors.append(field.forbidden(where, "may not be 'recycle' for a hostPath mount of '/'"))
    if name := spec.get("storageClassName"):
        details = formats.is_dns1123_subdomain(name)
        errors += field.invalid_each(SPEC.child("storageClassName"), name, details)
    mode = spec.get("volumeMode")
    if mode is not None and mode not in claims.VOLUME_MODES:
        errors.append(field.not_supported(SPEC.child("volumeMode"), mode, claims.VOLUME_MODES))
    return errors + _attributes_class(spec)


def _capacity(given: Object | None, path: Path) -> ErrorList:
    errors: ErrorList = []
    capacity: Object = given or {}
    shown: Object | None = None if given is None else {}
    if not capacity:
        errors.append(field.required(path))
    if "storage" not in capacity or len(capacity) > 1:
        errors.append(field.not_supported(path, capacity or shown, ("storage",)))
    for name in sorted(capacity):
        where = path.key(name)
        value = quantity.value(capacity[name])
        if value < 0:
            errors.append(field.invalid(where, value, "must be a valid resource quantity"))
        errors += claims.positive(capacity[name], where)
    return errors


def _node_affinity(affinity: Object, old: Object | None) -> ErrorList:
    where = SPEC.child("nodeAffinity", "required")
    required = affinity.get("required")
    if required is None:
        return [field.required(where, "must specify required node constraints")]
    before: Object = ((old or EMPTY).get("spec") or EMPTY).get("nodeAffinity") or {}
    had_invalid = any(
        formats.is_valid_label_value(value)
        for term in (before.get("required") or EMPTY).get("nodeSelectorTerms") or ()
        for expression in term.get("matchExpressions") or ()
        for value in expression.get("values") or ()
    )
    return validate_node_selector(required, where, allow_invalid_values=had_invalid)


def _sources(spec: Object, name: str, *, has_affinity: bool, path: Path = SPEC) -> ErrorList:
    errors: ErrorList = []
    found = False
    for key, spelt, at, check in volume_sources.PERSISTENT:
        source: Object | None = spec.get(key)
        if source is None:
            continue
        if found and key != "flexVolume":
            errors.append(field.forbidden(path.child(spelt), volume_sources.SECOND))
            continue
        found = True
        where = path.child(at)
        if key == "iscsi" and (problem := volume_sources.iscsi_name_problem(source, name)):
            portal = source.get("targetPortal") or ""
            errors.append(field.invalid(where.child("targetportal"), portal, problem))
        errors += check(source, where)
        if key == "local" and not has_affinity:
            detail = "Local volume requires node affinity"
            errors.append(field.required(path.child("nodeAffinity"), detail))
    if not found:
        errors.append(field.required(path, "must specify a volume type"))
    return errors


def _attributes_class(spec: Object, path: Path = SPEC) -> ErrorList:
    name = spec.get("volumeAttributesClassName")
    if name is None:
        return []
    where = path.child("volumeAttributesClassName")
    errors: ErrorList = []
    if not name:
        errors.append(field.required(where, "an empty string is disallowed"))
    else:
        errors += field.invalid_each(where, name, formats.is_dns1123_subdomain(name))
    if spec.get("csi") is None:
        detail = "has to be specified when using volumeAttributesClassName"
        errors.append(field.required(path.child("csi"), detail))
    return errors


def validate_inline(spec: Object, path: Path) -> ErrorList:
    """The volume in a VolumeAttachment: `ValidatePersistentVolumeSpec` for inline volumes."""
    context = "in the context of inline volumes"
    errors: ErrorList = [
        field.forbidden(path.child(key), f"may not be specified {context}")
        for key, given in (
            ("claimRef", spec.get("claimRef") is not None),
            ("capacity", spec.get("capacity")),
        )
        if given
    ]
    if spec.get("csi") is None:
        errors.append(field.required(path.child("csi"), f"has to be specified {context}"))
    modes: list[str] = spec.get("accessModes") or []
    if not modes:
        errors.append(field.required(path.child("accessModes")))
    errors += claims.access_modes(modes, path.child("accessModes"))
    if spec.get("persistentVolumeReclaimPolicy") not in (None, "", "Retain"):
        detail = f"may only be Retain {context}"
        errors.append(field.forbidden(path.child("persistentVolumeReclaimPolicy"), detail))
    if spec.get("nodeAffinity") is not None:
        where = path.child("nodeAffinity")
        errors.append(field.forbidden(where, f"may not be specified {context}"))
    errors += _sources(spec, "", has_affinity=False, path=path)
    if spec.get("storageClassName"):
        where = path.child("storageClassName")
        errors.append(field.forbidden(where, f"may not be specified {context}"))
    mode = spec.get("volumeMode")
    if mode not in (None, "Filesystem"):
        detail = f"may not specify volumeMode other than Filesystem {context}"
        errors.append(field.forbidden(path.child("volumeMode"), detail))
    return errors + _attributes_class(spec, path)


def _mount_options(obj: Object) -> ErrorList:
    if _MOUNT_OPTIONS not in annotations_of(obj):
        return []
    if any(obj["spec"].get(key) is not None for key in _MOUNTABLE):
        return []
    where = METADATA.child("annotations", _MOUNT_OPTIONS)
    return [field.forbidden(where, "may not specify mount options for this volume type")]


def _update(spec: Object, before: Object) -> ErrorList:
    errors: ErrorList = []
    new = {key: spec[key] for key in _SOURCES if spec.get(key) is not None}
    old = {key: before[key] for key in _SOURCES if before.get(key) is not None}
    csi, old_csi = new.get("csi"), old.get("csi")
    key = "controllerExpandSecretRef"
    if csi is not None and old_csi is not None and old_csi.get(key) is None and csi.get(key):
        new["csi"] = {k: v for k, v in csi.items() if k != key}
    if not semantically_equal(new, old):
        difference = go_structs.diff("PersistentVolumeSource", old, new)
        detail = f"spec.persistentvolumesource is immutable after creation\n{difference}"
        errors.append(field.forbidden(SPEC.child("persistentvolumesource"), detail))
    errors += field.validate_immutable_field(
        spec.get("volumeMode"), before.get("volumeMode"), Path("volumeMode")
    )
    errors += _affinity_update(spec.get("nodeAffinity"), before.get("nodeAffinity"))
    if before.get("volumeAttributesClassName") is not None:
        if spec.get("volumeAttributesClassName") is None:
            where = SPEC.child("volumeAttributesClassName")
            errors.append(field.forbidden(where, "update from non-nil value to nil is forbidden"))
    return errors


def _affinity_update(new: Object | None, old: Object | None) -> ErrorList:
    """Once set, the node affinity changes only from beta labels to their successors."""
    if old is None or new == old or _modernized(new, new) == _modernized(old, new):
        return []
    detail = f"{field.FIELD_IMMUTABLE}, except for updating from beta label to GA"
    shown = go_structs.printed("VolumeNodeAffinity", new)
    return [field.invalid(Path("nodeAffinity"), shown, detail)]


def _modernized(value: Any, new: Any) -> Any:
    if isinstance(value, list):
        items = cast("list[Any]", value)
        others = cast("list[Any]", new if isinstance(new, list) else [])
        return [
            _modernized(item, others[i] if i < len(others) else None)
            for i, item in enumerate(items)
        ]
    if isinstance(value, dict):
        other = cast("Object", new if isinstance(new, dict) else {})
        out: Object = {k: _modernized(v, other.get(k)) for k, v in cast("Object", value).items()}
        key = out.get("key")
        if isinstance(key, str) and "key" in other and _BETA_LABELS.get(key) == other.get("key"):
            out["key"] = other["key"]
        return out
    return value


def _warnings(obj: Object) -> list[str]:
    spec: Object = obj["spec"]
    where = METADATA.child("annotations")
    out = [
        f"{where.key(key)}: {message}"
        for key, message in (
            (STORAGE_CLASS, 'deprecated since v1.8; use "storageClassName" attribute instead'),
            (_MOUNT_OPTIONS, 'deprecated since v1.31; use "mountOptions" attribute instead'),
        )
        if key in annotations_of(obj)
    ]
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        out.append(
            f"{SPEC.child('persistentVolumeReclaimPolicy')}: The Recycle reclaim policy is "
            "deprecated. Instead, the recommended approach is to use dynamic provisioning."
        )
    required: Object = (spec.get("nodeAffinity") or EMPTY).get("required") or {}
    for position, term in enumerate(required.get("nodeSelectorTerms") or ()):
        at = SPEC.child("nodeAffinity", "required", "nodeSelectorTerms").index(position)
        out += node_selector_term_warnings(term, at, check_values=False)
    for key, shown, since, gone in (
        ("cephfs", "cephfs", "28", "31"),
        ("photonPersistentDisk", "photonPersistentDisk", "11", "16"),
        ("scaleIO", "scaleIO", "16", "22"),
        ("storageos", "storageOS", "22", "25"),
        ("glusterfs", "glusterfs", "25", "26"),
        ("rbd", "rbd", "28", "31"),
    ):
        if spec.get(key) is not None:
            out.append(
                f"{SPEC.child(shown)}: deprecated in v1.{since}, non-functional in v1.{gone}+"
            )
    return out


class PersistentVolumeStatusStrategy(StatusOnly):
    """`/persistentvolumes/{name}/status`."""

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec, and the time of the last change of phase."""
        obj = super().prepare_for_update(ctx, obj, old)
        status: Object = dict(obj.get("status") or {})
        before: Object = old.get("status") or {}
        key = "lastPhaseTransitionTime"
        if status.get("phase") == before.get("phase"):
            if status.get(key) is None and before.get(key) is not None:
                status[key] = before[key]
        elif status.get(key) is None or status.get(key) == before.get(key):
            status[key] = ctx.now
        return {**obj, "status": status}


def modes_text(modes: list[str] | None) -> str:
    """`RWO,ROX` and the like."""
    found = modes or ()
    short = (
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    )
    return ",".join(text for mode, text in short if mode in found)


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec: Object = obj.get("spec") or {}
    status: Object = obj.get("status") or {}
    claim: Object | None = spec.get("claimRef")
    terminating = obj["metadata"].get("deletionTimestamp")
    mode, attributes = spec.get("volumeMode"), spec.get("volumeAttributesClassName")
    return [
        obj["metadata"]["name"],
        (spec.get("capacity") or EMPTY).get("storage") or "0",
        modes_text(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy") or "",
        "Terminating" if terminating else status.get("phase") or "",
        f"{claim.get('namespace') or ''}/{claim.get('name') or ''}" if claim is not None else "",
        annotations_of(obj).get(STORAGE_CLASS, spec.get("storageClassName") or ""),
        "<unset>" if attributes is None else attributes,
        status.get("reason") or "",
        age(obj, now_ns),
        "<unset>" if mode is None else mode,
    ]


KIND = Kind(
    strategy=PersistentVolumeStrategy(),
    status=PersistentVolumeStatusStrategy(),
    printer=printer("PersistentVolume", _row),
)
