"""Elections: who may lead, and who votes for whom.

Law: a member votes once in a term, and only for one whose log is at least as long as its own, so
every leader has all that was ever committed. Before it stands, a member asks whether it would win
(pre-vote), which changes nobody's term. Follows ``campaign``, ``poll`` and the votes of ``Step`` in
``raft.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.etcd.raft import quorum, replication
from pytest_kubesim.etcd.raft.messages import NONE

if TYPE_CHECKING:
    from pytest_kubesim.etcd.raft.messages import Message
    from pytest_kubesim.etcd.raft.raft import Raft

PRE_ELECTION = "CampaignPreElection"
ELECTION = "CampaignElection"
TRANSFER = "CampaignTransfer"
"""The leader itself asked for it: members vote although they hear of it."""


def start(raft: Raft) -> None:
    """The election timeout has passed."""
    if raft.role != "leader":
        campaign(raft, PRE_ELECTION)


def campaign(raft: Raft, kind: str) -> None:
    """Ask all members for their votes; nothing while a snapshot waits to be kept."""
    if raft.log.pending_snapshot is not None:
        return
    if kind == PRE_ELECTION:
        raft.become_pre_candidate()
        term, asked, answered = raft.term + 1, "MsgPreVote", "MsgPreVoteResp"
    else:
        raft.become_candidate()
        term, asked, answered = raft.term, "MsgVote", "MsgVoteResp"
    for voter in raft.voters:
        if voter == raft.identity:
            # Its own vote counts once it is kept.
            raft.send(answered, voter, term=term)
            continue
        raft.send(
            asked,
            voter,
            term=term,
            index=raft.log.last_index,
            log_term=raft.log.last_term,
            context=TRANSFER if kind == TRANSFER else None,
        )


def answer(raft: Raft, message: Message) -> None:
    """Vote, or refuse to."""
    pre = message.type == "MsgPreVote"
    can_vote = (
        raft.vote == message.source
        or (raft.vote == NONE and raft.lead == NONE)
        or (pre and message.term > raft.term)
    )
    kind = "MsgPreVoteResp" if pre else "MsgVoteResp"
    if not can_vote or not raft.log.is_up_to_date(message.index, message.log_term):
        raft.send(kind, message.source, term=raft.term, reject=True)
        return
    # A promise for a term that may come is given in that term.
    raft.send(kind, message.source, term=message.term)
    if not pre:
        raft.election_elapsed = 0
        raft.vote = message.source


def count(raft: Raft, message: Message) -> None:
    """A vote has come."""
    raft.votes.setdefault(message.source, not message.reject)
    result = quorum.outcome(raft.votes, len(raft.voters))
    if result is None:
        return
    if not result:
        raft.become_follower(raft.term, NONE)
    elif raft.role == "pre-candidate":
        campaign(raft, ELECTION)
    else:
        raft.become_leader()
        replication.broadcast_append(raft)
