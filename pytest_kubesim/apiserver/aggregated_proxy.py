"""Requests for what another API server serves: handed on to it, with who asks in the headers.

The law: that server sees the client's request, without credentials and with `X-Remote-User`,
`X-Remote-Group` and `X-Remote-Extra-*`, which nobody else can set; the client sees its answer, but
for redirects, which are not followed.  Authorization has been done here already.

Who carries the request is `server.call_api_server`; without anybody, no server answers.

Follows `kube-aggregator/pkg/apiserver/handler_proxy.go`,
`client-go/transport/round_trippers.go` and `apimachinery/pkg/util/proxy`.
"""

from __future__ import annotations

import base64
import binascii
import string
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote as quote_path
from urllib.parse import unquote, urlencode

import attrs

from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apiserver import proxy_transport, responses, webhook_client
from pytest_kubesim.apiserver.http1 import AnswerReader, Malformed
from pytest_kubesim.apiserver.proxy_transport import Links, RawUpgrade
from pytest_kubesim.apiserver.webhook_client import CallError
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.pipes import Broken, Reset, Stream
from pytest_kubesim.wire import Response, UserInfo, to_json

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.aggregation import Remote
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.sim.kernel import Kernel

DISCOVERY_TIMEOUT_NS = 5 * NS
REQUEST_TIMEOUT_NS = 60 * NS
REDIRECTED = b"the backend attempted to redirect this request, which is not permitted"
UNREADABLE_BUNDLE = "unable to load root certificates: unable to parse bytes as PEM block"
TIMED_OUT = "context deadline exceeded"
_SERVICES = GroupResource("", "services")
_ENDPOINT_SLICES = GroupResource("discovery.k8s.io", "endpointslices")
_IMPERSONATION = ("impersonate-user", "impersonate-group", "impersonate-uid")
_TOKEN = frozenset(string.ascii_letters + string.digits + "!#$&'*+-.^_`|~")


@attrs.frozen(slots=True)
class Target:
    """Where an API server is: the service that an APIService names.

    `dialled` is `host:port` of the service; `server_name`, for whom its certificate must be;
    `ca_bundle`, who may have signed that (PEM in base64); `insecure`: anybody may.
    """

    namespace: str
    service: str
    port: int
    dialled: str
    ca_bundle: str
    insecure: bool

    @property
    def server_name(self) -> str:
        """Its name in the cluster."""
        return f"{self.service}.{self.namespace}.svc"


