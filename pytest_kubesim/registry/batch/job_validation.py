"""What a Job must be, and what of it may change.

Follows `ValidateJobSpec` and `ValidateJobSpecUpdate` of `pkg/apis/batch/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, labels, metav1
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.batch.job_policies import (
    validate_failure_policy,
    validate_success_policy,
)
from pytest_kubesim.registry.pod_template import go_structs, options
from pytest_kubesim.registry.pod_template.pod_spec import validate_template
from pytest_kubesim.registry.strategies import (
    EMPTY,
    immutable_selector,
    nonnegative,
    selector_value,
)

_SPEC = Path("spec")
_LABELS = Path("spec", "template", "metadata", "labels")
_PREFIX = "batch.kubernetes.io/"
_MODES = ("NonIndexed", "Indexed")
_NEEDS_INDEXED = "requires indexed completion mode"
_NOT_NEGATIVE = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)


def validate_create(job: Object) -> ErrorList:
    """A new Job."""
    errors = _generated_selector(job)
    errors += _with_selector(job["spec"], None, options.TEMPLATE)
    return errors + _name_allows_completions(job)


def _generated_selector(job: Object) -> ErrorList:
    spec: Object = job["spec"]
    if spec.get("manualSelector") or spec.get("selector") is None:
        return []
    metadata: Object = job["metadata"]
    uid, name = metadata.get("uid") or "", metadata.get("name") or ""
    errors: ErrorList = []
    if not uid:
        errors.append(field.required(Path("metadata", "uid")))
    found: dict[str, str] = ((spec.get("template") or EMPTY).get("metadata") or EMPTY).get(
        "labels"
    ) or {}
    expected = {
        "controller-uid": uid,
        "job-name": name,
        f"{_PREFIX}controller-uid": uid,
        f"{_PREFIX}job-name": name,
    }
    for key, value in expected.items():
        detail = f"must be '{value}'"
        if key not in found:
            errors.append(field.required(_LABELS.key(key), detail))
        elif found[key] != value:
            errors.append(field.invalid(_LABELS.key(key), found, detail))
    try:
        matches = labels.from_label_selector(spec["selector"]).matches(expected)
    except ValueError:
        matches = True
    if not matches:
        where = _SPEC.child("selector")
        shown = selector_value(spec["selector"])
        errors.append(field.invalid(where, shown, "`selector` not auto-generated"))
    return errors


def _name_allows_completions(job: Object) -> ErrorList:
    spec: Object = job["spec"]
    completions = spec.get("completions") or 0
    if spec.get("completionMode") != "Indexed" or completions <= 0:
        return []
    name = job["metadata"].get("name") or ""
    longest = f"{name}-{completions - 1}"
    if not formats.is_dns1123_label(longest):
        return []
    detail = f"will not able to create pod with invalid DNS label: {longest}"
    return [field.invalid(Path("metadata", "name"), name, detail)]


def _with_selector(spec: Object, old: Object | None, opts: options.PodOptions) -> ErrorList:
    errors = validate_spec(spec, old, _SPEC, opts)
    selector: Object | None = spec.get("selector")
    where = _SPEC.child("selector")
    if selector is None:
        errors.append(field.required(where))
    else:
        errors += metav1.validate_label_selector(
            selector,
            where,
            allow_invalid_values=metav1.label_selector_has_invalid_label_value(
                (old or EMPTY).get("selector")
            ),
        )
    found: dict[str, str] | None = ((spec.get("template") or EMPTY).get("metadata") or EMPTY).get(
        "labels"
    )
    try:
        matches = labels.from_label_selector(selector).matches(found)
    except ValueError:
        matches = True
    if not matches:
        detail = "`selector` does not match template `labels`"
        errors.append(field.invalid(_LABELS, found, detail))
    return errors


def validate_spec(
    spec: Object, old: Object | None, path: Path, opts: options.PodOptions
) -> ErrorList:
    """A JobSpec, of a Job or in a CronJob."""
    errors = nonnegative(spec, path, *_NOT_NEGATIVE)
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        where = path.child("backoffLimitPerIndex")
        errors.append(field.required(where, "when maxFailedIndexes is specified"))
    manager = spec.get("managedBy")
    if manager is not None:
        where = path.child("managedBy")
        errors += field.validate_domain_prefixed_path(where, manager)
        if len(manager.encode()) > 63:
            errors.append(field.too_long(where, 63))
    errors += _completion_mode(spec, path)
    if spec.get("podFailurePolicy") is not None:
        errors += validate_failure_policy(spec, path.child("podFailurePolicy"))
    policy = spec.get("successPolicy")
    if policy is not None:
        where = path.child("successPolicy")
        if spec.get("completionMode") != "Indexed":
            shown = go_structs.printed("SuccessPolicy", policy)
            errors.append(field.invalid(where, shown, _NEEDS_INDEXED))
        else:
            errors += validate_success_policy(spec, where)
    errors += _replacement_policy(spec, path.child("podReplacementPolicy"))
    template: Object = spec.get("template") or {}
    if old is None or template != old.get("template"):
        errors += validate_template(template, path.child("template"), opts)
    return errors + _restart_policy(spec, template, path)


def _completion_mode(spec: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    mode = spec.get("completionMode")
    if mode is not None and mode not in _MODES:
        errors.append(field.not_supported(path.child("completionMode"), mode, _MODES))
    if mode == "Indexed":
        errors += _indexed(spec, path)
    if mode is None or mode == "NonIndexed":
        errors += [
            field.invalid(path.child(key), spec[key], _NEEDS_INDEXED)
            for key in ("backoffLimitPerIndex", "maxFailedIndexes")
            if spec.get(key) is not None
        ]
    return errors


def _indexed(spec: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    failed = spec.get("maxFailedIndexes")
    at_parallelism, at_failed = path.child("parallelism"), path.child("maxFailedIndexes")
    if completions is None:
        errors.append(field.required(path.child("completions"), "when completion mode is Indexed"))
    if parallelism is not None and parallelism > 100_000:
        detail = "must be less than or equal to 100000 when completion mode is Indexed"
        errors.append(field.invalid(at_parallelism, parallelism, detail))
    if completions is not None and failed is not None and failed > completions:
        detail = "must be less than or equal to completions"
        errors.append(field.invalid(at_failed, failed, detail))
    if failed is not None and failed > 100_000:
        errors.append(field.invalid(at_failed, failed, "must be less than or equal to 100000"))
    if (completions or 0) <= 100_000 or spec.get("backoffLimitPerIndex") is None:
        return errors
    if failed is None:
        detail = "must be specified when completions is above 100000"
        errors.append(field.required(at_failed, detail))
    detail = (
        "must be less than or equal to 10000 when completions are above 100000 and used with "
        "backoff limit per index"
    )
    if parallelism is not None and parallelism > 10_000:
        errors.append(field.invalid(at_parallelism, parallelism, detail))
    if failed is not None and failed > 10_000:
        errors.append(field.invalid(at_failed, failed, detail))
    return errors


def _replacement_policy(spec: Object, path: Path) -> ErrorList:
    policy = spec.get("podReplacementPolicy")
    if policy is None:
        return []
    allowed = ("Failed", "TerminatingOrFailed")
    if spec.get("podFailurePolicy") is not None:
        allowed = ("Failed",)
    return [] if policy in allowed else [field.not_supported(path, policy, allowed)]


def _restart_policy(spec: Object, template: Object, path: Path) -> ErrorList:
    policy = (template.get("spec") or EMPTY).get("restartPolicy") or ""
    where = path.child("template", "spec", "restartPolicy")
    if policy in ("Always", ""):
        return [field.required(where, 'valid values: "OnFailure", "Never"')]
    if policy not in ("OnFailure", "Never"):
        return [field.not_supported(where, policy, ("OnFailure", "Never"))]
    if spec.get("podFailurePolicy") is not None and policy != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        return [field.invalid(where, policy, detail)]
    return []


# -- updates -----------------------------------------------------------------------------------


def is_condition_true(job: Object, kind: str, value: str = "True") -> bool:
    """Whether a Job has the condition with that status."""
    return any(
        c.get("type") == kind and c.get("status") == value
        for c in (job.get("status") or EMPTY).get("conditions") or ()
    )


def validate_update(job: Object, old: Object) -> ErrorList:
    """A change of a Job's spec."""
    spec, before = job["spec"], old["spec"]
    template: Object = before.get("template") or {}
    opts = options.for_update(template.get("spec"), template.get("metadata"), is_pod=False)
    errors = _with_selector(spec, before, opts)
    errors += _completions(spec, before)
    errors += immutable_selector(spec, before, _SPEC.child("selector"))
    errors += _template_update(job, old)
    errors += _immutable(spec, before, "completionMode", None)
    errors += _immutable(spec, before, "podFailurePolicy", "PodFailurePolicy")
    errors += _immutable(spec, before, "backoffLimitPerIndex", None)
    errors += _immutable(spec, before, "managedBy", None)
    errors += _immutable(spec, before, "successPolicy", "SuccessPolicy")
    return errors + _name_allows_completions(job)


