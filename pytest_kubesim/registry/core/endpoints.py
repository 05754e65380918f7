"""Endpoints.

Follows `pkg/registry/core/endpoint/strategy.go`, `ValidateEndpoints` of
`pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import addresses, formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import NONE, age, printer
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import EMPTY, Plain, labels_of

_SUBSETS = Path("subsets")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
_CONTROLLER = "endpoint-controller"


def endpoint_ip(text: str, path: Path) -> ErrorList:
    """An address that traffic can be sent to."""
    address = addresses.parse_ip_sloppy(text)
    if address is None:
        return [field.invalid(path, text, "must be a valid IP address")]
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    errors: ErrorList = []
    if address.is_unspecified:
        errors.append(field.invalid(path, text, f"may not be unspecified ({text})"))
    if address.is_loopback:
        detail = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
        errors.append(field.invalid(path, text, detail))
    if address.is_link_local:
        detail = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        errors.append(field.invalid(path, text, detail))
    shown = str(address)
    if shown.startswith("224.0.0.") or (address.version == 6 and shown.startswith("ff02:")):
        detail = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        errors.append(field.invalid(path, text, detail))
    return errors


class EndpointsStrategy(Plain):
    """`/endpoints`."""

    allow_create_on_update = True

    def default(self, obj: Object) -> Object:
        """Ports speak TCP."""
        subsets: list[Object] | None = obj.get("subsets")
        if not subsets:
            return obj
        return {**obj, "subsets": [_with_protocols(s or {}) for s in subsets]}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """Addresses and ports; what has not changed is let be."""
        if old is not None and (old.get("subsets") or []) == (obj.get("subsets") or []):
            return []
        errors: ErrorList = []
        for position, subset in enumerate(obj.get("subsets") or ()):
            errors += _subset(subset, _SUBSETS.index(position))
        return errors

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """Addresses written oddly, unless the controller wrote them."""
        del ctx
        if labels_of(obj).get(_MANAGED_BY) == _CONTROLLER:
            return []
        return [
            text
            for position, subset in enumerate(obj.get("subsets") or ())
            for key in ("addresses", "notReadyAddresses")
            for index, address in enumerate(parts.structs(subset, key))
            for text in addresses.ip_warnings(
                str(_SUBSETS.index(position).child(key).index(index).child("ip")),
                address.get("ip") or "",
            )
        ]

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """The same."""
        del old
        return self.warnings_on_create(ctx, obj)


def _with_protocols(subset: Object) -> Object:
    ports: list[Object] | None = subset.get("ports")
    if not ports:
        return subset
    return {
        **subset,
        "ports": [{**(p or {}), "protocol": (p or EMPTY).get("protocol") or "TCP"} for p in ports],
    }


def _subset(subset: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    if not subset.get("addresses") and not subset.get("notReadyAddresses"):
        detail = "must specify `addresses` or `notReadyAddresses`"
        errors.append(field.required(path, detail))
    for key in ("addresses", "notReadyAddresses"):
        for position, address in enumerate(subset.get(key) or ()):
            errors += _address(address, path.child(key).index(position))
    ports: list[Object] = subset.get("ports") or []
    for position, port in enumerate(ports):
        errors += _port(port, path.child("ports").index(position), named=len(ports) > 1)
    return errors


def _address(address: Object, path: Path) -> ErrorList:
    ip = address.get("ip") or ""
    errors = field.validate_ip_for_legacy_field(path.child("ip"), ip)
    if name := address.get("hostname"):
        errors += field.invalid_each(path.child("hostname"), name, formats.is_dns1123_label(name))
    node = address.get("nodeName")
    if node is not None:
        details = formats.is_dns1123_subdomain(node)
        errors += field.invalid_each(path.child("nodeName"), node, details)
    return errors + endpoint_ip(ip, path.child("ip"))


def _port(port: Object, path: Path, *, named: bool) -> ErrorList:
    errors: ErrorList = []
    name, number = port.get("name") or "", port.get("port") or 0
    if named and not name:
        errors.append(field.required(path.child("name")))
    elif name:
        errors += field.invalid_each(path.child("name"), name, formats.is_dns1123_label(name))
    errors += field.invalid_each(path.child("port"), number, formats.is_valid_port_num(number))
    protocol = port.get("protocol") or ""
    if protocol not in _PROTOCOLS:
        where = path.child("protocol")
        errors.append(
            field.not_supported(where, protocol, _PROTOCOLS) if protocol else field.required(where)
        )
    application = port.get("appProtocol")
    if application is not None:
        details = formats.is_qualified_name(application)
        errors += field.invalid_each(path.child("appProtocol"), application, details)
    return errors


def _text(subsets: list[Object]) -> str:
    if not subsets:
        return NONE
    found: list[str] = []
    for subset in subsets:
        listed: list[Object] = subset.get("addresses") or []
        ports: list[Object] = subset.get("ports") or []
        if not ports:
            found += [address.get("ip") or "" for address in listed]
        for port in ports:
            found += [
                _host_port(address.get("ip") or "", port.get("port") or 0) for address in listed
            ]
    shown = ",".join(found[:3])
    return f"{shown} + {len(found) - 3} more..." if len(found) > 3 else shown


def _host_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _row(obj: Object, now_ns: int) -> list[Any]:
    return [obj["metadata"]["name"], _text(obj.get("subsets") or []), age(obj, now_ns)]


KIND = Kind(strategy=EndpointsStrategy(), printer=printer("Endpoints", _row))
