"""A connection that stands between two hosts while the network between them may be cut.

Law: what is sent into a cut waits and arrives after it, in order.  A connection that has been cut
for as long as Go's keep-alive probes go on is lost, on both sides: `net.Dialer` sends the first
after 30 seconds and gives up after nine that were not answered, each 30 seconds apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.sim.kernel import Kernel, Timer
    from pytest_kubesim.sim.network import Network

KEEP_ALIVE_NS = (30 + 9 * 30) * NS


class Link:
    """One connection, from host `near` to host `far`.  Whoever holds it closes it."""

    def __init__(self, kernel: Kernel, network: Network, near: str, far: str) -> None:
        self.near = near
        self.far = far
        self.on_change: list[Callable[[], object]] = []
        """Called when a way may have been cut or healed, and when the connection is lost."""
        self.lost = False
        self._kernel = kernel
        self._network = network
        self._giving_up: Timer | None = None
        network.on_change.append(self._changed)
        self._look()

    @property
    def there(self) -> bool:
        """Whether what is sent at `near` arrives."""
        return self._network.reachable(self.near, self.far)

    @property
    def back(self) -> bool:
        """Whether what is sent at `far` arrives."""
        return self._network.reachable(self.far, self.near)

    def close(self) -> None:
        """It is over."""
        if self._changed in self._network.on_change:
            self._network.on_change.remove(self._changed)
        self._keep(None)

    def _look(self) -> None:
        if self.there and self.back:
            self._keep(None)
        elif self._giving_up is None:
            self._keep(
                self._kernel.call_later(
                    KEEP_ALIVE_NS, self._expired, periodic=True,
                    label=f"keep-alive of {self.near} to {self.far}",
                )
            )

    def _keep(self, timer: Timer | None) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
        self._giving_up = timer

    def _changed(self) -> None:
        self._look()
        self._tell()

    def _expired(self) -> None:
        self.lost = True
        self.close()
        self._tell()

    def _tell(self) -> None:
        for callback in list(self.on_change):
            callback()
