"""What is wrong with a service.

Follows `validateService` and `ValidateServiceUpdate` of `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import addresses, formats, objectmeta
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.core.endpoints import endpoint_ip
from pytest_kubesim.registry.core.service_addresses import (
    cluster_ip_fields,
    externally_accessible,
    is_external_name,
    is_headless,
    needs_health_check,
)
from pytest_kubesim.registry.pod_template import go_structs
from pytest_kubesim.registry.pod_template.handlers import port_or_name
from pytest_kubesim.registry.strategies import EMPTY, METADATA, SPEC, STATUS, annotations_of

TOPOLOGY_HINTS = "service.kubernetes.io/topology-aware-hints"
TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_AFFINITIES = ("ClientIP", "None")
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("Cluster", "Local")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_BALANCERS_ONLY = "may only be used when `type` is 'LoadBalancer'"
_LONGEST_AFFINITY = 86400
_ONCE_SET = "may not change once set"


def service(obj: Object, old: Object | None) -> ErrorList:
    """A new service, or the new state of one."""
    spec: Object = obj.get("spec") or {}
    before: Object | None = None if old is None else old.get("spec") or {}
    annotations = annotations_of(obj)
    errors: ErrorList = []
    hints, mode = annotations.get(TOPOLOGY_HINTS), annotations.get(TOPOLOGY_MODE)
    if hints is not None and mode is not None and hints != mode:
        where = METADATA.child("annotations").key(TOPOLOGY_MODE)
        detail = f"must match annotations[{TOPOLOGY_HINTS}] when both are specified"
        errors.append(field.invalid(where, mode, detail))
    errors += _by_type(spec)
    errors += _ports(spec)
    if spec.get("selector"):
        errors += objectmeta.validate_labels(spec["selector"], SPEC.child("selector"))
    errors += _session_affinity(spec)
    errors += cluster_ip_fields(spec, before)
    known: list[str] = (before or EMPTY).get("externalIPs") or []
    for position, ip in enumerate(spec.get("externalIPs") or ()):
        where = SPEC.child("externalIPs").index(position)
        problems = field.validate_ip_for_legacy_field(where, ip, old=known)
        errors += problems or endpoint_ip(ip, where)
    errors += _supported(spec.get("type") or "", _TYPES, SPEC.child("type"))
    errors += _port_numbers(spec)
    errors += _source_ranges(obj, spec, old)
    is_balancer = spec.get("type") == "LoadBalancer"
    allocate = spec.get("allocateLoadBalancerNodePorts")
    if allocate is not None and not is_balancer:
        errors.append(field.forbidden(SPEC.child("allocateLoadBalancerNodePorts"), _BALANCERS_ONLY))
    if allocate is None and is_balancer:
        errors.append(field.required(Path("allocateLoadBalancerNodePorts")))
    return errors + load_balancer_class(spec, None) + _traffic(spec)


def _supported(value: str, supported: tuple[str, ...], where: Path) -> ErrorList:
    if value in supported:
        return []
    return [field.not_supported(where, value, supported) if value else field.required(where)]


def _by_type(spec: Object) -> ErrorList:
    kind = spec.get("type")
    errors: ErrorList = []
    if not spec.get("ports") and not is_headless(spec) and kind != "ExternalName":
        errors.append(field.required(SPEC.child("ports")))
    if kind in ("LoadBalancer", "NodePort") and is_headless(spec):
        detail = f"may not be set to 'None' for {kind} services"
        errors.append(field.invalid(SPEC.child("clusterIPs").index(0), "None", detail))
    if kind != "ExternalName":
        return errors
    for key in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(key):
            detail = "may not be set for ExternalName services"
            errors.append(field.forbidden(SPEC.child(key), detail))
    where = SPEC.child("externalName")
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        return [*errors, field.required(where)]
    return errors + field.invalid_each(where, name, formats.is_dns1123_subdomain(name))


def _ports(spec: Object) -> ErrorList:
    ports: list[Object] = spec.get("ports") or []
    errors: ErrorList = []
    names: set[str] = set()
    for position, port in enumerate(ports):
        path = SPEC.child("ports").index(position)
        name, number = port.get("name") or "", port.get("port") or 0
        if name:
            where = path.child("name")
            errors += field.invalid_each(where, name, formats.is_dns1123_label(name))
            if name in names:
                errors.append(field.duplicate(where, name))
            names.add(name)
        elif len(ports) > 1:
            errors.append(field.required(path.child("name")))
        errors += field.invalid_each(path.child("port"), number, formats.is_valid_port_num(number))
        errors += _supported(port.get("protocol") or "", _PROTOCOLS, path.child("protocol"))
        errors += port_or_name(port.get("targetPort") or 0, path.child("targetPort"))
        application = port.get("appProtocol")
        if application is not None:
            details = formats.is_qualified_name(application)
            errors += field.invalid_each(path.child("appProtocol"), application, details)
    return errors


def _port_numbers(spec: Object) -> ErrorList:
    """Node ports where there are none, and ports named twice."""
    ports: list[Object] = spec.get("ports") or []
    errors: ErrorList = []
    paths = [SPEC.child("ports").index(position) for position in range(len(ports))]
    if spec.get("type") == "ClusterIP":
        errors += [
            field.forbidden(path.child("nodePort"), "may not be used when `type` is 'ClusterIP'")
            for path, port in zip(paths, ports, strict=True)
            if port.get("nodePort")
        ]
    seen: set[tuple[str, int]] = set()
    for path, port in zip(paths, ports, strict=True):
        if number := port.get("nodePort"):
            key = (port.get("protocol") or "", number)
            if key in seen:
                errors.append(field.duplicate(path.child("nodePort"), number))
            seen.add(key)
    seen.clear()
    for path, port in zip(paths, ports, strict=True):
        key = (port.get("protocol") or "", port.get("port") or 0)
        if key in seen:
            short = {"protocol": key[0], "port": key[1]}
            errors.append(field.duplicate(path, go_structs.printed("ServicePort", short)))
        seen.add(key)
    return errors


def _session_affinity(spec: Object) -> ErrorList:
    affinity = spec.get("sessionAffinity") or ""
    errors = _supported(affinity, _AFFINITIES, SPEC.child("sessionAffinity"))
    path = SPEC.child("sessionAffinityConfig")
    config: Object | None = spec.get("sessionAffinityConfig")
    if affinity == "None" and config is not None:
        detail = "must not be set when session affinity is None"
        errors.append(field.forbidden(path, detail))
    if affinity != "ClientIP":
        return errors
    detail = "when session affinity type is ClientIP"
    if config is None:
        return [*errors, field.required(path, detail)]
    client: Object | None = config.get("clientIP")
    if client is None:
        return [*errors, field.required(path.child("clientIP"), detail)]
    where = path.child("clientIP", "timeoutSeconds")
    timeout: int | None = client.get("timeoutSeconds")
    if timeout is None:
        return [*errors, field.required(where, detail)]
    if not 0 < timeout <= _LONGEST_AFFINITY:
        detail = f"must be greater than 0 and less than {_LONGEST_AFFINITY}"
        errors.append(field.invalid(where, timeout, detail))
    return errors


def _source_ranges(obj: Object, spec: Object, old: Object | None) -> ErrorList:
    is_balancer = spec.get("type") == "LoadBalancer"
    before: Object = (old or EMPTY).get("spec") or {}
    errors: ErrorList = []
    if ranges := spec.get("loadBalancerSourceRanges"):
        path = SPEC.child("LoadBalancerSourceRanges")
        if not is_balancer:
            errors.append(field.forbidden(path, _BALANCERS_ONLY))
        known = [text.strip() for text in before.get("loadBalancerSourceRanges") or ()]
        for position, text in enumerate(ranges):
            where = path.index(position)
            errors += field.validate_cidr_for_legacy_field(where, text.strip(), old=known)
        return errors
    text = annotations_of(obj).get(SOURCE_RANGES)
    if text is None:
        return errors
    path = METADATA.child("annotations").key(SOURCE_RANGES)
    if not is_balancer:
        errors.append(field.forbidden(path, _BALANCERS_ONLY))
    if (old is None or annotations_of(old).get(SOURCE_RANGES) != text) and text.strip():
        for each in text.strip().split(","):
            errors += field.validate_cidr_for_legacy_field(path, each.strip())
    return errors


def load_balancer_class(spec: Object, before: Object | None) -> ErrorList:
    """The class of a load balancer, which does not change."""
    where = SPEC.child("loadBalancerClass")
    name: str | None = spec.get("loadBalancerClass")
    is_balancer = spec.get("type") == "LoadBalancer"
    errors: ErrorList = []
    if (
        before is not None
        and is_balancer
        and before.get("type") == "LoadBalancer"
        and before.get("loadBalancerClass") != name
    ):
        errors.append(field.invalid(where, name, _ONCE_SET))
    if name is None:
        return errors
    if not is_balancer:
        return [*errors, field.forbidden(where, _BALANCERS_ONLY)]
    return errors + field.invalid_each(where, name, formats.is_qualified_name(name))


def _traffic(spec: Object) -> ErrorList:
    errors: ErrorList = []
    where = SPEC.child("externalTrafficPolicy")
    policy = spec.get("externalTrafficPolicy") or ""
    if externally_accessible(spec):
        errors += _supported(policy, _POLICIES, where)
    elif policy:
        detail = "may only be set for externally-accessible services"
        errors.append(field.invalid(where, policy, detail))
    where = SPEC.child("healthCheckNodePort")
    port = spec.get("healthCheckNodePort") or 0
    if needs_health_check(spec):
        if port:
            errors += field.invalid_each(where, port, formats.is_valid_port_num(port))
        else:
            errors.append(field.required(where))
    elif port:
        detail = (
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        )
        errors.append(field.invalid(where, port, detail))
    where = SPEC.child("internalTrafficPolicy")
    internal = spec.get("internalTrafficPolicy")
    if internal is None:
        if spec.get("type") in ("NodePort", "LoadBalancer", "ClusterIP"):
            errors.append(field.required(where))
    elif internal not in _POLICIES:
        errors.append(field.not_supported(where, internal, _POLICIES))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        where = SPEC.child("trafficDistribution")
        errors.append(field.not_supported(where, distribution, _DISTRIBUTIONS))
    return errors


# -- changes -----------------------------------------------------------------------------------


def change(spec: Object, before: Object) -> ErrorList:
    """What may not change, or not so."""
    errors: ErrorList = []
    if not is_external_name(spec) and not is_external_name(before):
        new, old = is_headless(spec), is_headless(before)
        if not (new and old):
            errors += _changed_ips(spec, before)
        if not new and not old:
            errors += _changed_families(spec, before)
    errors += load_balancer_class(spec, before)
    if needs_health_check(before) and needs_health_check(spec):
        where = SPEC.child("healthCheckNodePort")
        if (before.get("healthCheckNodePort") or 0) != (spec.get("healthCheckNodePort") or 0):
            errors.append(field.forbidden(where, "field is immutable"))
    return errors


def _changed_ips(spec: Object, before: Object) -> ErrorList:
    new: list[str] = spec.get("clusterIPs") or []
    old: list[str] = before.get("clusterIPs") or []
    path = SPEC.child("clusterIPs")
    errors: ErrorList = []
    if len(old) == len(new):
        return [
            field.invalid(path.index(position), new, _ONCE_SET)
            for position, (a, b) in enumerate(zip(old, new, strict=True))
            if a != b
        ]
    if not new:
        errors.append(
            field.invalid(path.index(0), new or None, "primary clusterIP can not be unset")
        )
    if old and new and old[0] != new[0]:
        errors.append(field.invalid(path.index(0), new, _ONCE_SET))
    if len(old) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        where = SPEC.child("ipFamilyPolicy")
        detail = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        errors.append(field.invalid(where, spec.get("ipFamilyPolicy"), detail))
    return errors


def _changed_families(spec: Object, before: Object) -> ErrorList:
    new: list[str] = spec.get("ipFamilies") or []
    old: list[str] = before.get("ipFamilies") or []
    where = SPEC.child("ipFamilies").index(0)
    errors: ErrorList = []
    if len(old) == len(new):
        return [
            field.invalid(where, new, _ONCE_SET) for a, b in zip(old, new, strict=True) if a != b
        ]
    if len(old) > len(new) and not spec.get("clusterIPs"):
        errors.append(field.invalid(where, new or None, "primary ipFamily can not be unset"))
    if old and new and old[0] != new[0]:
        errors.append(field.invalid(where, spec.get("clusterIPs"), _ONCE_SET))
    if len(old) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        where = SPEC.child("ipFamilyPolicy")
        detail = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        errors.append(field.invalid(where, spec.get("ipFamilyPolicy"), detail))
    return errors


# -- status ------------------------------------------------------------------------------------

_IP_MODES = ("Proxy", "VIP")


def load_balancer_status(obj: Object, old: Object | None) -> ErrorList:
    """`status.loadBalancer`."""
    path = STATUS.child("loadBalancer", "ingress")
    points: list[Object] = _ingress(obj)
    if not points:
        return []
    if (obj.get("spec") or EMPTY).get("type") != "LoadBalancer":
        return [field.forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")]
    known = [point["ip"] for point in _ingress(old or {}) if point.get("ip")]
    errors: ErrorList = []
    for position, point in enumerate(points):
        errors += _point(point, path.index(position), known)
    return errors


def _ingress(obj: Object) -> list[Object]:
    status: Object = obj.get("status") or {}
    return (status.get("loadBalancer") or EMPTY).get("ingress") or []


def _point(point: Object, path: Path, known: list[str]) -> ErrorList:
    errors: ErrorList = []
    ip, mode, host = point.get("ip") or "", point.get("ipMode"), point.get("hostname") or ""
    if ip:
        errors += field.validate_ip_for_legacy_field(path.child("ip"), ip, old=known)
    where = path.child("ipMode")
    if mode is None:
        if ip:
            errors.append(field.required(where, "must be specified when `ip` is set"))
    elif not ip:
        errors.append(field.forbidden(where, "may not be specified when `ip` is not set"))
    elif mode not in _IP_MODES:
        errors.append(field.not_supported(where, mode, _IP_MODES))
    if host:
        where = path.child("hostname")
        errors += field.invalid_each(where, host, formats.is_dns1123_subdomain(host))
        if addresses.parse_ip_sloppy(host) is not None:
            detail = "must be a DNS name, not an IP address"
            errors.append(field.invalid(where, host, detail))
    return errors
