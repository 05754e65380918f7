"""API servers of images: made of the machinery of which the cluster's own is made.

The real ones are: `sample-apiserver` and all its kind link `k8s.io/apiserver`.  An image says which
resources it serves, where they are stored, and whom it believes; the rest is here.

The law: such a server is a process of its own, on the host of its container, and knows the cluster
by what its program asks; of admission's surroundings (namespaces, webhooks, policies), which the
real one has in informers, it sees what is stored now.  A connection to an etcd in a pod carries
calls, not bytes: `lead` says to which store the server's end leads, `store_behind` finds it from
the client's.

Follows `apiserver/pkg/server/{config,genericapiserver}.go` and
`pkg/server/options/recommended.go`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import msgspec

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver import negotiation, responses
from pytest_kubesim.apiserver.admission import chain
from pytest_kubesim.apiserver.filters.authorization import Attributes, Decision, forbidden
from pytest_kubesim.apiserver.server import APIServer
from pytest_kubesim.apiserver.storage.reader import LocalReader
from pytest_kubesim.cni.network import CONTROL_PLANE
from pytest_kubesim.etcd.client import Client
from pytest_kubesim.etcd.member import Member
from pytest_kubesim.registry.generic import Catalog
from pytest_kubesim.wire import Response

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.registry.rest import Resource
    from pytest_kubesim.sim.pipes import Pipe, Stream
    from pytest_kubesim.wire import Request, UserInfo, WatchStream

PLUGINS = (
    "NamespaceLifecycle", "MutatingAdmissionPolicy", "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook",
)
"""The admission plugins that every API server has (`RecommendedPluginOrder`)."""
HEALTH = ("healthz", "livez", "readyz")
HEALTH_PATHS = frozenset(f"/{name}" for name in HEALTH)
"""Whoever asks may (`WithAlwaysAllowPaths`)."""
_CHECKS = (
    "ping", "log", "etcd", "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/max-in-flight-filter", "poststarthook/storage-object-count-tracker-hook",
)
_SURROUNDINGS = frozenset({"", "admissionregistration.k8s.io"})

Authorize: TypeAlias = Callable[["Object"], Awaitable["tuple[Decision, str]"]]
"""Decides about the spec of a SubjectAccessReview."""
Admit: TypeAlias = Callable[
    [Callable[[GroupResource], Sequence["Object"]], GroupResource, str], object
]
"""Is given what lists resources, the resource of a creation, and the name; raises to refuse."""
Authenticate: TypeAlias = Callable[["Request", "Stream"], Awaitable["UserInfo | None"]]
"""Who asks, over which connection; None: nobody of whom it knows."""


class ExtensionServers:
    """Makes API servers and stores for images of a cluster.

    Parameters: `cluster`; `accept(handler, stream)`, which speaks HTTP on a connection.
    """

    def __init__(
        self, cluster: Cluster, accept: Callable[[Any, Stream], object]
    ) -> None:
        self._cluster = cluster
        self._accept = accept
        self._stores: dict[Pipe, Member] = {}

    @property
    def control_plane(self) -> str:
        """The address from which the cluster's API server connects."""
        return CONTROL_PLANE

    def refuse(self, stream: Stream, body: bytes) -> None:
        """Answer every request of a connection with 500."""
        self._accept(_Refusing(body), stream)

    # -- etcd ---------------------------------------------------------------------------------

    def new_store(self) -> Member:
        """An empty store, as an etcd without data has it."""
        kernel = self._cluster.kernel
        return Member(clock=lambda: kernel.now_ns)

    def lead(self, stream: Stream, store: Member) -> None:
        """A connection to an etcd, the server's end, leads to a store."""
        self._stores = {pipe: kept for pipe, kept in self._stores.items() if not pipe.ended}
        self._stores[stream.incoming] = store

    def store_behind(self, stream: Stream) -> Member | None:
        """The store to which a connection leads; None: there is no etcd at its end."""
        return self._stores.get(stream.outgoing)

    # -- servers ------------------------------------------------------------------------------

    def start(
        self,
        name: str,
        host: str,
        resources: Sequence[Resource],
        store: Member,
        authorize: Authorize,
        admit: tuple[str, Admit],
    ) -> ExtensionServer:
        """Start an API server.

        Parameters: `name` of the process and the `host` it runs on; the `resources` it serves, in
        the order of discovery; the `store` they lie in; `authorize`, who decides what may be done;
        `admit`, the name of an admission plugin of its own, and what it does at creations.
        """
        catalog = Catalog(self._cluster.config.version, built_in=False)
        for resource in resources:
            catalog.add(resource)
        plugins = (*chain.load(PLUGINS).plugins, (admit[0], _Own(admit[1])))
        server = _Server(
            self._cluster.kernel,
            Client(store),
            catalog=catalog,
            name=name,
            host=host,
            authorizers=(_Delegated(authorize),),
            admission=chain.Chain(plugins),
        )
        core = self._cluster.control_plane.server
        server.reader = _Surroundings(server, core)
        server.flow_control = None
        server.on_start.clear()
        server.call_webhook = core.call_webhook
        server.node_proxy = core.node_proxy
        server.start()
        return ExtensionServer(server, self._accept)


