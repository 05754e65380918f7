"""Objects as the etcd member beside the API server has them: for those who may not wait.

Upstream's admission plugins and authorizers read the caches of informers; these are as fresh as the
member is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.etcd.messages import prefix_end

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_kubesim.apimachinery.meta import GroupResource, Object
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.etcd.mvcc.kvstore import KVStore
    from pytest_kubesim.registry.rest import Resource


class _Place:
    """A resource, the range of its keys, and the objects that were last found there."""

    __slots__ = ("directory", "end", "found", "prefix", "resource", "store", "touched")

    def __init__(self, resource: Resource, namespace: str) -> None:
        self.resource = resource
        self.directory = resource.storage_prefix
        if namespace:
            self.directory = f"{self.directory}/{namespace}"
        self.prefix = f"{self.directory}/"
        self.end = prefix_end(self.prefix)
        self.found: Sequence[Object] = ()
        self.store: KVStore | None = None
        self.touched = -1


MAX_PLACES = 4096
MAX_REMEMBERED = 64
"""How many objects of a place are remembered at most, lest what is gone be kept."""


class LocalReader:
    """Looks at objects as the etcd member beside this server has them now (`rest.Reader`).

    With a `store` of its own it looks there, and has `server` only decode what it finds.
    """

    def __init__(self, server: APIServer, store: KVStore | None = None) -> None:
        self._server = server
        self._store = store
        self._places: dict[tuple[GroupResource, str], _Place] = {}

    def get(self, resource: GroupResource, namespace: str, name: str) -> Object | None:
        """One object at its storage version, or None."""
        server = self._server
        found = server.catalog.of(*resource)
        if found is None:
            return None
        store = self._store or server.etcd.member.store
        kv = store.latest(found.key(namespace, name))
        return None if kv is None else server.cacher(found).storage.decode(kv)

    def get_as(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """One custom object in the version of `resource`, or None."""
        store = self._store or self._server.etcd.member.store
        kv = store.latest(resource.key(namespace, name))
        return None if kv is None else self._server.cacher(resource).storage.decode(kv)

    def list_as(self, resource: Resource, namespace: str = "") -> Sequence[Object]:
        """All custom objects of a resource in its own version, by key."""
        prefix = f"{resource.storage_prefix}/{namespace}/" if namespace else (
            f"{resource.storage_prefix}/"
        )
        store = self._store or self._server.etcd.member.store
        storage = self._server.cacher(resource).storage
        return [storage.decode(kv) for kv in store.range(prefix, prefix_end(prefix)).kvs]

    def list(self, resource: GroupResource, namespace: str = "") -> Sequence[Object]:
        """All objects of a resource, of one namespace if given, by key."""
        place = self._places.get((resource, namespace)) or self._place(resource, namespace)
        if place is None:
            return ()
        store = self._store or self._server.etcd.member.store
        touched = store.touched(place.directory)
        if place.touched == touched and place.store is store:
            return place.found
        kvs = store.range(place.prefix, place.end).kvs
        found: Sequence[Object] = ()
        if kvs:
            storage = self._server.cacher(place.resource).storage
            found = tuple(storage.decode(kv) for kv in kvs)
        if len(found) <= MAX_REMEMBERED and not place.resource.custom:
            place.found, place.store, place.touched = found, store, touched
        return found

    def _place(self, resource: GroupResource, namespace: str) -> _Place | None:
        """Where the objects of a resource lie; remembered for built-in ones, which never change."""
        found = self._server.catalog.of(*resource)
        if found is None:
            return None
        place = _Place(found, namespace)
        if not found.custom:
            if len(self._places) >= MAX_PLACES:
                self._places.clear()
            self._places[resource, namespace] = place
        return place
