"""An informer's local copy of a collection, with indexes.

Keys are `namespace/name`, or `name` for what has no namespace.  Objects are the server's own:
shared, immutable.  Iteration is in the order in which keys first came, which is the same in equal
runs.  A tally counts, for each value of an index, how many objects have the same trait: who wants
numbers asks it and reads no objects.  Follows `client-go/tools/cache/thread_safe_store.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

IndexFunc = Callable[["Object"], Iterable[str]]
TraitFunc = Callable[["Object"], Hashable]

NAMESPACE_INDEX = "namespace"

_NOTHING: dict[Any, int] = {}


def by_namespace(obj: Object) -> Iterable[str]:
    """The index of everything by its namespace."""
    return (obj["metadata"].get("namespace", ""),)


def key_of(obj: Object) -> str:
    """`namespace/name`, or `name`."""
    meta = obj["metadata"]
    namespace = meta.get("namespace")
    return f"{namespace}/{meta['name']}" if namespace else meta["name"]


class _Tally:
    """How many objects under each value of an index have each trait."""

    __slots__ = ("counts", "trait", "traits")

    def __init__(self, trait: TraitFunc) -> None:
        self.trait = trait
        self.counts: dict[str, dict[Hashable, int]] = {}
        self.traits: dict[str, Hashable] = {}
        """By the keys of objects."""

    def put(self, key: str, obj: Object, before: tuple[str, ...], after: tuple[str, ...]) -> None:
        """The object is under `after` now; it was under `before`."""
        trait = self.trait(obj)
        if before:
            if before == after and self.traits[key] == trait:
                return
            self.remove(key, before)
        if after:
            self.traits[key] = trait
        for value in after:
            counts = self.counts.get(value)
            if counts is None:
                counts = self.counts[value] = {}
            counts[trait] = counts.get(trait, 0) + 1

    def remove(self, key: str, before: tuple[str, ...]) -> None:
        """The object is under `before` no more."""
        trait = self.traits.pop(key)
        for value in before:
            counts = self.counts[value]
            if counts[trait] > 1:
                counts[trait] -= 1
            elif len(counts) > 1:
                del counts[trait]
            else:
                del self.counts[value]


class _Index:
    """Objects by what one indexer says of them."""

    __slots__ = ("entries", "indexer", "tallies", "values")

    def __init__(self, indexer: IndexFunc) -> None:
        self.indexer = indexer
        self.entries: dict[str, dict[str, Object]] = {}
        self.values: dict[str, tuple[str, ...]] = {}
        """Under what the objects are, by their keys."""
        self.tallies: dict[str, _Tally] = {}

    def put(self, key: str, obj: Object) -> None:
        """Insert or replace."""
        before = self.values.get(key, ())
        after = tuple(self.indexer(obj))
        entries = self.entries
        if before == after:
            for value in after:
                entries[value][key] = obj
        else:
            after = tuple(dict.fromkeys(after))
            for value in before:
                if value not in after:
                    self._drop(value, key)
            self.values[key] = after
            for value in after:
                entries.setdefault(value, {})[key] = obj
        if self.tallies and (before or after):
            for tally in self.tallies.values():
                tally.put(key, obj, before, after)

    def remove(self, key: str) -> None:
        """Take out."""
        before = self.values.pop(key, ())
        for value in before:
            self._drop(value, key)
        if before:
            for tally in self.tallies.values():
                tally.remove(key, before)

    def _drop(self, value: str, key: str) -> None:
        entry = self.entries[value]
        entry.pop(key, None)
        if not entry:
            del self.entries[value]


class Store:
    """Objects by key, and by what the indexers say of them."""

    __slots__ = ("_indexes", "_objects")

    def __init__(self) -> None:
        self._objects: dict[str, Object] = {}
        self._indexes: dict[str, _Index] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: str) -> Object | None:
        """The object of that key, or None."""
        return self._objects.get(key)

    def get_by_name(self, namespace: str, name: str) -> Object | None:
        """The object of that namespace ("" for none) and name, or None."""
        return self._objects.get(f"{namespace}/{name}" if namespace else name)

    def list(self, namespace: str = "") -> list[Object]:
        """All objects, or all of one namespace."""
        if namespace:
            # Only who asks for it pays for this index.
            self.add_indexer(NAMESPACE_INDEX, by_namespace)
            return self.by_index(NAMESPACE_INDEX, namespace)
        return list(self._objects.values())

    def keys(self) -> list[str]:
        """All keys."""
        return list(self._objects)

    def add_indexer(self, name: str, indexer: IndexFunc) -> None:
        """Index by `indexer(obj)`'s values from here on; nothing if `name` is there already."""
        if name in self._indexes:
            return
        index = self._indexes[name] = _Index(indexer)
        for key, obj in self._objects.items():
            index.put(key, obj)

    def by_index(self, name: str, value: str) -> list[Object]:
        """The objects that have `value` in the index `name`, in the order in which they came."""
        found = self._indexes[name].entries.get(value)
        return list(found.values()) if found else []

    def count(self, name: str, value: str) -> int:
        """How many objects have `value` in the index `name`."""
        return len(self._indexes[name].entries.get(value, ()))

    def index_values(self, name: str) -> list[str]:
        """The values that objects have in the index `name`, in the order in which they came."""
        return list(self._indexes[name].entries)

    def add_tally(self, name: str, index: str, trait: TraitFunc) -> None:
        """Count by `trait(obj)` under each value of `index`; nothing if `name` is there already."""
        tallies = self._indexes[index].tallies
        if name in tallies:
            return
        tally = tallies[name] = _Tally(trait)
        for key, values in self._indexes[index].values.items():
            tally.put(key, self._objects[key], (), values)

    def tally(self, name: str, index: str, value: str) -> Mapping[Any, int]:
        """How many of the objects that have `value` in `index` have each trait; read only."""
        return self._indexes[index].tallies[name].counts.get(value, _NOTHING)

    def put(self, obj: Object, key: str | None = None) -> Object | None:
        """Insert or replace; gives what was there."""
        if key is None:
            key = key_of(obj)
        old = self._objects.get(key)
        self._objects[key] = obj
        for index in self._indexes.values():
            index.put(key, obj)
        return old

    def remove(self, key: str) -> Object | None:
        """Take out; gives what was there."""
        old = self._objects.pop(key, None)
        if old is not None:
            for index in self._indexes.values():
                index.remove(key)
        return old
