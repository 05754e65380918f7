from __future__ import annotations

from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.process import Process


def ticking(kernel: Kernel, seen: list[int]) -> Process:
    async def main(process: Process) -> None:
        while True:
            await kernel.sleep(NS)
            seen.append(kernel.elapsed_ns // NS)

    return Process(kernel, "p", main)


def run(kernel: Kernel, seconds: float) -> None:
    kernel.run(until_ns=kernel.now_ns + int(seconds * NS))


def test_a_crash_ends_it_and_a_start_begins_anew() -> None:
    kernel, seen = Kernel(), []
    process = ticking(kernel, seen)
    process.start()
    run(kernel, 2.5)
    process.crash()
    run(kernel, 5)
    assert (seen, process.state) == ([1, 2], "crashed")
    process.start()
    run(kernel, 1)
    assert (seen, process.restarts) == ([1, 2, 8], 1)


def test_no_line_of_a_crashed_process_runs_any_more() -> None:
    kernel, seen = Kernel(), []

    async def main(process: Process) -> None:
        try:
            await kernel.sleep(NS)
        finally:
            seen.append("finally")
            await kernel.sleep(NS)
            seen.append("never")

    process = Process(kernel, "p", main)
    process.start()
    run(kernel, 0.5)
    process.crash()
    run(kernel, 5)
    assert "never" not in seen


def test_what_falls_due_in_a_pause_happens_after_it() -> None:
    kernel, seen = Kernel(), []
    process = ticking(kernel, seen)
    process.start()
    process.call_later(int(1.5 * NS), seen.append, -1)
    run(kernel, 1.2)
    process.pause()
    run(kernel, 3)
    assert seen == [1]
    process.resume()
    run(kernel, 0)
    assert sorted(seen) == [-1, 1, 4]
    run(kernel, 1)
    assert seen[-1] == 5


def test_timers_of_a_dead_process_never_fire_in_the_next_life() -> None:
    kernel, seen = Kernel(), []
    process = ticking(kernel, [])
    process.start()
    process.call_later(NS, seen.append, "old")
    process.restart()
    run(kernel, 3)
    assert seen == []


def test_a_main_that_fails_leaves_its_failure() -> None:
    kernel = Kernel()

    async def main(process: Process) -> None:
        raise KeyError("x")

    process = Process(kernel, "p", main)
    process.start()
    run(kernel, 1)
    assert process.state == "exited"
    assert isinstance(process.failure, KeyError)
    assert kernel.journal.entries("process")[-1].fields["error"] == "KeyError: 'x'"


def test_a_restart_within_one_instant_keeps_the_new_main() -> None:
    kernel, seen = Kernel(), []
    process = ticking(kernel, seen)
    process.start()
    run(kernel, 1.5)
    process.restart()
    run(kernel, 2.5)
    assert (seen, process.state) == ([1, 2, 3], "running")
