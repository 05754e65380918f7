"""An informer's local copy of a collection, with indexes.

Keys are `namespace/name`, or `name` for what has no namespace.  Objects are the server's own:
shared, immutable.  Iteration is in the order in which keys first came, which is the same in equal
runs.  Follows `client-go/tools/cache/thread_safe_store.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

IndexFunc = Callable[["Object"], Iterable[str]]

NAMESPACE_INDEX = "namespace"


def by_namespace(obj: Object) -> Iterable[str]:
    """The index of everything by its namespace."""
    return (obj["metadata"].get("namespace", ""),)


def key_of(obj: Object) -> str:
    """`namespace/name`, or `name`."""
    meta = obj["metadata"]
    namespace = meta.get("namespace")
    return f"{namespace}/{meta['name']}" if namespace else meta["name"]


class Store:
    """Objects by key, and by what the indexers say of them."""

    __slots__ = ("_indexers", "_indexes", "_objects")

    def __init__(self) -> None:
        self._objects: dict[str, Object] = {}
        self._indexers: dict[str, IndexFunc] = {}
        self._indexes: dict[str, dict[str, dict[str, Object]]] = {}
        self.add_indexer(NAMESPACE_INDEX, by_namespace)

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
            return self.by_index(NAMESPACE_INDEX, namespace)
        return list(self._objects.values())

    def keys(self) -> list[str]:
        """All keys."""
        return list(self._objects)

    def add_indexer(self, name: str, indexer: IndexFunc) -> None:
        """Index by `indexer(obj)`'s values from here on; nothing if `name` is there already."""
        if name in self._indexers:
            return
        self._indexers[name] = indexer
        index = self._indexes[name] = {}
        for key, obj in self._objects.items():
            for value in indexer(obj):
                index.setdefault(value, {})[key] = obj

    def by_index(self, name: str, value: str) -> list[Object]:
        """The objects that have `value` in the index `name`, in the order in which they came."""
        found = self._indexes[name].get(value)
        return list(found.values()) if found else []

    def index_values(self, name: str) -> list[str]:
        """The values that objects have in the index `name`, in the order in which they came."""
        return list(self._indexes[name])

    def put(self, obj: Object, key: str | None = None) -> Object | None:
        """Insert or replace; gives what was there."""
        if key is None:
            key = key_of(obj)
        old = self._objects.get(key)
        self._objects[key] = obj
        for name, indexer in self._indexers.items():
            index = self._indexes[name]
            values = tuple(indexer(obj))
            if old is not None:
                for value in indexer(old):
                    if value not in values:
                        self._drop(index, value, key)
            for value in values:
                entry = index.get(value)
                if entry is None:
                    index[value] = {key: obj}
                else:
                    entry[key] = obj
        return old

    def remove(self, key: str) -> Object | None:
        """Take out; gives what was there."""
        old = self._objects.pop(key, None)
        if old is not None:
            for name, indexer in self._indexers.items():
                index = self._indexes[name]
                for value in indexer(old):
                    self._drop(index, value, key)
        return old

    @staticmethod
    def _drop(index: dict[str, dict[str, Object]], value: str, key: str) -> None:
        entry = index.get(value)
        if entry is not None:
            entry.pop(key, None)
            if not entry:
                del index[value]
