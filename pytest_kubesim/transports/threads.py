"""Threads of user code: one at a time, each waiting on virtual time.

Law: a thread that is born inside the simulation (by a test that holds a cluster, by an operator, by
another such thread) is a real thread that runs only when the kernel hands it the baton, and that
hands it back whenever it waits.  Who runs next is the kernel's decision alone, so equal runs hand
over in the same order.

What makes a thread wait is replaced at the lowest place there is in Python: locks made inside the
simulation (`threading.Condition.wait` makes one for every wait; events, semaphores, queues and
futures stand upon it), `Thread.start/join/is_alive` and `time.sleep`.  Locks that were made
outside remain real; who holds one across a wait stops everything, which is reported after
`STUCK_S` real seconds.

A thread of a crashed process is unwound by `ProcessKilled`; every further wait raises that again.
"""

from __future__ import annotations

import _thread
import concurrent.futures.thread as executors
import queue
import sys
import threading
import time
import traceback
from _thread import get_ident
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.errors import KubesimError
from pytest_kubesim.sim.tasks import Future
from pytest_kubesim.transports.actors import WORLD, Actor, ProcessKilled, to_delay_ns

if TYPE_CHECKING:
    from pytest_kubesim.sim.kernel import Kernel

STUCK_S = 60.0
"""Real seconds after which a thread that does not hand the baton back is reported."""
STUBBORN = 100
"""How often a killed thread may catch `ProcessKilled` and wait again before it is left standing."""

EAGER_NAMES = frozenset({"Kr8sSyncRunnerThread"})
"""Threads that run at once when started: their starter spins until they have got going."""
OUTSIDE_MODULES = (
    "socketserver",
    "http.server",
    "wsgiref",
    "werkzeug",
    "uvicorn",
    "multiprocessing",
    "concurrent.futures.process",
    "pytest_timeout",
    "xdist",
    "execnet",
    "_pydevd",
    "pydevd",
    "debugpy",
)
"""Threads whose work comes from these are not of the simulation: they wait for the real world."""

real_allocate_lock = _thread.allocate_lock
_real_lock: Any = threading.Lock
real_rlock = threading.RLock
real_sleep = time.sleep
real_simple_queue: Any = queue.SimpleQueue
_real_start = threading.Thread.start
_real_join = threading.Thread.join
_real_is_alive = threading.Thread.is_alive
_real_submit = executors.ThreadPoolExecutor.submit


class SimThread:
    """A thread under the baton.

    Parameters: `actor` it belongs to (None: the test); `kernel` that schedules it; `name`.
    """

    def __init__(self, actor: Actor | None, kernel: Kernel, name: str) -> None:
        self.actor = actor
        self.kernel = kernel
        self.name = name
        self.done: Future[None] = Future(kernel)
        self.killed = False
        self.daemon = False
        self.ident = 0
        self._baton = real_allocate_lock()
        self._baton.acquire()
        self._back = real_allocate_lock()
        self._back.acquire()
        self._waiting: object | None = None
        self._stubborn = 0

    # -- the kernel's side --------------------------------------------------------------------

    def schedule(self) -> None:
        """Let it begin, at this instant, when its turn comes."""
        self._waiting = token = object()
        self.kernel.call_soon(self._wake, token)

    def _wake(self, token: object) -> None:
        if token is not self._waiting:
            return
        actor = self.actor
        if actor is not None and actor.process.paused:
            actor.process.defer(self._wake, token)
            return
        self._waiting = None
        self.resume()

    def resume(self) -> None:
        """Hand it the baton; returns when it waits or has ended."""
        previous, WORLD.actor = WORLD.actor, self.actor
        self._baton.release()
        try:
            if not self._back.acquire(timeout=STUCK_S):
                raise KubesimError(self._stuck())
        finally:
            WORLD.actor = previous

    def _stuck(self) -> str:
        frames: Any = sys._current_frames()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - there is no other way
        frame = frames.get(self.ident)
        where = "".join(traceback.format_stack(frame)[-6:]) if frame is not None else ""
        return (
            f"the thread {self.name!r} has not come to a wait for {STUCK_S:g} real seconds. It "
            "waits for something of the real world, or for a lock that was made before the "
            f"cluster was there; make it inside the test or operator. It stands at\n{where}"
        )

    def kill(self) -> None:
        """Unwind it now; nothing of it runs any more afterwards."""
        if self.done.done():
            return
        self.killed = True
        self._waiting = None
        if get_ident() != self.ident:
            self.resume()

    # -- its own side -------------------------------------------------------------------------

    def run(self, thread: threading.Thread, body: Callable[[], object]) -> None:
        """The life of the real thread."""
        self.ident = get_ident()
        self._baton.acquire()
        WORLD.threads[self.ident] = self
        try:
            if not self.killed:
                body()
        except SystemExit:
            pass
        except BaseException as error:  # noqa: BLE001 - as threading reports it, but with the baton
            arguments = (type(error), error, error.__traceback__, thread)
            threading.excepthook(threading.ExceptHookArgs(arguments))
        finally:
            WORLD.threads.pop(self.ident, None)
            family = WORLD.test_threads if self.actor is None else self.actor.threads
            family.pop(self, None)
            self.done.set_result(None)
            self._back.release()

    def check(self) -> None:
        """Raises: `ProcessKilled` if it is to run no more."""
        if not self.killed:
            return
        self._stubborn += 1
        if self._stubborn > STUBBORN:
            # It catches everything: leave it standing for ever, as a thread nobody waits for.
            locks: Any = getattr(threading, "_shutdown_locks", set[Any]())
            locks.discard(getattr(threading.current_thread(), "_tstate_lock", None))
            self._back.release()
            self._baton.acquire()
        raise ProcessKilled

    def block(self, future: Future[Any] | None, timeout_ns: int | None) -> bool:
        """Wait as `World.block` says."""
        self.check()
        if future is not None and future.done():
            return True
        self._waiting = token = object()

        def wake(_source: object = None) -> None:
            self._wake(token)

        if future is not None:
            future.add_done_callback(wake)
        timer = None
        if timeout_ns is not None:
            if self.actor is not None:
                timeout_ns = self.actor.process.true_ns(timeout_ns)
            timer = self.kernel.call_later(
                max(0, timeout_ns), wake, periodic=True, label=f"{self.name}: a wait"
            )
        self._back.release()
        self._baton.acquire()
        if timer is not None:
            timer.cancel()
        if future is not None:
            future.remove_done_callback(wake)
        self.check()
        return future is not None and future.done()


