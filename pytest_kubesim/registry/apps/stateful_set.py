"""StatefulSets.

The law: of the spec only replicas, ordinals, the template, the update strategy, the retention
policy, minReadySeconds and revisionHistoryLimit may change.

Follows `pkg/registry/apps/statefulset/strategy.go` and `ValidateStatefulSetSpec` of
`pkg/apis/apps/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, objectmeta
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import json_text
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry.apps import rollout_validation as rollout
from pytest_kubesim.registry.apps.deployment import (
    TEMPLATE,
    immutable_selector,
    with_template_dropped,
)
from pytest_kubesim.registry.columns import age, layout_containers, printer
from pytest_kubesim.registry.pod_template import (
    annotations,
    claims,
    defaults,
    go_structs,
    warnings,
)
from pytest_kubesim.registry.pod_template.options import PodOptions
from pytest_kubesim.registry.pod_template.pod_spec import validate_template
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

_CLAIMS = SPEC.child("volumeClaimTemplates")
_RETENTIONS = ("Retain", "Delete")
_NEGATIVE_LIMIT = (
    "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is "
    "recommended"
)


class StatefulSetStrategy(WithStatus):
    """`/statefulsets`."""

    generations = True

    def default(self, obj: Object) -> Object:
        """`SetObjectDefaults_StatefulSet`."""
        spec: Object = dict(obj.get("spec") or {})
        if not spec.get("podManagementPolicy"):
            spec["podManagementPolicy"] = "OrderedReady"
        strategy: Object = dict(spec.get("updateStrategy") or {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
            if strategy.get("rollingUpdate") is None:
                strategy["rollingUpdate"] = {}
        if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
            rolling: Object = {**strategy["rollingUpdate"]}
            for key, value in (("partition", 0), ("maxUnavailable", 1)):
                if rolling.get(key) is None:
                    rolling[key] = value
            strategy["rollingUpdate"] = rolling
        spec["updateStrategy"] = strategy
        retention: Object = dict(spec.get("persistentVolumeClaimRetentionPolicy") or {})
        for key in ("whenDeleted", "whenScaled"):
            retention[key] = retention.get(key) or "Retain"
        spec["persistentVolumeClaimRetentionPolicy"] = retention
        for key, value in (("replicas", 1), ("revisionHistoryLimit", 10)):
            if spec.get(key) is None:
                spec[key] = value
        spec["template"] = defaults.pod_template(spec.get("template"))
        if spec.get("volumeClaimTemplates"):
            spec["volumeClaimTemplates"] = [_claim(c or {}) for c in spec["volumeClaimTemplates"]]
        return {**obj, "spec": spec}

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Without a status, at generation 1."""
        return with_template_dropped(super().prepare_for_create(ctx, obj), None)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old status; a generation further if the spec has changed."""
        return super().prepare_for_update(ctx, with_template_dropped(obj, old), old)

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """A DNS label: pods are named after it."""
        return formats.name_is_dns_label(name, prefix=prefix)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateStatefulSet`, `ValidateStatefulSetUpdate`."""
        errors = _spec(obj["spec"], old)
        if old is None:
            return errors
        errors += immutable_selector(obj, old)
        new, before = obj["spec"], old["spec"]
        key = "volumeClaimTemplates"
        if (new.get(key) or []) != (before.get(key) or []):
            shown = [go_structs.rendered("PersistentVolumeClaim", c) for c in new.get(key) or ()]
            text = field.Printed(json_text(shown or None, sort_keys=False))
            errors.append(field.invalid(_CLAIMS, text, field.FIELD_IMMUTABLE))
        for key in ("serviceName", "podManagementPolicy"):
            value = new.get(key) or ""
            if value != (before.get(key) or ""):
                errors.append(field.invalid(SPEC.child(key), value, field.FIELD_IMMUTABLE))
        return errors

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """What template, claims and history limit deserve."""
        del ctx
        spec: Object = obj["spec"]
        found = warnings.template_warnings(spec["template"], TEMPLATE)
        return found + _claim_warnings(spec) + _limit_warning(spec)

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """The same; those of the template only if the generation has risen."""
        del ctx
        spec: Object = obj["spec"]
        found: list[str] = []
        if obj["metadata"].get("generation") != old["metadata"].get("generation"):
            found = warnings.template_warnings(spec["template"], TEMPLATE)
        return found + _claim_warnings(spec, "Spec") + _limit_warning(spec)


