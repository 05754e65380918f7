"""What services of the different types need, and the rules for cluster IPs and their families.

Follows `ValidateServiceClusterIPsRelatedFields` of `pkg/apis/core/validation/validation.go` and
`pkg/api/service/util.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import addresses
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList
from pytest_kubesim.registry.strategies import EMPTY, SPEC

FAMILIES = ("IPv4", "IPv6")
POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_IPS = SPEC.child("clusterIPs")


def is_external_name(spec: Object) -> bool:
    """A service that is but another name."""
    return spec.get("type") == "ExternalName"


def is_headless(spec: Object) -> bool:
    """A service without an address of its own."""
    return spec.get("clusterIPs") == ["None"]


def externally_accessible(spec: Object) -> bool:
    """Traffic reaches it from outside the cluster."""
    kind = spec.get("type")
    return kind in ("LoadBalancer", "NodePort") or (
        kind == "ClusterIP" and bool(spec.get("externalIPs"))
    )


def needs_health_check(spec: Object) -> bool:
    """A load balancer must ask each node whether it has endpoints."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def is_ipv6(text: str) -> bool:
    """Whether a text is an IPv6 address."""
    address = addresses.parse_ip_sloppy(text)
    return (
        address is not None
        and address.version == 6
        and getattr(address, "ipv4_mapped", None) is None
    )


def cluster_ip_fields(spec: Object, before: Object | None) -> ErrorList:
    """What is wrong with `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy`."""
    if is_external_name(spec):
        return []
    ip: str = spec.get("clusterIP") or ""
    ips: list[str] = spec.get("clusterIPs") or []
    families: list[str] = spec.get("ipFamilies") or []
    errors: ErrorList = []
    if ip and not ips:
        errors.append(field.required(_IPS))
    elif ip and ips[0] != ip:
        errors.append(field.invalid(_IPS, ips, "first value must match `clusterIP`"))
    elif not ip and ips:
        errors.append(field.invalid(_IPS, ips, "must be empty when `clusterIP` is not specified"))
    errors += _families(families)
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in POLICIES:
        errors.append(field.not_supported(SPEC.child("ipFamilyPolicy"), policy, POLICIES))
    problems = _each(ips, (before or EMPTY).get("clusterIPs") or [])
    errors += problems
    if len(ips) > 2:
        errors.append(field.invalid(_IPS, ips, "may only hold up to 2 values"))
    if problems:
        return errors
    if len(ips) > 1 and len({is_ipv6(each) for each in ips}) < 2:
        detail = "may specify no more than one IP for each IP family"
        errors.append(field.invalid(_IPS, ips, detail))
    if not is_headless(spec):
        for position, (each, family) in enumerate(zip(ips, families, strict=False)):
            if family in FAMILIES and is_ipv6(each) != (family == "IPv6"):
                detail = f"expected an {family} value as indicated by `ipFamilies[{position}]`"
                errors.append(field.invalid(_IPS.index(position), each, detail))
    return errors


def _families(families: list[str]) -> ErrorList:
    errors: ErrorList = []
    for position, family in enumerate(families):
        where = SPEC.child("ipFamilies").index(position)
        if family not in FAMILIES:
            errors.append(field.not_supported(where, family, FAMILIES))
        if family in families[:position]:
            errors.append(field.duplicate(where, family))
    return errors


def _each(ips: list[str], before: list[str]) -> ErrorList:
    errors: ErrorList = []
    for position, ip in enumerate(ips):
        if position == 0 and ip == "None":
            if len(ips) > 1:
                detail = "'None' must be the first and only value"
                errors.append(field.invalid(_IPS, ips, detail))
            continue
        errors += field.validate_ip_for_legacy_field(_IPS.index(position), ip, old=before)
    return errors
