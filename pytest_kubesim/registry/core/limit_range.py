"""LimitRanges.

Follows `pkg/registry/core/limitrange/strategy.go`, `SetDefaults_LimitRangeItem` and
`ValidateLimitRange` of `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import formats, quantity
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry.pod_template import resource_names as names
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import EMPTY, Plain

_LIMITS = Path("spec", "limits")
_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_AMOUNTS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


class LimitRangeStrategy(Plain):
    """`/limitranges`."""

    allow_create_on_update = True

    def default(self, obj: Object) -> Object:
        """Limits of containers follow from each other."""
        spec: Object = obj.get("spec") or {}
        limits: list[Object] | None = spec.get("limits")
        if not limits:
            return obj
        return {**obj, "spec": {**spec, "limits": [_item(each or {}) for each in limits]}}

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """A name, if there is none."""
        if obj["metadata"].get("name"):
            return obj
        drawn = ctx.rng.bytes(16, "limitrange-name", ctx.namespace, ctx.now_ns).hex()
        name = "-".join((drawn[:8], drawn[8:12], drawn[12:16], drawn[16:20], drawn[20:]))
        return {**obj, "metadata": {**obj["metadata"], "name": name}}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateLimitRange`."""
        del old
        errors: ErrorList = []
        seen: set[str] = set()
        for position, limit in enumerate((obj.get("spec") or EMPTY).get("limits") or ()):
            where = _LIMITS.index(position)
            kind = limit.get("type") or ""
            errors += _kind(kind, where.child("type"))
            if kind in seen:
                errors.append(field.duplicate(where.child("type"), kind))
            seen.add(kind)
            errors += _limit(limit, kind, where)
        return errors


def _item(item: Object) -> Object:
    out: Object = dict(item)
    if item.get("type") == "Container":
        default: Object = {**(item.get("max") or {}), **(item.get("default") or {})}
        request: Object = {
            **(item.get("min") or {}),
            **default,
            **(item.get("defaultRequest") or {}),
        }
        out["default"], out["defaultRequest"] = default, request
    for key in _AMOUNTS:
        if out.get(key):
            out[key] = names.rounded(out[key])
    return out


def _kind(kind: str, path: Path) -> ErrorList:
    if details := formats.is_qualified_name(kind):
        return field.invalid_each(path, kind, details)
    if "/" in kind or kind in _TYPES:
        return []
    return [field.invalid(path, kind, "must be a standard limit type or fully qualified")]


def _limit(limit: Object, kind: str, path: Path) -> ErrorList:
    check = names.validate_container_name if kind in ("Pod", "Container") else names.validate_name
    errors: ErrorList = []
    amounts: dict[str, Object] = {key: limit.get(key) or {} for key in _AMOUNTS}

    def all_names(key: str) -> None:
        for name in sorted(amounts[key]):
            errors.extend(check(name, path.child(key).key(name)))

    all_names("max")
    all_names("min")
    if kind == "Pod":
        for key in ("default", "defaultRequest"):
            if amounts[key]:
                detail = "may not be specified when `type` is 'Pod'"
                errors.append(field.forbidden(path.child(key), detail))
            amounts[key] = {}
    else:
        all_names("default")
        all_names("defaultRequest")
    if kind == "PersistentVolumeClaim" and not any("storage" in amounts[k] for k in ("min", "max")):
        detail = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(field.required(path.child("limits"), detail))
    all_names("maxLimitRequestRatio")
    for name in sorted({name for found in amounts.values() for name in found}):
        errors += _relations(name, amounts, path)
    return errors


def _relations(name: str, amounts: dict[str, Object], path: Path) -> ErrorList:
    errors: ErrorList = []
    found = {key: amounts[key].get(name) for key in _AMOUNTS}
    for low, low_shown, high, high_shown, at, shown in (
        ("min", "min", "max", "max", "min", "min"),
        ("min", "min", "defaultRequest", "default request", "defaultRequest", "defaultRequest"),
        ("defaultRequest", "default request", "max", "max", "defaultRequest", "defaultRequest"),
        (
            "defaultRequest",
            "default request",
            "default",
            "default limit",
            "defaultRequest",
            "defaultRequest",
        ),
        ("min", "min", "default", "default", "default", "min"),
        ("default", "default", "max", "max", "default", "max"),
    ):
        lower, upper = found[low], found[high]
        if lower is not None and upper is not None and quantity.cmp(lower, upper) > 0:
            detail = f"{low_shown} value {lower} is greater than {high_shown} value {upper}"
            errors.append(field.invalid(path.child(at).key(name), found[shown], detail))
    errors += _ratio(name, found, path.child("maxLimitRequestRatio").key(name))
    default, request = found["default"], found["defaultRequest"]
    if (
        default is not None
        and request is not None
        and not names.overcommits(name)
        and quantity.cmp(default, request)
    ):
        detail = f"default value {default} must equal to defaultRequest value {request} in {name}"
        errors.append(field.invalid(path.child("defaultRequest").key(name), request, detail))
    return errors


def _ratio(name: str, found: Object, path: Path) -> ErrorList:
    del name
    ratio, low, high = found["maxLimitRequestRatio"], found["min"], found["max"]
    if ratio is None:
        return []
    errors: ErrorList = []
    if quantity.cmp(ratio, "1") < 0:
        errors.append(field.invalid(path, ratio, f"ratio {ratio} is less than 1"))
    if low is None or high is None:
        return errors
    smallest, largest = quantity.nano_value(low), quantity.nano_value(high)
    limit = largest / smallest if smallest else float("inf")
    if quantity.as_float(ratio) > limit:
        detail = f"ratio {ratio} is greater than max/min = {limit:.6f}"
        errors.append(field.invalid(path, ratio, detail))
    return errors


KIND = Kind(strategy=LimitRangeStrategy())
