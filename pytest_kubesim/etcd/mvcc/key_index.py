"""The life of one key: its revisions, in generations from creation to deletion.

For example, on the key "foo"::

    put(1.0) put(2.0) tombstone(3.0) put(4.0) tombstone(5.0)

gives the generations, newest first::

    {}              the key does not exist now
    {4.0, 5.0(t)}
    {1.0, 2.0, 3.0(t)}

Compaction at a revision drops what was superseded at or before it. A generation that ended before it goes; one
that ended exactly there leaves its tombstone, since a watch may still start at the compacted revision::

    compact(2)   {} {4.0, 5.0(t)} {2.0, 3.0(t)}
    compact(4)   {} {4.0, 5.0(t)}
    compact(5)   {} {5.0(t)}
    compact(6)   {} -> the key is forgotten

Follows ``key_index.go``. Beside each revision stands the record that etcd's backend keeps under it, so that a
read is one step. An index belongs to the ``epoch`` of the store that made it: a store of another epoch copies
it before it changes it, by which snapshots share what did not change.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from pytest_kubesim.etcd.mvcc.revision import LAST_SUB, Revision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_kubesim.etcd.messages import KeyValue


class Generation:
    """The revisions of a key from one creation on, with their records; the last may be a tombstone."""

    __slots__ = ("records", "revisions")

    def __init__(self, revisions: list[Revision], records: list[KeyValue]) -> None:
        self.revisions = revisions
        self.records = records


class KeyIndex:
    """All generations of a key, oldest first; the last is empty when the key does not exist."""

    __slots__ = ("epoch", "generations", "key")

    def __init__(self, key: str, epoch: int = 0) -> None:
        self.key = key
        self.epoch = epoch
        self.generations = [Generation([], [])]

    def put(self, revision: Revision, record: KeyValue) -> None:
        """Add a revision to the present generation."""
        generation = self.generations[-1]
        generation.revisions.append(revision)
        generation.records.append(record)

    def tombstone(self, revision: Revision, record: KeyValue) -> None:
        """End the present generation, which must not be empty, and begin the next."""
        assert self.generations[-1].revisions, f"tombstone on {self.key!r}, which does not exist"
        self.put(revision, record)
        self.generations.append(Generation([], []))

    def get(self, at: int) -> KeyValue | None:
        """The record in force at the main revision ``at``, ``None`` where the key did not exist."""
        newest = len(self.generations) - 1
        for number in range(newest, -1, -1):
            revisions = self.generations[number].revisions
            if not revisions or revisions[0].main > at:
                continue
            if number != newest and revisions[-1].main <= at:
                return None
            records = self.generations[number].records
            if revisions[-1].main <= at:
                return records[-1]
            return records[bisect_right(revisions, (at, LAST_SUB)) - 1]
        return None

    def since(self, at: int) -> list[Revision]:
        """Revisions from the main revision ``at`` on; of several with one main, the last."""
        found: dict[int, Revision] = {}
        for generation in self.generations:
            for revision in generation.revisions:
                if revision.main >= at:
                    found[revision.main] = revision
        return list(found.values())

    def compact(self, at: int) -> None:
        """Drop what was superseded at or before the main revision ``at``."""
        first, kept = self._kept(at)
        self.generations = self.generations[first:]
        if kept > 0:
            oldest = self.generations[0]
            self.generations[0] = Generation(oldest.revisions[kept:], oldest.records[kept:])

    def keep(self, at: int) -> Revision | None:
        """The one revision at or before ``at`` that a compaction there would leave.

        A tombstone is left by ``compact`` but not counted here: upstream keeps the hashes of older versions,
        which dropped it, the same.
        """
        first, kept = self._kept(at)
        revisions = self.generations[first].revisions
        if kept < 0 or (kept == len(revisions) - 1 and first != len(self.generations) - 1):
            return None
        return revisions[kept]

    def is_empty(self) -> bool:
        """Whether nothing of the key is left."""
        return len(self.generations) == 1 and not self.generations[0].revisions

    def copy(self, epoch: int) -> KeyIndex:
        """The same index for a store of another epoch."""
        twin = KeyIndex(self.key, epoch)
        twin.generations = [
            Generation(generation.revisions.copy(), generation.records.copy())
            for generation in self.generations
        ]
        return twin

    def entries(self) -> Iterator[tuple[Revision, KeyValue]]:
        """Every revision that is kept, oldest first, with its record."""
        for generation in self.generations:
            yield from zip(generation.revisions, generation.records, strict=True)

    def _kept(self, at: int) -> tuple[int, int]:
        # The first generation that ended at or after the revision, and the position in it of the largest
        # revision at or before (-1: none).
        first = 0
        while first < len(self.generations) - 1:
            if self.generations[first].revisions[-1].main >= at:
                break
            first += 1
        return first, bisect_right(self.generations[first].revisions, (at, LAST_SUB)) - 1
