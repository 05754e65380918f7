"""The clock of one machine or process: ahead or behind, too fast or too slow, set while it runs.

It shows two times, as an operating system does.  The *wall* time can be wrong by any offset and be
set (`jump`); the *monotonic* time only ever goes on, but goes as fast or slow as the crystal:
`drift` makes both fast or slow.  Timers and timeouts follow the monotonic time.

    clock.jump(-3600 * NS)        an operator set it an hour back: wall time only
    clock.drift(200)              from now on 200 microseconds a second too fast: both times

The law: true time (the kernel's) never depends on any such clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_kubesim.sim.kernel import Kernel

BILLION = 1_000_000_000
MAX_DRIFT_PPM = 500_000


class LocalClock:
    """A clock that may be wrong.  `offset_ns`: how far its wall time is ahead to begin with."""

    __slots__ = ("_at_ns", "_gained_ns", "_kernel", "_ppb", "_set_ns")

    def __init__(self, kernel: Kernel, offset_ns: int = 0) -> None:
        self._kernel = kernel
        self._set_ns = offset_ns
        self._gained_ns = 0
        self._at_ns = kernel.now_ns
        self._ppb = 0

    def _gained(self) -> int:
        """What it has gained by drifting, in all its time."""
        if not self._ppb:
            return self._gained_ns
        since_ns = self._kernel.now_ns - self._at_ns
        return self._gained_ns + since_ns * self._ppb // BILLION

    @property
    def drift_ppm(self) -> float:
        """How many microseconds it gains in a second."""
        return self._ppb / 1000

    @property
    def offset_ns(self) -> int:
        """How far its wall time is ahead of true time at present."""
        return self._set_ns + self._gained()

    def now_ns(self) -> int:
        """The wall time that it shows."""
        return self._kernel.now_ns + self.offset_ns

    def monotonic_ns(self) -> int:
        """The monotonic time that it shows: true time but for what it has gained by drifting."""
        return self._kernel.now_ns + self._gained()

    def jump(self, delta_ns: int) -> None:
        """Set its wall time forwards (or back, below 0) by `delta_ns` nanoseconds."""
        self._set_ns += delta_ns

    def drift(self, ppm: float) -> None:
        """From now on gain `ppm` microseconds a second (lose, below 0).

        Raises: `ValueError` beyond half a second in a second.
        """
        if not -MAX_DRIFT_PPM <= ppm <= MAX_DRIFT_PPM:
            raise ValueError(f"a clock drifts by at most {MAX_DRIFT_PPM} ppm, not by {ppm}")
        self._gained_ns = self._gained()
        self._at_ns = self._kernel.now_ns
        self._ppb = round(ppm * 1000)

    def true_ns(self, duration_ns: int) -> int:
        """How long it truly takes until the clock has gone on by `duration_ns`; rounded up."""
        rate = BILLION + self._ppb
        return duration_ns if rate == BILLION else -(-duration_ns * BILLION // rate)
