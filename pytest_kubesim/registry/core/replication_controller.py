"""ReplicationControllers.

Follows `pkg/registry/core/replicationcontroller/strategy.go` and
`ValidateReplicationControllerSpec` of `pkg/apis/core/validation/validation.go`.  Some of its rules
are declarative by now (`+k8s:beta`), so that their complaints come last.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, labels
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import bracketed
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError
from pytest_kubesim.registry.columns import age, labels_text, layout_containers, printer
from pytest_kubesim.registry.pod_template import defaults, disabled_fields, options, warnings
from pytest_kubesim.registry.pod_template.pod_spec import validate_template
from pytest_kubesim.registry.rest import Context, Kind, Scale
from pytest_kubesim.registry.strategies import (
    DNS_LABEL_RECOMMENDED,
    EMPTY,
    SPEC,
    STATUS,
    StatusOnly,
    WithStatus,
    counts_within,
    declared_long_name,
    nonnegative,
)

_TEMPLATE = SPEC.child("template")


class ReplicationControllerStrategy(WithStatus):
    """`/replicationcontrollers`."""

    declares_name = True
    generations = True
    default_garbage_collection_policy = "Orphan"
    selectable = ("metadata.name", "metadata.namespace", "status.replicas")

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """By a declared rule."""
        return declared_long_name(name, prefix)

    def default(self, obj: Object) -> Object:
        """`SetObjectDefaults_ReplicationController`."""
        spec: Object = dict(obj.get("spec") or {})
        template: Object | None = spec.get("template")
        found: dict[str, str] | None = ((template or EMPTY).get("metadata") or EMPTY).get("labels")
        out: Object = {**obj, "spec": spec}
        if found is not None:
            if not spec.get("selector"):
                spec["selector"] = found
            metadata: Object = obj.get("metadata") or {}
            if not metadata.get("labels"):
                out["metadata"] = {**metadata, "labels": found}
        if spec.get("replicas") is None:
            spec["replicas"] = 1
        if template is not None:
            spec["template"] = defaults.pod_template(template)
        return out

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Without a status, at generation 1."""
        return _dropped(super().prepare_for_create(ctx, obj), None)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old status; a generation further if the spec has changed."""
        return super().prepare_for_update(ctx, _dropped(obj, old), old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateReplicationControllerSpec`."""
        spec: Object = obj["spec"]
        errors: ErrorList = []
        if not spec.get("selector"):
            errors.append(field.required(SPEC.child("selector")))
        template: Object | None = spec.get("template")
        if template is None:
            errors.append(field.required(_TEMPLATE))
        else:
            errors += _template(template, spec.get("selector") or {}, old)
        declared = nonnegative(spec, SPEC, "replicas", "minReadySeconds")
        if spec.get("replicas") is None:
            declared.insert(0, field.required(SPEC.child("replicas")))
        return errors + field.declared(declared)

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """A name that makes no hostname, and what the template deserves."""
        del ctx
        messages = formats.is_dns1123_label(obj["metadata"].get("name") or "")
        found = [f"{DNS_LABEL_RECOMMENDED}{bracketed(messages)}"] if messages else []
        template: Object | None = obj["spec"].get("template")
        return found + (warnings.template_warnings(template, _TEMPLATE) if template else [])

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """What the template deserves, if the generation has risen."""
        del ctx
        template: Object | None = obj["spec"].get("template")
        same = obj["metadata"].get("generation") == old["metadata"].get("generation")
        return [] if same or not template else warnings.template_warnings(template, _TEMPLATE)

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """How many pods there are."""
        return {"status.replicas": str((obj.get("status") or EMPTY).get("replicas") or 0)}


def _dropped(obj: Object, old: Object | None) -> Object:
    template: Object | None = obj["spec"].get("template")
    if template is None:
        return obj
    new = disabled_fields.drop(template, None if old is None else old["spec"].get("template"))
    return obj if new is template else {**obj, "spec": {**obj["spec"], "template": new}}


def _template(template: Object, selector: dict[str, str], old: Object | None) -> ErrorList:
    errors: ErrorList = []
    found: dict[str, str] | None = (template.get("metadata") or EMPTY).get("labels")
    if selector and not labels.from_set(selector).matches(found):
        where = _TEMPLATE.child("metadata", "labels")
        detail = "`selector` does not match template `labels`"
        errors.append(field.invalid(where, found, detail))
    before: Object = (old["spec"].get("template") or {}) if old is not None else {}
    if template != before:
        opts = options.for_update(before.get("spec"), before.get("metadata"), is_pod=False)
        errors += validate_template(template, _TEMPLATE, opts)
    spec: Object = template.get("spec") or {}
    policy = spec.get("restartPolicy") or ""
    if policy != "Always":
        where = _TEMPLATE.child("spec", "restartPolicy")
        errors.append(field.not_supported(where, policy, ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        where = _TEMPLATE.child("spec", "activeDeadlineSeconds")
        detail = "activeDeadlineSeconds in ReplicationController is not Supported"
        errors.append(field.forbidden(where, detail))
    return errors


class ReplicationControllerStatusStrategy(StatusOnly):
    """`/replicationcontrollers/{name}/status`."""

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateReplicationControllerStatus`."""
        del old
        status: Object = obj.get("status") or {}
        errors = nonnegative(
            status,
            STATUS,
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "observedGeneration",
        )
        names = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
        message = "cannot be greater than status.replicas"
        errors += counts_within(status, STATUS, names, "replicas", message)
        message = "cannot be greater than readyReplicas"
        names = ("availableReplicas",)
        return errors + counts_within(status, STATUS, names, "readyReplicas", message)


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec: Object = obj.get("spec") or {}
    status: Object = obj.get("status") or {}
    names, images = layout_containers(
        ((spec.get("template") or EMPTY).get("spec") or EMPTY).get("containers")
    )
    return [
        obj["metadata"]["name"],
        spec.get("replicas") or 0,
        status.get("replicas") or 0,
        status.get("readyReplicas") or 0,
        age(obj, now_ns),
        names,
        images,
        labels_text(spec.get("selector")),
    ]


KIND = Kind(
    strategy=ReplicationControllerStrategy(),
    status=ReplicationControllerStatusStrategy(),
    printer=printer("ReplicationController", _row),
    scale=Scale(),
)
