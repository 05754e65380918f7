"""Did anything change since I last asked, and what?  How conditions are looked at only where it
matters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_kubesim.etcd.mvcc.kvstore import KVStore


class Changes:
    """A cheap answer to "did anything change since I last asked?"; yes, the first time."""

    __slots__ = ("_last", "_state")

    def __init__(self, state: Callable[[], object]) -> None:
        self._state = state
        self._last: object = None

    def changed(self) -> bool:
        """Whether the state is another than when last asked."""
        state = self._state()
        if state == self._last:
            return False
        self._last = state
        return True

    def keys(self) -> list[str] | None:
        """What was written since this was last asked; None: anything may have been."""
        return None


class Written:
    """The same of the keys below a directory of a store, such as `/registry/pods`.

    Parameters: `store`, which gives the store as it is now.
    """

    __slots__ = ("_directory", "_restored", "_revision", "_seen", "_store", "_touched")

    def __init__(self, store: Callable[[], KVStore], directory: str) -> None:
        self._store = store
        self._directory = directory
        self._touched = -1
        self._seen: KVStore | None = None
        self._restored = -1
        self._revision = 0

    def changed(self) -> bool:
        """Whether a key was written since this was last asked; yes, the first time."""
        touched = self._store().touched(self._directory)
        if touched == self._touched:
            return False
        self._touched = touched
        return True

    def keys(self) -> list[str] | None:
        """As `Changes.keys`; None the first time, and after a restore or a compaction."""
        store = self._store()
        revision, self._revision = self._revision, store.revision
        if store is not self._seen or store.restored != self._restored:
            self._seen, self._restored = store, store.restored
            return None
        prefix = self._directory + "/"
        found = (event.kv.key for event in store.history_since(revision + 1))
        return list(dict.fromkeys(key for key in found if key.startswith(prefix)))
