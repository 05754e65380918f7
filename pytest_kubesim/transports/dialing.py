"""Dialing a cluster: from an address to a `http.Connection`, with the caller's identity on it.

The same for synchronous sockets and for event loops: what differs is only who is told of the bytes.
"""

from __future__ import annotations

import errno
import os
import socket
from _thread import get_ident
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.client_go.servers import Servers
from pytest_kubesim.cluster.control_plane import WATCH_LATENCY_NS
from pytest_kubesim.transports import addresses, declared
from pytest_kubesim.transports.actors import WORLD
from pytest_kubesim.transports.http import Connection, Front, Headers, Identity
from pytest_kubesim.transports.pod_door import open_doors
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.cluster.operators import Operator
    from pytest_kubesim.sim.process import Process

TOKEN = "kubesim-token"
"""The bearer token in kubeconfigs and token files: it means "whoever I am"."""
BURST = 500
"""How many synchronous requests an operator makes in an instant; then a thousand a second: a
loop without a pause would stop the world otherwise."""
REFILL_NS = 1_000_000
ADMIN = UserInfo("kubernetes-admin", ("system:masters", "system:authenticated"))

SERIALS: dict[int, Any] = {}
"""The attached clusters by serial number."""

_OURS = f"bearer {TOKEN}"


def identify(headers: Headers) -> Identity:
    """Who asks: the operator or the test that is running, unless the request says otherwise.

    Credentials that are not our token are left to the API server's own authentication.
    """
    actor = WORLD.actor
    name = "test" if actor is None else actor.name
    host = "test" if actor is None else actor.process.host
    authorization = next((value for key, value in headers if key == "authorization"), "")
    if authorization and authorization[:7].lower() + authorization[7:] != _OURS:
        return Identity(None, None, name, host)
    return Identity(user_of_actor(), None, name, host)


def user_of_actor() -> UserInfo:
    """The user that our token means for whoever runs."""
    actor = WORLD.actor
    return ADMIN if actor is None else user_of_operator(actor.operator)


def user_of_operator(operator: Operator) -> UserInfo:
    """The user that an operator is."""
    account = operator.service_account
    if account is None:
        return ADMIN
    namespace, _, name = account.partition("/")
    return UserInfo(
        f"system:serviceaccount:{namespace}:{name}",
        (
            "system:serviceaccounts",
            f"system:serviceaccounts:{namespace}",
            "system:authenticated",
        ),
    )


