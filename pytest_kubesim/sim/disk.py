"""A disk as a process sees it: records in order, and what of them a crash leaves.

Law: what was appended is there for whoever reads while the process lives; what was synced is there
for ever; of what was appended and not synced a crash leaves a beginning, whose length is drawn.
``replace`` is atomic, as writing a file beside the old one and renaming it is. For example::

    append a, append b, sync      a b
    append c, append d            a b c d
    crash                         a b, or a b c, or a b c d

A fault makes it slow (``slow``, or an effect at the fault point ``disk.sync``: nanoseconds to wait
besides) or ``full``: then appending raises ``DiskFull``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_kubesim.sim.faultpoints import FaultPoints
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.process import Process

FAULT_POINT = "disk.sync"


class DiskFull(Exception):
    """No space left on device."""

    def __init__(self) -> None:
        super().__init__("no space left on device")


class Disk:
    """The disk called `name`.

    `latency_ns` is the pair (least, most) of what a sync takes, in nanoseconds; (0, 0) means that
    it takes no time.
    """

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        latency_ns: tuple[int, int] = (0, 0),
        *,
        faultpoints: FaultPoints | None = None,
    ) -> None:
        self.name = name
        self.on_change: list[Callable[[], None]] = []
        """Called when its speed has changed."""
        self.full = False
        """Whether there is no space left on it."""
        self.syncs = 0
        """How many syncs were begun."""
        self._kernel = kernel
        self._faultpoints = faultpoints
        self._usual_ns = latency_ns
        self._latency_ns = latency_ns
        self._records: list[Any] = []
        self._durable = 0
        self._crashes = 0

    # -- using it -----------------------------------------------------------------------------

    def read(self) -> list[Any]:
        """All records."""
        return list(self._records)

    def append(self, record: Any) -> None:
        """Write a record after the others.  Raises `DiskFull`."""
        if self.full:
            raise DiskFull
        self._records.append(record)

    def replace(self, records: list[Any]) -> None:
        """Have these records, synced, and no others.  Raises `DiskFull`."""
        if self.full:
            raise DiskFull
        self._records = list(records)
        self._durable = len(records)

    def sync(self, process: Process, done: Callable[..., None], *args: Any) -> bool:
        """Make durable what is written now.

        True: it took no time.  False: `done(*args)` is called when it is done, if `process` lives
        so long.
        """
        self.syncs += 1
        length = len(self._records)
        low, high = self._latency_ns
        delay_ns = 0
        if high:
            rng = self._kernel.rng
            delay_ns = rng.between_ns(low, high, "disk", self.name, self.syncs)
        faultpoints = self._faultpoints
        if faultpoints is not None and faultpoints.armed(FAULT_POINT):
            delay_ns += faultpoints.consult(FAULT_POINT, disk=self.name) or 0
        if not delay_ns:
            self._durable = max(self._durable, length)
            return True
        process.call_later(
            delay_ns, self._synced, length, done, args, periodic=True, label=f"{self.name}: fsync"
        )
        return False

    def flush(self) -> None:
        """Have all durable that is written, as if it had been so before time began."""
        self._durable = len(self._records)

    def _synced(self, length: int, done: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._durable = max(self._durable, min(length, len(self._records)))
        done(*args)

    # -- what happens to it -------------------------------------------------------------------

    def crash(self) -> None:
        """Power is lost: of what is not synced a beginning is left."""
        unsynced = len(self._records) - self._durable
        self._crashes += 1
        if unsynced:
            rng = self._kernel.rng
            left = rng.below(unsynced + 1, "disk tail", self.name, self._crashes)
            del self._records[self._durable + left :]
        self._durable = len(self._records)

    def slow(self, latency_ns: tuple[int, int] | None) -> None:
        """Let a sync take so long; None: as usual."""
        self._latency_ns = self._usual_ns if latency_ns is None else latency_ns
        for callback in list(self.on_change):
            callback()

    @property
    def latency_ns(self) -> tuple[int, int]:
        """The least and the most that a sync takes now."""
        return self._latency_ns