@attrs.frozen(slots=True)
class Outgoing:
    """A request as it goes to an API server: `target` is path and query, encoded."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None = None
    upgrade: str = ""

    def encoded(self, host: str) -> bytes:
        """The bytes of it, head and body."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {host}"]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        elif self.method in {"POST", "PUT", "PATCH"}:
            lines.append("Content-Length: 0")
        lines += [f"{name}: {value}" for name, value in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (self.body or b"")


CallAPIServer: TypeAlias = "Callable[[APIServer, Target, Outgoing], Awaitable[Any]]"
"""Carries a request: the answer is a `Response`, a stream (`Body`) or an upgraded connection.
Raises `CallError`."""


# -- where to --------------------------------------------------------------------------------------


def target_of(server: APIServer, remote: Remote) -> Target:
    """Where the server of an APIService is.  Raises `CallError`."""
    spec: Object = remote.obj["spec"]
    reference: Object = spec["service"]
    config = {"service": reference}
    dialled = webhook_client.resolved(server, config, webhook_client.address_of(config))
    return Target(
        reference["namespace"],
        reference["name"],
        reference.get("port") or webhook_client.HTTPS,
        dialled,
        spec.get("caBundle") or "",
        bool(spec.get("insecureSkipTLSVerify")),
    )


def endpoint_of(server: APIServer, target: Target) -> tuple[str, int, bool] | None:
    """Where kube-proxy leads a connection to the service: address, port, and whether to a pod.

    None: nowhere, the connection is refused.
    """
    found = server.reader.get(_SERVICES, target.namespace, target.service)
    spec: Object = {} if found is None else found["spec"]
    ports: list[Object] = spec.get("ports") or []
    name = next((p.get("name") or "" for p in ports if p["port"] == target.port), "")
    choices: list[tuple[str, int, bool]] = []
    for each in server.reader.list(_ENDPOINT_SLICES, target.namespace):
        labels: Object = each["metadata"].get("labels") or {}
        if labels.get("kubernetes.io/service-name") != target.service:
            continue
        number = next(
            (p["port"] for p in each.get("ports") or () if (p.get("name") or "") == name), None
        )
        endpoints: list[Object] = each.get("endpoints") or []
        for endpoint in endpoints if number else ():
            if get_path(endpoint, "conditions", "ready") is not False:
                is_pod = get_path(endpoint, "targetRef", "kind") == "Pod"
                choices.append((endpoint["addresses"][0], number or 0, is_pod))
    if not choices:
        return None
    kernel = server.kernel
    draw = kernel.rng.bits("service", target.namespace, target.service, kernel.now_ns)
    return choices[draw % len(choices)]


# -- the request -----------------------------------------------------------------------------------


def user_headers(user: UserInfo) -> list[tuple[str, str]]:
    """Who asks (`SetAuthProxyHeaders`)."""
    found = [("X-Remote-Group", group) for group in user.groups]
    if user.uid:
        found.append(("X-Remote-Uid", user.uid))
    found.append(("X-Remote-User", user.name))
    for key, values in user.extra.items():
        escaped = "".join(c if c in _TOKEN else f"%{ord(c):02X}" for c in key)
        found += [(_canonical(f"X-Remote-Extra-{escaped}"), value) for value in values]
    return found


def _canonical(name: str) -> str:
    """A header's name as Go writes it."""
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


def _outgoing(scope: RequestScope, target: Target) -> Outgoing:
    request = scope.request
    upgrade = proxy_transport.upgrade_of(request)
    path = quote_path(unquote(request.path), safe="/$&+,:;=@~")
    query = urlencode(sorted(request.query, key=lambda pair: pair[0]))
    headers = [
        (_canonical(name), value)
        for name, value in request.headers
        if not _is_dropped(name, request.headers)
    ]
    headers += user_headers(scope.user)
    headers.append(("X-Forwarded-For", proxy_transport.FORWARDED_FOR))
    if upgrade:
        headers += [("Connection", "Upgrade"), ("Upgrade", upgrade)]
    else:
        headers += forwarded(target, path)
    body = request.body
    if body is None and request.obj is not None:
        body = to_json(request.obj)
        if not request.header("content-type"):
            headers.append(("Content-Type", "application/json"))
    headers.sort(key=lambda pair: (pair[0] != "User-Agent", pair[0]))
    return Outgoing(
        request.method, f"{path}?{query}" if query else path, tuple(headers), body, upgrade
    )


def forwarded(target: Target, path: str) -> list[tuple[str, str]]:
    """What a server is told of how it was reached."""
    return [
        ("X-Forwarded-Host", target.dialled),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Uri", path),
    ]


def _is_dropped(name: str, headers: tuple[tuple[str, str], ...]) -> bool:
    if name in proxy_transport.HOP_BY_HOP or name in _IMPERSONATION:
        return True
    if name in {"host", "authorization", "content-length"} or name.startswith(
        ("x-remote-extra-", "impersonate-extra-", "x-forwarded-")
    ):
        return True
    if name in {"x-remote-user", "x-remote-group", "x-remote-uid"}:
        return True
    named = (v for n, v in headers if n == "connection")
    return any(token.strip().lower() == name for value in named for token in value.split(","))


# -- answering -------------------------------------------------------------------------------------


async def serve(scope: RequestScope, remote: Remote) -> Any:
    """Answer a request for what another server serves."""
    server = scope.server
    if not remote.available:
        return _error("service unavailable")
    if problem := bundle_problem(remote):
        return _error(problem, 500)
    try:
        target = target_of(server, remote)
    except CallError:
        return _error("service unavailable")
    outgoing = _outgoing(scope, target)
    parts = [part for part in scope.info.path.split("/") if part]
    timeout_ns: int | None = REQUEST_TIMEOUT_NS
    if not scope.info.is_resource and len(parts) == 3:
        timeout_ns = DISCOVERY_TIMEOUT_NS
    elif scope.info.verb in {"watch", "proxy"} or outgoing.upgrade:
        timeout_ns = None
    try:
        answer = await call(server, target, outgoing, timeout_ns)
    except CallError as error:
        said = "error dialing backend" if outgoing.upgrade else "error trying to reach service"
        return _error(f"{said}: {error}")
    if outgoing.upgrade and isinstance(answer, Response) and answer.status < 400:
        return _error(f"invalid upgrade response: status code {answer.status}")
    return answer


def bundle_problem(remote: Remote) -> str:
    """Why no connection can be made at all: a `caBundle` that holds no certificate."""
    bundle: str = remote.obj["spec"].get("caBundle") or ""
    try:
        is_pem = not bundle or b"-----BEGIN CERTIFICATE-----" in base64.b64decode(bundle)
    except binascii.Error:
        is_pem = False
    return "" if is_pem else UNREADABLE_BUNDLE


def _error(text: str, code: int = 503) -> Response:
    """An error as Go's `http.Error` writes it."""
    headers = (("X-Content-Type-Options", "nosniff"),)
    return Response(code, None, f"{text}\n".encode(), responses.TEXT, headers)


async def call(
    server: APIServer, target: Target, outgoing: Outgoing, timeout_ns: int | None
) -> Any:
    """The answer of another server.  Raises `CallError`."""
    carry = server.call_api_server
    if carry is None:
        raise CallError(f"dial tcp {target.dialled}: connect: connection refused")
    if timeout_ns is None:
        return await carry(server, target, outgoing)

    async def run() -> Any:
        return await carry(server, target, outgoing)

    kernel = server.kernel
    task = kernel.spawn(run(), name="aggregator", process=server.process, eager=True, daemon=True)
    await kernel.wait_any(task, timeout_ns=timeout_ns)
    if not task.done():
        task.cancel()
        raise CallError(TIMED_OUT)
    return task.result()


async def exchange(kernel: Kernel, stream: Stream, target: Target, outgoing: Outgoing) -> Any:
    """Ask over a connection that is there.  Raises `CallError`."""
    reader = AnswerReader(stream)
    try:
        stream.write(outgoing.encoded(target.dialled))
        await stream.drain()
        await reader.read_head(outgoing.method)
    except Reset:
        raise CallError("read: connection reset by peer") from None
    except Broken:
        raise CallError("write: broken pipe") from None
    except Malformed as error:
        stream.close()
        raise CallError(str(error)) from None
    if reader.status == 101 and outgoing.upgrade:
        return RawUpgrade(kernel, stream, reader.raw)
    if 300 <= reader.status < 400 and reader.header("location"):
        stream.close()
        return redirected()
    links = Links(target.dialled, target.dialled, "/", base=f"https://{target.dialled}")
    return await proxy_transport.answer(reader, links)


def redirected() -> Response:
    """What a client is told where a server sends it elsewhere."""
    return Response(502, None, REDIRECTED, responses.TEXT)
