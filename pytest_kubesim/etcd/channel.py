"""A connection between two hosts: what is sent arrives in order, later, or never.

Law: nothing overtakes anything. What is lost is sent again, and what was sent after it waits. What
is sent into a cut waits until the cut heals, as TCP has it. Neither waits longer than the
connection itself lasts; then it is lost for good, and the sender hears of it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.sim.kernel import Kernel, Timer
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
        self._timer: Timer | None = None
        self._sent = 0
        self._under_way = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._held and not self._under_way

    def send(self, deliver: Callable[..., object], *args: Any, background: bool = True) -> None:
        """Have `deliver(*args)` called at the other end; `background`: as periodic work."""
        network = self._network
        sent = (self._kernel.now_ns, deliver, args, background)
        if self._held or not network.reachable(self.source, self.target):
            self._hold(sent)
        else:
            self._carry(sent)

    def _hold(self, sent: _Sent) -> None:
        self._held.append(sent)
        if len(self._held) == 1:
            self._wait()

    def heal(self) -> None:
        """The network has changed: what was held goes on if it can."""
        if not self._held or not self._network.reachable(self.source, self.target):
            return
        held, self._held = self._held, deque()
        self._wait()
        for sent in held:
            if self._kernel.now_ns - sent[0] >= self._patience_ns:
                self._lost(*sent[2])
            elif self._held:
                self._hold(sent)
            else:
                self._carry(sent)

    def _carry(self, sent: _Sent) -> None:
        kernel = self._kernel
        sent_ns, deliver, args, background = sent
        low, high = self._network.latency(self.source, self.target)
        again_ns = self._network.retransmission_ns(self.source, self.target)
        if kernel.now_ns + again_ns >= sent_ns + self._patience_ns:
            self._hold(sent)
            return
        self._under_way += 1
        if not high and not again_ns and self._under_way == 1:
            kernel.call_soon(self._arrive, deliver, args)
            return
        self._sent += 1
        delay_ns = kernel.rng.between_ns(low, high, "etcd", self.source, self.target, self._sent)
        self._last_ns = max(kernel.now_ns + delay_ns + again_ns, self._last_ns)
        kernel.call_at(
            self._last_ns, self._arrive, deliver, args, periodic=background, label="etcd: message"
        )

    def _arrive(self, deliver: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._under_way -= 1
        deliver(*args)

    def _give_up(self) -> None:
        now_ns = self._kernel.now_ns
        # On a way that is there and has lost too much, the next connection is a new one.
        whole = self._network.reachable(self.source, self.target)
        held, self._held = self._held, deque()
        for sent in held:
            if whole or now_ns - sent[0] >= self._patience_ns:
                self._lost(*sent[2])
            else:
                self._held.append(sent)
        self._wait()

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._held:
            self._timer = self._kernel.call_at(
                self._held[0][0] + self._patience_ns,
                self._give_up,
                periodic=True,
                label="connection lost",
            )
