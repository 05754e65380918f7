"""The write-ahead log: what a member has on its disk, and becomes again when it starts.

Law: the disk holds one snapshot, then entries and hard states in the order in which they were
written; a later entry of the same index replaces the earlier one and all that followed it. For
example::

    snapshot 4, entries 5 6 7, entries 6' 7'     is 4, then 5 6' 7'

Follows ``server/storage/wal`` and ``storage.go``. Upstream's database is on the disk besides, never
ahead of what is committed; here it is the snapshot, and what was applied since is applied again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pytest_kubesim.etcd.raft.messages import Entry, HardState, Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_kubesim.etcd.raft.messages import Ready
    from pytest_kubesim.sim.disk import Disk

_Record: TypeAlias = "Snapshot | Entry | HardState"


class WAL:
    """The log on a disk."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.snapshot_index = 0
        """The index of the snapshot that is on the disk."""

    def create(self, snapshot: Snapshot) -> None:
        """Begin anew after a snapshot, as a new member or one that was restored does."""
        self.snapshot_index = snapshot.index
        self.disk.replace([snapshot, HardState(snapshot.term, 0, snapshot.index)])

    def save(self, ready: Ready) -> None:
        """Write what must be kept, without syncing.  Raises ``DiskFull``."""
        disk = self.disk
        for entry in ready.entries:
            disk.append(entry)
        if ready.hard_state is not None:
            disk.append(ready.hard_state)

    def save_snapshot(
        self, snapshot: Snapshot, hard_state: HardState, entries: Sequence[Entry] = ()
    ) -> None:
        """Replace all that came before a snapshot by it, synced.  Raises ``DiskFull``."""
        self.disk.replace([snapshot, *entries, hard_state])
        self.snapshot_index = snapshot.index

    def load(self) -> tuple[Snapshot, HardState, list[Entry]]:
        """The snapshot, the last hard state, and the entries after the snapshot."""
        snapshot, hard_state = Snapshot(), HardState()
        entries: list[Entry] = []
        for record in self.disk.read():
            if isinstance(record, Snapshot):
                snapshot, entries = record, []
            elif isinstance(record, HardState):
                hard_state = record
            elif record.index > snapshot.index:
                del entries[record.index - snapshot.index - 1 :]
                entries.append(record)
        self.snapshot_index = snapshot.index
        # A crash may leave a hard state whose entries it did not leave: then less is known to be
        # committed, never more.
        last = snapshot.index + len(entries)
        if hard_state.commit > last:
            hard_state = HardState(hard_state.term, hard_state.vote, last)
        return snapshot, hard_state, entries
