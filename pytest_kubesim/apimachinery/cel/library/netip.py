"""Go's ``netip``: addresses and prefixes, and what is said of texts that are none.

The law: ``parse_address`` and ``parse_prefix`` take what Go takes and raise ``ValueError`` with
Go's text for the rest. An address of IPv4 mapped into IPv6 stays one of IPv6.

Follows ``net/netip/netip.go``.
"""

from __future__ import annotations

import ipaddress
import re

from pytest_kubesim.apimachinery.golang import quote

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_HEX = re.compile("[0-9a-fA-F]*")


class _Wrong(ValueError):
    def __init__(self, text: str, problem: str, at: str = "") -> None:
        where = f" (at {quote(at)})" if at else ""
        super().__init__(f"ParseAddr({quote(text)}): {problem}{where}")


def parse_address(text: str) -> tuple[Address, str]:
    """The address and its zone. Raises ``ValueError``."""
    found = re.search("[.:%]", text)
    if found is None:
        raise _Wrong(text, "unable to parse IP")
    if found.group() == ".":
        return ipaddress.IPv4Address(_octets(text, text)), ""
    if found.group() == "%":
        raise _Wrong(text, "missing IPv6 address")
    return _ipv6(text)


def _octets(whole: str, text: str) -> bytes:
    fields: list[int] = []
    value = digits = 0
    for at, char in enumerate(text):
        if char in "0123456789":
            if digits == 1 and value == 0:
                raise _Wrong(whole, "IPv4 field has octet with leading zero")
            value = value * 10 + int(char)
            digits += 1
            if value > 255:
                raise _Wrong(whole, "IPv4 field has value >255")
        elif char == ".":
            if at in (0, len(text) - 1) or text[at - 1] == ".":
                raise _Wrong(whole, "IPv4 field must have at least one digit", text[at:])
            if len(fields) == 3:
                raise _Wrong(whole, "IPv4 address too long")
            fields.append(value)
            value = digits = 0
        else:
            raise _Wrong(whole, "unexpected character", text[at:])
    if len(fields) < 3:
        raise _Wrong(whole, "IPv4 address too short")
    return bytes([*fields, value])


def _ipv6(whole: str) -> tuple[Address, str]:
    text, percent, zone = whole.partition("%")
    if percent and not zone:
        raise _Wrong(whole, "zone must be a non-empty string")
    packed = bytearray()
    ellipsis = -1
    if text.startswith("::"):
        ellipsis = 0
        text = text[2:]
    while text and len(packed) < 16:
        group = _group(whole, text)
        if text[len(group) : len(group) + 1] == ".":
            packed += _embedded(whole, text, len(packed), ellipsis)
            text = ""
            break
        packed += int(group, 16).to_bytes(2, "big")
        text = text[len(group) :]
        if not text:
            break
        if text[0] != ":":
            raise _Wrong(whole, "unexpected character, want colon", text)
        if len(text) == 1:
            raise _Wrong(whole, "colon must be followed by more characters", text)
        text = text[1:]
        if text[0] == ":":
            if ellipsis >= 0:
                raise _Wrong(whole, "multiple :: in address", text)
            ellipsis = len(packed)
            text = text[1:]
    if text:
        raise _Wrong(whole, "trailing garbage after address", text)
    return ipaddress.IPv6Address(_expanded(whole, packed, ellipsis)), zone


def _group(whole: str, text: str) -> str:
    found = _HEX.match(text)
    group = found.group() if found else ""
    if len(group) > 4:
        raise _Wrong(whole, "each group must have 4 or less digits", text)
    if not group:
        raise _Wrong(whole, "each colon-separated field must have at least one digit", text)
    return group


def _embedded(whole: str, text: str, filled: int, ellipsis: int) -> bytes:
    if ellipsis < 0 and filled != 12:
        problem = "embedded IPv4 address must replace the final 2 fields of the address"
        raise _Wrong(whole, problem, text)
    if filled + 4 > 16:
        problem = "too many hex fields to fit an embedded IPv4 at the end of the address"
        raise _Wrong(whole, problem, text)
    return _octets(whole, text)


def _expanded(whole: str, packed: bytearray, ellipsis: int) -> bytes:
    missing = 16 - len(packed)
    if missing:
        if ellipsis < 0:
            raise _Wrong(whole, "address string too short")
        return bytes(packed[:ellipsis]) + bytes(missing) + bytes(packed[ellipsis:])
    if ellipsis >= 0:
        raise _Wrong(whole, "the :: must expand to at least one field of zeros")
    return bytes(packed)


def parse_prefix(text: str) -> tuple[Address, int]:
    """An address and how many of its bits count. Raises ``ValueError``."""

    def wrong(problem: str) -> ValueError:
        return ValueError(f"netip.ParsePrefix({quote(text)}): {problem}")

    host, slash, bits = text.rpartition("/")
    if not slash:
        raise wrong("no '/'")
    try:
        address, zone = parse_address(host)
    except ValueError as problem:
        raise wrong(str(problem)) from None
    if zone:
        raise wrong("IPv6 zones cannot be present in a prefix")
    if not re.fullmatch("[0-9]|[1-9][0-9]+", bits, re.ASCII):
        raise wrong(f"bad bits after slash: {quote(bits)}")
    if int(bits) > address.max_prefixlen:
        raise wrong("prefix length out of range")
    return address, int(bits)


def is_mapped(address: Address) -> bool:
    """Whether an address of IPv6 stands for one of IPv4."""
    return isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
