"""LimitRanger: what containers, pods and claims of a namespace ask for by default, and may.

New pods get the defaults of every LimitRange; then they and new claims are held against its bounds.

Follows `plugin/pkg/admission/limitranger/admission.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from pytest_kubesim.apimachinery import quantity, validation
from pytest_kubesim.apimachinery.meta import GroupKind, GroupResource, get_path
from pytest_kubesim.apiserver.admission.chain import CREATE, UPDATE, Attributes, Plugin, forbidden
from pytest_kubesim.registry import quota

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

ANNOTATION = "kubernetes.io/limit-ranger"
RANGES = GroupResource("", "limitranges")
CONTAINER, POD, CLAIM = "Container", "Pod", "PersistentVolumeClaim"
MAX_MILLI_VALUE = (1 << 63) // 1000 - 1

_POD = GroupKind("", "Pod")
_CLAIM = GroupKind("", "PersistentVolumeClaim")
_PODS = GroupResource("", "pods")
_CLAIMS = GroupResource("", "persistentvolumeclaims")
_CONTAINERS = (("containers", "container"), ("initContainers", "init container"))

ResourceList: TypeAlias = Mapping[str, str]
Problem: TypeAlias = "str | None"


class LimitRanger(Plugin):
    """The plugin."""

    operations = (CREATE, UPDATE)
    resources = frozenset({_PODS, _CLAIMS})

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Fills in the defaults of a new pod's containers."""
        if obj is None or attributes.kind.group_kind != _POD:
            return obj
        for each in _ranges(attributes):
            obj = with_defaults(each, obj)
        return obj

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses what is out of bounds."""
        if obj is None:
            return
        check = {_POD: pod_problems, _CLAIM: claim_problems}.get(attributes.kind.group_kind)
        if check is None:
            return
        for each in _ranges(attributes):
            problems = check(each, obj)
            if problems:
                raise forbidden(attributes, validation.aggregate(problems))


def _ranges(attributes: Attributes) -> list[Object]:
    """The limit ranges that the request is held against."""
    kind = attributes.kind.group_kind
    resized = attributes.subresource == "resize" and attributes.operation == UPDATE
    if kind != _POD or not resized:
        if attributes.subresource or kind not in (_POD, _CLAIM):
            return []
        if kind == _POD and attributes.operation == UPDATE:
            return []
    if attributes.old is not None and attributes.old["metadata"].get("deletionTimestamp"):
        return []
    return list(attributes.server.reader.list(RANGES, attributes.namespace))


def _limits(limit_range: Object, kind: str) -> list[Object]:
    return [each for each in all_limits(limit_range) if each.get("type") == kind]


def all_limits(limit_range: Object) -> list[Object]:
    """The entries of a limit range."""
    limits: list[Object] = get_path(limit_range, "spec", "limits") or []
    return limits


def _amounts(parent: Object, field: str) -> dict[str, str]:
    found: dict[str, str] = parent.get(field) or {}
    return found


# -- defaults ----------------------------------------------------------------------------------


def with_defaults(limit_range: Object, pod: Object) -> Object:
    """The pod with what its containers leave open, and an annotation that says so."""
    defaults: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
    for limit in _limits(limit_range, CONTAINER):
        defaults["requests"].update(limit.get("defaultRequest") or {})
        defaults["limits"].update(limit.get("default") or {})
    spec: Object = pod["spec"]
    notes: list[str] = []
    changed: Object = {}
    for field, label in _CONTAINERS:
        containers: list[Object] = spec.get(field) or []
        filled = [_filled(container, defaults, label, notes) for container in containers]
        if any(new is not old for new, old in zip(filled, containers, strict=True)):
            changed[field] = filled
    if not notes:
        return pod
    annotations: Object = {
        **(pod["metadata"].get("annotations") or {}),
        ANNOTATION: "LimitRanger plugin set: " + "; ".join(notes),
    }
    metadata: Object = {**pod["metadata"], "annotations": annotations}
    return {**pod, "metadata": metadata, "spec": {**spec, **changed}}


def _filled(
    container: Object, defaults: Mapping[str, ResourceList], label: str, notes: list[str]
) -> Object:
    resources: Object = dict(container.get("resources") or {})
    changed = False
    for kind, word in (("requests", "request"), ("limits", "limit")):
        given: dict[str, str] = resources.get(kind) or {}
        added = {name: value for name, value in defaults[kind].items() if name not in given}
        if added:
            resources[kind] = {**given, **added}
            notes.append(f"{', '.join(sorted(added))} {word} for {label} {container['name']}")
            changed = True
    return {**container, "resources": resources} if changed else container


# -- bounds ------------------------------------------------------------------------------------


def pod_problems(limit_range: Object, pod: Object) -> list[str]:
    """How a pod is out of the bounds of a limit range."""
    spec: Object = pod["spec"]
    problems: list[str] = []
    for limit in all_limits(limit_range):
        if limit.get("type") == CONTAINER:
            for field, _ in _CONTAINERS:
                containers: list[Object] = spec.get(field) or []
                for container in containers:
                    resources: Object = container.get("resources") or {}
                    requests = _amounts(resources, "requests")
                    problems += _violations(limit, requests, _amounts(resources, "limits"))
        elif limit.get("type") == POD:
            bare: Object = {"spec": {k: v for k, v in spec.items() if k != "overhead"}}
            requests = quota.pod_resources(bare, "requests")
            problems += _violations(limit, requests, quota.pod_resources(bare, "limits"))
    return problems


def _violations(limit: Object, requests: ResourceList, limits: ResourceList) -> list[str]:
    kind: str = limit["type"]
    checks: tuple[tuple[str, Callable[..., Problem]], ...] = (
        ("min", _below),
        ("max", _above),
        ("maxLimitRequestRatio", _too_steep),
    )
    found: list[str] = []
    for field, check in checks:
        bounds: dict[str, str] = limit.get(field) or {}
        for name in sorted(bounds):
            problem = check(kind, name, bounds[name], requests.get(name), limits.get(name))
            if problem is not None:
                found.append(problem)
    return found


def claim_problems(limit_range: Object, claim: Object) -> list[str]:
    """How a claim is out of the bounds of a limit range."""
    requests: dict[str, str] = get_path(claim, "spec", "resources", "requests") or {}
    found: list[Problem] = []
    for limit in _limits(limit_range, CLAIM):
        for name, bound in sorted(_amounts(limit, "min").items()):
            found.append(_below(CLAIM, name, bound, requests.get(name), None))
        for name, bound in sorted(_amounts(limit, "max").items()):
            found.append(_claim_above(name, bound, requests.get(name)))
    return [problem for problem in found if problem is not None]


def _values(*amounts: str | None) -> list[int]:
    """Amounts at a common precision: thousandths where all of them fit."""
    given = [amount or "0" for amount in amounts]
    whole = [quantity.value(amount) for amount in given]
    if all(number <= MAX_MILLI_VALUE for number in whole):
        return [quantity.milli_value(amount) for amount in given]
    return whole


def _below(kind: str, name: str, bound: str, request: str | None, limit: str | None) -> Problem:
    requested, limited, enforced = _values(request, limit, bound)
    start = f"minimum {name} usage per {kind} is {quantity.canonical(bound)}"
    if request is None:
        return f"{start}.  No request is specified"
    if requested < enforced:
        return f"{start}, but request is {quantity.canonical(request)}"
    if limit is not None and limited < enforced:
        return f"{start}, but limit is {quantity.canonical(limit)}"
    return None


def _above(kind: str, name: str, bound: str, request: str | None, limit: str | None) -> Problem:
    requested, limited, enforced = _values(request, limit, bound)
    start = f"maximum {name} usage per {kind} is {quantity.canonical(bound)}"
    if limit is None:
        return f"{start}.  No limit is specified"
    if limited > enforced:
        return f"{start}, but limit is {quantity.canonical(limit)}"
    if request is not None and requested > enforced:
        return f"{start}, but request is {quantity.canonical(request)}"
    return None


def _claim_above(name: str, bound: str, request: str | None) -> Problem:
    requested, enforced = _values(request, bound)
    start = f"maximum {name} usage per {CLAIM} is {quantity.canonical(bound)}"
    if request is None:
        return f"{start}.  No request is specified"
    if requested > enforced:
        return f"{start}, but request is {quantity.canonical(request)}"
    return None


def _too_steep(kind: str, name: str, bound: str, request: str | None, limit: str | None) -> Problem:
    requested, limited, _ = _values(request, limit, bound)
    start = f"{name} max limit to request ratio per {kind} is {quantity.canonical(bound)}, but"
    if request is None or not requested:
        return f"{start} no request is specified or request is 0"
    if limit is None or not limited:
        return f"{start} no limit is specified or limit is 0"
    ratio = limited / requested
    highest = quantity.value(bound)
    exceeded = ratio > highest
    if highest <= MAX_MILLI_VALUE:
        exceeded = ratio * 1000 > quantity.milli_value(bound)
    return f"{start} provided ratio is {ratio:f}" if exceeded else None


PLUGIN = LimitRanger()
