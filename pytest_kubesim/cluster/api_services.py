"""API servers of a test: Python applications behind an APIService, and whoever listens inside.

    @kubesim.api_service("v1.metrics.example.com")
    def metrics(request):
        if request.path == "/apis/metrics.example.com/v1":
            return {"kind": "APIResourceList", "apiVersion": "v1", ...}
        return {"kind": "Reading", "metadata": {"name": request.name}, "seenBy": request.user.name}

    kubesim.api_service("v1beta1.custom.metrics.k8s.io", wsgi_app)      # or an ASGI application

A function is given an `APIRequest` and answers: an object (200), a text, `(code, object)`, None
(404), a generator (a stream: a watch gives `{"type": "ADDED", "object": ...}`), or a whole
`wire.Response`.  What it raises breaks the connection off.

The law: an application comes before an operator that listens on the service's port, and that
before the pods of the service.  Inside the simulation nothing is encrypted; a certificate is looked
at where a pod shows one.
"""

from __future__ import annotations

import base64
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote

import attrs
import msgspec

from pytest_kubesim.apimachinery import x509
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apiserver import aggregated_proxy, aggregation
from pytest_kubesim.apiserver.aggregated_proxy import Outgoing, Target
from pytest_kubesim.apiserver.request_info import resolve
from pytest_kubesim.apiserver.webhook_client import CallError, refused
from pytest_kubesim.cluster import wsgi
from pytest_kubesim.cluster.application_streams import Pieces
from pytest_kubesim.errors import UsageError, suggestion
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.pipes import ConnectError
from pytest_kubesim.wire import Response, UserInfo, to_json

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.request_info import RequestInfo
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.cluster.cluster import Cluster

NAMESPACE = "default"
DOMAIN = "kubesim.test"
OPTIONS = ("group_priority_minimum", "version_priority", "service")
FOUND_OUT_NS = NS
_NOT_FOUND: Object = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "message": "the server could not find the requested resource",
    "reason": "NotFound",
    "details": {},
    "code": 404,
}


