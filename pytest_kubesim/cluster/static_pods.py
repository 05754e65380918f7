"""The kubelet of the control plane's machines, as far as it matters: what exits is started again.

Upstream's control plane runs in static pods.  A process that exits by itself (one that has lost its
lease) is started again: as soon as the kubelet has noticed, and from the second time on after
a doubling backoff, which is forgotten after ten quiet minutes.  The law: what a test or a fault has
crashed or stopped stays down.

Follows `pkg/kubelet/kuberuntime/kuberuntime_manager.go` (`doBackOff`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.kubelet.backoff import Backoff
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.sim.process import Process

NOTICED_NS = NS
INITIAL_NS, MAX_NS = 10 * NS, 300 * NS


class StaticPods:
    """Starts processes again that have exited."""

    def __init__(self) -> None:
        self._backoff = Backoff(INITIAL_NS, MAX_NS, 2 * MAX_NS)

    def supervise(self, process: Process) -> None:
        """From here on start `process` again whenever it has exited."""
        process.on_change.append(self._changed)

    def _changed(self, process: Process) -> None:
        if process.state != "exited":
            return
        name, kernel = process.name, process.kernel
        now_ns = kernel.now_ns
        waits = self._backoff.since(name, now_ns, now_ns)
        delay_ns = max(NOTICED_NS, self._backoff.get(name) if waits else 0)
        self._backoff.next(name, now_ns, now_ns + delay_ns)
        kernel.call_later(delay_ns, self._start, process, label=f"restart of {name}")

    @staticmethod
    def _start(process: Process) -> None:
        if process.state == "exited":
            process.start()
