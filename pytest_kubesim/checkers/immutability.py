"""Nobody changes an object that is stored: they are shared by all who read.

A change in place would be seen at once by everybody, at the old revision, without an event: the one
mistake that a store of shared objects makes possible.  Each value is encoded when it is written and
again at the end.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_kubesim.checkers.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.etcd.messages import WatchResponse

LAW = "stored objects are never changed"

_encode = msgspec.json.Encoder().encode


class Immutability:
    """The checker.  `broken` is called with the violations, at the end."""

    def __init__(self, broken: Callable[[Violation], object]) -> None:
        self._broken = broken
        self._written: dict[tuple[str, int], tuple[Any, bytes]] = {}

    def heard(self, response: WatchResponse) -> None:
        """The store has changed."""
        for event in response.events:
            if event.type == "PUT":
                kv = event.kv
                self._written[kv.key, kv.mod_revision] = (kv.value, _digest(kv.value))

    def finish(self) -> None:
        """Look at all that was written once more."""
        for (key, revision), (value, digest) in self._written.items():
            if _digest(value) != digest:
                self._broken(Violation(LAW, f"{key} at {revision} was changed after it was stored"))
        self._written.clear()


def _digest(value: Any) -> bytes:
    return blake2b(_encode(value), digest_size=12).digest()
