"""Annotations that mean something for a pod, and the fields that they must agree with.

Follows `ValidatePodSpecificAnnotations`, `validateSeccompAnnotationsAndFields` and
`validateAppArmorAnnotationsAndFieldsMatchOnCreate` of `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.pod_template.options import (
    DELETION_COST,
    PodOptions,
    deletion_cost_problem,
)
from pytest_kubesim.registry.pod_template.scheduling import validate_tolerations
from pytest_kubesim.registry.pod_template.security_context import containers_with_paths
from pytest_kubesim.registry.pod_template.volume_sources import local_descending
from pytest_kubesim.registry.strategies import EMPTY

MIRROR = "kubernetes.io/config.mirror"
TOLERATIONS = "scheduler.alpha.kubernetes.io/tolerations"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_LOCALHOST = "localhost/"
_MEANINGFUL = (MIRROR, TOLERATIONS, SECCOMP_POD, SECCOMP_CONTAINER, APP_ARMOR, DELETION_COST)


def validate_annotations(
    annotations: Mapping[str, str], spec: Object, path: Path, options: PodOptions
) -> ErrorList:
    """Those of a pod or a template; `path` is that of the annotations."""
    if not any(key.startswith(_MEANINGFUL) for key in annotations):
        return []
    errors: ErrorList = []
    mirror = annotations.get(MIRROR)
    if mirror is not None and not spec.get("nodeName"):
        detail = "must set spec.nodeName if mirror pod annotation is set"
        errors.append(field.invalid(path.key(MIRROR), mirror, detail))
    if tolerations := annotations.get(TOLERATIONS):
        errors += _tolerations(tolerations, path, options)
    if not options.allow_invalid_deletion_cost and deletion_cost_problem(dict(annotations)):
        where = path.key(DELETION_COST)
        errors.append(field.invalid(where, annotations[DELETION_COST], "must be a 32bit integer"))
    if SECCOMP_POD in annotations:
        errors += _seccomp(annotations[SECCOMP_POD], path.child(SECCOMP_POD))
    for key in sorted(annotations):
        if key.startswith(SECCOMP_CONTAINER):
            errors += _seccomp(annotations[key], path.child(key))
    for key in sorted(annotations):
        if key.startswith(APP_ARMOR):
            errors += _app_armor(key, annotations[key], spec, path)
    return errors


def _tolerations(text: str, path: Path, options: PodOptions) -> ErrorList:
    try:
        found: Any = json.loads(text)
    except ValueError as error:
        return [field.invalid(path, TOLERATIONS, str(error))]
    if not isinstance(found, list):
        return []
    return validate_tolerations(
        [each for each in cast("list[Object]", found) if type(each) is dict],
        path.child(TOLERATIONS),
        allow_comparison=options.allow_toleration_comparison,
    )


def _seccomp(profile: str, path: Path) -> ErrorList:
    if profile in ("runtime/default", "docker/default", "unconfined"):
        return []
    if profile.startswith(_LOCALHOST):
        return local_descending(profile[len(_LOCALHOST) :], path)
    return [field.invalid(path, profile, "must be a valid seccomp profile")]


def _app_armor(key: str, profile: str, spec: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    name = key[len(APP_ARMOR) :]
    if all(c.get("name") != name for c, _ in containers_with_paths(spec, path)):
        errors.append(field.invalid(path.key(key), name, "container not found"))
    if profile not in ("", "runtime/default", "unconfined") and not profile.startswith(_LOCALHOST):
        detail = f"invalid AppArmor profile name: {quote(profile)}"
        errors.append(field.invalid(path.key(key), profile, detail))
    return errors


# -- annotations and fields ------------------------------------------------------------------


def validate_agreement(annotations: Mapping[str, str], spec: Object, path: Path) -> ErrorList:
    """That old annotations and the fields that replaced them say the same."""
    if not any(key.startswith((SECCOMP_POD, SECCOMP_CONTAINER, APP_ARMOR)) for key in annotations):
        return []
    errors: ErrorList = []
    context: Object = spec.get("securityContext") or {}
    if SECCOMP_POD in annotations:
        where = path.child("securityContext", "seccompProfile")
        errors += _agree("seccomp", annotations[SECCOMP_POD], context.get("seccompProfile"), where)
    for container, at in containers_with_paths(spec, path):
        value = annotations.get(f"{SECCOMP_CONTAINER}{container.get('name') or ''}")
        if value is not None:
            own = (container.get("securityContext") or EMPTY).get("seccompProfile")
            where = at.child("securityContext", "seccompProfile")
            errors += _agree("seccomp", value, own, where)
    if (spec.get("os") or EMPTY).get("name") == "windows":
        return errors
    for container, at in containers_with_paths(spec, path):
        value = annotations.get(f"{APP_ARMOR}{container.get('name') or ''}")
        if value is not None:
            own = (container.get("securityContext") or EMPTY).get("appArmorProfile")
            profile = own if own is not None else context.get("appArmorProfile")
            where = at.child("securityContext", "appArmorProfile")
            errors += _agree("apparmor", value, profile, where)
    return errors


def _agree(kind: str, annotation: str, profile: Object | None, path: Path) -> ErrorList:
    if profile is None:
        return []
    must = f"{kind} type in annotation and field must match"
    expected = profile.get("type") or ""
    if expected == "Localhost":
        if not annotation.startswith(_LOCALHOST):
            return [field.forbidden(path.child("type"), must)]
        if profile.get("localhostProfile") != annotation[len(_LOCALHOST) :]:
            detail = f"{kind} profile in annotation and field must match"
            return [field.forbidden(path.child("localhostProfile"), detail)]
        return []
    accepted = {
        "Unconfined": ("unconfined",),
        "RuntimeDefault": ("runtime/default", "docker/default")
        if kind == "seccomp"
        else ("runtime/default",),
    }.get(expected)
    if accepted is None or annotation in accepted:
        return []
    return [field.forbidden(path.child("type"), must)]


def app_armor_profile_of(annotation: str) -> Object | None:
    """The field that an AppArmor annotation stands for (`ApparmorFieldForAnnotation`)."""
    if annotation == "unconfined":
        return {"type": "Unconfined"}
    if annotation == "runtime/default":
        return {"type": "RuntimeDefault"}
    if annotation.startswith(_LOCALHOST) and annotation != _LOCALHOST:
        return {"type": "Localhost", "localhostProfile": annotation[len(_LOCALHOST) :]}
    return None
