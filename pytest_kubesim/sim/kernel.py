"""The engine: a heap of events, a queue of what is due now, one thread.

Law: events run in the order (time, priority, sequence of scheduling); what is scheduled for
"now" runs in the order in which it was scheduled, before time moves.  Heap entries are tuples
`(time_ns, priority, sequence, timer)`: comparison never reaches the timer.

Time moves only in `run`, only forwards, and only when nothing is left to do at the present
instant; with a virtual clock that is at once, unless there is somebody `outside` who lives in real
time and has to be heard first.

A timer is *periodic* when it is background work that never ends (lease renewals, resyncs,
heartbeats): `idle()` and `Cluster.settle` look only at the others.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pytest_kubesim.sim.clock import NS, Clock, VirtualClock, WallClock
from pytest_kubesim.sim.journal import Journal
from pytest_kubesim.sim.rng import Rng
from pytest_kubesim.sim.tasks import Future, Task

if TYPE_CHECKING:
    from pytest_kubesim.sim.process import Process

T = TypeVar("T")

URGENT, NORMAL, LATE = 0, 1, 2
"""Priorities among events of one instant: faults strike first, observers look last."""

DEFAULT_START = datetime(2026, 1, 1, tzinfo=UTC)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_ns(moment: datetime) -> int:
    """Integer nanoseconds since the epoch of an aware datetime."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * NS + delta.microseconds * 1_000


