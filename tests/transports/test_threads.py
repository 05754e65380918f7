"""Threads, locks, queues and executors on virtual time, one thread at a time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
import time

import pytest

from pytest_kubesim.errors import AssertionFailed, OperatorFailed

MADE_OUTSIDE = concurrent.futures.ThreadPoolExecutor(2)


def test_threads_sleep_side_by_side_in_the_order_of_time(kubesim):
    order = []

    def work(name, seconds):
        for _ in range(2):
            time.sleep(seconds)
            order.append((name, kubesim.clock.time))

    threads = [threading.Thread(target=work, args=(n, s)) for n, s in (("slow", 30), ("quick", 10))]
    for thread in threads:
        thread.start()
    assert order == []
    for thread in threads:
        thread.join()
    assert order == [("quick", 10), ("quick", 20), ("slow", 30), ("slow", 60)]


def test_events_conditions_and_queues_wait_virtually(kubesim):
    ready, answers = threading.Event(), queue.Queue()

    def work():
        assert ready.wait(100)
        answers.put(kubesim.clock.time)

    threading.Thread(target=work).start()
    time.sleep(40)
    ready.set()
    assert answers.get(timeout=5) == 40
    with pytest.raises(queue.Empty):
        answers.get(timeout=5)
    assert kubesim.clock.time == 45
    assert not threading.Event().wait(5)
    assert kubesim.clock.time == 50


def test_a_lock_that_is_held_across_a_wait(kubesim):
    lock, order = threading.Lock(), []

    def work(name):
        with lock:
            order.append((name, kubesim.clock.time))
            time.sleep(10)

    threads = [threading.Thread(target=work, args=(n,)) for n in "abc"]
    for thread in threads:
        thread.start()
    time.sleep(1)
    assert not lock.acquire(timeout=2)
    for thread in threads:
        thread.join()
    assert order == [("a", 0), ("b", 10), ("c", 20)]


def test_rlocks_and_timers(kubesim):
    lock, rang = threading.RLock(), []
    with lock, lock:
        threading.Timer(60, lambda: rang.append(kubesim.clock.time)).start()
    time.sleep(61)
    assert rang == [60]


@pytest.mark.parametrize("made", ["outside", "inside"])
def test_executors(kubesim, made):
    executor = MADE_OUTSIDE if made == "outside" else concurrent.futures.ThreadPoolExecutor(2)

    def work(seconds):
        time.sleep(seconds)
        return kubesim.clock.time

    futures = [executor.submit(work, s) for s in (30, 20, 10)]
    assert [f.result() for f in concurrent.futures.as_completed(futures)] == [20, 30, 30]


def test_an_executor_that_lost_its_threads_with_a_cluster_gets_new_ones(kubesim):
    assert MADE_OUTSIDE.submit(lambda: 7).result(timeout=10) == 7


async def test_an_event_loop_and_its_executor(kubesim):
    loop = asyncio.get_running_loop()
    started = loop.time()
    await asyncio.gather(asyncio.to_thread(time.sleep, 100), asyncio.sleep(50))
    assert loop.time() - started == 100
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 20)
    assert kubesim.clock.time == 120


def test_asyncio_run_in_a_test_and_in_a_thread(kubesim):
    async def nap():
        await asyncio.sleep(30)
        return kubesim.clock.time

    assert asyncio.run(nap()) == 30
    with concurrent.futures.ThreadPoolExecutor() as executor:
        assert executor.submit(asyncio.run, nap()).result() == 60


def test_a_wait_that_nobody_ends_is_told(kubesim):
    with pytest.raises(AssertionFailed, match="30 days"):
        threading.Event().wait()


def test_a_crashed_operator_runs_not_another_line(kubesim):
    lines = []

    def operator():
        try:
            while True:
                time.sleep(10)
                lines.append(kubesim.clock.time)
        finally:
            time.sleep(1)
            lines.append("cleaned up")

    running = kubesim.run(operator)
    kubesim.advance("25s")
    running.crash()
    kubesim.advance("1m")
    assert lines == [10, 20]
    running.restart()
    kubesim.advance("15s")
    assert lines == [10, 20, 95]


def test_a_stubborn_operator_is_left_standing(kubesim):
    def operator():
        while True:
            try:
                time.sleep(10)
            except BaseException:
                pass

    running = kubesim.run(operator)
    kubesim.advance("25s")
    running.stop()
    kubesim.advance("1m")
    assert not running.running


def test_a_paused_operator_goes_on_later(kubesim):
    seen = []

    def operator():
        while True:
            time.sleep(10)
            seen.append(kubesim.clock.time)

    running = kubesim.run(operator)
    kubesim.advance("15s")
    running.pause()
    kubesim.advance("60s")
    assert seen == [10]
    running.resume()
    kubesim.advance("10s")
    assert seen == [10, 75, 85]


def test_threads_of_an_operator_end_with_it(kubesim):
    beats = []

    def operator():
        def beat():
            while True:
                time.sleep(1)
                beats.append(kubesim.clock.time)

        threading.Thread(target=beat, daemon=True).start()
        time.sleep(5.5)

    running = kubesim.run(operator)
    kubesim.advance("1m")
    assert len(beats) == 5
    assert running.process.state == "exited"


def test_an_operator_that_raises_ends_the_test(kubesim):
    def operator():
        time.sleep(5)
        raise ValueError("no such thing")

    kubesim.run(operator, name="faulty")
    with pytest.raises(OperatorFailed, match="'faulty' ended with ValueError: no such thing"):
        kubesim.advance("1m")


def test_an_operator_that_runs_asyncio_itself(kubesim):
    ticks = []

    def main():
        async def loop():
            while True:
                await asyncio.sleep(10)
                ticks.append(kubesim.clock.time)

        asyncio.run(loop())

    running = kubesim.run(main)
    kubesim.advance("35s")
    running.crash()
    kubesim.advance("1m")
    assert ticks == [10, 20, 30]


def test_an_async_operator_crashes_without_cleaning_up(kubesim):
    lines = []

    async def operator():
        async def child():
            try:
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(0)
                lines.append("cleaned up")

        task = asyncio.create_task(child())
        try:
            await task
        finally:
            await asyncio.sleep(1)
            lines.append("cleaned up")

    running = kubesim.run(operator)
    kubesim.advance("10s")
    running.crash()
    kubesim.advance("1h")
    assert lines == []


def test_an_async_operator_that_blocks_its_loop(kubesim):
    order = []

    async def operator():
        time.sleep(30)  # noqa: ASYNC251 - what people do
        order.append(("blocked", kubesim.clock.time))

    async def other():
        await asyncio.sleep(10)
        order.append(("other", kubesim.clock.time))

    kubesim.run(operator)
    kubesim.run(other)
    kubesim.advance("1m")
    assert order == [("other", 10), ("blocked", 30)]


def test_equal_runs_hand_over_in_equal_order(kubesim_factory):
    def run():
        cluster = kubesim_factory(seed=3)

        def operator():
            def work(number):
                for _ in range(3):
                    cluster.client("requests").get(f"/api/v1/namespaces/{number}")
                    time.sleep(number % 3)

            threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        cluster.run(operator)
        cluster.advance("1m")
        digest = cluster.journal.digest()
        cluster.close()
        return digest

    assert run() == run()


def test_a_loop_without_a_pause_does_not_stop_the_world(kubesim):
    session, polls = kubesim.client("requests"), []

    def operator():
        while True:
            session.get("/healthz")
            polls.append(kubesim.clock.time)

    kubesim.run(operator)
    kubesim.advance("50ms")
    assert polls[-1] == pytest.approx(0.05, abs=0.002)


def test_timers_of_the_test_run_itself_are_left_alone(kubesim):
    import pytest_timeout_like  # noqa: F401 - made below

    timer = threading.Timer(0.01, pytest_timeout_like.ring)
    timer.start()
    assert not hasattr(timer, "_kubesim")
    timer.cancel()


@pytest.fixture(autouse=True)
def _outsider(monkeypatch):
    import sys
    import types

    from pytest_kubesim.transports import threads

    module = types.ModuleType("pytest_timeout_like")
    exec("def ring(): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "pytest_timeout_like", module)
    monkeypatch.setattr(threads, "OUTSIDE_MODULES", ("pytest_timeout_like",))
