"""Whatever is lost, delayed, doubled or crashes: raft's four laws hold."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pytest_kubesim.etcd.raft.log import RaftLog
from pytest_kubesim.etcd.raft.messages import HardState, Message, Snapshot
from pytest_kubesim.etcd.raft.raft import Raft

MEMBERS = st.integers(0, 4)


class Kept:
    """What a member's disk holds: the log after a snapshot, and what of it is synced."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self.entries: list = []
        self.hard_state = HardState()

    def save(self, ready) -> None:
        if ready.snapshot is not None:
            self.snapshot, self.entries = ready.snapshot, []
        for entry in ready.entries:
            del self.entries[entry.index - self.snapshot.index - 1 :]
            self.entries.append(entry)
        if ready.hard_state is not None:
            self.hard_state = ready.hard_state


class Members(RuleBasedStateMachine):
    @initialize(count=st.sampled_from([3, 5]), timeouts=st.lists(st.integers(10, 19), min_size=5, max_size=5))
    def begin(self, count: int, timeouts: list[int]) -> None:
        self.count = count
        self.timeouts = timeouts
        self.kept = [Kept() for _ in range(count)]
        self.under_way: list[Message] = []
        self.members: list[Raft | None] = [self.started(i) for i in range(count)]
        self.ready = [None] * count
        self.leaders: dict[int, int] = {}
        self.applied: dict[int, tuple] = {}
        self.proposed = 0
        self.reads: dict[object, tuple[int, int]] = {}
        self.highest = 0
        self.a_part_works(set(range(count)), 0, 8, [0], False)

    def started(self, i: int) -> Raft:
        kept = self.kept[i]
        last = kept.snapshot.index + len(kept.entries)
        hard = kept.hard_state
        hard = HardState(hard.term, hard.vote, min(hard.commit, last))
        return Raft(
            i + 1,
            range(1, self.count + 1),
            lambda n: 10 + (self.timeouts[i] + n * 7) % 10,
            log=RaftLog(Snapshot(kept.snapshot.index, kept.snapshot.term), kept.entries),
            hard_state=hard,
            applied=kept.snapshot.index,
        )

    def member(self, i: int) -> Raft | None:
        return self.members[i % self.count]

    # What a driver does, in two steps: a crash may come between them

    def write(self, i: int) -> None:
        raft = self.members[i]
        if raft is None or self.ready[i] is not None or not raft.has_ready():
            return
        ready = raft.ready()
        for entry in ready.committed:
            seen = self.applied.setdefault(entry.index, (entry.term, entry.data))
            assert seen == (entry.term, entry.data), "two members apply different entries"
            self.highest = max(self.highest, entry.index)
        for read in ready.reads:
            _, least = self.reads[read.context]
            assert read.index >= least, "a read that misses what was committed before it"
        if raft.role == "leader":
            self.send(raft, ready.messages)
            self.ready[i] = (ready, ())
        else:
            self.ready[i] = (ready, ready.messages)

    def keep(self, i: int) -> None:
        raft, found = self.members[i], self.ready[i]
        if raft is None or found is None:
            return
        ready, later = found
        self.ready[i] = None
        self.kept[i].save(ready)
        self.send(raft, later)
        self.send(raft, ready.responses)
        raft.advance(ready)

    def send(self, raft: Raft, messages) -> None:
        for message in messages:
            if message.type == "MsgSnap":
                applied = raft.log.applied
                snapshot = Snapshot(applied, raft.log.term(applied) or 0)
                message = Message("MsgSnap", message.to, message.source, message.term, snapshot=snapshot)
            self.under_way.append(message)

    @rule(i=MEMBERS)
    def begins_writing(self, i: int) -> None:
        self.write(i % self.count)

    @rule(i=MEMBERS)
    def has_written(self, i: int) -> None:
        self.write(i % self.count)
        self.keep(i % self.count)

    @rule(i=MEMBERS, ticks=st.integers(1, 20))
    def time_passes(self, i: int, ticks: int) -> None:
        if (raft := self.member(i)) is not None:
            for _ in range(ticks):
                raft.tick()

    @rule(i=MEMBERS)
    def proposes(self, i: int) -> None:
        if (raft := self.member(i)) is not None:
            self.proposed += 1
            raft.propose(self.proposed)

    @rule(i=MEMBERS)
    def reads_somewhere(self, i: int) -> None:
        if (raft := self.member(i)) is not None:
            context = (i % self.count, len(self.reads))
            self.reads[context] = (i % self.count, self.highest)
            raft.read_index(context)

    @rule(i=MEMBERS, to=MEMBERS)
    def hands_over(self, i: int, to: int) -> None:
        if (raft := self.member(i)) is not None:
            raft.transfer_leadership(to % self.count + 1)

    @rule(i=MEMBERS)
    def compacts(self, i: int) -> None:
        raft = self.member(i)
        if raft is not None and self.ready[i % self.count] is None and raft.log.pending_snapshot is None:
            raft.compact(min(raft.log.applied, raft.log.stable))

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 30), fate=st.sampled_from(["arrives"] * 6 + ["twice", "lost"]))
    def a_message(self, at: int, fate: str) -> None:
        at %= len(self.under_way)
        message = self.under_way[at] if fate == "twice" else self.under_way.pop(at)
        if fate == "lost":
            raft = self.members[message.source - 1]
            if raft is not None:
                raft.report_unreachable(message.to)
                if message.type == "MsgSnap":
                    raft.report_snapshot(message.to, failed=True)
            return
        raft = self.members[message.to - 1]
        if raft is not None:
            raft.step(message)

    @rule(
        part=st.sets(MEMBERS, min_size=1),
        first=st.one_of(st.none(), MEMBERS),
        rounds=st.integers(0, 8),
        proposals=st.lists(MEMBERS, max_size=3),
        loses=st.booleans(),
    )
    def a_part_works(self, part, first, rounds, proposals, loses) -> None:
        """Those of a part hear each other; one of them first waits in vain for a leader."""
        inside = {i % self.count for i in part}
        if first is not None:
            inside.add(first % self.count)
            for i in inside:
                if (raft := self.members[i]) is not None:
                    for _ in range(10):
                        raft.tick()
            self.time_passes(first, 20)
        for proposer in proposals:
            self.proposes(proposer)
        for _ in range(rounds):
            for i in sorted(inside):
                self.write(i)
                self.keep(i)
            under_way, self.under_way = self.under_way, []
            for message in under_way:
                if message.to - 1 not in inside or message.source - 1 not in inside:
                    if not loses:
                        self.under_way.append(message)
                elif (raft := self.members[message.to - 1]) is not None:
                    raft.step(message)

    @rule(i=MEMBERS)
    def crashes(self, i: int) -> None:
        self.members[i % self.count] = None
        self.ready[i % self.count] = None

    @rule(i=MEMBERS)
    def starts(self, i: int) -> None:
        if self.member(i) is None:
            self.members[i % self.count] = self.started(i % self.count)

    # The laws

    @invariant()
    def a_term_has_one_leader(self) -> None:
        for raft in getattr(self, "members", ()):
            if raft is not None and raft.role == "leader":
                assert self.leaders.setdefault(raft.term, raft.identity) == raft.identity

    @invariant()
    def logs_that_agree_somewhere_agree_before(self) -> None:
        living = [raft for raft in getattr(self, "members", ()) if raft is not None]
        for one in living:
            for other in living:
                if one.identity >= other.identity:
                    continue
                low = max(one.log.snapshot.index, other.log.snapshot.index) + 1
                high = min(one.log.last_index, other.log.last_index)
                agree = False
                for index in range(high, low - 1, -1):
                    a, b = one.log.after(index - 1, 1)[0], other.log.after(index - 1, 1)[0]
                    agree = agree or a.term == b.term
                    assert not agree or a == b

    @invariant()
    def a_leader_has_all_that_was_ever_applied(self) -> None:
        living = [raft for raft in getattr(self, "members", ()) if raft is not None]
        newest = max((r for r in living if r.role == "leader"), key=lambda r: r.term, default=None)
        if newest is None or any(term > newest.term for term in self.leaders):
            return
        for index, (term, _) in self.applied.items():
            if index > newest.log.snapshot.index and term <= newest.term:
                assert newest.log.term(index) == term


Members.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestMembers = Members.TestCase
