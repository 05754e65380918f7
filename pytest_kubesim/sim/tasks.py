"""Futures and tasks: coroutines driven by the kernel, nothing of asyncio.

A coroutine suspends by yielding one of two things to the kernel: a `Future` (wake me when it is
done) or a tuple `(duration_ns, periodic)` (wake me then).  Every `await` that really suspends is a
place where a process can be overtaken, paused or killed.  An `await` of something that is already
there does not suspend: that is the fast path of an API call.

A task that fails while nobody awaits it fails the run (simpy's rule): errors never pass in silence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from pytest_kubesim.sim.kernel import Kernel, Timer
    from pytest_kubesim.sim.process import Process

T = TypeVar("T")


class Cancelled(BaseException):
    """Thrown into a task that is being cancelled, at the `await` where it stands."""


class Future(Generic[T]):
    """A value that will be there later; awaitable any number of times."""

    __slots__ = ("_callbacks", "_done", "_exception", "_kernel", "_result")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._done = False
        self._result: T | None = None
        self._exception: BaseException | None = None
        self._callbacks: list[Callable[[Future[T]], None]] = []

    def done(self) -> bool:
        """Whether it has a result or an exception."""
        return self._done

    def result(self) -> T:
        """The result; raises what it failed with."""
        assert self._done, "the future is not done"
        if self._exception is not None:
            raise self._exception
        return self._result  # pyright: ignore[reportReturnType]

    def exception(self) -> BaseException | None:
        """What it failed with, or None."""
        return self._exception

    def set_result(self, value: T) -> None:
        """Fulfil it; whoever awaits it is woken at this instant, in order.  Once only."""
        assert not self._done, "the future is done already"
        self._done = True
        self._result = value
        self._notify()

    def arrive(self, value: T) -> None:
        """Fulfil it, as an event of its own does: whoever awaits it goes on within that event."""
        assert not self._done, "the future is done already"
        self._done = True
        self._result = value
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def set_exception(self, error: BaseException) -> None:
        """Fail it.  Once only."""
        assert not self._done, "the future is done already"
        self._done = True
        self._exception = error
        self._notify()

    def add_done_callback(self, callback: Callable[[Future[T]], None]) -> None:
        """Call `callback(self)` when it is done: soon, if it is done already."""
        if self._done:
            self._kernel.call_soon(callback, self)
        else:
            self._callbacks.append(callback)

    def remove_done_callback(self, callback: Callable[[Future[T]], None]) -> None:
        """Forget a callback; nothing if it is not there."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    def _notify(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._kernel.call_soon(callback, self)

    def __await__(self) -> Generator[Future[T], None, T]:
        if not self._done:
            yield self
        return self.result()


class Task(Future[T]):
    """A running coroutine, owned by a process (or by nobody: the test's own)."""

    __slots__ = ("_coro", "_waiting", "daemon", "generation", "name", "process")

    def __init__(
        self, kernel: Kernel, coro: Coroutine[Any, Any, T], name: str, process: Process | None
    ) -> None:
        super().__init__(kernel)
        self._coro = coro
        self._waiting: Future[Any] | Timer | None = None
        self.name = name
        self.process = process
        self.daemon = False
        """A daemon's failure is its own affair: nobody has to await it."""

    def cancel(self) -> None:
        """Throw `Cancelled` into it at this instant; nothing if it is done."""
        if self._done:
            return
        self._leave()
        self._kernel.call_soon(self.step, Cancelled())

    def kill(self) -> None:
        """End it without another line of its code running, as a crashed process ends."""
        if self._done:
            return
        self._leave()
        self._done = True
        self._exception = Cancelled()
        try:
            self._coro.close()
        except RuntimeError:
            # It awaited something in a `finally`: a dead process does not.
            pass
        self._notify()

    def _leave(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        if isinstance(waiting, Future):
            waiting.remove_done_callback(self._wake)
        else:
            waiting.cancel()

    def _wake(self, source: Future[Any]) -> None:
        if self._waiting is source:
            self.step(None)

    def _timer(self) -> None:
        self.step(None)

    def step(self, error: BaseException | None) -> None:
        """Run to the next suspension (the kernel calls this)."""
        if self._done:
            return
        process = self.process
        if process is not None and process.paused:
            process.defer(self.step, error)
            return
        kernel = self._kernel
        previous, kernel.current_task = kernel.current_task, self
        self._waiting = None
        try:
            trap = self._coro.send(None) if error is None else self._coro.throw(error)
        except StopIteration as stop:
            self._finish(stop.value, None)
        except Cancelled as cancelled:
            self._finish(None, cancelled)
        except Exception as failure:  # noqa: BLE001 - whatever it raises is its result
            self._finish(None, failure)
        else:
            if isinstance(trap, Future):
                source = cast("Future[Any]", trap)
                self._waiting = source
                source.add_done_callback(self._wake)
            else:
                delay_ns, periodic = trap
                if process is not None and process.clock is not None:
                    delay_ns = process.clock.true_ns(delay_ns)
                self._waiting = kernel.call_at(
                    kernel.now_ns + delay_ns, self._timer, periodic=periodic
                )
        finally:
            kernel.current_task = previous

    def _finish(self, value: T | None, failure: BaseException | None) -> None:
        self._done = True
        if self.process is not None:
            self.process.forget(self)
        if failure is None:
            self._result = value
        else:
            self._exception = failure
            if not isinstance(failure, Cancelled) and not self._callbacks and not self.daemon:
                self._kernel.task_failed(self, failure)
        self._notify()


class Event:
    """A flag that tasks can wait for; may be set and cleared any number of times."""

    __slots__ = ("_flag", "_kernel", "_waiters")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._flag = False
        self._waiters: list[Future[None]] = []

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._flag

    def set(self) -> None:
        """Set it and wake all who wait."""
        self._flag = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        """Unset it."""
        self._flag = False

    def future(self) -> Future[None]:
        """A future that is done when the event is next set (at once if it is set)."""
        waiter: Future[None] = Future(self._kernel)
        if self._flag:
            waiter.set_result(None)
        else:
            self._waiters.append(waiter)
        return waiter

    async def wait(self) -> None:
        """Wait until it is set."""
        if not self._flag:
            await self.future()


class Queue(Generic[T]):
    """An unbounded first-in, first-out queue; `get` waits, `put` never does."""

    __slots__ = ("_getters", "_items", "_kernel")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._items: deque[T] = deque()
        self._getters: deque[Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Append `item` and wake one who waits."""
        self._items.append(item)
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                break

    def get_nowait(self) -> T:
        """The oldest item; IndexError when there is none."""
        return self._items.popleft()

    async def get(self) -> T:
        """The oldest item, waiting for one."""
        while not self._items:
            getter: Future[None] = Future(self._kernel)
            self._getters.append(getter)
            await getter
        return self._items.popleft()
