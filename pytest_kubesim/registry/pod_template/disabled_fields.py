"""Fields behind feature gates that are off: dropped, unless the object had them already.

Follows `DropDisabledTemplateFields` of `pkg/api/pod/util.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.registry.strategies import EMPTY

_INIT_ANNOTATIONS = (
    "pod.beta.kubernetes.io/init-containers",
    "pod.alpha.kubernetes.io/init-containers",
    "pod.beta.kubernetes.io/init-container-statuses",
    "pod.alpha.kubernetes.io/init-container-statuses",
)
_KINDS = ("initContainers", "containers", "ephemeralContainers")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def drop(holder: Object, old: Object | None) -> Object:
    """A Pod or a template (anything with `metadata` and `spec`) without disabled fields."""
    out = holder
    annotations: Mapping[str, str] | None = (holder.get("metadata") or EMPTY).get("annotations")
    if annotations and any(key in annotations for key in _INIT_ANNOTATIONS):
        kept = {k: v for k, v in annotations.items() if k not in _INIT_ANNOTATIONS}
        out = {**out, "metadata": {**out["metadata"], "annotations": kept}}
    spec: Object = holder.get("spec") or {}
    new = _drop_spec(spec, (old or EMPTY).get("spec") or {})
    return out if new is spec else {**out, "spec": new}


def _drop_spec(spec: Object, old: Object) -> Object:
    out = spec
    for key in ("schedulingGroup", "evictionResponders"):
        if spec.get(key) is not None and not old.get(key):
            out = {k: v for k, v in out.items() if k != key}
    for key in _KINDS:
        containers: list[Object] | None = spec.get(key)
        if containers and any(_suspect(c) for c in containers):
            old_containers = [c for kind in _KINDS for c in old.get(kind) or ()]
            out = {**out, key: [_drop_container(c, old_containers) for c in containers]}
    volumes: list[Object] | None = spec.get("volumes")
    if volumes and any(_has_disabled_volume_field(v) for v in volumes):
        old_volumes: list[Object] = old.get("volumes") or []
        out = {**out, "volumes": [_drop_volume(v, old_volumes) for v in volumes]}
    return out


def _suspect(container: Object) -> bool:
    if container.get("lifecycle") is not None:
        return True
    if any(container.get(key) is not None for key in _PROBES):
        return True
    return any("bindMountOptions" in m for m in container.get("volumeMounts") or ())


def _uses(containers: list[Object], *, what: str) -> bool:
    for container in containers:
        lifecycle: Object = container.get("lifecycle") or {}
        probes: list[Object] = [container.get(key) or {} for key in _PROBES]
        if what == "stopSignal" and lifecycle.get("stopSignal") is not None:
            return True
        if what == "mode" and any((p.get("grpc") or EMPTY).get("mode") is not None for p in probes):
            return True
        hooks: list[Object] = [lifecycle.get(key) or {} for key in ("postStart", "preStop")]
        if what == "protocol" and any(
            (h.get("httpGet") or EMPTY).get("protocol") is not None for h in probes + hooks
        ):
            return True
        if what == "bindMountOptions" and any(
            m.get("bindMountOptions") for m in container.get("volumeMounts") or ()
        ):
            return True
    return False


def _without(holder: Object, key: str, field: str) -> Object:
    inner = holder.get(key)
    if not inner or field not in inner:
        return holder
    return {**holder, key: {k: v for k, v in inner.items() if k != field}}


def _drop_container(container: Object, old: list[Object]) -> Object:
    out: Object = dict(container)
    for key in _PROBES:
        if out.get(key) is None:
            continue
        if not _uses(old, what="mode"):
            out[key] = _without(out[key], "grpc", "mode")
        if not _uses(old, what="protocol"):
            out[key] = _without(out[key], "httpGet", "protocol")
    lifecycle: Object | None = out.get("lifecycle")
    if lifecycle is not None:
        lifecycle = dict(lifecycle)
        if "stopSignal" in lifecycle and not _uses(old, what="stopSignal"):
            del lifecycle["stopSignal"]
            if not lifecycle:
                del out["lifecycle"]
        for key in ("postStart", "preStop"):
            if lifecycle.get(key) and not _uses(old, what="protocol"):
                lifecycle[key] = _without(lifecycle[key], "httpGet", "protocol")
        if "lifecycle" in out:
            out["lifecycle"] = lifecycle
    if out.get("volumeMounts") and not _uses(old, what="bindMountOptions"):
        out["volumeMounts"] = [
            {k: v for k, v in m.items() if k != "bindMountOptions"} for m in out["volumeMounts"]
        ]
    return out


_USERS = ("secret", "configMap", "downwardAPI", "projected")


def _has_disabled_volume_field(volume: Object) -> bool:
    if "mode" in (volume.get("emptyDir") or ()):
        return True
    return any(key in volume and _has_user(volume[key]) for key in _USERS)


def _has_user(value: Any) -> bool:
    if isinstance(value, dict):
        return any(
            key in ("user", "defaultUser") or _has_user(inner)
            for key, inner in value.items()  # pyright: ignore[reportUnknownVariableType]
        )
    if isinstance(value, list):
        return any(_has_user(item) for item in value)  # pyright: ignore[reportUnknownVariableType]
    return False


def _no_users(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _no_users(inner)
            for key, inner in value.items()  # pyright: ignore[reportUnknownVariableType]
            if key not in ("user", "defaultUser")
        }
    if isinstance(value, list):
        return [_no_users(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _drop_volume(volume: Object, old: list[Object]) -> Object:
    out: Object = dict(volume)
    if "mode" in (volume.get("emptyDir") or ()):
        if not any("mode" in (v.get("emptyDir") or ()) for v in old):
            out = _without(out, "emptyDir", "mode")
    if not any(_has_user(v.get(key)) for v in old for key in _USERS):
        for key in _USERS:
            if key in out:
                out[key] = _no_users(out[key])
    return out
