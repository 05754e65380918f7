"""Faults of the network: partitions, delay, loss, between any two processes.

    kubesim.faults.partition("node-1", "control-plane").for_("90s")

An end is a node, an operator, a process of the control plane, a member of etcd, `"control-plane"`
(all of its hosts) or `"*"` (everybody).  The model is TCP's: a partition keeps messages back until
it heals or whoever waits gives up; a loss is a message that comes later, after retransmissions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pytest_kubesim.errors import UsageError, suggestion
from pytest_kubesim.sim.durations import to_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.faults.fault import Fault
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.network import Network

PASSIVE = False
EVERYBODY = "*"


class Ground(Protocol):
    """What a fault of the network needs of the cluster."""

    kernel: Kernel
    network: Network

    def hosts(self) -> dict[str, tuple[str, ...]]:
        """By every name that an end may have, the hosts it means."""
        ...


def check(ground: Ground, fault: Fault) -> None:
    """Raises: `UsageError` for an end that there is not."""
    one, other = fault.target.args
    if one == other:
        raise UsageError(f"faults: {fault!r}: both ends are {one!r}; name two")
    if fault.where != "partition" and EVERYBODY in (one, other):
        raise UsageError(f"faults: {fault!r}: name both ends; '*' is for partitions")
    if fault.immediate:
        _ways(ground, fault)


def check_probability(probability: Any) -> None:
    """Raises: `UsageError` for what is none, or 0: nothing would be lost."""
    number = isinstance(probability, int | float) and not isinstance(probability, bool)
    if not number or not 0 < probability <= 1:
        raise UsageError(
            f"faults: loss: probability={probability!r}: give a number above 0 and up to 1, such "
            "as 0.1"
        )


def _hosts(ground: Ground, end: str) -> tuple[str, ...]:
    if end == EVERYBODY:
        return (EVERYBODY,)
    hosts = ground.hosts()
    if end not in hosts:
        raise UsageError(
            f"faults: nothing called {end!r} is on the network;",
            f"{suggestion(end, hosts)}there are: {', '.join(hosts)}, and '*' for everybody",
        )
    return hosts[end]


def _ways(ground: Ground, fault: Fault) -> list[tuple[str, str]]:
    one, other = (_hosts(ground, end) for end in fault.target.args)
    ways = [(a, b) for a in one for b in other if a != b]
    if not ways:
        raise UsageError(
            f"faults: {fault!r}: both ends are on the host {one[0]!r}, where no network is between "
            "them; crash or pause one of the processes instead"
        )
    if not fault.target.get("one_way", False):
        ways += [(b, a) for a, b in ways]
    return ways


def begin(ground: Ground, armed: Armed) -> Callable[[], None]:
    """Cut, slow or spoil the ways."""
    fault, network = armed.fault, ground.network
    ways = _ways(ground, fault)
    armed.strike()
    match fault.where:
        case "partition":
            for way in ways:
                network.cut(*way)

            def heal() -> None:
                for way in ways:
                    network.heal(*way)

            return heal
        case "latency":
            delay_ns = to_ns(fault.target.get("delay"), "delay")
            jitter_ns = to_ns(fault.target.get("jitter") or 0, "jitter")
            for way in ways:
                network.slow(*way, (delay_ns, delay_ns + jitter_ns))

            def quicken() -> None:
                for way in ways:
                    network.slow(*way, None)

            return quicken
        case _:
            for way in ways:
                network.lose(*way, fault.target.get("probability"))

            def lose_no_more() -> None:
                for way in ways:
                    network.lose(*way, 0)

            return lose_no_more
