"""What a leader knows of a follower's log, and how fast it may send.

    state      sends                                        leaves it when
    probe      one message, then waits for an answer        it was answered: replicate
    replicate  on and on, up to ``MAX_INFLIGHT`` unanswered   a refusal, or a lost way: probe
    snapshot   nothing                                      the snapshot arrived or failed: probe

Invariant: ``match < next``. Follows ``tracker/progress.go`` and ``tracker/inflights.go``.
"""

from __future__ import annotations

from collections import deque
from typing import Literal, TypeAlias

MAX_INFLIGHT = 512
"""How many messages with entries may be under way to one follower (``maxInflightMsgs``)."""

ProgressState: TypeAlias = Literal["probe", "replicate", "snapshot"]


class Progress:
    """One follower (or the leader itself) as the leader sees it."""

    __slots__ = (
        "inflights",
        "match",
        "next",
        "paused",
        "pending_snapshot",
        "recent_active",
        "sent_commit",
        "state",
    )

    def __init__(self, following: int, match: int = 0) -> None:
        self.match = match
        """The greatest index that is known to be the same there."""
        self.next = following
        """The index that is sent next."""
        self.state: ProgressState = "probe"
        self.pending_snapshot = 0
        self.recent_active = False
        """Whether it was heard of since the quorum was last checked."""
        self.paused = False
        """Whether the one message of a probe, or all that may be under way, was sent."""
        self.sent_commit = 0
        """The greatest commit index that it was told."""
        self.inflights: deque[int] = deque()

    # Changing state

    def become_probe(self) -> None:
        """Find out where the logs agree."""
        after_snapshot = self.pending_snapshot if self.state == "snapshot" else 0
        self._reset("probe")
        self.next = max(self.match, after_snapshot) + 1
        self.sent_commit = min(self.sent_commit, self.next - 1)

    def become_replicate(self) -> None:
        """Send as fast as may be."""
        self._reset("replicate")
        self.next = self.match + 1

    def become_snapshot(self, index: int) -> None:
        """A snapshot is under way."""
        self._reset("snapshot")
        self.pending_snapshot = index
        self.next = index + 1
        self.sent_commit = index

    def _reset(self, state: ProgressState) -> None:
        self.state = state
        self.paused = False
        self.pending_snapshot = 0
        self.inflights.clear()

    # Sending

    def is_paused(self) -> bool:
        """Whether nothing may be sent now."""
        return self.state == "snapshot" or self.paused

    def sent(self, entries: int) -> None:
        """So many entries from ``next`` on were sent."""
        if self.state == "replicate":
            if entries:
                self.next += entries
                self.inflights.append(self.next - 1)
            self.paused = len(self.inflights) >= MAX_INFLIGHT
        elif entries:
            self.paused = True

    def can_bump_commit(self, index: int) -> bool:
        """Whether telling it the commit index would tell it something new."""
        return index > self.sent_commit and self.sent_commit < self.next - 1

    # Answers

    def maybe_update(self, index: int) -> bool:
        """It has all up to an index; says whether that is news."""
        if index <= self.match:
            return False
        self.match = index
        self.next = max(self.next, index + 1)
        self.paused = False
        return True

    def maybe_decrease(self, rejected: int, hint: int) -> bool:
        """It refused what follows ``rejected``; says whether that is news, not an old answer."""
        if self.state == "replicate":
            if rejected <= self.match:
                return False
            self.next = self.match + 1
        else:
            if self.next - 1 != rejected:
                return False
            self.next = max(min(rejected, hint + 1), self.match + 1)
            self.paused = False
        self.sent_commit = min(self.sent_commit, self.next - 1)
        return True

    def free_up_to(self, index: int) -> None:
        """What was sent up to an index is no longer under way."""
        inflights = self.inflights
        while inflights and inflights[0] <= index:
            inflights.popleft()

    def is_healthy(self, last_index: int) -> bool:
        """Whether it has all, and nothing is under way to it."""
        return self.state == "replicate" and self.match == last_index and not self.inflights
