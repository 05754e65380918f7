"""EndpointSlices.

The law: the generation counts changes of anything but the metadata, and of the labels.

Follows `pkg/registry/discovery/endpointslice/strategy.go`, `pkg/apis/discovery/v1/defaults.go` and
`pkg/apis/discovery/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import addresses, formats, objectmeta
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    Plain,
    labels_of,
    once,
    raised,
    semantically_equal,
    with_generation,
)

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
PROTOCOLS = ("SCTP", "TCP", "UDP")
MAX_TOPOLOGY_LABELS = 16
MAX_ADDRESSES = 100
MAX_PORTS = 20000
MAX_ENDPOINTS = 1000
MAX_HINTS = 8
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_CONTROLLERS = (
    "endpointslice-controller.k8s.io",
    "endpointslicemirroring-controller.k8s.io",
)
HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
_ENDPOINTS = Path("endpoints")
_PORTS = Path("ports")
_ADDRESS_TYPE = Path("addressType")


class EndpointSliceStrategy(Plain):
    """`/endpointslices`."""

    def default(self, obj: Object) -> Object:
        """`SetDefaults_EndpointPort`."""
        ports = parts.structs(obj, "ports")
        if all(p.get("name") is not None and p.get("protocol") is not None for p in ports):
            return obj
        return {**obj, "ports": [_port(port) for port in ports]}

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """At generation 1, without the topology of old versions."""
        del ctx
        return with_generation(_without_topology(obj, None), 1)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """A generation further if anything but metadata, or a label, has changed."""
        del ctx
        if labels_of(obj) != labels_of(old) or not all(
            semantically_equal(obj.get(key), old.get(key))
            for key in ("addressType", "endpoints", "ports")
        ):
            obj = raised(obj, old)
        return _without_topology(obj, old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateEndpointSlice`."""
        errors, declared = _address_type(parts.text(obj, "addressType"), old)
        errors += _ports(obj.get("ports") or [])
        if old is None or not semantically_equal(obj.get("endpoints"), old.get("endpoints")):
            found, missing = _endpoints(obj.get("endpoints") or [], parts.text(obj, "addressType"))
            errors += found
            declared += missing
        return errors + declared

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> list[FieldError]:
        """`ValidateEndpointSliceUpdate`."""
        name = obj["metadata"].get("name") or ""
        where = Path("metadata", "name")
        errors = field.invalid_each(where, name, self.validate_name(name, prefix=False))
        return once(errors + super().validate_update(ctx, obj, old))

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """For the type of address that goes, and for addresses of bad form."""
        del ctx
        found = _bad_ips(obj)
        if obj.get("addressType") == "FQDN":
            return ["spec.addressType: FQDN endpoints are deprecated", *found]
        return found

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """For addresses of bad form."""
        del ctx, old
        return _bad_ips(obj)


def _port(port: Object) -> Object:
    name, protocol = port.get("name"), port.get("protocol")
    return {
        **port,
        "name": "" if name is None else name,
        "protocol": "TCP" if protocol is None else protocol,
    }


def _without_topology(obj: Object, old: Object | None) -> Object:
    """What v1 lets pass of `deprecatedTopology`: nothing (`dropTopologyOnV1`)."""
    endpoints = parts.structs(obj, "endpoints")
    if not any(endpoint.get("deprecatedTopology") for endpoint in endpoints):
        return obj
    if old is not None and semantically_equal(old.get("endpoints"), endpoints):
        return obj
    before: set[str] = {
        parts.text(parts.struct(endpoint, "deprecatedTopology"), HOSTNAME)
        for endpoint in parts.structs(old, "endpoints")
    }
    kept: list[Object] = []
    for endpoint in endpoints:
        node = parts.text(parts.struct(endpoint, "deprecatedTopology"), HOSTNAME)
        new = {key: value for key, value in endpoint.items() if key != "deprecatedTopology"}
        if (
            endpoint.get("nodeName") is None
            and node
            and node in before
            and not formats.name_is_dns_subdomain(node)
        ):
            new["nodeName"] = node
        kept.append(new)
    return {**obj, "endpoints": kept}


def _address_type(kind: str, old: Object | None) -> tuple[ErrorList, ErrorList]:
    errors: ErrorList = []
    if old is not None and kind != (parts.text(old, "addressType")):
        errors.append(field.invalid(_ADDRESS_TYPE, None, field.FIELD_IMMUTABLE))
    if not kind:
        errors.append(field.required(_ADDRESS_TYPE))
    elif kind not in ADDRESS_TYPES:
        errors.append(field.not_supported(_ADDRESS_TYPE, kind, ADDRESS_TYPES))
    return [], errors


def _ports(ports: list[Object]) -> ErrorList:
    if len(ports) > MAX_PORTS:
        return [field.too_many(_PORTS, len(ports), MAX_PORTS)]
    errors: ErrorList = []
    names: set[str] = set()
    for position, port in enumerate(ports):
        path = _PORTS.index(position)
        name = parts.text(port, "name")
        if name:
            errors += field.invalid_each(path.child("name"), name, formats.is_dns1123_label(name))
        if name in names:
            errors.append(field.duplicate(path.child("name"), name))
        names.add(name)
        protocol = port.get("protocol")
        if protocol is None:
            errors.append(field.required(path.child("protocol")))
        elif protocol not in PROTOCOLS:
            errors.append(field.not_supported(path.child("protocol"), protocol, PROTOCOLS))
        application = port.get("appProtocol")
        if application is not None:
            details = formats.is_qualified_name(application)
            errors += field.invalid_each(path.child("appProtocol"), application, details)
    return errors


