"""Raft: one member of a group that agrees on a log. Messages and ticks in, ``Ready`` out.

Law: the state changes only in ``step``, ``tick``, ``propose``, ``read_index`` and ``advance``, and
depends on their arguments and on nothing else: no clock, no chance, no I/O. Who drives it does what
``ready`` says, in the order that ``Ready`` gives, and then calls ``advance``.

::

    follower --election timeout--> pre-candidate --majority--> candidate --majority--> leader
        ^                               |                          |                     |
        +--- a leader, a higher term, or the vote is lost ---------+                     |
        +--- a higher term, or no majority was heard of for an election timeout ---------+

A member that hears of a leader votes for nobody else (its lease), so one that comes back from a
partition disturbs nobody; a leader that no longer hears of a majority steps down. ``jitter`` gives
the length of each election timeout in ticks. Follows ``raft.go`` and ``rawnode.go`` of
``go.etcd.io/raft``, with pre-vote, check-quorum, and reads confirmed by a quorum, as etcd sets it;
membership does not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pytest_kubesim.etcd.raft import election, replication
from pytest_kubesim.etcd.raft.log import RaftLog
from pytest_kubesim.etcd.raft.messages import NONE, RESPONSES, HardState, Message, Ready
from pytest_kubesim.etcd.raft.read_only import ReadOnly
from pytest_kubesim.etcd.raft.tracker import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_kubesim.etcd.raft.messages import ReadState

Role: TypeAlias = Literal["follower", "pre-candidate", "candidate", "leader"]

ELECTION_TICKS = 10
"""The least election timeout; the greatest is one tick less than twice as long."""

_FROM_LEADERS = ("MsgApp", "MsgHeartbeat", "MsgSnap")


class Raft:
    """One member.

    Parameters: ``identity``, its number; ``voters``, all numbers; ``jitter``, which gives
    the ticks of a timeout by its number, from ``ELECTION_TICKS`` to one less than twice as many;
    ``log``, ``hard_state`` and ``applied`` as they were kept.
    """

    def __init__(
        self,
        identity: int,
        voters: Sequence[int],
        jitter: Callable[[int], int],
        *,
        log: RaftLog | None = None,
        hard_state: HardState | None = None,
        applied: int = 0,
    ) -> None:
        self.identity = identity
        self.voters = tuple(voters)
        self.log = RaftLog() if log is None else log
        kept = hard_state or HardState()
        self.term = kept.term
        self.vote = kept.vote
        self.log.commit_to(kept.commit)
        self.log.applied = max(self.log.applied, applied)
        self.role: Role = "follower"
        self.lead = NONE
        self.progress: dict[int, Progress] = {}
        self.votes: dict[int, bool] = {}
        self.reads = ReadOnly()
        self.waiting_reads: list[Message] = []
        """Reads asked of a leader that has not committed anything in its term yet."""
        self.read_states: list[ReadState] = []
        self.transferee = NONE
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self.election_timeout = ELECTION_TICKS
        self._jitter = jitter
        self._timeouts_made = 0
        self._kept = HardState(self.term, self.vote, self.log.committed)
        self._messages: list[Message] = []
        self._responses: list[Message] = []
        self._to_self: tuple[Message, ...] = ()
        """What it says to itself once it is kept: its own vote, its own acknowledgement."""
        self.become_follower(self.term, NONE)

    # What goes in

    def tick(self) -> None:
        """A heartbeat interval has passed."""
        self.election_elapsed += 1
        if self.role != "leader":
            if self.election_elapsed >= self.election_timeout:
                self.election_elapsed = 0
                self.step(Message("MsgHup", source=self.identity))
            return
        self.heartbeat_elapsed += 1
        if self.election_elapsed >= ELECTION_TICKS:
            self.election_elapsed = 0
            self.step(Message("MsgCheckQuorum", source=self.identity))
            # A transfer that takes longer than an election is given up.
            self.transferee = NONE
        if self.role == "leader":
            self.heartbeat_elapsed = 0
            self.step(Message("MsgBeat", source=self.identity))

    def propose(self, data: Any) -> bool:
        """Have something appended to the log, here or by the leader; False: it was dropped."""
        message = Message("MsgProp", source=self.identity, context=data)
        return self.step(message)

    def read_index(self, context: Any) -> None:
        """Ask for the index from which a read is linearizable; it comes as a ``ReadState``."""
        self.step(Message("MsgReadIndex", source=self.identity, context=context))

    def transfer_leadership(self, to: int) -> None:
        """Have another member become the leader as soon as it has all of the log."""
        self.step(Message("MsgTransferLeader", source=to, to=self.identity))

    def report_unreachable(self, peer: int) -> None:
        """What was sent last to a member may be lost."""
        self.step(Message("MsgUnreachable", source=peer))

    def report_snapshot(self, peer: int, *, failed: bool) -> None:
        """A snapshot has been delivered to a member, or not."""
        self.step(Message("MsgSnapStatus", source=peer, reject=failed))

    def step(self, message: Message) -> bool:
        """Take a message; False: it was a proposal, and dropped."""
        kind, term = message.type, message.term
        if term > self.term:
            if not self._newer_term(message):
                return True
        elif 0 < term < self.term:
            self._older_term(message)
            return True
        if kind == "MsgHup":
            election.start(self)
        elif kind in ("MsgVote", "MsgPreVote"):
            election.answer(self, message)
        elif self.role == "leader":
            return replication.step_leader(self, message)
        elif self.role == "follower":
            return self._step_follower(message)
        else:
            return self._step_candidate(message)
        return True

    def _newer_term(self, message: Message) -> bool:
        """Follow a higher term, where its sender has a right to it; False: ignore the message."""
        kind = message.type
        if kind in ("MsgVote", "MsgPreVote"):
            forced = message.context == election.TRANSFER
            in_lease = self.lead != NONE and self.election_elapsed < ELECTION_TICKS
            if in_lease and not forced:
                return False
        if kind == "MsgPreVote" or (kind == "MsgPreVoteResp" and not message.reject):
            # Nobody's term changes by what would be.
            return True
        self.become_follower(message.term, message.source if kind in _FROM_LEADERS else NONE)
        return True

    def _older_term(self, message: Message) -> None:
        kind = message.type
        if kind in ("MsgHeartbeat", "MsgApp"):
            # Tells an old leader of the term it has missed: nothing else would, since nobody who is
            # asked for a vote by a member cut off raises its term.
            self.send("MsgAppResp", message.source)
        elif kind == "MsgPreVote":
            self.send("MsgPreVoteResp", message.source, term=self.term, reject=True)

    def _step_candidate(self, message: Message) -> bool:
        kind = message.type
        if kind == "MsgProp":
            return False
        if kind in _FROM_LEADERS:
            self.become_follower(message.term, message.source)
            self._heed_leader(message)
        elif kind == ("MsgPreVoteResp" if self.role == "pre-candidate" else "MsgVoteResp"):
            election.count(self, message)
        return True

    def _step_follower(self, message: Message) -> bool:
        kind = message.type
        if kind in _FROM_LEADERS:
            self.election_elapsed = 0
            self.lead = message.source
            self._heed_leader(message)
        elif kind in ("MsgProp", "MsgReadIndex", "MsgTransferLeader"):
            if self.lead == NONE:
                return False
            self.forward(message)
        elif kind == "MsgTimeoutNow":
            election.campaign(self, election.TRANSFER)
        elif kind == "MsgReadIndexResp":
            self.read_states.append(replication.read_state(message))
        return True

    def _heed_leader(self, message: Message) -> None:
        if message.type == "MsgApp":
            replication.handle_append(self, message)
        elif message.type == "MsgHeartbeat":
            self.log.commit_to(message.commit)
            self.send("MsgHeartbeatResp", message.source, context=message.context)
        else:
            replication.handle_snapshot(self, message)

    # Roles

    def become_follower(self, term: int, lead: int) -> None:
        """Follow."""
        self.reset(term)
        self.role = "follower"
        self.lead = lead

    def become_pre_candidate(self) -> None:
        """Ask whether an election would be won. Neither term nor vote change."""
        self.role = "pre-candidate"
        self.votes = {}
        self.lead = NONE

    def become_candidate(self) -> None:
        """Stand for election in a new term."""
        self.reset(self.term + 1)
        self.role = "candidate"
        self.vote = self.identity

    def become_leader(self) -> None:
        """Lead: the term begins with an empty entry, whose commit commits all before it."""
        self.reset(self.term)
        self.role = "leader"
        self.lead = self.identity
        own = self.progress[self.identity]
        own.become_replicate()
        own.recent_active = True
        replication.append_entry(self, None)

    def reset(self, term: int) -> None:
        """Forget what belonged to the term before, or to the role."""
        if self.term != term:
            self.term = term
            self.vote = NONE
        self.lead = NONE
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self._timeouts_made += 1
        self.election_timeout = self._jitter(self._timeouts_made)
        self.transferee = NONE
        self.votes = {}
        last = self.log.last_index
        self.progress = {
            voter: Progress(last + 1, last if voter == self.identity else 0)
            for voter in self.voters
        }
        self.waiting_reads = []
        self.reads = ReadOnly()

    @property
    def hard_state(self) -> HardState:
        """What must not be forgotten besides the log."""
        return HardState(self.term, self.vote, self.log.committed)

    # What comes out

    def send(self, kind: Any, to: int, *, term: int | None = None, **fields: Any) -> None:
        """Say something to a member."""
        message = Message(
            kind, to, self.identity, self.term if term is None else term, **fields
        )
        (self._responses if kind in RESPONSES else self._messages).append(message)

    def forward(self, message: Message) -> None:
        """Pass on to the leader what was asked here."""
        self._messages.append(
            Message(message.type, self.lead, message.source, context=message.context)
        )

    def has_ready(self) -> bool:
        """Whether ``ready`` has anything to say."""
        log = self.log
        return bool(
            self._messages
            or self._responses
            or self.read_states
            or log.pending_snapshot is not None
            or log.stable < log.last_index
            or log.applied < log.committed
            or self._kept != self.hard_state
        )

    def ready(self) -> Ready:
        """What is to be done now; ``advance`` must follow before the next one."""
        log = self.log
        hard_state = self.hard_state
        entries = log.unstable()
        changed = hard_state != self._kept
        voted = (hard_state.term, hard_state.vote) != (self._kept.term, self._kept.vote)
        ready = Ready(
            hard_state=hard_state if changed else None,
            entries=entries,
            snapshot=log.pending_snapshot,
            committed=log.to_apply(),
            messages=tuple(self._messages),
            responses=tuple(m for m in self._responses if m.to != self.identity),
            reads=tuple(self.read_states),
            must_sync=bool(entries) or voted,
        )
        self._to_self = tuple(m for m in self._responses if m.to == self.identity)
        self._messages, self._responses, self.read_states = [], [], []
        return ready

    def advance(self, ready: Ready) -> None:
        """What ``ready`` said is done."""
        log = self.log
        if ready.hard_state is not None:
            self._kept = ready.hard_state
        if ready.entries:
            last = ready.entries[-1]
            log.stable_to(last.index, last.term)
        if ready.snapshot is not None and log.pending_snapshot is ready.snapshot:
            log.pending_snapshot = None
            log.applied_to(max(log.applied, ready.snapshot.index))
        if ready.committed:
            log.applied_to(max(log.applied, ready.committed[-1].index))
        to_self, self._to_self = self._to_self, ()
        for message in to_self:
            self.step(message)

    def compact(self, index: int) -> None:
        """Forget the log up to an index that is applied."""
        self.log.compact(index)

    def committed_in_term(self) -> bool:
        """Whether something of this term is committed: else what else is committed is unknown."""
        return self.log.term(self.log.committed) == self.term