def _immutable(spec: Object, before: Object, key: str, struct: str | None) -> ErrorList:
    new, old = spec.get(key), before.get(key)
    if new == old:
        return []
    shown: Any = new if struct is None else go_structs.printed(struct, new)
    return [field.invalid(_SPEC.child(key), shown, field.FIELD_IMMUTABLE)]


def _completions(spec: Object, before: Object) -> ErrorList:
    new, where = spec.get("completions"), _SPEC.child("completions")
    if new == before.get("completions"):
        return []
    if spec.get("completionMode") != "Indexed":
        return [field.invalid(where, new, field.FIELD_IMMUTABLE)]
    if new is None or new == spec.get("parallelism"):
        return []
    return [field.invalid(where, new, "can only be modified in tandem with spec.parallelism")]


def _template_update(job: Object, old: Object) -> ErrorList:
    """A template changes only while the Job is suspended, and then not in everything."""
    spec, before = job["spec"], old["spec"]
    new: Object = spec.get("template") or {}
    template: Object = before.get("template") or {}
    if new == template:
        return []
    suspended = bool(before.get("suspend"))
    status: Object = old.get("status") or {}
    mutable = (
        suspended
        and (not status.get("startTime") or is_condition_true(old, "Suspended"))
        and not status.get("active")
    )
    if mutable:
        template = _with_directives(new, template)
    if not mutable:
        where = _SPEC.child("template")
        return go_structs.validate_immutable("PodTemplateSpec", new, template, where)
    return go_structs.validate_immutable(
        "PodSpec",
        new.get("spec"),
        _with_resources(new.get("spec") or {}, template.get("spec") or {}),
        _SPEC.child("template.spec"),
    )


