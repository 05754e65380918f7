"""Back-off by key: how long to wait with something that failed again.

Follows `client-go/util/flowcontrol/backoff.go`.
"""

from __future__ import annotations

import attrs


@attrs.define(slots=True)
class _Entry:
    delay_ns: int
    updated_ns: int


class Backoff:
    """Delays from `initial_ns` doubling to `max_ns`; forgotten after twice the longest."""

    __slots__ = ("_entries", "_initial_ns", "_max_ns")

    def __init__(self, initial_ns: int, max_ns: int) -> None:
        self._initial_ns = initial_ns
        self._max_ns = max_ns
        self._entries: dict[str, _Entry] = {}

    def get_ns(self, key: str) -> int:
        """The present delay of a key."""
        entry = self._entries.get(key)
        return entry.delay_ns if entry is not None else 0

    def next(self, key: str, now_ns: int) -> None:
        """It failed (again) at `now_ns`."""
        entry = self._entries.get(key)
        if entry is None or self._expired(entry, now_ns):
            self._entries[key] = _Entry(self._initial_ns, now_ns)
        else:
            entry.delay_ns = min(entry.delay_ns * 2, self._max_ns)
            entry.updated_ns = now_ns

    def is_in_backoff(self, key: str, now_ns: int) -> bool:
        """Whether less than the delay has passed since it failed last."""
        entry = self._entries.get(key)
        if entry is None or self._expired(entry, now_ns):
            return False
        return now_ns - entry.updated_ns < entry.delay_ns

    def _expired(self, entry: _Entry, now_ns: int) -> bool:
        return now_ns - entry.updated_ns > 2 * self._max_ns
