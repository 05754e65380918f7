"""Volume sources: what each demands, in pods and in PersistentVolumes.

The law: a check takes the source and its path and returns field errors; `CHECKS` names them by the
key of the source, in the order in which upstream looks at them.

Follows `validateVolumeSource` and `ValidatePersistentVolumeSpec` of
`pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path

SECOND = "may not specify more than 1 volume type"
FILE_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_ISCSI_LENGTH = (
    "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if "
    "iscsi.initiatorName is specified."
)
_PORTAL_PAIRS = "must be a host:port pair or multiple pairs separated by commas"

Check = Callable[[Object, Path], ErrorList]


def demands(*names: str) -> Check:
    """A check that wants those fields not empty."""

    def check(source: Object, path: Path) -> ErrorList:
        return [field.required(path.child(name)) for name in names if not source.get(name)]

    return check


# -- paths and modes ---------------------------------------------------------------------------


def no_backsteps(target: str, path: Path) -> ErrorList:
    """A path that does not climb."""
    if ".." in target and ".." in target.split("/"):
        return [field.invalid(path, target, "must not contain '..'")]
    return []


def local_descending(target: str, path: Path) -> ErrorList:
    """A relative path that does not climb."""
    errors: ErrorList = []
    if target.startswith("/"):
        errors.append(field.invalid(path, target, "must be a relative path"))
    return errors + no_backsteps(target, path)


def local_non_reserved(target: str, path: Path) -> ErrorList:
    """The same, and its first part does not begin with two dots."""
    errors = local_descending(target, path)
    if target.startswith("..") and not target.startswith("../"):
        errors.append(field.invalid(path, target, "must not start with '..'"))
    return errors


def file_mode(mode: int | None, path: Path) -> ErrorList:
    """Permission bits of a file."""
    return [] if mode is None or 0 <= mode <= 0o777 else [field.invalid(path, mode, FILE_MODE)]


def user(uid: int | None, path: Path) -> ErrorList:
    """The owner of files."""
    return [] if uid is None else field.invalid_each(path, uid, formats.is_valid_user_id(uid))


# -- the sources -------------------------------------------------------------------------------

_HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)


def host_path(source: Object, path: Path) -> ErrorList:
    """A path on the node."""
    target = source.get("path") or ""
    if not target:
        return [field.required(path.child("path"))]
    errors = no_backsteps(target, path.child("path"))
    kind = source.get("type")
    if kind is not None and kind not in _HOST_PATH_TYPES:
        errors.append(field.not_supported(path.child("type"), kind, _HOST_PATH_TYPES))
    return errors


def _git_repo(source: Object, path: Path) -> ErrorList:
    errors = demands("repository")(source, path)
    return errors + local_descending(source.get("directory") or "", path.child("directory"))


_IQN = re.compile(r"iqn\.\d{4}-\d{2}\.([a-zA-Z0-9\-.]+)(:[^,;*&$|\s]+)$", re.ASCII).search
_EUI = re.compile(r"^eui.[a-zA-Z0-9]{16}$").search
_NAA = re.compile(r"^naa.[a-zA-Z0-9]{32}$").search


def _initiator(name: str, path: Path, prefix_message: str) -> ErrorList:
    for prefix, match in (("iqn", _IQN), ("eui", _EUI), ("naa", _NAA)):
        if name.startswith(prefix):
            return [] if match(name) else [field.invalid(path, name, "must be valid format")]
    return [field.invalid(path, name, prefix_message)]


def _iscsi(prefix_message: str, *, persistent: bool) -> Check:
    def check(source: Object, path: Path) -> ErrorList:
        errors = demands("targetPortal")(source, path)
        if iqn := source.get("iqn") or "":
            errors += _initiator(iqn, path.child("iqn"), prefix_message)
        else:
            errors.append(field.required(path.child("iqn")))
        lun = source.get("lun") or 0
        if not 0 <= lun <= 255:
            detail = formats.inclusive_range_error(0, 255)
            errors.append(field.invalid(path.child("lun"), lun, detail))
        secret = source.get("secretRef")
        if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and secret is None:
            errors.append(field.required(path.child("secretRef")))
        if persistent and secret is not None and not secret.get("name"):
            errors.append(field.required(path.child("secretRef", "name")))
        if (name := source.get("initiatorName")) is not None:
            errors += _initiator(name, path.child("initiatorname"), prefix_message)
        return errors

    return check


iscsi = _iscsi("must be valid format starting with iqn, eui, or naa", persistent=False)
_iscsi_persistent = _iscsi("must be valid format", persistent=True)


def iscsi_name_problem(source: Object, volume_name: str) -> str:
    """Why the name of a volume does not fit its iSCSI portal, empty if it does."""
    if source.get("initiatorName") is None:
        return ""
    portal = source.get("targetPortal") or ""
    return _ISCSI_LENGTH if len(f"{volume_name}:{portal}".encode()) > 64 else ""


def _fc(source: Object, path: Path) -> ErrorList:
    names: list[str] = source.get("targetWWNs") or []
    ids: list[str] = source.get("wwids") or []
    errors: ErrorList = []
    if not names and not ids:
        detail = "must specify either targetWWNs or wwids, but not both"
        errors.append(field.required(path.child("targetWWNs"), detail))
    if names and ids:
        detail = "targetWWNs and wwids can not be specified simultaneously"
        errors.append(field.invalid(path.child("targetWWNs"), names, detail))
    if names:
        lun = source.get("lun")
        if lun is None:
            errors.append(
                field.required(path.child("lun"), "lun is required if targetWWNs is specified")
            )
        elif not 0 <= lun <= 255:
            detail = formats.inclusive_range_error(0, 255)
            errors.append(field.invalid(path.child("lun"), lun, detail))
    return errors


def _disk(name: str) -> Check:
    def check(source: Object, path: Path) -> ErrorList:
        errors = demands(name)(source, path)
        partition = source.get("partition") or 0
        if not 0 <= partition <= 255:
            detail = formats.inclusive_range_error(1, 255)
            errors.append(field.invalid(path.child("partition"), partition, detail))
        return errors

    return check


def _nfs(source: Object, path: Path) -> ErrorList:
    errors = demands("server", "path")(source, path)
    target = source.get("path") or ""
    if not target.startswith("/"):
        errors.append(field.invalid(path.child("path"), target, "must be an absolute path"))
    return errors


def _quobyte(source: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    registry = source.get("registry") or ""
    if not registry:
        errors.append(field.required(path.child("registry"), _PORTAL_PAIRS))
    elif len((source.get("tenant") or "").encode()) >= 65:
        detail = "must be a UUID and may not exceed a length of 64 characters"
        errors.append(field.required(path.child("tenant"), detail))
    else:
        for pair in registry.split(","):
            if not re.fullmatch(r"([^:\[\]]*|\[[^\[\]]*\]):[^:]*", pair):
                errors.append(field.invalid(path.child("registry"), registry, _PORTAL_PAIRS))
    return errors + demands("volume")(source, path)


def _glusterfs_persistent(source: Object, path: Path) -> ErrorList:
    errors = demands("endpoints", "path")(source, path)
    namespace = source.get("endpointsNamespace")
    if namespace is not None:
        where = path.child("endpointsNamespace")
        if not namespace:
            detail = "if the endpointnamespace is set, it must be a valid namespace name"
            errors.append(field.invalid(where, namespace, detail))
        else:
            errors += field.invalid_each(where, namespace, formats.is_dns1123_label(namespace))
    return errors


def _flocker(source: Object, path: Path) -> ErrorList:
    name, uuid = source.get("datasetName") or "", source.get("datasetUUID") or ""
    errors: ErrorList = []
    if not name and not uuid:
        errors.append(field.required(path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        detail = "datasetName and datasetUUID can not be specified simultaneously"
        errors.append(field.invalid(path, "resource", detail))
    if "/" in name:
        errors.append(field.invalid(path.child("datasetName"), name, "must not contain '/'"))
    return errors


def _secret_named(required: Check, *names: str) -> Check:
    def check(source: Object, path: Path) -> ErrorList:
        errors = required(source, path)
        secret = source.get("secretRef")
        if secret is not None:
            errors += demands(*names)(secret, path.child("secretRef"))
        return errors

    return check


def _flex(source: Object, path: Path) -> ErrorList:
    errors = demands("driver")(source, path)
    for key in sorted(source.get("options") or ()):
        normalized = "." + key.partition("/")[0].lower()
        if normalized.endswith((".kubernetes.io", ".k8s.io")):
            detail = "kubernetes.io and k8s.io namespaces are reserved"
            errors.append(field.invalid(path.child("options").key(key), key, detail))
    return errors


def _azure_file_persistent(source: Object, path: Path) -> ErrorList:
    errors = demands("secretName", "shareName")(source, path)
    if source.get("secretNamespace") == "":
        errors.append(field.required(path.child("secretNamespace")))
    return errors


_MANAGED_URI = (
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/"
    "{disk-id}"
)
_BLOB_URI = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"


def _azure_disk(source: Object, path: Path) -> ErrorList:
    errors = demands("diskName", "diskURI")(source, path)
    mode, kind, uri = source.get("cachingMode"), source.get("kind"), source.get("diskURI") or ""
    if mode is not None and mode not in ("None", "ReadOnly", "ReadWrite"):
        supported = ("None", "ReadOnly", "ReadWrite")
        errors.append(field.not_supported(path.child("cachingMode"), mode, supported))
    if kind is not None and kind not in ("Dedicated", "Managed", "Shared"):
        supported = ("Dedicated", "Managed", "Shared")
        errors.append(field.not_supported(path.child("kind"), kind, supported))
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        errors.append(field.not_supported(path.child("diskURI"), uri, (_MANAGED_URI,)))
    if kind is not None and kind != "Managed" and not uri.startswith("https://"):
        errors.append(field.not_supported(path.child("diskURI"), uri, (_BLOB_URI,)))
    return errors


def _storage_os(*secret: str) -> Check:
    def check(source: Object, path: Path) -> ErrorList:
        errors: ErrorList = []
        for name, is_required in (("volumeName", True), ("volumeNamespace", False)):
            value = source.get(name) or ""
            if value:
                details = formats.is_dns1123_label(value)
                errors += field.invalid_each(path.child(name), value, details)
            elif is_required:
                errors.append(field.required(path.child(name)))
        if source.get("secretRef") is not None:
            errors += demands(*secret)(source["secretRef"], path.child("secretRef"))
        return errors

    return check


def local(source: Object, path: Path) -> ErrorList:
    """A disk of a node."""
    target = source.get("path") or ""
    if not target:
        return [field.required(path.child("path"))]
    return no_backsteps(target, path.child("path"))


def csi_driver_name(name: str, path: Path) -> ErrorList:
    """The name of a CSI driver."""
    if not name:
        return [field.required(path)]
    errors: ErrorList = []
    if len(name.encode()) > 63:
        errors.append(field.too_long(path, 63))
    return errors + field.invalid_each(path, name, formats.is_dns1123_subdomain(name.lower()))


def _csi(source: Object, path: Path) -> ErrorList:
    errors = csi_driver_name(source.get("driver") or "", path.child("driver"))
    secret = source.get("nodePublishSecretRef")
    if secret is not None:
        if name := secret.get("name") or "":
            details = formats.is_dns1123_subdomain(name)
            errors += field.invalid_each(path.child("name"), name, details)
        else:
            errors.append(field.required(path.child("nodePublishSecretRef", "name")))
    return errors


def _csi_persistent(source: Object, path: Path) -> ErrorList:
    errors = csi_driver_name(source.get("driver") or "", path.child("driver"))
    errors += demands("volumeHandle")(source, path)
    for key in (
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ):
        secret = source.get(key)
        if secret is None:
            continue
        for name, check in (
            ("name", formats.is_dns1123_subdomain),
            ("namespace", formats.is_dns1123_label),
        ):
            where = path.child(key, name)
            value = secret.get(name) or ""
            errors += (
                field.invalid_each(where, value, check(value)) if value else [field.required(where)]
            )
    return errors


_cinder = _secret_named(demands("volumeID"), "name")
_ceph_fs = demands("monitors")
_rbd = demands("monitors", "image")
_scale_io = demands("gateway", "system", "volumeName")

SIMPLE: dict[str, tuple[str, str, Check]] = {
    "hostPath": ("hostPath", "hostPath", host_path),
    "gitRepo": ("gitRepo", "gitRepo", _git_repo),
    "gcePersistentDisk": ("gcePersistentDisk", "persistentDisk", _disk("pdName")),
    "awsElasticBlockStore": ("awsElasticBlockStore", "awsElasticBlockStore", _disk("volumeID")),
    "nfs": ("nfs", "nfs", _nfs),
    "glusterfs": ("glusterfs", "glusterfs", demands("endpoints", "path")),
    "flocker": ("flocker", "flocker", _flocker),
    "persistentVolumeClaim": (
        "persistentVolumeClaim",
        "persistentVolumeClaim",
        demands("claimName"),
    ),
    "rbd": ("rbd", "rbd", _rbd),
    "cinder": ("cinder", "cinder", _cinder),
    "cephfs": ("cephFS", "cephfs", _ceph_fs),
    "quobyte": ("quobyte", "quobyte", _quobyte),
    "fc": ("fc", "fc", _fc),
    "flexVolume": ("flexVolume", "flexVolume", _flex),
    "azureFile": ("azureFile", "azureFile", demands("secretName", "shareName")),
    "vsphereVolume": ("vsphereVolume", "vsphereVolume", demands("volumePath")),
    "photonPersistentDisk": ("photonPersistentDisk", "photonPersistentDisk", demands("pdID")),
    "portworxVolume": ("portworxVolume", "portworxVolume", demands("volumeID")),
    "azureDisk": ("azureDisk", "azureDisk", _azure_disk),
    "storageos": ("storageos", "storageos", _storage_os("name")),
    "scaleIO": ("scaleIO", "scaleIO", _scale_io),
    "csi": ("csi", "csi", _csi),
}
"""Sources of pods that need no more than themselves: key, name if it is one too many, name in
paths (upstream writes some differently), check."""

PERSISTENT: tuple[tuple[str, str, str, Check], ...] = (
    ("hostPath", "hostPath", "hostPath", host_path),
    ("gcePersistentDisk", "gcePersistentDisk", "persistentDisk", _disk("pdName")),
    ("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", _disk("volumeID")),
    ("glusterfs", "glusterfs", "glusterfs", _glusterfs_persistent),
    ("flocker", "flocker", "flocker", _flocker),
    ("nfs", "nfs", "nfs", _nfs),
    ("rbd", "rbd", "rbd", _rbd),
    ("quobyte", "quobyte", "quobyte", _quobyte),
    ("cephfs", "cephFS", "cephfs", _ceph_fs),
    ("iscsi", "iscsi", "iscsi", _iscsi_persistent),
    ("cinder", "cinder", "cinder", _secret_named(demands("volumeID"), "name", "namespace")),
    ("fc", "fc", "fc", _fc),
    ("flexVolume", "flexVolume", "flexVolume", _flex),
    ("azureFile", "azureFile", "azureFile", _azure_file_persistent),
    ("vsphereVolume", "vsphereVolume", "vsphereVolume", demands("volumePath")),
    ("photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk", demands("pdID")),
    ("portworxVolume", "portworxVolume", "portworxVolume", demands("volumeID")),
    ("azureDisk", "azureDisk", "azureDisk", _azure_disk),
    ("scaleIO", "scaleIO", "scaleIO", _scale_io),
    ("local", "local", "local", local),
    ("storageos", "storageos", "storageos", _storage_os("name", "namespace")),
    ("csi", "csi", "csi", _csi_persistent),
)
"""Sources of PersistentVolumes in upstream's order."""
