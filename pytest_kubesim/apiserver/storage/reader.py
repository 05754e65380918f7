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


class LocalReader:
    """Looks at objects as the etcd member beside this server has them now (`rest.Reader`)."""

    def __init__(self, server: APIServer) -> None:
        self._server = server

    def get(self, resource: GroupResource, namespace: str, name: str) -> Object | None:
        """One object at its storage version, or None."""
        server = self._server
        found = server.catalog.of(*resource)
        if found is None:
            return None
        kv = server.etcd.member.store.latest(found.key(namespace, name))
        return None if kv is None else server.cacher(found).storage.decode(kv)

    def list(self, resource: GroupResource, namespace: str = "") -> Sequence[Object]:
        """All objects of a resource, of one namespace if given, by key."""
        server = self._server
        found = server.catalog.of(*resource)
        if found is None:
            return ()
        prefix = f"{found.storage_prefix}/{namespace}/" if namespace else f"{found.storage_prefix}/"
        storage = server.cacher(found).storage
        answer = server.etcd.member.store.range(prefix, prefix_end(prefix))
        return [storage.decode(kv) for kv in answer.kvs]
