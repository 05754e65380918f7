"""Where time comes from: virtual, or following the wall at a scale.

The kernel asks its clock two things: what time it is, and whether it may go on to the next
event.  `VirtualClock` always may, at once: that is how an hour passes in milliseconds.
`WallClock` (for `kubesim serve`) only when the wall has come that far.  Nobody but the kernel
talks to a clock; components read `Kernel.now_ns` or their process's skewed view of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

NS = 1_000_000_000
"""Nanoseconds in a second."""


class Clock(Protocol):
    """What the kernel needs of a clock.  All values are integer nanoseconds since the epoch."""

    def now_ns(self) -> int:
        """The present instant."""
        ...

    def advance_to(self, when_ns: int) -> bool:
        """Move to `when_ns` if this clock may; False when the caller must wait outside."""
        ...

    def wait_s(self, when_ns: int) -> float:
        """Real seconds until `when_ns` is reached; 0.0 when it is now or time is virtual."""
        ...


class VirtualClock:
    """Jumps to the next event as soon as everything is idle."""

    __slots__ = ("_now_ns",)

    def __init__(self, start_ns: int) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """The present instant."""
        return self._now_ns

    def advance_to(self, when_ns: int) -> bool:
        """Jump to `when_ns`; never backwards."""
        self._now_ns = max(self._now_ns, when_ns)
        return True

    def wait_s(self, when_ns: int) -> float:
        """Never anything to wait for."""
        del when_ns
        return 0.0


class WallClock:
    """Follows the wall: `scale` virtual seconds pass in each real second.

    The only place in the simulator that reads a real clock; it is used by `kubesim serve` alone.
    """

    __slots__ = ("_base_ns", "_base_wall", "_now_ns", "_scale", "_wall")

    def __init__(
        self, start_ns: int, scale: float = 1.0, wall: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._scale = scale
        self._base_ns = start_ns
        self._base_wall = wall()
        self._now_ns = start_ns

    def _reached_ns(self) -> int:
        return self._base_ns + int((self._wall() - self._base_wall) * self._scale * NS)

    @property
    def scale(self) -> float:
        """Virtual seconds per real second."""
        return self._scale

    def set_scale(self, scale: float) -> None:
        """Change the speed from here on; time itself does not jump."""
        self._base_ns = self._reached_ns()
        self._base_wall = self._wall()
        self._scale = scale

    def freeze(self) -> None:
        """Stand at the instant that the kernel has reached; `set_scale` lets time go on."""
        self._base_ns = self._now_ns
        self._base_wall = self._wall()
        self._scale = 0.0

    def now_ns(self) -> int:
        """The instant the kernel has reached: it lags the wall while events are being run."""
        return self._now_ns

    def advance_to(self, when_ns: int) -> bool:
        """Move to `when_ns` if the wall has reached it, else as far as the wall is."""
        reached = self._reached_ns()
        if when_ns <= reached:
            self._now_ns = max(self._now_ns, when_ns)
            return True
        self._now_ns = max(self._now_ns, reached)
        return False

    def catch_up(self) -> None:
        """Move to where the wall is now: before work that comes from outside is looked at."""
        self._now_ns = max(self._now_ns, self._reached_ns())

    def skip(self, duration_ns: int) -> None:
        """Jump ahead of the wall by `duration_ns` (an `advance` from outside)."""
        self._base_ns += duration_ns

    def wait_s(self, when_ns: int) -> float:
        """Real seconds until `when_ns` is reached."""
        if self._scale <= 0:
            return 3600.0
        return max(0.0, (when_ns - self._reached_ns()) / NS / self._scale)
