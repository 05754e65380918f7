"""ResourceQuotas.

Follows `pkg/registry/core/resourcequota/strategy.go` and `ValidateResourceQuota` of
`pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.pod_template import go_structs
from pytest_kubesim.registry.pod_template import resource_names as names
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import EMPTY, SPEC, STATUS, StatusOnly, WithStatus

_SCOPES = frozenset(
    {
        "Terminating",
        "NotTerminating",
        "BestEffort",
        "NotBestEffort",
        "PriorityClass",
        "VolumeAttributesClass",
        "CrossNamespacePodAffinity",
    }
)
_PODS = frozenset(
    {
        "pods",
        "cpu",
        "memory",
        "limits.cpu",
        "limits.memory",
        "requests.cpu",
        "requests.memory",
    }
)
_OF_SCOPE = {
    "BestEffort": frozenset({"pods"}),
    "VolumeAttributesClass": frozenset({"persistentvolumeclaims", "requests.storage"}),
}
_EXISTS_ONLY = frozenset(
    {"BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity"}
)
_PAIRS = (frozenset({"BestEffort", "NotBestEffort"}), frozenset({"Terminating", "NotTerminating"}))
_MUST_EXIST = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "
    "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
    "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


def _rounded(obj: Object) -> Object:
    out: Object = dict(obj)
    for part, keys in (("spec", ("hard",)), ("status", ("hard", "used"))):
        found: Object | None = obj.get(part)
        if found and any(found.get(key) for key in keys):
            out[part] = {**found, **{k: names.rounded(found.get(k)) for k in keys if found.get(k)}}
    return out


class ResourceQuotaStrategy(WithStatus):
    """`/resourcequotas`."""

    def default(self, obj: Object) -> Object:
        """Amounts in thousandths."""
        return _rounded(obj)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateResourceQuota`, `ValidateResourceQuotaUpdate`."""
        spec: Object = obj.get("spec") or {}
        errors = _amounts(spec.get("hard"), SPEC.child("hard"))
        errors += _scopes(spec) + _selector(spec)
        if old is None:
            return errors
        scopes: list[str] = spec.get("scopes") or []
        if set(scopes) != set((old.get("spec") or EMPTY).get("scopes") or ()):
            where = SPEC.child("scopes")
            errors.append(field.invalid(where, scopes or None, field.FIELD_IMMUTABLE))
        return errors

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """Requests beyond limits."""
        del ctx
        hard: Object = (obj.get("spec") or EMPTY).get("hard") or {}
        found: list[str] = []
        for name in ("cpu", "memory", "storage", "ephemeral-storage"):
            requests, limits = f"requests.{name}", f"limits.{name}"
            if requests not in hard and name in ("cpu", "memory") and name in hard:
                requests = name
            if (
                requests in hard
                and limits in hard
                and quantity.cmp(hard[requests], hard[limits]) > 0
            ):
                found.append(
                    f"ResourceQuota {requests} ({hard[requests]}) should be less than {limits} "
                    f"({hard[limits]})"
                )
        return found


def _amounts(amounts: Object | None, path: Path) -> ErrorList:
    errors: ErrorList = []
    for name in sorted(amounts or ()):
        where = path.key(name)
        errors += names.validate_quota_name(name, where)
        errors += names.validate_amount(name, (amounts or EMPTY)[name], where)
    return errors


def _fits(scope: str, name: str) -> bool:
    if not names.is_standard_quota(name) or scope not in _SCOPES:
        return True
    return name in _OF_SCOPE.get(scope, _PODS)


def _scopes(spec: Object) -> ErrorList:
    scopes: list[str] = spec.get("scopes") or []
    where = SPEC.child("scopes")
    errors: ErrorList = []
    for scope in scopes:
        if scope not in _SCOPES:
            errors.append(field.invalid(where, scopes, "unsupported scope"))
        for name in sorted(spec.get("hard") or ()):
            if not _fits(scope, name):
                errors.append(field.invalid(where, scopes, "unsupported scope applied to resource"))
    return errors + [
        field.invalid(where, scopes, "conflicting scopes") for pair in _PAIRS if pair <= set(scopes)
    ]


def _selector(spec: Object) -> ErrorList:
    selector: Object | None = spec.get("scopeSelector")
    if selector is None:
        return []
    where = SPEC.child("scopeSelector", "matchExpressions")
    errors: ErrorList = []
    found: set[str] = set()
    for requirement in selector.get("matchExpressions") or ():
        errors += _requirement(requirement, spec, selector, where)
        found.add(requirement.get("scopeName") or "")
    return errors + [
        field.invalid(where, spec.get("scopes"), "conflicting scopes")
        for pair in _PAIRS
        if pair <= found
    ]


def _requirement(requirement: Object, spec: Object, selector: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    scope, operator = requirement.get("scopeName") or "", requirement.get("operator") or ""
    values: list[str] = requirement.get("values") or []
    if scope not in _SCOPES:
        errors.append(field.invalid(path.child("scopeName"), scope, "unsupported scope"))
    for name in sorted(spec.get("hard") or ()):
        if not _fits(scope, name):
            shown = go_structs.printed("ScopeSelector", selector)
            errors.append(field.invalid(path, shown, "unsupported scope applied to resource"))
    if scope in _EXISTS_ONLY and operator != "Exists":
        errors.append(field.invalid(path.child("operator"), operator, _MUST_EXIST))
    where = path.child("values")
    if operator in ("In", "NotIn"):
        if not values:
            detail = (
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            )
            errors.append(field.required(where, detail))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = (
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            )
            errors.append(field.invalid(where, values, detail))
    else:
        detail = "not a valid selector operator"
        errors.append(field.invalid(path.child("operator"), operator, detail))
    return errors


class ResourceQuotaStatusStrategy(StatusOnly):
    """`/resourcequotas/{name}/status`."""

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateResourceQuotaStatusUpdate`."""
        del old
        status: Object = obj.get("status") or {}
        errors = _amounts(status.get("hard"), STATUS.child("hard"))
        return errors + _amounts(status.get("used"), STATUS.child("used"))


def _row(obj: Object, now_ns: int) -> list[Any]:
    status: Object = obj.get("status") or {}
    hard: Object = status.get("hard") or {}
    used: Object = status.get("used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(hard):
        column = limits if name.startswith("limits.") else requests
        column.append(f"{name}: {used.get(name) or '0'}/{hard[name]}")
    return [obj["metadata"]["name"], ", ".join(requests), ", ".join(limits), age(obj, now_ns)]


KIND = Kind(
    strategy=ResourceQuotaStrategy(),
    status=ResourceQuotaStatusStrategy(),
    printer=printer("ResourceQuota", _row),
)