def _claim(claim: Object) -> Object:
    status: Object = dict(claim.get("status") or {})
    status["phase"] = status.get("phase") or "Pending"
    return {
        **claim,
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "spec": defaults.claim_spec(claim.get("spec")),
        "status": status,
    }


def _claim_warnings(spec: Object, *below: str) -> list[str]:
    return [
        text
        for position, claim in enumerate(spec.get("volumeClaimTemplates") or ())
        for text in claims.spec_warnings(
            _CLAIMS.index(position).child(*below), claim.get("spec") or {}
        )
    ]


def _limit_warning(spec: Object) -> list[str]:
    return [_NEGATIVE_LIMIT] if (spec.get("revisionHistoryLimit") or 0) < 0 else []


def _spec(spec: Object, old: Object | None) -> ErrorList:
    errors: ErrorList = []
    policy = spec.get("podManagementPolicy") or ""
    where = SPEC.child("podManagementPolicy")
    if not policy:
        errors.append(field.required(where))
    elif policy not in ("OrderedReady", "Parallel"):
        errors.append(field.invalid(where, policy, "must be 'OrderedReady' or 'Parallel'"))
    errors += _update_strategy(spec.get("updateStrategy") or {}, old)
    retention: Object = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for key in ("whenDeleted", "whenScaled"):
        value = retention.get(key) or ""
        if retention and value not in _RETENTIONS:
            at = SPEC.child("persistentVolumeClaimRetentionPolicy", key)
            errors.append(field.not_supported(at, value, _RETENTIONS))
    if old is None:
        for position, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
            at = _CLAIMS.index(position).child("spec")
            errors += claims.validate_claim_spec(claim.get("spec") or {}, at)
    errors += nonnegative(spec, SPEC, "replicas", "minReadySeconds")
    start = (spec.get("ordinals") or EMPTY).get("start") or 0
    if start < 0:
        errors.append(field.invalid(SPEC.child("ordinals.start"), start, field.NOT_NEGATIVE))
    if old is None and (name := spec.get("serviceName")):
        details = formats.is_dns1123_label(name)
        errors += field.invalid_each(SPEC.child("serviceName"), name, details)
    problems, selector = rollout.selector_of(spec, SPEC, "statefulset")
    errors += problems
    if selector is None:
        shown = selector_value(spec.get("selector"))
        errors.append(field.invalid(SPEC.child("selector"), shown, ""))
    else:
        errors += rollout.template_mismatch(spec["template"], selector, TEMPLATE)
        errors += _template(spec, old)
    return errors + rollout.always_restarts(spec["template"], TEMPLATE, "StatefulSet")


def _template(spec: Object, old: Object | None) -> ErrorList:
    template: Object = spec["template"]
    options = rollout.template_options(old)
    metadata: Object = template.get("metadata") or {}
    where = TEMPLATE.child("annotations")
    errors: ErrorList = []
    changed = old is None or _with_claims(spec) != _with_claims(old["spec"])
    if changed and not (old is not None and _is_invalid(old["spec"], options)):
        errors += validate_template(_with_claims(spec), TEMPLATE, options)
    # Upstream checks the metadata of the template once more.
    again = objectmeta.validate_labels(metadata.get("labels"), TEMPLATE.child("labels"))
    if found := metadata.get("annotations"):
        again += objectmeta.validate_annotations(found, where)
        again += annotations.validate_annotations(found, template.get("spec") or {}, where, options)
    return errors + again


