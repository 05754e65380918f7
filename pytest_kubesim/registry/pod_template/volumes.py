"""The volumes of a pod: names, one source each, and what projections put into them.

Follows `ValidateVolumes` of `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import formats, metav1, quantity
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.pod_template import claims, field_refs, projections, volume_sources
from pytest_kubesim.registry.pod_template.options import PodOptions
from pytest_kubesim.registry.pod_template.volume_sources import SECOND, file_mode, user
from pytest_kubesim.registry.strategies import EMPTY

_ORDER = (
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
)
_MISSPELT = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
_EMPTY_DIR_MODE = "must be a number between 0 and 01777 (octal), both inclusive"


def validate_volumes(
    volumes: list[Object], metadata: Object | None, path: Path, options: PodOptions
) -> tuple[dict[str, Object], ErrorList]:
    """The volumes that are well formed, by name, and what is wrong with the others.

    `metadata` is that of a pod, None for a template.
    """
    errors: ErrorList = []
    pod_name: str = (metadata or EMPTY).get("name") or ""
    created: set[str] = set()
    if pod_name:
        created = {
            f"{pod_name}-{v.get('name') or ''}" for v in volumes if v.get("ephemeral") is not None
        }
    found: dict[str, Object] = {}
    for position, volume in enumerate(volumes):
        where = path.index(position)
        name: str = volume.get("name") or ""
        problems = _source(volume, where, name, pod_name, options)
        if not name:
            problems.append(field.required(where.child("name")))
        else:
            details = formats.is_dns1123_label(name)
            if details:
                problems += field.invalid_each(where.child("name"), name, details)
        if name in found:
            problems.append(field.duplicate(where.child("name"), name))
        if problems:
            errors += problems
        else:
            found[name] = volume
        claim = volume.get("persistentVolumeClaim")
        if created and claim is not None and claim.get("claimName") in created:
            detail = "must not reference a PVC that gets created for an ephemeral volume"
            at = where.child("persistentVolumeClaim", "claimName")
            errors.append(field.invalid(at, claim["claimName"], detail))
    return found, errors


def _source(volume: Object, path: Path, name: str, pod_name: str, options: PodOptions) -> ErrorList:
    errors: ErrorList = []
    keys = volume.keys()
    sources = (
        [key for key in _ORDER if key in keys]
        if len(keys) > 2
        else [key for key in keys if key != "name"]
    )
    if not sources:
        return [field.required(path, "must specify a volume type")]
    for position, key in enumerate(sources):
        source: Object = volume[key]
        if position:
            errors.append(field.forbidden(path.child(_MISSPELT.get(key, key)), SECOND))
        else:
            errors += _one_source(key, source, path, options)
        if key == "iscsi" and (problem := volume_sources.iscsi_name_problem(source, name)):
            errors.append(field.invalid(path.child("name"), name, problem))
        if key == "ephemeral" and not position and pod_name and name:
            claim = f"{pod_name}-{name}"
            errors += [
                field.invalid(path.child("name"), name, f"PVC name {quote(claim)}: {message}")
                for message in formats.is_dns1123_subdomain(claim)
            ]
    return errors


def _one_source(key: str, source: Object, path: Path, options: PodOptions) -> ErrorList:
    simple = volume_sources.SIMPLE.get(key)
    if simple is not None:
        return simple[2](source, path.child(simple[1]))
    where = path.child(key)
    if key == "emptyDir":
        return _empty_dir(source, where)
    if key == "iscsi":
        return volume_sources.iscsi(source, where)
    if key in ("secret", "configMap"):
        return _files(source, where, "secretName" if key == "secret" else "name")
    if key == "downwardAPI":
        return _downward(source, where)
    if key == "projected":
        return _projected(source, where, options)
    if key == "ephemeral":
        return _ephemeral(source, where)
    return _image(source, where, options)


def _empty_dir(source: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    limit = source.get("sizeLimit")
    if limit is not None and quantity.sign(limit) < 0:
        detail = "SizeLimit field must be a valid resource quantity"
        errors.append(field.forbidden(path.child("sizeLimit"), detail))
    mode = source.get("mode")
    if mode is not None and not 0 <= mode <= 0o1777:
        errors.append(field.invalid(path.child("mode"), mode, _EMPTY_DIR_MODE))
    return errors


def _files(source: Object, path: Path, name: str) -> ErrorList:
    errors: ErrorList = []
    if not source.get(name):
        errors.append(field.required(path.child(name)))
    errors += file_mode(source.get("defaultMode"), path.child("defaultMode"))
    errors += user(source.get("defaultUser"), path.child("defaultUser"))
    for position, item in enumerate(source.get("items") or ()):
        errors += projections.key_to_path(item, path.child("items").index(position))
    return errors


def _downward(source: Object, path: Path) -> ErrorList:
    errors = file_mode(source.get("defaultMode"), path.child("defaultMode"))
    errors += user(source.get("defaultUser"), path.child("defaultUser"))
    for item in source.get("items") or ():
        # Upstream names no index here.
        errors += field_refs.downward_file(item, path)
    return errors


def _projected(source: Object, path: Path, options: PodOptions) -> ErrorList:
    errors = file_mode(source.get("defaultMode"), path.child("defaultMode"))
    errors += user(source.get("defaultUser"), path.child("defaultUser"))
    return errors + projections.validate_sources(
        source.get("sources") or [], path, allow_nonlocal_token=options.allow_nonlocal_token_path
    )


def _ephemeral(source: Object, path: Path) -> ErrorList:
    template = source.get("volumeClaimTemplate")
    where = path.child("volumeClaimTemplate")
    if template is None:
        return [field.required(where)]
    metadata: Object = template.get("metadata") or {}
    errors = claims.validate_template_metadata(metadata, where.child("metadata"))
    return errors + claims.validate_claim_spec(template.get("spec") or {}, where.child("spec"))


def _image(source: Object, path: Path, options: PodOptions) -> ErrorList:
    errors: ErrorList = []
    if not options.allow_empty_image_reference and not source.get("reference"):
        errors.append(field.required(path.child("reference")))
    return errors + pull_policy(source.get("pullPolicy") or "", path.child("pullPolicy"))


_PULL_POLICIES = ("Always", "IfNotPresent", "Never")


def pull_policy(policy: str, path: Path) -> ErrorList:
    """When an image is pulled."""
    if policy in _PULL_POLICIES:
        return []
    if not policy:
        return [field.required(path)]
    return [field.not_supported(path, policy, _PULL_POLICIES)]


def trust_bundle_selector(selector: Object | None, path: Path) -> ErrorList:
    """The label selector of a projected ClusterTrustBundle."""
    return metav1.validate_label_selector(selector, path)
