"""The life of one key: its revisions, in generations from creation to deletion.

For example, on the key "foo"::

    put(1.0) put(2.0) tombstone(3.0) put(4.0) tombstone(5.0)

gives the generations, newest first::

    {}              the key does not exist now
    {4.0, 5.0(t)}
    {1.0, 2.0, 3.0(t)}

Compaction at a revision drops what was superseded at or before it. A generation that ended before
it goes; one that ended exactly there leaves its tombstone, since a watch may still start at the
compacted revision::

    compact(2)   {} {4.0, 5.0(t)} {2.0, 3.0(t)}
    compact(4)   {} {4.0, 5.0(t)}
    compact(5)   {} {5.0(t)}
    compact(6)   {} -> the key is forgotten

Follows ``key_index.go``. Beside each revision stands the record that etcd's backend keeps under it,
so that a read is one step; generations need no structure of their own, since a tombstone ends one.
A record knows its main revision, and nearly every transaction has one change, so what is kept
beside a record is nothing unless some ``sub`` is not 0.
An index belongs to the ``epoch`` of the store that made it: a store of another epoch copies it
before it changes it, by which snapshots share what did not change.
"""

from __future__ import annotations

import itertools
import operator
from bisect import bisect_right
from typing import TYPE_CHECKING

from pytest_kubesim.etcd.mvcc.revision import Revision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_kubesim.etcd.messages import KeyValue


_main = operator.attrgetter("mod_revision")


class KeyIndex:
    """The revisions of one key, oldest first, each with its record."""

    __slots__ = ("_subs", "epoch", "key", "records")

    def __init__(self, key: str, epoch: int, record: KeyValue, sub: int = 0) -> None:
        self.key = key
        self.epoch = epoch
        self.records = [record]
        self._subs: list[int] | None = [sub] if sub else None

    def add(self, record: KeyValue, sub: int = 0) -> None:
        """A put or a tombstone; a tombstone only while the key exists."""
        records = self.records
        assert record.version or records[-1].version, f"{self.key!r} does not exist"
        if sub and self._subs is None:
            self._subs = [0] * len(records)
        records.append(record)
        if self._subs is not None:
            self._subs.append(sub)

    def get(self, at: int) -> KeyValue | None:
        """The record in force at the main revision ``at``, ``None`` where the key did not exist."""
        position = self._position(at)
        if position < 0:
            return None
        record = self.records[position]
        return record if record.version else None

    def since(self, at: int) -> list[Revision]:
        """Revisions from the main revision ``at`` on; of several with one main, the last."""
        last = {revision.main: revision for revision, _ in self.entries() if revision.main >= at}
        return list(last.values())

    def superseded(self, at: int) -> int:
        """How many of the oldest revisions a compaction at the main revision ``at`` drops."""
        position = self._position(at)
        if position < 0:
            return 0
        record = self.records[position]
        ended = not record.version and record.mod_revision < at
        return position + 1 if ended else position

    def drop(self, count: int) -> None:
        """Forget the oldest ``count`` revisions."""
        del self.records[:count]
        if self._subs is not None:
            del self._subs[:count]

    def keep(self, at: int) -> Revision | None:
        """The one revision at or before ``at`` that counts for a hash after a compaction there.

        Compaction leaves a tombstone that is exactly there; it does not count, as in ``keep``
        upstream, since older versions dropped it.
        """
        position = self._position(at)
        if position < 0 or not self.records[position].version:
            return None
        sub = 0 if self._subs is None else self._subs[position]
        return Revision(self.records[position].mod_revision, sub)

    def generations(self) -> list[list[Revision]]:
        """The revisions by generation, oldest first; the last is empty unless the key exists."""
        found: list[list[Revision]] = [[]]
        for revision, record in self.entries():
            found[-1].append(revision)
            if not record.version:
                found.append([])
        return found

    def is_empty(self) -> bool:
        """Whether nothing of the key is left."""
        return not self.records

    def says_no_more_than(self, newest: KeyValue | None) -> bool:
        """Whether the newest record of the living key is all that there is."""
        return self._subs is None and len(self.records) == 1 and self.records[0] is newest

    def copy(self, epoch: int) -> KeyIndex:
        """The same index for a store of another epoch."""
        twin = KeyIndex(self.key, epoch, self.records[0])
        twin.records = self.records.copy()
        twin._subs = None if self._subs is None else self._subs.copy()
        return twin

    def entries(self) -> Iterator[tuple[Revision, KeyValue]]:
        """Every revision that is kept, oldest first, with its record."""
        subs = self._subs or itertools.repeat(0)
        for record, sub in zip(self.records, subs, strict=False):
            yield Revision(record.mod_revision, sub), record

    def _position(self, at: int) -> int:
        # Of the largest revision at or before the main one; -1 if there is none.
        return bisect_right(self.records, at, key=_main) - 1
