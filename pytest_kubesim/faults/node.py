"""Faults of nodes: `kubesim.faults.node("node-1").crash()`.

A crash takes the kubelet, the container runtime and every container; a stopped kubelet leaves the
containers running and unreported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

from pytest_kubesim.faults.fault import Armed

if TYPE_CHECKING:
    from pytest_kubesim.faults.apiserver import Ground


@attrs.frozen(slots=True, repr=False)
class NodeFault:
    """`what` happened to `node`: `crash` or `stop_kubelet`."""

    node: str
    what: str

    def __repr__(self) -> str:
        return f"kubesim.faults.node({self.node!r}).{self.what}()"


class Machine(Protocol):
    """What a fault can do to a node."""

    name: str

    def power_off(self) -> None:
        """Everything on it ends at once."""
        ...

    def power_on(self) -> None:
        """Boot it."""
        ...

    def stop_kubelet(self) -> None:
        """Its kubelet ends; containers go on."""
        ...

    def start_kubelet(self) -> None:
        """Its kubelet starts."""
        ...


class NodeFaults:
    """The faults of one node."""

    __slots__ = ("_ground", "_machine")

    def __init__(self, ground: Ground, machine: Machine) -> None:
        self._ground = ground
        self._machine = machine

    def crash(self) -> Armed:
        """Cut its power.  The handle's `disarm()` (or the end of its `with`) boots it again."""
        return self._strike("crash", self._machine.power_off, self._machine.power_on)

    def stop_kubelet(self) -> Armed:
        """Stop its kubelet.  The handle's `disarm()` starts it again."""
        return self._strike(
            "stop_kubelet", self._machine.stop_kubelet, self._machine.start_kubelet
        )

    def reboot(self) -> None:
        """Cut its power and boot it."""
        self._record("reboot")
        self._machine.power_off()
        self._machine.power_on()

    def _strike(self, what: str, begin: Any, end: Any) -> Armed:
        armed = Armed(NodeFault(self._machine.name, what), struck=1)
        self._record(what)
        begin()
        armed.on_disarm = end
        return armed

    def _record(self, what: str) -> None:
        fault = NodeFault(self._machine.name, what)
        self._ground.kernel.journal.record("fault", self._machine.name, fault=repr(fault))
