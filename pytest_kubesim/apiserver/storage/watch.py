"""A watch from the server's side: a queue of events that a client empties.

The law: events of a watch come in the order of their revisions, none twice, none left out.  An
event is shared by all watchers that see the object alike; a watcher with a selector sees an object
that enters its selection as ADDED and one that leaves it as DELETED: as it was, with the revision
of the change.

Follows `apiserver/pkg/storage/cacher/cache_watcher.go`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.sim.tasks import Future
from pytest_kubesim.wire import ConnectionLost, WatchEvent

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.etcd.messages import KeyValue
    from pytest_kubesim.sim.kernel import Kernel, Timer

Matches = Callable[["Object"], bool]

ADDED, MODIFIED, DELETED, BOOKMARK, ERROR = "ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"

INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Change:
    """A change of one object, as the watch cache keeps it.

    `kv` is what etcd says; `obj` is the object after it, `old` before it: None where there was or
    is none.  `old_kv` and `decode` are for making the two again: the cache keeps a change long
    after those have seen it who watched then, and mostly nobody asks again.
    """

    __slots__ = (
        "_added",
        "_decode",
        "_deleted",
        "_kv",
        "_modified",
        "_obj",
        "_old",
        "_old_kv",
        "key",
        "revision",
        "time_ns",
    )

    def __init__(
        self,
        kv: KeyValue,
        old_kv: KeyValue | None,
        obj: Object | None,
        old: Object | None,
        time_ns: int,
        decode: Callable[[KeyValue], Object],
    ) -> None:
        self.key = kv.key
        self.revision = kv.mod_revision
        self.time_ns = time_ns
        self._kv = None if obj is None else kv
        self._old_kv = old_kv
        self._decode = decode
        self._obj = obj
        self._old = old
        self._added: WatchEvent | None = None
        self._modified: WatchEvent | None = None
        self._deleted: WatchEvent | None = None

    def fade(self) -> None:
        """Forget what can be made again."""
        self._obj = self._old = self._added = self._modified = self._deleted = None

    @property
    def obj(self) -> Object | None:
        """The object after the change."""
        if self._obj is None and self._kv is not None:
            self._obj = self._decode(self._kv)
        return self._obj

    @property
    def old(self) -> Object | None:
        """The object before the change."""
        if self._old is None and self._old_kv is not None:
            self._old = self._decode(self._old_kv)
        return self._old

    def seen(self, matches: Matches | None) -> WatchEvent | None:
        """The event that a watcher with that selector gets; None: it does not see the change."""
        obj, old = self.obj, self.old
        if matches is None:
            now, before = obj is not None, old is not None
        else:
            now = obj is not None and matches(obj)
            before = old is not None and matches(old)
        if not now:
            return self._as_deleted() if before else None
        assert obj is not None
        if before:
            if self._modified is None:
                self._modified = WatchEvent(MODIFIED, obj, self.revision)
            return self._modified
        if self._added is None:
            self._added = WatchEvent(ADDED, obj, self.revision)
        return self._added

    def _as_deleted(self) -> WatchEvent:
        if self._deleted is None:
            self._deleted = WatchEvent(DELETED, self._departed(), self.revision)
        return self._deleted

    def _departed(self) -> Object:
        old = self.old
        assert old is not None
        metadata = {**old["metadata"], "resourceVersion": str(self.revision)}
        return {**old, "metadata": metadata}


class CacheWatcher:
    """One watch: what it selects and what it has not yet delivered.  A `wire.WatchStream`.

    `convert` makes of an event what this client gets (another version, a Table, metadata only).
    """

    __slots__ = (
        "_convert",
        "_encode",
        "_getter",
        "_kernel",
        "_listeners",
        "_queue",
        "_stop",
        "_timer",
        "_transit",
        "begins_after",
        "bookmarks",
        "closed",
        "content_type",
        "cut_off",
        "deadline_ns",
        "gates",
        "headers",
        "id",
        "initial",
        "matches",
        "next_bookmark_ns",
        "prefix",
        "revision",
        "status",
        "trigger",
    )

    def __init__(
        self,
        kernel: Kernel,
        identity: int,
        trigger: tuple[str, str],
        matches: Matches | None,
        *,
        bookmarks: bool,
        stop: Callable[[CacheWatcher], object],
    ) -> None:
        self.id = identity
        self.trigger = trigger
        """Which changes can concern it: a kind of index and a value in it."""
        self.matches = matches
        self.prefix = ""
        """Below which keys it watches."""
        self.begins_after = 0
        """The revision whose followers it is given, after the initial events if it has any."""
        self.initial = 0
        """How many initial events it was given."""
        self.bookmarks = bookmarks
        self.revision = 0
        """The newest revision that it has been given."""
        self.status = 200
        self.content_type = "application/json"
        self.headers: tuple[tuple[str, str], ...] = ()
        self.closed = False
        self.deadline_ns = 0
        self.next_bookmark_ns = 0
        self._kernel = kernel
        self.cut_off = False
        """Whether its connection was reset."""
        self.gates: tuple[Callable[[WatchEvent], bool], ...] = ()
        """What stands before it: each is shown every event and says whether it keeps it."""
        self._queue: deque[WatchEvent] = deque()
        self._listeners: tuple[Callable[[WatchEvent], object], ...] = ()
        self._getter: Future[None] | None = None
        self._transit: Callable[[], int] | None = None
        self._stop = stop
        self._timer: Timer | None = None
        self._convert: Callable[[WatchEvent], WatchEvent] | None = None
        self._encode: Callable[[WatchEvent], bytes] | None = None

    # -- from the cacher's side ---------------------------------------------------------------

    def shape(
        self,
        convert: Callable[[WatchEvent], WatchEvent] | None,
        encode: Callable[[WatchEvent], bytes] | None,
        content_type: str,
        headers: tuple[tuple[str, str], ...],
    ) -> None:
        """How its events look to the client."""
        self._convert = convert
        self._encode = encode
        self.content_type = content_type
        self.headers = headers

    def expires_at(self, time_ns: int) -> None:
        """End it then (nanoseconds since the epoch), without an error."""
        self.deadline_ns = time_ns
        self._timer = self._kernel.call_at(
            time_ns, self.close, periodic=True, label="watch timeout"
        )

    def offer(self, change: Change) -> None:
        """Give it a change, if it sees it."""
        if change.revision <= self.revision or self.closed:
            return
        event = change.seen(self.matches)
        if event is not None:
            self.revision = change.revision
            self.put(event)

    def put(self, event: WatchEvent) -> None:
        """Give it an event, unless a gate keeps it."""
        for gate in self.gates:
            if gate(event):
                return
        self.deliver(event)

    def requeue(self) -> None:
        """Give it again what nobody has taken yet: a gate has come to stand before it."""
        queued, self._queue = self._queue, deque()
        for event in queued:
            self.put(event)

    def deliver(self, event: WatchEvent) -> None:
        """Queue an event and wake who waits."""
        self._queue.append(event)
        getter = self._getter
        if getter is not None:
            self._getter = None
            if self._transit is not None:
                self._send(getter, self._transit)
            elif not getter.done():
                getter.set_result(None)

    def _send(self, getter: Future[None], transit: Callable[[], int]) -> None:
        kernel = self._kernel
        kernel.call_at(kernel.now_ns + transit(), getter.arrive, None, label="watch event")

    def listen(self, listener: Callable[[WatchEvent], object]) -> None:
        """Call `listener` with every event at the moment when the client takes it."""
        self._listeners = (*self._listeners, listener)

    @property
    def drained(self) -> bool:
        """Whether the client has taken all that was given."""
        return not self._queue

    # -- from the client's side ---------------------------------------------------------------

    async def next(self) -> WatchEvent | None:
        """The next event, waiting for it; None once it has ended."""
        while not self._queue:
            if self.cut_off:
                raise ConnectionLost("reset", "read: connection reset by peer")
            if self.closed:
                return None
            getter = self._getter
            if getter is None or getter.done():
                getter = self._getter = Future(self._kernel)
            await getter
        return self._take()

    async def arrived(self, transit: Callable[[], int]) -> bool:
        """Wait until events have come, `transit()` nanoseconds after the first of them was sent.

        False: it has ended.
        """
        while not self.cut_off:
            getter: Future[None] = Future(self._kernel)
            if self._queue:
                self._send(getter, transit)
            elif self.closed:
                return False
            else:
                self._getter, self._transit = getter, transit
            await getter
            self._transit = None
            if self._queue:
                return True
        raise ConnectionLost("reset", "read: connection reset by peer")

    def next_nowait(self) -> WatchEvent | None:
        """The next event if one is there now."""
        return self._take() if self._queue else None

    def on_close(self, callback: Callable[[], object]) -> None:
        """Call `callback` when it ends."""
        before = self._stop

        def stop(watcher: CacheWatcher) -> None:
            before(watcher)
            callback()

        self._stop = stop

    def close(self) -> None:
        """End it; what is queued can still be read."""
        if self.closed:
            return
        self.closed = True
        self._stop(self)
        if self._timer is not None:
            self._timer.cancel()
        getter, self._getter = self._getter, None
        if getter is not None and not getter.done():
            getter.set_result(None)

    def cut(self) -> None:
        """Reset its connection: what is under way is lost."""
        if not self.closed:
            self.cut_off = True
            self._queue.clear()
            self.close()

    def encode(self, event: WatchEvent) -> bytes:
        """The event as it goes over the wire."""
        return event.frame() if self._encode is None else self._encode(event)

    def _take(self) -> WatchEvent:
        event = self._queue.popleft()
        if self._listeners:
            for listener in self._listeners:
                listener(event)
        return event if self._convert is None else self._convert(event)
