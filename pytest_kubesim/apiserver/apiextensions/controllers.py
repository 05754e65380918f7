"""The controllers of definitions, in the process of the API server.

They take no time of their own: a definition is named, established, cleaned up at the instant at
which its last change was heard of.  Each controller is a queue of names and one worker, made when
its first name comes.

Follows the hooks of `apiextensions-apiserver/pkg/apiserver/apiserver.go`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from pytest_kubesim.apimachinery import status, timestamps
from pytest_kubesim.apimachinery.meta import GroupVersionResource, Object
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apiserver.apiextensions import approval, establishing, finalizing, naming
from pytest_kubesim.apiserver.apiextensions.conditions import (
    CLEANUP_FINALIZER,
    ESTABLISHED,
    NAMES_ACCEPTED,
    TERMINATING,
    conditions_of,
    is_true,
)
from pytest_kubesim.client_go.rest import RESTClient
from pytest_kubesim.client_go.workqueue import RateLimitingQueue
from pytest_kubesim.registry.apiextensions.approval import is_protected
from pytest_kubesim.sim.network import Network
from pytest_kubesim.wire import ConnectionLost, UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.apiextensions.serving import Serving
    from pytest_kubesim.apiserver.server import APIServer

DEFINITIONS = GroupVersionResource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
_LOOPBACK = UserInfo("system:apiserver", ("system:masters", "system:authenticated"))
_AGENT = "kube-apiserver/v1.37.2 (linux/amd64) kubernetes/kubesim"

Sync = Callable[["Controllers", str], Awaitable[None]]


class Controllers:
    """The controllers of one life of an API server."""

    def __init__(self, server: APIServer, serving: Serving) -> None:
        self.server = server
        self.serving = serving
        process = server.process
        self.client = RESTClient(
            process,
            server,
            Network(server.kernel),
            user=_LOOPBACK,
            user_agent=_AGENT,
            server_host=process.host,
        )
        self._queues: dict[str, RateLimitingQueue[str]] = {}

    @property
    def now(self) -> str:
        """The present instant."""
        return timestamps.format_time(self.server.process.now_ns())

    def crd(self, name: str) -> Object | None:
        """A definition as it is known now."""
        return self.serving.crds.get(name)

    # -- what is to be done -------------------------------------------------------------------

    def changed(self, crd: Object, old: Object | None) -> None:
        """A definition was written."""
        name: str = crd["metadata"]["name"]
        self.queue("naming", naming.sync, name)
        if is_true(crd, NAMES_ACCEPTED) and not is_true(crd, ESTABLISHED):
            self.queue("establishing", establishing.sync, name)
        if is_protected(crd):
            self.queue("approval", approval.sync, name)
        metadata: Object = crd["metadata"]
        if metadata.get("deletionTimestamp") and CLEANUP_FINALIZER in (
            metadata.get("finalizers") or ()
        ):
            if old is None or _without_termination(crd) != _without_termination(old):
                self.queue("finalizing", finalizing.sync, name)

    def deleted(self, crd: Object) -> None:
        """A definition is gone: its names are free."""
        self.queue("naming", naming.sync, crd["metadata"]["name"])

    def queue(self, controller: str, sync: Sync, name: str) -> None:
        """Give a controller a name to work on."""
        found = self._queues.get(controller)
        if found is None:
            found = RateLimitingQueue[str](self.server.process, f"crd {controller}")
            self._queues[controller] = found
            self.server.process.spawn(
                self._work(found, sync), name=f"crd {controller}", daemon=True
            )
        found.add(name)

    async def _work(self, queue: RateLimitingQueue[str], sync: Sync) -> None:
        while True:
            name = await queue.get()
            try:
                await sync(self, name)
            except (APIStatus, ConnectionLost):
                queue.add_rate_limited(name)
            else:
                queue.forget(name)
            queue.done(name)

    async def update_status(self, crd: Object) -> Object | None:
        """Write a definition's status; None: it was deleted or changed meanwhile."""
        try:
            return await self.client.update(DEFINITIONS, "", crd, subresource="status")
        except APIStatus as error:
            if status.is_not_found(error) or status.is_conflict(error):
                return None
            raise


def _without_termination(crd: Object) -> Object:
    """The definition but for what the finalizing controller itself writes."""
    metadata = {
        key: value
        for key, value in cast("Object", crd["metadata"]).items()
        if key not in ("resourceVersion", "managedFields")
    }
    kept = [each for each in conditions_of(crd) if each["type"] != TERMINATING]
    found: Object = {**(crd.get("status") or {}), "conditions": kept}
    return {**crd, "metadata": metadata, "status": found}
