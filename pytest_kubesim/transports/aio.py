"""Asyncio on virtual time: an event loop whose timers are the kernel's, its sockets in memory.

Two ways to run, one class:

- *stepped* by the kernel: the loop of an operator.  Whatever wakes it schedules one iteration as a
  kernel event; several such loops run side by side on one thread.
- *run* by its own code (`asyncio.run`, `run_forever`): the loop of an async test, or one that user
  code starts in a thread.  Where a loop would sleep in `select`, it waits on the kernel.

Law: a stepped loop touches nothing once its process is dead: its handles are dropped, its
coroutines closed, its connections cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import threading
import time
import warnings
from asyncio import events
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.tasks import Future
from pytest_kubesim.transports import listeners
from pytest_kubesim.transports.actors import WORLD, Actor, ProcessKilled, silence
from pytest_kubesim.transports.loop_sockets import MemorySockets

if TYPE_CHECKING:
    from collections import deque

    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.sim.kernel import Kernel, Timer
    from pytest_kubesim.transports.streams import MemoryTransport

YIELD_EVERY = 64
"""How many iterations a loop in a thread runs without waiting before others get a turn."""

_real_sleep = time.sleep
_real_new_event_loop = events.new_event_loop


class _Selector:
    """What `BaseEventLoop` asks for I/O: there is none, only time to pass."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        """Let time pass until somebody wakes the loop, or for `timeout` seconds."""
        self._loop.idle(timeout)
        return []


class _Future(asyncio.Future[Any]):
    """A future with a hash of its own: in a set, futures stand in the order of their making.

    The usual one is an address in memory, and `asyncio.wait` answers with sets.
    """

    def __init__(self, *, loop: Any = None) -> None:
        super().__init__(loop=loop)
        self._number = next(loop.numbers)

    def __hash__(self) -> int:
        return self._number


class _Task(asyncio.Task[Any]):
    """A task with such a hash."""

    def __init__(self, coro: Any, *, loop: Any, **options: Any) -> None:
        self._number = next(loop.numbers)
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


def _task_factory(loop: Any, coro: Any, **options: Any) -> Any:
    return _Task(coro, loop=loop, **options)


class Loop(MemorySockets):
    """An event loop on virtual time.

    Parameter: `actor`, whose it is; None: the test's.
    """

    if TYPE_CHECKING:  # what BaseEventLoop has and typeshed does not know
        _ready: deque[Any]
        _scheduled: list[Any]
        _default_executor: Any

        def _run_once(self) -> None: ...

    def __init__(self, actor: Actor | None = None) -> None:
        super().__init__()
        self.actor = actor
        self.transports: dict[MemoryTransport, None] = {}
        self.abandoned = False
        self.numbers = itertools.count(1)
        self.set_task_factory(_task_factory)
        self._selector = _Selector(self)
        self._clock_resolution = 1e-9
        self._kernel: Kernel | None = actor.cluster.kernel if actor is not None else None
        self._cluster: Cluster | None = None
        self._before_s = 0.0
        """Seconds that passed for it before a cluster was there."""
        self._stepped = False
        self._stepping = False
        self._soon = False
        self._timer: Timer | None = None
        self._wake: Future[None] | None = None
        self._spins = 0
        self._exit: BaseException | None = None
        self._finish: Future[None] | None = None
        if actor is not None:
            actor.loops[self] = None

    @property
    def driven(self) -> bool:
        """Whether the kernel steps it."""
        return self._stepped

    # -- time ---------------------------------------------------------------------------------

    @property
    def kernel(self) -> Kernel | None:
        """The kernel it lives on, as soon as there is one."""
        if self.actor is None:
            clusters = WORLD.clusters
            if self._cluster is not None and self._cluster not in clusters:
                # Its cluster is gone (a loop that outlives a test): its time stands still.
                self._before_s += self._cluster.kernel.elapsed_ns / NS
                self._cluster = self._kernel = None
            if self._cluster is None and clusters:
                self._cluster = clusters[-1]
                self._kernel = self._cluster.kernel
                self._before_s -= self._kernel.elapsed_ns / NS
        return self._kernel

    def time(self) -> float:
        """Virtual seconds since the cluster was made, by the monotonic clock of its process."""
        kernel = self.kernel
        return self._before_s + (0.0 if kernel is None else self._elapsed_ns(kernel) / NS)

    def _elapsed_ns(self, kernel: Kernel) -> int:
        if self.actor is None:
            return kernel.elapsed_ns
        return self.actor.process.monotonic_ns() - kernel.start_ns

    def _left_ns(self, when: float) -> int:
        """How long it is until then, on the clock of its process."""
        kernel = self.kernel
        assert kernel is not None
        nanoseconds = (when - self._before_s) * NS
        whole = int(nanoseconds)
        return whole + (nanoseconds > whole) - self._elapsed_ns(kernel)

    def _due_ns(self, when: float) -> int:
        """At what true instant it is then."""
        kernel = self.kernel
        assert kernel is not None
        left_ns = self._left_ns(when)
        if self.actor is not None:
            left_ns = self.actor.process.true_ns(left_ns)
        return kernel.now_ns + left_ns

    # -- waking -------------------------------------------------------------------------------

    def _write_to_self(self) -> None:
        self._notify()

    def _notify(self) -> None:
        if self._stepped:
            if not self._stepping:
                self._arm()
            return
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        """As asyncio's."""
        if self.abandoned:
            return events.Handle(callback, args, self, context)
        handle = super().call_soon(callback, *args, context=context)
        if not self._stepping:
            self._notify()
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """As asyncio's."""
        if self.abandoned:
            return events.TimerHandle(when, callback, args, self, context)
        handle = super().call_at(when, callback, *args, context=context)
        if not self._stepping:
            self._notify()
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        """As asyncio's: also from threads of the simulation."""
        if self.abandoned:
            return events.Handle(callback, args, self, context)
        return super().call_soon_threadsafe(callback, *args, context=context)

    # -- run by its own code ------------------------------------------------------------------

    def idle(self, timeout: float | None) -> None:
        """Nothing is ready: let others run until it is woken, or for `timeout` seconds."""
        if self._stepped:
            return
        kernel = self.kernel
        if kernel is None or not WORLD.inside():
            seconds = 0.0 if self._ready else min(timeout if timeout is not None else 0.01, 1.0)
            if seconds > 0:
                _real_sleep(seconds)
                self._before_s += seconds
            return
        if timeout is not None and timeout <= 0:
            self._spins += 1
            if threading.get_ident() == WORLD.main_ident:
                if kernel.has_ready():
                    kernel.step()
            elif self._spins % YIELD_EVERY == 0:
                WORLD.block(None, 0)
            return
        self._spins = 0
        self._wake = wake = Future[None](kernel)
        limit_ns = None
        if self._scheduled:
            limit_ns = self._left_ns(self._scheduled[0]._when)  # noqa: SLF001
        WORLD.block(wake, limit_ns)
        self._wake = None

    def close(self) -> None:
        """As asyncio's."""
        if self.is_closed():
            return
        listeners.close_of(self)
        for transport in list(self.transports):
            transport.drop()
        self.transports.clear()
        if self.actor is not None:
            self.actor.loops.pop(self, None)
        super().close()

    # -- stepped by the kernel ----------------------------------------------------------------

    async def run(self, main: Callable[[], Awaitable[Any]]) -> Any:
        """Run an operator's main on this loop: a coroutine of the kernel, not of asyncio.

        Returns: what `main` returned.  Raises: what it raised; `ProcessKilled` never leaves here.
        """
        self._stepped = True
        kernel = self.kernel
        assert kernel is not None

        async def entry() -> Any:
            return await main()

        try:
            task = self.create_task(entry(), name="main")
            await self._until(task)
            for left in self._tasks():
                left.cancel()
            with contextlib.suppress(BaseException):
                await self._until(self.create_task(_gather(self._tasks())))
            with contextlib.suppress(BaseException):
                await self._until(self.create_task(self.shutdown_asyncgens()))
            if self._exit is not None:
                raise self._exit
            return task.result()
        except asyncio.CancelledError:
            return None
        finally:
            self.abandon()

    async def _until(self, task: asyncio.Task[Any]) -> None:
        kernel = self.kernel
        assert kernel is not None
        done: Future[None] = Future(kernel)
        self._finish = done

        def finished(_task: object) -> None:
            if not done.done():
                done.set_result(None)

        task.add_done_callback(finished)
        await done

    def _tasks(self) -> list[asyncio.Task[Any]]:
        tasks = [t for t in asyncio.all_tasks(self) if not t.done()]
        return sorted(tasks, key=hash)

    def _arm(self) -> None:
        kernel = self._kernel
        assert kernel is not None
        if self.abandoned or self._soon:
            return
        if self._ready:
            self._soon = True
            kernel.call_soon(self._step)
        elif self._scheduled:
            due_ns = self._due_ns(self._scheduled[0]._when)  # noqa: SLF001
            timer = self._timer
            if timer is not None and not timer.cancelled:
                if timer.time_ns <= due_ns:
                    return
                timer.cancel()
            name = self.actor.name if self.actor is not None else "test"
            self._timer = kernel.call_at(
                due_ns, self._step, periodic=True, label=f"{name}: a timer"
            )

    def _step(self) -> None:
        self._soon = False
        actor = self.actor
        assert actor is not None
        if self.abandoned or self._stepping or actor.dead:
            return
        if actor.process.paused:
            actor.process.defer(self._step)
            return
        with self._entered(actor):
            try:
                self._run_once()
            except ProcessKilled:
                pass
            except (SystemExit, KeyboardInterrupt) as error:
                self._leave(error)
            except IndexError:
                if not self.abandoned:  # the process died while it ran: its handles are gone
                    raise
        self._arm()

    def _leave(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            raise error
        self._exit = None if not error.args or not error.args[0] else RuntimeError(
            f"exited with status {error.args[0]!r}"
        )
        finish = self._finish
        if finish is not None and not finish.done():
            finish.set_result(None)

    @contextlib.contextmanager
    def _entered(self, actor: Actor) -> Any:
        """As `run_forever` sets up and takes down, around one iteration."""
        previous_actor, WORLD.actor = WORLD.actor, actor
        outer = events._get_running_loop()  # noqa: SLF001 - asyncio's own seam for loops
        outer_task = _swap_task(outer, None)
        hooks = sys.get_asyncgen_hooks()
        mine: Any = self
        sys.set_asyncgen_hooks(mine._asyncgen_firstiter_hook, mine._asyncgen_finalizer_hook)  # noqa: SLF001
        events._set_running_loop(self)  # noqa: SLF001
        self._thread_id = threading.get_ident()
        self._stepping = True
        try:
            yield
        finally:
            self._stepping = False
            self._thread_id = None
            events._set_running_loop(outer)  # noqa: SLF001
            _swap_task(outer, outer_task)
            sys.set_asyncgen_hooks(*hooks)
            WORLD.actor = previous_actor

    def abandon(self) -> None:
        """Its process is over: drop what it holds without running any of it further."""
        if self.abandoned:
            return
        tasks = self._tasks()
        self.abandoned = True
        if self._timer is not None:
            self._timer.cancel()
        self._ready.clear()
        self._scheduled.clear()
        listeners.close_of(self)
        for transport in list(self.transports):
            transport.drop()
        self.transports.clear()
        previous, WORLD.actor = WORLD.actor, self.actor
        try:
            if tasks:
                with silence(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # coroutines that are never awaited now
                    for task in tasks:
                        _forget(task)
        finally:
            WORLD.actor = previous
        self._ready.clear()
        if self.actor is not None:
            self.actor.loops.pop(self, None)
        if not self._stepping:
            super().close()

    def create_task(self, coro: Any, **options: Any) -> Any:
        """As asyncio's; a dead process starts nothing."""
        if self.abandoned:
            coro.close()
            raise ProcessKilled
        return super().create_task(coro, **options)

    def create_future(self) -> Any:
        """As asyncio's."""
        return _Future(loop=self)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """As asyncio's; nobody hears of a dead process's open sessions."""
        if not self.abandoned:
            super().call_exception_handler(context)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """As asyncio's: the executor's threads are of the simulation."""
        if self.abandoned:
            raise ProcessKilled
        return super().run_in_executor(executor, func, *args)

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:
        """Accepted: signals are for the test's process, and nobody sends them to an operator."""

    def remove_signal_handler(self, sig: int) -> bool:
        """There is none."""
        return False

    def _process_events(self, event_list: Any) -> None:
        assert not event_list

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's own
        """As asyncio's; where the simulation is over, its threads are too."""
        if self.abandoned or not WORLD.inside():
            return
        executor = self._default_executor
        self._executor_shutdown_called = True
        if executor is not None:
            executor.shutdown(wait=True)

    def __repr__(self) -> str:
        whose = "test" if self.actor is None else self.actor.name
        return f"<virtual event loop of {whose}, {self.time():g}s>"


async def _gather(tasks: list[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def _forget(task: asyncio.Task[Any]) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  # pyright: ignore[reportAttributeAccessIssue] - what asyncio.run sets, too
    coro: Any = task.get_coro()
    for _ in range(16):
        # A `finally` that awaits makes close() raise; again, until the coroutine is at its end.
        try:
            coro.close()
        except RuntimeError:
            continue
        except BaseException:  # noqa: BLE001, S110 - nobody is there any more to hear of it
            pass
        return


def _swap_task(loop: Any, task: Any) -> Any:
    """Set aside the task that runs, where Python allows one for a thread (3.14)."""
    if loop is None or sys.version_info < (3, 14):
        return None
    from asyncio import tasks

    swap: Any = getattr(tasks, "_swap_current_task")  # noqa: B009 - not in the stubs
    return swap(loop, task)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """`asyncio.new_event_loop` inside the simulation, or where a test is going to ask for one."""
    if WORLD.inside() or WORLD.expected:
        return Loop(WORLD.actor)
    return _real_new_event_loop()


def _policy_new_event_loop(self: Any) -> asyncio.AbstractEventLoop:
    if WORLD.inside() or WORLD.expected:
        return Loop(WORLD.actor)
    return _real_policy_new_event_loop(self)


_policy: Any = getattr(
    events, "BaseDefaultEventLoopPolicy", getattr(events, "_BaseDefaultEventLoopPolicy", None)
)
_real_policy_new_event_loop: Any = _policy.new_event_loop


def install() -> None:
    """Let loops that are made from here on run on virtual time."""
    events.new_event_loop = new_event_loop
    asyncio.new_event_loop = new_event_loop
    _policy.new_event_loop = _policy_new_event_loop


def uninstall() -> None:
    """As it was."""
    events.new_event_loop = _real_new_event_loop
    asyncio.new_event_loop = _real_new_event_loop
    _policy.new_event_loop = _real_policy_new_event_loop
