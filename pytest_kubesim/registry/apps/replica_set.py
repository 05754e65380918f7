"""ReplicaSets.

Follows `pkg/registry/apps/replicaset/strategy.go` and `ValidateReplicaSetSpec` of
`pkg/apis/apps/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import labels
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError
from pytest_kubesim.registry.apps import rollout_validation as rollout
from pytest_kubesim.registry.apps.deployment import (
    TEMPLATE,
    immutable_selector,
    name_warnings,
    update_warnings,
    with_template_dropped,
)
from pytest_kubesim.registry.columns import age, layout_containers, printer
from pytest_kubesim.registry.pod_template import defaults, warnings
from pytest_kubesim.registry.rest import Context, Kind, Scale
from pytest_kubesim.registry.strategies import (
    EMPTY,
    SPEC,
    STATUS,
    StatusOnly,
    WithStatus,
    counts_within,
    nonnegative,
    selector_value,
)


class ReplicaSetStrategy(WithStatus):
    """`/replicasets`."""

    generations = True

    def default(self, obj: Object) -> Object:
        """`SetObjectDefaults_ReplicaSet`."""
        spec: Object = dict(obj.get("spec") or {})
        if spec.get("replicas") is None:
            spec["replicas"] = 1
        spec["template"] = defaults.pod_template(spec.get("template"))
        return {**obj, "spec": spec}

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Without a status, at generation 1."""
        return with_template_dropped(super().prepare_for_create(ctx, obj), None)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old status; a generation further if the spec has changed."""
        return super().prepare_for_update(ctx, with_template_dropped(obj, old), old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateReplicaSetSpec`."""
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


def _spec(spec: Object, old: Object | None) -> ErrorList:
    errors = nonnegative(spec, SPEC, "replicas", "minReadySeconds")
    # Upstream's text speaks of deployments here as well.
    problems, selector = rollout.selector_of(spec, SPEC, "deployment")
    errors += problems
    if selector is None:
        where = SPEC.child("selector")
        shown = selector_value(spec.get("selector"))
        errors.append(field.invalid(where, shown, "invalid label selector"))
        return errors
    return errors + rollout.validate_replica_template(spec["template"], selector, TEMPLATE, old)


def replica_status(status: Object) -> ErrorList:
    """`ValidateReplicaSetStatus`, which holds for ReplicationControllers too."""
    errors = nonnegative(
        status,
        STATUS,
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    )
    names = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    message = "cannot be greater than status.replicas"
    errors += counts_within(status, STATUS, names, "replicas", message)
    message = "cannot be greater than readyReplicas"
    return errors + counts_within(status, STATUS, ("availableReplicas",), "readyReplicas", message)


class ReplicaSetStatusStrategy(StatusOnly):
    """`/replicasets/{name}/status`."""

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateReplicaSetStatus`."""
        del old
        return replica_status(obj.get("status") or {})


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
        labels.format_label_selector(spec.get("selector")),
    ]


KIND = Kind(
    strategy=ReplicaSetStrategy(),
    status=ReplicaSetStatusStrategy(),
    printer=printer("ReplicaSet", _row),
    scale=Scale(),
)
