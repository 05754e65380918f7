"""Deployments.

The law: the generation counts changes of the spec *and* of the annotations, because a rollback is
an annotation.  Through `/status` come status, annotations and finalizers, but no labels.

Follows `pkg/registry/apps/deployment/strategy.go`, `pkg/apis/apps/v1/defaults.go` and
`pkg/apis/apps/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, labels
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import bracketed
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import strategies
from pytest_kubesim.registry.apps import rollout_validation as rollout
from pytest_kubesim.registry.columns import age, layout_containers, printer
from pytest_kubesim.registry.pod_template import defaults, disabled_fields, go_structs, warnings
from pytest_kubesim.registry.rest import Context, Kind, Scale
from pytest_kubesim.registry.strategies import (
    DNS_LABEL_RECOMMENDED,
    EMPTY,
    SPEC,
    STATUS,
    StatusOnly,
    WithStatus,
    counts_within,
    keeping,
    nonnegative,
    raised,
    semantically_equal,
)

TEMPLATE = SPEC.child("template")


class DeploymentStrategy(WithStatus):
    """`/deployments`."""

    generations = True

    def default(self, obj: Object) -> Object:
        """`SetObjectDefaults_Deployment`."""
        spec: Object = dict(obj.get("spec") or {})
        if spec.get("replicas") is None:
            spec["replicas"] = 1
        strategy: Object = dict(spec.get("strategy") or {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling: Object = dict(strategy.get("rollingUpdate") or {})
            for key in ("maxUnavailable", "maxSurge"):
                if rolling.get(key) is None:
                    rolling[key] = "25%"
            strategy["rollingUpdate"] = rolling
        spec["strategy"] = strategy
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10
        if spec.get("progressDeadlineSeconds") is None:
            spec["progressDeadlineSeconds"] = 600
        spec["template"] = defaults.pod_template(spec.get("template"))
        return {**obj, "spec": spec}

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Without a status, at generation 1."""
        return with_template_dropped(super().prepare_for_create(ctx, obj), None)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old status; a generation further if spec or annotations have changed."""
        del ctx
        obj = with_template_dropped(keeping(obj, old, "status"), old)
        annotations: Object = obj["metadata"].get("annotations") or {}
        if semantically_equal(obj["spec"], old["spec"]) and annotations == (
            old["metadata"].get("annotations") or {}
        ):
            return obj
        return raised(obj, old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateDeploymentSpec`."""
        errors = _spec(obj["spec"], old)
        return errors if old is None else errors + immutable_selector(obj, old)

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """A name that makes no hostname, and what the template deserves."""
        del ctx
        return name_warnings(obj) + warnings.template_warnings(obj["spec"]["template"], TEMPLATE)

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """What the template deserves, if the generation has risen."""
        del ctx
        return update_warnings(obj, old)


def name_warnings(obj: Object) -> list[str]:
    """A warning for a name that is no DNS label."""
    messages = formats.is_dns1123_label(obj["metadata"].get("name") or "")
    return [f"{DNS_LABEL_RECOMMENDED}{bracketed(messages)}"] if messages else []


def update_warnings(obj: Object, old: Object) -> list[str]:
    """Those of the template, where the generation has risen."""
    if obj["metadata"].get("generation") == old["metadata"].get("generation"):
        return []
    return warnings.template_warnings(obj["spec"]["template"], TEMPLATE)


def with_template_dropped(obj: Object, old: Object | None) -> Object:
    """The object whose template lacks the fields of disabled features."""
    template: Object = obj["spec"]["template"]
    before: Object | None = None if old is None else old["spec"].get("template")
    new = disabled_fields.drop(template, before)
    return obj if new is template else {**obj, "spec": {**obj["spec"], "template": new}}


def immutable_selector(obj: Object, old: Object) -> list[FieldError]:
    """`spec.selector` may not change."""
    return strategies.immutable_selector(obj["spec"], old["spec"], SPEC.child("selector"))


def _spec(spec: Object, old: Object | None) -> ErrorList:
    errors = nonnegative(spec, SPEC, "replicas")
    problems, selector = rollout.selector_of(spec, SPEC, "deployment")
    errors += problems
    if selector is None:
        where = SPEC.child("selector")
        shown = strategies.selector_value(spec.get("selector"))
        errors.append(field.invalid(where, shown, "invalid label selector"))
    else:
        errors += rollout.validate_replica_template(spec["template"], selector, TEMPLATE, old)
    errors += _strategy(spec.get("strategy") or {}, SPEC.child("strategy"))
    errors += nonnegative(spec, SPEC, "minReadySeconds", "revisionHistoryLimit")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        errors += nonnegative(spec, SPEC, "progressDeadlineSeconds")
        if deadline <= (spec.get("minReadySeconds") or 0):
            where = SPEC.child("progressDeadlineSeconds")
            errors.append(field.invalid(where, deadline, "must be greater than minReadySeconds"))
    return errors


def _strategy(strategy: Object, path: Path) -> ErrorList:
    kind, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    where = path.child("rollingUpdate")
    if kind == "Recreate":
        if rolling is None:
            return []
        detail = "may not be specified when strategy `type` is 'Recreate'"
        return [field.forbidden(where, detail)]
    if kind != "RollingUpdate":
        shown = go_structs.printed("DeploymentStrategy", strategy)
        return [field.not_supported(path, shown, ("Recreate", "RollingUpdate"))]
    if rolling is None:
        return [field.required(where, "this should be defaulted and never be nil")]
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    at = where.child("maxUnavailable")
    errors = rollout.positive_int_or_percent(unavailable, at)
    errors += rollout.positive_int_or_percent(surge, where.child("maxSurge"))
    if not rollout.amount_of(unavailable) and not rollout.amount_of(surge):
        errors.append(field.invalid(at, unavailable, "may not be 0 when `maxSurge` is 0"))
    return errors + rollout.at_most_100_percent(unavailable, at)


class DeploymentStatusStrategy(StatusOnly):
    """`/deployments/{name}/status`."""

    reset_fields = (("spec",), ("metadata", "labels"))
    kept_metadata = ("labels",)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateDeploymentStatusUpdate`."""
        status: Object = obj.get("status") or {}
        errors = nonnegative(
            status,
            STATUS,
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        )
        names = ("updatedReplicas", "readyReplicas", "availableReplicas")
        message = "cannot be greater than status.replicas"
        errors += counts_within(status, STATUS, names, "replicas", message)
        message = "cannot be greater than readyReplicas"
        errors += counts_within(status, STATUS, ("availableReplicas",), "readyReplicas", message)
        return errors + rollout.collision_count(status, (old or EMPTY).get("status") or {}, STATUS)


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec: Object = obj.get("spec") or {}
    status: Object = obj.get("status") or {}
    names, images = layout_containers(
        ((spec.get("template") or EMPTY).get("spec") or EMPTY).get("containers")
    )
    try:
        selector = str(labels.from_label_selector(spec.get("selector")))
    except ValueError:
        selector = "<invalid>"
    return [
        obj["metadata"]["name"],
        f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}",
        status.get("updatedReplicas") or 0,
        status.get("availableReplicas") or 0,
        age(obj, now_ns),
        names,
        images,
        selector,
    ]


KIND = Kind(
    strategy=DeploymentStrategy(),
    status=DeploymentStatusStrategy(),
    printer=printer("Deployment", _row),
    scale=Scale(),
)
