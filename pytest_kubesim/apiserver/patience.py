"""Synchronous code that may have to ask somebody who takes his time: a webhook that converts.

Whoever can wait runs such code by `patiently`.  Where an answer is not there at once, the code is
left, the answer awaited, and the code run again, which finds it; so it must do nothing that may not
be done twice.

The law: nobody is asked the same twice in one `patiently`, and what answers at once costs no task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import attrs

from pytest_kubesim.apiserver.in_process import at_once, resumed

T = TypeVar("T")


@attrs.frozen
class _Answer:
    value: Any = None
    error: Exception | None = None

    def given(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


class _Waiting(BaseException):
    """Leaves the code that asked; not an `Exception`, because nobody on the way is to catch it."""

    def __init__(self, key: str, answer: Awaitable[Any]) -> None:
        super().__init__(key)
        self.key = key
        self.answer = answer


_heard: list[dict[str, _Answer]] = []
"""The answers that the code knows which is running patiently, innermost last."""


def asked(key: str, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What `ask` answers; `key` says what is asked.

    Raises: what `ask` raises; `NotSimulated` where it takes time and nobody waits.
    """
    if not _heard:
        return at_once(ask())
    known = _heard[-1]
    if key in known:
        found: T = known[key].given()
        return found
    coro = ask()
    try:
        trap = coro.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise _Waiting(key, resumed(coro, trap))


async def patiently(work: Callable[[], T]) -> T:
    """What `work` returns, with all that it asks awaited."""
    known: dict[str, _Answer] = {}
    while True:
        _heard.append(known)
        try:
            return work()
        except _Waiting as waiting:
            key, answer = waiting.key, waiting.answer
        finally:
            _heard.pop()
        try:
            known[key] = _Answer(await answer)
        except Exception as error:  # noqa: BLE001 - handed to who asked
            known[key] = _Answer(error=error)
