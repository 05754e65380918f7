"""Pods.

The law: a pod that is not bound to a node, or has finished, is deleted at once; another gets its
grace period, and whoever runs it deletes it with a grace period of 0.

Follows `pkg/registry/core/pod/strategy.go` and `printPod` of
`pkg/printers/internalversion/printers.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import addresses, formats
from pytest_kubesim.apimachinery.golang import bracketed
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError
from pytest_kubesim.registry.core.pod_printer import PRINTER
from pytest_kubesim.registry.pod_template import (
    annotations,
    defaults,
    disabled_fields,
    options,
    pod_resize,
    pod_status,
    pods,
    resources,
    warnings,
)
from pytest_kubesim.registry.pod_template.security_context import app_armor_profile
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    EMPTY,
    METADATA,
    STATUS,
    Plain,
    keeping,
    keeping_metadata,
    kube_finalizers,
    once,
    raised,
    reset_metadata_for_status,
    semantically_equal,
    with_generation,
)

_GATED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}


class PodStrategy(Plain):
    """`/pods`."""

    reset_fields = (("status",),)
    selectable = (
        "metadata.name",
        "metadata.namespace",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    )

    def default(self, obj: Object) -> Object:
        """`SetObjectDefaults_Pod`."""
        return defaults.pod(obj)

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Pending, at generation 1, with its quality of service."""
        obj = disabled_fields.drop(with_generation(obj, 1), None)
        spec: Object = obj["spec"]
        labels: dict[str, str] = obj["metadata"].get("labels") or {}
        status: Object = {"phase": "Pending"}
        if spec.get("schedulingGates"):
            status["conditions"] = [{**_GATED, "lastTransitionTime": ctx.now}]
        if spec.get("affinity"):
            spec = {**spec, "affinity": _with_label_keys(spec["affinity"], labels)}
        if spec.get("topologySpreadConstraints"):
            constraints = [_merged(c, labels) for c in spec["topologySpreadConstraints"]]
            spec = {**spec, "topologySpreadConstraints": constraints}
        spec = _with_app_armor(ctx, spec, obj["metadata"].get("annotations") or {})
        spec = resources.with_pod_level_defaults(spec)
        status["qosClass"] = resources.quality_of_service(spec)
        return {**obj, "spec": spec, "status": status}

    def validate(self, ctx: Context, obj: Object) -> list[FieldError]:
        """`ValidatePodCreate`."""
        del ctx
        return once(kube_finalizers(obj) + pods.validate_create(obj, options.POD))

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """A name that makes no hostname, and what the spec deserves."""
        del ctx
        found: list[str] = []
        if messages := formats.is_dns1123_label(obj["metadata"].get("name") or ""):
            found.append(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising "
                f"behavior; a DNS label is recommended: {bracketed(messages)}"
            )
        return found + warnings.pod_warnings(obj)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old status; the generation counts changes of the spec."""
        del ctx
        obj = keeping(obj, old, "status")
        if old["spec"].get("resources") is not None and obj["spec"].get("resources") is None:
            obj = {**obj, "spec": {**obj["spec"], "resources": old["spec"]["resources"]}}
        obj = disabled_fields.drop(obj, old)
        return _generation(obj, old)

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> list[FieldError]:
        """`ValidatePodUpdate`."""
        del ctx
        return once(kube_finalizers(obj) + pods.validate_update(obj, old, _options(old)))

    def check_graceful_delete(self, ctx: Context, obj: Object, seconds: int | None) -> int | None:
        """What was asked for, or the pod's own grace period."""
        del ctx
        spec: Object = obj["spec"]
        period: int = spec.get("terminationGracePeriodSeconds") or 0
        if seconds is not None:
            period = seconds
        phase = (obj.get("status") or EMPTY).get("phase")
        if not spec.get("nodeName") or phase in ("Failed", "Succeeded"):
            return 0
        return 1 if period < 0 else period

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """What field selectors of pods see."""
        spec: Object = obj["spec"]
        status: Object = obj.get("status") or {}
        podips: list[Object] | None = status.get("podIPs")
        return {
            "spec.nodeName": spec.get("nodeName") or "",
            "spec.restartPolicy": spec.get("restartPolicy") or "",
            "spec.schedulerName": spec.get("schedulerName") or "",
            "spec.serviceAccountName": spec.get("serviceAccountName") or "",
            "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
            "status.phase": status.get("phase") or "",
            "status.podIPs": "",
            "status.podIP": podips[0].get("ip") or "" if podips else "",
            "status.nominatedNodeName": status.get("nominatedNodeName") or "",
        }


