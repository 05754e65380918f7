"""A controller waits until its informers have seen what it wrote itself.

The law (`pkg/controller/util/consistency`): a key is not worked on while an informer is behind the
last write that was made for that key; it is queued again with back-off meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.controller_manager.controller import SyncError

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import GroupVersionResource, Object
    from pytest_kubesim.client_go.informer import SharedIndexInformer


class ConsistencyStore:
    """The last write of every key to every resource.

    Parameters: `informers` that must keep up, of the resources that are written.
    """

    __slots__ = ("_informers", "_written")

    def __init__(self, *informers: SharedIndexInformer) -> None:
        self._informers = {informer.gvr: informer for informer in informers}
        self._written: dict[str, dict[GroupVersionResource, int]] = {}

    def wrote(self, key: str, gvr: GroupVersionResource, obj: Object) -> None:
        """`obj` is what the server answered to a write made for `key`."""
        self._written.setdefault(key, {})[gvr] = int(meta.resource_version(obj) or 0)

    def ensure_ready(self, key: str) -> None:
        """Raises: `SyncError` while an informer is behind."""
        written = self._written.get(key)
        if not written:
            return
        for gvr, version in list(written.items()):
            seen = int(self._informers[gvr].last_resource_version or 0)
            if seen < version:
                raise SyncError(
                    f"{gvr.group_resource} is not up to date: read at resource version {seen}, "
                    f"wrote at {version}"
                )
            del written[gvr]

    def clear(self, key: str) -> None:
        """The object of that key is gone."""
        self._written.pop(key, None)