def _is_invalid(spec: Object, options: PodOptions) -> bool:
    """Whether the template that is stored would not be accepted today: then it is let be."""
    return bool(validate_template(_with_claims(spec), TEMPLATE, options))


def _with_claims(spec: Object) -> Object:
    """The template as it will be: with a volume for each claim, without a name of its own."""
    template: Object = spec["template"]
    pod: Object = template.get("spec") or {}
    names = {
        (claim.get("metadata") or EMPTY).get("name") or ""
        for claim in spec.get("volumeClaimTemplates") or ()
    }
    if not names and not pod.get("subdomain") and not pod.get("hostname"):
        return template
    pod = {k: v for k, v in pod.items() if k not in ("subdomain", "hostname")}
    if names:
        own = [{"name": n, "persistentVolumeClaim": {"claimName": n}} for n in sorted(names)]
        pod["volumes"] = own + [v for v in pod.get("volumes") or () if v.get("name") not in names]
    return {**template, "spec": pod}


def _update_strategy(strategy: Object, old: Object | None) -> ErrorList:
    kind, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    path = SPEC.child("updateStrategy")
    before = (((old or EMPTY).get("spec") or EMPTY).get("updateStrategy") or EMPTY).get("type")
    allowed = ("OnDelete", "Recreate") if before == "Recreate" else ("OnDelete",)
    if not kind:
        return [field.required(path)]
    if kind in allowed:
        if rolling is None:
            return []
        shown = go_structs.printed("RollingUpdateStatefulSetStrategy", rolling)
        detail = "only allowed for updateStrategy 'RollingUpdate'"
        return [field.invalid(path.child("rollingUpdate"), shown, detail)]
    if kind == "RollingUpdate":
        return [] if rolling is None else _rolling(rolling, path.child("rollingUpdate"))
    detail = "must be 'RollingUpdate' or 'OnDelete'"
    if before == "Recreate":
        detail = "must be 'RollingUpdate', 'OnDelete', or 'Recreate'"
    shown = go_structs.printed("StatefulSetUpdateStrategy", strategy)
    return [field.invalid(path, shown, detail)]


def _rolling(rolling: Object, path: Path) -> ErrorList:
    errors = nonnegative(rolling, path, "partition")
    unavailable = rolling.get("maxUnavailable")
    if unavailable is None:
        return errors
    where = path.child("maxUnavailable")
    errors += rollout.positive_int_or_percent(unavailable, where)
    if not rollout.amount_of(unavailable):
        errors.append(field.invalid(where, unavailable, "cannot be 0"))
    return errors + rollout.at_most_100_percent(unavailable, where)


class StatefulSetStatusStrategy(StatusOnly):
    """`/statefulsets/{name}/status`."""

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateStatefulSetStatusUpdate`."""
        status: Object = obj.get("status") or {}
        errors = nonnegative(
            status,
            STATUS,
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        )
        names = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
        message = "cannot be greater than status.replicas"
        errors += counts_within(status, STATUS, names, "replicas", message)
        message = "cannot be greater than status.readyReplicas"
        errors += counts_within(status, STATUS, ("availableReplicas",), "readyReplicas", message)
        return errors + rollout.collision_count(status, (old or EMPTY).get("status") or {}, STATUS)


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec: Object = obj.get("spec") or {}
    names, images = layout_containers(
        ((spec.get("template") or EMPTY).get("spec") or EMPTY).get("containers")
    )
    ready = (obj.get("status") or EMPTY).get("readyReplicas") or 0
    return [
        obj["metadata"]["name"],
        f"{ready}/{spec.get('replicas') or 0}",
        age(obj, now_ns),
        names,
        images,
    ]


KIND = Kind(
    strategy=StatefulSetStrategy(),
    status=StatefulSetStatusStrategy(),
    printer=printer("StatefulSet", _row),
    scale=Scale(),
)
