"""Pods: what a whole Pod must be, and what of it may change.

Follows `ValidatePodCreate`, `ValidatePodUpdate`, `ValidatePodEphemeralContainersUpdate` and
`ValidatePodBinding` of `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import json_text, quote
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.pod_template import annotations, containers, go_structs
from pytest_kubesim.registry.pod_template.options import PodOptions
from pytest_kubesim.registry.pod_template.pod_spec import validate_pod_spec
from pytest_kubesim.registry.pod_template.scheduling import validate_tolerations
from pytest_kubesim.registry.strategies import EMPTY, semantically_equal

_SPEC = Path("spec")
_ANNOTATIONS = Path("metadata", "annotations")
_MAX_INT32 = 2**31 - 1
_UPDATABLE = (
    "`spec.containers[*].image`,"
    "`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_create(pod: Object, options: PodOptions) -> ErrorList:
    """A new Pod, apart from what all metadata must be."""
    spec: Object = pod["spec"]
    errors = metadata_and_spec(pod, options)
    if spec.get("ephemeralContainers"):
        errors.append(
            field.forbidden(_SPEC.child("ephemeralContainers"), "cannot be set on create")
        )
    if spec.get("nodeName") and spec.get("schedulingGates"):
        detail = "cannot be set until all schedulingGates have been cleared"
        errors.append(field.forbidden(_SPEC.child("nodeName"), detail))
    found: dict[str, str] | None = pod["metadata"].get("annotations")
    if found:
        errors += annotations.validate_agreement(found, spec, _SPEC)
    return errors


def metadata_and_spec(pod: Object, options: PodOptions) -> ErrorList:
    """What holds for a Pod whether it is new or not."""
    metadata: Object = pod["metadata"]
    spec: Object = pod["spec"]
    errors: ErrorList = []
    if found := metadata.get("annotations"):
        errors += annotations.validate_annotations(found, spec, _ANNOTATIONS, options)
    errors += validate_pod_spec(spec, metadata, _SPEC, options)
    if not spec.get("serviceAccountName"):
        errors += _tokens_without_account(spec)
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        where = _SPEC.child("terminationGracePeriodSeconds")
        errors.append(field.invalid(where, grace, field.NOT_NEGATIVE))
    for key in ("containers", "initContainers"):
        for position, container in enumerate(spec.get(key) or ()):
            errors += containers.only_for_pods(container, _SPEC.child(key).index(position))
    return errors


def _tokens_without_account(spec: Object) -> ErrorList:
    detail = "must not be specified when serviceAccountName is not set"
    return [
        field.forbidden(
            _SPEC.child("volumes")
            .index(position)
            .child("projected", "sources")
            .index(index)
            .child("serviceAccountToken"),
            detail,
        )
        for position, volume in enumerate(spec.get("volumes") or ())
        for index, source in enumerate(parts.structs(volume.get("projected"), "sources"))
        if source.get("serviceAccountToken") is not None
    ]


# -- updates -----------------------------------------------------------------------------------


def annotation_updates(pod: Object, old: Object, options: PodOptions) -> ErrorList:
    """Annotations that may neither come nor go (`ValidatePodSpecificAnnotationUpdates`)."""
    new: dict[str, str] = pod["metadata"].get("annotations") or {}
    before: dict[str, str] = old["metadata"].get("annotations") or {}
    if new == before:
        return []
    errors: ErrorList = []
    for key in sorted(before):
        if new.get(key) == before[key]:
            continue
        if key.startswith(annotations.APP_ARMOR):
            detail = "may not remove or update AppArmor annotations"
            errors.append(field.forbidden(_ANNOTATIONS.key(key), detail))
        if key == annotations.MIRROR:
            detail = "may not remove or update mirror pod annotation"
            errors.append(field.forbidden(_ANNOTATIONS.key(key), detail))
    for key in sorted(new.keys() - before.keys()):
        if key.startswith(annotations.APP_ARMOR):
            detail = "may not add AppArmor annotations"
            errors.append(field.forbidden(_ANNOTATIONS.key(key), detail))
        if key == annotations.MIRROR:
            detail = "may not add mirror pod annotation"
            errors.append(field.forbidden(_ANNOTATIONS.key(key), detail))
    return errors + annotations.validate_annotations(new, pod["spec"], _ANNOTATIONS, options)


def validate_update(pod: Object, old: Object, options: PodOptions) -> ErrorList:
    """A change through the main resource."""
    spec, before = pod["spec"], old["spec"]
    if spec == before:
        # What is stored has been valid, so only the annotations can be wrong.
        return annotation_updates(pod, old, options)
    errors = metadata_and_spec(pod, options) + annotation_updates(pod, old, options)
    for key in ("containers", "initContainers"):
        problems, stop = _images(spec.get(key) or [], before.get(key) or [], _SPEC.child(key))
        errors += problems
        if stop:
            return errors
    problems, stop = _deadline(spec, before)
    errors += problems
    if stop:
        return errors
    errors += _tolerations(spec, before, options)
    errors += _gates(spec, before)
    if semantically_equal(spec, before):
        return errors
    problems, munged = _munged(spec, before)
    errors += problems
    if not semantically_equal(munged, before):
        difference = go_structs.diff("PodSpec", before, munged)
        text = f"pod updates may not change fields other than {_UPDATABLE}\n{difference}"
        errors.append(field.forbidden(_SPEC, text))
    return errors


def _images(new: list[Object], old: list[Object], path: Path) -> tuple[ErrorList, bool]:
    if len(new) != len(old):
        return [field.forbidden(path, "pod updates may not add or remove containers")], True
    errors: ErrorList = []
    for position, container in enumerate(new):
        image: str = container.get("image") or ""
        where = path.index(position).child("image")
        if not image:
            errors.append(field.required(where))
        if image.strip() != image:
            detail = "must not have leading or trailing whitespace"
            errors.append(field.invalid(where, image, detail))
    return errors, False


def _deadline(spec: Object, before: Object) -> tuple[ErrorList, bool]:
    new, old = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    where = _SPEC.child("activeDeadlineSeconds")
    if new is None:
        if old is None:
            return [], False
        detail = "must not update from a positive integer to nil value"
        return [field.invalid(where, None, detail)], False
    if not 0 <= new <= _MAX_INT32:
        detail = formats.inclusive_range_error(0, _MAX_INT32)
        return [field.invalid(where, new, detail)], True
    if old is not None and old < new:
        detail = "must be less than or equal to previous value"
        return [field.invalid(where, new, detail)], True
    return [], False


def _tolerations(spec: Object, before: Object, options: PodOptions) -> ErrorList:
    new: list[Object] = spec.get("tolerations") or []
    old: list[Object] = before.get("tolerations") or []
    if new == old:
        return []
    where = _SPEC.child("tolerations")

    def bare(toleration: Object) -> Object:
        return {k: v for k, v in toleration.items() if k != "tolerationSeconds"}

    kept = [bare(each) for each in new]
    if any(bare(each) not in kept for each in old):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        return [field.forbidden(where, detail)]
    return validate_tolerations(new, where, allow_comparison=options.allow_toleration_comparison)


def _gates(spec: Object, before: Object) -> ErrorList:
    known = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    return [
        field.forbidden(
            _SPEC.child("schedulingGates").index(position).child("name"),
            f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'",
        )
        for position, gate in enumerate(spec.get("schedulingGates") or ())
        if gate.get("name") not in known
    ]


def _put(target: Object, source: Object, key: str) -> None:
    if key in source:
        target[key] = source[key]
    else:
        target.pop(key, None)


def _munged(spec: Object, before: Object) -> tuple[ErrorList, Object]:
    """The new spec with all that may change put back."""
    out: Object = dict(spec)
    for key in ("containers", "initContainers"):
        if spec.get(key):
            out[key] = [
                {**container, "image": old.get("image")}
                for container, old in zip(spec[key], before[key], strict=True)
            ]
    for key in ("activeDeadlineSeconds", "schedulingGates", "tolerations"):
        _put(out, before, key)
    grace = before.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        out["terminationGracePeriodSeconds"] = grace
    if not before.get("schedulingGates"):
        return [], out
    errors = _node_selector(spec, before)
    _put(out, before, "nodeSelector")
    new_affinity: Object | None = spec.get("affinity")
    old_affinity: Object | None = before.get("affinity")
    new_node = (new_affinity or EMPTY).get("nodeAffinity")
    old_node = (old_affinity or EMPTY).get("nodeAffinity")
    if semantically_equal(new_node, old_node):
        return errors, out
    errors += _node_affinity(new_node, old_node)
    restored: Object = {k: v for k, v in (new_affinity or EMPTY).items() if k != "nodeAffinity"}
    if old_node is not None:
        restored["nodeAffinity"] = old_node
    if restored or old_affinity is not None:
        out["affinity"] = restored
    else:
        out.pop("affinity", None)
    return errors, out


def _node_selector(spec: Object, before: Object) -> ErrorList:
    new: dict[str, str] = spec.get("nodeSelector") or {}
    old: dict[str, str] = before.get("nodeSelector") or {}
    if all(new.get(key) == value for key, value in old.items()):
        return []
    detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
    return [field.invalid(_SPEC.child("nodeSelector"), new or None, detail)]


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def _node_affinity(new: Object | None, old: Object | None) -> ErrorList:
    """Terms of a gated pod may only become stricter."""
    old_terms: list[Object] = ((old or EMPTY).get(_REQUIRED) or EMPTY).get(
        "nodeSelectorTerms"
    ) or []
    new_terms: list[Object] = ((new or EMPTY).get(_REQUIRED) or EMPTY).get(
        "nodeSelectorTerms"
    ) or []
    where = _SPEC.child("affinity", "nodeAffinity", _REQUIRED, "nodeSelectorTerms")
    if old_terms and len(old_terms) != len(new_terms):
        detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        shown = [go_structs.rendered("NodeSelectorTerm", term) for term in new_terms] or None
        text = json_text(shown, sort_keys=False)
        return [field.invalid(where, field.Printed(text), detail)]
    return [
        field.invalid(
            where.index(position),
            go_structs.printed("NodeSelectorTerm", new_terms[position]),
            "only additions are allowed (no mutations or deletions)",
        )
        for position, term in enumerate(old_terms)
        if not _only_additions(new_terms[position], term)
    ]


def _only_additions(new: Object, old: Object) -> bool:
    keys = ("matchExpressions", "matchFields")
    if not any(old.get(key) for key in keys):
        return not any(new.get(key) for key in keys)
    return all(
        (new.get(key) or [])[: len(old.get(key) or [])] == (old.get(key) or []) for key in keys
    )


# -- ephemeral containers, bindings ------------------------------------------------------------


def validate_ephemeral_update(pod: Object, old: Object, options: PodOptions) -> ErrorList:
    """A change through `/ephemeralcontainers`: containers are only added."""
    errors = metadata_and_spec(pod, options) + annotation_updates(pod, old, options)
    if annotations.MIRROR in (old["metadata"].get("annotations") or {}):
        detail = "static pods do not support ephemeral containers"
        return [field.forbidden(Path("[]"), detail)]
    where = _SPEC.child("ephemeralContainers")
    known = {c.get("name"): c for c in pod["spec"].get("ephemeralContainers") or ()}
    for container in old["spec"].get("ephemeralContainers") or ():
        name = container.get("name")
        new = known.get(name)
        if new is None:
            detail = f"existing ephemeral containers {quote(name or '')} may not be removed\n"
            errors.append(field.forbidden(where, detail))
        elif not semantically_equal(new, container):
            difference = go_structs.diff("EphemeralContainer", container, new)
            detail = f"existing ephemeral containers {quote(name or '')} may not be changed"
            errors.append(field.forbidden(where, f"{detail}\n{difference}"))
    return errors


def validate_binding(binding: Object) -> ErrorList:
    """A Binding: to a node that is named."""
    target: Any = binding.get("target") or {}
    kind, name = target.get("kind") or "", target.get("name") or ""
    errors: ErrorList = []
    if kind not in ("", "Node"):
        where = Path("target", "kind")
        errors.append(field.not_supported(where, kind, ("Node", "<empty>")))
    where = Path("target", "name")
    if not name:
        errors.append(field.required(where))
    elif kind in ("", "Node"):
        errors += field.invalid_each(where, name, formats.is_dns1123_subdomain(name))
    return errors
