"""The addresses of services as objects: each cluster IP is an IPAddress that belongs to a service.

The law: the object is there before the service is stored, and goes after it has gone; who finds it
there already does not get the address.

Follows `pkg/registry/core/service/ipallocator/ipallocator.go` and `.../service/storage/storage.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apiserver import loopback
from pytest_kubesim.apiserver.node_ports import Collided

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.server import APIServer

SERVICES = GroupResource("", "services")
FAMILY_LABEL = "ipaddress.kubernetes.io/ip-family"
MANAGED_BY_LABEL = "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"

_PATH = "/apis/networking.k8s.io/v1/ipaddresses"


def _addresses(service: Object | None) -> list[str]:
    found: list[str] = [] if service is None else get_path(service, "spec", "clusterIPs") or []
    return [address for address in found if address and address != "None"]


async def claim(server: APIServer, service: Object, before: Object | None = None) -> None:
    """Have the addresses that a service has and had not before.  Raises `Collided`."""
    had = _addresses(before)
    for address in _addresses(service):
        if address in had:
            continue
        try:
            await loopback.send(server, "POST", _PATH, _object(service, address))
        except status.APIStatus as error:
            if status.is_already_exists(error):
                raise Collided(ips=(address,)) from None
            raise


async def release(server: APIServer, service: Object, after: Object | None = None) -> None:
    """Give up the addresses that a service had and has no more."""
    kept = _addresses(after)
    for address in _addresses(service):
        if address not in kept:
            try:
                await loopback.send(server, "DELETE", f"{_PATH}/{address}")
            except status.APIStatus as error:
                if not status.is_not_found(error):
                    raise


def _object(service: Object, address: str) -> Object:
    metadata: Object = service["metadata"]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": address,
            "labels": {
                FAMILY_LABEL: "IPv6" if ":" in address else "IPv4",
                MANAGED_BY_LABEL: MANAGER,
            },
        },
        "spec": {
            "parentRef": {
                "resource": "services",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
            }
        },
    }
