"""Faults that strike a number of calls: what those of webhooks, lookups and systems outside share.

`times` is how often one strikes (None: always), `after` how many calls that are meant pass before.
A fault that has struck its last time is disarmed as soon as the present event is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pytest_kubesim.faults import wording
from pytest_kubesim.faults.fault import Call, Speech

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.sim.faultpoints import FaultPoints
    from pytest_kubesim.sim.kernel import Kernel

_USUAL = {"times": 1, "after": 0}


class Ground(Protocol):
    """What such a fault needs of the cluster."""

    kernel: Kernel
    faultpoints: FaultPoints


class CountedSpeech(Speech):
    """Says effects that are counted."""

    def _counted(
        self,
        effect: str,
        args: tuple[Any, ...],
        times: int | None,
        after: int,
        timing: dict[str, Any],
    ) -> Any:
        wording.counted(effect, times, after)
        return self._fault(
            Call.of(effect, *args, defaults=_USUAL, times=times, after=after), timing
        )


def begin(
    ground: Ground,
    armed: Armed,
    point: str,
    meant: Callable[[dict[str, Any]], bool],
    strike: Callable[[dict[str, Any]], object],
    effect: Callable[[], Any],
) -> Callable[[], None]:
    """Let it strike at `point` from here on; returns what ends it.

    `meant` tells whether a call is, `strike` notes one that is struck, `effect` is what the fault
    point is told.
    """
    times, after = armed.fault.option("times", 1), armed.fault.option("after", 0)

    def consulted(attributes: dict[str, Any]) -> Any:
        if not meant(attributes):
            return None
        armed.seen += 1
        if armed.seen <= after or (times is not None and armed.struck >= times):
            return None
        strike(attributes)
        if times is not None and armed.struck >= times:
            ground.kernel.call_soon(armed.disarm)
        return effect()

    return ground.faultpoints.arm(point, consulted)
