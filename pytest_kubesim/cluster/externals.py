"""Systems outside the cluster that a test declares: what operators reach by a host name.

    @kubesim.external("api.example.com")
    def billing(request):
        if request.path == "/v1/invoices" and request.method == "POST":
            return 201, {"id": "inv-1", "for": request.object["customer"]}

    kubesim.external("http://vault.internal:8200", wsgi_app)       # or an ASGI application

A function is given an `ExternalRequest` and answers: an object or a list (200, as JSON), a text,
bytes, a status alone, `(status, answer)`, None (404), a generator (the answer comes piece by
piece), or a whole `wire.Response`.  What it raises is a 500; an `AssertionError` fails the test.

The law: a declared host is reached in memory, on virtual time, by operators and by the test,
through whatever HTTP/1.1 client they use, over `http` and `https` alike (nothing is encrypted, any
certificate is good).  It is a host on the network: faults cut, slow and spoil the way to it.  What
is not declared is not touched here.
"""

from __future__ import annotations

import inspect
import ipaddress
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
import msgspec

from pytest_kubesim.apiserver import effects
from pytest_kubesim.apiserver.webhook_client import CallError
from pytest_kubesim.cluster import wsgi
from pytest_kubesim.cluster.api_services import positional
from pytest_kubesim.cluster.application_streams import Pieces
from pytest_kubesim.errors import UsageError
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.durations import Duration, to_ns
from pytest_kubesim.wire import ConnectionLost, Response, to_json

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.wire import Request

FAULT_POINT = "external.call"
"""Consulted with `host`, `port`, `client`, `method`, `path`, when a request has arrived.  It
understands all of `apiserver.effects`; `Respond` carries the body, `Refuse` is not one of them."""
CONNECT_POINT = "external.connect"
"""Consulted with `host`, `port`, `client`, before a connection is made; it understands `Refuse`."""

HTTP, HTTPS = 80, 443
OWN = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_NAME = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9_]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9_]*[a-z0-9])?)*\.?")
_TEXT = "text/plain; charset=utf-8"


