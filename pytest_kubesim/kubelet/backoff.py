"""Backoff by key: doubling delays that are forgotten after a time of peace.

Follows `client-go/util/flowcontrol/backoff.go`.
"""

from __future__ import annotations


class Backoff:
    """Delays of many things.

    Parameters: `initial_ns` and `max_ns`, the first and the longest delay; `reset_ns`, the time
    after which a key that was left in peace begins anew.
    """

    def __init__(self, initial_ns: int, max_ns: int, reset_ns: int) -> None:
        self._initial_ns = initial_ns
        self._max_ns = max_ns
        self._reset_ns = reset_ns
        self._entries: dict[str, tuple[int, int]] = {}

    def get(self, key: str) -> int:
        """The present delay of the key in nanoseconds; 0 if it has none."""
        entry = self._entries.get(key)
        return entry[0] if entry else 0

    def next(self, key: str, event_ns: int, now_ns: int) -> None:
        """Something happened at `event_ns`: take the next delay."""
        entry = self._entries.get(key)
        if entry is None or event_ns - entry[1] > self._reset_ns:
            self._entries[key] = (self._initial_ns, now_ns)
        else:
            self._entries[key] = (min(entry[0] * 2, self._max_ns), now_ns)

    def since(self, key: str, event_ns: int, now_ns: int) -> bool:
        """Whether less than the delay has passed since `event_ns`."""
        entry = self._entries.get(key)
        if entry is None or event_ns - entry[1] > self._reset_ns:
            return False
        return now_ns - event_ns < entry[0]

    def since_update(self, key: str, now_ns: int) -> bool:
        """Whether less than the delay has passed since it was taken."""
        entry = self._entries.get(key)
        if entry is None or now_ns - entry[1] > self._reset_ns:
            return False
        return now_ns - entry[1] < entry[0]

    def forget(self, prefix: str) -> None:
        """Drop all keys that begin with `prefix`."""
        for key in [key for key in self._entries if key.startswith(prefix)]:
            del self._entries[key]