def _options(old: Object) -> options.PodOptions:
    return options.for_update(old["spec"], old["metadata"], is_pod=True)


def _generation(obj: Object, old: Object) -> Object:
    if semantically_equal(obj["spec"], old["spec"]):
        return obj
    return raised(obj, old)


# -- label keys --------------------------------------------------------------------------------


def _selector_with(
    selector: Object, keys: list[str], operator: str, labels: dict[str, str]
) -> Object:
    added = [
        {"key": key, "operator": operator, "values": [labels[key]]} for key in keys if key in labels
    ]
    if not added:
        return selector
    return {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *added]}


def _merged(holder: Object, labels: dict[str, str]) -> Object:
    """A term or constraint whose selector demands what its label keys stand for."""
    match: list[str] = holder.get("matchLabelKeys") or []
    mismatch: list[str] = holder.get("mismatchLabelKeys") or []
    selector = holder.get("labelSelector")
    if selector is None or not (match or mismatch):
        return holder
    selector = _selector_with(selector, match, "In", labels)
    selector = _selector_with(selector, mismatch, "NotIn", labels)
    return {**holder, "labelSelector": selector}


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def _with_label_keys(affinity: Object, labels: dict[str, str]) -> Object:
    out: Object = dict(affinity)
    for key in ("podAffinity", "podAntiAffinity"):
        found: Object | None = affinity.get(key)
        if not found:
            continue
        found = dict(found)
        if found.get(_REQUIRED):
            found[_REQUIRED] = [_merged(term, labels) for term in found[_REQUIRED]]
        if found.get(_PREFERRED):
            found[_PREFERRED] = [
                {
                    **weighted,
                    "podAffinityTerm": _merged(weighted.get("podAffinityTerm") or {}, labels),
                }
                for weighted in found[_PREFERRED]
            ]
        out[key] = found
    return out


def _with_app_armor(ctx: Context, spec: Object, found: dict[str, str]) -> Object:
    """The spec with the fields that AppArmor annotations stand for (`applyAppArmorVersionSkew`)."""
    if not any(key.startswith(annotations.APP_ARMOR) for key in found):
        return spec
    if (spec.get("os") or EMPTY).get("name") == "windows":
        return spec
    of_pod = (spec.get("securityContext") or EMPTY).get("appArmorProfile")
    out: Object = dict(spec)
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        if not spec.get(kind):
            continue
        changed: list[Object] = []
        for container in spec[kind]:
            key = f"{annotations.APP_ARMOR}{container.get('name') or ''}"
            context: Object = container.get("securityContext") or {}
            if key not in found or context.get("appArmorProfile") is not None:
                changed.append(container)
                continue
            profile = annotations.app_armor_profile_of(found[key])
            if profile is not None and app_armor_profile(profile, METADATA):
                profile = None
            if profile is None or profile != of_pod:
                where = METADATA.child("annotations").key(key)
                ctx.warn(f"{where}: {warnings.APP_ARMOR_DEPRECATED}")
            if profile is not None and profile != of_pod:
                context = {**context, "appArmorProfile": profile}
                container = {**container, "securityContext": context}
            changed.append(container)
        out[kind] = changed
    return out


# -- subresources ------------------------------------------------------------------------------