class ExtensionServer:
    """One API server of an image."""

    def __init__(self, server: APIServer, accept: Callable[[Any, Stream], object]) -> None:
        self._server = server
        self._accept = accept

    def accept(self, stream: Stream, authenticate: Authenticate) -> None:
        """Serve a connection."""
        self._accept(_Door(self, stream, authenticate), stream)

    def stop(self) -> None:
        """The process has ended."""
        if self._server.process.alive:
            self._server.process.crash()

    async def handle(self, request: Request) -> Response | WatchStream:
        """Answer a request of which is known who asks."""
        parts = [part for part in request.path.split("/") if part]
        if request.path in HEALTH_PATHS:
            return await self._health(request, parts)
        if not parts or parts[0] in ("api", *HEALTH):
            # The machinery answers these as kube-apiserver does, which has other groups and checks.
            refusal = await self._refusal(request)
            if refusal is not None:
                return refusal
            return await self._health(request, parts) if parts[:1] in ([n] for n in HEALTH) else (
                responses.page_not_found() if parts else self._index()
            )
        answer = await self._server.handle(request)
        if parts[0] == "apis" and len(parts) > 3 and _wants_protobuf(request):
            return _no_protobuf(answer)
        return answer

    async def _refusal(self, request: Request) -> Response | None:
        assert request.certificate is not None
        attributes = Attributes(request.certificate, request.method.lower(), request.path)
        decision, reason = await self._server.authorize(attributes)
        if decision == "allow":
            return None
        error = forbidden(attributes, reason)
        return Response(error.code, error.to_object())

    def _index(self) -> Response:
        catalog = self._server.catalog
        found = ["/apis"]
        for group in catalog.groups():
            found.append(f"/apis/{group}")
            found += [f"/apis/{group}/{version}" for version in sorted(catalog.versions(group))]
        health = [f"/{kind}/{name}" for kind in HEALTH for name in _CHECKS]
        found += [*(f"/{kind}" for kind in HEALTH), *health]
        found += ["/metrics", "/openapi/v2", "/openapi/v3", "/version"]
        return Response(200, {"paths": sorted(found)})

    async def _health(self, request: Request, parts: list[str]) -> Response:
        kind, name = parts[0], "/".join(parts[1:])
        if name and name not in _CHECKS:
            return responses.page_not_found()
        if not name and any(key == "verbose" for key, _ in request.query):
            lines = "".join(f"[+]{check} ok\n" for check in _CHECKS)
            return responses.text(200, f"{lines}{kind} check passed\n")
        return responses.text(200, "ok")


def _wants_protobuf(request: Request) -> bool:
    """Whether the answer would have to be protobuf."""
    wanted = request.header("accept").split(",")[0].split(";")[0]
    return wanted.strip() == negotiation.PROTOBUF


