"""The watch cache of a resource: its objects as of now, and the changes that led here.

The law: the cache hears of every revision of its prefix exactly once and in order; lists and
watches that need not be up to date are served from it and never ask etcd.

::

    cacher.objects["/registry/pods/default/web-0"]      the object, decoded, shared
    cacher.list("/registry/pods/default/")              in the order of keys
    cacher.watch(since=41, ...)                         what came after 41, then what comes

Follows `apiserver/pkg/storage/cacher/{cacher,watch_cache}.go`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apiserver.storage.errors import StorageError
from pytest_kubesim.apiserver.storage.indexed_watchers import IndexedWatchers
from pytest_kubesim.apiserver.storage.watch import (
    BOOKMARK,
    INITIAL_EVENTS_END,
    CacheWatcher,
    Change,
    Matches,
)
from pytest_kubesim.errors import NotSimulated
from pytest_kubesim.etcd.messages import prefix_end
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import WatchEvent

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.storage.delivery import Delivery, Stream
    from pytest_kubesim.apiserver.storage.etcd3 import Etcd3
    from pytest_kubesim.etcd.messages import Event, KeyValue, WatchResponse
    from pytest_kubesim.etcd.mvcc.watchable_store import Watcher
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.tasks import Future

LOWER_CAPACITY, UPPER_CAPACITY = 100, 102_400
EVENT_FRESH_NS = 75 * NS
"""Changes younger than this make the history longer instead of falling out of it."""
BOOKMARK_NS = 60 * NS
BLOCK_TIMEOUT_NS = 3 * NS
"""How long a request waits for the cache to come to a revision."""

Trigger = Callable[["Object"], str]


class Cacher:
    """The watch cache over one `Etcd3`.

    Parameters: `storage`; `api_version` and `kind` of its objects, for bookmarks; `custom`,
    whether they are custom resources; `trigger_field` and `trigger`, an index like upstream's: the
    value of that field in an object; `delivery`, the way of etcd's changes to the server (None: no
    way at all).
    """

    def __init__(
        self,
        kernel: Kernel,
        storage: Etcd3,
        *,
        api_version: str,
        kind: str,
        custom: bool = False,
        trigger_field: str = "",
        trigger: Trigger | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        self.kernel = kernel
        self.storage = storage
        self.api_version = api_version
        self.kind = kind
        self.custom = custom
        self.trigger_field = trigger_field
        self.objects: dict[str, Object] = {}
        self.revision = 0
        """The newest revision that it has heard of."""
        self.ready = False
        self._kvs: dict[str, KeyValue] = {}
        """By key, what etcd says of the object in `objects`."""
        self._decode = storage.decode
        self.trigger = trigger
        self._keys: list[str] = []
        self._by_trigger: dict[str, dict[str, None]] = {}
        self._history: deque[Change] = deque()
        self._capacity = LOWER_CAPACITY
        self._list_revision = 0
        self._past: Sequence[Event] = ()
        self._dropped = False
        self._watchers = IndexedWatchers(trigger)
        self._watchers_made = 0
        self._waiting: list[tuple[int, Future[Any]]] = []
        self._source: Watcher | None = None
        self._delivery = delivery
        self._stream: Stream | None = None
        self._held: list[WatchResponse] | None = None
        self._converting: list[WatchResponse] | None = None
        """What has come while a webhook is asked to convert what came before."""
        self._begins_at = 0
        self._origin: Cacher | None = None
        self._copies: list[Cacher] = []
        self._retired = False
        self._marking = False
        self._starting: Future[Any] | None = None

    # -- its life -----------------------------------------------------------------------------

    async def start(self, since: int = 0, past: Sequence[Event] = ()) -> None:
        """List and watch etcd, once.

        Parameters: `since`, a revision at which to begin (0: now); `past`, all that happened up to
        there, if it is as if the cache had been there from the first revision on.
        """
        if not self.ready:
            self._past = past if since else ()
        while not self.ready:
            if self._starting is not None:
                await self._starting
                continue
            self._starting = self.kernel.future()
            try:
                await self._start(self._begins_at or since)
            finally:
                self._starting.set_result(None)
                self._starting = None

    async def _start(self, since: int) -> None:
        prefix = f"{self.storage.prefix}/"
        end = prefix_end(prefix)
        client = self.storage.client
        answer = await client.range(
            # Where it began is known; only what is newest has to be asked of a quorum.
            prefix, end, revision=since, serializable=since > 0
        )
        self.objects = {}
        self._kvs = {}
        self._by_trigger = {}
        for kv in answer.kvs:
            obj = await self.storage.decoded(kv)
            self.objects[kv.key] = obj
            self._kvs[kv.key] = kv
            self._index(kv.key, None, obj)
        self._keys = sorted(self.objects)
        self._history.clear()
        self._dropped = False
        self.revision = self._list_revision = since or answer.revision
        self.ready = True
        heard: Callable[[WatchResponse], object] = self._heard
        if self._delivery is not None:
            heard = self._stream = self._delivery.stream(heard, prefix)
        self._source = await client.watch(
            prefix, end, start_revision=self.revision + 1, callback=heard
        )

    def stop(self) -> None:
        """Forget all and end every watch: the process is gone, or the resource no longer served."""
        if self._source is not None:
            self._source.cancel()
            self._source = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self.ready = False
        self._held = None
        copies, self._copies = self._copies, []
        for copy in copies:
            copy.stop()
        for watcher in self._watchers.all():
            watcher.close()

    def hold(self) -> None:
        """Let it fall behind: what etcd says is kept until `release` (a stale view)."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """Catch up with what was held."""
        held, self._held = self._held, None
        for response in held or ():
            self._heard(response)

    @property
    def holding(self) -> bool:
        """Whether it is being kept behind."""
        return self._held is not None

    @property
    def behind(self) -> bool:
        """Whether there are changes that it is kept from seeing."""
        return any(response.events for response in self._held or ())

    def fork(self, revision: int, *, anew: bool = False) -> Cacher:
        """A copy that stands still at this moment until it is released (one client's stale view).

        Where this cache has not begun yet, or `anew` (it began after that moment), the copy begins
        at `revision` by itself.
        """
        copy = Cacher(
            self.kernel, self.storage, api_version=self.api_version, kind=self.kind,
            custom=self.custom, trigger_field=self.trigger_field, trigger=self.trigger,
        )
        copy.hold()
        self._copies.append(copy)
        copy._origin = self
        if anew or not self.ready:
            copy._begins_at = revision
            return copy
        copy.objects, copy._kvs = dict(self.objects), dict(self._kvs)
        copy._keys = list(self._keys)
        copy._by_trigger = {value: dict(keys) for value, keys in self._by_trigger.items()}
        copy._history, copy._capacity = deque(self._history), self._capacity
        copy._list_revision, copy._dropped = self._list_revision, self._dropped
        copy.revision, copy.ready = self.revision, True
        return copy

    def retire(self) -> None:
        """Live on only as long as somebody watches this copy."""
        self._retired = True
        if not self._watchers and self._origin is not None:
            self._origin.forget(self)
            self.stop()

    def forget(self, copy: Cacher) -> None:
        """A copy goes: tell it nothing more."""
        if copy in self._copies:
            self._copies.remove(copy)

    def overhear(self, response: WatchResponse) -> None:
        """What the cache that this is a copy of hears, unless it asks etcd itself."""
        if self.ready and self._source is None:
            self._heard(response)

    # -- what etcd says -----------------------------------------------------------------------

    def _heard(self, response: WatchResponse) -> None:
        for copy in self._copies:
            copy.overhear(response)
        if self._held is not None:
            self._held.append(response)
            return
        if response.compact_revision or response.error is not None:
            # It fell so far behind that its way on is gone, or etcd has no leader: begin anew, as
            # the reflector does.
            self.stop()
            return
        if self._converting is not None:
            self._converting.append(response)
        elif self.storage.decode_stored is None:
            self._take(response)
        else:
            self._converting = [response]
            work = self._convert(self._converting)
            self.kernel.spawn(work, name=f"cache of {self.kind}", eager=True, daemon=True)

    async def _convert(self, backlog: list[WatchResponse]) -> None:
        """Take what has come, in order, waiting for who converts."""
        while backlog and self._converting is backlog:
            response = backlog[0]
            try:
                for event in response.events:
                    obj = None if event.type == "DELETE" else await self.storage.decoded(event.kv)
                    if self._converting is not backlog:
                        return
                    self._change(event.kv, obj)
            except (StorageError, NotSimulated):
                # Who asks next lists anew, and hears what is wrong.
                self.stop()
                return
            self._come_to(response.revision)
            del backlog[0]
        if self._converting is backlog:
            self._converting = None

    def _take(self, response: WatchResponse) -> None:
        for event in response.events:
            try:
                obj = self._decoded(event)
            except (StorageError, NotSimulated):
                # Who asks next lists anew, and hears what is wrong.
                self.stop()
                return
            self._change(event.kv, obj)
        self._come_to(response.revision)

    def _come_to(self, revision: int) -> None:
        self.revision = max(self.revision, revision)
        if self._waiting:
            self._wake()

    def _decoded(self, event: Any) -> Object | None:
        return None if event.type == "DELETE" else self.storage.decode(event.kv)

    def _change(self, kv: KeyValue, obj: Object | None) -> None:
        key = kv.key
        old = self.objects.get(key)
        old_kv = self._kvs.get(key)
        if obj is None:
            if old is None:
                return
            del self.objects[key]
            del self._kvs[key]
            del self._keys[bisect_left(self._keys, key)]
        else:
            if old is None:
                insort(self._keys, key)
            self.objects[key] = obj
            self._kvs[key] = kv
        self._index(key, old, obj)
        self.revision = kv.mod_revision
        change = Change(kv, old_kv, obj, old, self.kernel.now_ns, self._decode)
        self._remember(change)
        if self._watchers:
            for watcher in self._watchers.concerned(change):
                watcher.offer(change)
        if self.storage.decode_stored is None:
            change.fade()

    def _index(self, key: str, old: Object | None, obj: Object | None) -> None:
        trigger = self.trigger
        if trigger is None:
            return
        before = None if old is None else trigger(old)
        after = None if obj is None else trigger(obj)
        if before == after:
            return
        if before is not None:
            keys = self._by_trigger[before]
            del keys[key]
            if not keys:
                del self._by_trigger[before]
        if after is not None:
            self._by_trigger.setdefault(after, {})[key] = None

    def _remember(self, change: Change) -> None:
        history = self._history
        if len(history) >= self._capacity:
            if change.time_ns - history[0].time_ns < EVENT_FRESH_NS:
                self._capacity = min(self._capacity * 2, UPPER_CAPACITY)
            elif change.time_ns - history[-(self._capacity // 4)].time_ns > EVENT_FRESH_NS:
                self._capacity = max(self._capacity // 2, LOWER_CAPACITY)
            while len(history) >= self._capacity:
                history.popleft()
                self._dropped = True
        history.append(change)

    # -- waiting ------------------------------------------------------------------------------

    async def wait_until_fresh(self, revision: int) -> None:
        """Wait until it has heard of `revision`; after 3 s `APIStatus` (504, too large)."""
        if self.revision >= revision:
            return
        if self._source is not None and not self.holding:
            await self.storage.client.request_progress(self._source)
            if self.revision >= revision:
                return
        gate = self.kernel.future()
        self._waiting.append((revision, gate))
        if not await self.kernel.wait_any(gate, timeout_ns=BLOCK_TIMEOUT_NS):
            self._waiting.remove((revision, gate))
            raise status.new_too_large_resource_version(revision, self.revision, 1)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for revision, gate in waiting:
            if self.revision >= revision:
                gate.set_result(None)
            else:
                self._waiting.append((revision, gate))

    # -- reading ------------------------------------------------------------------------------

    def peek(self, key: str, revision: int) -> Object | None:
        """The object at a key if it is the one of that revision."""
        kv = self._kvs.get(key)
        return self.objects[key] if kv is not None and kv.mod_revision == revision else None

    def list(self, prefix: str, trigger: str | None = None) -> list[Object]:
        """The objects whose keys begin with `prefix`, in order; of one value of the index only."""
        objects, keys = self.objects, self._keys
        if trigger is not None:
            found = sorted(k for k in self._by_trigger.get(trigger, ()) if k.startswith(prefix))
            return [objects[key] for key in found]
        if prefix == f"{self.storage.prefix}/":
            return [objects[key] for key in keys]
        start = bisect_left(keys, prefix)
        return [objects[key] for key in keys[start : bisect_left(keys, prefix_end(prefix))]]

    def _since(self, revision: int) -> Sequence[Change]:
        """The changes after a revision.  Raises `APIStatus` (410) if some are forgotten."""
        history = self._history
        if not self._dropped:
            oldest = self._list_revision + 1
        else:
            oldest = history[0].revision
        if revision < oldest - 1:
            if self._past and not self._dropped:
                return [*self._earlier(revision), *history]
            raise status.new_resource_expired(
                f"too old resource version: {revision} ({oldest - 1})"
            )
        found: list[Change] = []
        for change in reversed(history):
            if change.revision <= revision:
                break
            found.append(change)
        found.reverse()
        return found

    def _earlier(self, revision: int) -> list[Change]:
        """The changes after a revision that were before this cache: made when asked for."""
        prefix = f"{self.storage.prefix}/"
        known: dict[str, tuple[KeyValue, Object]] = {}
        found: list[Change] = []
        for event in self._past:
            kv = event.kv
            if not kv.key.startswith(prefix):
                continue
            old_kv, old = known.pop(kv.key, (None, None))
            obj = self._decoded(event)
            if obj is not None:
                known[kv.key] = kv, obj
            if kv.mod_revision > revision:
                time_ns = self.kernel.now_ns
                found.append(Change(kv, old_kv, obj, old, time_ns, self.storage.decode))
        return found

    # -- watching -----------------------------------------------------------------------------

    def watch(
        self,
        *,
        since: int,
        trigger: tuple[str, str],
        matches: Matches | None,
        prefix: str,
        bookmarks: bool,
        initial_events: bool,
        mark_end: bool,
    ) -> CacheWatcher:
        """A watch of what `trigger` and `matches` select, below `prefix`.

        With `initial_events` it begins with what is there (then `since` does not matter), whose end
        `mark_end` has marked by a bookmark; else with what came after `since`: where that is
        forgotten, its one event is the error (410).
        """
        self._watchers_made += 1
        watcher = CacheWatcher(
            self.kernel,
            self._watchers_made,
            trigger,
            matches,
            bookmarks=bookmarks,
            stop=self._forget,
        )
        watcher.prefix = prefix
        if initial_events:
            value = trigger[1] if trigger[0] == "trigger" else None
            for obj in self.list(prefix, value):
                if matches is None or matches(obj):
                    revision = int(obj["metadata"]["resourceVersion"])
                    watcher.put(WatchEvent("ADDED", obj, revision))
                    watcher.initial += 1
            watcher.revision = watcher.begins_after = self.revision
            if mark_end:
                watcher.put(self._bookmark(end=True))
        else:
            watcher.revision = watcher.begins_after = since
            try:
                missed = self._since(since)
            except status.APIStatus as error:
                # Told in the stream, not instead of it (`newErrWatcher` in `cacher.go`).
                watcher.put(WatchEvent("ERROR", error.to_object(), 0))
                watcher.close()
                return watcher
            for change in missed:
                if change.key.startswith(prefix):
                    watcher.offer(change)
            watcher.revision = max(since, self.revision)
        self._watchers.add(watcher)
        if bookmarks and not self._marking:
            self._marking = True
            self.kernel.call_later(
                BOOKMARK_NS, self._mark, periodic=True, label=f"bookmarks of {self.kind}"
            )
        return watcher

    def watchers(self) -> list[CacheWatcher]:
        """All watches that are open, in the order in which they were opened."""
        return self._watchers.all()

    def _forget(self, watcher: CacheWatcher) -> None:
        if self._watchers.discard(watcher) and self._retired:
            self.retire()

    def _bookmark(self, *, end: bool = False) -> WatchEvent:
        metadata: Object = {"resourceVersion": str(self.revision)}
        if end:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        obj = {"kind": self.kind, "apiVersion": self.api_version, "metadata": metadata}
        return WatchEvent(BOOKMARK, obj, self.revision)

    def _mark(self) -> None:
        """Tell every watch that wants it how far the cache is; goes on while there are such."""
        wanting = [watcher for watcher in self.watchers() if watcher.bookmarks]
        self._marking = bool(wanting) and self.ready
        if not self._marking:
            return
        if self._delivery is not None and self._delivery.process.paused:
            self._delivery.process.defer(self._mark)
            return
        source = self._source
        if source is not None and not self.holding:
            # etcd notifies of progress every few seconds; here it is asked when it matters.
            self.storage.client.member.store.progress(source)
        mark = self._bookmark()
        for watcher in wanting:
            if watcher.revision <= mark.revision:
                watcher.put(mark)
        self.kernel.call_later(
            BOOKMARK_NS, self._mark, periodic=True, label=f"bookmarks of {self.kind}"
        )
