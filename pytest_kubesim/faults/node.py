"""Faults of nodes: `kubesim.faults.node("node-1").crash()`.

A crash takes the kubelet, the container runtime and every container; a stopped kubelet leaves the
containers running and unreported; a runtime that is down leaves them running too, and the kubelet
says so after half a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.errors import UsageError, suggestion
from pytest_kubesim.faults import process, wording
from pytest_kubesim.faults.fault import Call, Speech
from pytest_kubesim.sim.durations import Duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.faults.fault import Fault
    from pytest_kubesim.kubelet.machine import Machine
    from pytest_kubesim.sim.kernel import Kernel

PASSIVE = False
PRESSURES = {"memory": "MemoryPressure", "disk": "DiskPressure", "pid": "PIDPressure"}


class Node(Protocol):
    """What a fault can do to a node."""

    name: str
    machine: Machine

    def power_off(self) -> None:
        """Everything on it ends at once."""
        ...

    def power_on(self) -> None:
        """Boot it."""
        ...


class Ground(Protocol):
    """What a fault of nodes needs of the cluster."""

    kernel: Kernel

    @property
    def nodes(self) -> Mapping[str, Any]:
        """The nodes by name."""
        ...


class NodeFaults(Speech):
    """What can happen to a node.

    Every method takes also `at=`, `until=`, `when=` and `for_=`; see `fault.Fault`.  Where a fault
    ends, the node is as before: booted, thawed, relieved.
    """

    def crash(self, **timing: Any) -> Any:
        """Cut its power; when the fault ends it is booted again."""
        return self._fault(Call.of("crash"), timing)

    def reboot(self, **timing: Any) -> Any:
        """Cut its power and boot it."""
        return self._fault(Call.of("reboot"), timing)

    def freeze(self, **timing: Any) -> Any:
        """Let everything on it stand still."""
        return self._fault(Call.of("freeze"), timing)

    def stop_kubelet(self, **timing: Any) -> Any:
        """Stop its kubelet; containers go on."""
        return self._fault(Call.of("stop_kubelet"), timing)

    def stop_runtime(self, **timing: Any) -> Any:
        """Let its container runtime answer no more; containers go on."""
        return self._fault(Call.of("stop_runtime"), timing)

    def pressure(self, kind: str, *, available: str | None = None, **timing: Any) -> Any:
        """Put it under pressure: pods are evicted in upstream's order, one every ten seconds.

        Parameters: `kind`, `"memory"`, `"disk"` or `"pid"`; `available`, what is left of it
        (`"50Mi"`): then what evicted pods have used is free again, until the threshold is met;
        without it the pressure lasts as long as the fault.
        """
        wording.one_of(kind, "pressure.kind", PRESSURES)
        if available is not None:
            try:
                quantity.value(available)
            except ValueError:
                raise UsageError(
                    f"faults: available={available!r} is no amount; write a quantity, such as "
                    "'50Mi'"
                ) from None
        return self._fault(Call.of("pressure", kind, available=available), timing)

    def skew_clock(self, offset: Duration, *, behind: bool = False, **timing: Any) -> Any:
        """Let its clock be ahead by `offset` (or `behind`)."""
        wording.duration(offset, "skew_clock: offset")
        call = Call.of("skew_clock", offset, defaults={"behind": False}, behind=behind)
        return self._fault(call, timing)

    def drift_clock(self, parts_per_million: int, **timing: Any) -> Any:
        """Let its clock run too fast by so many parts per million (too slowly, where negative)."""
        process.check_drift(parts_per_million)
        return self._fault(Call.of("drift_clock", parts_per_million), timing)


def check(ground: Ground, fault: Fault) -> None:
    """Raises: `UsageError` for a node that there is not."""
    if fault.immediate:
        _node(ground, fault)


def _node(ground: Ground, fault: Fault) -> Node:
    name, nodes = fault.target.args[0], ground.nodes
    if name not in nodes:
        there = ", ".join(nodes) or "none; add some with kubesim.add_nodes()"
        raise UsageError(
            f"faults: there is no node {name!r};", f"{suggestion(name, nodes)}there are: {there}"
        )
    return nodes[name]


def begin(ground: Ground, armed: Armed) -> Callable[[], None] | None:
    """Let it happen."""
    fault = armed.fault
    node = _node(ground, fault)
    machine = node.machine
    armed.strike(node.name)
    processes = [machine.kubelet.process, machine.runtime.process]
    match fault.what:
        case "crash":
            node.power_off()
            return node.power_on
        case "reboot":
            node.power_off()
            node.power_on()
            return None
        case "freeze":
            machine.pause()
            return machine.resume
        case "stop_kubelet":
            machine.stop_kubelet()
            return machine.start_kubelet
        case "stop_runtime":
            machine.runtime.fall_silent()
            return machine.runtime.answer_again
        case "skew_clock":
            return process.skew(processes, fault)
        case "drift_clock":
            return process.drift(processes, fault.args[0])
        case _:
            return _pressure(machine, fault)


def _pressure(machine: Machine, fault: Fault) -> Callable[[], None]:
    kind, kubelet = PRESSURES[fault.args[0]], machine.kubelet
    available = fault.option("available")
    amount = None if available is None else quantity.value(available)
    kubelet.set_pressure(kind, available=amount)
    return lambda: kubelet.set_pressure(kind, present=False)
