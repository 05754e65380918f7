"""What containers and pods ask for, and how much of it they may use.

Follows `validateResourceRequirements` of `pkg/apis/core/validation/validation.go` and
`component-helpers/resource/helpers.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pytest_kubesim.apimachinery import formats, quantity
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.pod_template import resource_names as names
from pytest_kubesim.registry.pod_template.options import PodOptions
from pytest_kubesim.registry.strategies import EMPTY

NameCheck = Callable[[str, Path], ErrorList]


def validate_requirements(
    resources: Object | None,
    claims: Iterable[str],
    path: Path,
    options: PodOptions,
    name_check: NameCheck = names.validate_container_name,
) -> ErrorList:
    """Limits and requests of a container."""
    if not resources:
        return []
    limits: Object = resources.get("limits") or {}
    requests: Object = resources.get("requests") or {}
    errors: ErrorList = []
    huge = basic = False
    for name in sorted(limits):
        errors += _amount(name, limits[name], path, "limits", options, name_check)
        huge = huge or names.is_huge_page(name)
        basic = basic or name in names.POD_LEVEL
    for name in sorted(requests):
        amount = requests[name]
        key_errors = _amount(name, amount, path, "requests", options, name_check)
        if key_errors and names.is_huge_page(name) and key_errors[-1].detail.endswith(name):
            huge_error = key_errors.pop()
            errors += key_errors + _against_limit(name, amount, limits, path) + [huge_error]
        else:
            errors += key_errors + _against_limit(name, amount, limits, path)
        huge = huge or names.is_huge_page(name)
        basic = basic or name in names.POD_LEVEL
    if huge and not basic:
        errors.append(field.forbidden(path, "HugePages require cpu or memory"))
    if claimed := resources.get("claims"):
        errors += _claims(claimed, sorted(claims), path.child("claims"))
    return errors


def _amount(
    name: str, amount: str, path: Path, key: str, options: PodOptions, name_check: NameCheck
) -> ErrorList:
    if (
        name in names.CONTAINER
        and name_check is names.validate_container_name
        and quantity.nano_value(amount) >= 0
    ):
        return []
    where = path.child(key).key(name)
    errors = name_check(name, where) + names.validate_amount(name, amount, where)
    if names.is_huge_page(name) and not options.allow_indivisible_huge_pages:
        problem = names.huge_page_problem(name, amount)
        if problem:
            errors.append(field.invalid(where, quantity.canonical(amount), problem))
    return errors


def _against_limit(name: str, amount: str, limits: Object, path: Path) -> ErrorList:
    limit = limits.get(name)
    if limit is None:
        if names.overcommits(name):
            return []
        detail = "Limit must be set for non overcommitable resources"
        return [field.required(path.child("limits"), detail)]
    if amount == limit:
        return []
    order = quantity.cmp(amount, limit)
    shown, bound = quantity.canonical(amount), quantity.canonical(limit)
    where = path.child("requests")
    if order and not names.overcommits(name):
        return [field.invalid(where, shown, f"must be equal to {name} limit of {bound}")]
    if order > 0:
        detail = f"must be less than or equal to {name} limit of {bound}"
        return [field.invalid(where, shown, detail)]
    return []


def _claims(claims: list[Object], known: list[str], path: Path) -> ErrorList:
    errors: ErrorList = []
    seen: set[str] = set()
    for position, claim in enumerate(claims):
        where = path.index(position)
        name, request = claim.get("name") or "", claim.get("request") or ""
        if not name:
            errors.append(field.required(where))
            continue
        if name in seen:
            errors.append(field.duplicate(where, name))
        else:
            key = name
            if request:
                details = formats.is_dns1123_label(request)
                errors += field.invalid_each(where.child("request"), request, details)
                key = f"{name}/{request}"
            if key in seen:
                errors.append(field.duplicate(where, key))
            elif not request:
                errors += [
                    field.duplicate(where, name)
                    for other in seen
                    if other.partition("/")[0] == name
                ]
            seen.add(key)
        if name not in known:
            detail = "must be one of the names in pod.spec.resourceClaims"
            detail += f": {', '.join(known)}" if known else " which is empty"
            errors.append(field.FieldError(field.NOT_FOUND, str(where), name, detail))
    return errors


# -- pods as a whole ---------------------------------------------------------------------------


def validate_pod_level(
    spec: Object, claims: Iterable[str], path: Path, options: PodOptions
) -> ErrorList:
    """Resources of the pod as a whole, and that its containers fit into them."""
    resources = spec.get("resources")
    if resources is None:
        return []
    where = path.child("resources")
    if (spec.get("os") or EMPTY).get("name") == "windows":
        return [field.forbidden(where, "may not be set for a windows pod")]
    errors: ErrorList = []
    if resources.get("claims"):
        detail = "claims may not be set for Resources at pod-level"
        errors.append(field.forbidden(where.child("claims"), detail))
    errors += validate_requirements(
        resources, claims, where, options, names.validate_pod_level_name
    )
    return errors + _consistency(spec, resources, where)


def _consistency(spec: Object, resources: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    requests: Object = resources.get("requests") or {}
    limits: Object = resources.get("limits") or {}
    for name, total in sorted(aggregate(spec, "requests").items()):
        bound = requests.get(name)
        if bound is not None and quantity.cmp(total, bound) > 0:
            where = path.child("requests").key(name)
            detail = f"must be greater than or equal to aggregate container requests of {total}"
            errors.append(field.invalid(where, quantity.canonical(bound), detail))
    for name, total in sorted(aggregate(spec, "limits").items()):
        bound = limits.get(name)
        if names.is_huge_page(name) and bound is not None and quantity.cmp(total, bound) > 0:
            where = path.child("limits").key(name)
            detail = f"must be greater than or equal to aggregate container limits of {total}"
            errors.append(field.invalid(where, quantity.canonical(bound), detail))
    for position, container in enumerate(spec.get("containers") or ()):
        own = parts.struct(container.get("resources"), "limits")
        for name in sorted(own):
            bound = limits.get(name)
            if bound is not None and quantity.cmp(own[name], bound) > 0:
                where = path.child("containers").index(position).key(name).child("limits")
                detail = f"must be less than or equal to pod limits of {quantity.canonical(bound)}"
                errors.append(field.invalid(where, quantity.canonical(own[name]), detail))
    return errors


def aggregate(spec: Object, key: str) -> dict[str, str]:
    """The sum of what containers ask for at once (`AggregateContainerRequests`, `...Limits`).

    Init containers run before: each counts with the sidecars that have been started by then.
    """
    total: dict[str, str] = {}
    for container in spec.get("containers") or ():
        _add(total, (container.get("resources") or EMPTY).get(key) or {})
    sidecars: dict[str, str] = {}
    highest: dict[str, str] = {}
    for container in spec.get("initContainers") or ():
        own: dict[str, str] = (container.get("resources") or EMPTY).get(key) or {}
        if container.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            own = dict(own)
            _add(own, sidecars)
        _raise(highest, own)
    _raise(total, highest)
    return total


def _add(total: dict[str, str], more: Object) -> None:
    for name, amount in more.items():
        total[name] = quantity.add(total[name], amount) if name in total else amount


def _raise(total: dict[str, str], other: dict[str, str]) -> None:
    for name, amount in other.items():
        if name not in total or quantity.cmp(amount, total[name]) > 0:
            total[name] = amount


def with_pod_level_defaults(spec: Object) -> Object:
    """The spec with the pod-level amounts that follow from those of its containers.

    Follows `DefaultPodLevelResources` of `pkg/api/pod/util.go`.
    """
    resources: Object | None = spec.get("resources")
    if not resources or not (resources.get("requests") or resources.get("limits")):
        return spec
    limits: dict[str, str] = dict(resources.get("limits") or {})
    requests: dict[str, str] = dict(resources.get("requests") or {})
    container_limits = aggregate(spec, "limits")
    for name, amount in container_limits.items():
        if names.is_huge_page(name) and name not in requests:
            limits.setdefault(name, amount)
    for name, amount in aggregate(spec, "requests").items():
        if name in names.POD_LEVEL:
            requests.setdefault(name, amount)
    for name, amount in limits.items():
        if names.is_pod_level(name):
            requests.setdefault(name, amount)
    all_containers = [
        container
        for key in ("initContainers", "containers", "ephemeralContainers")
        for container in spec.get(key) or ()
    ]
    for name in sorted(requests):
        if name in limits or not names.is_pod_level(name) or name not in container_limits:
            continue
        if all(name in ((c.get("resources") or EMPTY).get("limits") or {}) for c in all_containers):
            limits[name] = quantity.maximum(container_limits[name], requests[name])
    out = {**resources}
    if limits:
        out["limits"] = limits
    if requests:
        out["requests"] = requests
    return {**spec, "resources": out}


# -- quality of service ------------------------------------------------------------------------


def quality_of_service(spec: Object) -> str:
    """`Guaranteed`, `Burstable` or `BestEffort` (`pkg/apis/core/helper/qos`)."""
    whole: Object | None = spec.get("resources")
    if whole and any(
        names.is_pod_level(name) for key in ("requests", "limits") for name in whole.get(key) or ()
    ):
        return _class_of(whole)
    found = ""
    for key in ("initContainers", "containers"):
        for container in spec.get(key) or ():
            own = _class_of(container.get("resources") or {})
            if own == "Burstable" or (found and own != found):
                return "Burstable"
            found = own
    return found or "BestEffort"


def _class_of(resources: Object) -> str:
    requests: Object = resources.get("requests") or {}
    limits: Object = resources.get("limits") or {}
    if not requests and not limits:
        return "BestEffort"
    found = ""
    for name in ("cpu", "memory"):
        request, limit = requests.get(name) or "0", limits.get(name) or "0"
        if quantity.cmp(request, limit):
            return "Burstable"
        own = "BestEffort" if quantity.is_zero(request) else "Guaranteed"
        if found and own != found:
            return "Burstable"
        found = own
    return found
