"""CSIDrivers.

Follows `pkg/registry/storage/csidriver/strategy.go`, `pkg/apis/storage/v1/defaults.go` and
`pkg/apis/storage/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import NONE, age, printer
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import SPEC, Plain, raised, semantically_equal

GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
MODES = ("Persistent", "Ephemeral")
_DEFAULTS: Object = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False,
    "seLinuxMount": False,
    "preventPodSchedulingIfMissing": False,
}
_TOKENS_RECOMMENDED = (
    "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to "
    "prevent possible logging of tokens in volume attributes"
)


class CSIDriverStrategy(Plain):
    """`/csidrivers`."""

    allow_unconditional_update = False

    def default(self, obj: Object) -> Object:
        """`SetDefaults_CSIDriver`."""
        spec: Object = dict(parts.spec(obj))
        for key, value in _DEFAULTS.items():
            if spec.get(key) is None:
                spec[key] = value
        if not spec.get("volumeLifecycleModes"):
            spec["volumeLifecycleModes"] = ["Persistent"]
        return {**obj, "spec": spec}

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """A generation further if the spec has changed."""
        del ctx
        return obj if semantically_equal(obj["spec"], old["spec"]) else raised(obj, old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateCSIDriver`."""
        spec = parts.spec(obj)
        errors = _spec(spec)
        if old is not None:
            before = parts.spec(old)
            for key, shown in (
                ("attachRequired", "attachedRequired"),
                ("volumeLifecycleModes", "volumeLifecycleModes"),
            ):
                where = SPEC.child(shown)
                errors += field.validate_immutable_field(spec.get(key), before.get(key), where)
        return errors

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """For tokens that may be logged."""
        del ctx
        return _token_warnings(parts.spec(obj))

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """For tokens that may be logged."""
        del ctx
        spec = parts.spec(obj)
        if semantically_equal(spec.get("tokenRequests"), parts.spec(old).get("tokenRequests")):
            return []
        return _token_warnings(spec)


def _token_warnings(spec: Object) -> list[str]:
    unset = spec.get("serviceAccountTokenInSecrets") is None
    return [_TOKENS_RECOMMENDED] if unset and spec.get("tokenRequests") else []


def _spec(spec: Object) -> ErrorList:
    errors = [
        field.required(SPEC.child(shown))
        for key, shown in (
            ("attachRequired", "attachedRequired"),
            ("podInfoOnMount", "podInfoOnMount"),
            ("storageCapacity", "storageCapacity"),
        )
        if spec.get(key) is None
    ]
    policy = spec.get("fsGroupPolicy")
    if policy is not None and policy not in GROUP_POLICIES:
        where = SPEC.child("fsGroupPolicy")
        errors.append(field.not_supported(where, policy, GROUP_POLICIES))
    errors += _token_requests(parts.structs(spec, "tokenRequests"))
    where = SPEC.child("volumeLifecycleModes")
    errors += [
        field.not_supported(where, mode, MODES)
        for mode in parts.texts(spec, "volumeLifecycleModes")
        if mode not in MODES
    ]
    if spec.get("seLinuxMount") is None:
        errors.append(field.required(SPEC.child("seLinuxMount")))
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        where = SPEC.child("nodeAllocatableUpdatePeriodSeconds")
        errors.append(field.invalid(where, period, "must be greater than or equal to 10 seconds"))
    in_secrets = spec.get("serviceAccountTokenInSecrets")
    if in_secrets is not None and not spec.get("tokenRequests"):
        detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        where = SPEC.child("serviceAccountTokenInSecrets")
        errors.append(field.invalid(where, in_secrets, detail))
    return errors


def _token_requests(requests: list[Object]) -> ErrorList:
    errors: ErrorList = []
    seen: set[str] = set()
    for position, request in enumerate(requests):
        path = SPEC.child("tokenRequests").index(position)
        audience = parts.text(request, "audience")
        if audience in seen:
            errors.append(field.duplicate(path.child("audience"), audience))
            continue
        seen.add(audience)
        seconds = request.get("expirationSeconds")
        if seconds is None:
            continue
        where = path.child("expirationSeconds")
        if seconds < 600:
            detail = "may not specify a duration less than 10 minutes"
            errors.append(field.invalid(where, seconds, detail))
        if seconds > 1 << 32:
            detail = "may not specify a duration larger than 2^32 seconds"
            errors.append(field.invalid(where, seconds, detail))
    return errors


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec = parts.spec(obj)
    attach = spec.get("attachRequired")
    requests = spec.get("tokenRequests")
    audiences = [parts.text(each, "audience") for each in parts.structs(spec, "tokenRequests")]
    return [
        obj["metadata"]["name"],
        True if attach is None else attach,
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        "<unset>" if requests is None else ",".join(audiences),
        bool(spec.get("requiresRepublish")),
        ",".join(parts.texts(spec, "volumeLifecycleModes")) or NONE,
        age(obj, now_ns),
    ]


KIND = Kind(strategy=CSIDriverStrategy(), printer=printer("CSIDriver", _row))
