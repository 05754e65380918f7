"""The cluster's DNS server: names of services, of their endpoints, of pods.

Follows the specification of DNS for Kubernetes services, version 1.1.0, as CoreDNS answers it.
Names outside of the cluster's domain do not exist: there is no other network.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from pytest_kubesim.kube_proxy.state import NOTHING, ClusterState

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

ZONE = "cluster.local"
Record = tuple[str, str, str]


class ClusterDNS:
    """Answers queries (`cri.applets.names.Resolver`)."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state

    async def query(self, name: str, kind: str) -> list[Record] | None:
        """Records `(name, type, data)`; None where the name does not exist."""
        await self._state.ready()
        full = name.rstrip(".").lower()
        if full.endswith(".in-addr.arpa"):
            return self._reverse(name, full)
        if not full.endswith(f".{ZONE}"):
            return None
        labels = full.removesuffix(f".{ZONE}").split(".")
        shown = f"{full}."
        if labels[-1] == "pod" and len(labels) == 3:
            return self._pod(shown, labels, kind)
        if labels[-1] != "svc" or len(labels) < 3:
            return None
        service = self._state.service(labels[-2], labels[-3])
        if service is None:
            return None
        return await self._service(shown, service, labels[:-3], kind)

    async def _service(
        self, name: str, service: Object, rest: list[str], kind: str
    ) -> list[Record] | None:
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            if rest:
                return None
            target = spec.get("externalName") or ""
            found: list[Record] = [(name, "CNAME", f"{target}.")]
            if kind in ("A", "AAAA") and target.endswith(f".{ZONE}"):
                found += await self.query(target, kind) or []
            return found
        headless = spec.get("clusterIP") in (None, "", "None")
        if len(rest) == 2 and rest[0].startswith("_") and rest[1].startswith("_"):
            return self._srv(name, service, rest, headless)
        if len(rest) > 1:
            return None
        if not headless and not rest:
            addresses: list[str] = spec.get("clusterIPs") or [spec["clusterIP"]]
            return _of_kind(name, addresses, kind)
        endpoints = self._endpoints(service)
        if rest:
            endpoints = [(host, ip) for host, ip in endpoints if host == rest[0]]
        if not endpoints:
            return None
        return _of_kind(name, [ip for _, ip in endpoints], kind)

    def _endpoints(self, service: Object) -> list[tuple[str, str]]:
        """The endpoints of a headless service: host name (or the address with dashes), address."""
        publishes = bool(service["spec"].get("publishNotReadyAddresses"))
        found: dict[tuple[str, str], None] = {}
        for slice_ in self._state.slices(service):
            for entry in slice_.get("endpoints") or ():
                ready = (entry.get("conditions") or NOTHING).get("ready")
                if ready is False and not publishes:
                    continue
                for address in entry.get("addresses") or ():
                    host = entry.get("hostname") or re.sub(r"[.:]", "-", address)
                    found[host, address] = None
        return sorted(found)

    def _srv(
        self, name: str, service: Object, rest: list[str], headless: bool
    ) -> list[Record] | None:
        meta = service["metadata"]
        base = f"{meta['name']}.{meta['namespace']}.svc.{ZONE}."
        port_name, protocol = rest[0][1:], rest[1][1:].upper()
        if not headless:
            for port in service["spec"].get("ports") or ():
                same = (port.get("name") or "") == port_name
                if same and (port.get("protocol") or "TCP") == protocol:
                    return [(name, "SRV", f"0 100 {port['port']} {base}")]
            return None
        targets: list[str] = []
        for slice_ in self._state.slices(service):
            for port in slice_.get("ports") or ():
                if port.get("name") == port_name and (port.get("protocol") or "TCP") == protocol:
                    targets += [
                        f"{port['port']} {host}.{base}" for host, _ in self._endpoints(service)
                    ]
        targets = list(dict.fromkeys(targets))
        # All together weigh a hundred.
        weight = max(1, 100 // max(1, len(targets)))
        return [(name, "SRV", f"0 {weight} {target}") for target in targets] or None

    @staticmethod
    def _pod(name: str, labels: list[str], kind: str) -> list[Record] | None:
        try:
            address = str(ipaddress.ip_address(labels[0].replace("-", ".")))
        except ValueError:
            return None
        return _of_kind(name, [address], kind)

    def _reverse(self, name: str, full: str) -> list[Record] | None:
        address = ".".join(reversed(full.removesuffix(".in-addr.arpa").split(".")))
        found: list[Record] = []
        for service in self._state.services_at(address):
            meta = service["metadata"]
            found.append((name, "PTR", f"{meta['name']}.{meta['namespace']}.svc.{ZONE}."))
        if found:
            return found
        for service, entry in self._state.endpoints_at(address):
            # Only an endpoint with a host name of its own is found by its address.
            if host := entry.get("hostname"):
                found.append((name, "PTR", f"{host}.{service}.svc.{ZONE}."))
        return found or None


def _of_kind(name: str, addresses: list[str], kind: str) -> list[Record]:
    version = {"A": 4, "AAAA": 6}.get(kind)
    return [
        (name, kind, address)
        for address in dict.fromkeys(addresses)
        if ipaddress.ip_address(address).version == version
    ]
