"""NetworkPolicies.

Follows `pkg/registry/networking/networkpolicy/strategy.go`, `pkg/apis/networking/v1/defaults.go`
and `pkg/apis/networking/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_kubesim.apimachinery import addresses, formats, labels, metav1
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.schema import schema_for
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.go_equality import deeply_equal
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import SPEC, Plain, raised, with_generation

POLICY_TYPES = ("Ingress", "Egress")
PROTOCOLS = ("TCP", "UDP", "SCTP")
_SIDES = (("ingress", "from"), ("egress", "to"))


class NetworkPolicyStrategy(Plain):
    """`/networkpolicies`."""

    def default(self, obj: Object) -> Object:
        """`SetDefaults_NetworkPolicy`, `SetDefaults_NetworkPolicyPort`."""
        spec: Object = dict(parts.spec(obj))
        for side, _ in _SIDES:
            if spec.get(side):
                spec[side] = [_defaulted(rule) for rule in spec[side]]
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
        return {**obj, "spec": spec}

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """At generation 1."""
        del ctx
        return with_generation(obj, 1)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """A generation further if the spec has changed, if only from no list to an empty one."""
        schema = schema_for("networking.k8s.io", "v1", "NetworkPolicy")
        if deeply_equal(schema, ctx.given, obj, old, "spec"):
            return obj
        return raised(obj, old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateNetworkPolicySpec`."""
        spec = parts.spec(obj)
        before: Object = parts.spec(old)
        known = [cidr for _, block in _blocks(before) for cidr in _cidrs(block)]
        selector: Object | None = before.get("podSelector")
        lenient = bool(metav1.validate_label_selector(selector, SPEC))
        return _Check(lenient, known).spec(spec)

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """For CIDRs of bad form."""
        del ctx
        return _bad_cidrs(obj)

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """For CIDRs of bad form."""
        del ctx, old
        return _bad_cidrs(obj)


def _defaulted(rule: Object) -> Object:
    ports = parts.structs(rule, "ports")
    if all(port.get("protocol") is not None for port in ports):
        return rule
    return {**rule, "ports": [{"protocol": "TCP", **_known(port)} for port in ports]}


def _known(port: Object) -> Object:
    return {key: value for key, value in port.items() if value is not None}


def _blocks(spec: Object) -> Iterator[tuple[Path, Object]]:
    """The blocks of addresses in a spec, and where they are."""
    for side, peers in _SIDES:
        for i, rule in enumerate(spec.get(side) or []):
            for j, peer in enumerate(rule.get(peers) or []):
                if peer.get("ipBlock") is not None:
                    path = SPEC.child(side).index(i).child(peers).index(j).child("ipBlock")
                    yield path, peer["ipBlock"]


def _cidrs(block: Object) -> list[str]:
    return [parts.text(block, "cidr"), *(block.get("except") or [])]


