"""A connection between two hosts: what is sent arrives in order, later, or never.

Law: nothing overtakes anything. What is sent into a cut waits until the cut heals, as TCP has it,
but no longer than the connection itself lasts; then it is lost, and the sender hears of it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.network import Network

_Sent = tuple[int, "Callable[..., object]", tuple[Any, ...], bool]


class Channel:
    """One direction of a connection from host `source` to host `target`.

    `patience_ns` is how long what was sent into a cut is kept; `lost(*args)` is called with what
    was not, and with the arguments of its delivery.
    """

    def __init__(
        self,
        kernel: Kernel,
        network: Network,
        source: str,
        target: str,
        *,
        patience_ns: int,
        lost: Callable[..., object],
    ) -> None:
        self.source = source
        self.target = target
        self._kernel = kernel
        self._network = network
        self._patience_ns = patience_ns
        self._lost = lost
        self._held: deque[_Sent] = deque()
        self._last_ns = 0
        self._sent = 0
        self._under_way = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._held and not self._under_way

    def send(self, deliver: Callable[..., object], *args: Any, background: bool = True) -> None:
        """Have `deliver(*args)` called at the other end; `background`: as periodic work."""
        network = self._network
        if self._held or not network.reachable(self.source, self.target):
            self._held.append((self._kernel.now_ns, deliver, args, background))
            if len(self._held) == 1:
                self._kernel.call_later(
                    self._patience_ns, self._give_up, periodic=True, label="connection lost"
                )
            return
        self._carry(deliver, args, background)

    def heal(self) -> None:
        """The network has changed: what was held goes on if it can."""
        if not self._held or not self._network.reachable(self.source, self.target):
            return
        held, self._held = self._held, deque()
        for sent_ns, deliver, args, background in held:
            if self._kernel.now_ns - sent_ns < self._patience_ns:
                self._carry(deliver, args, background)
            else:
                self._lost(*args)

    def _carry(
        self, deliver: Callable[..., object], args: tuple[Any, ...], background: bool
    ) -> None:
        kernel = self._kernel
        low, high = self._network.latency(self.source, self.target)
        self._under_way += 1
        if not high and self._under_way == 1:
            kernel.call_soon(self._arrive, deliver, args)
            return
        self._sent += 1
        delay_ns = kernel.rng.between_ns(low, high, "etcd", self.source, self.target, self._sent)
        self._last_ns = max(kernel.now_ns + delay_ns, self._last_ns)
        kernel.call_at(
            self._last_ns, self._arrive, deliver, args, periodic=background, label="etcd: message"
        )

    def _arrive(self, deliver: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._under_way -= 1
        deliver(*args)

    def _give_up(self) -> None:
        now_ns = self._kernel.now_ns
        while self._held and now_ns - self._held[0][0] >= self._patience_ns:
            self._lost(*self._held.popleft()[2])
        if self._held:
            self._kernel.call_at(
                self._held[0][0] + self._patience_ns,
                self._give_up,
                periodic=True,
                label="connection lost",
            )
