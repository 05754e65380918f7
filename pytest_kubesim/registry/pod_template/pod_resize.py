"""Changing what the containers of a pod ask for while it runs.

Follows `ValidatePodResize` of `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.pod_template import annotations, resources
from pytest_kubesim.registry.pod_template.options import PodOptions
from pytest_kubesim.registry.pod_template.pods import metadata_and_spec
from pytest_kubesim.registry.strategies import EMPTY, semantically_equal

_SPEC = Path("spec")
_ONLY = "only cpu and memory resources are mutable"
_RESIZABLE = ("cpu", "memory")


def validate_resize(pod: Object, old: Object, options: PodOptions) -> ErrorList:
    """A change through `/resize`."""
    errors = metadata_and_spec(pod, options)
    spec, before = pod["spec"], old["spec"]
    if annotations.MIRROR in (old["metadata"].get("annotations") or {}):
        return [field.forbidden(Path("[]"), "static pods cannot be resized")]
    if (before.get("os") or EMPTY).get("name") == "windows":
        return [field.forbidden(Path("[]"), "windows pods cannot be resized")]
    quality = (old.get("status") or EMPTY).get("qosClass") or resources.quality_of_service(before)
    if quality != resources.quality_of_service(spec):
        shown = (pod.get("status") or EMPTY).get("qosClass") or ""
        detail = "Pod QOS Class may not change as a result of resizing"
        errors.append(field.invalid(_SPEC, shown, detail))
    if not _supported(old):
        errors.append(field.forbidden(_SPEC, "Pod running on node without support for resize"))
    munged: Object = dict(spec)
    if _has_pod_level(spec) or _has_pod_level(before):
        problems, munged = _pod_level(spec, before)
        errors += problems
    ordering = _ordering(spec, before)
    if ordering:
        return errors + ordering
    for key in ("initContainers", "containers"):
        for position, container in enumerate(before.get(key) or ()):
            where = _SPEC.child(key).index(position).child("resources")
            errors += _removed(spec[key][position], container, where)
    errors += _containers(spec, before, munged)
    if semantically_equal(spec.get("volumes"), before.get("volumes")):
        pass
    else:
        detail = (
            "volumes are immutable on resize when InPlacePodVerticalScalingMemoryBackedVolumes "
            "feature gate is disabled"
        )
        errors.append(field.forbidden(_SPEC.child("volumes"), detail))
    if errors:
        return errors
    return [] if semantically_equal(munged, before) else [field.forbidden(_SPEC, _ONLY)]


def _supported(old: Object) -> bool:
    for status in (old.get("status") or EMPTY).get("containerStatuses") or ():
        if (status.get("state") or EMPTY).get("running") is not None:
            return status.get("resources") is not None
    return True


def _has_pod_level(spec: Object) -> bool:
    own: Object = spec.get("resources") or {}
    return bool(own.get("requests") or own.get("limits"))


def _pod_level(spec: Object, before: Object) -> tuple[ErrorList, Object]:
    new, old = spec.get("resources"), before.get("resources")
    where = _SPEC.child("resources")
    if old is not None and new is None:
        return [field.forbidden(where, "pod-level resources cannot be removed")], spec
    errors: ErrorList = []
    if old is not None:
        for key, shown in (("requests", "resource requests"), ("limits", "resource limits")):
            if _is_removed((new or EMPTY).get(key), old.get(key)):
                detail = f"pod-level {shown} cannot be removed"
                errors.append(field.forbidden(where.child(key), detail))
    munged: Object = dict(spec)
    restored = _restored(new or {}, old or {})
    if restored or old is not None:
        munged["resources"] = restored
    else:
        munged.pop("resources", None)
    if not semantically_equal(munged.get("resources"), old):
        detail = "only cpu and memory resources are mutable at pod-level"
        errors.append(field.forbidden(_SPEC, detail))
    return errors, munged


def _restored(new: Object, old: Object) -> Object:
    """Resources with cpu and memory as they were."""
    out: Object = dict(new)
    for key in ("limits", "requests"):
        amounts = {k: v for k, v in (new.get(key) or EMPTY).items() if k not in _RESIZABLE}
        amounts |= {k: v for k, v in (old.get(key) or EMPTY).items() if k in _RESIZABLE}
        if amounts:
            out[key] = amounts
        else:
            out.pop(key, None)
    return out


def _is_removed(new: Object | None, old: Object | None) -> bool:
    return not set(old or ()) <= set(new or ())


def _removed(new: Object, old: Object, path: Path) -> ErrorList:
    given: Object = new.get("resources") or {}
    before: Object = old.get("resources") or {}
    return [
        field.forbidden(path.child(key), f"resource {key} cannot be removed")
        for key in ("requests", "limits")
        if _is_removed(given.get(key), before.get(key))
    ]


def _ordering(spec: Object, before: Object) -> ErrorList:
    errors: ErrorList = []
    for key in ("containers", "initContainers"):
        new: list[Object] = spec.get(key) or []
        old: list[Object] = before.get(key) or []
        where = _SPEC.child(key)
        if len(new) != len(old):
            errors.append(field.forbidden(where, f"{key} may not be added or removed on resize"))
            continue
        errors += [
            field.forbidden(
                where.index(position).child("name"),
                f"{key} may not be renamed or reordered on resize",
            )
            for position, (a, b) in enumerate(zip(new, old, strict=True))
            if a.get("name") != b.get("name")
        ]
    return errors


def _containers(spec: Object, before: Object, munged: Object) -> ErrorList:
    errors: ErrorList = []
    for key in ("containers", "initContainers"):
        restored: list[Object] = []
        for position, container in enumerate(spec.get(key) or ()):
            old: Object = before[key][position]
            own = _restored(container.get("resources") or {}, old.get("resources") or {})
            new: Object = {**container, "resources": own}
            changed = not semantically_equal({**new, "resources": own}, {"resources": {}, **old})
            where = _SPEC.child(key).index(position)
            if key == "containers":
                if changed:
                    errors.append(field.forbidden(_SPEC, _ONLY))
            else:
                errors += _init(container, old, where, changed=changed)
            restored.append(new if changed else old)
        if restored:
            munged[key] = restored
    return errors


def _init(container: Object, old: Object, path: Path, *, changed: bool) -> ErrorList:
    errors: ErrorList = []
    if changed:
        detail = "only cpu and memory resources for init or sidecar containers are mutable"
        errors.append(field.forbidden(path, detail))
    sidecar = container.get("restartPolicy") == "Always"
    if not sidecar and not semantically_equal(container, old):
        detail = (
            "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
        )
        errors += [
            field.forbidden(path, detail)
            for policy in container.get("resizePolicy") or ()
            if policy.get("restartPolicy") == "RestartContainer"
        ]
    return errors