class _Check:
    """One validation: what it lets pass because it is there already, and what it finds.

    What declarative validation finds comes after what is found by hand.
    """

    def __init__(self, lenient: bool, known: list[str]) -> None:
        self.lenient = lenient
        self.known = known
        self.declared: ErrorList = []

    def spec(self, spec: Object) -> ErrorList:
        errors = self.selector(spec.get("podSelector") or {}, SPEC.child("podSelector"))
        for side, peers in _SIDES:
            for i, rule in enumerate(spec.get(side) or []):
                path = SPEC.child(side).index(i)
                for j, port in enumerate(rule.get("ports") or []):
                    errors += _port(port, path.child("ports").index(j))
                for j, peer in enumerate(rule.get(peers) or []):
                    errors += self.peer(peer, path.child(peers).index(j))
        return errors + _types(spec.get("policyTypes") or []) + self.declared

    def selector(self, selector: Object, path: Path) -> ErrorList:
        return metav1.validate_label_selector(selector, path, allow_invalid_values=self.lenient)

    def peer(self, peer: Object, path: Path) -> ErrorList:
        errors: ErrorList = []
        count = 0
        for key in ("podSelector", "namespaceSelector"):
            if peer.get(key) is not None:
                count += 1
                errors += self.selector(peer[key], path.child(key))
        block: Object | None = peer.get("ipBlock")
        if block is not None:
            errors += self.block(block, path.child("ipBlock"))
            if count:
                detail = "may not specify both ipBlock and another peer"
                errors.append(field.forbidden(path, detail))
        elif not count:
            errors.append(field.required(path, "must specify a peer"))
        return errors

    def block(self, block: Object, path: Path) -> ErrorList:
        cidr = parts.text(block, "cidr")
        if not cidr:
            self.declared.append(field.required(path.child("cidr")))
            return []
        errors = field.validate_cidr_for_legacy_field(path.child("cidr"), cidr, old=self.known)
        outer = addresses.parse_cidr_sloppy(cidr)
        if outer is None:
            return errors
        for position, inner_text in enumerate(block.get("except") or []):
            where = path.child("except").index(position)
            errors += field.validate_cidr_for_legacy_field(where, inner_text, old=self.known)
            inner = addresses.parse_cidr_sloppy(inner_text)
            if inner is not None and not _strictly_within(inner, outer):
                detail = "must be a strict subset of `cidr`"
                errors.append(field.invalid(where, inner_text, detail))
        return errors


def _strictly_within(inner: tuple[Any, int], outer: tuple[Any, int]) -> bool:
    """That the network `inner` is a part of `outer` and not the whole."""
    if inner[0].version != outer[0].version or inner[1] <= outer[1]:
        return False
    shift = outer[0].max_prefixlen - outer[1]
    return int(inner[0]) >> shift == int(outer[0]) >> shift


def _port(port: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    protocol = port.get("protocol")
    if protocol is not None and protocol not in PROTOCOLS:
        errors.append(field.not_supported(path.child("protocol"), protocol, PROTOCOLS))
    number, end = port.get("port"), port.get("endPort")
    last = path.child("endPort")
    if number is None:
        if end is not None:
            detail = "may not be specified when `port` is not specified"
            errors.append(field.invalid(last, end, detail))
        return errors
    if isinstance(number, int):
        errors += field.invalid_each(path.child("port"), number, formats.is_valid_port_num(number))
        if end is not None:
            if end < number:
                errors.append(field.invalid(last, end, "must be greater than or equal to `port`"))
            errors += field.invalid_each(last, end, formats.is_valid_port_num(end))
        return errors
    if end is not None:
        detail = "may not be specified when `port` is non-numeric"
        errors.append(field.invalid(last, end, detail))
    details = formats.is_valid_port_name(number)
    return errors + field.invalid_each(path.child("port"), number, details)


def _types(types: list[str]) -> ErrorList:
    path = SPEC.child("policyTypes")
    if len(types) > len(POLICY_TYPES):
        return [field.invalid(path, types, "may not specify more than two policyTypes")]
    return [
        field.not_supported(path.index(position), name, POLICY_TYPES)
        for position, name in enumerate(types)
        if name not in POLICY_TYPES
    ]


def _bad_cidrs(obj: Object) -> list[str]:
    found: list[str] = []
    for path, block in _blocks(parts.spec(obj)):
        found += addresses.cidr_warnings(str(path.child("cidr")), parts.text(block, "cidr"))
        for position, cidr in enumerate(block.get("except") or []):
            found += addresses.cidr_warnings(str(path.child("except").index(position)), cidr)
    return found


def _row(obj: Object, now_ns: int) -> list[Any]:
    selector: Object = parts.spec(obj).get("podSelector") or {}
    return [obj["metadata"]["name"], labels.format_label_selector(selector), age(obj, now_ns)]


KIND = Kind(strategy=NetworkPolicyStrategy(), printer=printer("NetworkPolicy", _row))
