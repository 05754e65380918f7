"""Python's collector of cycles while time passes: it looks at everything once the heap has doubled.

The simulation's objects are trees, freed when nobody refers to them any more: a thousand pods come
to Running without one cycle.  Python begins a full collection whenever a quarter has come on top of
what lives, and so looks five times over at a heap that only grows.  Operators run in the same
process and may well make cycles, so nothing is switched off: young objects are collected as before,
all of them when as many containers were made as there are blocks in use.  What waits to be found
is thereby never more than what lives.

The law: outside `rarely()` the settings are the user's own, and what the user sets inside stays.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

Thresholds = tuple[int, int, int]


class _Patience:
    """How long full collections are put off: a setting of the process, as the collector's is."""

    def __init__(self) -> None:
        self.depth = 0
        self._users: Thresholds = gc.get_threshold()
        self._set: Thresholds = self._users
        self._blocks = 0
        """How many blocks of memory were in use after the last full collection that was seen."""

    def begin(self) -> None:
        """Put them off."""
        self._users = gc.get_threshold()
        if not self._blocks:
            self._blocks = sys.getallocatedblocks()
        self._wait()
        gc.callbacks.append(self._collected)

    def end(self) -> None:
        """Give the user's settings back."""
        if self._collected in gc.callbacks:
            gc.callbacks.remove(self._collected)
        if gc.get_threshold() == self._set:
            gc.set_threshold(*self._users)

    def _wait(self) -> None:
        young, middle, full = self._users
        full = max(full, self._blocks // (max(young, 1) * max(middle, 1)))
        self._set = (young, middle, full)
        gc.set_threshold(*self._set)

    def _collected(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "stop" and info["generation"] == 2:
            self._blocks = sys.getallocatedblocks()
            if gc.get_threshold() == self._set:
                self._wait()


_PATIENCE = _Patience()


@contextmanager
def rarely() -> Generator[None]:
    """Look at everything as rarely as the module says; may be entered inside itself."""
    patience = _PATIENCE
    if not patience.depth:
        patience.begin()
    patience.depth += 1
    try:
        yield
    finally:
        patience.depth -= 1
        if not patience.depth:
            patience.end()
