"""The store: every key at every revision since the last compaction.

A change is staged, then committed; what was staged together becomes one main revision. For example,
on a new store, whose revision is 1::

    put a=1                     revision 2: a created 2, modified 2, version 1
    put a=2                     revision 3: a created 2, modified 3, version 2
    stage put b=1, delete a     revision 4: b at 4.0, the tombstone of a at 4.1
    range at 0  -> b            at 3 -> a=2            at 5 -> ErrFutureRev
    compact 3                   at 2 -> ErrCompacted   at 3 -> a=2

Follows ``kvstore.go`` and ``kvstore_txn.go``. Upstream reads everything through the index; here the
newest record of each living key also stands in a dictionary, since nearly every read is of the
newest.  A key of which that is all there is (most keys are written once) is in no index.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from pytest_kubesim.etcd.messages import (
    FROM_KEY,
    NO_LEASE,
    ErrCompacted,
    ErrFutureRev,
    Event,
    KeyValue,
    RangeResponse,
)
from pytest_kubesim.etcd.mvcc.hash import hash_by_revision
from pytest_kubesim.etcd.mvcc.index import SortedKeys
from pytest_kubesim.etcd.mvcc.key_index import KeyIndex
from pytest_kubesim.etcd.mvcc.kvstore_txn import apply_txn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_kubesim.etcd.lease import Lessor
    from pytest_kubesim.etcd.messages import Compare, HashKVResponse, RequestOp, TxnResponse
    from pytest_kubesim.etcd.mvcc.revision import Revision


@attrs.frozen(eq=False)
class Snapshot:
    """A whole store at one moment. It shares every record with the store it was taken from.

    ``revision`` and ``compacted`` are the store's; the rest is the store's own business.
    """

    revision: int
    compacted: int
    epoch: int
    live: dict[str, KeyValue]
    index: dict[str, KeyIndex]
    live_keys: SortedKeys
    history: list[Event]


@functools.lru_cache(8192)
def _directories(key: str) -> tuple[str, ...]:
    """What a key is below of."""
    found: list[str] = []
    end = key.rfind("/")
    while end > 0:
        found.append(key[:end])
        end = key.rfind("/", 0, end)
    return tuple(found)


def _mod_revision(event: Event) -> int:
    return event.kv.mod_revision


class KVStore:
    """Keys, their history, and the leases they hang on.

    ``lessor`` is told which keys are attached to which lease; without one, lease ids are only
    recorded.
    """

    def __init__(self, lessor: Lessor | None = None) -> None:
        self.lessor = lessor
        self._revision = 1
        self._compacted = -1
        self._epoch = 0
        self._live: dict[str, KeyValue] = {}
        self._index: dict[str, KeyIndex] = {}
        self._live_keys = SortedKeys()
        # All changes since the compacted revision, in order.
        self._history: list[Event] = []
        self._staged: list[Event] = []
        self._changes = 0
        # By directory, which change below it was the last; for all others, the last one at all
        # that may have been below them.
        self._touched: dict[str, int] = {}
        self._untouched = 0

    @property
    def revision(self) -> int:
        """The main revision of the last committed change; 1 before the first."""
        return self._revision

    @property
    def compacted(self) -> int:
        """The main revision of the last compaction, -1 before the first."""
        return self._compacted

    @property
    def visible_revision(self) -> int:
        """The revision that a read sees: the next one while a transaction has staged changes."""
        return self._revision + 1 if self._staged else self._revision

    # Reading

    def latest(self, key: str) -> KeyValue | None:
        """The newest record of a key, ``None`` if it does not exist."""
        return self._live.get(key)

    def range(
        self,
        key: str,
        range_end: str = "",
        *,
        revision: int = 0,
        limit: int = 0,
        count_only: bool = False,
        keys_only: bool = False,
    ) -> RangeResponse:
        """Read ``key``, or ``[key, range_end)`` in order, at a main revision (0: the newest).

        ``keys_only`` leaves out the value and the lease, as upstream does since it answers from the
        index.

        Raises ``ErrFutureRev``, ``ErrCompacted``. Follows ``rangeKeys``.
        """
        visible = self.visible_revision
        if revision > visible:
            raise ErrFutureRev
        at = revision if revision > 0 else visible
        if at < self._compacted:
            raise ErrCompacted
        if at == visible:
            found, count = self._newest(key, range_end, limit, count_only=count_only)
        else:
            found, count = self._at(at, key, range_end, limit)
        if count_only:
            return RangeResponse(visible, (), False, count)
        if keys_only:
            found = [
                KeyValue(kv.key, None, kv.create_revision, kv.mod_revision, kv.version)
                for kv in found
            ]
        return RangeResponse(visible, tuple(found), len(found) < count, count)

    def touched(self, directory: str) -> int:
        """A number that is another after every change of a key below ``directory``.

        What a key is below of ends before one of its slashes: ``/a/b/c`` is below ``/a/b`` and
        ``/a``. The number may be another without such a change.
        """
        return self._touched.get(directory, self._untouched)

    @property
    def restored(self) -> int:
        """A number that is another after everything may have become another, or been compacted."""
        return self._untouched

    def history_since(self, revision: int) -> list[Event]:
        """All changes from a main revision on, in order; at the least the compacted one."""
        history = self._history
        return history[bisect_left(history, revision, key=_mod_revision) :]

    def entries(self) -> Iterator[tuple[Revision, KeyValue]]:
        """Every record that is kept, with its revision, by key; what a backend would hold."""
        for index in self._indexes():
            yield from index.entries()

    def _newest(
        self, key: str, range_end: str, limit: int, *, count_only: bool
    ) -> tuple[list[KeyValue], int]:
        live = self._live
        if not range_end:
            kv = live.get(key)
            return ([], 0) if kv is None else ([kv], 1)
        if count_only:
            return [], self._live_keys.count(key, range_end)
        keys = self._live_keys.range(key, range_end, limit)
        count = self._live_keys.count(key, range_end) if limit else len(keys)
        return list(map(live.__getitem__, keys)), count

    def _at(
        self, revision: int, key: str, range_end: str, limit: int
    ) -> tuple[list[KeyValue], int]:
        if not range_end:
            index = self._index_of(key)
            kv = None if index is None else index.get(revision)
            return ([], 0) if kv is None else ([kv], 1)
        # Only what changed since then was different then.
        live = self._live
        changed = dict.fromkeys(event.kv.key for event in self.history_since(revision + 1))
        changed |= dict.fromkeys(event.kv.key for event in self._staged)
        then: dict[str, KeyValue | None] = {}
        for name in changed:
            if key <= name and (range_end == FROM_KEY or name < range_end):
                index = self._index_of(name)
                then[name] = None if index is None else index.get(revision)
        keys = self._live_keys.range(key, range_end, limit + len(then) if limit else 0)
        if gone := [name for name in then if name not in live]:
            keys = sorted(keys + gone)
        found = [
            kv for name in keys if (kv := then[name] if name in then else live[name]) is not None
        ]
        if not limit:
            return found, len(found)
        count = self._live_keys.count(key, range_end) - len(then) + len(gone)
        count += sum(kv is not None for kv in then.values())
        return found[:limit], count

    # Writing

    def put(self, key: str, value: Any, lease: int = NO_LEASE) -> int:
        """Write one key as a revision of its own, which is returned."""
        self.stage_put(key, value, lease)
        return self.commit()

    def delete_range(self, key: str, range_end: str = "") -> tuple[int, int]:
        """Delete a key or a range; returns how many there were, and the revision."""
        deleted = self.stage_delete_range(key, range_end)
        return deleted, self.commit()

    def stage_put(self, key: str, value: Any, lease: int = NO_LEASE) -> None:
        """Write a key as part of the transaction that ``commit`` ends."""
        main = self._revision + 1
        staged = self._staged
        previous = self._live.get(key)
        if previous is None:
            kv = KeyValue(key, value, main, main, 1, lease)
            self._live_keys.add(key)
            index = self._index.get(key)
        else:
            key = previous.key  # The text that is kept already.
            kv = KeyValue(key, value, previous.create_revision, main, previous.version + 1, lease)
            index = self._index.get(key) or self._begin_index(previous)
        if index is not None:
            self._own(index).add(kv, len(staged))
        elif staged:
            self._begin_index(kv, len(staged))
        self._live[key] = kv
        self._touch(key)
        staged.append(Event("PUT", kv, previous))
        held = NO_LEASE if previous is None else previous.lease
        if held != lease and self.lessor is not None:
            if held:
                self.lessor.detach(held, (key,))
            if lease:
                self.lessor.attach(lease, (key,))

    def stage_delete_range(self, key: str, range_end: str = "") -> int:
        """Delete as part of the transaction that ``commit`` ends; returns how many there were."""
        if range_end:
            keys = self._live_keys.range(key, range_end)
        else:
            keys = [key] if key in self._live else []
        for name in keys:
            self._stage_delete(name)
        return len(keys)

    def _stage_delete(self, key: str) -> None:
        previous = self._live.pop(key)
        tombstone = KeyValue(key, None, 0, self._revision + 1, 0)
        index = self._index.get(key) or self._begin_index(previous)
        self._own(index).add(tombstone, len(self._staged))
        self._live_keys.remove(key)
        self._touch(key)
        self._staged.append(Event("DELETE", tombstone, previous))
        if previous.lease and self.lessor is not None:
            self.lessor.detach(previous.lease, (key,))

    def _touch(self, key: str) -> None:
        self._changes = change = self._changes + 1
        touched = self._touched
        for directory in _directories(key):
            touched[directory] = change

    def _touch_all(self) -> None:
        self._changes = self._untouched = self._changes + 1
        self._touched.clear()

    def commit(self) -> int:
        """End the transaction: what was staged becomes the next revision. Returns the newest."""
        if events := self._staged:
            self._staged = []
            self._revision += 1
            self._history += events
            self.committed(self._revision, events)
        return self._revision

    def committed(self, revision: int, events: list[Event]) -> None:
        """Called after each commit that changed something; a store with watchers tells them."""

    def txn(
        self,
        compares: Sequence[Compare],
        success: Sequence[RequestOp],
        failure: Sequence[RequestOp] = (),
    ) -> TxnResponse:
        """If all conditions hold then ``success`` else ``failure``, as one revision.

        Raises what ``kvstore_txn.apply_txn`` raises.
        """
        return apply_txn(self, compares, success, failure)

    # Compaction

    def compact(self, revision: int) -> None:
        """Forget all that was superseded at or before a main revision.

        Raises ``ErrCompacted`` if that was done before, ``ErrFutureRev``. Upstream deletes in the
        background; the difference shows only in its disk usage.
        """
        if revision <= self._compacted:
            raise ErrCompacted
        if revision > self._revision:
            raise ErrFutureRev
        self._compacted = revision
        self._touch_all()
        history = self._history
        older = bisect_left(history, revision, key=_mod_revision)
        newer = bisect_left(history, revision + 1, key=_mod_revision)
        # A key that did not change since the last compaction has one revision and loses nothing.
        for key in dict.fromkeys(event.kv.key for event in history[:newer]):
            self._compact_key(key, revision)
        # What a change replaced is gone when the change itself is the oldest revision left.
        at = [msgspec.structs.replace(event, prev_kv=None) for event in history[older:newer]]
        self._history = at + history[newer:]

    def _compact_key(self, key: str, revision: int) -> None:
        index = self._index.get(key)
        superseded = 0 if index is None else index.superseded(revision)
        if index is None or not superseded:
            return
        index = self._own(index)
        index.drop(superseded)
        if index.is_empty() or index.says_no_more_than(self._live.get(key)):
            del self._index[key]

    # The index

    def _begin_index(self, kv: KeyValue, sub: int = 0) -> KeyIndex:
        index = self._index[kv.key] = KeyIndex(kv.key, self._epoch, kv, sub)
        return index

    def _own(self, index: KeyIndex) -> KeyIndex:
        """The index, or its copy where it belongs to a snapshot: to change."""
        if index.epoch == self._epoch:
            return index
        twin = self._index[index.key] = index.copy(self._epoch)
        return twin

    def _index_of(self, key: str) -> KeyIndex | None:
        """The index of a key, or what it would be: to look at."""
        index = self._index.get(key)
        if index is None and (kv := self._live.get(key)) is not None:
            return KeyIndex(key, self._epoch, kv)
        return index

    def _indexes(self) -> Iterator[KeyIndex]:
        yield from self._index.values()
        for key, kv in self._live.items():
            if key not in self._index:
                yield KeyIndex(key, self._epoch, kv)

    # Copies

    def snapshot(self) -> Snapshot:
        """The store at this moment, cheaply: records are shared."""
        assert not self._staged, "a snapshot in the middle of a transaction"
        taken = Snapshot(
            revision=self._revision,
            compacted=self._compacted,
            epoch=self._epoch,
            live=self._live.copy(),
            index=self._index.copy(),
            live_keys=self._live_keys.copy(),
            history=self._history.copy(),
        )
        # From here on every index belongs to the snapshot, and is copied before it changes.
        self._epoch += 1
        return taken

    def restore(self, snapshot: Snapshot) -> None:
        """Become what the snapshot holds, of this store or of another one.

        The lessor is left alone: who restores a store restores its lessor as well.
        """
        assert not self._staged, "a restore in the middle of a transaction"
        self._revision = snapshot.revision
        self._compacted = snapshot.compacted
        self._epoch = max(self._epoch, snapshot.epoch) + 1
        self._live = snapshot.live.copy()
        self._index = snapshot.index.copy()
        self._live_keys = snapshot.live_keys.copy()
        self._history = snapshot.history.copy()
        self._touch_all()

    def skip_to(self, revision: int) -> None:
        """Leave out the revisions up to this one: the next change comes after it.

        For a store that takes over from another whose revisions clients remember.
        """
        assert not self._staged, "a skip in the middle of a transaction"
        self._revision = max(self._revision, revision)

    def hash_kv(
        self, revision: int = 0, *, encode: Callable[[Any], bytes] = bytes
    ) -> HashKVResponse:
        """A hash of all that is kept up to a main revision (0: the newest), equal for equal stores.

        ``encode`` gives the bytes of a value; for values that are bytes the hash is the one etcd
        computes. Upstream remembers hashes from the time of a compaction and answers those at
        exactly the compacted revision; this store always computes.

        Raises ``ErrFutureRev``, ``ErrCompacted``. Follows ``hashByRev``.
        """
        if 0 < revision < self._compacted:
            raise ErrCompacted
        if revision > self._revision:
            raise ErrFutureRev
        at = revision or self._revision
        keep = {kept for index in self._indexes() if (kept := index.keep(at)) is not None}
        return hash_by_revision(
            sorted(self.entries(), key=_revision_of),
            keep,
            revision=self._revision,
            compact_revision=self._compacted,
            hash_revision=at,
            encode=encode,
        )


def _revision_of(entry: tuple[Revision, KeyValue]) -> Revision:
    return entry[0]