def _no_protobuf(answer: Response | WatchStream) -> Response | WatchStream:
    """What is told who wants protobuf of kinds that are not made for it."""
    obj = answer.obj if isinstance(answer, Response) else None
    if obj is None or answer.content_type == negotiation.PROTOBUF or obj.get("kind") == "Status":
        return answer
    kind = f"*{obj.get('apiVersion', '').rpartition('/')[2]}.{obj.get('kind')}"
    error = status.APIStatus(
        406, "NotAcceptable",
        f"object {kind} does not implement the protobuf marshalling interface and cannot be "
        "encoded to a protobuf message",
    )
    return Response(error.code, error.to_object())


@attrs.frozen(slots=True)
class _Door:
    """What answers the requests of one connection: who asks is found out first."""

    server: ExtensionServer
    stream: Stream
    authenticate: Authenticate

    async def handle(self, request: Request) -> Response | WatchStream:
        """Answer a request."""
        user = await self.authenticate(request, self.stream)
        if user is None:
            error = status.new_unauthorized("Unauthorized")
            return Response(error.code, error.to_object())
        # As one whose certificate says so: one inside the process would be given no bytes.
        return await self.server.handle(msgspec.structs.replace(request, certificate=user))


@attrs.frozen(slots=True)
class _Refusing:
    body: bytes

    async def handle(self, request: Request) -> Response:
        """Answer a request."""
        del request
        return responses.text(500, self.body.decode())


class _Server(APIServer):
    """An API server of whose requests the journal says nothing: it tells what the cluster does."""

    def _record(self, scope: RequestScope, answer: Response | WatchStream) -> None:
        del scope, answer


class _Surroundings(LocalReader):
    """Reads a server's own objects, and of the cluster's what admission looks at."""

    def __init__(self, server: APIServer, core: APIServer) -> None:
        super().__init__(server)
        self._core = core

    def get(self, resource: GroupResource, namespace: str, name: str) -> Object | None:
        """One object at its storage version, or None."""
        if resource.group in _SURROUNDINGS:
            return self._core.reader.get(resource, namespace, name)
        return super().get(resource, namespace, name)

    def list(self, resource: GroupResource, namespace: str = "") -> Sequence[Object]:
        """All objects of a resource, of one namespace if given, by key."""
        if resource.group in _SURROUNDINGS:
            return self._core.reader.list(resource, namespace)
        return super().list(resource, namespace)


class _Delegated:
    """Asks the cluster whether somebody may (`DelegatingAuthorizationOptions`)."""

    def __init__(self, ask: Authorize) -> None:
        self._ask = ask

    async def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        """What the cluster says."""
        user = attributes.user
        spec: Object = {"user": user.name, "groups": list(user.groups), "uid": user.uid}
        if user.extra:
            spec["extra"] = {key: list(values) for key, values in user.extra.items()}
        if attributes.is_resource:
            about = {
                "namespace": attributes.namespace, "verb": attributes.verb,
                "group": attributes.group, "version": attributes.version,
                "resource": attributes.resource, "subresource": attributes.subresource,
                "name": attributes.name,
            }
            spec["resourceAttributes"] = {key: text for key, text in about.items() if text}
        else:
            spec["nonResourceAttributes"] = {"path": attributes.path, "verb": attributes.verb}
        return await self._ask(spec)


class _Own(chain.Plugin):
    """The admission plugin that an image brings along."""

    operations = (chain.CREATE,)

    def __init__(self, admit: Admit) -> None:
        self._admit = admit

    async def admit(self, attributes: chain.Attributes, obj: Object | None) -> Object | None:
        """Asks the image's own code."""
        metadata: Object = (obj or {}).get("metadata") or {}
        resource, name = attributes.resource.group_resource, metadata.get("name") or ""
        self._admit(attributes.server.reader.list, resource, name)
        return obj
