"""Estimates: a least and a most, of sizes and of costs.

The law: nothing overflows; what is too much is ``MOST``.

Follows ``cel-go/checker/cost.go``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

MOST = (1 << 64) - 1


class Estimate(NamedTuple):
    """Between how much and how much."""

    least: int
    most: int

    def plus(self, other: Estimate) -> Estimate:
        """The sum."""
        return Estimate(_add(self.least, other.least), _add(self.most, other.most))

    def times(self, other: Estimate) -> Estimate:
        """The product."""
        return Estimate(_multiply(self.least, other.least), _multiply(self.most, other.most))

    def scaled(self, factor: float) -> Estimate:
        """As a cost, with so much for each unit, rounded up."""
        return Estimate(_scale(self.least, factor), _scale(self.most, factor))

    def union(self, other: Estimate) -> Estimate:
        """What includes both."""
        return Estimate(min(self.least, other.least), max(self.most, other.most))


def fixed(amount: int) -> Estimate:
    """Exactly so much."""
    return Estimate(amount, amount)


UNKNOWN = Estimate(0, MOST)
NOTHING = fixed(0)
ONE = fixed(1)


def _add(left: int, right: int) -> int:
    return min(left + right, MOST)


def _multiply(left: int, right: int) -> int:
    return min(left * right, MOST)


def _scale(amount: int, factor: float) -> int:
    product = float(amount) * factor
    return MOST if product >= 2.0**64 else math.ceil(product)
