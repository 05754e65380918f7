"""What etcd and the API server promise to whoever watches.

Ordered: events come in the order of revisions.  Unique: none twice.  Reliable: none of what was
asked for is left out.  Resumable: a watch from a revision begins with its first follower.
Bookmarkable: what a bookmark says has been told is told.

All five are one comparison: what a client takes from a watch is, event for event, what the history
of the store says that it has to see.  A watch may end at any time and may be late; it may not
differ.  After `https://etcd.io/docs/latest/learning/api_guarantees/` (watch APIs) and the
robustness tests of etcd.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_kubesim.checkers.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.storage.watch import CacheWatcher
    from pytest_kubesim.etcd.messages import WatchResponse
    from pytest_kubesim.wire import WatchEvent

LAW = "watch guarantees"


class Write(NamedTuple):
    """One change of one key; values are None where there was or is no object."""

    revision: int
    key: str
    value: Any
    before: Any


class Expected(NamedTuple):
    """An event that a watch has yet to deliver."""

    revision: int
    type: str
    key: str


class _Stream:
    """One open watch and what it owes."""

    def __init__(self, watcher: CacheWatcher, client: str, server: str) -> None:
        self.watcher = watcher
        self.who = f"the watch of {client or 'somebody'} on {watcher.prefix} at {server}"
        self.initial = watcher.initial
        self.owed: deque[Expected] = deque()
        self.delivered = watcher.begins_after
        self.ended = False

    def written(self, write: Write) -> None:
        """A change below its prefix, if it comes after where the watch begins."""
        if write.revision <= self.watcher.begins_after:
            return
        matches = self.watcher.matches
        if matches is None:
            now, before = write.value is not None, write.before is not None
        else:
            now = write.value is not None and matches(write.value)
            before = write.before is not None and matches(write.before)
        if now or before:
            type_ = ("MODIFIED" if before else "ADDED") if now else "DELETED"
            self.owed.append(Expected(write.revision, type_, write.key))

    def taken(self, event: WatchEvent) -> str | None:
        """The client took `event`; what is wrong with that, if anything is."""
        if event.type == "ERROR":
            self.ended = True
            return None
        if event.type == "BOOKMARK":
            if self.initial:
                return None
            if self.owed and self.owed[0].revision <= event.revision:
                return f"a bookmark says {event.revision}, and {self.owed[0]} was not told"
            self.delivered = max(self.delivered, event.revision)
            return None
        if self.initial:
            self.initial -= 1
            return None if event.type == "ADDED" else f"an initial event is {event.type}"
        told = f"{event.type} {_name(event.object)} at {event.revision}"
        if not self.owed:
            return f"it tells {told}, which is not owed (the last was {self.delivered})"
        owed = self.owed.popleft()
        self.delivered = event.revision
        if (owed.revision, owed.type) != (event.revision, event.type) or not owed.key.endswith(
            f"/{event.object['metadata']['name']}"
        ):
            self.ended = True
            return f"it tells {told} and owes {owed.type} {owed.key} at {owed.revision}"
        return None


class WatchGuarantees:
    """The checker.  `broken` is called with every violation, at once."""

    def __init__(self, broken: Callable[[Violation], object]) -> None:
        self._broken = broken
        self._history: list[Write] = []
        self._streams: list[_Stream] = []
        self._since: int | None = None

    def begin(self, revision: int) -> None:
        """The history is known from `revision` on."""
        self._since = revision
        self._history.clear()
        self._streams.clear()

    def heard(self, response: WatchResponse) -> None:
        """The store has changed."""
        for event in response.events:
            value = event.kv.value if event.type == "PUT" else None
            before = None if event.prev_kv is None else event.prev_kv.value
            write = Write(event.kv.mod_revision, event.kv.key, value, before)
            self._history.append(write)
            for stream in self._streams:
                if write.key.startswith(stream.watcher.prefix):
                    stream.written(write)

    def opened(self, scope: RequestScope, watcher: CacheWatcher) -> None:
        """A watch was opened (a listener of `APIServer.on_watch`)."""
        if self._since is None or watcher.begins_after < self._since or watcher.closed:
            return
        stream = _Stream(watcher, scope.request.client, scope.server.process.name)
        for write in self._history:
            if write.key.startswith(watcher.prefix):
                stream.written(write)
        self._streams = [each for each in self._streams if not each.watcher.closed]
        self._streams.append(stream)

        def taken(event: WatchEvent) -> None:
            if stream.ended:
                return
            wrong = stream.taken(event)
            if wrong is not None:
                self._broken(Violation(LAW, f"{stream.who}: {wrong}"))

        watcher.listen(taken)


def _name(obj: Object) -> str:
    metadata: Object = obj.get("metadata") or {}
    namespace: str = metadata.get("namespace") or ""
    name: str = metadata.get("name") or ""
    return f"{namespace}/{name}" if namespace else name
