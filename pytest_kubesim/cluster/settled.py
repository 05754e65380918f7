"""What etcd holds when a control plane with its controllers has come to rest, before any test.

Service accounts `default`, ConfigMaps `kube-root-ca.crt`, cluster roles added up: on a real cluster
they have been there for a long time when somebody first looks.  They are written by the controllers
themselves, in a run of their own of no length, once for each version and start time; every cluster
begins with its result.

The law: like what the API server bootstraps, it does not depend on the seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apiserver import bootstrap
from pytest_kubesim.apiserver.server import APIServer
from pytest_kubesim.client_go.rest import RESTClient
from pytest_kubesim.controller_manager.manager import ControllerManager
from pytest_kubesim.etcd.client import Client
from pytest_kubesim.etcd.member import Member
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
)
"""Those that have something to do in a cluster without nodes and workloads."""

_snapshots: dict[tuple[str, int], MemberSnapshot] = {}


def snapshot(version: str, start_ns: int, *, agent: str, host: str) -> MemberSnapshot:
    """The store of such a control plane; made once for each version and start time.

    Parameters: `version` of Kubernetes; `start_ns`, nanoseconds since the epoch; `agent`, the user
    agent of the controllers, by which they own fields; `host` where they run.
    """
    key = (version, start_ns)
    found = _snapshots.get(key)
    if found is None:
        found = _snapshots[key] = _settle(version, start_ns, agent, host)
    return found


def _settle(version: str, start_ns: int, agent: str, host: str) -> MemberSnapshot:
    kernel = Kernel(start_time=to_datetime(start_ns))
    catalog = Catalog(version)
    etcd = Member(clock=lambda: start_ns)
    server = APIServer(kernel, Client(etcd), catalog=catalog)
    etcd.restore(bootstrap.snapshot(catalog, start_ns))
    server.start()
    network = Network(kernel)

    def client(process: Process) -> RESTClient:
        return RESTClient(
            process,
            server,
            network,
            user=UserInfo("system:kube-controller-manager", ("system:authenticated",)),
            user_agent=agent,
            server_host=host,
        )

    manager = ControllerManager(kernel, client, controllers=CONTROLLERS, host=host)
    manager.start()
    kernel.run(until_ns=start_ns)
    manager.process.stop()
    server.process.stop()
    return etcd.snapshot()
