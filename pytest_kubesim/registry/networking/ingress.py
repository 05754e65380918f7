"""Ingresses.

Follows `pkg/registry/networking/ingress/strategy.go` and
`pkg/apis/networking/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import addresses, formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import NONE, age, printer
from pytest_kubesim.registry.networking.references import typed_reference
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    SPEC,
    STATUS,
    StatusOnly,
    WithStatus,
    annotations_of,
    once,
)

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_DEPRECATED = (
    f"annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"
)
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
BAD_SUFFIXES = ("/..", "/.")
_LOAD_BALANCER = STATUS.child("loadBalancer")


class IngressStrategy(WithStatus):
    """`/ingresses`."""

    generations = True

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateIngressSpec`, and that class and annotation agree when it is made."""
        spec = parts.spec(obj)
        errors = _spec(spec, None if old is None else parts.spec(old))
        given = annotations_of(obj).get(CLASS_ANNOTATION)
        name = spec.get("ingressClassName")
        if old is None and given is not None and name is not None and given != name:
            where = Path("annotations", CLASS_ANNOTATION)
            detail = "must match `ingressClassName` when both are specified"
            errors.append(field.invalid(where, given, detail))
        return errors

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> list[FieldError]:
        """`ValidateIngressUpdate`, which looks at the name again."""
        name: str = obj["metadata"].get("name") or ""
        problems = self.validate_name(name, prefix=False)
        errors = field.invalid_each(Path("metadata", "name"), name, problems)
        return once(errors + super().validate_update(ctx, obj, old))

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """For the annotation that the class has replaced."""
        del ctx
        named = parts.spec(obj).get("ingressClassName") is not None
        if named or CLASS_ANNOTATION not in annotations_of(obj):
            return []
        return [_DEPRECATED]


def _spec(spec: Object, old: Object | None) -> ErrorList:
    errors: ErrorList = []
    rules = parts.structs(spec, "rules")
    backend: Object | None = spec.get("defaultBackend")
    if not rules and backend is None:
        detail = "either `defaultBackend` or `rules` must be specified"
        errors.append(field.invalid(SPEC, None, detail))
    if backend is not None:
        errors += _backend(backend, SPEC.child("defaultBackend"))
    lenient = old is not None and any(
        "*" in (parts.text(rule, "host")) and _rule_value(rule, SPEC)
        for rule in parts.structs(old, "rules")
    )
    for position, rule in enumerate(rules):
        errors += _rule(rule, SPEC.child("rules").index(position), lenient=lenient)
    errors += _all_tls(parts.structs(spec, "tls"), parts.structs(old, "tls"))
    name = spec.get("ingressClassName")
    if name is not None:
        details = formats.name_is_dns_subdomain(name)
        errors += field.invalid_each(SPEC.child("ingressClassName"), name, details)
    return errors


def _host_problems(host: str) -> list[str]:
    if "*" in host:
        return formats.is_wildcard_dns1123_subdomain(host)
    return formats.is_dns1123_subdomain(host)


def _rule(rule: Object, path: Path, *, lenient: bool) -> ErrorList:
    host = parts.text(rule, "host")
    errors: ErrorList = []
    where = path.child("host")
    if host:
        if addresses.parse_ip_sloppy(host) is not None:
            errors.append(field.invalid(where, host, "must be a DNS name, not an IP address"))
        errors += field.invalid_each(where, host, _host_problems(host))
    if "*" in host and lenient:
        return errors
    return errors + _rule_value(rule, path)


def _rule_value(rule: Object, path: Path) -> ErrorList:
    http: Object | None = rule.get("http")
    if http is None:
        return []
    where = path.child("http", "paths")
    paths = parts.structs(http, "paths")
    errors = [] if paths else [field.required(where)]
    for position, each in enumerate(paths):
        errors += _path(each, where.index(position))
    return errors


def _path(rule: Object, path: Path) -> ErrorList:
    kind, text = rule.get("pathType"), parts.text(rule, "path")
    where = path.child("path")
    if kind is None:
        return [field.required(path.child("pathType"), "pathType must be specified")]
    errors: ErrorList = []
    if kind not in PATH_TYPES:
        errors.append(field.not_supported(path.child("pathType"), kind, PATH_TYPES))
    elif not text.startswith("/") and (text or kind != "ImplementationSpecific"):
        errors.append(field.invalid(where, text, "must be an absolute path"))
    if kind in ("Exact", "Prefix"):
        errors += [
            field.invalid(where, text, f"must not contain '{part}'")
            for part in BAD_SEQUENCES
            if part in text
        ]
        errors += [
            field.invalid(where, text, f"cannot end with '{end}'")
            for end in BAD_SUFFIXES
            if text.endswith(end)
        ]
    return errors + _backend(rule.get("backend") or {}, path.child("backend"))


