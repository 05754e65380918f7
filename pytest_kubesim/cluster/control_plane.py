"""The control plane's processes: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.

They are wired here and nowhere else.  The binaries reach the API server through `client_go`, each
as its own user with its own user agent, from the host `control-plane`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.client_go.informer import SharedInformerFactory
from pytest_kubesim.client_go.rest import RESTClient
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.config import ClusterConfig
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.network import Network
    from pytest_kubesim.sim.process import Process

HOST = "control-plane"
VERSION = "v1.37.2"
WATCH_LATENCY_NS = (500_000, 3_000_000)
"""How long a watch event is under way, unless the cluster is instant: 0.5 to 3 ms."""


class Access:
    """Ways to the API server for the simulator's own components."""

    def __init__(self, kernel: Kernel, network: Network, handler: Handler, instant: bool) -> None:
        self._kernel = kernel
        self._network = network
        self._handler = handler
        self._watch_latency_ns = (0, 0) if instant else WATCH_LATENCY_NS

    def client(
        self, process: Process, user: str, *groups: str, agent: str, host: str = HOST
    ) -> RESTClient:
        """A client for `process` as `user` in `groups` (besides `system:authenticated`)."""
        return RESTClient(
            process,
            self._handler,
            self._network,
            user=UserInfo(user, (*groups, "system:authenticated")),
            user_agent=agent,
            server_host=host,
            watch_latency_ns=self._watch_latency_ns,
        )
