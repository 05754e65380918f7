"""The API server: one process of the control plane, the door to everything that is stored.

`handle` answers a request; without latency, a raft round trip or a fault it completes without
suspending.  What a client can cause is an answer; only a connection that breaks is an exception
(`wire.ConnectionLost`).

The law: the process holds nothing that matters.  A crash loses its caches, its watches and what it
was answering; the objects are in etcd.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import names, status
from pytest_kubesim.apimachinery.meta import GroupResource, Object
from pytest_kubesim.apiserver import (
    api_service_availability,
    apiextensions,
    deletion,
    effects,
    fault_point,
    flow_control,
    handler_chain,
    loopback,
    responses,
    shutdown,
)
from pytest_kubesim.apiserver.admission import chain
from pytest_kubesim.apiserver.apiextensions.deletion import delete_definition
from pytest_kubesim.apiserver.authenticators import LAST_USED, Authenticators
from pytest_kubesim.apiserver.authorizer_node import NodeAuthorizer
from pytest_kubesim.apiserver.authorizer_rbac import RBACAuthorizer
from pytest_kubesim.apiserver.cluster_ips import SERVICES
from pytest_kubesim.apiserver.filters.authorization import (
    Attributes,
    Authorizer,
    Decision,
    PrivilegedGroups,
    Union,
)
from pytest_kubesim.apiserver.handlers.namespaces import delete_namespace
from pytest_kubesim.apiserver.in_process import InProcess
from pytest_kubesim.apiserver.priority_and_fairness import FlowControl
from pytest_kubesim.apiserver.request_info import RequestInfo, resolve
from pytest_kubesim.apiserver.scope import RequestScope
from pytest_kubesim.apiserver.service_store import ServiceStore
from pytest_kubesim.apiserver.status_strategy import StatusStrategy
from pytest_kubesim.apiserver.storage.cacher import Cacher
from pytest_kubesim.apiserver.storage.compact import INTERVAL_NS, Compactor
from pytest_kubesim.apiserver.storage.delivery import Delivery, follow
from pytest_kubesim.apiserver.storage.errors import StorageError
from pytest_kubesim.apiserver.storage.etcd3 import Etcd3
from pytest_kubesim.apiserver.storage.reader import LocalReader
from pytest_kubesim.apiserver.store import Store
from pytest_kubesim.errors import NotSimulated
from pytest_kubesim.registry.rbac.escalation import STATE as GRANTS
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.process import Process
from pytest_kubesim.wire import ConnectionLost, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from pytest_kubesim.apiserver.aggregated_proxy import CallAPIServer
    from pytest_kubesim.apiserver.audit import Auditor
    from pytest_kubesim.apiserver.handlers.connect import NodeProxy
    from pytest_kubesim.apiserver.handlers.reviews import RuleResolver
    from pytest_kubesim.apiserver.storage.watch import CacheWatcher
    from pytest_kubesim.apiserver.webhook_client import CallWebhook
    from pytest_kubesim.etcd.client import Client
    from pytest_kubesim.etcd.messages import Event, KeyValue, WatchResponse
    from pytest_kubesim.registry.generic import Catalog
    from pytest_kubesim.registry.rest import Resource, Strategy
    from pytest_kubesim.sim.faultpoints import FaultPoints
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.tasks import Future
    from pytest_kubesim.wire import Request, UserInfo, WatchStream

INITIALIZING = "storage is (re)initializing"

_TRIGGERS: Mapping[str, str] = {"/registry/pods": "spec.nodeName"}
"""The indexes of watch caches that upstream has too, by storage prefix."""

_WRITE_VERBS = frozenset({"create", "update", "patch"})


class APIServer:
    """One API server.

    Parameters: `kernel`; `etcd`, a client of the member beside it; `name` of the process and `host`
    where it runs; `catalog` of what it serves; `faultpoints` to consult; `authorizers` asked after
    `system:masters` (default: `--authorization-mode=Node,RBAC`); `tokens`, users by bearer token;
    `admission`, the chain of plugins; `signing_key` of service account tokens, shared by all API
    servers of a cluster; `compaction_interval_ns`, how often etcd is compacted (0: never).
    """

    def __init__(
        self,
        kernel: Kernel,
        etcd: Client,
        *,
        catalog: Catalog,
        name: str = "kube-apiserver-1",
        host: str = "control-plane",
        faultpoints: FaultPoints | None = None,
        authorizers: Sequence[Authorizer] | None = None,
        tokens: Mapping[str, UserInfo] | None = None,
        admission: chain.Chain | None = None,
        signing_key: bytes = b"kubesim",
        node_proxy: NodeProxy | None = None,
        compaction_interval_ns: int = INTERVAL_NS,
    ) -> None:
        self.kernel = kernel
        self.etcd = etcd
        self.catalog = catalog
        self.faultpoints = faultpoints
        self.process = Process(kernel, name, host=host)
        self.process.on_exit.append(self._exited)
        self.delivery = Delivery(self.process)
        """The way of etcd's changes to this server: how late its caches are."""
        self.stopping = False
        """Whether it only finishes what it has begun, and refuses connections."""
        self.shutting_down = False
        """Whether it has been told to end: it is not ready any more."""
        self.under_way: dict[Future[Any], None] = {}
        """The requests that it is answering, and which had to wait for something."""
        self.on_stop: list[Callable[[], Awaitable[None]]] = []
        """Called when the process is told to end."""
        self.reader = LocalReader(self)
        self.authenticators = Authenticators(
            self.reader, self.process.now_ns, tokens=tokens or {}, key=signing_key
        )
        self.authenticators.on_use = self._token_used
        self._rbac: RBACAuthorizer | None = None
        if authorizers is None:
            self._rbac = RBACAuthorizer(self)
            authorizers = (NodeAuthorizer(self), self._rbac)
        self.authorizer: Authorizer = Union((PrivilegedGroups(), *authorizers))
        self.admission = admission or chain.load()
        self.node_proxy = node_proxy
        """The way to the kubelets (logs, exec); None: there is none."""
        self.rule_resolver: RuleResolver | None = self._rbac
        """Who answers `SelfSubjectRulesReview`; None: nobody can."""
        self.audit: list[Auditor] = []
        """Who is told of requests and their answers."""
        self.on_start: list[Callable[[APIServer], object]] = [
            apiextensions.start,
            api_service_availability.start,
            flow_control.start,
        ]
        """Called when the process starts: controllers that live inside the API server."""
        self.flow_control: FlowControl | None = FlowControl(self)
        """Priority and fairness; None: all are served at once."""
        self.on_watch: list[Callable[[RequestScope, CacheWatcher], object]] = []
        """Called when a watch has been opened, before the client takes its first event."""
        self.views: list[Callable[[RequestScope, Store], Cacher | None]] = []
        """Asked which watch cache a request is served from; None: the usual one."""
        self.on_authorize: list[Callable[[Attributes, Decision], object]] = []
        """Called with what somebody wanted to do, and what was decided."""
        self.conversion_webhook: Callable[[Object, Object], Object] | None = None
        """Asks a webhook that converts custom resources (`apiextensions.conversion.Webhook`)."""
        self.call_webhook: CallWebhook | None = None
        """Carries calls to admission webhooks; None: all refuse connections."""
        self.call_api_server: CallAPIServer | None = None
        """Carries requests to aggregated API servers; None: all refuse connections."""
        self.proxy_certificate = b""
        """What it shows of itself to aggregated API servers in pods, in PEM."""
        self.state: dict[str, Any] = {}
        """What registries and plugins keep in memory, by the name of who keeps it."""
        self._cachers: dict[str, Cacher] = {}
        self._stores: dict[Resource, Store] = {}
        self._status_strategies: dict[Resource, Strategy] = {}
        self._watchers: dict[CacheWatcher, None] = {}
        self._draws: dict[str, int] = {}
        self._since = 0
        self._past: Sequence[Event] = ()
        self._compaction_interval_ns = compaction_interval_ns

    # -- its life -----------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """Where it runs."""
        return self.process.host

    @property
    def accepting(self) -> bool:
        """Whether somebody listens: connections are not refused (nor, while paused, answered)."""
        return self.process.alive and not self.stopping

    def start(self) -> None:
        """Start the process (again); its caches begin at the present revision of etcd."""
        if self.process.alive:
            return
        self.process.start()
        store = self.etcd.member.store
        self._since = store.revision
        # The first one of a cluster is there before anything happens.
        first = self.process.restarts == 0 and store.compacted < 1
        self._past = store.history_since(1) if first else ()
        if self._rbac is not None:
            self.state[GRANTS] = self._rbac
        Compactor(self.process, self.etcd, self._compaction_interval_ns).start()
        for _, plugin in self.admission.plugins:
            plugin.started(self)
        for callback in self.on_start:
            callback(self)

    def stop(self, delay_ns: int = 0) -> None:
        """Tell the process to end, as SIGTERM does (`shutdown`); `process.crash()` is SIGKILL."""
        if self.process.alive and not self.shutting_down:
            self.process.spawn(shutdown.run(self, delay_ns), name="shutdown", daemon=True)

    def _exited(self, process: Process) -> None:
        del process
        for watcher in list(self._watchers):
            watcher.close()
        self._watchers.clear()
        for cacher in self._cachers.values():
            cacher.stop()
        self._cachers.clear()
        self._stores.clear()
        self.state.clear()
        self.authenticators.forget()
        self._draws.clear()
        self.under_way.clear()
        self.stopping = self.shutting_down = False

    # -- answering ----------------------------------------------------------------------------

    async def handle(self, request: Request) -> Response | WatchStream:
        """Answer a request.  Raises `ConnectionLost` where no answer comes."""
        process = self.process
        if process.state != "running" or self.stopping:
            await self.running()
        scope: RequestScope | None = None
        try:
            info = resolve(request.method, request.path, request.query)
        except ValueError as error:
            return responses.refusal(None, status.new_internal_error(error))
        scope = RequestScope(self, request, info)
        effect = None
        if self.faultpoints is not None and self.faultpoints.armed(fault_point.REQUEST):
            effect = await fault_point.strike(scope)
            if isinstance(effect, effects.Respond):
                code: int = effect.status.get("code") or 500
                refused = Response(code, effect.status, headers=effect.headers)
                self._record(scope, refused)
                return refused
        answer = await InProcess(self, self._serve(scope))
        self._record(scope, answer)
        for auditor in self.audit:
            auditor.answered(scope, answer)
        fault_point.answered(scope, answer)
        if effect is not None:
            await fault_point.strike_back(scope, effect, answer)
        return answer

    async def _serve(self, scope: RequestScope) -> Response | WatchStream:
        control = self.flow_control
        try:
            answer = await self._answered(scope)
        finally:
            if control is not None:
                control.done(scope)
        if control is not None:
            control.mark(scope, answer)
        return answer

    async def _answered(self, scope: RequestScope) -> Response | WatchStream:
        try:
            return await handler_chain.serve(scope)
        except status.APIStatus as error:
            return responses.refusal(scope, error)
        except NotSimulated as gap:
            return responses.refusal(scope, status.APIStatus(501, "NotSimulated", str(gap)))

    def _token_used(self, secret: Object, today: str) -> None:
        """Write on a secret that its token is in use."""
        metadata: Object = secret["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/secrets/{metadata['name']}"
        change: Object = {"metadata": {"uid": metadata["uid"], "labels": {LAST_USED: today}}}
        work = loopback.patch(self, path, change)
        self.process.spawn(work, name="legacy token", daemon=True)

    def _record(self, scope: RequestScope, answer: Response | WatchStream) -> None:
        info = scope.info
        actor = scope.request.client or scope.user.name
        code = answer.status
        # What was refused says why: it is what a person with a failing test wants to know.
        told = _refusal(answer) if code >= 400 else _made(info, answer)
        if info.is_resource:
            resource = info.resource
            if info.subresource:
                # Kept with the entry: once for all.
                resource = sys.intern(f"{resource}/{info.subresource}")
            self.kernel.journal.record(
                "request",
                actor,
                verb=info.verb,
                group=info.group,
                resource=resource,
                namespace=scope.namespace or info.namespace,
                **{"name": scope.name or info.name, **told},
                code=code,
            )
        else:
            self.kernel.journal.record(
                "request", actor, verb=info.verb, path=info.path, code=code, **told
            )

    async def running(self) -> None:
        """Wait while the process is frozen; refuse where there is none."""
        process = self.process
        while process.paused:
            gate = self.kernel.future()
            process.defer(gate.set_result, None)
            lost = self._end_of_process()
            await self.kernel.wait_any(gate, lost)
            if not gate.done():
                raise ConnectionLost("reset", "read: connection reset by peer")
        if not process.running or self.stopping:
            raise ConnectionLost("refused", "connect: connection refused")

    def _end_of_process(self) -> Future[Any]:
        """A future that is done when the process ends."""
        end = self.kernel.future()

        def ended(process: Process) -> None:
            process.on_exit.remove(ended)
            if not end.done():
                end.set_result(None)

        self.process.on_exit.append(ended)
        return end

    # -- faults -------------------------------------------------------------------------------

    def attributes(self, scope: RequestScope) -> dict[str, Any]:
        """A request as faults know it."""
        return fault_point.attributes(scope)

    def view(self, scope: RequestScope, store: Store) -> Cacher:
        """The watch cache from which a request is served: the store's, or a stale copy of it."""
        for view in self.views:
            found = view(scope, store)
            if found is not None:
                return found
        return store.cacher

    def caches(self) -> list[Cacher]:
        """The watch caches that there are, in the order in which they were made."""
        return list(self._cachers.values())

    # -- what handlers ask for ----------------------------------------------------------------

    async def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        """Whether somebody may do something, and why."""
        answer = await self.authorizer.authorize(attributes)
        for heard in self.on_authorize:
            heard(attributes, answer[0])
        return answer

    def store(self, resource: Resource) -> Store:
        """The registry of a resource."""
        found = self._stores.get(resource)
        if found is None:
            made = ServiceStore if resource.group_resource == SERVICES else Store
            found = self._stores[resource] = made(self, resource, self.cacher(resource))
        return found

    def cacher(self, resource: Resource) -> Cacher:
        """The watch cache of a resource, perhaps not started yet (`started`)."""
        key = _cache_key(resource)
        found = self._cachers.get(key)
        if found is None:
            found = self._cachers[key] = self._make_cacher(resource)
        return found

    def _make_cacher(self, resource: Resource) -> Cacher:
        stored = resource if resource.custom else self.catalog.storage_resource(resource)
        prefix = resource.storage_prefix
        # Who converts may be asked for each reading: upstream does not remember what it said.
        converts = resource.custom and resource.api_version != resource.storage_version
        storage = Etcd3(
            self.etcd,
            prefix,
            now_ns=self.process.now_ns,
            known=lambda key, revision: None if converts else found.peek(key, revision),
            decode=stored.decode_stored,
            encode=stored.encode_stored,
        )
        field = _TRIGGERS.get(prefix, "")
        found = Cacher(
            self.kernel,
            storage,
            api_version=stored.api_version,
            kind=stored.kind,
            custom=resource.custom,
            trigger_field=field,
            trigger=_reader(field) if field else None,
            delivery=self.delivery,
        )
        return found

    async def started(self, cacher: Cacher) -> None:
        """Have a watch cache running; it begins where this process began, if etcd still knows."""
        if not cacher.ready:
            if self.etcd.leaderless:
                # Upstream's reflector tries in vain meanwhile.
                raise status.new_too_many_requests(INITIALIZING, 1)
            store = self.etcd.member.store
            known = store.compacted < self._since <= store.revision
            # Upstream's caches of custom resources are made when they are first asked for.
            since = self._since if known and not cacher.custom else 0
            try:
                await cacher.start(since, self._past)
            except StorageError as error:
                raise status.new_too_many_requests(INITIALIZING, 1) from error

    def follow(
        self,
        prefix: str,
        heard: Callable[[WatchResponse], object],
        *,
        begin: Callable[[Sequence[KeyValue]], object] | None = None,
        prev_kv: bool = False,
    ) -> None:
        """List what is below `prefix` in etcd and hear of its changes, while this process lives.

        `begin` is given what is there, `heard` what changes afterwards, as late as `delivery` says.
        """
        stream = self.delivery.stream(heard, prefix)
        work = follow(self.etcd, prefix, stream, begin, self.process, prev_kv=prev_kv)
        self.kernel.spawn(work, name=f"follow {prefix}", process=self.process, eager=True)

    def forget(self, resource: Resource) -> None:
        """A custom resource is served otherwise, or no longer: drop what was made for it."""
        for known in [r for r in self._stores if r.group_resource == resource.group_resource]:
            del self._stores[known]
            self._status_strategies.pop(known, None)

    def close_watches(self, resource: Resource) -> None:
        """Forget the cache of a resource; what is watched through it ends a second later."""
        cacher = self._cachers.pop(_cache_key(resource), None)
        if cacher is not None:
            self.process.call_later(NS, cacher.stop, periodic=True, label="teardown")
        self.forget(resource)

    def opened(self, watcher: CacheWatcher) -> None:
        """A watch is open: it ends when the process ends."""
        self._watchers[watcher] = None
        if len(self._watchers) > 256:
            self._watchers = {each: None for each in self._watchers if not each.closed}

    def watches(self) -> list[CacheWatcher]:
        """All watches that are open."""
        return [each for each in self._watchers if not each.closed]

    def status_strategy(self, resource: Resource) -> Strategy:
        """The hooks of `/status`: the kind's own, or those that fit any kind."""
        if resource.status_strategy is not None:
            return resource.status_strategy
        found = self._status_strategies.get(resource)
        if found is None:
            found = self._status_strategies[resource] = StatusStrategy(resource)
        return found

    async def delete_object(
        self,
        scope: RequestScope,
        name: str,
        options: dict[str, Any],
        validate: Callable[[Object], Awaitable[None]],
    ) -> tuple[Object, bool]:
        """Delete one object as its kind demands.  Returns the answer and whether it is gone."""
        resource = scope.served
        store = self.store(resource)
        if resource.group_resource == GroupResource("", "namespaces"):
            return await delete_namespace(store, scope, name, options, validate)
        if resource.group_resource == apiextensions.DEFINITIONS:
            return await delete_definition(store, scope, name, options, validate)
        if resource.group_resource == GroupResource("batch", "jobs"):
            deletion.warn_of_orphans(scope, options)
        return await store.delete(scope, name, options, validate)

    # -- draws --------------------------------------------------------------------------------

    def _event(self, key: str) -> tuple[object, ...]:
        """The logical event of a draw for a key: the how-many-eth of this life of the process."""
        count = self._draws[key] = self._draws.get(key, 0) + 1
        return (self.process.name, self.process.incarnation, key, count)

    def draw_uid(self, key: str) -> str:
        """A UID for an object about to be stored at `key`."""
        bits = int.from_bytes(self.kernel.rng.bytes(16, "uid", *self._event(key)), "big")
        bits = bits & ~(0xF << 76) | 0x4 << 76
        bits = bits & ~(0x3 << 62) | 0x2 << 62
        text = f"{bits:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def draw_name(self, base: str) -> str:
        """A name for a `generateName`; `base` begins with the storage prefix."""
        event = self._event(base)
        letters = 0

        def draw(bound: int) -> int:
            nonlocal letters
            letters += 1
            return self.kernel.rng.below(bound, "name", *event, letters)

        return names.generate_name(base.rpartition("/")[2], draw)


def _cache_key(resource: Resource) -> str:
    """Versions of a built-in kind share a cache; custom resources have one for each."""
    if resource.custom:
        return f"{resource.storage_prefix}@{resource.version}"
    return resource.storage_prefix


def _made(info: RequestInfo, answer: Response | WatchStream) -> dict[str, str]:
    """What a write has made: the name that was generated, and the revision."""
    if info.verb not in _WRITE_VERBS or not isinstance(answer, Response) or answer.obj is None:
        return {}
    metadata: Object = answer.obj.get("metadata") or {}
    version: str | None = metadata.get("resourceVersion")
    if not version or "name" not in metadata:
        # A Table has a version too, and no name.
        return {}
    return {"name": metadata["name"], "version": version}


def _refusal(answer: Response | WatchStream) -> dict[str, str]:
    """The reason and the message of a refusal."""
    obj = answer.obj if isinstance(answer, Response) else None
    if obj is None or obj.get("kind") != "Status":
        return {}
    return {"reason": obj.get("reason") or "", "message": (obj.get("message") or "")[:400]}


def _reader(field: str) -> Callable[[Object], str]:
    """A function that reads a field of an object by its dotted path."""
    parent, _, leaf = field.rpartition(".")

    def read(obj: Object) -> str:
        found: Object = obj.get(parent) or {}
        return found.get(leaf) or ""

    return read