@attrs.frozen
class ExternalRequest:
    """What a declared system is asked.

    `client` is who asks: an operator's name, or `test`; `at_s` when, in virtual seconds since the
    start.  `headers` have names in lower case, `query` holds decoded pairs, `path` is decoded.
    """

    method: str
    scheme: str
    host: str
    port: int
    path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: bytes
    client: str
    at_s: float

    remote_user = ""
    """Nobody has said on whose behalf it is asked."""

    def header(self, name: str, default: str = "") -> str:
        """The first header of a (lower case) name."""
        return next((value for key, value in self.headers if key == name), default)

    def param(self, name: str, default: str = "") -> str:
        """The first query parameter of a name."""
        return next((value for key, value in self.query if key == name), default)

    @property
    def url(self) -> str:
        """Where it was sent, without the query."""
        usual = {"http": HTTP, "https": HTTPS}[self.scheme]
        port = "" if self.port == usual else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.path}"

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def object(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return msgspec.json.decode(self.body) if self.body else None
        except msgspec.DecodeError:
            return None

    @property
    def form(self) -> dict[str, str]:
        """The body as a form, the last value of each field."""
        return dict(parse_qsl(self.text, keep_blank_values=True))

    def __repr__(self) -> str:
        return f"<{self.client}: {self.method} {self.url} at {self.at_s:.3f}s>"


class External:
    """A declared system; calling it calls its application."""

    def __init__(
        self,
        owner: Externals,
        place: _Named,
        application: Callable[..., Any],
        latency_ns: int,
    ) -> None:
        self.host = place.host
        self.ports = place.ports
        self.address = place.address
        """Its address inside the simulation."""
        self.application = application
        self.requests: list[ExternalRequest] = []
        """What it was asked, oldest first; what a fault has answered instead is among them."""
        self._scheme = place.scheme
        self._owner = owner
        self._latency_ns = latency_ns
        self._arguments = positional(application)
        self._asgi: Any = owner.asgi(application, self.host) if self._arguments == 3 else None

    @property
    def listening(self) -> bool:
        """Whether it takes connections: an ASGI application does while its process runs."""
        return self._asgi is None or self._asgi.process.running

    def remove(self) -> None:
        """Be there no more: the host is again as if nobody had declared it."""
        self._owner.forget(self)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What the application itself gives."""
        return self.application(*arguments, **named)

    def __repr__(self) -> str:
        return f"<external {self.host}, {len(self.requests)} requests>"

    # -- answering ----------------------------------------------------------------------------

    async def answer(self, asked: Request, port: int) -> Any:
        """The answer to a request that has arrived.  Raises: `ConnectionLost`."""
        kernel = self._owner.cluster.kernel
        request = self._request_of(asked, port, kernel.elapsed_ns)
        self.requests.append(request)
        try:
            answer = await self._answer(request)
        except ConnectionLost as lost:
            self._record(request, lost=lost.kind)
            raise
        self._record(request, code=answer.status)
        return answer

    def _request_of(self, asked: Request, port: int, elapsed_ns: int) -> ExternalRequest:
        scheme = self._scheme or ("http" if port in {HTTP, 8080} else "https")
        return ExternalRequest(
            asked.method, scheme, _name_in(asked.header("host")) or self.host, port,
            unquote(asked.path), asked.query, asked.headers, asked.body or b"", asked.client,
            elapsed_ns / NS,
        )

    def _record(self, request: ExternalRequest, **outcome: Any) -> None:
        self._owner.cluster.journal.record(
            "external", request.client, method=request.method, url=request.url, **outcome
        )

    async def _answer(self, request: ExternalRequest) -> Any:
        cluster = self._owner.cluster
        effect: Any = None
        if cluster.faultpoints.armed(FAULT_POINT):
            effect = cluster.faultpoints.consult(
                FAULT_POINT, host=self.host, port=request.port, client=request.client,
                method=request.method, path=request.path,
            )
        if self._latency_ns:
            await cluster.kernel.sleep(self._latency_ns)
        while isinstance(effect, effects.Delay):
            await cluster.kernel.sleep(effect.delay_ns)
            effect = effect.then
        match effect:
            case effects.Reset() | effects.Refuse():
                raise _reset()
            case effects.Respond():
                return effect.status
            case effects.Drop():
                await self._served(request)
                raise _reset()
            case effects.Hold():
                answer = await self._served(request)
                await effect.until
                return answer
            case effects.Ignore():
                await cluster.kernel.future()
            case _:
                pass
        return await self._served(request)

    async def _served(self, request: ExternalRequest) -> Any:
        cluster = self._owner.cluster
        try:
            return await self._ask(request)
        except (AssertionError, UsageError) as error:
            cluster.fail(error)
        except CallError:
            raise _reset() from None
        except Exception as error:  # noqa: BLE001 - as a server of the user's would
            cluster.journal.record("log", self.host, error=f"{type(error).__name__}: {error}")
        return Response(500, None, b"Internal Server Error", _TEXT)

    async def _ask(self, request: ExternalRequest) -> Any:
        given: Any = request
        if self._arguments == 2:
            return wsgi.call(self.application, given)
        if self._asgi is not None:
            return await self._asgi.call(given)
        said = self.application(request)
        if inspect.isawaitable(said):
            said = await said
        return response_of(said)


def _reset() -> ConnectionLost:
    return ConnectionLost("reset", "connection reset by peer")


def response_of(said: Any, what: str = "external") -> Any:
    """The response that an answer means.  Raises: `UsageError` for one that means none."""
    if isinstance(said, Response):
        return said
    status = 200
    if isinstance(said, int) and not isinstance(said, bool):
        return Response(said, None, b"", "")
    if isinstance(said, tuple):
        parts = cast("tuple[Any, ...]", said)
        if len(parts) == 2 and isinstance(parts[0], int):
            status, said = parts
    if said is None:
        return Response(404 if status == 200 else status, None, b"", "")
    if isinstance(said, dict | list):
        body = to_json(cast("object", said)).rstrip(b"\n")
        return Response(status, None, body, "application/json")
    if isinstance(said, str):
        return Response(status, None, said.encode(), _TEXT)
    if isinstance(said, bytes):
        return Response(status, None, said, "application/octet-stream")
    if isinstance(said, Iterator | AsyncIterator):
        return Pieces(status, "application/octet-stream", (), cast("Any", said))
    raise UsageError(
        f"{what}: {said!r} is no answer; give an object, a text, a status, (status, answer), None "
        "for 404, or a generator for a stream"
    )


@attrs.frozen
class _Named:
    """What the name of a system says."""

    host: str
    ports: tuple[int, ...]
    scheme: str
    address: str = ""


def _name_in(header: str) -> str:
    return header.rpartition(":")[0] if re.search(r":\d+$", header) else header


def named(name: str) -> _Named:
    """The host and the ports of `api.example.com`, `vault:8200`, `https://api.example.com`.

    Raises: `UsageError` for what names none.
    """
    parts = urlsplit(name if "://" in name else f"//{name}")
    wrong = f"external: {name!r}"
    if parts.scheme not in ("", "http", "https"):
        raise UsageError(f"{wrong}: {parts.scheme} is not spoken; declare http or https")
    if parts.path.strip("/") or parts.query:
        raise UsageError(
            f"{wrong}: name the host alone; the function looks at request.path itself"
        )
    try:
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise UsageError(f"{wrong}: write it as 'host' or 'host:port'") from None
    if host in OWN or host.endswith((".svc", ".cluster.local")) or _is_loopback(host):
        raise UsageError(
            f"{wrong}: that name belongs to the cluster or to the operator itself; let a server "
            "listen on localhost, or give the host another name"
        )
    if not _NAME.fullmatch(host):
        raise UsageError(f"{wrong}: write it as 'host', 'host:port' or 'https://host'")
    usual = {"http": (HTTP,), "https": (HTTPS,)}.get(parts.scheme, (HTTP, HTTPS))
    return _Named(host, (port,) if port else usual, parts.scheme)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Externals:
    """The systems that were declared in one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._declared: list[External] = []
        self._addresses: dict[str, str] = {}

    # -- declaring ----------------------------------------------------------------------------

    def add(
        self,
        name: str,
        application: Callable[..., Any] | None,
        latency: Duration | None,
    ) -> Any:
        """What `kubesim.external(...)` gives.  Raises: `UsageError`."""
        found = named(name)
        latency_ns = 0 if latency is None else to_ns(latency, "latency")
        taken = [each for each in self._declared if each.host == found.host]
        for each in taken:
            if set(each.ports) & set(found.ports):
                raise UsageError(
                    f"external: {name!r} is declared already; take it away first: .remove()"
                )
        place = attrs.evolve(found, address=self._address_for(found.host))

        def decorate(function: Callable[..., Any]) -> External:
            if not callable(function):
                raise UsageError(
                    f"external: {function!r} cannot be called; give a function of the request, a "
                    "WSGI or an ASGI application"
                )
            made = External(self, place, function, latency_ns)
            self._declared.append(made)
            doors = self.cluster.doors_if_any
            if doors is not None:
                doors.declared(place.host)
            return made

        return decorate if application is None else decorate(application)

    def asgi(self, application: Callable[..., Any], name: str) -> Any:
        """A process that serves an ASGI application."""
        return self.cluster.doors.serve_asgi(self.cluster, application, name)

    def forget(self, external: External) -> None:
        """Let a system be there no more."""
        self._declared = [each for each in self._declared if each is not external]

    # -- reaching them ------------------------------------------------------------------------

    @property
    def hosts(self) -> tuple[str, ...]:
        """The declared hosts, in order."""
        return tuple(dict.fromkeys(each.host for each in self._declared))

    def address_of(self, host: str) -> str | None:
        """The address of a declared host, or an address that is one; None for all others."""
        if not self._declared:
            return None
        host = host.lower()
        found = self._addresses.get(host)
        if found is None and any(_matches(each.host, host) for each in self._declared):
            found = self._address_for(host)
        if found is None:
            return host if host in self._addresses.values() else None
        return found if self._named(host) else None

    def at(self, address: str, port: int) -> External | None:
        """Who listens at an address of ours."""
        for host, known in self._addresses.items():
            if known == address:
                for each in self._named(host):
                    if port in each.ports and each.listening:
                        return each
        return None

    def host_at(self, address: str) -> str:
        """The host of an address: what the network calls it."""
        for host, known in self._addresses.items():
            if known == address:
                return next((each.host for each in self._named(host)), host)
        return address

    def _named(self, host: str) -> list[External]:
        return [each for each in self._declared if _matches(each.host, host)]

    def _address_for(self, host: str) -> str:
        known = self._addresses.get(host)
        if known is None:
            try:
                known = str(ipaddress.ip_address(host))
            except ValueError:
                number = len(self._addresses) + 1
                known = f"198.19.{number >> 8 & 127}.{number & 255}"
            self._addresses[host] = known
        return known


def _matches(declared: str, host: str) -> bool:
    """`*.example.com` is every host below `example.com`."""
    return host == declared or (declared.startswith("*.") and host.endswith(declared[1:]))
