"""Did anything change since I last asked?  How conditions are looked at only when it matters."""

from __future__ import annotations

from collections.abc import Callable


class Changes:
    """A cheap answer to "did anything change since I last asked?"; yes, the first time."""

    __slots__ = ("_close", "_last", "_state")

    def __init__(
        self, state: Callable[[], object], close: Callable[[], None] = lambda: None
    ) -> None:
        self._state = state
        self._last: object = None
        self._close = close

    def changed(self) -> bool:
        """Whether the state is another than when last asked."""
        state = self._state()
        if state == self._last:
            return False
        self._last = state
        return True

    def close(self) -> None:
        """Watch no longer."""
        self._close()
