"""The one shape of a controller: a key goes in, what is declared becomes true, a result comes out.

The law: `reconcile(key)` is level-based.  It reads the present state from informers, never what
changed; it may be called at any time, any number of times, and never for one key twice at once.  An
error of the API server or the network is retried with back-off, as client-go's default controller
rate limiter has it; any other exception is a mistake of ours and ends the run.

A subclass names itself, asks for informers and adds handlers in `setup`, and writes `reconcile`.
Follows the `Run`, `worker` and `processNextWorkItem` that each of `pkg/controller/*` repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.client_go.record import EventRecorder
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.client_go.workqueue import RateLimitingQueue, ShutDown
from pytest_kubesim.wire import ConnectionLost, UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import GroupVersionResource, Object
    from pytest_kubesim.client_go.informer import SharedIndexInformer, SharedInformerFactory
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.client_go.store import Store
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.process import Process

NAMESPACE_TERMINATING = "NamespaceTerminating"
"""The cause of refusals to create anything in a namespace that is being deleted."""

_GROUPS = (
    "system:serviceaccounts",
    "system:serviceaccounts:kube-system",
    "system:authenticated",
)


class SyncError(Exception):
    """A controller cannot go on now and says why: retried like a refusal of the API server."""


class WrappedError(SyncError):
    """Another error with words around it, of which one can still ask what it was (Go's `%w`)."""

    def __init__(self, message: str, cause: Exception) -> None:
        super().__init__(message)
        self.cause = cause


def unwrapped(error: Exception) -> Exception:
    """The error inside of wrapped ones."""
    while isinstance(error, WrappedError):
        error = error.cause
    return error


RETRIABLE = (APIStatus, ConnectionLost, SyncError)
"""What upstream's `err != nil` can be.  All else is a bug."""


def is_namespace_terminating(error: BaseException | None) -> bool:
    """Whether something could not be created because its namespace is going away."""
    return isinstance(error, APIStatus) and error.has_cause(NAMESPACE_TERMINATING)


@attrs.frozen(slots=True)
class Result:
    """What `reconcile` may ask for: to be called again.

    `requeue_after_ns`: when, in nanoseconds from now; `periodic`: it comes back for ever, or only
    looks whether a deadline has passed, so that nothing need wait for it.
    """

    requeue_after_ns: int
    periodic: bool = False


@attrs.frozen(slots=True, eq=False)
class ControllerContext:
    """What the controllers of one process share.

    `client` is the process's own way to the API server, `informers` its view of the cluster;
    `settings` are the command line's, by upstream's flag without the dashes in front
    (durations in nanoseconds), such as `{"concurrent-deployment-syncs": 5}`.
    """

    process: Process
    client: RESTClient
    informers: SharedInformerFactory
    settings: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    version: str = "v1.37.2"

    @property
    def kernel(self) -> Kernel:
        """The simulation's engine."""
        return self.process.kernel

    def client_for(self, service_account: str) -> RESTClient:
        """A client with the identity of a controller, as `--use-service-account-credentials`."""
        name = f"system:serviceaccount:kube-system:{service_account}"
        agent = f"kube-controller-manager/{self.version} (linux/amd64) kubernetes/{name}"
        return self.client.as_user(UserInfo(name, _GROUPS), agent)

    def setting(self, flag: str, default: Any) -> Any:
        """The value of a command line flag, or `default`."""
        return self.settings.get(flag, default)


class Controller:
    """The shape of every controller.

    Class attributes: `name`, upstream's canonical one; `service_account` it acts as (upstream's,
    which is not always its name); `component` its events come from; `workers`, how many keys are
    worked on at once, with `workers_flag` that changes it; `max_retries` after which a key is
    dropped until something changes (None: never).
    """

    name: ClassVar[str]
    service_account: ClassVar[str]
    component: ClassVar[str] = ""
    workers: ClassVar[int] = 1
    workers_flag: ClassVar[str] = ""
    max_retries: ClassVar[int | None] = None
    base_delay_ns: ClassVar[int] = 5_000_000
    max_delay_ns: ClassVar[int] = 1_000_000_000_000

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        self.process = context.process
        self.kernel = context.kernel
        self.client = context.client_for(self.service_account)
        self.recorder = EventRecorder(self.client, self.component or self.name)
        self.queue: RateLimitingQueue[str] = RateLimitingQueue(
            context.process,
            self.name,
            base_delay_ns=self.base_delay_ns,
            max_delay_ns=self.max_delay_ns,
        )
        self._informers: dict[int, SharedIndexInformer] = {}
        self._vacancies = 0
        self.setup()

    # -- what a subclass writes ---------------------------------------------------------------

    def setup(self) -> None:
        """Ask for informers, add indexes and handlers.  Called once, before anything runs."""

    async def reconcile(self, key: str) -> Result | None:
        """Make what `key` declares true, as far as that can be done now.

        Raises: one of `RETRIABLE`, to be called again after a back-off.
        """
        raise NotImplementedError

    async def run(self) -> None:
        """Background work beside the queue (periodic scans); none by default."""

    # -- what a subclass uses -----------------------------------------------------------------

    def now_ns(self) -> int:
        """What this process's clock shows, in nanoseconds since the epoch."""
        return self.process.now_ns()

    def now(self) -> str:
        """The same as RFC 3339 text in whole seconds: a `metav1.Time`."""
        return timestamps.format_time(self.process.now_ns())

    def informer(self, gvr: GroupVersionResource) -> SharedIndexInformer:
        """The process's informer of a resource; this controller starts when it has synced."""
        informer = self.context.informers.informer(gvr)
        self._informers[id(informer)] = informer
        return informer

    def watch(
        self,
        gvr: GroupVersionResource,
        *,
        add: Callable[[Object], object] | None = None,
        update: Callable[[Object, Object], object] | None = None,
        delete: Callable[[Object], object] | None = None,
    ) -> Store:
        """Hear of every change of a resource; gives the store that can be read."""
        informer = self.informer(gvr)
        informer.add_event_handler(add=add, update=update, delete=delete)
        return informer.store

    def enqueue(self, obj: Object) -> None:
        """Have `obj`'s key worked on."""
        self.queue.add(key_of(obj))

    def enqueue_new(self, _old: Object, obj: Object) -> None:
        """The same, as a handler of updates."""
        self.queue.add(key_of(obj))

    def enqueue_after(self, obj: Object, delay_ns: int, *, periodic: bool = False) -> None:
        """Have `obj`'s key worked on after `delay_ns`; `periodic` as in `Result`."""
        self.queue.add_after(key_of(obj), delay_ns, periodic=periodic)

    def event(self, obj: Object, type_: str, reason: str, message: str) -> None:
        """Record an event about `obj`; `type_` is `Normal` or `Warning`."""
        self.recorder.event(obj, type_, reason, message)

    # -- the loop -----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work as soon as the informers have synced."""
        if all(informer.has_synced for informer in self._informers.values()):
            self._start_workers()
        else:
            self.process.spawn(self._start_synced(), name=self.name)

    async def _start_synced(self) -> None:
        for informer in self._informers.values():
            await informer.synced.wait()
        self._start_workers()

    def _start_workers(self) -> None:
        if type(self).run is not Controller.run:
            self.process.spawn(self.run(), name=f"{self.name} run")
        if type(self).reconcile is not Controller.reconcile:
            self._vacancies = self.context.setting(self.workers_flag, self.workers)
            self.queue.staff(self._hire)

    def _hire(self) -> None:
        if self._vacancies:
            self._vacancies -= 1
            self.process.spawn(self._work(), name=f"{self.name} worker")

    async def _work(self) -> None:
        queue = self.queue
        while True:
            try:
                key = await queue.get()
            except ShutDown:
                return
            try:
                result = await self.reconcile(key)
            except RETRIABLE as error:
                self.kernel.journal.record("sync failed", self.name, key=key, error=str(error))
                self.handle_error(key, error)
            else:
                queue.forget(key)
                if result is not None:
                    queue.add_after(
                        key, result.requeue_after_ns, periodic=result.periodic
                    )
            finally:
                queue.done(key)

    def handle_error(self, key: str, error: Exception) -> None:
        """Retry `key` with back-off, or drop it after `max_retries`."""
        del error
        if self.max_retries is not None and self.queue.num_requeues(key) >= self.max_retries:
            self.queue.forget(key)
        else:
            self.queue.add_rate_limited(key)
