"""Addresses and networks: ``ip`` and ``cidr``.

Follows ``apiserver/pkg/cel/library/{ip,cidr}.go``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from pytest_kubesim.apimachinery.cel import types
from pytest_kubesim.apimachinery.cel.environment import Function, function, method, overload
from pytest_kubesim.apimachinery.cel.errors import CELError
from pytest_kubesim.apimachinery.cel.library import netip
from pytest_kubesim.apimachinery.cel.types import BOOL, INT, STRING
from pytest_kubesim.apimachinery.cel.values import Opaque
from pytest_kubesim.apimachinery.golang import quote

_IP = types.opaque("net.IP")
_CIDR = types.opaque("net.CIDR")


@attrs.frozen
class IP(Opaque):
    """An address."""

    cel_type = _IP
    address: netip.Address

    @property
    def cel_size(self) -> int:
        """Its length in bytes."""
        return self.address.max_prefixlen // 8

    def __str__(self) -> str:
        return str(self.address)


@attrs.frozen
class CIDR(Opaque):
    """An address and the length of its prefix in bits; host bits are kept."""

    cel_type = _CIDR
    address: netip.Address
    bits: int

    @property
    def cel_size(self) -> int:
        """The length of the prefix in bytes."""
        return -(-self.bits // 8)

    def network(self, bits: int) -> int:
        """The first bits of the address."""
        return int(self.address) >> (self.address.max_prefixlen - bits)

    def __str__(self) -> str:
        return f"{self.address}/{self.bits}"


def _parse_ip(text: str) -> IP:
    try:
        address, zone = netip.parse_address(text)
    except ValueError as problem:
        shown = f"IP Address {quote(text)} parse error during conversion from string: {problem}"
        raise CELError(shown) from None
    if zone:
        raise CELError(f"IP address {quote(text)} with zone value is not allowed")
    if netip.is_mapped(address):
        raise CELError(f"IPv4-mapped IPv6 address {quote(text)} is not allowed")
    return IP(address)


def _parse_cidr(text: str) -> CIDR:
    where = "network address parse error during conversion from string: "
    try:
        address, bits = netip.parse_prefix(text)
    except ValueError as problem:
        raise CELError(f"{where}{where}{problem}") from None
    if netip.is_mapped(address):
        raise CELError(f"{where}IPv4-mapped IPv6 address {quote(text)} is not allowed")
    return CIDR(address, bits)


def _is(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def run(text: str) -> bool:
        try:
            parse(text)
        except CELError:
            return False
        return True

    return run


def _is_canonical(text: str) -> bool:
    return str(_parse_ip(text)) == text


def _is_global_unicast(ip: IP) -> bool:
    address = ip.address
    if address.version == 4 and int(address) == 0xFFFFFFFF:
        return False
    return not (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
    )


def _is_link_local_multicast(ip: IP) -> bool:
    packed = ip.address.packed
    if len(packed) == 4:
        return packed[:3] == bytes([224, 0, 0])
    return packed[0] == 0xFF and packed[1] & 0x0F == 0x02


def _contains_ip(cidr: CIDR, other: IP | str) -> bool:
    try:
        ip = _parse_ip(other) if isinstance(other, str) else other
    except CELError:
        # Upstream takes the error for a value that is no address.
        raise CELError("no such overload") from None
    if cidr.address.version != ip.address.version:
        return False
    return CIDR(ip.address, cidr.bits).network(cidr.bits) == cidr.network(cidr.bits)


def _contains_cidr(cidr: CIDR, other: CIDR | str) -> bool:
    inner = _parse_cidr(other) if isinstance(other, str) else other
    if cidr.address.version != inner.address.version or cidr.bits > inner.bits:
        return False
    return cidr.network(cidr.bits) == inner.network(cidr.bits)


def _masked(cidr: CIDR) -> CIDR:
    shift = cidr.address.max_prefixlen - cidr.bits
    return CIDR(type(cidr.address)(cidr.network(cidr.bits) << shift), cidr.bits)


def _check(name: str, id_: str, run: Callable[[IP], bool]) -> Function:
    return function(name, method(id_, (_IP,), BOOL, run))


FUNCTIONS: tuple[Function, ...] = (
    function(
        "ip",
        overload("string_to_ip", (STRING,), _IP, _parse_ip),
        method("cidr_ip", (_CIDR,), _IP, lambda cidr: IP(cidr.address)),
    ),
    function("family", method("ip_family", (_IP,), INT, lambda ip: ip.address.version)),
    function("ip.isCanonical", overload("ip_is_canonical", (STRING,), BOOL, _is_canonical)),
    _check("isUnspecified", "ip_is_unspecified", lambda ip: ip.address.is_unspecified),
    _check("isLoopback", "ip_is_loopback", lambda ip: ip.address.is_loopback),
    _check("isLinkLocalMulticast", "ip_is_link_local_multicast", _is_link_local_multicast),
    _check("isLinkLocalUnicast", "ip_is_link_local_unicast", lambda ip: ip.address.is_link_local),
    _check("isGlobalUnicast", "ip_is_global_unicast", _is_global_unicast),
    function("isIP", overload("is_ip", (STRING,), BOOL, _is(_parse_ip))),
    function(
        "string",
        overload("ip_to_string", (_IP,), STRING, str),
        overload("cidr_to_string", (_CIDR,), STRING, str),
    ),
    function("cidr", overload("string_to_cidr", (STRING,), _CIDR, _parse_cidr)),
    function(
        "containsIP",
        method("cidr_contains_ip_string", (_CIDR, STRING), BOOL, _contains_ip),
        method("cidr_contains_ip_ip", (_CIDR, _IP), BOOL, _contains_ip),
    ),
    function(
        "containsCIDR",
        method("cidr_contains_cidr_string", (_CIDR, STRING), BOOL, _contains_cidr),
        method("cidr_contains_cidr", (_CIDR, _CIDR), BOOL, _contains_cidr),
    ),
    function("prefixLength", method("cidr_prefix_length", (_CIDR,), INT, lambda cidr: cidr.bits)),
    function("masked", method("cidr_masked", (_CIDR,), _CIDR, _masked)),
    function("isCIDR", overload("is_cidr", (STRING,), BOOL, _is(_parse_cidr))),
)
TYPES = (_IP, _CIDR)
