"""Majorities.

For example, with three voters::

    committed_index([5, 3, 0])        3     the greatest index that a majority has
    outcome({1: True}, 3)             None  one yes of three: nobody knows yet
    outcome({1: True, 2: True}, 3)    True
    outcome({1: False, 2: False}, 3)  False

Follows ``quorum/majority.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def size(voters: int) -> int:
    """How many of so many voters are a majority."""
    return voters // 2 + 1


def committed_index(matched: Iterable[int]) -> int:
    """The greatest index that a majority has; ``matched`` has one index for each voter."""
    ordered = sorted(matched, reverse=True)
    return ordered[len(ordered) // 2] if ordered else 0


def outcome(votes: Mapping[int, bool], voters: int) -> bool | None:
    """Whether an election is won or lost; ``None`` while it is open."""
    granted = sum(votes.values())
    if granted >= size(voters):
        return True
    if voters - (len(votes) - granted) < size(voters):
        return False
    return None
