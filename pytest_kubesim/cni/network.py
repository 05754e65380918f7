"""The pods' network: addresses, the ports on which programs listen, connections between them.

The law: an address is a network namespace; all containers of a pod share its address, pods in the
host's network share the node's.  Who connects is known by its address alone.  A destination is
translated first (services, `translators`), then asked whether it may be reached (policies,
`filters`), then dialled: refused where nobody listens, without an answer where there is no such
address, or while the network between the two hosts is cut.  Nothing here knows the API server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import attrs

from pytest_kubesim.sim.pipes import Refused, Stream, TimedOut, Unreachable, connection

if TYPE_CHECKING:
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.network import Network

TCP, UDP, SCTP = "TCP", "UDP", "SCTP"
CONTROL_PLANE = "172.18.0.2"
"""The address from which the API server connects."""

CLUSTER_DNS, HOST_DNS = "10.96.0.10", "172.18.0.1"
"""The DNS servers of pods: the cluster's, and the hosts', which knows nothing of the cluster."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
CONNECT_TIMEOUT_NS = 127_000_000_000
"""How long Linux tries to connect to what does not answer (6 retries)."""

DNS_TIMEOUT_NS = 10_000_000_000
"""How long a DNS server is waited for: five seconds, twice."""

WAKE_NS = 10_000_000
"""How long a connection waits for programs that sleep until somebody connects."""

FIRST_EPHEMERAL, LAST_EPHEMERAL = 32_768, 60_999


@attrs.frozen(slots=True)
class Flow:
    """Who wants to reach what, on its way through the network."""

    source: str
    address: str
    port: int
    protocol: str = TCP
    masquerade: bool = False
    """Whether the destination will see the node's address instead of the source's."""


Acceptor = Callable[[Stream], object]
"""Takes the server's end of a new connection; must not suspend."""

Datagram = Callable[[bytes, tuple[str, int]], "bytes | None"]
"""Answers a datagram from `(address, port)`; None: no answer."""


class Translator(Protocol):
    """Gives a flow another destination (a service's endpoint); raises `ConnectError`."""

    async def translate(self, flow: Flow) -> Flow:
        """The flow as it goes on; the same one where it is not the translator's."""
        ...


Filter = Callable[[Flow], Awaitable[bool]]
"""Whether a flow may pass; one that may not is dropped without a word."""


@attrs.define(slots=True, eq=False)
class Interface:
    """One address and what listens on it."""

    address: str
    node: str
    owner: str = ""
    """The pod, as `namespace/name`; empty for a node's own."""
    sleepers: list[Callable[[], object]] = attrs.field(factory=list[Callable[[], object]])
    """Called once, before the ports are looked at: what sleeps until somebody connects."""
    listeners: dict[tuple[str, int], Acceptor | Datagram] = attrs.field(
        factory=dict[tuple[str, int], "Acceptor | Datagram"]
    )
    certificates: dict[tuple[str, int], bytes] = attrs.field(
        factory=dict[tuple[str, int], bytes]
    )
    """What those who listen show of themselves: PEM."""
    users: int = 1


