"""How the API server reaches webhooks: by URL, or by a service of the cluster.

The law: what goes wrong on the way is a `CallError` whose text is that of Go's HTTP client.  Who
carries the call is `server.call_webhook`; without anybody, every webhook is one that refuses
connections.

Follows `apiserver/pkg/util/webhook/client.go` and `apiserver/pkg/util/proxy/proxy.go`
(`ResolveCluster`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

import attrs

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, Object
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.server import APIServer

CallWebhook: TypeAlias = "Callable[[Object, str, Object, int], Awaitable[Object]]"
"""From `clientConfig`, the URL's path with its query, a review and a timeout in ns to the review
that came back.  Raises `CallError`, and `APIStatus` for an answer that is not 200."""

Answer: TypeAlias = "Callable[[Object], Object | Awaitable[Object]]"
"""From a review to the review with its response: a webhook in this process."""

HTTPS = 443

_SERVICES = GroupResource("", "services")


class CallError(Exception):
    """A webhook could not be called; the text is the reason."""


@attrs.frozen
class Address:
    """Where a webhook is: its URL, and to what address it is dialled (`host:port`)."""

    url: str
    dialled: str
    is_ip: bool


def address_of(client_config: Object) -> Address:
    """Where a client configuration points, services by their name in the cluster."""
    service: Object | None = client_config.get("service")
    if service is not None:
        port = service.get("port") or HTTPS
        host = f"{service['name']}.{service['namespace']}.svc:{port}"
        return Address(f"https://{host}{service.get('path') or ''}", host, is_ip=False)
    url: str = client_config.get("url") or ""
    parts = urlsplit(url)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    return Address(url, f"{shown}:{parts.port or HTTPS}", _is_ip(host))


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def post(
    server: APIServer, client_config: Object, review: Object, timeout_seconds: int
) -> Object:
    """The review that a webhook sends back.  Raises `CallError` and `APIStatus`."""
    query = f"?timeout={timeout_seconds}s"
    address = address_of(client_config)
    url = f"{address.url}{query}"
    try:
        dialled = resolved(server, client_config, address)
        call = server.call_webhook
        if call is None:
            raise CallError(refused(dialled, is_ip=address.is_ip or "service" in client_config))
        path = urlsplit(address.url).path
        return await _in_time(
            server,
            call(client_config, f"{path}{query}", review, timeout_seconds * NS),
            timeout_seconds,
        )
    except CallError as error:
        raise CallError(f"Post {quote(url)}: {error}") from None


def refused(dialled: str, *, is_ip: bool) -> str:
    """What Go says where nobody listens, or where there is no such host."""
    if is_ip:
        return f"dial tcp {dialled}: connect: connection refused"
    return f"dial tcp: lookup {dialled.rpartition(':')[0]}: no such host"


def resolved(server: APIServer, client_config: Object, address: Address) -> str:
    """The address to dial: that of the service, if it is one.  Raises `CallError`."""
    reference: Object | None = client_config.get("service")
    if reference is None:
        return address.dialled
    name, port = reference["name"], reference.get("port") or HTTPS
    service = server.reader.get(_SERVICES, reference["namespace"], name)
    if service is None:
        raise CallError(f"service {quote(name)} not found")
    spec: Object = service["spec"]
    if spec.get("type") == "ExternalName":
        return f"{spec.get('externalName')}:{port}"
    if spec.get("type") == "ClusterIP" and spec.get("clusterIP") == "None":
        raise CallError('cannot route to service with ClusterIP "None"')
    ports: list[Object] = spec.get("ports") or []
    if all(each.get("port") != port for each in ports):
        raise CallError(f"no service port {port} found for service {quote(name)}")
    return f"{spec.get('clusterIP')}:{port}"


async def _in_time(server: APIServer, call: Awaitable[Object], timeout_seconds: int) -> Object:
    """The answer, if it comes in time.  Raises `CallError`."""
    kernel = server.kernel

    async def run() -> Object:
        return await call

    task = kernel.spawn(run(), name="webhook", process=server.process, eager=True, daemon=True)
    await kernel.wait_any(task, timeout_ns=timeout_seconds * NS)
    if not task.done():
        task.cancel()
        raise CallError("context deadline exceeded")
    return task.result()


class Webhooks:
    """Webhooks in this process, by where they are: a carrier of calls for `server.call_webhook`."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}

    def add(self, url: str, answer: Answer) -> None:
        """Answer calls to a URL, and to all below it.

        A service is `https://name.namespace.svc:443/path`.
        """
        self._answers[url] = answer

    def remove(self, url: str) -> None:
        """Answer there no more."""
        self._answers.pop(url, None)

    async def __call__(
        self, client_config: Object, path: str, review: Object, timeout_ns: int
    ) -> Object:
        """Hand a review to the webhook that is there.  Raises `CallError` if none is."""
        del path, timeout_ns
        address = address_of(client_config)
        known = [url for url in self._answers if _is_below(address.url, url)]
        if not known:
            by_ip = address.is_ip or "service" in client_config
            raise CallError(refused(address.dialled, is_ip=by_ip))
        found = self._answers[max(known, key=len)](review)
        return found if isinstance(found, dict) else await found


def _is_below(url: str, prefix: str) -> bool:
    return url == prefix or url.startswith(prefix.rstrip("/") + "/")


def status_of(error: APIStatus | CallError) -> str:
    """The text of what went wrong with a call."""
    return error.message if isinstance(error, APIStatus) else str(error)