def _with_directives(new: Object, template: Object) -> Object:
    """The old template with what tells the scheduler where to go taken from the new one."""
    spec: Object = dict(template.get("spec") or {})
    given: Object = new.get("spec") or {}
    affinity: Object = dict(spec.get("affinity") or {})
    affinity.pop("nodeAffinity", None)
    wanted: Object | None = given.get("affinity")
    if wanted is not None and wanted.get("nodeAffinity") is not None:
        affinity["nodeAffinity"] = wanted["nodeAffinity"]
    if affinity or wanted is not None:
        spec["affinity"] = affinity
    else:
        spec.pop("affinity", None)
    for key in ("nodeSelector", "tolerations", "schedulingGates"):
        spec.pop(key, None)
        if key in given:
            spec[key] = given[key]
    metadata: Object = dict(template.get("metadata") or {})
    for key in ("annotations", "labels"):
        metadata.pop(key, None)
        if key in (new.get("metadata") or {}):
            metadata[key] = new["metadata"][key]
    return {**template, "metadata": metadata, "spec": spec}


def _with_resources(new: Object, old: Object) -> Object:
    out: Object = dict(old)
    for key in ("containers", "initContainers"):
        given: list[Object] = new.get(key) or []
        before: list[Object] = old.get(key) or []
        if len(given) != len(before) or not before:
            continue
        out[key] = [
            {**b, "resources": a.get("resources") or {}} if a.get("name") == b.get("name") else b
            for a, b in zip(given, before, strict=True)
        ]
    return out
