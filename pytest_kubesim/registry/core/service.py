"""Services.

The law: a service is given its addresses and node ports before it is looked at, so that a service
refused for its addresses is refused for nothing else; it keeps what it was given until its type no
longer needs it.

Follows `pkg/registry/core/service/strategy.go`, `SetDefaults_Service` of
`pkg/apis/core/v1/defaults.go` and `pkg/api/service/warnings.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import addresses, formats
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError
from pytest_kubesim.registry.columns import NONE, UNKNOWN, age, labels_text, printer
from pytest_kubesim.registry.core import service_allocation, service_validation
from pytest_kubesim.registry.core.service_addresses import (
    externally_accessible,
    is_external_name,
    needs_health_check,
)
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    EMPTY,
    Plain,
    StatusOnly,
    annotations_of,
    keeping,
    kube_finalizers,
    once,
)

_AFFINITY_SECONDS = 10800
_UNSET = (None, "", 0)


def _with_defaults(spec: Object) -> Object:
    spec = dict(spec)
    affinity = spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    if affinity == "None":
        spec.pop("sessionAffinityConfig", None)
    elif affinity == "ClientIP":
        config: Object = spec.get("sessionAffinityConfig") or {}
        if (config.get("clientIP") or EMPTY).get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": _AFFINITY_SECONDS}}
    kind = spec["type"] = spec.get("type") or "ClusterIP"
    if ports := spec.get("ports"):
        spec["ports"] = [_with_port_defaults(port or {}) for port in ports]
    if not spec.get("externalTrafficPolicy") and externally_accessible(spec):
        spec["externalTrafficPolicy"] = "Cluster"
    if kind in ("NodePort", "LoadBalancer", "ClusterIP"):
        if spec.get("internalTrafficPolicy") is None:
            spec["internalTrafficPolicy"] = "Cluster"
        if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is None:
            spec["allocateLoadBalancerNodePorts"] = True
    return spec


def _with_port_defaults(port: Object) -> Object:
    if port.get("protocol") and port.get("targetPort") not in _UNSET:
        return port
    port = {**port, "protocol": port.get("protocol") or "TCP"}
    if port.get("targetPort") in _UNSET:
        port["targetPort"] = port.get("port") or 0
    return port


def _with_ip_modes(status: Object) -> Object:
    balancer: Object = status.get("loadBalancer") or {}
    points: list[Object] = balancer.get("ingress") or []
    if all(not p.get("ip") or p.get("ipMode") is not None for p in points):
        return status
    points = [
        {**p, "ipMode": "VIP"} if p.get("ip") and p.get("ipMode") is None else p for p in points
    ]
    return {**status, "loadBalancer": {**balancer, "ingress": points}}


class ServiceStrategy(Plain):
    """`/services`."""

    allow_create_on_update = True
    reset_fields = (("status",),)
    selectable = ("spec.clusterIP", "spec.type")

    def default(self, obj: Object) -> Object:
        """Type, policies, ports."""
        spec = _with_defaults(obj.get("spec") or {})
        obj = {**obj, "spec": spec}
        if spec["type"] == "LoadBalancer" and obj.get("status"):
            obj["status"] = _with_ip_modes(obj["status"])
        return obj

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """A DNS label."""
        return formats.name_is_dns_label(name, prefix=prefix)

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """With addresses and ports, without a status."""
        if not ctx.subresource:
            # Who makes one by way of its status gets none of them.
            obj = service_allocation.for_create(ctx, obj)
        return {**obj, "status": {}}

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With what it had and needs, and the old status."""
        obj = service_allocation.for_update(ctx, obj, old)
        return _without_unneeded(keeping(obj, old, "status"), old)

    def validate(self, ctx: Context, obj: Object) -> list[FieldError]:
        """All that is wrong with a new service."""
        del ctx
        return once(kube_finalizers(obj) + service_validation.service(obj, None))

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> list[FieldError]:
        """All that is wrong with a change."""
        del ctx
        errors = kube_finalizers(obj)
        errors += service_validation.change(obj.get("spec") or {}, old.get("spec") or {})
        return once(errors + service_validation.service(obj, old))

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """What is ignored or deprecated."""
        del ctx
        return _warnings(obj)

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """The same."""
        del ctx, old
        return _warnings(obj)

    def begin_create(self, ctx: Context, obj: Object) -> Object:
        """What it was given is held until it is stored."""
        service_allocation.remember(ctx, obj)
        return obj

    def begin_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """The same."""
        del old
        service_allocation.remember(ctx, obj)
        return obj

    def after_delete(self, ctx: Context, obj: Object) -> None:
        """What it had is free."""
        service_allocation.forget(ctx, obj)

    def decorate(self, obj: Object) -> Object:
        """A mere name has no traffic policy."""
        spec: Object = obj.get("spec") or {}
        if not is_external_name(spec) or spec.get("internalTrafficPolicy") is None:
            return obj
        return {**obj, "spec": {k: v for k, v in spec.items() if k != "internalTrafficPolicy"}}

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """Address and type."""
        spec: Object = obj.get("spec") or {}
        return {"spec.clusterIP": spec.get("clusterIP") or "", "spec.type": spec.get("type") or ""}


