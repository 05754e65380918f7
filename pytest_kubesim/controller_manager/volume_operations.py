"""Operations that go on beside a controller's loop: one of a name at once, with back-off.

The law (`pkg/util/goroutinemap`): an operation that runs, or has failed not long ago, is not begun;
who wants it asks again at his next sync.  After a failure the pause is 500 ms, doubling to 2 m 2 s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.controller_manager.controller import RETRIABLE

if TYPE_CHECKING:
    from pytest_kubesim.sim.process import Process

FIRST_PAUSE_NS = 500_000_000
LONGEST_PAUSE_NS = 122_000_000_000


@attrs.frozen(slots=True)
class _State:
    running: bool
    failed_ns: int = 0
    pause_ns: int = 0


class Operations:
    """The operations of one controller.

    Parameters: `process` they run in; `name` for the journal.
    """

    def __init__(self, process: Process, name: str) -> None:
        self._process = process
        self._name = name
        self._states: dict[str, _State] = {}

    def run(self, name: str, operation: Callable[[], Awaitable[None]]) -> bool:
        """Begin an operation, unless it runs or must wait; whether it was begun."""
        state = self._states.get(name)
        now_ns = self._process.kernel.now_ns
        if state is not None and (state.running or now_ns - state.failed_ns <= state.pause_ns):
            return False
        pause_ns = 0 if state is None else state.pause_ns
        self._states[name] = _State(running=True, pause_ns=pause_ns)
        self._process.spawn(self._run(name, operation, pause_ns), name=f"{self._name} {name}")
        return True

    async def _run(
        self, name: str, operation: Callable[[], Awaitable[None]], pause_ns: int
    ) -> None:
        kernel = self._process.kernel
        try:
            await operation()
        except RETRIABLE as error:
            kernel.journal.record("operation failed", self._name, key=name, error=str(error))
            pause_ns = min(pause_ns * 2, LONGEST_PAUSE_NS) if pause_ns else FIRST_PAUSE_NS
            self._states[name] = _State(running=False, failed_ns=kernel.now_ns, pause_ns=pause_ns)
        else:
            del self._states[name]