class Place:
    """A cluster as something to dial."""

    remote = True
    """Whether the network is between it and whoever dials."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.connections: dict[Connection, None] = {}
        self._fronts = {server.host: self._front(server) for server in self._servers}
        self._chosen: dict[str, Servers] = {}
        self._dialed: dict[str, int] = {}
        self._full_ns: dict[str, int] = {}
        if len(self._servers) > 1:
            for server in self._servers:
                server.process.on_exit.append(self._ended)
        open_doors(
            cluster, lambda server: Front(cluster.kernel, server, on_failure=self._failed)
        )

    @property
    def _servers(self) -> tuple[APIServer, ...]:
        return self.cluster.control_plane.servers

    def _front(self, server: APIServer) -> Front:
        cluster = self.cluster
        return Front(
            cluster.kernel,
            server,
            identify,
            cluster.network,
            server.host,
            (0, 0) if cluster.config.instant else WATCH_LATENCY_NS,
            on_failure=self._failed,
        )

    def dial(
        self, output: Callable[[bytes], object], on_close: Callable[[str], object]
    ) -> Connection:
        """A new connection.  Raises: `ConnectionRefusedError` while no API server runs."""
        name, servers = self._mine()
        server = servers.pick()
        if not server.accepting:
            raise refused("the API server is down")
        number = self._dialed[name] = self._dialed.get(name, 0) + 1

        def closed(kind: str) -> None:
            self.connections.pop(connection, None)
            if kind != "eof":
                servers.failed(server)
            on_close(kind)

        connection = Connection(self._fronts[server.host], output, closed, str(number))
        self.connections[connection] = None
        return connection

    def _mine(self) -> tuple[str, Servers]:
        """The name of whoever runs, and the servers as it sees them."""
        actor = WORLD.actor
        name = "test" if actor is None else actor.name
        found = self._chosen.get(name)
        if found is None:
            found = self._chosen[name] = Servers(self._servers, len(self._chosen))
        return name, found

    @property
    def server_host(self) -> str:
        """Where the server runs that the next connection of whoever runs will go to."""
        return self._mine()[1].pick().host

    def out_of_reach(self, host: str) -> None:
        """Whoever runs has waited in vain for a connection to the server there."""
        servers = self._mine()[1]
        if servers.pick().host == host:
            servers.failed(servers.pick())

    def _ended(self, process: Process) -> None:
        """An API server is gone: so are the connections to it."""
        front = self._fronts[process.host]
        for connection in list(self.connections):
            if connection.front is front:
                connection.end("eof" if connection.idle else "reset")

    def breathe(self) -> None:
        """Called before a synchronous request: lets time pass for who makes too many at once."""
        actor = WORLD.actor
        if actor is None:
            return
        now_ns = self.cluster.kernel.now_ns
        # A bucket, by the instant at which it is full again.
        full_ns = max(now_ns, self._full_ns.get(actor.name, 0)) + REFILL_NS
        self._full_ns[actor.name] = full_ns
        if full_ns - now_ns > BURST * REFILL_NS:
            WORLD.block(None, REFILL_NS)

    def _failed(self, failure: BaseException) -> None:
        if WORLD.actor is None and get_ident() == WORLD.main_ident:
            # Not as it is: http.client makes something of a TypeError.
            raise RuntimeError("the simulator failed to serve this request") from failure
        # An operator sent it: the run ends with it, not the operator's code.
        self.cluster.kernel.call_soon(_raise, failure)

    def hang_up(self, connection: Connection) -> None:
        """The client has closed it."""
        self.connections.pop(connection, None)
        connection.client_closed()

    def close(self) -> None:
        """End all connections."""
        for connection in list(self.connections):
            connection.end("eof")
        self.connections.clear()


def _raise(failure: BaseException) -> None:
    raise failure


PLACES: dict[int, Place] = {}
"""The places of the attached clusters, by `id` of the cluster: looked up, never iterated."""


def place_at(address: str, port: int) -> Any:
    """What is at an address of ours.  Raises: `ConnectionRefusedError` when nothing is."""
    if addresses.declared(address) is not None:
        return declared.Place(WORLD.cluster(), address, port)
    cluster = addresses.cluster_at(address, SERIALS)
    place = PLACES.get(id(cluster))
    if place is None:
        raise refused("the cluster that was there is gone: its test is over")
    return place


def refused(why: str) -> ConnectionRefusedError:
    """Connection refused."""
    return ConnectionRefusedError(
        errno.ECONNREFUSED, f"{os.strerror(errno.ECONNREFUSED)} (kubesim: {why})"
    )


def error_of(kind: str) -> OSError | None:
    """What a client sees when the server ends a connection so; None: an orderly end."""
    if kind == "eof":
        return None
    code = {"refused": errno.ECONNREFUSED, "timeout": errno.ETIMEDOUT}.get(kind, errno.ECONNRESET)
    return OSError(code, os.strerror(code))


def address_infos(address: str, port: Any) -> list[Any]:
    """What `getaddrinfo` answers for an address of ours."""
    where = (address, int(port or 0))
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)]


class Descriptors:
    """Two file descriptors for whoever polls: one on which nothing ever comes, one always ready."""

    def __init__(self) -> None:
        self._pairs = [socket.socketpair(), socket.socketpair()]
        self.quiet = self._pairs[0][0].fileno()
        self.ready = self._pairs[1][0].fileno()
        self._pairs[1][1].send(b"\0")


_descriptors: list[Descriptors] = []


def descriptors() -> Descriptors:
    """The pair of this process, made when first asked for."""
    if not _descriptors:
        _descriptors.append(Descriptors())
    return _descriptors[0]