class ServiceStatusStrategy(StatusOnly):
    """`/services/status`: it makes a service that is not there, as the service's own does."""

    allow_create_on_update = True

    def default(self, obj: Object) -> Object:
        """As for the service."""
        return _STRATEGY.default(obj)

    def decorate(self, obj: Object) -> Object:
        """As it is."""
        return obj

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> list[FieldError]:
        """Where the load balancer is."""
        del ctx
        return once(kube_finalizers(obj) + service_validation.load_balancer_status(obj, old))

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """Addresses written oddly."""
        del ctx, old
        status: Object = obj.get("status") or {}
        points: list[Object] = (status.get("loadBalancer") or EMPTY).get("ingress") or []
        return [
            text
            for position, point in enumerate(points)
            if point.get("ip")
            for text in addresses.ip_warnings(
                f"status.loadBalancer.ingress[{position}]", point["ip"]
            )
        ]


# -- changes of type ---------------------------------------------------------------------------


def _without_unneeded(obj: Object, old: Object) -> Object:
    """What only the old type needed goes, unless the client changed it (then it is refused)."""
    spec: Object = dict(obj.get("spec") or {})
    before: Object = old.get("spec") or {}
    if is_external_name(spec) and not is_external_name(before):
        _drop_if_same(spec, before, "clusterIP", "clusterIPs")
        _drop_if_same(spec, before, "ipFamilies")
        _drop_if_same(spec, before, "ipFamilyPolicy")
    has_ports, had_ports = (s.get("type") in ("NodePort", "LoadBalancer") for s in (spec, before))
    if had_ports and not has_ports and spec.get("ports"):
        new, had = ({*service_allocation.node_ports(s)} for s in (spec, before))
        if had >= new:
            spec["ports"] = [
                {key: value for key, value in port.items() if key != "nodePort"}
                for port in spec["ports"]
            ]
    if needs_health_check(before) and not needs_health_check(spec):
        _drop_if_same(spec, before, "healthCheckNodePort")
    if before.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        _drop_if_same(spec, before, "allocateLoadBalancerNodePorts")
        _drop_if_same(spec, before, "loadBalancerClass")
    if externally_accessible(before) and not externally_accessible(spec):
        _drop_if_same(spec, before, "externalTrafficPolicy")
    obj = {**obj, "spec": spec}
    status: Object = obj.get("status") or {}
    if spec.get("type") != "LoadBalancer" and status.get("loadBalancer"):
        obj["status"] = {**status, "loadBalancer": {}}
    return obj


def _drop_if_same(spec: Object, before: Object, *names: str) -> None:
    if all((spec.get(name) or None) == (before.get(name) or None) for name in names):
        for name in names:
            spec.pop(name, None)


# -- warnings ----------------------------------------------------------------------------------


def _warnings(obj: Object) -> list[str]:
    spec: Object = obj.get("spec") or {}
    found: list[str] = []
    hints = service_validation.TOPOLOGY_HINTS
    if hints in annotations_of(obj):
        mode = service_validation.TOPOLOGY_MODE
        found.append(f"annotation {hints} is deprecated, please use {mode} instead")
    kind, ip = spec.get("type"), spec.get("clusterIP") or ""
    if ip not in ("", "None"):
        for position, each in enumerate(spec.get("clusterIPs") or ()):
            found += addresses.ip_warnings(f"spec.clusterIPs[{position}]", each)
    headless = kind == "ClusterIP" and ip == "None"
    external: list[str] = spec.get("externalIPs") or []
    balancer = spec.get("loadBalancerIP") or ""
    if headless:
        if balancer:
            found.append("spec.loadBalancerIP is ignored for headless services")
        if external:
            found.append("spec.externalIPs is ignored for headless services")
        if spec.get("sessionAffinity") != "None":
            found.append("spec.SessionAffinity is ignored for headless services")
    for position, each in enumerate(external):
        found += addresses.ip_warnings(f"spec.externalIPs[{position}]", each)
    if external and not headless and kind != "ExternalName":
        found.append(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
        )
    if balancer:
        found += addresses.ip_warnings("spec.loadBalancerIP", balancer)
    for position, each in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found += addresses.cidr_warnings(f"spec.loadBalancerSourceRanges[{position}]", each)
    if kind == "ExternalName" and external:
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if kind != "ExternalName" and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


# -- tables ------------------------------------------------------------------------------------


def _external(obj: Object, spec: Object) -> str:
    kind = spec.get("type")
    external: list[str] = spec.get("externalIPs") or []
    if kind in ("ClusterIP", "NodePort"):
        return ",".join(external) or NONE
    if kind == "LoadBalancer":
        status: Object = obj.get("status") or {}
        points: list[Object] = (status.get("loadBalancer") or EMPTY).get("ingress") or []
        shown = sorted({p.get("ip") or p.get("hostname") or "" for p in points} - {""})
        return ",".join([*shown, *external]) or "<pending>"
    return (spec.get("externalName") or "") if kind == "ExternalName" else UNKNOWN


def _port(port: Object) -> str:
    number, node_port = port.get("port") or 0, port.get("nodePort") or 0
    through = f":{node_port}" if node_port > 0 else ""
    return f"{number}{through}/{port.get('protocol') or ''}"


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec: Object = obj.get("spec") or {}
    ips: list[str] = spec.get("clusterIPs") or []
    return [
        obj["metadata"]["name"],
        spec.get("type") or "",
        ips[0] if ips else NONE,
        _external(obj, spec),
        ",".join(_port(port) for port in spec.get("ports") or ()) or NONE,
        age(obj, now_ns),
        labels_text(spec.get("selector")),
    ]


_STRATEGY = ServiceStrategy()
KIND = Kind(strategy=_STRATEGY, status=ServiceStatusStrategy(), printer=printer("Service", _row))
