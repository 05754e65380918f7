"""One leader a term, among the members of etcd.

Two members that take themselves, or others, for the leader of the same term would each commit what
the other does not know.  And a member's term never falls, whatever it has been through: it is on
its disk before it tells anybody.  After "Election Safety" in Ongaro's and Ousterhout's paper on
Raft, figure 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.checkers.violation import Violation
from pytest_kubesim.etcd.raft.messages import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_kubesim.etcd.member_process import MemberProcess

LAW = "one leader a term"
GROWS = "terms grow"


class RaftTerms:
    """The checker.  `broken` is called with every violation, at once."""

    def __init__(self, broken: Callable[[Violation], object]) -> None:
        self._broken = broken
        self._leaders: dict[int, tuple[int, str]] = {}
        self._terms: dict[str, int] = {}

    def begin(self, members: Iterable[MemberProcess]) -> None:
        """A history begins, with what the members know now."""
        self._leaders.clear()
        self._terms.clear()
        for member in members:
            self.heard(member)

    def heard(self, member: MemberProcess) -> None:
        """A member follows another leader, or none, or leads."""
        term, leader, name = member.term, member.lead, member.name
        before = self._terms.get(name, 0)
        if term < before:
            self._broken(Violation(GROWS, f"{name} was in term {before} and is in term {term}"))
        self._terms[name] = term
        if leader == NONE:
            return
        known, who = self._leaders.setdefault(term, (leader, name))
        if known != leader:
            self._broken(
                Violation(
                    LAW,
                    f"in term {term} {name} has the leader etcd-{leader}, {who} had etcd-{known}",
                )
            )
