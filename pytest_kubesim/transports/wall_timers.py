"""Calls that fall due in real time: what waits for somebody outside the simulation.

The loop of a served cluster runs them between its turns; virtual time has no part in it.
"""

from __future__ import annotations

import heapq
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.sim.kernel import Kernel


class WallTimers:
    """Timers on the wall; one for each served cluster."""

    def __init__(self, wall: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    def call_later(self, delay_s: float, fn: Callable[[], object]) -> None:
        """Call `fn` in `delay_s` real seconds."""
        self._count += 1
        heapq.heappush(self._heap, (self._wall() + delay_s, self._count, fn))

    def wait_s(self) -> float | None:
        """Real seconds until the next is due; None when there is none."""
        return max(0.0, self._heap[0][0] - self._wall()) if self._heap else None

    def run_due(self) -> None:
        """Call those that are due."""
        while self._heap and self._heap[0][0] <= self._wall():
            heapq.heappop(self._heap)[2]()

    async def sleep(self, kernel: Kernel, delay_s: float) -> None:
        """Suspend the task that runs for `delay_s` real seconds."""
        over = kernel.future()

        def end() -> None:
            if not over.done():
                over.set_result(None)

        self.call_later(delay_s, end)
        await over
