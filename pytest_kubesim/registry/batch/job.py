"""Jobs.

The law: unless `manualSelector` is set, the server makes the selector and labels the template with
the Job's UID and name.  Deletion orphans the pods unless it says otherwise, and warns of it.

Follows `pkg/registry/batch/job/strategy.go` and `pkg/apis/batch/v1/defaults.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, go_encoding, labels, timestamps
from pytest_kubesim.apimachinery.golang import bracketed
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.schema import schema_named
from pytest_kubesim.apimachinery.validation import FieldError, Path
from pytest_kubesim.registry.batch import job_status, job_validation
from pytest_kubesim.registry.columns import age, layout_containers, printer
from pytest_kubesim.registry.pod_template import defaults, disabled_fields, warnings
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    DNS_LABEL_RECOMMENDED,
    EMPTY,
    SPEC,
    StatusOnly,
    WithStatus,
)

LEGACY_NAME = "job-name"
LEGACY_UID = "controller-uid"
NAME = "batch.kubernetes.io/job-name"
UID = "batch.kubernetes.io/controller-uid"
_MANY = (
    "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than "
    "10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
)


def default_spec(spec: Object) -> Object:
    """What `zz_generated.defaults.go` sets in a JobSpec wherever it stands."""
    out: Object = {**spec, "template": defaults.pod_template(spec.get("template"))}
    policy: Object | None = spec.get("podFailurePolicy")
    if policy and policy.get("rules"):
        out["podFailurePolicy"] = {**policy, "rules": [_rule(r or {}) for r in policy["rules"]]}
    return out


def _rule(rule: Object) -> Object:
    conditions: list[Object] | None = rule.get("onPodConditions")
    if not conditions:
        return rule
    return {
        **rule,
        "onPodConditions": [{**c, "status": c.get("status") or "True"} for c in conditions if c],
    }


def dropped(spec: Object, old: Object | None) -> Object:
    """A JobSpec without the fields of disabled features."""
    out = spec
    if spec.get("scheduling") is not None and not (old or EMPTY).get("scheduling"):
        out = {k: v for k, v in out.items() if k != "scheduling"}
    template: Object = out.get("template") or {}
    new = disabled_fields.drop(template, None if old is None else old.get("template"))
    return out if new is template else {**out, "template": new}


def spec_warnings(spec: Object, path: Path) -> list[str]:
    """Warnings of a JobSpec (`WarningsForJobSpec`)."""
    found: list[str] = []
    if (
        spec.get("completionMode") == "Indexed"
        and (spec.get("completions") or 0) > 100_000
        and (spec.get("parallelism") or 0) > 10_000
    ):
        found.append(f"{path}: {_MANY}")
    return found + warnings.template_warnings(spec.get("template") or {}, path.child("template"))


class JobStrategy(WithStatus):
    """`/jobs`."""

    generations = True
    default_garbage_collection_policy = "Orphan"
    selectable = ("metadata.name", "metadata.namespace", "status.successful")

    def default(self, obj: Object) -> Object:
        """`SetObjectDefaults_Job`."""
        spec: Object = dict(obj.get("spec") or {})
        if spec.get("parallelism") is None:
            spec["parallelism"] = 1
            if spec.get("completions") is None:
                spec["completions"] = 1
        if spec.get("backoffLimit") is None:
            per_index = spec.get("backoffLimitPerIndex") is not None
            spec["backoffLimit"] = 2**31 - 1 if per_index else 6
        if spec.get("completionMode") is None:
            spec["completionMode"] = "NonIndexed"
        if spec.get("podReplacementPolicy") is None:
            with_policy = spec.get("podFailurePolicy") is not None
            spec["podReplacementPolicy"] = "Failed" if with_policy else "TerminatingOrFailed"
        for key in ("suspend", "manualSelector"):
            if spec.get(key) is None:
                spec[key] = False
        out: Object = {**obj, "spec": default_spec(spec)}
        found: dict[str, str] | None = (
            (spec.get("template") or EMPTY).get("metadata") or EMPTY
        ).get("labels")
        metadata: Object = obj.get("metadata") or {}
        if found and not metadata.get("labels"):
            # Upstream makes both the same map: what is added to the one appears in the other.
            out["metadata"] = {**metadata, "labels": found}
        elif found and metadata["labels"] is found:
            out["metadata"] = {**metadata, "labels": dict(found)}
        return out

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Without a status, at generation 1, with its selector."""
        obj = super().prepare_for_create(ctx, obj)
        spec: Object = obj["spec"]
        labels_before = (spec["template"].get("metadata") or EMPTY).get("labels")
        if not spec.get("manualSelector"):
            spec = _with_selector(spec, obj["metadata"])
        own = obj["metadata"].get("labels")
        if own and own is labels_before:
            found: dict[str, str] = (spec["template"].get("metadata") or EMPTY).get("labels") or {}
            obj = {**obj, "metadata": {**obj["metadata"], "labels": found}}
        return {**obj, "spec": dropped(spec, None)}

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old status; a generation further if the spec has changed."""
        obj = {**obj, "spec": dropped(obj["spec"], old["spec"])}
        return super().prepare_for_update(ctx, obj, old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateJobCreate`, `ValidateJobUpdate`."""
        if old is None:
            return job_validation.validate_create(obj)
        return job_validation.validate_update(obj, old)

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """A name that makes no hostname, and what the template deserves."""
        del ctx
        messages = formats.is_dns1123_label(obj["metadata"].get("name") or "")
        found = [f"{DNS_LABEL_RECOMMENDED}{bracketed(messages)}"] if messages else []
        return found + spec_warnings(obj["spec"], SPEC)

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """What the template deserves, if the generation has risen."""
        del ctx
        if obj["metadata"].get("generation") == old["metadata"].get("generation"):
            return []
        return spec_warnings(obj["spec"], SPEC)

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """How many pods have succeeded."""
        return {"status.successful": str((obj.get("status") or EMPTY).get("succeeded") or 0)}