def to_datetime(time_ns: int) -> datetime:
    """An aware datetime of integer nanoseconds since the epoch (microseconds, rounded down)."""
    return _EPOCH + timedelta(microseconds=time_ns // 1_000)


class Timer:
    """A scheduled call; `cancel()` it as long as it has not run."""

    __slots__ = ("_kernel", "args", "cancelled", "fn", "label", "periodic", "time_ns")

    def __init__(
        self,
        kernel: Kernel,
        time_ns: int,
        fn: Callable[..., object],
        args: tuple[Any, ...],
        periodic: bool,
        label: str,
    ) -> None:
        self._kernel = kernel
        self.time_ns = time_ns
        self.fn = fn
        self.args = args
        self.periodic = periodic
        self.label = label
        self.cancelled = False

    def cancel(self) -> None:
        """Never run it; nothing if it has run or is cancelled."""
        if not self.cancelled:
            self.cancelled = True
            if not self.periodic:
                self._kernel.pending -= 1

    def describe(self) -> str:
        """What it is for, for people."""
        return self.label or _named(self.fn)


def _named(fn: Callable[..., object]) -> str:
    owner = getattr(fn, "__self__", None)
    if isinstance(owner, Task):
        return owner.name
    return getattr(fn, "__qualname__", repr(fn))


class HotLoop(Exception):
    """Event follows event and time does not pass: something wakes itself for ever."""


INSTANT_LIMIT = 1_000_000
"""How many events may run at one instant before that is a `HotLoop`."""


class Deadlock(Exception):
    """Nothing is left to run, and what was waited for has not come."""


class Outside(Protocol):
    """Who lives in real time beside the simulation."""

    def pace(self, until_ns: int) -> int:
        """The instant to which time may go now, at most `until_ns`; it may take real time to say.

        What has come from outside meanwhile has been scheduled with `call_soon`.
        """
        ...


class Kernel:
    """One run: its time, its randomness, its journal, its tasks.

    Parameters: `seed` of all randomness; `start_time`, an aware datetime; `clock` instead of a
    virtual one.
    """

    def __init__(
        self, *, seed: int = 0, start_time: datetime = DEFAULT_START, clock: Clock | None = None
    ) -> None:
        self.start_ns = to_ns(start_time)
        self.clock: Clock = clock or VirtualClock(self.start_ns)
        self.now_ns = self.clock.now_ns()
        self.rng = Rng(seed)
        self.journal = Journal(lambda: self.now_ns)
        self.pending = 0
        """How many timers wait that are not periodic."""
        self.current_task: Task[Any] | None = None
        self.outside: Outside | None = None
        """Who has a say in how fast time passes; None: nobody, and it jumps."""
        self.events = 0
        """How many events have run."""
        self.moved_at = 0
        """How many events had run when time last moved."""
        self._heap: list[tuple[int, int, int, Timer]] = []
        self._ready: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._sequence = 0
        self._failures: list[tuple[Task[Any], BaseException]] = []
        self._time_listeners: list[Callable[[int], None]] = []

    # -- scheduling ---------------------------------------------------------------------------

    def call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn(*args)` at this instant, after what is scheduled already."""
        self._ready.append((fn, args))

    def call_at(
        self,
        time_ns: int,
        fn: Callable[..., object],
        *args: Any,
        priority: int = NORMAL,
        periodic: bool = False,
        label: str = "",
    ) -> Timer:
        """Call `fn(*args)` at `time_ns` (nanoseconds since the epoch; the past means now)."""
        timer = Timer(self, time_ns, fn, args, periodic, label)
        self._sequence += 1
        heapq.heappush(
            self._heap,
            (max(self.now_ns, time_ns), priority, self._sequence, timer),
        )
        if not periodic:
            self.pending += 1
        return timer

    def call_later(
        self,
        delay_ns: int,
        fn: Callable[..., object],
        *args: Any,
        periodic: bool = False,
        label: str = "",
    ) -> Timer:
        """Call `fn(*args)` after `delay_ns` nanoseconds."""
        return self.call_at(
            self.now_ns + delay_ns, fn, *args, periodic=periodic, label=label
        )

    def spawn(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str,
        process: Process | None = None,
        eager: bool = False,
        daemon: bool = False,
    ) -> Task[T]:
        """Run `coro` as a task: from the next turn, or (`eager`) its first steps at once."""
        task: Task[T] = Task(self, coro, name, process)
        task.daemon = daemon
        if process is not None:
            process.adopt(task)
        if eager:
            task.step(None)
        else:
            self._ready.append((task.step, (None,)))
        return task

    def future(self) -> Future[Any]:
        """A new future."""
        return Future(self)

    def sleep(self, duration_ns: int, *, periodic: bool = False) -> Sleep:
        """`await` it to suspend for `duration_ns` nanoseconds."""
        return Sleep(duration_ns, periodic)

    async def wait_any(
        self, *futures: Future[Any], timeout_ns: int | None = None, periodic: bool = False
    ) -> bool:
        """Wait until one of `futures` is done, or `timeout_ns` has passed (False then)."""
        if any(f.done() for f in futures):
            return True
        gate: Future[bool] = Future(self)

        def opened(_source: Future[Any]) -> None:
            if not gate.done():
                gate.set_result(True)

        def expired() -> None:
            if not gate.done():
                gate.set_result(False)

        for future in futures:
            future.add_done_callback(opened)
        task = self.current_task
        if timeout_ns is not None and task is not None and task.process is not None:
            timeout_ns = task.process.true_ns(timeout_ns)
        timer = (
            self.call_later(timeout_ns, expired, periodic=periodic)
            if timeout_ns is not None
            else None
        )
        try:
            return await gate
        finally:
            if timer is not None:
                timer.cancel()
            for future in futures:
                future.remove_done_callback(opened)

    def task_failed(self, task: Task[Any], failure: BaseException) -> None:
        """A task failed and nobody awaits it: its process's supervisor, or the run, takes it."""
        process = task.process
        if process is not None and process.task_failed(task, failure):
            return
        self._failures.append((task, failure))

    def on_time(self, listener: Callable[[int], None]) -> None:
        """Call `listener(now_ns)` whenever time has moved (freezegun, skewed clocks)."""
        self._time_listeners.append(listener)

    # -- running ------------------------------------------------------------------------------

    @property
    def elapsed_ns(self) -> int:
        """Nanoseconds since the run began."""
        return self.now_ns - self.start_ns

    def next_time_ns(self) -> int | None:
        """When the next timer falls due; None when there is none."""
        heap = self._heap
        while heap and heap[0][3].cancelled:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def has_ready(self) -> bool:
        """Whether something is due at this instant without time moving."""
        return bool(self._ready) or (
            (due := self.next_time_ns()) is not None and due <= self.now_ns
        )

    def idle(self) -> bool:
        """Whether only periodic work is left."""
        return not self._ready and self.pending == 0

    def timers(self, limit: int = 20, *, periodic: bool = False) -> list[tuple[int, str]]:
        """What is scheduled next, soonest first: `(time_ns, description)`."""
        entries: Iterable[tuple[int, int, int, Timer]] = heapq.nsmallest(
            limit,
            (e for e in self._heap if not e[3].cancelled and (periodic or not e[3].periodic)),
        )
        return [(time_ns, timer.describe()) for time_ns, _, _, timer in entries]

    def step(self, until_ns: int | None = None) -> bool:
        """Run one event, moving time to it if it is not after `until_ns`.  False: none was due.

        With somebody outside, a piece of time that has passed counts as an event too.
        """
        if self.outside is not None and not self._ready and self._hear(self.outside, until_ns):
            return True
        timer: Timer | None = None
        if self._ready:
            fn, args = self._ready.popleft()
        else:
            due_ns = self.next_time_ns()
            if due_ns is None or (until_ns is not None and due_ns > until_ns):
                return False
            if due_ns > self.now_ns and not self._move(due_ns):
                return False
            timer = heapq.heappop(self._heap)[3]
            timer.cancelled = True
            if not timer.periodic:
                self.pending -= 1
            fn, args = timer.fn, timer.args
        self.events += 1
        fn(*args)
        if self._failures:
            task, failure = self._failures.pop(0)
            failure.add_note(f"in the task {task.name!r}")
            raise failure
        if self.events - self.moved_at > INSTANT_LIMIT:
            raise self._hot_loop(timer.describe() if timer is not None else _named(fn))
        return True

    def _hot_loop(self, last: str) -> HotLoop:
        """Every event has run that was due, so that whoever goes on goes on with all of them."""
        self.moved_at = self.events
        ready = [_named(fn) for fn, _ in itertools.islice(self._ready, 5)]
        due = [name for at_ns, name in self.timers(5, periodic=True) if at_ns <= self.now_ns]
        return HotLoop(
            f"{INSTANT_LIMIT} events ran and time did not pass; the last was {last!r}, what comes "
            f"next is {', '.join(map(repr, ready + due)) or 'nothing'}"
        )

    def _hear(self, outside: Outside, until_ns: int | None) -> bool:
        """Let those outside have their say before time moves.  True: it came part of the way."""
        due_ns = self.next_time_ns()
        if due_ns is None or (until_ns is not None and until_ns < due_ns):
            due_ns = until_ns
        if due_ns is None or due_ns <= self.now_ns:
            return False
        reached_ns = min(outside.pace(due_ns), due_ns)
        if reached_ns > self.now_ns:
            self._move(reached_ns)
        return reached_ns < due_ns and not self._ready

    def run(
        self, stop: Callable[[], bool] | None = None, *, until_ns: int | None = None
    ) -> bool:
        """Run events until `stop()` holds (True) or nothing more falls due by `until_ns` (False).

        `stop` is asked before the first event and after each.  Where `until_ns` is given and
        reached, time stands at it afterwards.
        """
        if stop is None:
            while self.step(until_ns):
                pass
        else:
            if stop():
                return True
            while self.step(until_ns):
                if stop():
                    return True
        if until_ns is not None and until_ns > self.now_ns:
            self._move(until_ns)
        return False

    def run_until(self, future: Future[T], *, until_ns: int | None = None) -> T:
        """Run until `future` is done and give its result; `Deadlock` when it cannot come."""
        if not future.done() and not self.run(future.done, until_ns=until_ns):
            raise Deadlock("nothing is left to run, and what was waited for has not come")
        return future.result()

    def run_coroutine(self, coro: Coroutine[Any, Any, T], *, name: str = "main") -> T:
        """Run `coro` to its end from outside any task, and everything that falls due meanwhile."""
        task = self.spawn(coro, name=name, eager=True, daemon=True)
        return self.run_until(task)

    def _move(self, time_ns: int) -> bool:
        self.moved_at = self.events
        moved = self.clock.advance_to(time_ns)
        self.now_ns = self.clock.now_ns()
        for listener in self._time_listeners:
            listener(self.now_ns)
        return moved

    def catch_up_to(self, clock: WallClock) -> None:
        """Take over the wall's time, before work that comes from outside is looked at."""
        clock.catch_up()
        now_ns = clock.now_ns()
        due_ns = self.next_time_ns()
        if due_ns is not None and due_ns < now_ns:
            now_ns = due_ns  # What is due first happens at its own time.
        if now_ns > self.now_ns:
            self.moved_at = self.events
            self.now_ns = now_ns


class Sleep:
    """What `Kernel.sleep` gives: awaitable once."""

    __slots__ = ("_duration_ns", "_periodic")

    def __init__(self, duration_ns: int, periodic: bool) -> None:
        self._duration_ns = duration_ns
        self._periodic = periodic

    def __await__(self) -> Generator[tuple[int, bool], None, None]:
        yield (self._duration_ns, self._periodic)
