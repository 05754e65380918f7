"""The subsets of Endpoints: addresses that have the same ports, in canonical form.

Pure functions.  Follows `pkg/api/v1/endpoints/util.go` and the truncation in
`pkg/controller/endpoint/endpoints_controller.go`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.golang import json_text
from pytest_kubesim.controller_manager import fields

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

MAX_ADDRESSES = 1000

_Port = tuple[str, int, str, str | None]
_NO_PORT: _Port = ("", -1, "", None)
_FNV_OFFSET = 0x6C62272E07BB014262B821756295C58D
_FNV_PRIME = 0x1000000000000000000013B
_MASK = (1 << 128) - 1


def fnv128a(text: str) -> int:
    """The 128-bit FNV-1a hash."""
    value = _FNV_OFFSET
    for byte in text.encode():
        value = ((value ^ byte) * _FNV_PRIME) & _MASK
    return value


def _port_order(port: _Port) -> int:
    # By the hash of what Go prints: that is the order in which clients see them.
    name, number, protocol, app = port
    return fnv128a(
        f"(v1.EndpointPort){{Name:(string){name} Port:(int32){number} "
        f"Protocol:(v1.Protocol){protocol} AppProtocol:(*string)"
        f"{'<nil>' if app is None else app}}}"
    )


def _port_object(port: _Port) -> Object:
    name, number, protocol, app = port
    result: Object = {"name": name} if name else {}
    result["port"] = number
    if protocol:
        result["protocol"] = protocol
    if app is not None:
        result["appProtocol"] = app
    return result


def _key(address: Object) -> tuple[str, str]:
    return address["ip"], fields.text(fields.mapping(address, "targetRef"), "uid")


def repack(subsets: Sequence[Object]) -> list[Object]:
    """The same addresses and ports in as few subsets as can be, sorted (`RepackSubsets`)."""
    addresses: dict[tuple[str, str], Object] = {}
    by_port: dict[_Port, dict[tuple[str, str], bool]] = {}
    for subset in subsets:
        ports = [
            (
                fields.text(port, "name"),
                fields.number(port, "port"),
                fields.text(port, "protocol"),
                port.get("appProtocol"),
            )
            for port in fields.objects(subset, "ports")
        ]
        for port in ports or [_NO_PORT]:
            for field, ready in (("addresses", True), ("notReadyAddresses", False)):
                for address in fields.objects(subset, field):
                    key = _key(address)
                    addresses.setdefault(key, address)
                    found = by_port.setdefault(port, {})
                    # An address that is not ready once is not ready.
                    if found.get(key, True):
                        found[key] = ready
    groups: dict[tuple[tuple[tuple[str, str], bool], ...], list[_Port]] = {}
    for port, found in by_port.items():
        group = groups.setdefault(tuple(sorted(found.items())), [])
        if port[1] > 0:
            group.append(port)
    result: list[Object] = []
    for members, ports in groups.items():
        subset: Object = {}
        if ready := [addresses[key] for key, is_ready in members if is_ready]:
            subset["addresses"] = ready
        if not_ready := [addresses[key] for key, is_ready in members if not is_ready]:
            subset["notReadyAddresses"] = not_ready
        if ports:
            subset["ports"] = [_port_object(p) for p in sorted(ports, key=_port_order)]
        result.append(subset)
    if len(result) > 1:
        result.sort(key=lambda subset: fnv128a(json_text(subset)))
    return result


def count(subsets: Sequence[Object], field: str) -> int:
    """How many addresses there are in a field."""
    return sum(len(fields.objects(subset, field)) for subset in subsets)


def truncate(subsets: list[Object]) -> list[Object] | None:
    """The subsets with 1,000 addresses, ready ones first; None where there are no more."""
    ready, not_ready = count(subsets, "addresses"), count(subsets, "notReadyAddresses")
    if ready + not_ready <= MAX_ADDRESSES:
        return None
    cut_ready = ready > MAX_ADDRESSES
    field = "addresses" if cut_ready else "notReadyAddresses"
    room = MAX_ADDRESSES if cut_ready else MAX_ADDRESSES - ready
    total = ready if cut_ready else not_ready
    left = room
    result: list[Object] = []
    for subset in subsets:
        found = fields.objects(subset, field)
        kept = found[: min(left, math.ceil(len(found) / total * room))]
        left -= len(kept)
        changed = {key: value for key, value in subset.items() if key != field}
        if cut_ready:
            changed.pop("notReadyAddresses", None)
        if kept:
            changed[field] = kept
        result.append(changed)
    return result
