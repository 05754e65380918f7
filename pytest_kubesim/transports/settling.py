"""Turning a clock that follows the wall: `advance` and `settle` for a served cluster.

Law: what falls due in between runs at its own time, in order.  Clients outside live in real time:
they are let answer before the clock is turned on.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pytest_kubesim.cluster.waiting import QUIET_NS
from pytest_kubesim.sim import durations
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.sim.clock import WallClock
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.transports.wall_timers import WallTimers

REAL_QUIET_S = 0.25
"""For how long nobody outside may have asked for anything."""
GLANCE_S = 0.02
MOST_GLANCES = 250
LEAST_STEP_NS, MOST_STEP_NS = 5 * NS, 60 * NS
"""How far the clock is turned at once: less after a change, more while nothing changes."""


async def advance(kernel: Kernel, clock: WallClock, duration_ns: int) -> None:
    """Let `duration_ns` of virtual time pass at once."""
    clock.skip(duration_ns)
    await kernel.sleep(duration_ns, periodic=True)


async def settle(
    cluster: Cluster,
    clock: WallClock,
    timers: WallTimers,
    requests: Callable[[], int],
    timeout_ns: int,
) -> str:
    """Let time pass until nothing changes any more, here or by clients outside.

    Parameters: `timers` on the wall; `requests`, how many there have been from outside;
    `timeout_ns`, virtual.
    Returns: what kept the cluster busy, "" when it has settled.
    """
    kernel = cluster.kernel
    deadline_ns = kernel.now_ns + timeout_ns
    until_ns, step_ns = 0, LEAST_STEP_NS
    seen: tuple[int, int] | None = None
    while kernel.now_ns < deadline_ns:
        if seen != (cluster.meaningful_writes, requests()):
            await _outside(kernel, timers, requests)
            seen = (cluster.meaningful_writes, requests())
            until_ns, step_ns = _all_tried_ns(kernel), LEAST_STEP_NS
        await advance(kernel, clock, min(step_ns, deadline_ns - kernel.now_ns))
        await timers.sleep(kernel, GLANCE_S)
        step_ns = min(2 * step_ns, MOST_STEP_NS)
        if kernel.now_ns >= until_ns and seen == (cluster.meaningful_writes, requests()):
            return ""
    return (
        f"the cluster did not settle within {durations.text(timeout_ns)}:\n{cluster.busy_report()}"
    )


def _all_tried_ns(kernel: Kernel) -> int:
    """When all that anybody means to do now will have been tried, and a while more has passed."""
    waiting = kernel.timers(kernel.pending)
    return max([kernel.now_ns + QUIET_NS, *(time_ns for time_ns, _ in waiting)])


async def _outside(kernel: Kernel, timers: WallTimers, requests: Callable[[], int]) -> None:
    """Wait until nobody outside has asked for anything for a while, of real time.

    Where the machine is so busy that a glance comes late, those outside come late as well: such a
    glance counts as if it had come in time.
    """
    seen, quiet_s, glances = requests(), 0.0, 0
    now_s = time.monotonic()
    while quiet_s < REAL_QUIET_S and glances < MOST_GLANCES:
        await timers.sleep(kernel, GLANCE_S)
        glances += 1
        before_s, now_s = now_s, time.monotonic()
        quiet_s += min(now_s - before_s, GLANCE_S)
        if requests() != seen:
            seen, quiet_s = requests(), 0.0
