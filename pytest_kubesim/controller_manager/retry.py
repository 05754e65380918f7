"""Trying a write again when somebody else was faster.

Follows `client-go/util/retry/util.go`: `DEFAULT_RETRY` for many writers, `DEFAULT_BACKOFF` for one
that is slow.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import attrs

from pytest_kubesim.apimachinery import status
from pytest_kubesim.controller_manager.controller import RETRIABLE, unwrapped

if TYPE_CHECKING:
    from pytest_kubesim.sim.process import Process

T = TypeVar("T")


@attrs.frozen(slots=True)
class Backoff:
    """How often, and how long to wait in between: `duration_ns`, times `factor` each time."""

    steps: int
    duration_ns: int
    factor: int


DEFAULT_RETRY = Backoff(5, 10_000_000, 1)
DEFAULT_BACKOFF = Backoff(4, 10_000_000, 5)


async def on_conflict(process: Process, backoff: Backoff, call: Callable[[], Awaitable[T]]) -> T:
    """What `call` returns; called again after a pause while it is refused with a conflict."""
    delay_ns = backoff.duration_ns
    for step in range(backoff.steps):
        try:
            return await call()
        except RETRIABLE as error:
            if not status.is_conflict(unwrapped(error)) or step == backoff.steps - 1:
                raise
        await process.kernel.sleep(delay_ns)
        delay_ns *= backoff.factor
    raise AssertionError("a back-off has at least one step")