class PodStatusStrategy(PodStrategy):
    """`/pods/{name}/status`."""

    reset_fields = (
        ("spec",),
        ("metadata", "deletionTimestamp"),
        ("metadata", "ownerReferences"),
    )

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec, and what a kubelet of another age does not know."""
        del ctx
        obj = keeping(obj, old, "spec")
        obj = keeping_metadata(obj, old, "deletionTimestamp", "ownerReferences")
        status: Object = dict(obj.get("status") or {})
        before: Object = old.get("status") or {}
        for key in ("qosClass", "resourceClaimStatuses", "extendedResourceClaimStatus"):
            if not status.get(key) and before.get(key):
                status[key] = before[key]
        if not status.get("observedGeneration") and before.get("observedGeneration"):
            status["observedGeneration"] = before["observedGeneration"]
        if status.get("conditions") and before.get("conditions"):
            status["conditions"] = _observed(status["conditions"], before["conditions"])
        return {**obj, "status": status}

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> list[FieldError]:
        """`ValidatePodStatusUpdate`."""
        del ctx
        return once(
            kube_finalizers(obj)
            + pod_status.validate_status_update(obj, old, lambda: _options(old))
        )

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """Addresses that are accepted and will not always be."""
        del ctx, old
        status: Object = obj.get("status") or {}
        return [
            text
            for key in ("podIPs", "hostIPs")
            for position, entry in enumerate(status.get(key) or ())
            for text in addresses.ip_warnings(
                f"{STATUS.child(key)}[{position}].ip", entry.get("ip") or ""
            )
        ]


def _observed(conditions: list[Object], before: list[Object]) -> list[Object]:
    """Conditions with the observed generation of the old ones where they name none."""
    known: dict[str, list[int]] = {}
    for condition in before:
        found = condition.get("observedGeneration") or 0
        known.setdefault(condition.get("type") or "", []).append(found)
    out: list[Object] = []
    for condition in conditions:
        queue = known.get(condition.get("type") or "")
        generation = queue.pop(0) if queue else 0
        if generation and not condition.get("observedGeneration"):
            condition = {**condition, "observedGeneration": generation}
        out.append(condition)
    return out


class EphemeralContainersStrategy(PodStrategy):
    """`/pods/{name}/ephemeralcontainers`."""

    reset_fields = ()

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """Nothing but ephemeral containers changes."""
        del ctx
        added = obj["spec"].get("ephemeralContainers")
        spec: Object = {k: v for k, v in old["spec"].items() if k != "ephemeralContainers"}
        if added:
            spec["ephemeralContainers"] = added
        obj = reset_metadata_for_status(keeping({**obj, "spec": spec}, old, "status"), old)
        return _generation(disabled_fields.drop(obj, old), old)

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> list[FieldError]:
        """`ValidatePodEphemeralContainersUpdate`."""
        del ctx
        return once(kube_finalizers(obj) + pods.validate_ephemeral_update(obj, old, _options(old)))


class ResizeStrategy(PodStrategy):
    """`/pods/{name}/resize`."""

    reset_fields = ()

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """Nothing but resources and resize policies changes."""
        del ctx
        new, before = obj["spec"], old["spec"]
        if all(
            len(new.get(key) or ()) == len(before.get(key) or ())
            for key in ("containers", "initContainers")
        ):
            spec: Object = dict(before)
            for key in ("containers", "initContainers"):
                if new.get(key):
                    spec[key] = _resized(new[key], before[key])
            if new.get("resources") is not None:
                spec["resources"] = new["resources"]
            obj = reset_metadata_for_status(keeping({**obj, "spec": spec}, old, "status"), old)
        if obj["spec"].get("resources") is not None:
            obj = {**obj, "spec": resources.with_pod_level_defaults(obj["spec"])}
        return _generation(disabled_fields.drop(obj, old), old)

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> list[FieldError]:
        """`ValidatePodResize`."""
        del ctx
        return once(kube_finalizers(obj) + pod_resize.validate_resize(obj, old, _options(old)))


def _resized(new: list[Object], old: list[Object]) -> list[Object]:
    out: list[Object] = []
    for container, before in zip(new, old, strict=True):
        if container.get("name") != before.get("name"):
            return new
        merged: Any = {**before, "resources": container.get("resources") or {}}
        merged.pop("resizePolicy", None)
        if container.get("resizePolicy"):
            merged["resizePolicy"] = container["resizePolicy"]
        out.append(merged)
    return out


KIND = Kind(
    strategy=PodStrategy(),
    status=PodStatusStrategy(),
    others={
        "ephemeralcontainers": EphemeralContainersStrategy(),
        "resize": ResizeStrategy(),
    },
    printer=PRINTER,
)
