"""How the API server reaches webhooks: by URL, or by a service of the cluster.

The law: what goes wrong on the way is a `CallError` whose text is that of Go's HTTP client.  Who
carries the call is `server.call_webhook`; without anybody, every webhook is one that refuses
connections.

Follows `apiserver/pkg/util/webhook/client.go` and `apiserver/pkg/util/proxy/proxy.go`
(`ResolveCluster`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias, cast
from urllib.parse import urlsplit

import attrs
import msgspec

from pytest_kubesim.apimachinery import addresses, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, Object
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apiserver import effects, json_syntax
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.server import APIServer

CallWebhook: TypeAlias = "Callable[[Object, str, Object, int], Awaitable[Object]]"
"""From `clientConfig`, the URL's path with its query, a review and a timeout in ns to the review
that came back.  Raises `CallError`, and `APIStatus` for an answer that is not 200."""

Answer: TypeAlias = "Callable[[Object], Object | Awaitable[Object]]"
"""From a review to the review with its response: a webhook in this process."""

HTTPS = 443
HTTP_OK, HTTP_PARTIAL = 200, 206
DIALLED = "dialled"
"""Where `CallWebhook` finds, in the client configuration, the address that was resolved."""
FAULT_POINT = "webhook.call"
"""Consulted before a webhook is called, with `webhook` (its name), `review` (the kind of review),
`url`, `service` (`namespace/name`), and what the review is of: `operation`, `group`, `resource`,
`subresource`, `namespace`, `name`.  It understands the effects `Refuse`, `Reset`, `Delay`, `Hold`
(it answers when that is done, if ever), `Drop` (it is called, and its answer is lost) and `Respond`
(a Status, or the review to give)."""

_LOST: Object = {"the answer": "is lost"}

_SERVICES = GroupResource("", "services")


class CallError(Exception):
    """A webhook could not be called; the text is the reason."""


class BadAnswer(Exception):
    """A webhook was called, and its answer is none; the text is the reason."""


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
        return Address(f"https://{host}{_cleaned(service.get('path') or '')}", host, is_ip=False)
    url: str = client_config.get("url") or ""
    parts = urlsplit(url)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{parts.netloc}{_cleaned(parts.path)}" if parts.path else url
    return Address(url, f"{shown}:{parts.port or HTTPS}", addresses.is_ip(host))


def _cleaned(path: str) -> str:
    """A path as client-go sends it: by `path.Join`, no slash twice and none at the end."""
    return posixpath.normpath("/" + path.lstrip("/")) if path else ""


async def post(
    server: APIServer, client_config: Object, review: Object, timeout_seconds: int, name: str = ""
) -> Object:
    """The review that a webhook sends back; `name` is the webhook's, for faults.

    Raises `CallError` and `APIStatus`.
    """
    query = f"?timeout={timeout_seconds}s"
    address = address_of(client_config)
    url = f"{address.url}{query}"
    path = urlsplit(address.url).path
    by_ip = address.is_ip or "service" in client_config

    async def carried() -> Object:
        answer = await _strike(server, client_config, address, review, name)
        if answer is not None and answer is not _LOST:
            return answer
        dialled = resolved(server, client_config, address)
        call = server.call_webhook
        if call is None:
            raise CallError(refused(dialled, is_ip=by_ip))
        known = {**client_config, DIALLED: dialled}
        said = await call(known, f"{path}{query}", review, timeout_seconds * NS)
        if answer is _LOST:
            raise CallError("EOF")
        return said

    try:
        return await _in_time(server, carried(), timeout_seconds)
    except CallError as error:
        raise CallError(f"Post {quote(url)}: {error}") from None
    except BadAnswer as error:
        raise CallError(str(error)) from None


async def _strike(
    server: APIServer, client_config: Object, address: Address, review: Object, name: str
) -> Object | None:
    """What a fault answers in place of the webhook.  Raises `CallError` and `APIStatus`."""
    points = server.faultpoints
    if points is None or not points.armed(FAULT_POINT):
        return None
    service: Object = client_config.get("service") or {}
    request: Object = review.get("request") or {}
    resource: Object = request.get("resource") or {}
    effect = points.consult(
        FAULT_POINT,
        server=server.process.name,
        webhook=name,
        review=review.get("kind") or "",
        url=address.url,
        service=f"{service['namespace']}/{service['name']}" if service else "",
        operation=request.get("operation") or "",
        group=resource.get("group") or "",
        resource=resource.get("resource") or "",
        subresource=request.get("subResource") or "",
        namespace=request.get("namespace") or "",
        name=request.get("name") or "",
    )
    while isinstance(effect, effects.Delay):
        await server.kernel.sleep(effect.delay_ns)
        effect = effect.then
    if isinstance(effect, effects.Hold):
        await effect.until
        return None
    if isinstance(effect, effects.Refuse):
        raise CallError(f"dial tcp {address.dialled}: connect: connection refused")
    if isinstance(effect, effects.Reset):
        raise CallError("EOF")
    if isinstance(effect, effects.Drop):
        return _LOST
    if isinstance(effect, effects.Respond):
        if effect.status.get("kind") == "Status":
            raise status.from_object(effect.status)
        return effect.status
    return None


def encoded(review: Object) -> bytes:
    """The body of a request to a webhook."""
    return msgspec.json.encode(review) + b"\n"


def request_headers(host: str) -> dict[str, str]:
    """The headers of a request to a webhook."""
    return {
        "Host": host,
        "User-Agent": "kube-apiserver-admission",
        "Accept": "application/json, */*",
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
    }


def review_in(code: int, content_type: str, body: bytes) -> Object:
    """The review in the answer of an HTTP server, as client-go reads it.

    Raises `APIStatus` for a code that is not of success, `BadAnswer` for a body that is none.
    """
    if not HTTP_OK <= code <= HTTP_PARTIAL:
        try:
            found = json_syntax.loads(body)
        except ValueError:
            found = None
        given = cast("Object", found) if isinstance(found, dict) else {}
        if given.get("kind") == "Status":
            raise status.from_object(given)
        is_text = content_type.startswith("text/")
        said = body.decode("utf-8", "replace").strip() if is_text else "unknown"
        nothing = GroupResource("", "")
        raise status.new_generic_server_response(
            code, "post", nothing, "", said, is_unexpected_response=True
        )
    if not body:
        raise BadAnswer(
            f"0-length response with status code: {code} and content type: {content_type}"
        )
    try:
        found = json_syntax.loads(body)
    except ValueError as error:
        raise BadAnswer(
            "couldn't get version/kind; json parse error: "
            f"{_unmarshal_error(error, body)}"
        ) from None
    if not isinstance(found, dict):
        raise BadAnswer(
            "couldn't get version/kind; json parse error: json: cannot unmarshal "
            f"{_json_type(found)} into Go value of type struct {{ APIVersion string "
            '"json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
        )
    return cast("Object", found)


def _unmarshal_error(error: ValueError, body: bytes) -> str:
    del body
    return str(error)


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "number"


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


def text_of(error: APIStatus | CallError) -> str:
    """The text of what went wrong with a call."""
    return error.message if isinstance(error, APIStatus) else str(error)
