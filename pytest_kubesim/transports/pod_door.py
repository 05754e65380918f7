"""Programs in pods reach the API servers: what listens at their addresses in the pods' network.

The law: a connection from a pod is one like any other, with its requests answered one after the
other; who asks is known by the token alone.  Nothing is encrypted, a certificate is shown where
there is one.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apiserver import bootstrap
from pytest_kubesim.apiserver.endpoint_reconciler import PORT
from pytest_kubesim.sim.pipes import Broken, Reset
from pytest_kubesim.transports.http import Connection, Front

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.sim.pipes import Stream


def open_doors(
    cluster: Cluster, front_of: Callable[[Any], Front], certificate: bytes = b""
) -> None:
    """Let pods connect to the API servers of a cluster.

    Parameters: `front_of` makes what answers for a server, when the first pod connects;
    `certificate` that they show, in PEM.
    """
    network = cluster.nodes.pod_network
    for number, server in enumerate(cluster.control_plane.servers, 1):
        door = _Door(server, front_of)
        address = bootstrap.advertise_address(number)
        network.listen(address, PORT, door.accept, certificate=certificate)
    network.extensions = partial(_extensions, cluster, front_of)
    network.end_tls = partial(_end_tls, cluster)


def _end_tls(cluster: Cluster, stream: Stream) -> Stream:
    from pytest_kubesim.transports import pod_tls

    return pod_tls.ended(cluster.kernel, stream)


def _extensions(cluster: Cluster, front_of: Callable[[Any], Front]) -> Any:
    """Who makes API servers for images, made when the first of them starts."""
    from pytest_kubesim.cluster.extension_servers import ExtensionServers

    network = cluster.nodes.pod_network
    accepted = itertools.count(1)

    def accept(handler: Any, stream: Stream) -> None:
        speak(front_of(handler), stream, f"{stream.local[0]}/{stream.remote[0]}/{next(accepted)}")

    made = ExtensionServers(cluster, accept)
    network.extensions = lambda: made
    return made


class _Door:
    def __init__(self, server: Any, front_of: Callable[[Any], Front]) -> None:
        self._server = server
        self._front_of = front_of
        self._front: Front | None = None
        self._accepted = 0

    def accept(self, stream: Stream) -> None:
        """A pod has connected."""
        if not self._server.accepting:
            stream.reset()
            return
        front = self._front
        if front is None:
            front = self._front = self._front_of(self._server)
        self._accepted += 1

        speak(front, stream, f"{stream.remote[0]}/{self._accepted}")


def speak(front: Front, stream: Stream, name: str) -> None:
    """Speak HTTP on the server's end of a connection in the pods' network."""

    def output(data: bytes) -> None:
        try:
            stream.write(data)
        except (Broken, Reset):
            connection.client_closed()

    def ended(kind: str) -> None:
        if kind == "eof":
            stream.close()
        else:
            stream.reset()

    connection = Connection(front, output, ended, name)

    def heard() -> None:
        try:
            data = stream.incoming.read_nowait()
            while data:
                connection.feed(data)
                data = stream.incoming.read_nowait()
            gone = stream.incoming.ended
        except Reset:
            gone = True
        if gone:
            stream.incoming.on_change = None
            connection.client_closed()

    stream.incoming.on_change = heard
    heard()
