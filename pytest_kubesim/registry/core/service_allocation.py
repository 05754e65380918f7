"""Cluster IPs and node ports of services.

The law: what is taken is read from the services and addresses that are stored, and from those that
are on their way there; the ranges of IPv4 addresses are those of the ServiceCIDRs that are ready,
first that of the cluster.  Addresses and ports that nobody asked for are drawn at random from the
upper part of their range, so that the lower part stays free for those who ask.

Follows `pkg/registry/core/service/storage/{storage,alloc}.go`, `ipallocator` and `portallocator`.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import addresses, status
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import GroupKind, GroupResource, Object, is_condition_true
from pytest_kubesim.registry.core.service_addresses import (
    cluster_ip_fields,
    is_external_name,
    is_ipv6,
    needs_health_check,
)
from pytest_kubesim.registry.strategies import EMPTY, SPEC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_kubesim.apimachinery.validation import FieldError
    from pytest_kubesim.registry.rest import Context

SERVICES = GroupResource("", "services")
IP_ADDRESSES = GroupResource("networking.k8s.io", "ipaddresses")
KIND = GroupKind("", "Service")
SERVICE_CIDRS = GroupResource("networking.k8s.io", "servicecidrs")
DEFAULT = "kubernetes"
RANGE = "10.96.0.0/16"
"""Where the API server is told no other (`--service-cluster-ip-range`)."""
PORTS = (30000, 32767)
_STATIC_PORTS = 86
_ALLOCATED = "provided port is already allocated"
_GUESS = 32769
_PENDING_NS = 60_000_000_000


def _refused(obj: Object, errors: list[FieldError]) -> status.APIStatus:
    return status.new_invalid(KIND, obj["metadata"].get("name") or "", errors)


# -- what is taken -----------------------------------------------------------------------------


def node_ports(spec: Object) -> list[int]:
    """The node ports of a service, without that of its health check."""
    return [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]


@attrs.frozen(slots=True)
class _Range:
    """The addresses that services may have, as numbers."""

    cidr: str
    first: int
    last: int
    static: int
    """How many of the first are left to those who ask for one."""

    @classmethod
    @functools.cache
    def of(cls, cidr: str) -> _Range:
        """A CIDR's, without its network and broadcast addresses (`NewIPAllocator`)."""
        network = ipaddress.IPv4Network(cidr)
        size = network.num_addresses
        first, last = int(network.network_address) + 1, int(network.broadcast_address) - 1
        return cls(cidr, first, last, max(16, min(size // 16, 256)) if size > 16 else 0)


def _ranges(ctx: Context) -> list[_Range]:
    """The ranges to give away from: the cluster's, which the API server has made, before others."""
    found = ctx.reader.list(SERVICE_CIDRS)
    if not found:
        return [_Range.of(RANGE)]
    first = sorted(found, key=lambda each: (each["metadata"]["name"] != DEFAULT, _age(each)))
    cidrs = [cidr for each in first if _is_ready(each) for cidr in each["spec"]["cidrs"]]
    return [_Range.of(cidr) for cidr in dict.fromkeys(cidrs) if ":" not in cidr]


def _age(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["creationTimestamp"], obj["metadata"]["name"]


def _is_ready(cidr: Object) -> bool:
    """Whether a ServiceCIDR gives away; that of the API server begins with it."""
    if cidr["metadata"].get("deletionTimestamp"):
        return False
    return cidr["metadata"]["name"] == DEFAULT or is_condition_true(cidr, "Ready")


def all_node_ports(spec: Object) -> list[int]:
    """The node ports of a service, with that of its health check."""
    port = spec.get("healthCheckNodePort")
    return [*node_ports(spec), port] if port else node_ports(spec)


COLLISIONS = "service-collisions"
"""Where in the server's state lies what other servers have given away: kinds and values."""


class _Taken:
    """The addresses and ports of other services."""

    def __init__(self, ctx: Context, obj: Object) -> None:
        self.ctx = ctx
        self.ranges = _ranges(ctx)
        self.ips: set[str] = set()
        self.ports: set[int] = set()
        self.own: list[int] = []
        metadata: Object = obj["metadata"]
        me = (metadata.get("namespace") or ctx.namespace, metadata.get("name"))
        for service in ctx.reader.list(SERVICES):
            other: Object = service["metadata"]
            self._add(service.get("spec") or {}, mine=(other["namespace"], other["name"]) == me)
        self.ips.update(each["metadata"]["name"] for each in ctx.reader.list(IP_ADDRESSES))
        for kind, value in ctx.state.get(COLLISIONS) or ():
            (self.ips if kind == "ip" else self.ports).add(value)
        pending: dict[Any, tuple[int, Object]] = ctx.state.get("services") or {}
        for key, (since, spec) in pending.items():
            if ctx.now_ns - since < _PENDING_NS and key != me:
                self._add(spec, mine=False)
        self.event = (*me, metadata.get("uid"))

    def _add(self, spec: Object, *, mine: bool) -> None:
        self.ips.update(spec.get("clusterIPs") or ())
        ports = all_node_ports(spec)
        self.ports.update(ports)
        if mine:
            self.own += ports

    def draw(
        self, first: int, last: int, reserved: int, taken: Callable[[int], bool]
    ) -> int | None:
        """A free number: from a random start up the upper part of the range, then the lower."""
        middle = min(first + reserved, last + 1)
        for low, high, stream in ((middle, last, "upper"), (first, middle - 1, "lower")):
            count = high - low + 1
            if count < 1:
                continue
            start = self.ctx.rng.below(count, "service-allocation", stream, first, *self.event)
            for step in range(count):
                number = low + (start + step) % count
                if not taken(number):
                    return number
        return None


def remember(ctx: Context, obj: Object) -> None:
    """Hold what a service was given until it is stored."""
    if ctx.dry_run:
        return
    pending: dict[Any, tuple[int, Object]] = ctx.state.setdefault("services", {})
    for key in [k for k, (since, _) in pending.items() if ctx.now_ns - since >= _PENDING_NS]:
        del pending[key]
    metadata: Object = obj["metadata"]
    pending[metadata.get("namespace"), metadata["name"]] = (ctx.now_ns, obj["spec"])


def forget(ctx: Context, obj: Object) -> None:
    """Hold it no longer."""
    pending: dict[Any, tuple[int, Object]] = ctx.state.get("services") or {}
    metadata: Object = obj["metadata"]
    pending.pop((metadata.get("namespace"), metadata["name"]), None)


# -- the two ways in ---------------------------------------------------------------------------


def for_create(ctx: Context, obj: Object) -> Object:
    """A new service with families, addresses and ports.  Raises `APIStatus`."""
    spec: Object = dict(obj.get("spec") or {})
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    obj = {**obj, "spec": spec}
    _families(obj, spec, None)
    taken = _Taken(ctx, obj)
    _cluster_ips(obj, spec, taken)
    ports = _Ports(obj, spec, taken)
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        ports.initial()
    if needs_health_check(spec):
        ports.health_check()
    return obj


def for_update(ctx: Context, obj: Object, old: Object) -> Object:
    """A changed service with what it had and what it now needs.  Raises `APIStatus`."""
    spec: Object = dict(obj.get("spec") or {})
    before: Object = old.get("spec") or {}
    obj = {**obj, "spec": spec}
    _keep_allocated(spec, before)
    _normalize(spec, before)
    _families(obj, spec, before)
    taken = _Taken(ctx, obj)
    if is_external_name(before) and not is_external_name(spec):
        _cluster_ips(obj, spec, taken)
    ports = _Ports(obj, spec, taken)
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        ports.updated(before)
    if needs_health_check(spec) and not needs_health_check(before):
        ports.health_check()
    return obj


def _normalize(spec: Object, before: Object) -> None:
    old_ip, new_ip = before.get("clusterIP") or "", spec.get("clusterIP") or ""
    old_ips: list[str] = before.get("clusterIPs") or []
    if old_ips and not spec.get("clusterIPs") and old_ip == new_ip:
        spec["clusterIPs"] = old_ips
    if old_ip == new_ip or old_ips != (spec.get("clusterIPs") or []):
        return
    if old_ip and not new_ip:
        spec.pop("clusterIPs", None)
    else:
        spec["clusterIPs"] = [new_ip]


def _keep_allocated(spec: Object, before: Object) -> None:
    if not is_external_name(before) and not is_external_name(spec):
        if not spec.get("clusterIP"):
            spec["clusterIP"] = before.get("clusterIP") or ""
        if not spec.get("clusterIPs") and before.get("clusterIPs"):
            spec["clusterIPs"] = before["clusterIPs"]
    if _wants_node_ports(before) and _wants_node_ports(spec):
        used = {*node_ports(before)} & {*node_ports(spec)}
        had = {p.get("name") or "": p.get("nodePort") or 0 for p in before.get("ports") or ()}
        ports: list[Object] = []
        for port in spec.get("ports") or ():
            number = 0 if port.get("nodePort") else had.get(port.get("name") or "", 0)
            ports.append({**port, "nodePort": number} if number and number not in used else port)
        if ports:
            spec["ports"] = ports
    if needs_health_check(before) and needs_health_check(spec):
        spec["healthCheckNodePort"] = (
            spec.get("healthCheckNodePort") or before.get("healthCheckNodePort") or 0
        )


def _wants_node_ports(spec: Object) -> bool:
    return spec.get("type") == "NodePort" or (
        spec.get("type") == "LoadBalancer"
        and spec.get("allocateLoadBalancerNodePorts") is not False
    )


# -- families ----------------------------------------------------------------------------------


def _unchanged_dual_stack(spec: Object, before: Object | None) -> bool:
    if before is None or spec.get("ipFamilyPolicy") != "PreferDualStack":
        return False
    return (
        spec.get("type") == before.get("type")
        and spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer")
        and before.get("ipFamilyPolicy") in (None, "PreferDualStack")
        and (spec.get("clusterIPs") or []) == (before.get("clusterIPs") or [])
        and (spec.get("ipFamilies") or []) == (before.get("ipFamilies") or [])
    )


def _families(obj: Object, spec: Object, before: Object | None) -> None:
    if is_external_name(spec) or _unchanged_dual_stack(spec, before):
        return
    headless = spec.get("clusterIP") == "None" and not spec.get("selector")
    if spec.get("ipFamilyPolicy") is None:
        spec["ipFamilyPolicy"] = (before or EMPTY).get("ipFamilyPolicy") or (
            "RequireDualStack" if headless else "SingleStack"
        )
    if errors := cluster_ip_fields(spec, before):
        raise _refused(obj, errors)
    policy: str = spec["ipFamilyPolicy"]
    where = SPEC.child("ipFamilyPolicy")
    details = _reduced(spec, before, policy)
    if policy == "SingleStack":
        detail = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
        for key, what in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")):
            if len(spec.get(key) or ()) == 2:
                details.append(detail.format(what))
    errors = [field.invalid(where, policy, detail) for detail in details]
    errors += _families_of_ips(spec)
    if errors:
        raise _refused(obj, errors)
    families: list[str] = spec.get("ipFamilies") or []
    if headless:
        families = families or ["IPv4"]
        if len(families) < 2 and policy != "SingleStack":
            families = [families[0], "IPv6" if families[0] == "IPv4" else "IPv4"]
        spec["ipFamilies"] = families
        return
    if policy == "RequireDualStack":
        detail = "this cluster is not configured for dual-stack services"
        errors.append(field.invalid(where, policy, detail))
    where = SPEC.child("ipFamilies")
    errors += [
        field.invalid(where.index(position), family, "not configured on this cluster")
        for position, family in enumerate(families)
        if family != "IPv4"
    ]
    if errors:
        raise _refused(obj, errors)
    spec["ipFamilies"] = families or ["IPv4"]


def _reduced(spec: Object, before: Object | None, policy: str) -> list[str]:
    """What is wrong with giving up the second family; without complaint where that is asked."""
    if before is None:
        return []
    details: list[str] = []
    for key, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        new: list[str] = spec.get(key) or []
        old: list[str] = before.get(key) or []
        if policy == "SingleStack":
            if new == old and len(new) > 1:
                spec[key] = new[:1]
        elif new and len(new) < len(old):
            details.append(f"must be 'SingleStack' to release the secondary {what}")
    return details


def _families_of_ips(spec: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    ips: list[str] = spec.get("clusterIPs") or []
    families: list[str] = list(spec.get("ipFamilies") or ())
    for position, ip in enumerate(ips):
        if ip == "None":
            break
        if position < len(families):
            continue
        family = "IPv6" if is_ipv6(ip) else "IPv4"
        if family == "IPv6":
            where = SPEC.child("clusterIPs").index(position)
            detail = f"{family} is not configured on this cluster"
            errors.append(field.invalid(where, ips, detail))
        else:
            families.append(family)
    if families:
        spec["ipFamilies"] = families
    return errors


# -- addresses ---------------------------------------------------------------------------------


def _cluster_ips(obj: Object, spec: Object, taken: _Taken) -> None:
    ips: list[str] = list(spec.get("clusterIPs") or ())
    if is_external_name(spec) or ips[:1] == ["None"]:
        return
    for position, _ in enumerate(spec.get("ipFamilies") or ()):
        asked = ips[position] if position < len(ips) else ""
        if asked:
            problem = _asked(asked, taken)
            if problem:
                detail = f"failed to allocate IP {asked}: {problem}"
                raise _refused(obj, [field.invalid(SPEC.child("clusterIPs"), ips, detail)])
            continue
        drawn = _drawn(obj, taken)
        ips[position:] = [drawn]
        if position == 0:
            spec["clusterIP"] = drawn
    spec["clusterIPs"] = ips


def _asked(text: str, taken: _Taken) -> str | None:
    address = addresses.parse_ip_sloppy(text)
    shown = addresses.ip_string(address) if address is not None else text
    ranges = taken.ranges[:1] if taken.ctx.dry_run else taken.ranges
    if (
        address is None
        or address.version != 4
        or not any(own.first <= int(address) <= own.last for own in ranges)
    ):
        if not taken.ctx.dry_run:
            # Only an allocator that has the address is asked, and none has.
            return "the provided network does not match the current range"
        return (
            f"the provided IP ({shown}) is not in the valid range. "
            f"The range of valid IPs is {ranges[0].cidr if ranges else ''}"
        )
    if not taken.ctx.dry_run and (shown in taken.ips or text in taken.ips):
        return "provided IP is already allocated"
    return None


def _drawn(obj: Object, taken: _Taken) -> str:
    if taken.ctx.dry_run and taken.ranges:
        return taken.ranges[0].cidr.partition("/")[0]

    def is_taken(number: int) -> bool:
        return str(ipaddress.IPv4Address(number)) in taken.ips

    for own in taken.ranges:
        number = taken.draw(own.first, own.last, max(own.static - 1, 0), is_taken)
        if number is not None:
            return str(ipaddress.IPv4Address(number))
    name = obj["metadata"].get("name") or ""
    raise status.new_internal_error(
        f'failed to allocate a serviceIP for Service "{name}": range is full'
    )


# -- ports -------------------------------------------------------------------------------------


class _Ports:
    """The node ports of one service, as they are being allocated."""

    def __init__(self, obj: Object, spec: Object, taken: _Taken) -> None:
        self.obj = obj
        self.spec = spec
        self.taken = taken
        self.mine: list[int] = []

    def problem(self, number: int) -> str | None:
        """Take a port that was asked for, or say why not."""
        if number in self.mine or number in self.taken.ports:
            return _ALLOCATED
        low, high = PORTS
        if not self.taken.ctx.dry_run and not low <= number <= high:
            return (
                f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
            )
        self.mine.append(number)
        return None

    def next(self) -> int:
        """Take any port.  Raises `APIStatus`."""
        number: int | None
        if self.taken.ctx.dry_run:
            number = max(self.mine) + 1 if self.mine else _GUESS
        else:
            number = self.taken.draw(
                *PORTS, _STATIC_PORTS, lambda n: n in self.taken.ports or n in self.mine
            )
        if number is None:
            raise status.new_internal_error("failed to allocate a nodePort: range is full")
        self.mine.append(number)
        return number

    def take(self, position: int, number: int) -> None:
        """Take a port that was asked for.  Raises `APIStatus`."""
        if problem := self.problem(number):
            where = SPEC.child("ports").index(position).child("nodePort")
            raise _refused(self.obj, [field.invalid(where, number, problem)])

    def initial(self) -> None:
        """Those of a new service: ports of the same number share one."""
        ports: list[Object] = [dict(port) for port in self.spec.get("ports") or ()]
        shared: dict[int, int] = {}
        wanted = _wants_node_ports(self.spec)
        for position, port in enumerate(ports):
            own = port.get("nodePort") or 0
            if not own and not wanted:
                continue
            number: int = port.get("port") or 0
            allocated = shared.get(number, 0)
            if not allocated:
                asked = _requested(number, ports)
                if asked:
                    self.take(position, asked)
                port["nodePort"] = shared[number] = asked or self.next()
            elif not own:
                port["nodePort"] = allocated
            elif own != allocated:
                self.take(position, own)
        if ports:
            self.spec["ports"] = ports

    def updated(self, before: Object) -> None:
        """Those of a changed service: what it had it may keep."""
        had = node_ports(before)
        ports: list[Object] = [dict(port) for port in self.spec.get("ports") or ()]
        wanted = _wants_node_ports(self.spec)
        seen: set[tuple[str, int]] = set()
        for position, port in enumerate(ports):
            number: int = port.get("nodePort") or 0
            if not number and not wanted:
                continue
            if not number:
                number = port["nodePort"] = self.next()
            elif number not in had and number not in self.mine:
                self.take(position, number)
            protocol = port.get("protocol") or ""
            if (protocol, number) in seen:
                shown = f"{{{protocol} {number}}}"
                raise status.new_internal_error(f"duplicate nodePort: {shown}")
            seen.add((protocol, number))
        if ports:
            self.spec["ports"] = ports

    def health_check(self) -> None:
        """The port where load balancers ask for the node's health."""
        asked: int = self.spec.get("healthCheckNodePort") or 0
        if not asked:
            self.spec["healthCheckNodePort"] = self.next()
        elif problem := self.problem(asked):
            raise status.new_internal_error(
                f"failed to allocate requested HealthCheck NodePort {asked}: {problem}"
            )


def _requested(number: int, ports: Iterable[Object]) -> int:
    for port in ports:
        if (port.get("port") or 0) == number and port.get("nodePort"):
            return port["nodePort"]
    return 0
