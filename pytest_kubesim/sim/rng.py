"""Keyed randomness: a draw is a hash of (seed, stream, logical event), never "the next number".

So a draw does not depend on how many draws came before it: removing one fault, or adding one
request, leaves every other draw of the run as it was.  There is no state here but the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")

_MAX = 2**64


class Rng:
    """Draws of one run.

    Parameters: `seed`, any integer.  Every method takes a `stream` (what the draw is for, such as
    ``"uid"``) and the parts that name the logical event (such as a key and a count).
    """

    __slots__ = ("_begun", "_key", "seed")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._key = blake2b(str(seed).encode(), digest_size=32).digest()
        # A hash that has begun is copied in less time than one is begun.
        self._begun = blake2b(digest_size=8, key=self._key)

    def bits(self, stream: str, *event: object) -> int:
        """64 uniformly distributed bits."""
        found = self._begun.copy()
        found.update("\x1f".join((stream, *map(str, event))).encode())
        return int.from_bytes(found.digest(), "big")

    def bytes(self, count: int, stream: str, *event: object) -> bytes:
        """`count` (at most 64) uniformly distributed bytes."""
        text = "\x1f".join((stream, *map(str, event)))
        return blake2b(text.encode(), digest_size=count, key=self._key).digest()

    def below(self, bound: int, stream: str, *event: object) -> int:
        """A uniform integer in [0, bound)."""
        return self.bits(stream, *event) * bound // _MAX

    def uniform(self, low: float, high: float, stream: str, *event: object) -> float:
        """A uniform float in [low, high)."""
        return low + (high - low) * (self.bits(stream, *event) / _MAX)

    def between_ns(self, low_ns: int, high_ns: int, stream: str, *event: object) -> int:
        """A uniform duration in [low_ns, high_ns], in nanoseconds; equal bounds draw nothing."""
        if low_ns >= high_ns:
            return low_ns
        return low_ns + self.bits(stream, *event) * (high_ns - low_ns + 1) // _MAX

    def choice(self, options: Sequence[T], stream: str, *event: object) -> T:
        """One of `options`, which must not be empty."""
        return options[self.below(len(options), stream, *event)]

    def sub(self, name: str) -> Rng:
        """An independent source for a part of the run (a second cluster, a user's `random`)."""
        return Rng(self.bits("sub", name))
