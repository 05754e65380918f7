"""Declared systems as something to dial: `kubesim.external(...)` behind a host name.

A connection is HTTP/1.1 in memory, as those to API servers are; only who answers differs.  See
`cluster.externals`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apiserver import effects
from pytest_kubesim.cluster.externals import CONNECT_POINT
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.transports.actors import WORLD
from pytest_kubesim.transports.http import Connection, Front, Headers, Identity

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.cluster.externals import External
    from pytest_kubesim.wire import Request

MAX_BODY_BYTES = 1 << 30
LOOKUP_POINT = "dns.lookup"
"""Consulted with `host` and `client`; `Refuse` is that there is no such name, `Reset` that no
server answers in time, `Delay` that one is slow."""
RESOLVER_TIMEOUT_NS = 20 * NS
"""How long the C library tries: two name servers, five seconds each, twice."""


def _identify(headers: Headers) -> Identity:
    del headers
    actor = WORLD.actor
    if actor is None:
        return Identity(None, None, "test", "test")
    return Identity(None, None, actor.name, actor.process.host)


class _Handler:
    """One port of a system, as whoever connects finds it."""

    def __init__(self, external: External, port: int) -> None:
        self._external = external
        self._port = port

    async def handle(self, request: Request) -> Any:
        """The answer.  Raises: `ConnectionLost`."""
        return await self._external.answer(request, self._port)


class Place:
    """A port of an address of ours: dialed as a cluster is (`dialing.Place`)."""

    remote = True

    def __init__(self, cluster: Cluster, address: str, port: int) -> None:
        self.cluster = cluster
        self.server_host = cluster.externals.host_at(address)
        """What the network calls it."""
        self._address = address
        self._port = port

    def dial(
        self, output: Callable[[bytes], object], on_close: Callable[[str], object]
    ) -> Connection:
        """A new connection.  Raises: `ConnectionRefusedError` where nobody listens."""
        from pytest_kubesim.transports.dialing import refused

        cluster = self.cluster
        external = cluster.externals.at(self._address, self._port)
        if external is None:
            raise refused(f"nothing listens on {self.server_host}:{self._port}")
        if cluster.faultpoints.armed(CONNECT_POINT):
            effect = cluster.faultpoints.consult(
                CONNECT_POINT, host=external.host, port=self._port, client=_identify(()).client
            )
            if isinstance(effect, effects.Refuse):
                raise refused(f"a fault of {external.host}")
        front = Front(
            cluster.kernel, _Handler(external, self._port), _identify, cluster.network,
            self.server_host, max_body_bytes=MAX_BODY_BYTES, cached=True,
            on_failure=cluster.fail,
        )
        return Connection(front, output, on_close)

    def out_of_reach(self, host: str) -> None:
        """There is no other."""

    def hang_up(self, connection: Connection) -> None:
        """The client has closed it."""
        connection.client_closed()

    def breathe(self) -> None:
        """No limit."""


def lookup(cluster: Cluster, host: str) -> int:
    """What a fault does to a lookup: how long it takes, in ns.  Raises: `socket.gaierror`."""
    points = cluster.faultpoints
    if not points.armed(LOOKUP_POINT):
        return 0
    effect = points.consult(LOOKUP_POINT, host=host, client=_identify(()).client)
    match effect:
        case effects.Delay():
            return effect.delay_ns
        case effects.Refuse():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        case effects.Reset():
            return -RESOLVER_TIMEOUT_NS
        case _:
            return 0


def no_answer() -> socket.gaierror:
    """The end of a lookup that nobody has answered."""
    return socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
