"""Webhooks that run in pods: a review goes to an endpoint of the service, as kube-proxy leads it.

The law: inside the simulation nothing is encrypted, but a server that shows a certificate must show
a good one.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytest_kubesim.apimachinery import x509
from pytest_kubesim.apiserver import aggregated_proxy, webhook_client
from pytest_kubesim.apiserver.aggregated_proxy import Outgoing, Target
from pytest_kubesim.apiserver.http1 import AnswerReader, Malformed
from pytest_kubesim.apiserver.webhook_client import DIALLED, HTTPS, CallError
from pytest_kubesim.sim.pipes import Broken, ConnectError, Reset

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.apiserver.webhook_client import CallWebhook


def endpoint(server: APIServer, client_config: Object) -> tuple[str, int] | None:
    """The pod's address and port to which a webhook's service leads; None: to no pod."""
    reference: Object | None = client_config.get("service")
    if reference is None or server.node_proxy is None:
        return None
    port: int = reference.get("port") or HTTPS
    target = Target(reference["namespace"], reference["name"], port, "", "", insecure=True)
    found = aggregated_proxy.endpoint_of(server, target)
    return found[:2] if found is not None and found[2] else None


def before(server: APIServer, otherwise: CallWebhook) -> CallWebhook:
    """Who carries reviews to pods, and those that go elsewhere by `otherwise`."""

    async def carry(client_config: Object, path: str, review: Object, timeout_ns: int) -> Object:
        where = endpoint(server, client_config)
        if where is None:
            return await otherwise(client_config, path, review, timeout_ns)
        return await call(server, where, client_config, path, review)

    return carry


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""


async def call(
    server: APIServer, where: tuple[str, int], client_config: Object, path: str, review: Object
) -> Object:
    """The review that the webhook in a pod sends back.

    Raises: `CallError`, `BadAnswer`, `APIStatus`.
    """
    assert server.node_proxy is not None
    host = urlsplit(webhook_client.address_of(client_config).url).netloc
    try:
        stream = await server.node_proxy.connect(*where)
    except ConnectError as error:
        text = str(error)
        said = "i/o timeout" if text == "Connection timed out" else (
            f"connect: {text[:1].lower()}{text[1:]}"
        )
        raise CallError(f"dial tcp {client_config[DIALLED]}: {said}") from None
    if stream.shown:
        try:
            bundle = _decoded(client_config.get("caBundle") or "")
            name = host.rpartition(":")[0] or host
            x509.check(stream.shown, bundle, name, server.process.now_ns())
        except x509.CertificateError as error:
            stream.close()
            raise CallError(str(error)) from None
    headers = webhook_client.request_headers(host)
    del headers["Host"]
    request = Outgoing(
        "POST", path, (*headers.items(), ("Connection", "close")), webhook_client.encoded(review)
    )
    reader = AnswerReader(stream)
    try:
        stream.write(request.encoded(host))
        await stream.drain()
        await reader.read_head("POST")
        body = bytearray()
        while piece := await reader.read_piece():
            body += piece
    except Reset:
        raise CallError("read: connection reset by peer") from None
    except Broken:
        raise CallError("write: broken pipe") from None
    except Malformed as error:
        raise CallError(str(error)) from None
    finally:
        stream.close()
    return webhook_client.review_in(reader.status, reader.header("content-type"), bytes(body))