def _backend(backend: Object, path: Path) -> ErrorList:
    resource: Object | None = backend.get("resource")
    service: Object | None = backend.get("service")
    if resource is not None and service is not None:
        return [field.invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return typed_reference(resource, path.child("resource"))
    if service is None:
        return [field.invalid(path, "", "resource or service backend is required")]
    name = parts.text(service, "name")
    where = path.child("service", "name")
    if name:
        errors = field.invalid_each(where, name, formats.name_is_dns_label(name))
    else:
        errors = [field.required(where)]
    port: Object = service.get("port") or {}
    port_name, number = parts.text(port, "name"), port.get("number") or 0
    if port_name and number:
        errors.append(field.invalid(path, "", "cannot set both port name & port number"))
    elif port_name:
        where = path.child("service", "port", "name")
        errors += field.invalid_each(where, port_name, formats.is_valid_port_name(port_name))
    elif number:
        where = path.child("service", "port", "number")
        errors += field.invalid_each(where, number, formats.is_valid_port_num(number))
    else:
        errors.append(field.required(path, "port name or number is required"))
    return errors


def _secret_problems(entry: Object) -> list[str]:
    name = parts.text(entry, "secretName")
    return formats.name_is_dns_subdomain(name) if name else []


def _all_tls(entries: list[Object], old: list[Object]) -> ErrorList:
    errors: ErrorList = []
    lenient = any(_secret_problems(entry) for entry in old)
    for position, entry in enumerate(entries):
        path = SPEC.child("tls").index(position)
        for index, host in enumerate(entry.get("hosts") or []):
            where = path.child("hosts").index(index)
            errors += field.invalid_each(where, host, _host_problems(host))
        if not lenient:
            where, name = path.child("secretName"), entry.get("secretName")
            errors += field.invalid_each(where, name, _secret_problems(entry))
    return errors


class IngressStatusStrategy(StatusOnly):
    """`/ingresses/{name}/status`."""

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateIngressLoadBalancerStatus`."""
        known = [point["ip"] for point in _points(old or {}) if point.get("ip")]
        errors: ErrorList = []
        for position, point in enumerate(_points(obj)):
            path = _LOAD_BALANCER.child("ingress").index(position)
            if address := parts.text(point, "ip"):
                where = path.child("ip")
                errors += field.validate_ip_for_legacy_field(where, address, old=known)
            if host := parts.text(point, "hostname"):
                where = path.child("hostname")
                errors += field.invalid_each(where, host, formats.is_dns1123_subdomain(host))
                if addresses.parse_ip_sloppy(host) is not None:
                    detail = "must be a DNS name, not an IP address"
                    errors.append(field.invalid(where, host, detail))
        return errors

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """For addresses of bad form."""
        del ctx, old
        return [
            warning
            for position, point in enumerate(_points(obj))
            if point.get("ip")
            for warning in addresses.ip_warnings(
                f"status.loadBalancer.ingress[{position}]", point["ip"]
            )
        ]


def _points(obj: Object) -> list[Object]:
    return parts.structs(parts.struct(parts.status(obj), "loadBalancer"), "ingress")


def _hosts(rules: list[Object]) -> str:
    hosts: list[str] = []
    for rule in rules:
        if len(hosts) == 3:
            return f"{','.join(hosts)} + {len(rules) - 3} more..."
        if rule.get("host"):
            hosts.append(rule["host"])
    return ",".join(hosts) or "*"


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec = parts.spec(obj)
    name = spec.get("ingressClassName")
    found = {point.get("ip") or parts.text(point, "hostname") for point in _points(obj)} - {""}
    return [
        obj["metadata"]["name"],
        NONE if name is None else name,
        _hosts(spec.get("rules") or []),
        ",".join(sorted(found)),
        "80, 443" if spec.get("tls") else "80",
        age(obj, now_ns),
    ]


KIND = Kind(
    strategy=IngressStrategy(),
    status=IngressStatusStrategy(),
    printer=printer("Ingress", _row),
)
