"""Clocks that are wrong: offsets, jumps, drift, and what follows them."""

from __future__ import annotations

import pytest

from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.local_clock import LocalClock
from pytest_kubesim.sim.process import Process


def test_a_process_without_a_clock_of_its_own_sees_true_time() -> None:
    kernel = Kernel()
    process = Process(kernel, "p")

    assert process.now_ns() == process.monotonic_ns() == kernel.now_ns
    assert process.offset_ns == 0


def test_a_jump_sets_the_wall_time_and_leaves_the_monotonic_time() -> None:
    kernel = Kernel()
    process = Process(kernel, "p")
    process.own_clock().jump(-3600 * NS)

    assert process.now_ns() == kernel.now_ns - 3600 * NS
    assert process.monotonic_ns() == kernel.now_ns
    assert process.offset_ns == -3600 * NS


def test_drift_adds_up_from_when_it_begins_and_stays_when_it_ends() -> None:
    kernel = Kernel()
    clock = LocalClock(kernel)
    kernel.run(until_ns=kernel.now_ns + 100 * NS)
    clock.drift(1000)
    kernel.run(until_ns=kernel.now_ns + 100 * NS)
    assert clock.offset_ns == NS // 10
    clock.drift(0)
    kernel.run(until_ns=kernel.now_ns + 100 * NS)

    assert clock.offset_ns == NS // 10
    assert clock.monotonic_ns() == kernel.now_ns + NS // 10


def test_timers_and_sleeps_of_a_fast_clock_come_early() -> None:
    kernel = Kernel()
    process = Process(kernel, "p")
    process.start()
    process.own_clock().drift(250_000)
    begun = kernel.now_ns
    fired: list[int] = []

    async def sleeper() -> None:
        await kernel.sleep(10 * NS)
        fired.append(kernel.now_ns - begun)

    process.spawn(sleeper(), name="sleeper")
    process.call_later(5 * NS, lambda: fired.append(kernel.now_ns - begun))
    kernel.run(until_ns=begun + 20 * NS)

    assert fired == [4 * NS, 8 * NS]


def test_a_jump_moves_no_timer() -> None:
    kernel = Kernel()
    process = Process(kernel, "p")
    process.start()
    fired: list[int] = []
    begun = kernel.now_ns
    process.call_later(5 * NS, lambda: fired.append(kernel.now_ns - begun))
    process.own_clock().jump(3600 * NS)
    kernel.run(until_ns=begun + 20 * NS)

    assert fired == [5 * NS]


def test_processes_of_one_machine_can_share_a_clock() -> None:
    kernel = Kernel()
    one, other = Process(kernel, "one"), Process(kernel, "other")
    one.clock = other.clock = LocalClock(kernel, offset_ns=7 * NS)
    other.own_clock().jump(NS)

    assert one.offset_ns == other.offset_ns == 8 * NS


def test_a_clock_that_would_stand_still_is_refused() -> None:
    with pytest.raises(ValueError, match="500000 ppm"):
        LocalClock(Kernel()).drift(-1_000_000)
