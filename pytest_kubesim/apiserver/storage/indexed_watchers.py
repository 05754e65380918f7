"""The watchers of a watch cache by what they select, so that a change finds those who may see it.

A watcher waits in one group: that of a namespace, of a name, of both, of a value of the cache's
trigger field (the node of a pod), or of everything.  A change costs as much as there are watchers
in the groups that it concerns, however many others there are.

Follows `indexedWatchers` of `apiserver/pkg/storage/cacher/cacher.go`.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.storage.watch import CacheWatcher, Change

EVERYTHING = ("", "")

_NOBODY: dict[int, CacheWatcher] = {}
_identity = operator.attrgetter("id")


class IndexedWatchers:
    """The watches that are open; `trigger` reads the trigger field, where there is one."""

    __slots__ = ("_groups", "_kinds", "_trigger")

    def __init__(self, trigger: Callable[[Object], str] | None) -> None:
        self._trigger = trigger
        self._groups: dict[tuple[str, str], dict[int, CacheWatcher]] = {}
        self._kinds: dict[str, int] = {}
        """How many groups there are of each kind of index."""

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, watcher: CacheWatcher) -> None:
        """Somebody begins to watch."""
        kind = watcher.trigger[0]
        group = self._groups.get(watcher.trigger)
        if group is None:
            group = self._groups[watcher.trigger] = {}
            self._kinds[kind] = self._kinds.get(kind, 0) + 1
        group[watcher.id] = watcher

    def discard(self, watcher: CacheWatcher) -> bool:
        """Somebody watches no more; says whether a group has nobody left now."""
        group = self._groups.get(watcher.trigger)
        if group is None or group.pop(watcher.id, None) is None or group:
            return False
        del self._groups[watcher.trigger]
        kind = watcher.trigger[0]
        self._kinds[kind] -= 1
        if not self._kinds[kind]:
            del self._kinds[kind]
        return True

    def all(self) -> list[CacheWatcher]:
        """All, in the order in which they began to watch."""
        found = [watcher for group in self._groups.values() for watcher in group.values()]
        found.sort(key=_identity)
        return found

    def concerned(self, change: Change) -> list[CacheWatcher]:
        """Who may see a change, in the order in which they began to watch."""
        groups, kinds = self._groups, self._kinds
        found = list(groups.get(EVERYTHING, _NOBODY).values())
        if len(groups) == 1 and found:
            return found
        everybody = len(found)
        obj = change.obj or change.old
        assert obj is not None
        metadata: Object = obj["metadata"]
        namespace, name = metadata.get("namespace") or "", metadata["name"]
        if "namespace" in kinds:
            found += groups.get(("namespace", namespace), _NOBODY).values()
        if "name" in kinds:
            found += groups.get(("name", name), _NOBODY).values()
        if "key" in kinds:
            found += groups.get(("key", f"{namespace}/{name}"), _NOBODY).values()
        if self._trigger is not None and "trigger" in kinds:
            before = None if change.old is None else self._trigger(change.old)
            after = None if change.obj is None else self._trigger(change.obj)
            if before is not None:
                found += groups.get(("trigger", before), _NOBODY).values()
            if after is not None and after != before:
                found += groups.get(("trigger", after), _NOBODY).values()
        if len(found) > everybody:
            found.sort(key=_identity)
        return found