def spawn(
    body: Callable[[], object], actor: Actor | None, kernel: Kernel, name: str
) -> SimThread:
    """A thread of the simulation that runs `body`; it begins when its turn comes."""
    thread = threading.Thread(target=body, name=name, daemon=True)
    return _start(thread, actor, kernel)


def _start(thread: Any, actor: Actor | None, kernel: Kernel) -> SimThread:
    record = SimThread(actor, kernel, thread.name)
    record.daemon = thread.daemon
    family = WORLD.test_threads if actor is None else actor.threads
    family[record] = None
    body = thread.run

    def run() -> None:
        record.run(thread, body)

    thread._kubesim = record  # noqa: SLF001 - our own mark
    thread.run = run
    # The starter waits until the real thread is there: for real, not on virtual time.
    started: Any = threading.Event()
    started._cond = threading.Condition(real_allocate_lock())  # noqa: SLF001
    started.wait = lambda timeout=None: timeout is None
    thread._started = started  # noqa: SLF001 - threading's own field
    _real_start(thread)
    while not started.is_set():
        real_sleep(0)
    record.ident = thread.ident or 0
    record.schedule()
    return record


# -- what stands in for threading's, time's and queue's own -----------------------------------


class SimLock:
    """`threading.Lock` as made inside the simulation: whoever waits for it waits virtually.

    It remains a lock for threads outside, too.
    """

    __slots__ = ("__weakref__", "_lock", "_waiters")

    def __init__(self) -> None:
        self._lock = real_allocate_lock()
        self._waiters: list[Future[None]] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `threading.Lock.acquire`; `timeout` is virtual seconds."""
        if self._lock.acquire(False):
            return True
        if not blocking:
            return False
        if not WORLD.inside():
            return self._lock.acquire(True, timeout)
        kernel = WORLD.cluster().kernel
        deadline_ns = None if timeout < 0 else WORLD.monotonic_ns() + to_delay_ns(timeout)
        while True:
            waiter: Future[None] = Future(kernel)
            self._waiters.append(waiter)
            left_ns = None if deadline_ns is None else deadline_ns - WORLD.monotonic_ns()
            try:
                WORLD.block(waiter, left_ns)
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
            if self._lock.acquire(False):
                return True
            if deadline_ns is not None and WORLD.monotonic_ns() >= deadline_ns:
                return False

    def release(self) -> None:
        """As `threading.Lock.release`."""
        self._lock.release()
        if self._waiters:
            waiter = self._waiters.pop(0)
            if not waiter.done():
                waiter.set_result(None)

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._lock.locked()

    def _at_fork_reinit(self) -> None:
        self._lock = real_allocate_lock()
        self._waiters = []

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


def make_lock() -> Any:
    """`threading.Lock()`."""
    return SimLock() if WORLD.inside() else real_allocate_lock()


def make_rlock(*args: Any, **kwargs: Any) -> Any:
    """`threading.RLock()`."""
    if WORLD.inside():
        return threading._RLock(*args, **kwargs)  # type: ignore[attr-defined]  # noqa: SLF001 - the one written in Python
    return real_rlock(*args, **kwargs)


def make_simple_queue() -> Any:
    """`queue.SimpleQueue()`."""
    if WORLD.inside():
        return queue._PySimpleQueue()  # type: ignore[attr-defined]  # noqa: SLF001 - the one written in Python
    return real_simple_queue()


def sleep(seconds: float) -> None:
    """`time.sleep`."""
    if WORLD.inside():
        WORLD.sleep(seconds)
    else:
        real_sleep(seconds)


def _belongs_outside(thread: Any) -> bool:
    target = getattr(thread, "_target", None)
    target = getattr(target, "__func__", target)
    rings = getattr(thread, "function", None)  # a Timer's
    modules = (
        type(thread).__module__,
        getattr(target, "__module__", None) or "",
        getattr(rings, "__module__", None) or "",
    )
    return any(m == o or m.startswith(o + ".") for m in modules for o in OUTSIDE_MODULES)


def _patched_start(self: Any) -> None:
    if not WORLD.inside() or _belongs_outside(self):
        _real_start(self)
        return
    if not self._initialized:
        raise RuntimeError("thread.__init__() not called")
    if self._started.is_set():
        raise RuntimeError("threads can only be started once")
    WORLD.alive()
    record = _start(self, WORLD.actor, WORLD.cluster().kernel)
    if self.name in EAGER_NAMES:
        record._waiting = None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        record.resume()


def _patched_join(self: Any, timeout: float | None = None) -> None:
    record: SimThread | None = getattr(self, "_kubesim", None)
    if record is None or not WORLD.inside():
        _real_join(self, timeout)
        return
    if self is threading.current_thread():
        raise RuntimeError("cannot join current thread")
    if not record.done.done():
        WORLD.block(record.done, None if timeout is None else to_delay_ns(max(0, timeout)))
    if record.done.done():
        _real_join(self)


def _patched_is_alive(self: Any) -> bool:
    record: SimThread | None = getattr(self, "_kubesim", None)
    if record is not None and record.done.done():
        return False
    return _real_is_alive(self)


def _patched_submit(self: Any, /, *args: Any, **kwargs: Any) -> Any:
    """An executor that was made before the cluster, or that lost its threads with another one."""
    if WORLD.inside():
        lost = any(not t.is_alive() for t in self._threads)
        if lost or (not self._threads and isinstance(self._work_queue, real_simple_queue)):
            self._threads.clear()
            self._work_queue = make_simple_queue()
            self._idle_semaphore = threading.Semaphore(0)
    return _real_submit(self, *args, **kwargs)


REPLACED: dict[Any, Any] = {
    real_allocate_lock: make_lock,
    _real_lock: make_lock,  # another object since Python 3.13
    real_rlock: make_rlock,
    real_simple_queue: make_simple_queue,
    real_sleep: sleep,
}
"""What modules may hold under a name of their own, and what stands in for it."""


def install() -> None:
    """Let threads born from here on be of the simulation (while a cluster is attached)."""
    module: Any = threading
    module.Lock = module._allocate_lock = make_lock  # noqa: SLF001 - what Condition.wait makes
    module.RLock = make_rlock
    threading.Thread.start = _patched_start
    threading.Thread.join = _patched_join
    threading.Thread.is_alive = _patched_is_alive
    executors.ThreadPoolExecutor.submit = _patched_submit  # pyright: ignore[reportAttributeAccessIssue]
    queue.SimpleQueue = make_simple_queue  # pyright: ignore[reportAttributeAccessIssue]
    time.sleep = sleep
    pool: Any = executors
    if not isinstance(pool._global_shutdown_lock, SimLock):  # noqa: SLF001
        pool._global_shutdown_lock = SimLock()  # noqa: SLF001 - held while threads start


def uninstall() -> None:
    """Everything as it was."""
    module: Any = threading
    module.Lock, module._allocate_lock = _real_lock, real_allocate_lock  # noqa: SLF001
    module.RLock = real_rlock
    threading.Thread.start = _real_start
    threading.Thread.join = _real_join
    threading.Thread.is_alive = _real_is_alive
    executors.ThreadPoolExecutor.submit = _real_submit
    queue.SimpleQueue = real_simple_queue
    time.sleep = real_sleep
