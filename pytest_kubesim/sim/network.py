"""The network between hosts: latency, and partitions that hold messages back until they heal.

The model is TCP's: a message into a partition is retransmitted and arrives after the partition
has healed, unless whoever waits for the answer gives up first; one that is lost is sent again, and
arrives later.  Nothing is lost in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.sim.tasks import Event

if TYPE_CHECKING:
    from pytest_kubesim.sim.kernel import Kernel

RETRANSMISSION_NS = 200_000_000
"""Linux's least retransmission timeout."""
MOST_RETRANSMISSIONS = 15
"""After so many Linux gives a connection up (`tcp_retries2`)."""


class Network:
    """Who reaches whom, and how fast.

    `latency_ns` is the pair (least, most) of the one-way latency of a message, in nanoseconds;
    (0, 0) means that a message takes no time and its sender does not suspend.
    """

    __slots__ = (
        "_cuts", "_healed", "_loss", "_sent", "_slow", "calm", "kernel", "latency_ns", "on_change",
    )

    def __init__(self, kernel: Kernel, latency_ns: tuple[int, int] = (0, 0)) -> None:
        self.kernel = kernel
        self.latency_ns = latency_ns
        self._cuts: dict[tuple[str, str], int] = {}
        self._slow: dict[tuple[str, str], tuple[int, int]] = {}
        self._loss: dict[tuple[str, str], float] = {}
        self._healed = Event(kernel)
        self._sent = 0
        self.calm = latency_ns[1] == 0
        """Whether every message takes no time now: nobody need ask for his own way."""
        self.on_change: list[Callable[[], None]] = []
        """Called when a way has been cut, healed, slowed, or has its own speed again."""

    def reachable(self, source: str, target: str) -> bool:
        """Whether a message from host `source` gets to host `target` now."""
        return not self._cuts or (
            self._cuts.get((source, target), 0) == 0
            and self._cuts.get((source, "*"), 0) == 0
            and self._cuts.get(("*", target), 0) == 0
        )

    def cut(self, source: str, target: str) -> None:
        """Cut the way from `source` to `target` (one direction; "*" is every host)."""
        self._cuts[source, target] = self._cuts.get((source, target), 0) + 1
        self._changed()

    def heal(self, source: str, target: str) -> None:
        """Undo one `cut`; held messages go on when the last one is healed."""
        count = self._cuts.get((source, target), 0) - 1
        if count > 0:
            self._cuts[source, target] = count
        else:
            self._cuts.pop((source, target), None)
        self._healed.set()
        self._healed.clear()
        self._changed()

    def slow(self, source: str, target: str, latency_ns: tuple[int, int] | None) -> None:
        """Give the way from `source` to `target` a latency of its own; None takes it back."""
        if latency_ns is None:
            self._slow.pop((source, target), None)
        else:
            self._slow[source, target] = latency_ns
        self._changed()

    def lose(self, source: str, target: str, probability: float) -> None:
        """Lose messages on the way from `source` to `target` (0: none any more).

        What is lost is sent again after 200 ms, then after twice as long each time: TCP's least
        retransmission timeout and its backoff.
        """
        if probability:
            self._loss[source, target] = probability
        else:
            self._loss.pop((source, target), None)
        self._changed()

    def latency(self, source: str, target: str) -> tuple[int, int]:
        """The least and the most that a message from `source` to `target` takes now."""
        return self._slow.get((source, target), self.latency_ns)

    def instant(self, source: str, target: str) -> bool:
        """Whether a message takes no time now: the sender need not suspend."""
        return self.calm or (
            not self._slow
            and not self._loss
            and self.latency_ns[1] == 0
            and self.reachable(source, target)
        )

    async def transit(self, source: str, target: str) -> None:
        """Carry a message: suspends for its latency and for as long as the way is cut."""
        if self.instant(source, target):
            return
        while not self.reachable(source, target):
            await self._healed.future()
        low, high = self._slow.get((source, target), self.latency_ns)
        if high > 0:
            self._sent += 1
            delay_ns = self.kernel.rng.between_ns(low, high, "net", source, target, self._sent)
            await self.kernel.sleep(delay_ns)
        if self._loss and (again_ns := self.retransmission_ns(source, target)):
            await self.kernel.sleep(again_ns)

    def loses(self, source: str, target: str) -> bool:
        """Whether messages on the way from `source` to `target` are lost now."""
        return (source, target) in self._loss

    def retransmission_ns(self, source: str, target: str) -> int:
        """How much later the next message arrives for what is lost of it, in nanoseconds."""
        probability = self._loss.get((source, target), 0.0)
        if not probability:
            return 0
        self._sent += 1
        event = ("net-loss", source, target, self._sent)
        attempt = 0
        while attempt < MOST_RETRANSMISSIONS and (
            self.kernel.rng.uniform(0, 1, *event, attempt) < probability
        ):
            attempt += 1
        return RETRANSMISSION_NS * ((1 << attempt) - 1)

    def _changed(self) -> None:
        self.calm = not (self._cuts or self._slow or self._loss or self.latency_ns[1])
        for callback in list(self.on_change):
            callback()
