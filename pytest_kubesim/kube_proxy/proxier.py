"""From a service's address to an endpoint's: what kube-proxy's rules do with a connection.

The law: an address and port of a service lead to one of its ready endpoints (to those that still
serve while they terminate, where none is ready), each as likely as the others; without endpoints
the connection is refused; a policy `Local` looks at endpoints of one node only, and drops what
finds none from outside.  Where all ready endpoints say for which nodes or zones they are meant,
those for one's own are taken.

Follows `pkg/proxy/{servicechangetracker,topology}.go` and `pkg/proxy/iptables/proxier.go`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import attrs

from pytest_kubesim.kube_proxy.state import NOTHING, ClusterState
from pytest_kubesim.sim.pipes import Refused, TimedOut

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cni.network import Flow, PodNetwork

AFFINITY_SECONDS = 10_800


class Nodes(Protocol):
    """The nodes' addresses."""

    def node_at(self, address: str) -> str:
        """The name of the node that has an address, else empty."""
        ...

    def node_address(self, name: str) -> str:
        """The address of a node, else empty."""
        ...


@attrs.frozen(slots=True)
class Endpoint:
    """Where a connection may go."""

    address: str
    port: int
    node: str
    ready: bool = True
    nodes: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()
    """The nodes and zones for which it is meant (hints)."""


class Proxier:
    """kube-proxy (a `cni.network.Translator`)."""

    def __init__(self, network: PodNetwork, state: ClusterState, nodes: Nodes) -> None:
        self._network = network
        self._state = state
        self._nodes = nodes
        self._affinity: dict[tuple[str, str, int], tuple[Endpoint, int]] = {}
        self._count = 0

    async def translate(self, flow: Flow) -> Flow:
        """The flow as it goes on.  Raises `Refused`, `TimedOut`."""
        interface = self._network.interface(flow.address)
        if interface is not None and not self._nodes.node_at(flow.address):
            return flow
        await self._state.ready()
        node = self._nodes.node_at(flow.address)
        for service in self._state.services_at(flow.address):
            for port in service["spec"].get("ports") or ():
                if port["port"] == flow.port and _protocol(port) == flow.protocol:
                    internal = flow.address in (service["spec"].get("clusterIPs") or ())
                    return await self._to(flow, service, port, internal=internal, node="")
        if node and (flow.protocol, flow.port) not in (
            interface.listeners if interface is not None else ()
        ):
            for service in self._state.services():
                for port in service["spec"].get("ports") or ():
                    if port.get("nodePort") == flow.port and _protocol(port) == flow.protocol:
                        return await self._to(flow, service, port, internal=False, node=node)
        return flow

    async def _to(
        self, flow: Flow, service: Object, port: Object, *, internal: bool, node: str
    ) -> Flow:
        spec = service["spec"]
        source = self._network.interface(flow.source)
        own_node = source.node if source is not None else ""
        local = not internal and spec.get("externalTrafficPolicy") == "Local"
        only = ""
        if internal and spec.get("internalTrafficPolicy") == "Local":
            only = own_node
        elif local and node != own_node:
            only = node
        everywhere = self.endpoints(service, port)
        endpoints = _best(e for e in everywhere if not only or e.node == only)
        if not everywhere:
            raise Refused
        if not endpoints or not self._admits(service, flow):
            await self._network.kernel.sleep(1_000_000_000)
            raise TimedOut
        if not only:
            endpoints = await self._near(endpoints, own_node or node)
        chosen = self._choose(flow, service, port, endpoints)
        origin = flow.source
        if node and not local:
            origin = self._nodes.node_address(node) or origin
        elif chosen.address == flow.source:
            # A pod that reaches itself through a service: hairpin traffic is masqueraded.
            origin = self._nodes.node_address(own_node) or origin
        return attrs.evolve(flow, source=origin, address=chosen.address, port=chosen.port)

    def _choose(
        self, flow: Flow, service: Object, port: Object, endpoints: list[Endpoint]
    ) -> Endpoint:
        kernel, spec = self._network.kernel, service["spec"]
        key = (service["metadata"]["uid"], flow.source, port["port"])
        if spec.get("sessionAffinity") == "ClientIP":
            config = (spec.get("sessionAffinityConfig") or NOTHING).get("clientIP") or NOTHING
            seconds = config.get("timeoutSeconds") or AFFINITY_SECONDS
            known = self._affinity.get(key)
            if known is not None and known[0] in endpoints and kernel.now_ns < known[1]:
                chosen = known[0]
            else:
                chosen = self._draw(key, endpoints)
            self._affinity[key] = (chosen, kernel.now_ns + seconds * 1_000_000_000)
            return chosen
        return self._draw(key, endpoints)

    def _draw(self, key: tuple[str, str, int], endpoints: list[Endpoint]) -> Endpoint:
        self._count += 1
        index = self._network.kernel.rng.below(
            len(endpoints), "kube-proxy", *key, self._count
        )
        return endpoints[index]

    @staticmethod
    def _admits(service: Object, flow: Flow) -> bool:
        """Whether a load balancer's address takes the source (`loadBalancerSourceRanges`)."""
        ranges: list[str] = service["spec"].get("loadBalancerSourceRanges") or []
        balancer = (service.get("status") or NOTHING).get("loadBalancer") or NOTHING
        if not ranges or flow.address not in [e.get("ip") for e in balancer.get("ingress") or ()]:
            return True
        address = ipaddress.ip_address(flow.source)
        return any(address in ipaddress.ip_network(cidr.strip(), strict=False) for cidr in ranges)

    async def _near(self, endpoints: list[Endpoint], node: str) -> list[Endpoint]:
        """Those that are meant for a node, else for its zone, if all say for whom they are."""
        if not endpoints[0].ready or not node:
            return endpoints
        if all(e.nodes for e in endpoints):
            meant = [e for e in endpoints if node in e.nodes]
            if meant:
                return meant
        if all(e.zones for e in endpoints):
            zone = await self._state.zone(node)
            return [e for e in endpoints if zone in e.zones] or endpoints
        return endpoints

    def endpoints(self, service: Object, port: Object) -> list[Endpoint]:
        """Where connections to a port of a service could go, in the order of addresses."""
        found: dict[Endpoint, None] = {}
        name = port.get("name") or ""
        for slice_ in self._state.slices(service):
            numbers = [
                p["port"]
                for p in slice_.get("ports") or ()
                if (p.get("name") or "") == name and _protocol(p) == _protocol(port)
            ]
            if not numbers:
                continue
            for entry in slice_.get("endpoints") or ():
                conditions: Object = entry.get("conditions") or NOTHING
                ready = conditions.get("ready") is not False
                if not ready and not (conditions.get("serving") and conditions.get("terminating")):
                    continue
                hints: Object = entry.get("hints") or NOTHING
                nodes = frozenset(hint["name"] for hint in hints.get("forNodes") or ())
                zones = frozenset(hint["name"] for hint in hints.get("forZones") or ())
                for address in entry.get("addresses") or ():
                    found[Endpoint(
                        address, numbers[0], entry.get("nodeName") or "", ready, nodes, zones
                    )] = None
        return sorted(found, key=lambda e: (e.address, e.port))


def _best(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """The ready ones, or those that still serve while they terminate where none is ready."""
    known = list(endpoints)
    return [e for e in known if e.ready] or known


def _protocol(port: Object) -> str:
    return port.get("protocol") or "TCP"
