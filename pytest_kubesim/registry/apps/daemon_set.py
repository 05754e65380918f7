"""DaemonSets.

The law: `templateGeneration`, which has no field any more, lives on in an annotation that the
server keeps; it counts changes of the template.

Follows `pkg/registry/apps/daemonset/strategy.go`, `pkg/apis/apps/v1/conversion.go` and
`ValidateDaemonSetSpec` of `pkg/apis/apps/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import labels, metav1
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import parse_int
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry.apps import rollout_validation as rollout
from pytest_kubesim.registry.apps.deployment import (
    TEMPLATE,
    immutable_selector,
    with_template_dropped,
)
from pytest_kubesim.registry.columns import age, labels_text, layout_containers, printer
from pytest_kubesim.registry.pod_template import defaults, go_structs, warnings
from pytest_kubesim.registry.pod_template.pod_spec import validate_template
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    EMPTY,
    SPEC,
    STATUS,
    StatusOnly,
    WithStatus,
    keeping,
    nonnegative,
    raised,
    semantically_equal,
)

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def _template_generation(obj: Object) -> int:
    text = (obj["metadata"].get("annotations") or EMPTY).get(TEMPLATE_GENERATION, "")
    try:
        return parse_int(text)
    except ValueError:
        return 0


def _with_template_generation(obj: Object, generation: int) -> Object:
    metadata: Object = dict(obj["metadata"])
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        TEMPLATE_GENERATION: str(generation),
    }
    return {**obj, "metadata": metadata}


class DaemonSetStrategy(WithStatus):
    """`/daemonsets`."""

    def default(self, obj: Object) -> Object:
        """`SetObjectDefaults_DaemonSet`."""
        spec: Object = dict(obj.get("spec") or {})
        strategy: Object = dict(spec.get("updateStrategy") or {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling: Object = dict(strategy.get("rollingUpdate") or {})
            for key, value in (("maxUnavailable", 1), ("maxSurge", 0)):
                if rolling.get(key) is None:
                    rolling[key] = value
            strategy["rollingUpdate"] = rolling
        elif strategy.get("rollingUpdate") is not None:
            # Its fields are no pointers inside: what is left out comes back as nothing.
            zeros = {"maxUnavailable": 0, "maxSurge": 0}
            given: Object = strategy["rollingUpdate"]
            present = {k: v for k, v in given.items() if v is not None}
            strategy["rollingUpdate"] = {**zeros, **present}
        spec["updateStrategy"] = strategy
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10
        spec["template"] = defaults.pod_template(spec.get("template"))
        obj = {**obj, "metadata": obj.get("metadata") or {}, "spec": spec}
        # The conversion writes the internal template generation back, whatever was in its place.
        return _with_template_generation(obj, _template_generation(obj))

    generations = True

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Without a status, at generation and template generation 1."""
        obj = with_template_dropped(super().prepare_for_create(ctx, obj), None)
        return _with_template_generation(obj, max(_template_generation(obj), 1))

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old status; both generations further if what they count has changed."""
        del ctx
        obj = keeping(with_template_dropped(obj, old), old, "status")
        generation = _template_generation(old)
        if not semantically_equal(obj["spec"].get("template"), old["spec"].get("template")):
            return raised(_with_template_generation(obj, generation + 1), old)
        obj = _with_template_generation(obj, generation)
        return obj if semantically_equal(obj["spec"], old["spec"]) else raised(obj, old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateDaemonSetSpec`, `ValidateDaemonSetSpecUpdate`."""
        errors = [] if old is None else immutable_selector(obj, old)
        return errors + _spec(obj["spec"], old)

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """What the template deserves."""
        del ctx
        return warnings.template_warnings(obj["spec"]["template"], TEMPLATE)

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """What the template deserves, if it has changed."""
        del ctx
        if _template_generation(obj) == _template_generation(old):
            return []
        return warnings.template_warnings(obj["spec"]["template"], TEMPLATE)


def _spec(spec: Object, old: Object | None) -> ErrorList:
    selector: Object | None = spec.get("selector")
    where = SPEC.child("selector")
    before = None if old is None else old["spec"].get("selector")
    errors = metav1.validate_label_selector(
        selector,
        where,
        allow_invalid_values=metav1.label_selector_has_invalid_label_value(before),
    )
    template: Object = spec["template"]
    found: dict[str, str] | None = (template.get("metadata") or EMPTY).get("labels")
    try:
        matches = labels.from_label_selector(selector).matches(found)
    except ValueError:
        matches = True
    if not matches:
        at = TEMPLATE.child("metadata", "labels")
        errors.append(field.invalid(at, found, rollout.MISMATCH))
    if (
        selector is not None
        and not selector.get("matchLabels")
        and not selector.get("matchExpressions")
    ):
        detail = "empty selector is invalid for daemonset"
        errors.append(field.invalid(where, selector, detail))
    if old is None or template != old["spec"].get("template"):
        errors += validate_template(template, TEMPLATE, rollout.template_options(old))
    errors += rollout.always_restarts(template, TEMPLATE, "DaemonSet")
    errors += nonnegative(spec, SPEC, "minReadySeconds")
    errors += _strategy(spec.get("updateStrategy") or {}, SPEC.child("updateStrategy"))
    return errors + nonnegative(spec, SPEC, "revisionHistoryLimit")


def _strategy(strategy: Object, path: Path) -> ErrorList:
    kind, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        shown = go_structs.printed("DaemonSetUpdateStrategy", strategy)
        return [field.not_supported(path, shown, ("RollingUpdate", "OnDelete"))]
    where = path.child("rollingUpdate")
    if rolling is None:
        return [field.required(where)]
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    first, second = where.child("maxUnavailable"), where.child("maxSurge")
    errors = rollout.positive_int_or_percent(unavailable, first)
    errors += rollout.positive_int_or_percent(surge, second)
    errors += rollout.at_most_100_percent(unavailable, first)
    errors += rollout.at_most_100_percent(surge, second)
    has_unavailable, has_surge = rollout.amount_of(unavailable), rollout.amount_of(surge)
    if has_unavailable and has_surge:
        detail = "may not be set when maxUnavailable is non-zero"
        errors.append(field.invalid(second, surge, detail))
    elif not has_unavailable and not has_surge:
        errors.append(field.required(first, "cannot be 0 when maxSurge is 0"))
    return errors


class DaemonSetStatusStrategy(StatusOnly):
    """`/daemonsets/{name}/status`."""

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec."""
        obj = super().prepare_for_update(ctx, obj, old)
        return _with_template_generation(obj, _template_generation(old))

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateDaemonSetStatusUpdate`."""
        status: Object = obj.get("status") or {}
        errors = nonnegative(
            status,
            STATUS,
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        )
        return errors + rollout.collision_count(status, (old or EMPTY).get("status") or {}, STATUS)


_COUNTS = (
    "desiredNumberScheduled",
    "currentNumberScheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
)


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec: Object = obj.get("spec") or {}
    status: Object = obj.get("status") or {}
    pod: Object = (spec.get("template") or EMPTY).get("spec") or {}
    names, images = layout_containers(pod.get("containers"))
    return [
        obj["metadata"]["name"],
        *(status.get(name) or 0 for name in _COUNTS),
        labels_text(pod.get("nodeSelector")),
        age(obj, now_ns),
        names,
        images,
        labels.format_label_selector(spec.get("selector")),
    ]


KIND = Kind(
    strategy=DaemonSetStrategy(),
    status=DaemonSetStatusStrategy(),
    printer=printer("DaemonSet", _row),
)
