"""Environment variables, mounts and devices of a container.

Follows `ValidateEnv`, `ValidateEnvFrom`, `ValidateVolumeMounts` and `ValidateVolumeDevices` of
`pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.pod_template import field_refs
from pytest_kubesim.registry.pod_template.volume_sources import local_descending, no_backsteps
from pytest_kubesim.registry.strategies import EMPTY

_NO_SOURCE = (
    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or "
    "`fileKeyRef`"
)
_TWO_SOURCES = "may not have more than one field specified at a time"


def validate_env(variables: list[Object], path: Path) -> ErrorList:
    """`env` of a container."""
    errors: ErrorList = []
    for position, variable in enumerate(variables):
        name = variable.get("name") or ""
        if not name:
            errors.append(field.required(path.index(position).child("name")))
        elif details := formats.is_relaxed_env_var_name(name):
            where = path.index(position).child("name")
            errors += field.invalid_each(where, name, details)
        source = variable.get("valueFrom")
        if source is not None:
            where = path.index(position).child("valueFrom")
            errors += _value_from(source, variable.get("value") or "", where)
    return errors


def _value_from(source: Object, value: str, path: Path) -> ErrorList:
    errors: ErrorList = []
    count = 0
    if (found := source.get("fieldRef")) is not None:
        count += 1
        where = path.child("fieldRef")
        errors += field_refs.field_selector(found, field_refs.ENV_FIELDS, where)
    if (found := source.get("resourceFieldRef")) is not None:
        count += 1
        where = path.child("resourceFieldRef")
        errors += field_refs.resource_selector(found, where, volume=False)
    for key in ("configMapKeyRef", "secretKeyRef"):
        if (found := source.get(key)) is not None:
            count += 1
            errors += _key_selector(found, path.child(key))
    if (found := source.get("fileKeyRef")) is not None:
        count += 1
        errors += _file_key(found, path.child("fileKeyRef"))
    if not count:
        errors.append(field.invalid(path, "", _NO_SOURCE))
    elif value:
        errors.append(field.invalid(path, "", "may not be specified when `value` is not empty"))
    elif count > 1:
        errors.append(field.invalid(path, "", _TWO_SOURCES))
    return errors


def _key_selector(reference: Object, path: Path) -> ErrorList:
    name, key = reference.get("name") or "", reference.get("key") or ""
    errors = field.invalid_each(path.child("name"), name, formats.is_dns1123_subdomain(name))
    if not key:
        errors.append(field.required(path.child("key")))
    else:
        errors += field.invalid_each(path.child("key"), key, formats.is_config_map_key(key))
    return errors


def _file_key(reference: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    key, volume = reference.get("key") or "", reference.get("volumeName") or ""
    target = reference.get("path") or ""
    if not key:
        errors.append(field.required(path.child("key")))
    else:
        errors += field.invalid_each(path.child("key"), key, formats.is_relaxed_env_var_name(key))
    if not volume:
        errors.append(field.required(path.child("volumeName")))
    else:
        details = formats.is_dns1123_label(volume)
        errors += field.invalid_each(path.child("volumeName"), volume, details)
    if not target:
        errors.append(field.required(path.child("path")))
    else:
        errors += no_backsteps(target, path.child("path"))
    return errors


def validate_env_from(sources: list[Object], path: Path) -> ErrorList:
    """`envFrom` of a container."""
    errors: ErrorList = []
    for position, source in enumerate(sources):
        where = path.index(position)
        if prefix := source.get("prefix"):
            details = formats.is_relaxed_env_var_name(prefix)
            errors += field.invalid_each(where.child("prefix"), prefix, details)
        count = 0
        for key in ("configMapRef", "secretRef"):
            reference = source.get(key)
            if reference is None:
                continue
            count += 1
            at = where.child(key, "name")
            if name := reference.get("name"):
                errors += field.invalid_each(
                    at, name, formats.name_is_dns_subdomain(name, prefix=True)
                )
            else:
                errors.append(field.required(at))
        if not count:
            detail = "must specify one of: `configMapRef` or `secretRef`"
            errors.append(field.invalid(path, "", detail))
        elif count > 1:
            errors.append(field.invalid(path, "", _TWO_SOURCES))
    return errors


# -- mounts ------------------------------------------------------------------------------------

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIVE = ("Disabled", "Enabled", "IfPossible")
_BIND_OPTIONS = ("nodev", "noexec", "nosuid")


def validate_mounts(container: Object, volumes: dict[str, Object], path: Path) -> ErrorList:
    """`volumeMounts` of a container; `volumes` are the well-formed ones of the pod."""
    mounts: list[Object] = container["volumeMounts"]
    devices: list[Object] = container.get("volumeDevices") or []
    device_names = {d.get("name") or "" for d in devices}
    device_paths = {d.get("devicePath") or "" for d in devices}
    errors: ErrorList = []
    seen: set[str] = set()
    for position, mount in enumerate(mounts):
        name, target = mount.get("name") or "", mount.get("mountPath") or ""
        where = path.index(position)
        if not name:
            errors.append(field.required(where.child("name")))
        if name not in volumes:
            errors.append(field.not_found(where.child("name"), name))
        if not target:
            errors.append(field.required(where.child("mountPath")))
        if target in seen:
            errors.append(field.invalid(where.child("mountPath"), target, "must be unique"))
        seen.add(target)
        if name in device_names:
            detail = "must not already exist in volumeDevices"
            errors.append(field.invalid(where.child("name"), name, detail))
        if target in device_paths:
            detail = "must not already exist as a path in volumeDevices"
            errors.append(field.invalid(where.child("mountPath"), target, detail))
        if len(mount) > 2:
            errors += _mount_details(mount, volumes.get(name), container, path, where)
    return errors


def _mount_details(
    mount: Object, volume: Object | None, container: Object, path: Path, where: Path
) -> ErrorList:
    # Upstream gives the path of the list, not of its element, for most of these.
    errors: ErrorList = []
    sub_path, expression = mount.get("subPath") or "", mount.get("subPathExpr") or ""
    if sub_path:
        errors += local_descending(sub_path, path.child("subPath"))
    if expression:
        if sub_path:
            detail = "subPathExpr and subPath are mutually exclusive"
            errors.append(field.invalid(where.child("subPathExpr"), expression, detail))
        errors += local_descending(expression, path.child("subPathExpr"))
    propagation = mount.get("mountPropagation")
    if propagation is not None:
        at = path.child("mountPropagation")
        if propagation not in _PROPAGATIONS:
            errors.append(field.not_supported(at, propagation, _PROPAGATIONS))
        privileged = (container.get("securityContext") or EMPTY).get("privileged")
        if propagation == "Bidirectional" and not privileged:
            detail = "Bidirectional mount propagation is available only to privileged containers"
            errors.append(field.forbidden(at, detail))
    errors += _recursive_read_only(mount, propagation, path.child("recursiveReadOnly"))
    options: list[str] = mount.get("bindMountOptions") or []
    at = where.child("bindMountOptions")
    for index, option in enumerate(options):
        if option not in _BIND_OPTIONS:
            errors.append(field.not_supported(at.index(index), option, _BIND_OPTIONS))
        if option in options[:index]:
            errors.append(field.duplicate(at.index(index), option))
    if options and (volume or EMPTY).get("image") is not None:
        detail = "bindMountOptions may not be used with image volumes"
        errors.append(field.invalid(at, options, detail))
    return errors


def _recursive_read_only(mount: Object, propagation: str | None, path: Path) -> ErrorList:
    mode = mount.get("recursiveReadOnly")
    if mode is None or mode == "Disabled":
        return []
    if mode not in _RECURSIVE:
        return [field.not_supported(path, mode, _RECURSIVE)]
    errors: ErrorList = []
    if not mount.get("readOnly"):
        errors.append(field.forbidden(path, "may only be specified when readOnly is true"))
    if propagation is not None and propagation != "None":
        detail = "may only be specified when mountPropagation is None or not specified"
        errors.append(field.forbidden(path, detail))
    return errors


def validate_devices(container: Object, volumes: dict[str, Object], path: Path) -> ErrorList:
    """`volumeDevices` of a container."""
    mounts: list[Object] = container.get("volumeMounts") or []
    mount_names = {m.get("name") or "" for m in mounts}
    mount_paths = {m.get("mountPath") or "" for m in mounts}
    errors: ErrorList = []
    names: set[str] = set()
    paths: set[str] = set()
    for position, device in enumerate(container["volumeDevices"]):
        where = path.index(position)
        at_name, at_path = where.child("name"), where.child("devicePath")
        name, target = device.get("name") or "", device.get("devicePath") or ""
        volume = volumes.get(name)
        if not name:
            errors.append(field.required(at_name))
        if name in names:
            errors.append(field.invalid(at_name, name, "must be unique"))
        if volume is None:
            errors.append(field.not_found(at_name, name))
        elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            detail = (
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block "
                "mode"
            )
            errors.append(field.invalid(at_name, name, detail))
        if not target:
            errors.append(field.required(at_path))
        if target in paths:
            errors.append(field.invalid(at_path, target, "must be unique"))
        if target and no_backsteps(target, at_path):
            errors.append(field.invalid(at_path, target, "can not contain backsteps ('..')"))
        else:
            paths.add(target)
        if name in mount_names:
            detail = "must not already exist in volumeMounts"
            errors.append(field.invalid(at_name, name, detail))
        if target in mount_paths:
            detail = "must not already exist as a path in volumeMounts"
            errors.append(field.invalid(at_path, target, detail))
        if name:
            names.add(name)
    return errors
