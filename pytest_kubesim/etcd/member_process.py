"""A member as a process: raft, write-ahead log and store, driven by ticks and messages.

Law: what ``Ready`` says is done in its order, one at a time: while a sync is under way nothing else
is written, no tick counts but the last (as upstream, whose loop waits for the disk), messages are
taken and wait. What is committed is applied at once. A crash loses all that is in memory and the
unsynced end of the log; a start reads the disk and applies anew what is committed.

Follows ``server/etcdserver/raft.go``, ``server.go``, ``v3_server.go`` and ``read/read.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pytest_kubesim.etcd.member import Member
from pytest_kubesim.etcd.messages import (
    NO_LEASE,
    ErrConnectionLost,
    ErrLeaderChanged,
    ErrLeaseNotFound,
    ErrNotLeader,
    ErrProposalDropped,
    ErrTimeout,
    ErrTimeoutDueToConnectionLost,
    ErrTimeoutDueToLeaderFail,
    ErrTooManyRequests,
    EtcdError,
    LeaseGrantRequest,
)
from pytest_kubesim.etcd.raft.log import RaftLog
from pytest_kubesim.etcd.raft.messages import NONE, Message, Snapshot
from pytest_kubesim.etcd.raft.raft import ELECTION_TICKS, Raft
from pytest_kubesim.etcd.wal import WAL
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.disk import Disk, DiskFull
from pytest_kubesim.sim.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.etcd.group import Group
    from pytest_kubesim.etcd.group_client import GroupClient
    from pytest_kubesim.etcd.messages import ApplyResponse, InternalRaftRequest, StatusResponse
    from pytest_kubesim.etcd.raft.messages import Entry, Ready
    from pytest_kubesim.sim.kernel import Timer
    from pytest_kubesim.sim.tasks import Future

TICK_NS = NS // 10
"""The heartbeat interval (``--heartbeat-interval``)."""
ELECTION_NS = ELECTION_TICKS * TICK_NS
"""The election timeout (``--election-timeout``)."""
REQUEST_TIMEOUT_NS = 5 * NS + 2 * ELECTION_NS
"""How long a member waits for agreement (``ReqTimeout``)."""
READ_RETRY_NS = NS // 2
"""After how long a member asks again from where it may read (``readIndexRetryTime``)."""
NO_LEADER_NS = 3 * ELECTION_NS
"""After how long without a leader watches end (``maxNoLeaderCnt``)."""
MAX_GAP = 5000
"""How much may be committed and not applied (``maxGapBetweenApplyAndCommitIndex``)."""
SNAPSHOT_COUNT = 10_000
"""After how many entries the log on the disk begins anew (``--snapshot-count``)."""
CATCH_UP_ENTRIES = 5000
"""How many entries are kept in memory for followers that are behind."""
COMPACTION_COUNT = 100
"""How often the log in memory is compacted, in entries (``memorySnapshotCount``)."""

Key = tuple[int, int, int]
"""Which request: of which member, in which of its lives, the how-many-eth."""


class MemberProcess:
    """One member of a group.

    ``process`` may be crashed, paused and started like any other; ``member`` is what it has in
    memory (a new one after each start); ``disk`` is what it keeps.
    """

    def __init__(self, group: Group, number: int, disk: Disk) -> None:
        self.group = group
        self.number = number
        self.name = f"etcd-{number}"
        self.host = self.name
        self.disk = disk
        self.wal = WAL(disk)
        self.process = Process(group.kernel, self.name, self._main, host=self.host)
        self.process.on_exit.append(self._died)
        self.lead = NONE
        """Whom it takes for the leader."""
        self.no_leader_since_ns = 0
        self.followers: dict[GroupClient, Callable[[Entry], None]] = {}
        """Who hears of each entry as it is applied."""
        self._kernel = group.kernel
        self._booted = 0
        self._busy = False
        self._missed_tick = False
        self._tick_timer: Timer | None = None
        self._lease_timer: Timer | None = None
        self._elected_ns = 0
        self._start_ns = 0
        self._made = 0
        self._forget()
        self.member = self._new_member()
        self.raft = self._new_raft()

    # -- its life -----------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether its process runs and is not paused."""
        return self.process.running

    @property
    def is_leader(self) -> bool:
        """Whether it takes itself for the leader."""
        return self.process.alive and self.raft.role == "leader"

    @property
    def busy(self) -> bool:
        """Whether it waits for its disk."""
        return self._busy

    @property
    def term(self) -> int:
        """The term that it knows."""
        return self.raft.term

    @property
    def applied_index(self) -> int:
        """How far its store is, as an index of the log."""
        return self.raft.log.applied

    def start(self) -> None:
        """Start it (again) from what is on its disk; nothing if it is alive."""
        self.process.start()
        self._boot()

    def crash(self) -> None:
        """End it at this instant, as SIGKILL or a power cut does."""
        self.process.crash()

    async def _main(self, process: Process) -> None:
        del process
        self._boot()
        await self._kernel.future()

    def _boot(self) -> None:
        process = self.process
        if self._booted == process.incarnation or not process.alive:
            return
        self._booted = process.incarnation
        self._start_ns = self._kernel.now_ns + self._kernel.rng.below(
            TICK_NS, "etcd tick", self.name, process.incarnation
        )
        self.no_leader_since_ns = self._kernel.now_ns
        self.lead = NONE
        self._busy = self._missed_tick = False
        self.member = self._new_member()
        self.raft = self._new_raft()
        self.arm_tick()
        self.pump()

    def _new_member(self) -> Member:
        return Member(
            member_id=self.number,
            clock=lambda: self._kernel.now_ns,
            proposer=self,
            consult=self.group.consult,
            value_size=self.group.value_size,
        )

    def _new_raft(self) -> Raft:
        snapshot, hard_state, entries = self.wal.load()
        if snapshot.data is not None:
            self.member.restore(snapshot.data)
            self.member.lessor.demote()
        life, rng = self.process.incarnation, self._kernel.rng

        def jitter(count: int) -> int:
            return ELECTION_TICKS + rng.below(
                ELECTION_TICKS, "etcd election", self.name, life, count
            )

        return Raft(
            self.number,
            self.group.numbers,
            jitter,
            log=RaftLog(Snapshot(snapshot.index, snapshot.term), entries),
            hard_state=hard_state,
            applied=snapshot.index,
        )

    def _forget(self) -> None:
        self._waiting: dict[Key, Future[Any]] = {}
        self._unproposed: dict[Key, InternalRaftRequest] = {}
        self._reading: list[Future[Any]] = []
        self._next_reading: list[Future[Any]] = []
        self._read_contexts: set[Key] = set()
        self._read_timer: Timer | None = None
        self._read_until_ns = 0
        self._applying: list[tuple[int, Future[Any]]] = []

    def _died(self, process: Process) -> None:
        del process
        for timer in (self._tick_timer, self._lease_timer, self._read_timer):
            if timer is not None:
                timer.cancel()
        waiting = [
            *self._waiting.values(),
            *self._reading,
            *self._next_reading,
            *(future for _, future in self._applying),
        ]
        self._forget()
        for future in waiting:
            if not future.done():
                future.set_exception(ErrConnectionLost())
        self.followers.clear()
        self.disk.crash()
        self.lead = NONE

    # -- time ---------------------------------------------------------------------------------

    def arm_tick(self) -> None:
        """Let ticks come, at the times at which they would have come anyway."""
        timer = self._tick_timer
        if (timer is not None and not timer.cancelled) or not self.process.alive:
            return
        since = (self._kernel.now_ns - self._start_ns) % TICK_NS
        self._tick_timer = self.process.call_later(
            TICK_NS - since, self._tick, periodic=True, label=f"{self.name}: tick"
        )

    def prepare(self, snapshot: Snapshot) -> None:
        """Have a disk with nothing but a snapshot on it; it must not be alive."""
        self.wal.create(snapshot)
        self.member = self._new_member()
        self.raft = self._new_raft()

    @property
    def leaderless(self) -> bool:
        """Whether it has had no leader for three election timeouts."""
        return (
            self.lead == NONE and self._kernel.now_ns - self.no_leader_since_ns >= NO_LEADER_NS
        )

    def watch_for_leader(self) -> None:
        """It has no leader; watches end when that has lasted for three election timeouts."""
        if self.leaderless:
            for follower in list(self.followers):
                follower.lost_leader()

    def rest(self) -> None:
        """Let no more ticks come."""
        if self._tick_timer is not None:
            self._tick_timer.cancel()

    def ticks_between(self, start_ns: int, end_ns: int) -> int:
        """How many ticks come after `start_ns` and not after `end_ns`."""
        return (end_ns - self._start_ns) // TICK_NS - (start_ns - self._start_ns) // TICK_NS

    def last_tick_ns(self, now_ns: int) -> int:
        """When the last tick came, or would have come."""
        return now_ns - (now_ns - self._start_ns) % TICK_NS

    def _tick(self) -> None:
        self._tick_timer = None
        self.arm_tick()
        if self._busy:
            self._missed_tick = True
            return
        self.raft.tick()
        self.pump()
        self.group.ticked(self)

    # -- raft ---------------------------------------------------------------------------------

    def receive(self, message: Message) -> None:
        """A message of another member has arrived."""
        process = self.process
        if process.paused:
            process.defer(self.receive, message)
        elif not process.running or self._booted != process.incarnation:
            self.group.lost(message)
        else:
            self.raft.step(message)
            if message.type == "MsgSnap":
                self.group.delivered(message)
            self.pump()

    def pump(self) -> None:
        """Do what raft has to be done, until it waits for the disk or for others."""
        raft = self.raft
        self._heed_leader()
        while not self._busy and raft.has_ready():
            self._busy = True
            ready = raft.ready()
            leading = raft.role == "leader"
            if ready.reads:
                self._confirm_reads(ready)
            self._apply(ready.committed)
            if leading:
                self.group.send(self, ready.messages)
            try:
                self._keep(ready)
            except DiskFull:
                # Upstream ends itself: what it cannot keep it must not promise.
                self.process.crash()
                return
            if self.group.booting:
                self.disk.flush()
            elif ready.must_sync and not self.disk.sync(
                self.process, self._synced, raft, ready, leading
            ):
                return
            self._done(ready, leading=leading)

    def _synced(self, raft: Raft, ready: Ready, leading: bool) -> None:
        if raft is self.raft:
            self._done(ready, leading=leading)
            self.pump()

    def _keep(self, ready: Ready) -> None:
        if ready.snapshot is not None:
            snapshot = ready.snapshot
            self.member.restore(snapshot.data)
            self.member.lessor.demote()
            while self.member.store.sync_watchers():
                pass
            self.wal.save_snapshot(snapshot, self.raft.hard_state)
        self.wal.save(ready)

    def _done(self, ready: Ready, *, leading: bool) -> None:
        if not leading:
            self.group.send(self, ready.messages)
        self.group.send(self, ready.responses)
        self.raft.advance(ready)
        self._busy = False
        if ready.snapshot is not None:
            self.group.restored(self, ready.snapshot)
            self._wake_readers()
        if ready.committed:
            self._trim()
        if self._missed_tick:
            self._missed_tick = False
            self.raft.tick()
        self._heed_leader()

    def _trim(self) -> None:
        applied, log = self.raft.log.applied, self.raft.log
        if applied - log.snapshot.index >= CATCH_UP_ENTRIES + COMPACTION_COUNT:
            self.raft.compact(applied - CATCH_UP_ENTRIES)
        if applied - self.wal.snapshot_index >= SNAPSHOT_COUNT:
            stable = log.after(applied, log.stable - applied) if log.stable > applied else ()
            self.wal.save_snapshot(self.snapshot(), self.raft.hard_state, stable)

    def snapshot(self) -> Snapshot:
        """All that is applied, as raft's snapshot."""
        applied = self.raft.log.applied
        return Snapshot(applied, self.raft.log.term(applied) or 0, self.member.snapshot())

    def _heed_leader(self) -> None:
        raft, lead = self.raft, self.raft.lead
        if raft.role != "leader" and self.member.lessor.primary:
            self.member.lessor.demote()
        if lead == self.lead:
            return
        self.lead = lead
        now_ns = self._kernel.now_ns
        if lead == NONE:
            self.no_leader_since_ns = now_ns
        else:
            self._elected_ns = now_ns
            self._fail_reads(ErrLeaderChanged())
            self._propose_waiting()
        self.group.leader_changed(self)

    # -- applying -----------------------------------------------------------------------------

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            if entry.data is None:
                self._begin_term()
            else:
                key, request = entry.data
                outcome = self._apply_request(request)
                waiting = self._waiting.pop(key, None)
                if waiting is not None and not waiting.done():
                    if isinstance(outcome, EtcdError):
                        waiting.set_exception(outcome)
                    else:
                        waiting.set_result(outcome)
            self.member.applied_index = entry.index
            # Before `advance` says so: who reads now reads this.
            self.raft.log.applied_to(entry.index)
            self.group.applied(entry)
            for follow in list(self.followers.values()):
                follow(entry)
        if entries:
            if self._applying:
                self._wake_readers()
            if self.member.lessor.primary:
                self._arm_leases()

    def _apply_request(self, request: InternalRaftRequest) -> ApplyResponse | EtcdError:
        try:
            return self.member.apply(request)
        except EtcdError as error:
            return error

    def _begin_term(self) -> None:
        """The entry that a leader begins its term with is committed."""
        raft, lessor = self.raft, self.member.lessor
        if raft.role == "leader" and raft.committed_in_term() and not lessor.primary:
            lessor.promote(self._kernel.now_ns, ELECTION_NS)
            self._arm_leases()
        if self._reading:
            self._ask_to_read()

    # -- leases -------------------------------------------------------------------------------

    def _arm_leases(self) -> None:
        deadline_ns = self.member.lessor.next_deadline_ns()
        if deadline_ns is None:
            return
        timer = self._lease_timer
        if timer is not None and not timer.cancelled:
            if timer.time_ns <= deadline_ns:
                return
            timer.cancel()
        self._lease_timer = self.process.call_later(
            max(0, deadline_ns - self._kernel.now_ns),
            self._leases_due,
            periodic=True,
            label=f"{self.name}: leases expire",
        )

    def _leases_due(self) -> None:
        self._lease_timer = None
        self.process.spawn(self._expire_leases(), name="leases expire", daemon=True)

    async def _expire_leases(self) -> None:
        if not self.member.lessor.primary:
            return
        try:
            # Who was frozen or cut off may lead no longer without knowing it; others have extended
            # the leases since (`ensureLeadership`).
            await self.read_index()
            if self.is_leader:
                await self.member.tick()
        except EtcdError:
            pass
        if self.member.lessor.primary:
            self._arm_leases()

    async def renew(self, lease_id: int) -> int:
        """Begin a lease again, here if it leads; returns its TTL in seconds, 0 if it is gone.

        Raises ``ErrNotLeader`` if it does not lead.
        """
        if not self.is_leader:
            raise ErrNotLeader
        try:
            return await self.member.lease_renew(lease_id)
        except ErrLeaseNotFound:
            return 0

    def with_lease_id(self, request: LeaseGrantRequest) -> LeaseGrantRequest:
        """The request with an id that no member has ever chosen, if it has none."""
        if request.id != NO_LEASE:
            return request
        self._made += 1
        life = (self.number << 16) + (self.process.incarnation & 0xFFFF)
        return msgspec.structs.replace(request, id=(life << 32) + self._made)

    # -- proposing (`member.Proposer`) --------------------------------------------------------

    async def propose(self, request: InternalRaftRequest, /) -> ApplyResponse:
        """Have a request agreed upon and applied; waits for a leader where there is none.

        Raises ``ErrTimeout`` and its kin after 7 s, ``ErrTooManyRequests``, ``ErrProposalDropped``,
        ``ErrConnectionLost`` when the member ends.
        """
        log = self.raft.log
        if log.committed - log.applied > MAX_GAP:
            raise ErrTooManyRequests
        key = self._next_key()
        kernel = self._kernel
        answer: Future[Any] = kernel.future()
        self._waiting[key] = answer
        start_ns = kernel.now_ns
        timer = self.process.call_later(
            REQUEST_TIMEOUT_NS, self._timed_out, key, start_ns, label=f"{self.name}: a request"
        )
        try:
            if self.lead == NONE:
                self._unproposed[key] = request
            elif not self.raft.propose((key, request)):
                raise ErrProposalDropped
            else:
                self.pump()
            return await answer
        finally:
            timer.cancel()
            self._waiting.pop(key, None)
            self._unproposed.pop(key, None)

    def _next_key(self) -> Key:
        self._made += 1
        return (self.number, self.process.incarnation, self._made)

    def _propose_waiting(self) -> None:
        unproposed, self._unproposed = self._unproposed, {}
        for key, request in unproposed.items():
            self.raft.propose((key, request))

    def _timed_out(self, key: Key, start_ns: int) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(self._why(start_ns))

    def _why(self, start_ns: int) -> EtcdError:
        """Why there was no agreement (`parseProposeCtxErr`)."""
        if self._elected_ns - 2 * ELECTION_NS < start_ns < self._elected_ns:
            return ErrTimeoutDueToLeaderFail()
        if self.lead != NONE and not self.group.connected(self, self.lead):
            return ErrTimeoutDueToConnectionLost()
        return ErrTimeout()

    # -- reading (`member.Proposer`) ----------------------------------------------------------

    async def read_index(self) -> int:
        """Wait until what is applied here has all that was committed when this was called.

        Raises ``ErrLeaderChanged``, ``ErrTimeout`` after 7 s.
        """
        known = self.group.certain_index(self)
        if known is None:
            answer: Future[int] = self._kernel.future()
            self._next_reading.append(answer)
            if not self._reading:
                self._begin_reading()
            known = await answer
        if self.raft.log.applied < known:
            gate: Future[Any] = self._kernel.future()
            self._applying.append((known, gate))
            await gate
        return known

    def _begin_reading(self) -> None:
        """One question serves all who wait when it is asked."""
        self._reading, self._next_reading = self._next_reading, []
        self._read_contexts = set()
        self._read_until_ns = self._kernel.now_ns + REQUEST_TIMEOUT_NS
        self._ask_to_read()
        self.pump()

    def _ask_to_read(self) -> None:
        context = self._next_key()
        self._read_contexts.add(context)
        self.raft.read_index(context)
        if self._read_timer is not None:
            self._read_timer.cancel()
        left_ns = self._read_until_ns - self._kernel.now_ns
        self._read_timer = self.process.call_later(
            min(READ_RETRY_NS, left_ns), self._read_again, label=f"{self.name}: a read"
        )

    def _read_again(self) -> None:
        if self._kernel.now_ns >= self._read_until_ns:
            self._fail_reads(ErrTimeout())
        else:
            self._ask_to_read()
        self.pump()

    def _confirm_reads(self, ready: Ready) -> None:
        for read in ready.reads:
            if read.context in self._read_contexts:
                for reader in self._end_reading():
                    if not reader.done():
                        reader.set_result(read.index)

    def _fail_reads(self, error: EtcdError) -> None:
        for reader in self._end_reading():
            if not reader.done():
                reader.set_exception(error)

    def _end_reading(self) -> list[Future[Any]]:
        reading, self._reading = self._reading, []
        self._read_contexts = set()
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None
        if self._next_reading:
            self._kernel.call_soon(self._begin_next_reading)
        return reading

    def _begin_next_reading(self) -> None:
        if self._next_reading and not self._reading and self.process.alive:
            self._begin_reading()

    def _wake_readers(self) -> None:
        applied = self.raft.log.applied
        waiting, self._applying = self._applying, []
        for index, gate in waiting:
            if index > applied:
                self._applying.append((index, gate))
            elif not gate.done():
                gate.set_result(None)

    # -- what it says of itself ---------------------------------------------------------------

    async def status(self) -> StatusResponse:
        """As ``Member.status``, with what raft knows."""
        found = await self.member.status()
        return msgspec.structs.replace(
            found, leader=self.lead, raft_term=self.raft.term, raft_index=self.raft.log.committed
        )
