"""A member's log: what follows a snapshot, which part of it is kept, committed, applied.

::

    snapshot.index <= applied <= committed <= last index;   stable <= last index

    compacted   applied   committed   not yet committed
    ........... ========= ----------- ~~~~~~~~~~~~~~~~~
              ^ snapshot.index                        ^ last_index

``stable`` is how far the log has been written; it may be behind ``committed``. Follows ``log.go``
and ``log_unstable.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.etcd.raft.messages import Entry, Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence


class RaftLog:
    """The log. ``snapshot`` is what it begins after, ``entries`` are all that is known since."""

    __slots__ = ("applied", "committed", "entries", "pending_snapshot", "snapshot", "stable")

    def __init__(self, snapshot: Snapshot | None = None, entries: Sequence[Entry] = ()) -> None:
        self.snapshot = snapshot or Snapshot()
        self.entries = list(entries)
        assert not entries or entries[0].index == self.snapshot.index + 1, "a gap in the log"
        self.committed = self.applied = self.snapshot.index
        self.stable = self.last_index
        self.pending_snapshot: Snapshot | None = None
        """A snapshot that was received and has yet to be kept and applied."""

    # Reading

    @property
    def first_index(self) -> int:
        """The least index that an entry is known for, or will be."""
        return self.snapshot.index + 1

    @property
    def last_index(self) -> int:
        """The greatest index that is known."""
        return self.snapshot.index + len(self.entries)

    @property
    def last_term(self) -> int:
        """The term at the last index."""
        return self.entries[-1].term if self.entries else self.snapshot.term

    def term(self, index: int) -> int | None:
        """The term at an index; ``None`` where nothing is known."""
        offset = index - self.snapshot.index
        if offset == 0:
            return self.snapshot.term
        if 0 < offset <= len(self.entries):
            return self.entries[offset - 1].term
        return None

    def after(self, index: int, limit: int | None = None) -> tuple[Entry, ...]:
        """The entries after an index, at most ``limit``; the index must not be compacted."""
        start = index - self.snapshot.index
        assert start >= 0, f"the log after {index} is compacted to {self.snapshot.index}"
        return tuple(self.entries[start : None if limit is None else start + limit])

    def unstable(self) -> tuple[Entry, ...]:
        """What has yet to be written."""
        return self.after(self.stable) if self.stable < self.last_index else ()

    def to_apply(self) -> tuple[Entry, ...]:
        """What is committed and not applied; nothing while a snapshot waits to be applied."""
        if self.committed <= self.applied or self.pending_snapshot is not None:
            return ()
        return self.after(self.applied, self.committed - self.applied)

    def matches(self, index: int, term: int) -> bool:
        """Whether the entry at an index is of a term."""
        return self.term(index) == term

    def is_up_to_date(self, index: int, term: int) -> bool:
        """Whether a log that ends so is at least as long as this one: rule of elections."""
        return term > self.last_term or (term == self.last_term and index >= self.last_index)

    def find_conflict_by_term(self, index: int, term: int) -> tuple[int, int]:
        """The greatest index up to ``index`` whose term is at most ``term``, and its term.

        Where the term is not known any more it is 0: the logs may agree there.
        """
        index = min(index, self.last_index)
        while index > 0:
            ours = self.term(index)
            if ours is None:
                return index, 0
            if ours <= term:
                return index, ours
            index -= 1
        return 0, 0

    # Writing

    def append(self, entries: Sequence[Entry]) -> int:
        """Put entries where they say they belong; what stood there and after is forgotten."""
        if not entries:
            return self.last_index
        after = entries[0].index - 1
        assert after >= self.committed, f"entry {after + 1} is committed ({self.committed})"
        offset = after - self.snapshot.index
        if offset < len(self.entries):
            del self.entries[offset:]
            self.stable = min(self.stable, after)
        self.entries += entries
        return self.last_index

    def maybe_append(
        self, index: int, term: int, committed: int, entries: Sequence[Entry]
    ) -> int | None:
        """Append after an entry if it is the same here; the last new index, or ``None``."""
        if not self.matches(index, term):
            return None
        last_new = index + len(entries)
        for position, entry in enumerate(entries):
            if not self.matches(entry.index, entry.term):
                self.append(entries[position:])
                break
        self.commit_to(min(committed, last_new))
        return last_new

    def commit_to(self, index: int) -> None:
        """All up to an index is committed; never less than before."""
        if index > self.committed:
            assert index <= self.last_index, (
                f"tocommit({index}) is out of range [lastIndex({self.last_index})]"
            )
            self.committed = index

    def applied_to(self, index: int) -> None:
        """All up to an index is applied."""
        assert self.applied <= index <= self.committed, "applied what is not committed"
        self.applied = index

    def stable_to(self, index: int, term: int) -> None:
        """All up to an index is written, if that is still what stands there."""
        if index > self.stable and self.term(index) == term:
            self.stable = index

    def restore(self, snapshot: Snapshot) -> None:
        """Begin anew after a snapshot that was received."""
        self.snapshot = snapshot
        self.pending_snapshot = snapshot
        self.entries = []
        self.committed = self.stable = snapshot.index

    def compact(self, index: int) -> None:
        """Forget the entries up to an index that is applied."""
        if index <= self.snapshot.index:
            return
        assert index <= self.applied, "compacts what is not applied"
        term = self.term(index)
        assert term is not None
        del self.entries[: index - self.snapshot.index]
        self.snapshot = Snapshot(index, term)
