"""Faults of name resolution, as clients in Python meet it (`getaddrinfo`).

    kubesim.faults.dns("api.example.com").fail().for_("1m")
    kubesim.faults.dns("kubernetes.default.svc", client="operator").delay("5s")

They strike lookups of names that the simulation answers: those of the cluster, and those of systems
that the test declares.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apiserver import effects
from pytest_kubesim.faults import counted, wording
from pytest_kubesim.faults.requests import is_meant
from pytest_kubesim.sim.durations import Duration, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.faults.fault import Fault

PASSIVE = True
POINT = "dns.lookup"


class LookupFaults(counted.CountedSpeech):
    """What can happen to lookups of a name.

    Every method takes also `at=`, `until=`, `when=` and `for_=`; `times` is how often it strikes
    (None: always), `after` how many lookups pass before.
    """

    def fail(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """There is no such name (NXDOMAIN): `Name or service not known`."""
        return self._counted("fail", (), times, after, timing)

    def time_out(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """No server answers: after 20 s, `Temporary failure in name resolution`."""
        return self._counted("time_out", (), times, after, timing)

    def delay(
        self, duration: Duration, *, times: int | None = 1, after: int = 0, **timing: Any
    ) -> Any:
        """The answer comes later."""
        wording.duration(duration, "delay")
        return self._counted("delay", (duration,), times, after, timing)


def check(ground: counted.Ground, fault: Fault) -> None:
    """Any name will do: one that nobody looks up is told at the end."""
    del ground, fault


def begin(ground: counted.Ground, armed: Armed) -> Callable[[], None]:
    """Let it strike from here on."""
    fault = armed.fault
    name: str = fault.target.args[0].lower()
    client = fault.target.get("client")

    def meant(attributes: dict[str, Any]) -> bool:
        host = _host(attributes)
        asked = client is None or is_meant(client, attributes["client"])
        return asked and fnmatchcase(host, name)

    def strike(attributes: dict[str, Any]) -> None:
        armed.strike(attributes["client"], host=_host(attributes))

    return counted.begin(ground, armed, POINT, meant, strike, lambda: _effect(fault))


def _host(attributes: dict[str, Any]) -> str:
    return str(attributes["host"]).rstrip(".").lower()


def _effect(fault: Fault) -> Any:
    match fault.what:
        case "fail":
            return effects.Refuse()
        case "time_out":
            return effects.Reset()
        case _:
            return effects.Delay(to_ns(fault.args[0]))
