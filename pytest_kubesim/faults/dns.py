"""Faults of name resolution, as clients in Python meet it (`getaddrinfo`).

    kubesim.faults.dns("api.example.com").fail().for_("1m")
    kubesim.faults.dns("kubernetes.default.svc", client="operator").delay("5s")

They strike lookups of names that the simulation answers: those of the cluster, and those of systems
that the test declares.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol

from pytest_kubesim.apiserver import effects
from pytest_kubesim.faults.fault import Call, Speech
from pytest_kubesim.sim.durations import Duration, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.faults.fault import Fault
    from pytest_kubesim.sim.faultpoints import FaultPoints
    from pytest_kubesim.sim.kernel import Kernel

PASSIVE = True
POINT = "dns.lookup"

_USUAL = {"times": 1, "after": 0}


class Ground(Protocol):
    """What a fault of name resolution needs of the cluster."""

    kernel: Kernel
    faultpoints: FaultPoints


class LookupFaults(Speech):
    """What can happen to lookups of a name.

    Every method takes also `at=`, `until=`, `when=` and `for_=`; `times` is how often it strikes
    (None: always), `after` how many lookups pass before.
    """

    def fail(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """There is no such name (NXDOMAIN): `Name or service not known`."""
        return self._lookup("fail", (), times, after, timing)

    def time_out(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """No server answers: after 20 s, `Temporary failure in name resolution`."""
        return self._lookup("time_out", (), times, after, timing)

    def delay(
        self, duration: Duration, *, times: int | None = 1, after: int = 0, **timing: Any
    ) -> Any:
        """The answer comes later."""
        to_ns(duration)
        return self._lookup("delay", (duration,), times, after, timing)

    def _lookup(
        self,
        effect: str,
        args: tuple[Any, ...],
        times: int | None,
        after: int,
        timing: dict[str, Any],
    ) -> Any:
        return self._fault(
            Call.of(effect, *args, defaults=_USUAL, times=times, after=after), timing
        )


def check(ground: Ground, fault: Fault) -> None:
    """Any name will do: one that nobody looks up is told at the end."""
    del ground, fault


def begin(ground: Ground, armed: Armed) -> Callable[[], None]:
    """Let it strike from here on."""
    fault = armed.fault
    name: str = fault.target.args[0].lower()
    client = fault.target.get("client")
    times, after = fault.option("times", 1), fault.option("after", 0)

    def consulted(attributes: dict[str, Any]) -> Any:
        host = str(attributes["host"]).rstrip(".").lower()
        if not fnmatchcase(host, name) or client not in (None, attributes["client"]):
            return None
        armed.seen += 1
        if armed.seen <= after or (times is not None and armed.struck >= times):
            return None
        armed.strike(attributes["client"], host=host)
        if times is not None and armed.struck >= times:
            ground.kernel.call_soon(armed.disarm)
        match fault.what:
            case "fail":
                return effects.Refuse()
            case "time_out":
                return effects.Reset()
            case _:
                return effects.Delay(to_ns(fault.args[0]))

    return ground.faultpoints.arm(POINT, consulted)
