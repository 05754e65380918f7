"""Stale views: a client, or all clients of an API server, see what was true a while ago.

    kubesim.faults.view(client="operator", kind="Database").freeze(at="10s", until="13s")

The law: what is served from the watch cache (lists and gets with `resourceVersion=0` or one that
the cache has, watches) is as it was when the view froze; what needs a quorum (reads without a
resourceVersion, writes) is fresh.  Thawed, the view catches up event by event.

A view of one client is a copy of the watch cache that hears of nothing more; without a client it is
the cache itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pytest_kubesim.faults import requests
from pytest_kubesim.faults.fault import Call, Speech
from pytest_kubesim.faults.requests import RequestMatch
from pytest_kubesim.faults.watches import Gate, Watches

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.apiserver.storage.cacher import Cacher
    from pytest_kubesim.apiserver.store import Store
    from pytest_kubesim.etcd.mvcc.watchable_store import WatchableStore
    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.faults.fault import Fault
    from pytest_kubesim.registry.rest import Resource
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.wire import WatchEvent

PASSIVE = True


class Ground(requests.Ground, Protocol):
    """What a stale view needs of the cluster."""

    kernel: Kernel
    watches: Watches

    @property
    def servers(self) -> tuple[APIServer, ...]:
        """The API servers."""
        ...

    @property
    def observed(self) -> WatchableStore:
        """What is stored."""
        ...

    def resource_of(self, kind: str) -> Resource:
        """The resource of a kind, or of any of its names.  Raises: `UsageError`."""
        ...


class ViewFaults(Speech):
    """What can happen to a view."""

    def freeze(self, *, at: Any = None, until: Any = None, **timing: Any) -> Any:
        """Let it stand still, from `at` (or `when`) to `until` (or `for_` a while)."""
        return self._fault(Call.of("freeze"), {"at": at, "until": until, **timing})


def check(ground: Ground, fault: Fault) -> None:
    """Raises: `UsageError` for a kind or a server that there is not."""
    requests.check(ground, RequestMatch(server=fault.target.get("server")), now=True)
    kind = fault.target.get("kind")
    if kind is not None and fault.immediate:
        ground.resource_of(kind)


def begin(ground: Ground, armed: Armed) -> Callable[[], None]:
    """Freeze it."""
    target = armed.fault.target
    kind = target.get("kind")
    resource = None if kind is None else ground.resource_of(kind)
    servers = [
        each for each in ground.servers
        if target.get("server") in (None, each.process.name)
    ]
    who = {name: target.get(name) for name in ("client", "user", "user_agent")}
    if not any(who.values()):
        return _hold(servers, armed, resource)
    match = RequestMatch(
        **who,
        server=target.get("server"),
        resource=None if resource is None else resource.plural,
        namespace=target.get("namespace"),
    )
    ends = [_freeze_watches(ground, armed, match)]
    ends += [_Views(server, armed, match, ground.observed.revision).end for server in servers]

    def end() -> None:
        for each in ends:
            each()

    return end


def _hold(
    servers: list[APIServer], armed: Armed, resource: Resource | None
) -> Callable[[], None]:
    """Hold the caches themselves; that of the kind begins now, where nobody has asked for it."""

    def held(cacher: Cacher) -> None:
        if not armed.struck:
            armed.strike(revision=cacher.revision)
        cacher.hold()

    kind = None if resource is None else resource.kind
    caches = [
        cacher for server in servers for cacher in server.caches()
        if cacher.ready and kind in (None, cacher.kind)
    ]
    if resource is not None:
        caches += [
            _begun(server, resource) for server in servers
            if server.process.running and not server.cacher(resource).ready
        ]
    for cacher in caches:
        held(cacher)

    def end() -> None:
        for cacher in caches:
            cacher.release()

    return end


def _begun(server: APIServer, resource: Resource) -> Cacher:
    cacher = server.cacher(resource)
    server.kernel.spawn(
        server.started(cacher), name=f"{server.process.name}/cache of {resource.plural}",
        process=server.process, daemon=True, eager=True,
    )
    return cacher


def _freeze_watches(
    ground: Ground, armed: Armed, match: RequestMatch
) -> Callable[[], None]:
    """The watches that are open already get nothing more."""

    def keeps(gate: Gate, event: WatchEvent) -> bool:
        armed.seen += 1
        if not gate.held and event.type != "BOOKMARK":
            armed.strike(watcher=gate.watcher.id, revision=event.revision)
        return True

    gates = [Gate(watcher, keeps) for watcher in ground.watches.open(match)]

    def end() -> None:
        for gate in gates:
            gate.open()

    return end


class _Views:
    """The views of one client at one API server: copies of its caches."""

    def __init__(
        self, server: APIServer, armed: Armed, match: RequestMatch, revision: int
    ) -> None:
        self._server = server
        self._armed = armed
        self._match = match
        self._revision = revision
        self._copies: dict[Cacher, Cacher] = {
            cacher: cacher.fork(revision) for cacher in server.caches() if cacher.ready
        }
        server.views.append(self.of)

    def of(self, scope: RequestScope, store: Store) -> Cacher | None:
        """The cache from which a request is served; None: the usual one."""
        if not self._match.matches(self._server.attributes(scope)):
            return None
        found = self._copies.get(store.cacher)
        if found is None:
            found = self._copies[store.cacher] = store.cacher.fork(
                # It began after the view froze: what it has is too new.
                self._revision, anew=True
            )
        armed = self._armed
        armed.seen += 1
        if found.behind:
            armed.strike(scope.request.client, verb=scope.info.verb, revision=found.revision)
        return found

    def end(self) -> None:
        """Thaw: the copies catch up, and live as long as somebody watches them."""
        self._server.views.remove(self.of)
        for copy in self._copies.values():
            copy.release()
            copy.retire()