@attrs.frozen
class APIRequest:
    """What an application is asked: as the API server hands it on.

    `headers` have names in lower case; `user` is who asks, as the headers say; `query` holds
    decoded pairs; `object` is the body decoded from JSON, if it is that.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: bytes
    user: UserInfo
    info: RequestInfo

    def header(self, name: str, default: str = "") -> str:
        """The first header of a (lower case) name."""
        return next((value for key, value in self.headers if key == name), default)

    def param(self, name: str, default: str = "") -> str:
        """The first query parameter of a name."""
        return next((value for key, value in self.query if key == name), default)

    scheme = "https"

    @property
    def remote_user(self) -> str:
        """Who asks, by name."""
        return self.user.name

    @property
    def verb(self) -> str:
        """`get`, `list`, `watch`, `create` ..."""
        return self.info.verb

    @property
    def resource(self) -> str:
        """The plural that is asked for; "" where it is not about a resource."""
        return self.info.resource

    @property
    def subresource(self) -> str:
        """The subresource, or ""."""
        return self.info.subresource

    @property
    def namespace(self) -> str:
        """The namespace, or ""."""
        return self.info.namespace

    @property
    def name(self) -> str:
        """The name of the object, or ""."""
        return self.info.name

    @property
    def object(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return msgspec.json.decode(self.body) if self.body else None
        except msgspec.DecodeError:
            return None


class APIService:
    """An application that stands for an API server; calling it calls the application."""

    def __init__(self, owner: APIServices, name: str, application: Callable[..., Any]) -> None:
        self.name = name
        """`version.group`."""
        self.application = application
        self.requests: list[APIRequest] = []
        """What it was asked, oldest first; the aggregator's own questions are among them."""
        self._owner = owner
        self._arguments = positional(application)
        self._asgi: Any = owner.asgi(application, name) if self._arguments == 3 else None

    def remove(self) -> None:
        """Answer no more: the connection is refused."""
        self._owner.forget(self)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What the application itself gives."""
        return self.application(*arguments, **named)

    async def answer(self, outgoing: Outgoing, host: str) -> Any:
        """The answer to a request that the API server hands on."""
        request = request_of(outgoing, host)
        self.requests.append(request)
        if self._arguments == 2:
            return wsgi.call(self.application, request)
        if self._arguments == 3:
            if self._asgi is None:
                raise CallError(refused(host, is_ip=False))
            return await self._asgi.call(request)
        said = self.application(request)
        if inspect.isawaitable(said):
            said = await said
        return response_of(said)


def positional(application: Callable[..., Any]) -> int:
    """How many arguments an application takes: 1, 2 (WSGI) or 3 (ASGI)."""
    try:
        parameters = inspect.signature(application).parameters.values()
    except (TypeError, ValueError):
        return 1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]
    return len(needed)


def request_of(outgoing: Outgoing, host: str) -> APIRequest:
    """A request as an application is given it."""
    path, _, query = outgoing.target.partition("?")
    pairs = tuple(parse_qsl(query, keep_blank_values=True))
    headers = (("host", host), *((name.lower(), value) for name, value in outgoing.headers))
    extra: dict[str, tuple[str, ...]] = {}
    for name, value in headers:
        if name.startswith("x-remote-extra-"):
            key = unquote(name.removeprefix("x-remote-extra-"))
            extra[key] = (*extra.get(key, ()), value)
    first = dict(reversed(headers))
    groups = tuple(value for name, value in headers if name == "x-remote-group")
    user = UserInfo(
        first.get("x-remote-user", ""), groups, first.get("x-remote-uid", ""), extra
    )
    info = resolve(outgoing.method, path, pairs)
    return APIRequest(
        outgoing.method, unquote(path), pairs, headers, outgoing.body or b"", user, info
    )


def response_of(said: Any) -> Any:
    """The response that an answer means.  Raises: `UsageError` for one that means none."""
    if isinstance(said, Response):
        return said
    code = 200
    if isinstance(said, tuple):
        parts = cast("tuple[Any, ...]", said)
        if len(parts) == 2 and isinstance(parts[0], int):
            code, said = parts
    if said is None:
        return Response(404, _NOT_FOUND)
    if isinstance(said, dict):
        found = cast("Object", said)
        if found.get("kind") == "Status" and code == 200 and found.get("code"):
            code = found["code"]
        return Response(code, found, to_json(found))
    if isinstance(said, str | bytes):
        body = said.encode() if isinstance(said, str) else said
        return Response(code, None, body, "text/plain; charset=utf-8")
    if isinstance(said, Iterator | AsyncIterator):
        return Pieces(code, "application/json", (), cast("Any", said))
    raise UsageError(
        f"api_service: {said!r} is no answer; give an object, (code, object), a text, None for "
        "404, or a generator for a stream"
    )


class APIServices:
    """Who answers for the APIServices of one cluster: `server.call_api_server`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._services: dict[tuple[str, str, int], APIService] = {}
        for server in cluster.control_plane.servers:
            server.call_api_server = self.call

    async def call(self, server: APIServer, target: Target, outgoing: Outgoing) -> Any:
        """Carry a request to who answers it.  Raises `CallError`."""
        found = self._services.get((target.namespace, target.service, target.port))
        if found is not None:
            try:
                answer = await found.answer(outgoing, target.dialled)
            except UsageError as error:
                self.forget(found)
                self._cluster.fail(error)
                raise CallError("EOF") from None
            except CallError:
                raise
            except Exception:  # noqa: BLE001 - as a server of the user's would
                raise CallError("EOF") from None
            location = any(name.lower() == "location" for name, _ in answer.headers)
            if 300 <= answer.status < 400 and location:
                return aggregated_proxy.redirected()
            return answer
        return await self._outside(server, target, outgoing)

    async def _outside(self, server: APIServer, target: Target, outgoing: Outgoing) -> Any:
        doors = self._cluster.doors_if_any
        if doors is not None:
            stream = await doors.dial(self._cluster, target)
            if stream is not None:
                return await aggregated_proxy.exchange(server.kernel, stream, target, outgoing)
        return await to_pods(server, target, outgoing)

    def asgi(self, application: Callable[..., Any], name: str) -> Any:
        """A process that serves an ASGI application."""
        return self._cluster.doors.serve_asgi(self._cluster, application, name)

    def forget(self, service: APIService) -> None:
        """Let an application answer no more."""
        self._services = {k: v for k, v in self._services.items() if v is not service}

    def add(
        self, name: str, application: Callable[..., Any] | None, options: dict[str, Any]
    ) -> Any:
        """What `kubesim.api_service(...)` gives.  Raises: `UsageError`."""
        for option in options:
            if option not in OPTIONS:
                raise UsageError(
                    f"api_service: unknown option {option!r};",
                    f"{suggestion(option, OPTIONS)}the options are {', '.join(OPTIONS)}",
                )
        version, dot, group = name.partition(".")
        if not dot or not version or not group:
            raise UsageError(
                f"api_service: {name!r}: write it as 'version.group', such as "
                "'v1beta1.metrics.k8s.io'"
            )

        def decorate(function: Callable[..., Any]) -> APIService:
            service = APIService(self, name, function)
            self._stand_in(service, version, group, options)
            return service

        return decorate if application is None else decorate(application)

    def _stand_in(
        self, service: APIService, version: str, group: str, options: dict[str, Any]
    ) -> None:
        """Let an application answer for an APIService, which is made where there is none."""
        cluster = self._cluster
        known = cluster.server.reader.get(aggregation.API_SERVICES, "", service.name)
        if aggregation.is_remote(known):
            assert known is not None
            reference = known["spec"]["service"]
            key = (reference["namespace"], reference["name"], reference.get("port") or 443)
            self._services[key] = service
            return
        namespace, _, name = (options.get("service") or "").partition("/")
        namespace, name = namespace or NAMESPACE, name or service.name.replace(".", "-")
        self._services[namespace, name, 443] = service
        found = cluster.server.reader.get(
            aggregation.GroupResource("", "services"), namespace, name
        )
        if found is None:
            cluster.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": name, "namespace": namespace},
                    "spec": {"type": "ExternalName", "externalName": f"{name}.{DOMAIN}"},
                }
            )
        cluster.apply(
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": service.name},
                "spec": {
                    "group": group,
                    "version": version,
                    "service": {"namespace": namespace, "name": name, "port": 443},
                    "insecureSkipTLSVerify": True,
                    "groupPriorityMinimum": options.get("group_priority_minimum", 1000),
                    "versionPriority": options.get("version_priority", 15),
                },
            }
        )
        self._until_served(service.name)

    def _until_served(self, name: str) -> None:
        """Let the aggregators find an application out; one that fails they go on asking."""
        servers = self._cluster.control_plane.servers

        def is_served() -> bool:
            tables = [aggregation.aggregation(server) for server in servers]
            found = [None if table is None else table.remotes.get(name) for table in tables]
            return all(
                remote is not None and remote.available and remote.entry is not None
                for remote in found
            )

        self._cluster.run_kernel(is_served, until_ns=self._cluster.kernel.now_ns + FOUND_OUT_NS)


async def to_pods(server: APIServer, target: Target, outgoing: Outgoing) -> Any:
    """Carry a request to the pods of a service.  Raises `CallError`."""
    host, _, port = target.dialled.rpartition(":")
    by_ip = host.replace(".", "").isdecimal() or ":" in host
    if server.node_proxy is None or not by_ip:
        raise CallError(refused(target.dialled, is_ip=by_ip))
    try:
        stream = await server.node_proxy.connect(
            host.strip("[]"), int(port), server.proxy_certificate
        )
    except ConnectError as error:
        text = str(error)
        said = "i/o timeout" if text == "Connection timed out" else (
            f"connect: {text[:1].lower()}{text[1:]}"
        )
        raise CallError(f"dial tcp {target.dialled}: {said}") from None
    if stream.shown and not target.insecure:
        bundle = base64.b64decode(target.ca_bundle)
        try:
            x509.check(stream.shown, bundle, target.server_name, server.process.now_ns())
        except x509.CertificateError as error:
            stream.close()
            raise CallError(str(error)) from None
    return await aggregated_proxy.exchange(server.kernel, stream, target, outgoing)
