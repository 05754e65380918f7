"""Adoption and release: a controller takes what matches its selector, lets go what no longer does.

The law (`pkg/controller/controller_ref_manager.go`): what another controller owns is left alone;
before the first adoption of a sync the owner is read again from the API server, so that nothing is
adopted by what is being deleted; an object that has gone meanwhile is no error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.controller_manager.controller import RETRIABLE, SyncError

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.apimachinery.meta import GroupVersionKind, GroupVersionResource, Object
    from pytest_kubesim.client_go.rest import RESTClient

Patch = Callable[[str, str, "Object"], Awaitable["Object"]]


def adoption_patch(owner: Object, kind: GroupVersionKind, uid: str, finalizer: str = "") -> Object:
    """The strategic merge patch that makes `owner` the controller of the object with `uid`."""
    metadata: dict[str, Any] = {
        "uid": uid,
        "ownerReferences": [meta.new_controller_ref(owner, kind)],
    }
    if finalizer:
        metadata["finalizers"] = [finalizer]
    return {"metadata": metadata}


def release_patch(owner: Object, uid: str, finalizer: str = "") -> Object:
    """The strategic merge patch that takes `owner` from the owners of the object with `uid`."""
    metadata: dict[str, Any] = {
        "uid": uid,
        "ownerReferences": [{"$patch": "delete", "uid": meta.uid(owner)}],
    }
    if finalizer:
        metadata["$deleteFromPrimitiveList/finalizers"] = [finalizer]
    return {"metadata": metadata}


def aggregate(errors: list[Exception]) -> Exception:
    """One error of several (`utilerrors.NewAggregate`)."""
    if len(errors) == 1:
        return errors[0]
    texts = list(dict.fromkeys(str(error) for error in errors))
    return SyncError(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")


class ControllerRefManager:
    """Claims objects for one owner in one sync.

    Parameters: `client` that reads the owner again (as resource `gvr`); `owner` of kind `kind`;
    `selector` of what is its; `patch(namespace, name, patch)`, how objects are changed; `what` they
    are called in errors; `finalizer` that comes and goes with the ownership.
    """

    __slots__ = (
        "_adoptable",
        "_client",
        "_finalizer",
        "_gvr",
        "_kind",
        "_owner",
        "_patch",
        "_selector",
        "_what",
    )

    def __init__(
        self,
        client: RESTClient,
        gvr: GroupVersionResource,
        owner: Object,
        kind: GroupVersionKind,
        selector: Selector,
        patch: Patch,
        *,
        what: str = "Pod",
        finalizer: str = "",
    ) -> None:
        self._client = client
        self._gvr = gvr
        self._owner = owner
        self._kind = kind
        self._selector = selector
        self._patch = patch
        self._what = what
        self._finalizer = finalizer
        self._adoptable: str | None = None

    async def claim(
        self, objects: Iterable[Object], accepts: Callable[[Object], bool] | None = None
    ) -> list[Object]:
        """Those of `objects` that are the owner's, after adopting and releasing.

        Parameters: `accepts`, a further condition beside the selector.
        """
        metadata = self._owner["metadata"]
        uid: str = metadata["uid"]
        deleting = bool(metadata.get("deletionTimestamp"))
        matches = self._selector.matches
        claimed: list[Object] = []
        errors: list[Exception] = []
        for obj in objects:
            reference = meta.controller_of(obj)
            if reference is not None and reference["uid"] != uid:
                continue
            matching = matches(obj["metadata"].get("labels")) and (
                accepts is None or accepts(obj)
            )
            try:
                if reference is not None:
                    if matching:
                        claimed.append(obj)
                    elif not deleting:
                        await self._release(obj)
                elif matching and not deleting and await self._take(obj):
                    claimed.append(obj)
            except RETRIABLE as error:
                if not status.is_not_found(error):
                    errors.append(error)
        if errors:
            raise aggregate(errors)
        return claimed

    async def _take(self, obj: Object) -> bool:
        if obj["metadata"].get("deletionTimestamp"):
            return False
        if meta.namespace(obj) != meta.namespace(self._owner):
            return False
        await self._check_adoptable(obj)
        await self._patch(
            meta.namespace(obj),
            meta.name(obj),
            adoption_patch(self._owner, self._kind, meta.uid(obj), self._finalizer),
        )
        return True

    async def _check_adoptable(self, obj: Object) -> None:
        if await self.why_not_adoptable():
            key = f"{meta.namespace(obj)}/{meta.name(obj)}"
            raise SyncError(
                f"can't adopt {self._what} {key} ({meta.uid(obj)}): {self._adoptable}"
            )

    async def why_not_adoptable(self) -> str:
        """Why the owner may adopt nothing; empty if it may.  Read from the server once a sync."""
        if self._adoptable is None:
            self._adoptable = await self._why_not()
        return self._adoptable

    async def _why_not(self) -> str:
        owner = self._owner
        namespace, name, uid = meta.namespace(owner), meta.name(owner), meta.uid(owner)
        try:
            fresh = await self._client.get(self._gvr, namespace, name)
        except RETRIABLE as error:
            return f"can't recheck DeletionTimestamp: {error}"
        if meta.uid(fresh) != uid:
            gone = (
                f"original {self._kind.kind} {namespace}/{name} is gone: "
                f"got uid {meta.uid(fresh)}, wanted {uid}"
            )
            return f"can't recheck DeletionTimestamp: {gone}"
        if deleted := meta.deletion_timestamp(fresh):
            return f"{namespace}/{name} has just been deleted at {deleted}"
        return ""

    async def _release(self, obj: Object) -> None:
        patch = release_patch(self._owner, meta.uid(obj), self._finalizer)
        try:
            await self._patch(meta.namespace(obj), meta.name(obj), patch)
        except status.APIStatus as error:
            # Invalid: the pod has another UID by now.
            if not status.is_not_found(error) and not status.is_invalid(error):
                raise
