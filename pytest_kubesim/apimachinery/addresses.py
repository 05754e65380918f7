"""IP addresses and CIDRs: as Go read them before 1.17, and in the one form that is canonical.

Fields older than the strict rule take what ``*_problems`` lets pass, newer ones what ``is_valid_*``
demands. Complaints are lists of texts, empty when all is well.

Follows ``apimachinery/pkg/util/validation/ip.go`` and the parsers of ``k8s.io/utils/net``.
"""

from __future__ import annotations

import functools
import ipaddress
import re

from pytest_kubesim.apimachinery.golang import quote

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_IP_MESSAGE = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_CIDR_MESSAGE = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_INTERFACE_MESSAGE = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
_match_digits = re.compile("[0-9]+").fullmatch


def is_ip(text: str) -> bool:
    """Whether a text is an address, in any form that is not ambiguous."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def parse_ip_sloppy(value: str) -> Address | None:
    """An address in any form that Go took before 1.17: IPv4 parts may have leading zeros."""
    if ":" not in value:
        return _parse_ipv4(value)
    if "%" in value:
        return None
    head, _, tail = value.rpartition(":")
    if "." in tail:
        embedded = _parse_ipv4(tail)
        if embedded is None:
            return None
        value = f"{head}:{embedded}"
    try:
        return ipaddress.IPv6Address(value)
    except ValueError:
        return None


def _parse_ipv4(value: str) -> ipaddress.IPv4Address | None:
    parts = value.split(".")
    if len(parts) != 4 or not all(map(_match_digits, parts)):
        return None
    numbers = [int(part) for part in parts]
    return ipaddress.IPv4Address(bytes(numbers)) if max(numbers) <= 255 else None


def ip_string(address: Address) -> str:
    """``net.IP.String``: an IPv4 address mapped into IPv6 prints as IPv4."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def _is_mapped(address: Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None


def _has_leading_zeros(value: str) -> bool:
    dotted = value.rpartition(":")[2]
    return "." in dotted and any(len(p) > 1 and p.startswith("0") for p in dotted.split("."))


def ip_problems(value: str, *, strict: bool) -> list[str]:
    """What is wrong with an address whose canonical form is not demanded."""
    address = parse_ip_sloppy(value)
    if address is None:
        return [_IP_MESSAGE]
    errors: list[str] = []
    if strict and _has_leading_zeros(value):
        errors.append("must not have leading 0s")
    elif strict and _is_mapped(address):
        errors.append("must not be an IPv4-mapped IPv6 address")
    return errors


def is_valid_ip(value: str) -> list[str]:
    """An address in canonical form."""
    if errors := ip_problems(value, strict=True):
        return errors
    address = parse_ip_sloppy(value)
    assert address is not None
    canonical = ip_string(address)
    return [] if value == canonical else [f"must be in canonical form ({quote(canonical)})"]


def parse_cidr_sloppy(value: str) -> tuple[Address, int] | None:
    """An address and the length of its prefix, as Go read them before 1.17."""
    host, slash, bits = value.partition("/")
    address = parse_ip_sloppy(host)
    if not slash or address is None or not _match_digits(bits):
        return None
    length = int(bits)
    return (address, length) if length <= address.max_prefixlen else None


def cidr_string(address: Address, length: int) -> str:
    """``net.IPNet.String`` of the network that the address is in."""
    masked = _masked(address, length)
    if _is_mapped(masked) and length >= 96:
        return f"{ip_string(masked)}/{length - 96}"
    return f"{masked}/{length}"


def _masked(address: Address, length: int) -> Address:
    shift = address.max_prefixlen - length
    return type(address)((int(address) >> shift) << shift)


def cidr_problems(value: str, *, strict: bool) -> list[str]:
    """What is wrong with a CIDR whose canonical form is not demanded."""
    parsed = parse_cidr_sloppy(value)
    if parsed is None:
        return [_CIDR_MESSAGE]
    address, length = parsed
    host, _, bits = value.partition("/")
    if not strict:
        return []
    if _has_leading_zeros(host) or (len(bits) > 1 and bits.startswith("0")):
        return ["must not have leading 0s in IP or prefix length"]
    if _is_mapped(address):
        return ["must not have an IPv4-mapped IPv6 address"]
    if _masked(address, length) != address:
        return ["must not have bits set beyond the prefix length"]
    return []


def is_valid_cidr(value: str) -> list[str]:
    """A CIDR in canonical form."""
    if errors := cidr_problems(value, strict=True):
        return errors
    parsed = parse_cidr_sloppy(value)
    assert parsed is not None
    canonical = cidr_string(*parsed)
    return [] if value == canonical else [f"must be in canonical form ({quote(canonical)})"]


def is_valid_interface_address(value: str) -> list[str]:
    """An address with its prefix length, in canonical form."""
    parsed = parse_cidr_sloppy(value)
    if parsed is None:
        return [_INTERFACE_MESSAGE]
    address, length = parsed
    if _is_mapped(address) and length > 32:
        length -= 96
    canonical = f"{ip_string(address)}/{length}"
    return [] if value == canonical else [f"must be in canonical form ({quote(canonical)})"]


def ip_warnings(field: object, value: str) -> list[str]:
    """Warnings for an address that is accepted and will not always be; `field` is its path."""
    text = _ip_warning(value)
    return [f"{field}: {text}"] if text else []


@functools.lru_cache(maxsize=4096)
def _ip_warning(value: str) -> str:
    address = parse_ip_sloppy(value)
    if address is None:
        return ""
    preferred = quote(ip_string(address))
    if _has_leading_zeros(value) or _is_mapped(address):
        return f"non-standard IP address {quote(value)} is invalid: use {preferred}"
    if address.version == 6 and str(address) != value:
        return f"IPv6 address {quote(value)} should be in RFC 5952 canonical format ({preferred})"
    return ""


def cidr_warnings(field: str, value: str) -> list[str]:
    """Warnings for a CIDR that is accepted and will not always be."""
    parsed = parse_cidr_sloppy(value)
    if parsed is None:
        return []
    address, length = parsed
    preferred = quote(cidr_string(address, length))
    warnings: list[str] = []
    if _masked(address, length) != address:
        single = quote(f"{ip_string(address)}/{address.max_prefixlen}")
        question = f"is ambiguous in this context (should be {preferred} or {single}?)"
        warnings.append(f"{field}: CIDR value {quote(value)} {question}")
    host, _, bits = value.partition("/")
    if _has_leading_zeros(host) or (len(bits) > 1 and bits[0] == "0") or _is_mapped(address):
        use = f"is invalid: use {preferred}"
        warnings.append(f"{field}: non-standard CIDR value {quote(value)} {use}")
    if not warnings and address.version == 6 and f"{address}/{length}" != value:
        form = f"should be in RFC 5952 canonical format ({preferred})"
        warnings.append(f"{field}: IPv6 CIDR value {quote(value)} {form}")
    return warnings
