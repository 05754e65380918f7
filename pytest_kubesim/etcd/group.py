"""Several members that agree: their processes, disks, and what they say to each other.

Law of calm: heartbeats are sent only while they could matter. A group is *calm* when one leader is
followed by a majority, itself included, over ways that lose nothing and with disks, both quick
compared to an election, nothing that was sent to them is missing, and whoever is not of them is
dead, frozen, or cut off from all of them in both directions. Of a calm group heartbeats change
nothing: each resets the followers' election timeouts long before they pass, each is answered long
before the leader checks its quorum, and what is proposed or asked is sent at once and not with
heartbeats. So no ticks come. Every event that can end the calm (a process, a way or a disk changes,
leadership moves) is told to the group, which then puts each member where the ticks that did not
come would have put it: a follower has counted what ticks came since the leader's last heartbeat,
the leader those since its last check of the quorum, and ticks come again at the times at which they
would have come. The next tick of the leader finds out whether it is calm again.

For example, three members and nothing to do: no event in an hour. The leader crashes: ticks of the
two others, 10 to 20 of them, then an election.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pytest_kubesim.etcd.channel import Channel
from pytest_kubesim.etcd.group_client import GroupClient
from pytest_kubesim.etcd.member import Member
from pytest_kubesim.etcd.member_process import ELECTION_NS, TICK_NS, MemberProcess
from pytest_kubesim.etcd.messages import AlarmRequest, EtcdError
from pytest_kubesim.etcd.raft import quorum
from pytest_kubesim.etcd.raft.messages import NONE, Message, Snapshot
from pytest_kubesim.etcd.raft.raft import ELECTION_TICKS
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.disk import Disk
from pytest_kubesim.sim.tasks import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_kubesim.etcd.member import MemberSnapshot
    from pytest_kubesim.etcd.messages import AlarmType, HashKVResponse
    from pytest_kubesim.etcd.mvcc.watchable_store import WatchableStore
    from pytest_kubesim.etcd.raft.messages import Entry
    from pytest_kubesim.sim.faultpoints import FaultPoints
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.network import Network
    from pytest_kubesim.sim.process import Process

FSYNC_NS = (500_000, 2_000_000)
"""How long a disk takes to sync, unless the cluster is instant: 0.5 to 2 ms."""
QUICK_NS = 3 * TICK_NS
"""What takes no longer than this cannot bring about an election."""
PATIENCE_NS = 5 * NS
"""After which time without a sign members give a connection up (``ConnReadTimeout``)."""


class Group:
    """The members ``etcd-1`` to ``etcd-<count>``, each a process on a host of its name.

    ``instant`` is "disks take no time"; ``value_size`` gives the bytes of a value, for
    ``ErrRequestTooLarge``.
    """

    def __init__(
        self,
        kernel: Kernel,
        network: Network,
        faultpoints: FaultPoints | None,
        count: int,
        *,
        instant: bool = False,
        value_size: Callable[[Any], int] | None = None,
    ) -> None:
        self.kernel = kernel
        self.network = network
        self.value_size = value_size
        self.numbers = tuple(range(1, count + 1))
        self.changed = Event(kernel)
        """Set for a moment when a process or a way has changed."""
        self.observer = Member(clock=lambda: kernel.now_ns, proposer=_Outsider(self))
        """A member that is none: it applies each entry when the first of the members does."""
        self.on_leader: list[Callable[[MemberProcess], object]] = []
        """Called with a member that follows another leader, or none, or leads."""
        self.on_restore: list[Callable[[], object]] = []
        """Called when all have begun anew from a snapshot, before they start."""
        self._faultpoints = faultpoints
        self._calm: tuple[MemberProcess, ...] = ()
        self._calm_since_ns = 0
        self._observed_index = 0
        self._clients: list[GroupClient] = []
        self._booting: list[Message] | None = None
        latency_ns = (0, 0) if instant else FSYNC_NS
        self._by_number = {
            number: MemberProcess(
                self,
                number,
                Disk(kernel, f"etcd-{number}", latency_ns, faultpoints=faultpoints),
            )
            for number in self.numbers
        }
        self.members = {member.name: member for member in self._by_number.values()}
        self._channels = {
            (source.number, target.number): Channel(
                kernel,
                network,
                source.host,
                target.host,
                patience_ns=PATIENCE_NS,
                lost=self.lost,
            )
            for source in self._by_number.values()
            for target in self._by_number.values()
            if source is not target
        }
        self._prepare(Snapshot())
        network.on_change.append(self._network_changed)
        for member in self._by_number.values():
            member.process.on_change.append(self._process_changed)
            member.disk.on_change.append(self.wake)

    # -- its life -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start all members; one of them, which one is drawn, leads already when this returns."""
        self._booting = []
        for member in self._by_number.values():
            member.start()
        first = self.kernel.rng.choice(self.numbers, "etcd first leader", len(self._clients))
        self._by_number[first].raft.step(Message("MsgHup", source=first))
        self._by_number[first].pump()
        while self._booting:
            message = self._booting.pop(0)
            self._by_number[message.to].receive(message)
        self._booting = None
        self._settle()

    @property
    def booting(self) -> bool:
        """Whether all this happens before time begins."""
        return self._booting is not None

    def close(self) -> None:
        """End all members for good."""
        for member in self._by_number.values():
            member.process.stop()

    @property
    def leader(self) -> MemberProcess | None:
        """The running member that leads; of two that believe so the one of the later term."""
        found = [m for m in self._by_number.values() if m.running and m.is_leader]
        return max(found, key=lambda member: member.term, default=None)

    def of(self, number: int) -> MemberProcess:
        """The member of a number."""
        return self._by_number[number]

    # -- what is stored -----------------------------------------------------------------------

    @property
    def observed(self) -> WatchableStore:
        """What is stored, as of the newest entry that any member has applied."""
        return self.observer.store

    @property
    def observed_index(self) -> int:
        """How far that is, as an index of the log."""
        return self._observed_index

    def applied(self, entry: Entry) -> None:
        """A member has applied an entry."""
        if entry.index <= self._observed_index:
            return
        self._observed_index = entry.index
        if entry.data is not None:
            try:
                self.observer.apply(entry.data[1])
            except EtcdError:
                # It is refused by all alike.
                pass

    def restored(self, member: MemberProcess, snapshot: Snapshot) -> None:
        """A member has begun anew from a snapshot that the leader sent."""
        for client in self._clients:
            client.resync(member)
        if snapshot.index > self._observed_index:
            self._observe(snapshot)

    def snapshot(self) -> MemberSnapshot:
        """All that the newest member keeps (``etcdctl snapshot save``)."""
        newest = max(self._by_number.values(), key=lambda member: member.applied_index)
        return newest.member.snapshot()

    def restore(self, snapshot: MemberSnapshot) -> None:
        """Have all members begin anew with what a snapshot holds.

        Before ``start`` that is the beginning. Later it is what an operator does after a disaster:
        all members stop, their data is replaced, all start again. Whoever watches from a revision
        that is ahead of it now hears nothing until the store has come so far.
        """
        started = [member for member in self._by_number.values() if member.process.alive]
        for member in started:
            member.process.stop()
        self._prepare(Snapshot(max(1, snapshot.applied_index), 1, snapshot))
        for client in self._clients:
            client.begin_anew()
        for listener in self.on_restore:
            listener()
        if started:
            self.start()

    def _prepare(self, snapshot: Snapshot) -> None:
        for member in self._by_number.values():
            member.prepare(snapshot)
        self._observe(snapshot)

    def _observe(self, snapshot: Snapshot) -> None:
        self._observed_index = snapshot.index
        if snapshot.data is not None:
            self.observer.restore(snapshot.data)
            self.observer.lessor.demote()
            while self.observer.store.sync_watchers():
                pass

    def hash_kv(
        self, revision: int = 0, *, encode: Callable[[Any], bytes] = bytes
    ) -> dict[str, HashKVResponse]:
        """By name of each member that is alive, ``Member.hash_kv``: equal if they agree."""
        return {
            member.name: member.member.hash_kv(revision, encode=encode)
            for member in self._by_number.values()
            if member.process.alive
        }

    # -- what is asked of it ------------------------------------------------------------------

    def client(self, process_name: str, host: str) -> GroupClient:
        """A client for a process on a host, connected to one member: round robin."""
        client = GroupClient(self, process_name, host, len(self._clients))
        self._clients.append(client)
        return client

    async def alarm(self, alarm: AlarmType, *, activate: bool = True) -> None:
        """Raise or clear an alarm on all members, as a member without space does."""
        action = "ACTIVATE" if activate else "DEACTIVATE"
        await self.observer.proposer.propose(AlarmRequest(action, alarm))

    def transfer_leadership(self, to: str) -> None:
        """Have a member lead (``etcdctl move-leader``); nothing if there is no leader."""
        leader = self.leader
        if leader is not None:
            self.wake()
            leader.raft.transfer_leadership(self.members[to].number)
            leader.pump()

    @property
    def consult(self) -> Callable[[str, dict[str, Any]], Any] | None:
        """How members ask whether a fault strikes."""
        faultpoints = self._faultpoints
        if faultpoints is None:
            return None
        return lambda name, attributes: faultpoints.consult(name, **attributes)

    # -- what members say to each other -------------------------------------------------------

    def send(self, source: MemberProcess, messages: Iterable[Message]) -> None:
        """Carry messages of a member to the others."""
        for message in messages:
            if message.type == "MsgSnap":
                message = msgspec.structs.replace(message, snapshot=source.snapshot())
            if self._booting is not None:
                self._booting.append(message)
                continue
            target = self._by_number[message.to]
            self._channels[source.number, target.number].send(target.receive, message)

    def lost(self, message: Message) -> None:
        """A message did not arrive: its sender hears of it, as of a broken connection."""
        sender = self._by_number[message.source]
        if sender.is_leader and message.type in ("MsgApp", "MsgHeartbeat", "MsgSnap"):
            sender.raft.report_unreachable(message.to)
            if message.type == "MsgSnap":
                sender.raft.report_snapshot(message.to, failed=True)

    def delivered(self, message: Message) -> None:
        """A snapshot has arrived."""
        sender = self._by_number[message.source]
        if sender.process.alive:
            sender.raft.report_snapshot(message.to, failed=False)
            self.kernel.call_soon(sender.pump)

    def connected(self, member: MemberProcess, lead: int) -> bool:
        """Whether a member reaches its leader, or as the leader a majority."""
        if lead != member.number:
            return self._reaches(member, self._by_number[lead])
        reached = sum(
            other is member or self._reaches(member, other) for other in self._by_number.values()
        )
        return reached >= quorum.size(len(self.numbers))

    def _reaches(self, one: MemberProcess, other: MemberProcess) -> bool:
        reachable = self.network.reachable
        return (
            other.process.alive
            and reachable(one.host, other.host)
            and reachable(other.host, one.host)
        )

    # -- calm ---------------------------------------------------------------------------------

    @property
    def calm(self) -> bool:
        """Whether no heartbeats are needed now."""
        return bool(self._calm)

    def certain_index(self, member: MemberProcess) -> int | None:
        """From where a member may read, if asking the leader would take no time; else ``None``."""
        if member not in self._calm:
            return None
        leader = self._by_number[member.lead]
        network = self.network
        if leader.busy or member.busy or not leader.raft.committed_in_term():
            return None
        if network.latency_ns[1] or not all(
            network.instant(leader.host, each.host) and network.instant(each.host, leader.host)
            for each in self._calm
        ):
            return None
        return leader.raft.log.committed

    def ticked(self, member: MemberProcess) -> None:
        """A tick of a member has been dealt with."""
        if member.is_leader and not self._calm:
            self._settle()
        elif member.lead == NONE:
            member.watch_for_leader()

    def leader_changed(self, member: MemberProcess) -> None:
        """A member follows another leader, or none."""
        for listener in self.on_leader:
            listener(member)
        if self.booting:
            return
        if member in self._calm:
            self.wake()
        self.kernel.journal.record(
            "etcd",
            member.name,
            what="leader",
            leader=f"etcd-{member.lead}" if member.lead != NONE else "",
            term=member.term,
        )

    def wake(self) -> None:
        """Something has changed: let ticks come again."""
        calm, self._calm = self._calm, ()
        if not calm:
            return
        now_ns, since_ns = self.kernel.now_ns, self._calm_since_ns
        # The leader stands first.
        leader = calm[0]
        raft = leader.raft
        heartbeat_ns = max(leader.last_tick_ns(now_ns), since_ns)
        passed = leader.ticks_between(since_ns, now_ns)
        raft.election_elapsed = (raft.election_elapsed + passed) % ELECTION_TICKS
        followers = {member.number for member in calm}
        for number, progress in raft.progress.items():
            if number in followers:
                progress.recent_active = True
            elif passed >= ELECTION_TICKS:
                progress.recent_active = False
        for member in calm:
            if member is not leader:
                member.raft.election_elapsed = member.ticks_between(heartbeat_ns, now_ns)
            member.arm_tick()

    def _settle(self) -> None:
        """Let no more ticks come to the members that need none."""
        calm = self._calm_members()
        if calm:
            self._calm = calm
            self._calm_since_ns = self.kernel.now_ns
            for member in calm:
                member.rest()

    def _calm_members(self) -> tuple[MemberProcess, ...]:
        leader = self.leader
        if leader is None or leader.raft.transferee != NONE:
            return ()
        followers = (m for m in self._by_number.values() if m is not leader)
        calm = (leader, *(m for m in followers if self._follows(m, leader)))
        if len(calm) < quorum.size(len(self.numbers)) or not all(map(self._is_quick, calm)):
            return ()
        reachable = self.network.reachable
        for other in self._by_number.values():
            if other in calm or not other.process.running:
                continue
            for member in calm:
                if reachable(member.host, other.host) or reachable(other.host, member.host):
                    return ()
        return calm

    def _follows(self, member: MemberProcess, leader: MemberProcess) -> bool:
        network = self.network
        return (
            member.running
            and member.term == leader.term
            and member.raft.lead == leader.number
            and leader.raft.progress[member.number].state == "replicate"
            and self._reaches(leader, member)
            and network.latency(leader.host, member.host)[1] <= QUICK_NS
            and network.latency(member.host, leader.host)[1] <= QUICK_NS
            and not network.loses(leader.host, member.host)
            and not network.loses(member.host, leader.host)
        )

    def _is_quick(self, member: MemberProcess) -> bool:
        faultpoints = self._faultpoints
        return member.disk.latency_ns[1] <= QUICK_NS and not (
            faultpoints is not None and faultpoints.armed("disk.sync")
        )

    # -- what changes around it ---------------------------------------------------------------

    def _network_changed(self) -> None:
        self.wake()
        for channel in self._channels.values():
            channel.heal()
        self._tell()

    def _process_changed(self, process: Process) -> None:
        del process
        self.wake()
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed.clear()
        for client in self._clients:
            client.look()


class _Outsider:
    """Proposes on behalf of nobody in particular: an operator at any member that leads."""

    def __init__(self, group: Group) -> None:
        self._group = group

    async def propose(self, request: Any, /) -> Any:
        """As ``Proposer.propose``, by the leader."""
        group = self._group
        while (leader := group.leader) is None:
            await group.kernel.sleep(ELECTION_NS)
        return await leader.propose(request)

    async def read_index(self) -> int:
        """As ``Proposer.read_index``, by the leader."""
        group = self._group
        while (leader := group.leader) is None:
            await group.kernel.sleep(ELECTION_NS)
        return await leader.read_index()

