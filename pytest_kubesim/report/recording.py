"""What the page needs besides the journal: how objects changed, and who saw which revision when.

It listens and keeps references; nothing is copied or encoded before the page is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.storage.watch import CacheWatcher
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.etcd.messages import WatchResponse
    from pytest_kubesim.wire import WatchEvent

LIMIT = 50_000
"""How many writes, and how many deliveries, are kept."""

_BACKGROUND = ("/registry/leases/", "/registry/events/", "/registry/masterleases/")


class Write(NamedTuple):
    """One change of one object; `value` is None when it was deleted, `before` when it was made."""

    time_ns: int
    revision: int
    key: str
    value: Any
    before: Any


class Delivery(NamedTuple):
    """A client took the event of a revision from its watch."""

    time_ns: int
    client: str
    revision: int
    type: str


class Recording:
    """The recording of one cluster, from now on."""

    def __init__(self, cluster: Cluster) -> None:
        self.writes: list[Write] = []
        self.deliveries: list[Delivery] = []
        self.left_out = 0
        """How many changes and deliveries are not kept because there are too many."""
        self._kernel = cluster.kernel
        cluster.control_plane.observe(self._written)
        for server in cluster.control_plane.servers:
            server.on_watch.append(self._opened)

    def _written(self, response: WatchResponse) -> None:
        now_ns = self._kernel.now_ns
        for event in response.events:
            key = event.kv.key
            if key.startswith(_BACKGROUND):
                continue
            if len(self.writes) >= LIMIT:
                self.left_out += 1
                continue
            value = event.kv.value if event.type == "PUT" else None
            before = None if event.prev_kv is None else event.prev_kv.value
            self.writes.append(Write(now_ns, event.kv.mod_revision, key, value, before))

    def _opened(self, scope: RequestScope, watcher: CacheWatcher) -> None:
        if watcher.prefix.startswith(_BACKGROUND):
            return
        client = scope.request.client or scope.user.name
        begins_after = watcher.begins_after

        def taken(event: WatchEvent) -> None:
            if event.type in ("BOOKMARK", "ERROR") or event.revision <= begins_after:
                return
            if len(self.deliveries) >= LIMIT:
                self.left_out += 1
                return
            self.deliveries.append(
                Delivery(self._kernel.now_ns, client, event.revision, event.type)
            )

        watcher.listen(taken)