def _endpoints(endpoints: list[Object], kind: str) -> tuple[ErrorList, ErrorList]:
    if len(endpoints) > MAX_ENDPOINTS:
        return [field.too_many(_ENDPOINTS, len(endpoints), MAX_ENDPOINTS)], []
    errors: ErrorList = []
    declared: ErrorList = []
    for position, endpoint in enumerate(endpoints):
        path = _ENDPOINTS.index(position)
        given = parts.texts(endpoint, "addresses")
        where = path.child("addresses")
        if not given:
            declared.append(field.required(where))
        elif len(given) > MAX_ADDRESSES:
            declared.append(field.too_many(where, len(given), MAX_ADDRESSES))
        for index, address in enumerate(given):
            errors += _address(address, kind, where, where.index(index))
        errors += _rest(endpoint, path)
    return errors, declared


def _address(address: str, kind: str, whole: Path, path: Path) -> ErrorList:
    if kind == "FQDN":
        return field.validate_fully_qualified_domain_name(path, address)
    if kind == "IPv4":
        errors = field.validate_ip_for_legacy_field(path, address)
    elif kind == "IPv6":
        errors = field.validate_ip(path, address)
    else:
        return []
    if errors:
        return errors
    parsed = addresses.parse_ip_sloppy(address)
    assert parsed is not None
    if f"IPv{parsed.version}" != kind:
        errors.append(field.invalid(whole, address, f"must be an {kind} address"))
    return errors + endpoint_ip(address, path)


def endpoint_ip(address: str, path: Path) -> ErrorList:
    """An address where somebody can be reached from elsewhere (`ValidateEndpointIP`)."""
    parsed = addresses.parse_ip_sloppy(address)
    if parsed is None:
        return [field.invalid(path, address, "must be a valid IP address")]
    errors: ErrorList = []
    if parsed.is_unspecified:
        errors.append(field.invalid(path, address, f"may not be unspecified ({address})"))
    if parsed.is_loopback:
        detail = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
        errors.append(field.invalid(path, address, detail))
    if parsed.is_link_local:
        detail = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        errors.append(field.invalid(path, address, detail))
    if str(parsed).startswith("224.0.0.") or (parsed.version == 6 and address.startswith("ff02")):
        detail = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        errors.append(field.invalid(path, address, detail))
    return errors


def _rest(endpoint: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    node = endpoint.get("nodeName")
    if node is not None:
        details = formats.name_is_dns_subdomain(node)
        errors += field.invalid_each(path.child("nodeName"), node, details)
    topology: dict[str, str] = endpoint.get("deprecatedTopology") or {}
    where = path.child("deprecatedTopology")
    if len(topology) > MAX_TOPOLOGY_LABELS:
        errors.append(field.too_many(where, len(topology), MAX_TOPOLOGY_LABELS))
    errors += objectmeta.validate_labels(topology, where)
    if ZONE in topology:
        detail = "reserved key was not removed in conversion"
        errors.append(field.internal_error(where.key(ZONE), detail))
    hostname = endpoint.get("hostname")
    if hostname is not None:
        details = formats.is_dns1123_label(hostname)
        errors += field.invalid_each(path.child("hostname"), hostname, details)
    hints: Object | None = endpoint.get("hints")
    return errors if hints is None else errors + _hints(hints, path.child("hints"))


def _hints(hints: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    for key, check in (
        ("forZones", formats.is_valid_label_value),
        ("forNodes", formats.name_is_dns_subdomain),
    ):
        where = path.child(key)
        given: list[Object] = hints.get(key) or []
        if len(given) > MAX_HINTS:
            return [*errors, field.too_many(where, len(given), MAX_HINTS)]
        seen: set[str] = set()
        for position, hint in enumerate(given):
            name = parts.text(hint, "name")
            at = where.index(position).child("name")
            if name in seen:
                errors.append(field.duplicate(at, name))
            seen.add(name)
            errors += field.invalid_each(at, name, check(name))
    return errors


def _bad_ips(obj: Object) -> list[str]:
    if labels_of(obj).get(MANAGED_BY) in _CONTROLLERS:
        return []
    return [
        warning
        for position, endpoint in enumerate(parts.structs(obj, "endpoints"))
        for index, address in enumerate(parts.texts(endpoint, "addresses"))
        for warning in addresses.ip_warnings(f"endpoints[{position}].addresses[{index}]", address)
    ]


def _some(found: list[str]) -> str:
    """At most three, and how many more (`listWithMoreString`)."""
    text = ",".join(found[:3])
    if len(found) > 3:
        return f"{text} + {len(found) - 3} more..."
    return text or "<unset>"


def _row(obj: Object, now_ns: int) -> list[Any]:
    ports: list[str] = []
    for port in parts.structs(obj, "ports"):
        number, name = port.get("port"), port.get("name")
        ports.append(str(number) if number is not None else "*" if name is None else name)
    found = [
        address
        for endpoint in parts.structs(obj, "endpoints")
        for address in parts.texts(endpoint, "addresses")
    ]
    return [
        obj["metadata"]["name"],
        parts.text(obj, "addressType"),
        _some(ports),
        _some(found),
        age(obj, now_ns),
    ]


KIND = Kind(strategy=EndpointSliceStrategy(), printer=printer("EndpointSlice", _row))
