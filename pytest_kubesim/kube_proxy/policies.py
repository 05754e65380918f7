"""Network policies: which pods may reach which.

The law: a pod that no policy selects for a direction may do everything in it; one that is selected
may do what any of those policies allows.  A node always reaches its own pods.

Follows the semantics of `networking.k8s.io/v1`, `NetworkPolicySpec`.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import labels
from pytest_kubesim.cni.network import CLUSTER_DNS
from pytest_kubesim.kube_proxy.state import NOTHING, ClusterState

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cni.network import Flow, PodNetwork
    from pytest_kubesim.kube_proxy.proxier import Nodes

INGRESS, EGRESS = "Ingress", "Egress"

_DNS: Object = {
    "metadata": {"namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
    "spec": {"containers": [{"ports": [
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
    ]}]},
}
"""The pods of the cluster's DNS server, which policies see where there are none."""
_DNS_ADDRESS = "10.244.255.254"


class Policies:
    """Obeys the network policies (a `cni.network.Filter`)."""

    def __init__(self, network: PodNetwork, state: ClusterState, nodes: Nodes) -> None:
        self._network = network
        self._state = state
        self._nodes = nodes

    async def __call__(self, flow: Flow) -> bool:
        """Whether the flow may pass."""
        if not await self._state.ready_for_policies():
            return True
        source, target = self._pod(flow.source), self._pod(flow.address)
        if source is not None:
            peer, address = (_DNS, _DNS_ADDRESS) if flow.address == CLUSTER_DNS else (
                target, flow.address
            )
            if not self._allows(source, EGRESS, peer, address, flow):
                return False
        if target is None:
            return True
        interface = self._network.interface(flow.address)
        node = self._nodes.node_at(flow.source)
        if node and interface is not None and interface.node == node:
            return True
        return self._allows(target, INGRESS, source, flow.source, flow)

    def _pod(self, address: str) -> Object | None:
        interface = self._network.interface(address)
        if interface is None or not interface.owner:
            return None
        return self._state.pod(interface.owner)

    def _allows(
        self, pod: Object, direction: str, peer: Object | None, address: str, flow: Flow
    ) -> bool:
        meta = pod["metadata"]
        selected = [
            policy
            for policy in self._state.policies(meta["namespace"])
            if direction in _types(policy)
            and labels.from_label_selector(policy["spec"].get("podSelector") or {}).matches(
                meta.get("labels") or {}
            )
        ]
        if not selected:
            return True
        named = pod if direction == INGRESS else peer
        for policy in selected:
            for rule in policy["spec"].get(direction.lower()) or ():
                peers = rule.get("from" if direction == INGRESS else "to")
                if self._ports(rule.get("ports"), named, flow) and (
                    not peers
                    or any(self._peer(p, policy, peer, address) for p in peers)
                ):
                    return True
        return False

    @staticmethod
    def _ports(ports: list[Object] | None, named: Object | None, flow: Flow) -> bool:
        if not ports:
            return True
        for port in ports:
            if (port.get("protocol") or "TCP") != flow.protocol:
                continue
            number = port.get("port")
            if number is None:
                return True
            if isinstance(number, str):
                number = _named_port(named, number, flow.protocol)
            last = port.get("endPort")
            if number is not None and number <= flow.port <= (last or number):
                return True
        return False

    def _peer(self, wish: Object, policy: Object, peer: Object | None, address: str) -> bool:
        if (block := wish.get("ipBlock")) is not None:
            ip = ipaddress.ip_address(address)
            inside = ip in ipaddress.ip_network(block["cidr"], strict=False)
            return inside and not any(
                ip in ipaddress.ip_network(cidr, strict=False)
                for cidr in block.get("except") or ()
            )
        if peer is None:
            return False
        meta = peer["metadata"]
        spaces = wish.get("namespaceSelector")
        if spaces is None:
            if meta["namespace"] != policy["metadata"]["namespace"]:
                return False
        else:
            namespace = self._state.namespace(meta["namespace"])
            found: dict[str, str] = {}
            if namespace is not None:
                found = namespace["metadata"].get("labels") or {}
            if not labels.from_label_selector(spaces).matches(found):
                return False
        pods = wish.get("podSelector")
        return pods is None or labels.from_label_selector(pods).matches(meta.get("labels") or {})


def _types(policy: Object) -> list[str]:
    spec = policy["spec"]
    found: list[str] = spec.get("policyTypes") or []
    return found or [INGRESS, *([EGRESS] if spec.get("egress") else [])]


def _named_port(pod: Object | None, name: str, protocol: str) -> int | None:
    for container in (pod or {"spec": NOTHING})["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == name and (port.get("protocol") or "TCP") == protocol:
                return port["containerPort"]
    return None
