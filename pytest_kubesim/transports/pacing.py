"""How fast virtual time passes while somebody outside lives in real time.

Law: as long as those outside have something to do, time stands; when they are quiet it passes, ten
virtual seconds a real one at first, twice as fast with every 200 ms in which they ask for nothing.
Two virtual minutes of silence so take a real second, an hour two; a wait of 5 ms before somebody
tries again takes 50 ms.  Whoever goes by a clock of its own wants a steady pace instead, its
`scale`.

Nothing here looks at a clock: the instants, real seconds, are told.
"""

from __future__ import annotations

import math

from pytest_kubesim.sim.clock import NS

FIRST_SPEED = 10.0
"""Virtual seconds a real one when silence begins."""
DOUBLED_S = 0.2
MOST_DOUBLINGS = 40.0
FAREWELL_SPEED = 1.0
"""The most while somebody outside has been told to end: it is given real seconds for that."""


class Pace:
    """One cluster's.  Parameter: `now_s`, the present."""

    def __init__(self, now_s: float) -> None:
        self.scale: float | None = None
        """Virtual seconds a real one, however long the silence; None: faster and faster."""
        self.farewell = False
        """Whether somebody is about to end."""
        self._quiet_s = 0.0
        self._looked_s = now_s
        self._credit_ns = 0.0

    def asked(self) -> None:
        """Somebody outside has asked for something: the silence is over."""
        self._quiet_s = 0.0
        self._credit_ns = 0.0

    def stood(self, now_s: float) -> None:
        """Up to now somebody had something to do."""
        self._looked_s = now_s

    def passed(self, now_s: float) -> None:
        """Up to now everybody was quiet."""
        duration_s = max(0.0, now_s - self._looked_s)
        self._looked_s = now_s
        self._credit_ns += self._virtual(self._speed(), duration_s) * NS
        self._quiet_s += duration_s

    def take(self, wanted_ns: int) -> int:
        """So much of `wanted_ns` may pass now, in nanoseconds."""
        taken = min(wanted_ns, int(self._credit_ns))
        self._credit_ns -= taken
        return taken

    def wait_s(self, wanted_ns: int) -> float:
        """Real seconds of silence after which `wanted_ns` may pass."""
        missing_s = max(0.0, wanted_ns - self._credit_ns) / NS
        speed = self._speed()
        if self._steady:
            return missing_s / speed
        return DOUBLED_S * math.log2(missing_s * math.log(2) / DOUBLED_S / speed + 1.0)

    @property
    def _steady(self) -> bool:
        return self.scale is not None or self.farewell

    def _speed(self) -> float:
        speed = self.scale
        if speed is None:
            speed = FIRST_SPEED * 2.0 ** min(self._quiet_s / DOUBLED_S, MOST_DOUBLINGS)
        return min(speed, FAREWELL_SPEED) if self.farewell else speed

    def _virtual(self, speed: float, duration_s: float) -> float:
        if self._steady:
            return speed * duration_s
        doublings = min(duration_s / DOUBLED_S, MOST_DOUBLINGS)
        return speed * DOUBLED_S / math.log(2) * (2.0**doublings - 1.0)
