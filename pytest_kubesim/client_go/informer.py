"""Reflectors and shared informers: a process's view of a collection, and who hears of changes.

The law: handlers hear of every change of the *view*, in order, each with the object as the view has
it; the view lags the server by the watch's latency, may skip states while it is cut off, never goes
back.  A reflector lists (at resourceVersion 0 first: what the watch cache has), then watches from
there.  A watch that ends is opened again behind the last event; where nobody listens, after a
while.  Whatever else goes wrong makes it back off and list again, at least as new as what it has.

Follows `client-go/tools/cache/{reflector,shared_informer}.go` and `client-go/informers/factory.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.client_go.store import Store, key_of
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.tasks import Event
from pytest_kubesim.wire import ConnectionLost, WatchEvent

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import GroupVersionResource, Object
    from pytest_kubesim.client_go.rest import RemoteWatch, RESTClient
    from pytest_kubesim.sim.tasks import Task

BACKOFF_MIN_NS, BACKOFF_MAX_NS = 800_000_000, 30 * NS
"""`reflector.go`: 800 ms doubling to 30 s."""

BACKOFF_RESET_NS = 120 * NS
"""So long without a reason to back off: the server is well, and the next wait is short again."""

SHORT_WATCH_NS = NS
"""A watch that ends sooner and has told nothing is an error, lest it be opened in a loop."""

WATCH_TIMEOUT_S = 7 * 86_400
"""How long a watch lasts at least.  Upstream has 300 s, to spread load over API servers; here that
would only be work: a watch that is opened anew goes on where the old one ended."""


class _ShortWatch(Exception):
    """A watch has ended at once, having told nothing."""


class SharedIndexInformer:
    """One collection (or a selection of it) as one process sees it."""

    def __init__(
        self,
        client: RESTClient,
        gvr: GroupVersionResource,
        *,
        namespace: str = "",
        field_selector: str = "",
        label_selector: str = "",
        transform: Callable[[Object], Object] | None = None,
    ) -> None:
        self.client = client
        self.gvr = gvr
        self.namespace = namespace
        self.field_selector = field_selector
        self.label_selector = label_selector
        self.store = Store()
        self.synced = Event(client.process.kernel)
        """Set once the first list is in the store."""
        self.last_resource_version = ""
        """Behind which the next watch begins: of the last list, then of the last event."""
        self._transform = transform
        self._adders: list[Callable[[Object], object]] = []
        self._updaters: list[Callable[[Object, Object], object]] = []
        self._deleters: list[Callable[[Object], object]] = []
        self._task: Task[Any] | None = None
        self._failures = 0
        self._failed_ns = 0

    @property
    def has_synced(self) -> bool:
        """Whether the first list is in the store."""
        return self.synced.is_set()

    def add_event_handler(
        self,
        *,
        add: Callable[[Object], object] | None = None,
        update: Callable[[Object, Object], object] | None = None,
        delete: Callable[[Object], object] | None = None,
    ) -> None:
        """Call `add(obj)`, `update(old, new)`, `delete(obj)` at every change of the view.

        A handler that comes late hears `add` of all that is there already.
        """
        if update is not None:
            self._updaters.append(update)
        if delete is not None:
            self._deleters.append(delete)
        if add is not None:
            self._adders.append(add)
            for obj in self.store.list():
                add(obj)

    def start(self) -> None:
        """Begin to list and watch; once."""
        if self._task is None:
            self._task = self.client.process.spawn(
                self._run(), name=f"reflector {self.gvr.resource}"
            )

    def stop(self) -> None:
        """End to watch, for good; what is in the store stays there."""
        if self._task is not None:
            self._task.cancel()

    # -- the reflector ------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                await self._list()
                while True:
                    await self._watch()
            except (APIStatus, ConnectionLost, _ShortWatch):
                await self._back_off()

    async def _back_off(self) -> None:
        kernel = self.client.process.kernel
        if kernel.now_ns - self._failed_ns > BACKOFF_RESET_NS:
            self._failures = 0
        delay_ns = min(BACKOFF_MIN_NS << min(self._failures, 8), BACKOFF_MAX_NS)
        self._failures += 1
        jitter_ns = kernel.rng.between_ns(
            0, delay_ns, "reflector", self.client.process.name, self.gvr.resource, self._failures
        )
        await kernel.sleep(delay_ns + jitter_ns, periodic=True)
        self._failed_ns = kernel.now_ns

    async def _list(self) -> None:
        try:
            answer = await self._list_at(self.last_resource_version or "0")
        except APIStatus as error:
            if not _is_unavailable(error):
                raise
            # The server does not know this version, or not yet: what is stored decides.
            answer = await self._list_at("")
        self._replace(answer.get("items") or [])
        self.last_resource_version = answer["metadata"]["resourceVersion"]
        self.synced.set()

    async def _list_at(self, version: str) -> Object:
        return await self.client.list(
            self.gvr,
            self.namespace,
            resource_version=version,
            field_selector=self.field_selector,
            label_selector=self.label_selector,
        )

    async def _watch(self) -> None:
        """Watch until the watch ends.  Raises: what makes it necessary to list again."""
        kernel = self.client.process.kernel
        watch = await self._open()
        began_ns, told = kernel.now_ns, False
        try:
            while events := await watch.next():
                told = True
                for event in events:
                    version = self._take(event)
                    if version:
                        self.last_resource_version = version
        except ConnectionLost:
            # To a client, the end of the answer: it goes on behind what it was told.
            pass
        except APIStatus as error:
            if not status.is_too_many_requests(error):
                raise
            await self._back_off()
            return
        finally:
            watch.close()
        if not told and kernel.now_ns - began_ns < SHORT_WATCH_NS:
            raise _ShortWatch

    async def _open(self) -> RemoteWatch:
        """Open the watch, once somebody listens who is not too busy."""
        process = self.client.process
        while True:
            timeout = WATCH_TIMEOUT_S + process.kernel.rng.below(
                WATCH_TIMEOUT_S, "watch-timeout", process.name, self.gvr.resource,
                process.kernel.now_ns,
            )
            try:
                return await self.client.watch(
                    self.gvr,
                    self.namespace,
                    resource_version=self.last_resource_version,
                    field_selector=self.field_selector,
                    label_selector=self.label_selector,
                    timeout_seconds=timeout,
                    # Bookmarks would be a timer a minute for each collection; a watch that falls
                    # out of the window lists anew.
                    allow_bookmarks=False,
                )
            except ConnectionLost as lost:
                if lost.kind != "refused":
                    raise
            except APIStatus as error:
                if not status.is_too_many_requests(error):
                    raise
            await self._back_off()

    def _take(self, event: WatchEvent) -> str:
        obj = event.object
        kind = event.type
        if kind == "ERROR":
            raise APIStatus(
                obj.get("code", 500), obj.get("reason", ""), obj.get("message", "")
            )
        version: str = obj["metadata"].get("resourceVersion", "")
        if kind == "BOOKMARK":
            return version
        if self._transform is not None:
            obj = self._transform(obj)
        if kind == "DELETED":
            self._remove(obj)
        else:
            self._put(obj)
        return version

    # -- the view -----------------------------------------------------------------------------

    def _put(self, obj: Object) -> None:
        old = self.store.put(obj)
        if old is None:
            for add in self._adders:
                add(obj)
        else:
            for update in self._updaters:
                update(old, obj)

    def _remove(self, obj: Object) -> None:
        if self.store.remove(key_of(obj)) is None:
            return
        for delete in self._deleters:
            delete(obj)

    def _replace(self, items: list[Any]) -> None:
        if self._transform is not None:
            items = [self._transform(obj) for obj in items]
        present = {key_of(obj) for obj in items}
        for key in list(self.store.keys()):
            if key not in present:
                gone = self.store.get(key)
                assert gone is not None
                self._remove(gone)
        for obj in items:
            old = self.store.get(key_of(obj))
            if old is None or old is not obj:
                self._put(obj)

def _is_unavailable(error: APIStatus) -> bool:
    """Whether there is no list as new as what was asked for."""
    return (
        status.is_resource_expired(error)
        or status.is_gone(error)
        or error.has_cause(status.RESOURCE_VERSION_TOO_LARGE)
    )


class SharedInformerFactory:
    """The informers of one process: one for each collection, shared by all who ask.

    Parameters: `client` through which they list and watch.
    """

    def __init__(self, client: RESTClient) -> None:
        self.client = client
        self._informers: dict[tuple[Any, ...], SharedIndexInformer] = {}
        self._started = False

    def informer(
        self,
        gvr: GroupVersionResource,
        *,
        namespace: str = "",
        field_selector: str = "",
        label_selector: str = "",
    ) -> SharedIndexInformer:
        """The informer of that selection; made (and started, if the factory is) on demand."""
        key = (gvr, namespace, field_selector, label_selector)
        informer = self._informers.get(key)
        if informer is None:
            informer = self._informers[key] = SharedIndexInformer(
                self.client,
                gvr,
                namespace=namespace,
                field_selector=field_selector,
                label_selector=label_selector,
            )
            if self._started:
                informer.start()
        return informer

    def start(self) -> None:
        """Start all informers, and from here on each one that is asked for."""
        self._started = True
        for informer in list(self._informers.values()):
            informer.start()

    async def wait_for_cache_sync(self) -> None:
        """Wait until every informer has its first list."""
        for informer in list(self._informers.values()):
            await informer.synced.wait()
