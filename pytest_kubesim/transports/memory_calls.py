"""Requests of the API server to servers inside the simulation: webhooks, aggregated API servers.

Who listens is looked for by port: what a URL names `localhost` or otherwise, and what a service
leads to, is the operator (or the test) whose loop listens there.  The way to an operator is the
network's: where it is cut, the call hangs.  Nothing is encrypted, so no certificate is looked at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httptools

from pytest_kubesim.apimachinery.meta import GroupResource, Object
from pytest_kubesim.apiserver import webhook_client, webhook_pods
from pytest_kubesim.apiserver.webhook_client import CallError
from pytest_kubesim.sim.pipes import Stream, connection
from pytest_kubesim.transports import listeners

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_kubesim.apiserver.aggregated_proxy import Target
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.sim.tasks import Future
    from pytest_kubesim.transports.listeners import Listener

CallPort = Callable[[int, Object, str, Object], Awaitable[Object]]
"""Carries a review to a port of this machine: port, client configuration, path, review."""

_SERVICES = GroupResource("", "services")


async def call_webhook(
    cluster: Cluster,
    client_config: Object,
    path: str,
    review: Object,
    outside: CallPort | None = None,
) -> Object:
    """The review that a webhook inside sends back.

    Parameters: `outside`, asked with a port where nobody listens inside; None: that is refused.
    Raises: `CallError`, `BadAnswer`, `APIStatus`.
    """
    address = webhook_client.address_of(client_config)
    port = _port_of(cluster, client_config)
    listener = listeners.anybody(port)
    if listener is None or listener.cluster is not cluster:
        where = webhook_pods.endpoint(cluster.server, client_config)
        if where is not None:
            return await webhook_pods.call(cluster.server, where, client_config, path, review)
        if outside is not None and _is_local(client_config):
            return await outside(port, client_config, path, review)
        by_ip = address.is_ip or "service" in client_config
        raise CallError(webhook_client.refused(client_config["dialled"], is_ip=by_ip))
    headers = webhook_client.request_headers(urlsplit(address.url).netloc)
    body = webhook_client.encoded(review)
    answer = await exchange(cluster, listener, "POST", path, headers, body)
    return webhook_client.review_in(answer.code, answer.header("content-type"), bytes(answer.body))


def _is_local(client_config: Object) -> bool:
    """Whether it is this machine that would be called: services lead here, URLs may."""
    if "service" in client_config:
        return True
    return urlsplit(client_config.get("url") or "").hostname in listeners.LOOPBACK


def _port_of(cluster: Cluster, client_config: Object) -> int:
    """The port on which the operator listens: a service's target."""
    service: Object | None = client_config.get("service")
    if service is None:
        return urlsplit(client_config.get("url") or "").port or webhook_client.HTTPS
    port: int = service.get("port") or webhook_client.HTTPS
    found = cluster.server.reader.get(_SERVICES, service["namespace"], service["name"])
    ports: list[Object] = [] if found is None else found["spec"].get("ports") or []
    for each in ports:
        target: Any = each.get("targetPort")
        if each.get("port") == port and isinstance(target, int):
            return target
    return port


async def dial(cluster: Cluster, target: Target) -> Stream | None:
    """A connection to who listens for a service; None: nobody does.  Raises `CallError`."""
    reference: Object = {"name": target.service, "namespace": target.namespace, "port": target.port}
    listener = listeners.anybody(_port_of(cluster, {"service": reference}))
    if listener is None or listener.cluster is not cluster:
        return None
    await cluster.network.transit(cluster.server.process.host, listener.host)
    if not listener.open:
        raise CallError("EOF")
    ours, theirs = connection(cluster.kernel)

    def output(data: bytes) -> None:
        if not theirs.outgoing.closed:
            theirs.write(data)

    wire = listener.dial(output, lambda _kind: theirs.close_write())

    def pump() -> None:
        data = theirs.incoming.read_nowait()
        while data:
            wire.feed(data)
            data = theirs.incoming.read_nowait()
        if theirs.incoming.ended:
            theirs.incoming.on_change = None
            listener.hang_up(wire)

    theirs.incoming.on_change = pump
    return ours


async def exchange(
    cluster: Cluster,
    listener: Listener,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
) -> Exchange:
    """The answer of a listener to a request.  Raises `CallError`."""
    host = cluster.server.process.host
    await cluster.network.transit(host, listener.host)
    if not listener.open:
        raise CallError("EOF")
    under_way = Exchange(cluster.kernel.future())
    connection = listener.dial(under_way.received, under_way.ended)
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    try:
        connection.feed("\r\n".join(lines).encode() + body)
        await under_way.done
    finally:
        listener.hang_up(connection)
    await cluster.network.transit(listener.host, host)
    return under_way


class Exchange:
    """An answer as it comes in."""

    def __init__(self, done: Future[Any]) -> None:
        self.done = done
        self.code = 0
        self.headers: list[tuple[str, str]] = []
        self.body = bytearray()
        self._parser = httptools.HttpResponseParser(self)

    def header(self, name: str) -> str:
        """The value of a header; empty if it is not there."""
        return next((value for key, value in self.headers if key == name), "")

    def received(self, data: bytes) -> None:
        """Bytes from the server."""
        if self.done.done():
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            line = data.split(b"\r\n", 1)[0].decode("latin-1")
            self.done.set_exception(CallError(f'malformed HTTP response "{line}"'))

    def ended(self, kind: str) -> None:
        """The server has ended the connection."""
        if not self.done.done():
            self.done.set_exception(CallError("EOF" if kind == "eof" else f"read: {kind}"))

    # -- httptools ----------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self.body += data

    def on_message_complete(self) -> None:
        """All of it is there."""
        self.code = self._parser.get_status_code()
        if not self.done.done():
            self.done.set_result(None)
