"""A process: a named owner of tasks and timers that can be crashed, restarted, paused.

State machine (an event not named in a state does nothing):

    new --start--> running --pause--> paused --resume--> running
    running, paused --crash--> crashed --start--> running     (memory is lost)
    running, paused --stop--> stopped --start--> running
    running --its main ends or fails--> exited --start--> running

A crash ends its tasks without another line of their code running; its timers never fire; what it
held in memory is gone because `main` is called anew.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pytest_kubesim.sim.local_clock import LocalClock
from pytest_kubesim.sim.tasks import Task

if TYPE_CHECKING:
    from pytest_kubesim.sim.kernel import Kernel, Timer

T = TypeVar("T")

Main = Callable[["Process"], Coroutine[Any, Any, object]]


@types.coroutine
def _begun(main: Main, process: Process) -> Generator[Any, Any, object]:
    """`main(process)`, made when it first runs: a process that never ran leaves nothing behind."""
    return (yield from main(process).__await__())


class Process:
    """A process of the simulation.

    Parameters: `kernel`; `name`, unique in a run; `main`, called at every start with the process;
    `host`, the place in the network where it runs (its own name if not given).
    """

    def __init__(
        self, kernel: Kernel, name: str, main: Main | None = None, *, host: str | None = None
    ) -> None:
        self.kernel = kernel
        self.name = name
        self.host = host or name
        self.main = main
        self.state = "new"
        self.paused = False
        self.incarnation = 0
        """How many times it was started."""
        self.failure: BaseException | None = None
        """What its main failed with, when it `exited` so."""
        self.clock: LocalClock | None = None
        """Its clock (that of its machine, if several processes share one); None: it is right."""
        self.on_exit: list[Callable[[Process], None]] = []
        """Called when it exits, crashes or is stopped."""
        self.on_change: list[Callable[[Process], None]] = []
        """Called when it has been started, paused, resumed, or has ended in any way."""
        self._main_task: Task[Any] | None = None
        self._tasks: dict[Task[Any], None] = {}
        self._deferred: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    # -- its life -----------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether it is running and not paused."""
        return self.state == "running"

    @property
    def alive(self) -> bool:
        """Whether it is running or paused."""
        return self.state in ("running", "paused")

    @property
    def restarts(self) -> int:
        """How many times it was started again."""
        return max(0, self.incarnation - 1)

    def start(self) -> None:
        """Start it (again); nothing if it is alive."""
        if self.alive:
            return
        self.state = "running"
        self.failure = None
        self.incarnation += 1
        self._record("start")
        if self.main is not None:
            main = cast("Coroutine[Any, Any, object]", _begun(self.main, self))
            task = self.kernel.spawn(main, name=self.name, process=self)
            self._main_task = task
            task.add_done_callback(self._main_done)
        self._changed()

    def crash(self) -> None:
        """End it at this instant, as SIGKILL or a power cut does."""
        self._end("crashed")

    def stop(self) -> None:
        """End it for good (until `start`)."""
        self._end("stopped")

    def restart(self) -> None:
        """Crash it, if it is alive, and start it."""
        self._end("crashed")
        self.start()

    def pause(self) -> None:
        """Freeze it, as SIGSTOP does: what falls due for it waits."""
        if self.state == "running":
            self.state, self.paused = "paused", True
            self._record("pause")
            self._changed()

    def resume(self) -> None:
        """Let it go on; what fell due while it was paused happens now, in order."""
        if self.state == "paused":
            self.state, self.paused = "running", False
            self._record("resume")
            deferred, self._deferred = self._deferred, []
            for fn, args in deferred:
                self.kernel.call_soon(fn, *args)
            self._changed()

    # -- its tasks and timers -----------------------------------------------------------------

    def now_ns(self) -> int:
        """What its clock shows: the wall time there."""
        clock = self.clock
        return self.kernel.now_ns if clock is None else clock.now_ns()

    def monotonic_ns(self) -> int:
        """The monotonic time there: what timeouts and backoffs are measured by."""
        clock = self.clock
        return self.kernel.now_ns if clock is None else clock.monotonic_ns()

    def true_ns(self, duration_ns: int) -> int:
        """How long a timer of `duration_ns` there takes in truth."""
        clock = self.clock
        return duration_ns if clock is None else clock.true_ns(duration_ns)

    def own_clock(self) -> LocalClock:
        """Its clock, to be set: from here on it may be wrong."""
        if self.clock is None:
            self.clock = LocalClock(self.kernel)
        return self.clock

    @property
    def offset_ns(self) -> int:
        """How far its clock is ahead of true time."""
        return 0 if self.clock is None else self.clock.offset_ns

    def spawn(
        self, coro: Coroutine[Any, Any, T], *, name: str, daemon: bool = False
    ) -> Task[T]:
        """A task that ends with this process."""
        return self.kernel.spawn(coro, name=f"{self.name}/{name}", process=self, daemon=daemon)

    def call_later(
        self,
        delay_ns: int,
        fn: Callable[..., object],
        *args: Any,
        periodic: bool = False,
        label: str = "",
    ) -> Timer:
        """A timer that dies with this process and waits while it is paused."""
        return self.kernel.call_later(
            self.true_ns(delay_ns), self._fire, self.incarnation, fn, args, periodic=periodic,
            label=label or f"{self.name}: {getattr(fn, '__qualname__', fn)}",
        )

    def adopt(self, task: Task[Any]) -> None:
        """Own `task` (the kernel calls this)."""
        self._tasks[task] = None

    def forget(self, task: Task[Any]) -> None:
        """`task` has ended (the task calls this)."""
        self._tasks.pop(task, None)

    def defer(self, fn: Callable[..., object], *args: Any) -> None:
        """Do it when resumed (tasks and timers call this while it is paused)."""
        self._deferred.append((fn, args))

    def task_failed(self, task: Task[Any], failure: BaseException) -> bool:
        """A task of it failed and nobody awaits it.  True: this process takes it upon itself."""
        del task, failure
        return False

    # -- inside -------------------------------------------------------------------------------

    def _fire(self, incarnation: int, fn: Callable[..., object], args: tuple[Any, ...]) -> None:
        if incarnation != self.incarnation or not self.alive:
            return
        if self.paused:
            self.defer(self._fire, incarnation, fn, args)
            return
        fn(*args)

    def _main_done(self, task: Any) -> None:
        # The main of an incarnation that was crashed is heard of after the next one has started.
        if task is not self._main_task or self.state not in ("running", "paused"):
            return
        failure = task.exception()
        self._end("exited", failure)

    def _end(self, state: str, failure: BaseException | None = None) -> None:
        if not self.alive:
            return
        self.state, self.paused = state, False
        self.failure = failure
        self._deferred = []
        if failure is None:
            self._record(state)
        else:
            self._record(state, error=f"{type(failure).__name__}: {failure}")
        tasks, self._tasks = list(self._tasks), {}
        for task in tasks:
            task.kill()
        for callback in list(self.on_exit):
            callback(self)
        self._changed()

    def _changed(self) -> None:
        for callback in list(self.on_change):
            callback(self)

    def _record(self, what: str, **fields: Any) -> None:
        self.kernel.journal.record(
            "process", self.name, what=what, incarnation=self.incarnation, **fields
        )
