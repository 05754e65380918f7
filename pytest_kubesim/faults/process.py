"""Faults of processes: operators, API servers, controller managers, schedulers.

    kubesim.faults.operator("operator").crash(at_write=2)
    kubesim.faults.api_server("kube-apiserver-2").stop(for_="1m")

The law: a crash ends a process between two of its steps, and its memory is lost.  Before its n-th
write the request has not left; at it the API server has applied it and the process has not heard of
it; after it the process has heard, and dies before it does anything more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pytest_kubesim.apiserver import effects
from pytest_kubesim.errors import UsageError, suggestion
from pytest_kubesim.faults import requests, wording
from pytest_kubesim.faults.fault import Call, Speech
from pytest_kubesim.faults.requests import WRITES, RequestMatch
from pytest_kubesim.sim.durations import Duration, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.faults.fault import Fault
    from pytest_kubesim.sim.faultpoints import FaultPoints
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.process import Process

PASSIVE = False
POINT, ANSWER = "apiserver.request", "apiserver.answer"
MOMENTS = ("before", "at", "after")
MILLION = 1_000_000

_USUAL = {"moment": "at"}


class Ground(requests.Ground, Protocol):
    """What a fault of processes needs of the cluster."""

    kernel: Kernel
    faultpoints: FaultPoints

    def processes(self) -> dict[str, Process]:
        """All processes by name."""
        ...

    def start_process(self, name: str) -> None:
        """Start a process (again), as it is started."""
        ...


class ProcessFaults(Speech):
    """What can happen to a process.

    Every method takes also `at=`, `until=`, `when=` and `for_=`; see `fault.Fault`.  A crash, a
    stop and a pause end with the fault: then the process is started again, or goes on.
    """

    def crash(
        self,
        *,
        at_write: int | None = None,
        moment: str = "at",
        resource: str | None = None,
        restart_after: Duration | None = None,
        **timing: Any,
    ) -> Any:
        """End it as SIGKILL does.

        Parameters: `at_write`, not now but at its n-th write from now (1 is the next one), of
        `resource` if given; `moment`, `"before"`, `"at"` or `"after"` that write; `restart_after`,
        how long it stays down (default: until the fault is disarmed).
        """
        wording.one_of(moment, "crash.moment", MOMENTS)
        if at_write is None and (moment != "at" or resource is not None):
            raise UsageError("faults: moment= and resource= go with at_write=: the n-th write")
        if at_write is not None:
            wording.whole(
                at_write, "crash.at_write", least=1, why=": writes are counted from 1"
            )
        if restart_after is not None:
            wording.duration(restart_after, "crash: restart_after")
        call = Call.of(
            "crash", defaults=_USUAL, at_write=at_write, moment=moment, resource=resource,
            restart_after=restart_after,
        )
        return self._fault(call, timing)

    def stop(self, **timing: Any) -> Any:
        """End it as SIGTERM does."""
        return self._fault(Call.of("stop"), timing)

    def restart(self, **timing: Any) -> Any:
        """Crash it and start it at once, with nothing in its memory."""
        return self._fault(Call.of("restart"), timing)

    def pause(self, **timing: Any) -> Any:
        """Freeze it, as SIGSTOP does."""
        return self._fault(Call.of("pause"), timing)

    def skew_clock(self, offset: Duration, *, behind: bool = False, **timing: Any) -> Any:
        """Let its clock be ahead by `offset` (or `behind`)."""
        wording.duration(offset, "skew_clock: offset")
        call = Call.of("skew_clock", offset, defaults={"behind": False}, behind=behind)
        return self._fault(call, timing)

    def drift_clock(self, parts_per_million: int, **timing: Any) -> Any:
        """Let its clock run too fast by so many parts per million (too slowly, where negative)."""
        check_drift(parts_per_million)
        return self._fault(Call.of("drift_clock", parts_per_million), timing)


def check_drift(parts_per_million: object) -> None:
    """Raises: `UsageError` for what is no speed of a clock: one that stands still, or goes back."""
    wording.whole(
        parts_per_million, "drift_clock.parts_per_million", least=1 - MILLION, most=MILLION
    )


def check(ground: Ground, fault: Fault) -> None:
    """Raises: `UsageError` for a process that there is not.

    An operator that crashes at a write may be started later: a mark is read before `run()`.
    """
    awaited = fault.target.name == "operator" and fault.option("at_write") is not None
    if fault.immediate and not awaited:
        _process(ground, fault)
    resource = fault.option("resource")
    if resource is not None:
        requests.check(ground, RequestMatch(resource=resource), now=fault.immediate)


def _process(ground: Ground, fault: Fault) -> Process:
    name, processes = fault.target.args[0], ground.processes()
    if name not in processes:
        raise UsageError(
            f"faults: there is no process {name!r};",
            f"{suggestion(name, processes)}there are: {', '.join(processes)}",
        )
    return processes[name]


def begin(ground: Ground, armed: Armed) -> Callable[[], None] | None:
    """Let it begin."""
    fault = armed.fault
    if fault.option("at_write") is not None:
        return _crash_at_write(ground, armed)
    process = _process(ground, fault)
    armed.strike(process.name)
    match fault.what:
        case "pause":
            process.pause()
            return process.resume
        case "restart":
            process.crash()
            ground.start_process(process.name)
            return None
        case "skew_clock":
            return skew([process], fault)
        case "drift_clock":
            return drift([process], fault.args[0])
        case what:
            return _down(ground, armed, process, what)


def _down(
    ground: Ground, armed: Armed, process: Process, what: str
) -> Callable[[], None]:
    name = process.name
    if what == "stop":
        process.stop()
    else:
        process.crash()
    restart_after = armed.fault.option("restart_after")
    if restart_after is not None:
        ground.kernel.call_later(
            to_ns(restart_after), armed.disarm, label=f"restart of {name}"
        )
    return lambda: ground.start_process(name)


def skew(processes: list[Process], fault: Fault) -> Callable[[], None]:
    """Put the clocks of processes ahead or behind; returns what puts them right."""
    offset_ns = to_ns(fault.args[0], "offset")
    if fault.option("behind", False):
        offset_ns = -offset_ns
    clocks = [process.own_clock() for process in processes]
    for clock in clocks:
        clock.jump(offset_ns)

    def end() -> None:
        for clock in clocks:
            clock.jump(-offset_ns)

    return end


def drift(processes: list[Process], parts_per_million: int) -> Callable[[], None]:
    """Let the clocks of processes run too fast or slowly; returns what puts them right."""
    clocks = [process.own_clock() for process in processes]
    for clock in clocks:
        clock.drift(parts_per_million)

    def end() -> None:
        for clock in clocks:
            clock.drift(0)

    return end


def _crash_at_write(ground: Ground, armed: Armed) -> Callable[[], None]:
    fault, kernel = armed.fault, ground.kernel
    name, count = fault.target.args[0], fault.option("at_write")
    moment: str = fault.option("moment", "at")
    match = RequestMatch(client=name, resource=fault.option("resource"))
    disarms: list[Callable[[], None]] = []

    def stop_looking() -> None:
        for disarm in disarms:
            disarm()
        disarms.clear()

    def crash() -> None:
        stop_looking()
        end = _down(ground, armed, _process(ground, fault), "crash")
        ends.append(end)

    ends: list[Callable[[], None]] = []

    def note(attributes: dict[str, Any]) -> None:
        armed.strike(
            name, verb=attributes.get("verb", ""), resource=attributes.get("resource", ""),
            name=attributes.get("name", ""), moment=moment,
        )

    def consulted(attributes: dict[str, Any]) -> Any:
        if armed.struck:
            # After the write: this is what it would have done next.
            if attributes.get("client") == name and ends == []:
                kernel.call_soon(crash)
                return effects.Reset()
            return None
        if moment == "after" or attributes.get("verb") not in WRITES:
            return None
        if not match.matches(attributes):
            return None
        armed.seen += 1
        if armed.seen < count:
            return None
        note(attributes)
        kernel.call_soon(crash)
        if moment == "before":
            return effects.Reset()
        return effects.Drop()

    def answered(attributes: dict[str, Any]) -> None:
        if moment != "after" or armed.struck or attributes["verb"] not in WRITES:
            return
        if not match.matches(attributes):
            return
        armed.seen += 1
        if armed.seen == count:
            note(attributes)
            # Time passes when it has nothing more to do at this instant.
            kernel.call_later(1, lambda: ends or crash(), label=f"crash of {name}")

    disarms += [
        ground.faultpoints.arm(POINT, consulted), ground.faultpoints.arm(ANSWER, answered)
    ]

    def end() -> None:
        stop_looking()
        for each in ends:
            each()

    return end
