"""What a controller has done and not yet seen: until it sees it, it does nothing more.

The law (`pkg/controller/controller_utils.go`): a controller that has created or deleted pods waits
until its informer has shown as many, or five minutes, before it counts again.  Deletions are
remembered by pod, because a pod is seen to go twice (its deletionTimestamp, then its end).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from pytest_kubesim.sim.clock import NS

TIMEOUT_NS = 300 * NS


@attrs.define(slots=True)
class _Expected:
    creations: int
    deletions: int
    since_ns: int


class Expectations:
    """Creations and deletions to be seen, by the key of the controlling object.

    Parameters: `now_ns`, the process's clock.
    """

    __slots__ = ("_deletions", "_expected", "_now_ns")

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._expected: dict[str, _Expected] = {}
        self._deletions: dict[str, set[str]] = {}

    def satisfied(self, key: str) -> bool:
        """Whether everything was seen, or it was waited for long enough."""
        expected = self._expected.get(key)
        if expected is None or (expected.creations <= 0 and expected.deletions <= 0):
            return True
        return self._now_ns() - expected.since_ns > TIMEOUT_NS

    def set(self, key: str, creations: int, deletions: int) -> None:
        """Wait for this; what was waited for before is forgotten."""
        self._expected[key] = _Expected(creations, deletions, self._now_ns())

    def expect_creations(self, key: str, count: int) -> None:
        """Wait for `count` creations."""
        self.set(key, count, 0)

    def expect_deletions(self, key: str, pod_keys: Iterable[str]) -> None:
        """Wait for the deletion of these pods (`namespace/name`)."""
        expected = set(pod_keys)
        self._deletions[key] = expected
        self.set(key, 0, len(expected))

    def raise_by(self, key: str, creations: int, deletions: int) -> None:
        """Wait for more; nothing if nothing was ever waited for."""
        expected = self._expected.get(key)
        if expected is not None:
            expected.creations += creations
            expected.deletions += deletions

    def creation_observed(self, key: str, count: int = 1) -> None:
        """Seen, or will never be."""
        expected = self._expected.get(key)
        if expected is not None:
            expected.creations -= count

    def deletion_observed(self, key: str, pod_key: str | None = None) -> None:
        """Seen, or will never be; with `pod_key` only if that pod was waited for."""
        if pod_key is not None:
            waiting = self._deletions.get(key)
            if waiting is None or pod_key not in waiting:
                return
            waiting.discard(pod_key)
        expected = self._expected.get(key)
        if expected is not None:
            expected.deletions -= 1

    def pending_deletions(self, key: str) -> int:
        """How many deletions are still waited for."""
        expected = self._expected.get(key)
        return expected.deletions if expected is not None else 0

    def delete(self, key: str) -> None:
        """The controlling object is gone."""
        self._expected.pop(key, None)
        self._deletions.pop(key, None)