class PodNetwork:
    """The network of a cluster's pods and nodes.

    `translators` and `filters` are asked in order; `resolve`, set by the cluster, makes a name an
    address as a pod with that address would have it resolved.
    """

    def __init__(self, kernel: Kernel, between: Network | None = None) -> None:
        self.kernel = kernel
        self.between = between
        """The network of the hosts; None: nothing comes between them."""
        self.translators: list[Translator] = []
        self.filters: list[Filter] = []
        self._interfaces: dict[str, Interface] = {}
        self.resolver: Any = None
        """The cluster's DNS server (`kube_proxy.dns`)."""
        self.measure: Callable[[], Sequence[Any]] | None = None
        """What every kubelet that runs measures now, for who scrapes them (`kubelet.usage`)."""
        self.end_tls: Callable[[Stream], Stream] | None = None
        """Makes of a connection to who speaks TLS in name one for who does so in earnest."""
        self.extensions: Callable[[], Any] | None = None
        """Gives who makes API servers, for images that bring one (`cluster.extension_servers`)."""
        self._forwards: dict[tuple[str, int, str], tuple[str, int]] = {}
        self._next_port = FIRST_EPHEMERAL

    # -- addresses ----------------------------------------------------------------------------

    def attach(self, address: str, node: str, owner: str = "") -> Interface:
        """An address comes up on a node, `owner` is the pod's `namespace/name`.

        One that is up already (the host's) is used once more.
        """
        found = self._interfaces.get(address)
        if found is not None:
            found.users += 1
            return found
        made = self._interfaces[address] = Interface(address, node, owner)
        return made

    def detach(self, address: str) -> None:
        """One user of an address less; it is gone with the last."""
        found = self._interfaces.get(address)
        if found is not None:
            found.users -= 1
            if found.users <= 0:
                del self._interfaces[address]

    def interface(self, address: str) -> Interface | None:
        """An address that is up."""
        return self._interfaces.get(address)

    def forward(
        self, source: tuple[str, int, str], target: tuple[str, int] | None
    ) -> None:
        """A port of a node leads to a port of a pod (`hostPort`), or no more."""
        if target is None:
            self._forwards.pop(source, None)
        else:
            self._forwards[source] = target

    # -- servers ------------------------------------------------------------------------------

    def listen(
        self,
        address: str,
        port: int,
        accept: Acceptor | Datagram,
        protocol: str = TCP,
        certificate: bytes = b"",
    ) -> bool:
        """Listen on a port of an address; False: somebody does already.

        `certificate` is what a server that speaks TLS shows (PEM); nothing is encrypted.
        """
        interface = self._interfaces.get(address)
        if interface is None:
            interface = self.attach(address, "")
        if (protocol, port) in interface.listeners:
            return False
        interface.listeners[protocol, port] = accept
        if certificate:
            interface.certificates[protocol, port] = certificate
        return True

    def close(self, address: str, port: int, protocol: str = TCP) -> None:
        """Listen there no more."""
        interface = self._interfaces.get(address)
        if interface is not None:
            interface.listeners.pop((protocol, port), None)
            interface.certificates.pop((protocol, port), None)

    def listener(self, address: str, port: int, protocol: str = TCP) -> object:
        """What listens there, or None."""
        interface = self._interfaces.get(address)
        return None if interface is None else interface.listeners.get((protocol, port))

    # -- clients ------------------------------------------------------------------------------

    async def connect(
        self,
        source: str,
        address: str,
        port: int,
        *,
        timeout_ns: int | None = None,
        certificate: bytes = b"",
        host: str = "",
    ) -> Stream:
        """Open a TCP connection.

        Parameters: `source`, the address that connects (a pod's, a node's, the control plane's);
        `address`, an IP address (127.0.0.1 is the source itself); `timeout_ns`, the caller's
        patience; `certificate`, what a client that speaks TLS shows (PEM); `host`, that of the
        source where its address does not say it.

        Returns: the client's end.  Raises: `Refused`, `TimedOut`, `Unreachable`.
        """
        flow, interface = await self._reach(source, address, port, TCP, timeout_ns, host)
        accept = interface.listeners.get((TCP, flow.port))
        if accept is None:
            raise Refused
        client, server = connection(
            self.kernel, (flow.source, self._ephemeral()), (flow.address, flow.port)
        )
        client.shown = interface.certificates.get((TCP, flow.port), b"")
        server.shown = certificate
        cast("Acceptor", accept)(server)
        return client

    async def exchange(
        self, source: str, address: str, port: int, data: bytes, *, timeout_ns: int
    ) -> bytes:
        """Send a datagram and wait for the answer.

        Raises: `Refused` where the host says that nobody listens, `TimedOut` without an answer.
        """
        flow, interface = await self._reach(source, address, port, UDP, timeout_ns)
        handler = interface.listeners.get((UDP, flow.port))
        if handler is None:
            raise Refused
        answer = cast("Datagram", handler)(data, (flow.source, self._ephemeral()))
        if not isinstance(answer, bytes):
            await self.kernel.sleep(timeout_ns)
            raise TimedOut
        return answer

    async def look_up(
        self, source: str, server: str, name: str, kind: str
    ) -> list[tuple[str, str, str]] | None:
        """Ask a DNS server: records `(name, type, data)`, or None where there is no such name.

        Raises: `TimedOut` where no server answers.
        """
        if server == HOST_DNS:
            return None
        resolver = self.resolver if server == CLUSTER_DNS else None
        for allows in self.filters:
            if resolver is not None and not await allows(Flow(source, server, 53, UDP)):
                resolver = None
        if resolver is None:
            await self.kernel.sleep(DNS_TIMEOUT_NS)
            raise TimedOut
        return await resolver.query(name, kind)

    async def _reach(
        self,
        source: str,
        address: str,
        port: int,
        protocol: str,
        timeout_ns: int | None,
        host: str = "",
    ) -> tuple[Flow, Interface]:
        patience_ns = CONNECT_TIMEOUT_NS if timeout_ns is None else timeout_ns
        if address in LOOPBACK or address == source:
            flow = Flow(source, source, port, protocol)
            key = source if address == source else f"127.0.0.1@{source}"
            led = self._forwards.get((key, port, protocol))
            if led is not None:
                flow = attrs.evolve(flow, address=led[0], port=led[1])
            elif self.listener(source, port, protocol) is None:
                # Node ports are ports of a node's loopback device too.
                for translator in self.translators:
                    flow = await translator.translate(flow)
        else:
            flow = Flow(source, address, port, protocol)
            for translator in self.translators:
                flow = await translator.translate(flow)
            led = self._forwards.get((flow.address, flow.port, protocol))
            if led is not None:
                flow = attrs.evolve(flow, address=led[0], port=led[1])
            for allows in self.filters:
                if not await allows(flow):
                    await self.kernel.sleep(patience_ns)
                    raise TimedOut
        interface = self._interfaces.get(flow.address)
        if interface is None:
            await self.kernel.sleep(min(patience_ns, 3_000_000_000))
            raise Unreachable if patience_ns > 3_000_000_000 else TimedOut
        near = self._interfaces.get(source)
        host = host or ("" if near is None else near.node)
        if host and interface.node and host != interface.node:
            await self._cross(host, interface.node, patience_ns)
        sleepers, interface.sleepers = interface.sleepers, []
        for wake in sleepers:
            wake()
        if sleepers:
            await self.kernel.sleep(WAKE_NS)
        return flow, interface

    async def _cross(self, near: str, far: str, patience_ns: int) -> None:
        """Go from host to host and back, as a connection begins.  Raises: `TimedOut`."""
        way = self.between
        if way is None or (way.instant(near, far) and way.instant(far, near)):
            return
        until_ns = self.kernel.now_ns + patience_ns
        for source, target in ((near, far), (far, near)):
            message = self.kernel.spawn(
                way.transit(source, target), name=f"dial {target}", eager=True, daemon=True
            )
            left_ns = max(0, until_ns - self.kernel.now_ns)
            if not await self.kernel.wait_any(message, timeout_ns=left_ns):
                message.cancel()
                raise TimedOut

    def _ephemeral(self) -> int:
        self._next_port += 1
        if self._next_port > LAST_EPHEMERAL:
            self._next_port = FIRST_EPHEMERAL
        return self._next_port
