from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.sim import kernel as kernel_module
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import LATE, URGENT, Deadlock, HotLoop, Kernel
from pytest_kubesim.sim.tasks import Cancelled, Event, Future, Queue


def test_what_is_due_runs_in_order_of_time_priority_and_scheduling() -> None:
    kernel, seen = Kernel(), []
    start = kernel.now_ns
    kernel.call_at(start + 5, seen.append, "late", priority=LATE)
    kernel.call_at(start + 5, seen.append, "first")
    kernel.call_at(start + 5, seen.append, "second")
    kernel.call_at(start + 5, seen.append, "urgent", priority=URGENT)
    kernel.call_at(start + 1, seen.append, "earlier")
    kernel.run()
    assert seen == ["earlier", "urgent", "first", "second", "late"]
    assert kernel.elapsed_ns == 5


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=40))
def test_time_never_goes_back_and_cancelled_timers_never_run(plan: list[tuple[int, bool]]) -> None:
    kernel = Kernel()
    ran: list[tuple[int, int]] = []
    timers = [
        kernel.call_later(delay, lambda d=delay: ran.append((d, kernel.elapsed_ns)))
        for delay, _ in plan
    ]
    for timer, (_, cancelled) in zip(timers, plan, strict=True):
        if cancelled:
            timer.cancel()
    kernel.run()
    assert [d for d, _ in ran] == sorted(d for d, cancelled in plan if not cancelled)
    assert all(due == at for due, at in ran)
    assert kernel.pending == 0


def test_a_run_ends_at_its_limit_with_time_standing_there() -> None:
    kernel, seen = Kernel(), []
    kernel.call_later(10 * NS, seen.append, 1)
    assert kernel.run(until_ns=kernel.now_ns + 4 * NS) is False
    assert (kernel.elapsed_ns, seen) == (4 * NS, [])
    kernel.run()
    assert (kernel.elapsed_ns, seen) == (10 * NS, [1])


def test_a_coroutine_that_does_not_suspend_is_done_at_once() -> None:
    kernel = Kernel()

    async def answer() -> int:
        return 42

    task = kernel.spawn(answer(), name="t", eager=True)
    assert task.done()
    assert task.result() == 42


def test_sleeping_costs_virtual_time_only() -> None:
    kernel = Kernel()

    async def sleeper() -> int:
        await kernel.sleep(3600 * NS)
        return kernel.elapsed_ns

    assert kernel.run_coroutine(sleeper()) == 3600 * NS


def test_a_failure_that_nobody_awaits_fails_the_run() -> None:
    kernel = Kernel()

    async def broken() -> None:
        raise ValueError("mine")

    kernel.spawn(broken(), name="broken")
    with pytest.raises(ValueError, match="mine") as caught:
        kernel.run()
    assert "in the task 'broken'" in caught.value.__notes__


def test_a_failure_that_is_awaited_goes_to_who_awaits_it() -> None:
    kernel = Kernel()

    async def broken() -> None:
        await kernel.sleep(1)
        raise ValueError("mine")

    async def outer() -> str:
        try:
            await kernel.spawn(broken(), name="broken")
        except ValueError as error:
            return str(error)
        return ""

    assert kernel.run_coroutine(outer()) == "mine"


def test_waiting_for_what_cannot_come_is_a_deadlock() -> None:
    kernel = Kernel()
    with pytest.raises(Deadlock):
        kernel.run_until(kernel.future())


def test_a_hot_loop_is_named_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_module, "INSTANT_LIMIT", 10)
    kernel = Kernel()
    ran: list[int] = []

    def again() -> None:
        ran.append(len(ran))
        if len(ran) < 15:
            kernel.call_later(0, again, label="looks once more")

    kernel.call_later(1, again, label="looks")
    with pytest.raises(HotLoop, match="10 events ran .* the last was 'looks once more', what comes next is 'looks once"):
        kernel.run()
    kernel.run()
    assert ran == list(range(15))


def test_the_first_of_several_futures_or_the_timeout_ends_a_wait() -> None:
    kernel = Kernel()
    first: Future[int] = Future(kernel)
    second: Future[int] = Future(kernel)
    kernel.call_later(5, second.set_result, 2)

    async def wait(timeout_ns: int) -> bool:
        return await kernel.wait_any(first, second, timeout_ns=timeout_ns)

    assert kernel.run_coroutine(wait(3)) is False
    assert kernel.elapsed_ns == 3
    assert kernel.run_coroutine(wait(100)) is True
    assert kernel.elapsed_ns == 5
    assert kernel.pending == 0


def test_a_cancelled_task_is_told_where_it_stands() -> None:
    kernel, told = Kernel(), []

    async def main() -> None:
        try:
            await kernel.future()
        except Cancelled:
            told.append(True)
            raise

    task = kernel.spawn(main(), name="t")
    kernel.run()
    task.cancel()
    kernel.run()
    assert told == [True]
    assert isinstance(task.exception(), Cancelled)


def test_idle_looks_past_periodic_work() -> None:
    kernel = Kernel()
    kernel.call_later(5, lambda: None, periodic=True)
    assert kernel.idle()
    timer = kernel.call_later(5, lambda: None)
    assert not kernel.idle()
    timer.cancel()
    assert kernel.idle()


def test_an_event_wakes_all_and_a_queue_wakes_one() -> None:
    kernel, seen = Kernel(), []
    event, queue = Event(kernel), Queue(kernel)

    async def on_event(name: str) -> None:
        await event.wait()
        seen.append(name)

    async def on_queue(name: str) -> None:
        seen.append((name, await queue.get()))

    for name in "ab":
        kernel.spawn(on_event(name), name=name)
        kernel.spawn(on_queue(name), name=name)
    kernel.run()
    event.set()
    queue.put(1)
    kernel.run()
    assert seen == ["a", "b", ("a", 1)]