def _with_selector(spec: Object, metadata: Object) -> Object:
    template: Object = spec.get("template") or {}
    found: Object = template.get("metadata") or {}
    name, uid = metadata.get("name") or "", metadata.get("uid") or ""
    own = {LEGACY_NAME: name, NAME: name, LEGACY_UID: uid, UID: uid}
    selector: Object = spec.get("selector") or {}
    return {
        **spec,
        "template": {
            **template,
            "metadata": {**found, "labels": {**own, **(found.get("labels") or {})}},
        },
        "selector": {**selector, "matchLabels": {UID: uid, **(selector.get("matchLabels") or {})}},
    }


class JobStatusStrategy(StatusOnly):
    """`/jobs/{name}/status`."""

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateJobUpdateStatus`."""
        return [] if old is None else job_status.validate_status_update(obj, old)


_STATES = ("Complete", "Failed", "", "Suspended", "FailureTarget", "SuccessCriteriaMet")


def _state(obj: Object, status: Object) -> str:
    conditions: dict[str, str] = {}
    for condition in status.get("conditions") or ():
        conditions.setdefault(condition.get("type") or "", condition.get("status") or "")
    for name in _STATES:
        if not name:
            if obj["metadata"].get("deletionTimestamp"):
                return "Terminating"
        elif conditions.get(name) == "True":
            return name
    return "Running"


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec: Object = obj.get("spec") or {}
    status: Object = obj.get("status") or {}
    succeeded, completions = status.get("succeeded") or 0, spec.get("completions")
    if completions is not None:
        shown = f"{succeeded}/{completions}"
    elif (spec.get("parallelism") or 0) > 1:
        shown = f"{succeeded}/1 of {spec['parallelism']}"
    else:
        shown = f"{succeeded}/1"
    duration = ""
    if start := status.get("startTime"):
        end = status.get("completionTime")
        end_ns = timestamps.parse_time(end) if end else now_ns
        duration = timestamps.human_duration(end_ns - timestamps.parse_time(start))
    names, images = layout_containers(
        ((spec.get("template") or EMPTY).get("spec") or EMPTY).get("containers")
    )
    return [
        obj["metadata"]["name"],
        _state(obj, status),
        shown,
        duration,
        age(obj, now_ns),
        names,
        images,
        labels.format_label_selector(spec.get("selector")),
    ]


def _with_labels(obj: Object) -> Object:
    """As it is read: without labels it has those of its template, which were added later."""
    metadata: Object = obj["metadata"]
    if metadata.get("labels"):
        return obj
    template: Object = (obj.get("spec") or EMPTY).get("template") or EMPTY
    found: dict[str, str] | None = (template.get("metadata") or EMPTY).get("labels")
    if not found:
        return obj
    schema = schema_named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
    return {**obj, "metadata": go_encoding.roundtrip(schema, {**metadata, "labels": found})}


KIND = Kind(
    decode_stored=_with_labels,
    strategy=JobStrategy(),
    status=JobStatusStrategy(),
    printer=printer("Job", _row),
)
