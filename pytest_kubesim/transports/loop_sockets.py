"""What sockets are to an event loop on virtual time: connections to clusters, and nothing else."""

from __future__ import annotations

import asyncio
import socket
import ssl as tls
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pytest_kubesim.sim.clock import NS
from pytest_kubesim.transports import addresses, declared, dialing, listeners
from pytest_kubesim.transports.actors import WORLD
from pytest_kubesim.transports.streams import MemoryTransport

if TYPE_CHECKING:
    from pytest_kubesim.transports.actors import Actor

_claimed: WeakKeyDictionary[socket.socket, tuple[Any, tuple[str, int]]] = WeakKeyDictionary()
"""Sockets that were connected (`sock_connect`) to an address of ours."""


class MemorySockets(asyncio.BaseEventLoop):
    """The part of an event loop that connects."""

    actor: Actor | None
    transports: dict[MemoryTransport, None]

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:  # type: ignore[override]
        """Ours from the table; numbers as they are; no other name exists here."""
        ours = addresses.resolve(host)
        if ours is not None:
            if WORLD.clusters:
                await _look_up(host)
            return dialing.address_infos(ours, port)
        options["flags"] = options.get("flags", 0) | socket.AI_NUMERICHOST
        try:
            return socket.getaddrinfo(host, port, **options)
        except socket.gaierror:
            if host in ("localhost", b"localhost"):
                return dialing.address_infos("127.0.0.1", port)
            raise nowhere(host, port) from None

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket to a cluster, or to a listener of the simulation."""
        place, where = self._find(*address[:2])
        await self._way(place)
        _claimed[sock] = (place, where)

    def _find(self, host: Any, port: Any) -> tuple[Any, tuple[str, int]]:
        listener = listeners.find(host, port)
        if listener is not None:
            return listener, ("127.0.0.1", int(port))
        ours = addresses.resolve(host)
        if ours is None:
            raise nowhere(host, port)
        return dialing.place_at(ours, int(port)), (ours, int(port))

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        *,
        ssl: Any = None,
        sock: Any = None,
        server_hostname: str | None = None,
        **options: Any,
    ) -> Any:
        """A connection to a cluster or a listener of the simulation; no other host is there."""
        del options
        if sock is not None:
            claimed = _claimed.pop(sock, None)
            if claimed is None:
                raise nowhere(*sock.getpeername()[:2])
            place, address = claimed
        else:
            if addresses.resolve(host) not in (None, host):
                await _look_up(host)
            place, address = self._find(host, port)
            await self._way(place)
        protocol = protocol_factory()
        hostname = server_hostname or (host if isinstance(host, str) else "") or address[0]
        loop: Any = self
        transport = MemoryTransport(
            loop, protocol, place, address, secure=_context(ssl), hostname=hostname, sock=sock
        )
        await asyncio.sleep(0)  # connection_made comes first, as asyncio has it
        return transport, protocol

    async def _way(self, place: Any) -> None:
        """Wait while the network between caller and API server is cut."""
        if not place.remote:
            return
        host = "test" if self.actor is None else self.actor.process.host
        network, server_host = place.cluster.network, place.server_host
        if network.instant(host, server_host):
            return
        arrived = self.create_future()
        way = place.cluster.kernel.spawn(
            network.transit(host, server_host), name="connect", daemon=True
        )

        def done(_way: object) -> None:
            if not arrived.done():
                arrived.set_result(None)

        way.add_done_callback(done)
        try:
            await arrived
        finally:
            if not way.done():
                way.cancel()
                place.out_of_reach(server_host)

    async def start_tls(  # type: ignore[override]
        self, transport: Any, protocol: Any, sslcontext: Any, **options: Any
    ) -> Any:
        """TLS on a connection that is there: nothing to do."""
        transport.set_protocol(protocol)
        return transport

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        *,
        sock: Any = None,
        **options: Any,
    ) -> listeners.Server:
        """Listen inside the simulation: see `listeners`."""
        del host, options
        if sock is not None:
            port = sock.getsockname()[1]
        return listeners.listen(self, protocol_factory, int(port or 0))


async def _look_up(host: Any) -> None:
    """Let a lookup take as long as a fault makes it take.  Raises: `socket.gaierror`."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    took_ns = declared.lookup(WORLD.cluster(), name)
    if took_ns:
        await asyncio.sleep(abs(took_ns) / NS)
    if took_ns < 0:
        raise declared.no_answer()


def nowhere(host: Any, port: Any) -> OSError:
    """The refusal of what is not in the simulation."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    return dialing.refused(
        f"there is no {host}:{port} in the simulation; event loops on virtual time reach clusters, "
        "what listens inside, and what the test declares: "
        f"kubesim.external({str(host)!r}, function)"
    )


def _context(ssl: Any) -> Any:
    if ssl is True:
        return tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    return ssl or None
