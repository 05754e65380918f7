"""From a service's address to an endpoint's: what kube-proxy's rules do with a connection.

The law: an address and port of a service lead to one of its ready endpoints (to those that still
serve while they terminate, where none is ready), each as likely as the others; without endpoints
the connection is refused; a policy `Local` looks at endpoints of one node only, and drops what
finds none from outside.

Follows `pkg/proxy/{servicechangetracker,topology}.go` and `pkg/proxy/iptables/proxier.go`.
"""

from __future__ import annotations

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
        endpoints = self.endpoints(service, port)
        spec = service["spec"]
        source = self._network.interface(flow.source)
        own_node = source.node if source is not None else ""
        if not endpoints:
            raise Refused
        if internal and spec.get("internalTrafficPolicy") == "Local":
            endpoints = [e for e in endpoints if e.node == own_node]
        local = not internal and spec.get("externalTrafficPolicy") == "Local"
        if (local and node and not own_node) or (local and node and node != own_node):
            endpoints = [e for e in endpoints if e.node == node]
        if not endpoints:
            await self._network.kernel.sleep(1_000_000_000)
            raise TimedOut
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

    def endpoints(self, service: Object, port: Object) -> list[Endpoint]:
        """Where connections to a port of a service may go, in the order of addresses."""
        ready: dict[Endpoint, None] = {}
        serving: dict[Endpoint, None] = {}
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
                for address in entry.get("addresses") or ():
                    made = Endpoint(address, numbers[0], entry.get("nodeName") or "")
                    if conditions.get("ready") is not False:
                        ready[made] = None
                    elif conditions.get("serving") and conditions.get("terminating"):
                        serving[made] = None
        return sorted(ready or serving, key=lambda e: (e.address, e.port))


def _protocol(port: Object) -> str:
    return port.get("protocol") or "TCP"
