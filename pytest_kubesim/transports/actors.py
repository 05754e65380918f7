"""Who is running: the test itself, or which operator; and how either waits on virtual time.

Law: at any moment one thread of the simulation runs and all others stand still; whoever it is, the
*actor* here says for whom.  A wait by the test's own thread runs the kernel until it is over; one
by any other thread of the simulation hands the baton back (`threads`).

There is one `World` for a pytest process, `WORLD`: it knows the clusters that are attached.
"""

from __future__ import annotations

import contextlib
import logging
from _thread import get_ident
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from pytest_kubesim.errors import AssertionFailed, UsageError
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.cluster.operators import Operator
    from pytest_kubesim.sim.process import Process
    from pytest_kubesim.sim.tasks import Future
    from pytest_kubesim.transports.threads import SimThread

LONGEST_WAIT_NS = 30 * 86_400 * NS
"""How long the test's own thread waits, in virtual time, for what has no time limit."""


class ProcessKilled(SystemExit):
    """Raised in the code of a process that has crashed, at the place where it waits.

    A `SystemExit`, because asyncio and `threading` let that pass and print nothing.
    """


class Actor:
    """One incarnation of an operator."""

    __slots__ = ("cluster", "incarnation", "loops", "name", "operator", "process", "threads")

    def __init__(self, operator: Operator, process: Process) -> None:
        self.cluster: Cluster = operator.cluster
        self.operator = operator
        self.process = process
        self.name = process.name
        self.incarnation = process.incarnation
        self.threads: dict[SimThread, None] = {}
        """Its threads that have not ended, oldest first."""
        self.loops: dict[Any, None] = {}
        """Its event loops that are not closed."""

    @property
    def dead(self) -> bool:
        """Whether this incarnation has ended."""
        return self.process.incarnation != self.incarnation or not self.process.alive


class World:
    """What this pytest process simulates at present."""

    def __init__(self) -> None:
        self.clusters: list[Cluster] = []
        """The clusters that are attached, the newest last."""
        self.actor: Actor | None = None
        """Who runs; None: the test itself (or the simulator on its behalf)."""
        self.main_ident = 0
        """The thread of the test; 0 while nothing is attached."""
        self.expected = False
        """Whether a test is being set up that is going to ask for a cluster."""
        self.threads: dict[int, SimThread] = {}
        """The threads of the simulation besides, by identifier, while they live."""
        self.test_threads: dict[SimThread, None] = {}
        """Those that the test itself has started."""

    def inside(self) -> bool:
        """Whether the calling thread belongs to the simulation."""
        ident = get_ident()
        return ident == self.main_ident or ident in self.threads

    def cluster(self) -> Cluster:
        """The cluster of whoever runs: an operator's own, else the one attached last."""
        return self.actor.cluster if self.actor is not None else self.clusters[-1]

    def now_ns(self) -> int:
        """What the clock of whoever runs shows; the simulation must be on."""
        actor = self.actor
        return actor.process.now_ns() if actor is not None else self.clusters[-1].kernel.now_ns

    def monotonic_ns(self) -> int:
        """What the monotonic clock of whoever runs shows; the simulation must be on."""
        actor = self.actor
        if actor is not None:
            return actor.process.monotonic_ns()
        return self.clusters[-1].kernel.now_ns

    def alive(self) -> None:
        """Raises: `ProcessKilled` where the code that calls this belongs to a dead process."""
        thread = self.threads.get(get_ident())
        if thread is not None:
            thread.check()
        elif self.actor is not None and self.actor.dead:
            raise ProcessKilled

    def block(self, future: Future[Any] | None, timeout_ns: int | None) -> bool:
        """Wait until `future` is done (True), or `timeout_ns` have passed on the clock there.

        Called by a thread of the simulation that has nothing else to do.
        Raises: `ProcessKilled` when its process ends meanwhile.
        """
        thread = self.threads.get(get_ident())
        if thread is not None:
            return thread.block(future, timeout_ns)
        return self._block_here(future, timeout_ns)

    def _block_here(self, future: Future[Any] | None, timeout_ns: int | None) -> bool:
        cluster, actor = self.cluster(), self.actor
        kernel = cluster.kernel
        limit_ns = LONGEST_WAIT_NS if timeout_ns is None else timeout_ns
        if actor is not None:
            limit_ns = actor.process.true_ns(limit_ns)
        until_ns = kernel.now_ns + max(0, limit_ns)
        done = None if future is None else future.done
        if actor is None:
            held = cluster.run_kernel(done, until_ns=until_ns)
        else:
            actor_ = actor
            held = kernel.run(
                lambda: actor_.dead or (done is not None and done()), until_ns=until_ns
            )
            self.actor = actor
            if actor.dead:
                raise ProcessKilled
        if not held and timeout_ns is None:
            raise AssertionFailed(
                "the code waits without a time limit, and what it waits for has not come in 30 "
                "days of virtual time",
                "Look at the traceback for the wait; give it a timeout, or let somebody end it.",
            )
        return held

    def sleep(self, seconds: float) -> None:
        """What `time.sleep` does inside the simulation."""
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self.alive()
        self.block(None, to_delay_ns(seconds))

    def require(self) -> Cluster:
        """The cluster of whoever runs.  Raises: `UsageError` outside of any."""
        if not self.clusters:
            raise UsageError(
                "no cluster is attached: clients reach it while a test holds the fixture kubesim"
            )
        return self.cluster()


@contextlib.contextmanager
def silence() -> Generator[None]:
    """While what is left of a dead process is cleared away, nobody hears what it logs."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def to_delay_ns(seconds: float) -> int:
    """Nanoseconds of a delay, up to a whole microsecond: what user code sees of the clock."""
    microseconds = seconds * 1_000_000
    whole = int(microseconds)
    return (whole + (microseconds > whole)) * 1_000


WORLD = World()
