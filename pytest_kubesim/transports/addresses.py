"""Where clusters are: names and addresses that exist only inside this process.

    kubesim-7.test      198.18.0.7        one cluster, for good
    kubesim.test        198.19.255.254    the cluster of whoever asks: an operator's own, else the
    kubernetes.default.svc, 10.96.0.1     one attached last
    api.example.com     198.19.0.1        a system that this cluster's test has declared

The networks 198.18.0.0/15 are reserved for tests (RFC 2544), `.test` too (RFC 6761).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_kubesim.transports.actors import WORLD

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster

PORT = 6443
HOST = "kubesim.test"
ADDRESS = "198.19.255.254"
SERVICE_HOST = "10.96.0.1"
SERVICE_PORT = 443
SERVICE_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
NO_PROXY = f".test,{HOST},{SERVICE_HOST},{','.join(SERVICE_NAMES)}"

_OWN = re.compile(r"kubesim-\d+\.test|\b198\.18\.\d+\.\d+\b")
_CURRENT = {HOST: ADDRESS, ADDRESS: ADDRESS, SERVICE_HOST: SERVICE_HOST}
_CURRENT.update(dict.fromkeys(SERVICE_NAMES, SERVICE_HOST))


def host_of(serial: int) -> str:
    """The name of the cluster with that serial number in this process."""
    return f"kubesim-{serial}.test"


def anywhere(text: str) -> str:
    """`text` without the number of a cluster: it differs between equal runs in one process."""
    return _OWN.sub(HOST, text) if "kubesim-" in text or "198.18." in text else text


def resolve(host: object) -> str | None:
    """The address of a name or address of ours; None for all others."""
    if isinstance(host, bytes | bytearray):
        host = bytes(host).decode("ascii", "replace")
    if not isinstance(host, str):
        return None
    host = host.rstrip(".")
    found = _CURRENT.get(host)
    if found is not None:
        return found
    if host.startswith("kubesim-") and host.endswith(".test"):
        number = host[8:-5]
        if number.isdigit():
            serial = int(number)
            return f"198.18.{serial >> 8 & 255}.{serial & 255}"
    if host.startswith("198.18."):
        return host
    return declared(host)


def declared(host: str) -> str | None:
    """The address of a system that the test has declared; None for all other names."""
    if not WORLD.clusters or not WORLD.inside():
        return None
    return WORLD.cluster().externals.address_of(host)


def cluster_at(address: str, serials: dict[int, Cluster]) -> Cluster | None:
    """The cluster at an address of ours; None when it is there no more."""
    if address in (ADDRESS, SERVICE_HOST):
        return WORLD.cluster() if WORLD.clusters else None
    _, _, high, low = address.split(".")
    for serial, cluster in serials.items():
        if (serial >> 8 & 255, serial & 255) == (int(high), int(low)):
            return cluster
    return None
