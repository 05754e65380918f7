"""What etcd holds when a control plane with its controllers has come to rest, before any test.

Service accounts `default`, ConfigMaps `kube-root-ca.crt`, cluster roles added up: on a real cluster
they have been there for a long time when somebody first looks.  They are written by the controllers
themselves, in a run of their own of no length (`writes`); what they wrote is kept in
`data/v1_37/settled.json.z`, and every cluster begins with it.

The law: like what the API server bootstraps, it depends on the version and the start time alone.
After a change of what these controllers write, run `python -m pytest_kubesim.cluster.settled`; a
test compares.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_kubesim.apimachinery.timestamps import format_time
from pytest_kubesim.apiserver import bootstrap
from pytest_kubesim.apiserver.server import APIServer
from pytest_kubesim.client_go.rest import RESTClient
from pytest_kubesim.cluster.binaries import CONTROLLER_MANAGER_AGENT
from pytest_kubesim.cluster.control_plane import HOST
from pytest_kubesim.controller_manager.manager import ControllerManager
from pytest_kubesim.data import load
from pytest_kubesim.etcd.client import Client
from pytest_kubesim.etcd.member import Member
from pytest_kubesim.etcd.messages import PutRequest, WatchResponse, prefix_end
from pytest_kubesim.registry.generic import Catalog
from pytest_kubesim.sim.kernel import Kernel, to_datetime
from pytest_kubesim.sim.network import Network
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.etcd.member import MemberSnapshot
    from pytest_kubesim.sim.process import Process

CONTROLLERS = (
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
    "service-cidr-controller",
    "kube-apiserver-serving-clustertrustbundle-publisher-controller",
)
"""Those that have something to do in a cluster without nodes and workloads."""

FILE = "settled.json.z"

_snapshots: dict[tuple[str, int], MemberSnapshot] = {}


def snapshot(version: str, start_ns: int) -> MemberSnapshot:
    """The store of such a control plane; made once for each version and start time.

    Parameters: `version` of Kubernetes; `start_ns`, nanoseconds since the epoch.
    """
    key = (version, start_ns)
    found = _snapshots.get(key)
    if found is None:
        etcd = _beginning(version, start_ns)
        now = format_time(start_ns)
        text = load.read_bytes(version, FILE).decode()
        text = text.replace("<now>", now).replace("<today>", now[:10])
        kept: list[tuple[str, Any]] = msgspec.json.decode(text.encode())
        for name, value in kept:
            etcd.apply(PutRequest(name, value))
        found = _snapshots[key] = etcd.snapshot()
    return found


def _beginning(version: str, start_ns: int) -> Member:
    etcd = Member(clock=lambda: start_ns)
    etcd.restore(bootstrap.snapshot(Catalog(version), start_ns))
    return etcd


def writes(version: str, start_ns: int) -> list[tuple[str, Any]]:
    """What the controllers write before they come to rest: keys and values, in order."""
    kernel = Kernel(start_time=to_datetime(start_ns))
    etcd = _beginning(version, start_ns)
    written: list[tuple[str, Any]] = []

    def heard(response: WatchResponse) -> None:
        written.extend((event.kv.key, event.kv.value) for event in response.events)

    etcd.store.watch("/", prefix_end("/"), 0, heard)
    server = APIServer(kernel, Client(etcd), catalog=Catalog(version))
    server.start()
    network = Network(kernel)

    def client(process: Process) -> RESTClient:
        return RESTClient(
            process,
            server,
            network,
            user=UserInfo("system:kube-controller-manager", ("system:authenticated",)),
            user_agent=CONTROLLER_MANAGER_AGENT,
            server_host=HOST,
        )

    manager = ControllerManager(kernel, client, controllers=CONTROLLERS, host=HOST)
    manager.start()
    kernel.run(until_ns=start_ns)
    manager.process.stop()
    server.process.stop()
    return written


def recorded(version: str, start_ns: int) -> bytes:
    """The same as it is kept, with the time left open."""
    now = format_time(start_ns)
    text = msgspec.json.encode(writes(version, start_ns)).decode()
    return zlib.compress(text.replace(now, "<now>").replace(now[:10], "<today>").encode(), 9)


if __name__ == "__main__":
    path = Path(load.__file__).parent / f"v{load.LATEST.replace('.', '_')}" / FILE
    path.write_bytes(recorded(load.LATEST, 1_767_225_600_000_000_000))
