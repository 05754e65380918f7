"""The store that tells watchers what changed.

A watcher is synced, and hears of each commit as it happens, or unsynced, and is behind:
``sync_watchers`` reads it the history it missed and makes it a synced one. For example, on a store
at revision 4 whose revisions 2 to 4 changed a, b, a::

    watch a from 0      synced;   hears from revision 5 on
    watch a from 3      unsynced; sync_watchers() delivers revision 4, then it is synced
    watch a from 9      synced;   hears nothing before revision 9
    compact 4, then watch a from 3, sync_watchers(): compact_revision 4, and the watcher is ended

A callback may write, watch and cancel: what it causes is delivered after what is being delivered,
so every watcher hears of revisions in order. Follows ``watchable_store.go`` and
``watcher_group.go``; where upstream is free to choose the order in which watchers hear, here it is
that of their creation.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from pytest_kubesim.etcd.messages import FROM_KEY, ErrEmptyWatcherRange, Event, WatchResponse
from pytest_kubesim.etcd.mvcc.kvstore import KVStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_kubesim.etcd.lease import Lessor
    from pytest_kubesim.etcd.messages import WatchFilter
    from pytest_kubesim.etcd.mvcc.kvstore import Snapshot

MAX_REVISIONS = 1000
"""The most revisions that one response to an unsynced watcher carries (``watchBatchMaxRevs``)."""

_FILTERED: dict[WatchFilter, str] = {"NOPUT": "PUT", "NODELETE": "DELETE"}


class Watcher:
    """One watch of a key or a range; its callback gets ``WatchResponse`` and must not raise.

    ``start_revision`` is what was asked for; ``min_revision`` is the least revision it has yet to
    hear of.
    """

    def __init__(
        self,
        store: WatchableStore,
        identity: int,
        key: str,
        range_end: str,
        start_revision: int,
        callback: Callable[[WatchResponse], object],
        *,
        prev_kv: bool,
        filters: Sequence[WatchFilter],
    ) -> None:
        self.id = identity
        self.key = key
        self.range_end = range_end
        self.start_revision = start_revision
        self.min_revision = start_revision
        self.callback = callback
        self.prev_kv = prev_kv
        self.cancelled = False
        self._store = store
        self.dropped = frozenset(_FILTERED[name] for name in filters)

    def cancel(self) -> None:
        """Hear nothing more, not even of what is being delivered at this moment."""
        self._store.cancel(self)

    def send(self, response: WatchResponse) -> None:
        """Deliver, without the events that the watcher does not want; nothing if none is left."""
        events = response.events
        if events and self.dropped:
            events = tuple(event for event in events if event.type not in self.dropped)
            if not events:
                return
            response = msgspec.structs.replace(response, events=events)
        if events and not self.prev_kv:
            response = WatchResponse(
                response.revision,
                tuple([Event(event.type, event.kv) for event in events]),
                response.compact_revision,
            )
        self.callback(response)


class _WatcherGroup:
    """Watchers by what they watch: one look-up for single keys, one bisection for all ranges.

    The ranges cut the keys into segments, each with the watchers that cover all of it. Segments are
    computed anew when a key is looked up after the ranges changed, which is rare: the API server
    keeps a watch for each resource.
    """

    def __init__(self) -> None:
        self.watchers: dict[int, Watcher] = {}
        self._by_key: dict[str, list[Watcher]] = {}
        self._ranges: dict[int, Watcher] = {}
        self._starts: list[str] | None = None
        self._segments: list[tuple[Watcher, ...]] = []

    def add(self, watcher: Watcher) -> None:
        self.watchers[watcher.id] = watcher
        if watcher.range_end:
            self._ranges[watcher.id] = watcher
            self._starts = None
        else:
            self._by_key.setdefault(watcher.key, []).append(watcher)

    def discard(self, watcher: Watcher) -> None:
        if self.watchers.pop(watcher.id, None) is None:
            return
        if watcher.range_end:
            del self._ranges[watcher.id]
            self._starts = None
        else:
            same = self._by_key[watcher.key]
            same.remove(watcher)
            if not same:
                del self._by_key[watcher.key]

    def watching(self, key: str) -> Sequence[Watcher]:
        """The watchers of a key."""
        if self._starts is None:
            self._cut()
        assert self._starts is not None
        found: Sequence[Watcher] = self._segments[bisect_right(self._starts, key)]
        if self._by_key and (single := self._by_key.get(key)):
            return sorted([*found, *single], key=_identity)
        return found

    def _cut(self) -> None:
        ranges = sorted(self._ranges.values(), key=_identity)
        starts = {watcher.key for watcher in ranges}
        ends = {watcher.range_end for watcher in ranges if watcher.range_end != FROM_KEY}
        self._starts = sorted(starts | ends)
        # The first segment lies before every range.
        self._segments = [
            (),
            *(
                tuple(
                    watcher
                    for watcher in ranges
                    if watcher.key <= start
                    and (watcher.range_end == FROM_KEY or start < watcher.range_end)
                )
                for start in self._starts
            ),
        ]


class WatchableStore(KVStore):
    """A ``KVStore`` with watchers."""

    def __init__(self, lessor: Lessor | None = None) -> None:
        super().__init__(lessor)
        self._synced = _WatcherGroup()
        self._unsynced: dict[int, Watcher] = {}
        self._watchers_made = 0
        self._undelivered: deque[tuple[Watcher | None, int, list[Event]]] = deque()
        self._delivering = False

    def watch(
        self,
        key: str,
        range_end: str = "",
        start_revision: int = 0,
        callback: Callable[[WatchResponse], object] = lambda _: None,
        *,
        prev_kv: bool = False,
        filters: Sequence[WatchFilter] = (),
    ) -> Watcher:
        """Watch a key or a range from a main revision on; 0 means from the next one.

        What happened already is delivered by ``sync_watchers``. ``filters`` name the events to
        leave out.

        Raises ``ErrEmptyWatcherRange``. Follows ``watchStream.Watch``.
        """
        if range_end and range_end != FROM_KEY and key >= range_end:
            raise ErrEmptyWatcherRange
        self._watchers_made += 1
        watcher = Watcher(
            self,
            self._watchers_made,
            key,
            range_end,
            start_revision,
            callback,
            prev_kv=prev_kv,
            filters=filters,
        )
        if start_revision == 0 or start_revision > self.revision:
            watcher.min_revision = max(start_revision, self.revision + 1)
            self._synced.add(watcher)
        else:
            self._unsynced[watcher.id] = watcher
        return watcher

    def cancel(self, watcher: Watcher) -> None:
        """End a watcher; the same as its own ``cancel``."""
        watcher.cancelled = True
        self._synced.discard(watcher)
        self._unsynced.pop(watcher.id, None)

    def is_synced(self, watcher: Watcher) -> bool:
        """Whether the watcher hears of commits as they happen."""
        return watcher.id in self._synced.watchers

    def sync_watchers(self) -> int:
        """Deliver history to the watchers that are behind; returns how many still are.

        One call delivers at most ``MAX_REVISIONS`` revisions to each, as upstream's loop does at a
        time.
        """
        for watcher in list(self._unsynced.values()):
            if not watcher.cancelled:
                self._sync(watcher)
        return len(self._unsynced)

    def progress(self, watcher: Watcher) -> bool:
        """Send the watcher the present revision, without events, if it is synced; says if so."""
        if not self.is_synced(watcher) or self.revision < watcher.start_revision:
            return False
        self._undelivered.append((watcher, self.revision, []))
        if not self._delivering:
            self._deliver()
        return True

    def restore(self, snapshot: Snapshot) -> None:
        """As ``KVStore.restore``. Watchers stay, and are behind, or ahead if the snapshot is older.

        A watcher that is ahead hears nothing until the store has come to where it was.
        """
        super().restore(snapshot)
        for watcher in list(self._synced.watchers.values()):
            self._synced.discard(watcher)
            self._unsynced[watcher.id] = watcher
        self._unsynced = dict(sorted(self._unsynced.items()))

    def committed(self, revision: int, events: list[Event]) -> None:
        """Tell the watchers."""
        if not self._synced.watchers:
            return
        self._undelivered.append((None, revision, events))
        if not self._delivering:
            self._deliver()

    def _deliver(self) -> None:
        self._delivering = True
        try:
            while self._undelivered:
                told, revision, events = self._undelivered.popleft()
                if told is not None:
                    if not told.cancelled:
                        told.send(WatchResponse(revision))
                elif len(events) == 1:
                    self._notify_one(revision, events[0])
                else:
                    self._notify_many(revision, events)
        finally:
            self._delivering = False

    def _notify_one(self, revision: int, event: Event) -> None:
        watchers = self._synced.watching(event.kv.key)
        if not watchers:
            return
        # Made once for all who hear the same.
        whole = bare = WatchResponse(revision, (event,))
        if event.prev_kv is not None:
            bare = WatchResponse(revision, (Event(event.type, event.kv),))
        for watcher in watchers:
            if watcher.min_revision <= revision and not watcher.cancelled:
                watcher.min_revision = revision + 1
                if event.type not in watcher.dropped:
                    watcher.callback(whole if watcher.prev_kv else bare)

    def _notify_many(self, revision: int, events: list[Event]) -> None:
        batches: dict[int, tuple[Watcher, list[Event]]] = {}
        for event in events:
            for watcher in self._synced.watching(event.kv.key):
                if watcher.min_revision <= revision:
                    batches.setdefault(watcher.id, (watcher, []))[1].append(event)
        for _, (watcher, batch) in sorted(batches.items()):
            if not watcher.cancelled:
                watcher.min_revision = revision + 1
                watcher.send(WatchResponse(revision, tuple(batch)))

    def _sync(self, watcher: Watcher) -> None:
        revision = self.revision
        if watcher.min_revision < self.compacted:
            self.cancel(watcher)
            watcher.callback(WatchResponse(0, (), self.compacted))
            return
        batch: list[Event] = []
        revisions = last = 0
        for event in self.history_since(watcher.min_revision):
            if not _covers(watcher, event.kv.key):
                continue
            if event.kv.mod_revision != last:
                last = event.kv.mod_revision
                revisions += 1
                if revisions > MAX_REVISIONS:
                    break
            batch.append(event)
        if revisions > MAX_REVISIONS:
            watcher.min_revision = last
        else:
            watcher.min_revision = max(revision + 1, watcher.min_revision)
            del self._unsynced[watcher.id]
            self._synced.add(watcher)
        if batch:
            watcher.send(WatchResponse(revision, tuple(batch)))


def _identity(watcher: Watcher) -> int:
    return watcher.id


def _covers(watcher: Watcher, key: str) -> bool:
    if not watcher.range_end:
        return key == watcher.key
    return watcher.key <= key and (watcher.range_end == FROM_KEY or key < watcher.range_end)
