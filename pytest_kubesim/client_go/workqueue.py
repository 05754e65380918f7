"""The rate-limited queue of keys between informers and a controller's workers.

The law, as in `client-go/util/workqueue/queue.go`: a key is in the queue once, however often it is
added; a key that is being processed is not handed out again before `done`, and if it was added
meanwhile it is queued again then.  Failures back off as `default_rate_limiters.go` says: 5 ms
doubling to 1,000 s for a key, and at most 10 retries a second (burst 100) for the queue.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.tasks import Future

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.sim.kernel import Timer
    from pytest_kubesim.sim.process import Process

K = TypeVar("K")

BASE_DELAY_NS, MAX_DELAY_NS = 5_000_000, 1000 * NS
QPS, BURST = 10, 100
STUBBORN = 12
"""After so many failures in a row (20 s of back-off) the next is no news."""


class ShutDown(Exception):
    """The queue was shut down and is empty."""


class RateLimitingQueue(Generic[K]):
    """Keys to work on, for the workers of one controller in one process."""

    def __init__(
        self,
        process: Process,
        name: str = "",
        *,
        base_delay_ns: int = BASE_DELAY_NS,
        max_delay_ns: int = MAX_DELAY_NS,
    ) -> None:
        self._process = process
        self._name = name
        self._base_delay_ns = base_delay_ns
        self._max_delay_ns = max_delay_ns
        self._queue: deque[K] = deque()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._getters: deque[Future[None]] = deque()
        self._failures: dict[K, int] = {}
        self._waiting: dict[K, Timer] = {}
        self._tokens = float(BURST)
        self._tokens_at_ns = process.kernel.now_ns
        self._down = False
        self._hire: Callable[[], object] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def staff(self, hire: Callable[[], object]) -> None:
        """Call `hire()` for every key that is there, or comes, while no worker waits for one.

        So that a worker begins to exist when there is something to do for it.
        """
        self._hire = hire
        for _ in range(len(self._queue)):
            hire()

    def add(self, key: K) -> None:
        """Queue `key` unless it is queued."""
        if self._down or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: K, delay_ns: int, *, periodic: bool = False) -> None:
        """Queue `key` after `delay_ns`; of several such calls the earliest counts.

        `periodic`: it comes back for ever, so that nothing need wait for it.
        """
        if delay_ns <= 0:
            self.add(key)
            return
        when_ns = self._process.kernel.now_ns + delay_ns
        waiting = self._waiting.get(key)
        if waiting is not None:
            if waiting.time_ns <= when_ns:
                return
            waiting.cancel()
        self._waiting[key] = self._process.call_later(
            delay_ns, self._due, key, periodic=periodic, label=f"{self._name or 'queue'}: {key}"
        )

    def add_rate_limited(self, key: K) -> None:
        """Queue `key` after its back-off.

        What has failed so often that it fails for ever need not be waited for.
        """
        delay_ns = self._when_ns(key)
        self.add_after(key, delay_ns, periodic=self._failures[key] > STUBBORN)

    def forget(self, key: K) -> None:
        """`key` has succeeded: its back-off begins anew."""
        self._failures.pop(key, None)

    def num_requeues(self, key: K) -> int:
        """How often `key` has failed in a row."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key, waiting for one; `done` it afterwards.  Raises `ShutDown`."""
        while not self._queue:
            if self._down:
                raise ShutDown
            getter: Future[None] = Future(self._process.kernel)
            self._getters.append(getter)
            await getter
        key = self._queue.popleft()
        self._processing.add(key)
        self._dirty.discard(key)
        return key

    def done(self, key: K) -> None:
        """`key` has been worked on; queued again if it was added meanwhile."""
        self._processing.discard(key)
        if key in self._dirty:
            self._push(key)

    def shut_down(self) -> None:
        """Take nothing more; workers get `ShutDown` when it is empty."""
        self._down = True
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)

    def _push(self, key: K) -> None:
        self._queue.append(key)
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return
        if self._hire is not None:
            self._hire()

    def _due(self, key: K) -> None:
        self._waiting.pop(key, None)
        self.add(key)

    def _when_ns(self, key: K) -> int:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        item_ns = min(self._base_delay_ns << min(failures, 40), self._max_delay_ns)
        now_ns = self._process.kernel.now_ns
        tokens = min(
            float(BURST), self._tokens + (now_ns - self._tokens_at_ns) / NS * QPS
        ) - 1.0
        self._tokens, self._tokens_at_ns = tokens, now_ns
        bucket_ns = 0 if tokens >= 0 else int(-tokens / QPS * NS)
        return max(item_ns, bucket_ns)
