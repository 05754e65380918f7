"""How the API server speaks to several etcd members: a client that fails over between them.

Law: a client is connected to one member; requests go there and what it watches comes from there,
over one connection, in order, so it never sees an answer before what it watches has shown the
change. A connection ends when the member ends, or when nothing was heard over it for 40 s
(keep-alive: 30 s until it asks, 10 s until it gives up). Then the next member that can be reached
is connected to, watches go on from where they were, and what was asked and not answered fails.
Reads are asked again, for as long as their caller waits; writes are not: they may have been done.

Upstream's client balances requests over all endpoints (round robin); this one stays with its
member. Clients begin with different members, in the order in which they are made. Follows
``client/v3``: ``retry_interceptor.go``, ``retry.go``, ``watch.go``, and the keep-alive times that
``storagebackend/factory/etcd3.go`` sets.

``member`` is what this client has seen so far, as a member that is none: a member that lags or is
out of reach leaves it behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pytest_kubesim.etcd.channel import Channel
from pytest_kubesim.etcd.client import Client
from pytest_kubesim.etcd.member import Member
from pytest_kubesim.etcd.messages import (
    NO_LEASE,
    CompactionRequest,
    DeleteRangeRequest,
    ErrConnectionLost,
    ErrConnectionRefused,
    ErrDeadlineExceeded,
    ErrKeepAlive,
    ErrNoLeader,
    ErrNotLeader,
    EtcdError,
    LeaseGrantRequest,
    LeaseRevokeRequest,
    PutRequest,
    RangeRequest,
    TxnRequest,
    WatchResponse,
)
from pytest_kubesim.etcd.mvcc import kvstore_txn
from pytest_kubesim.etcd.raft import quorum
from pytest_kubesim.etcd.raft.messages import NONE
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from pytest_kubesim.etcd.group import Group
    from pytest_kubesim.etcd.member_process import MemberProcess
    from pytest_kubesim.etcd.messages import (
        CompactionResponse,
        Compare,
        DeleteRangeResponse,
        LeaseGrantResponse,
        LeaseRevokeResponse,
        LeaseTimeToLiveResponse,
        PutResponse,
        RangeResponse,
        RequestOp,
        StatusResponse,
        TxnResponse,
        WatchFilter,
    )
    from pytest_kubesim.etcd.mvcc.watchable_store import Watcher
    from pytest_kubesim.etcd.raft.messages import Entry
    from pytest_kubesim.sim.kernel import Timer
    from pytest_kubesim.sim.tasks import Future

T = TypeVar("T")

KEEP_ALIVE_NS = 40 * NS
READ_TIMEOUT_NS = 60 * NS
"""For how long the API server works at a request at most (``--request-timeout``)."""
WRITE_TIMEOUT_NS = 34 * NS
"""For how long it works at one that changes something (``requestTimeoutUpperBound``)."""
MAX_RETRIES = 100
BACKOFF_NS = NS // 40
"""How long is waited once a majority of members has been asked in vain: 25 ms, and 10 % jitter."""


class GroupClient(Client):
    """A client of a group, for the process `name` on `host`; `ordinal` is the how-many-eth."""

    def __init__(self, group: Group, name: str, host: str, ordinal: int) -> None:
        kernel = group.kernel
        view = Member(
            clock=lambda: kernel.now_ns, proposer=group.observer.proposer, consult=group.consult
        )
        super().__init__(view)
        self.name = name
        self.host = host
        self.index = 0
        """How far it has heard, as an index of the log."""
        self._group = group
        self._kernel = kernel
        self._ordinal = ordinal
        self._connected: MemberProcess | None = None
        self._connections = 0
        self._incarnation = 0
        self._broken: Future[Any] = kernel.future()
        self._channel: Channel | None = None
        self._keep_alive: Timer | None = None
        self._watching: dict[Watcher, None] = {}
        self._wanting: dict[Watcher, int] = {}
        self._retries = 0
        self.begin_anew()

    # -- the connection -----------------------------------------------------------------------

    @property
    def endpoint(self) -> MemberProcess | None:
        """The member it is connected to."""
        return self._connected

    @property
    def leaderless(self) -> bool:
        """As ``Client.leaderless``."""
        member = self._connected
        return member is None or member.leaderless

    def begin_anew(self) -> None:
        """Have seen what an observer of the group sees now, and connect."""
        group = self._group
        self._disconnect(ErrConnectionLost())
        self.member.restore(group.observer.snapshot())
        self.member.lessor.demote()
        while self.member.store.sync_watchers():
            pass
        self.index = group.observed_index
        self.look()

    def look(self) -> None:
        """Something has changed at the members or between hosts."""
        member = self._connected
        if member is not None:
            network = self._group.network
            there = network.reachable(self.host, member.host)
            back = network.reachable(member.host, self.host)
            if back and not self._lives(member):
                self._disconnect(ErrConnectionLost())
            else:
                self._mind(silent=not (there and back and member.running))
        if self._channel is not None:
            self._channel.heal()
        if self._connected is None:
            self._dial()

    def _lives(self, member: MemberProcess) -> bool:
        """Whether the process that was connected to still lives: its successor knows nothing."""
        process = member.process
        return process.alive and process.incarnation == self._incarnation

    def _mind(self, *, silent: bool) -> None:
        timer = self._keep_alive
        if not silent:
            if timer is not None:
                timer.cancel()
                self._keep_alive = None
        elif timer is None:
            self._keep_alive = self._kernel.call_later(
                KEEP_ALIVE_NS, self._gave_up, periodic=True, label=f"{self.name}: etcd keep-alive"
            )

    def _lost(self, connection: int, entry: Entry) -> None:
        """The connection has ended before an entry came."""
        del entry
        if connection == self._connections and self._connected is not None:
            self._gave_up()

    def _gave_up(self) -> None:
        self._disconnect(ErrKeepAlive())
        self._dial()

    def _disconnect(self, error: EtcdError) -> None:
        member, self._connected = self._connected, None
        if self._keep_alive is not None:
            self._keep_alive.cancel()
            self._keep_alive = None
        if member is None:
            return
        member.followers.pop(self, None)
        broken, self._broken = self._broken, self._kernel.future()
        broken.set_result(error)

    def _dial(self) -> None:
        """Connect to the first member that answers, beginning with this client's own."""
        group = self._group
        network, numbers = group.network, group.numbers
        for offset in range(len(numbers)):
            member = group.of(numbers[(self._ordinal + offset) % len(numbers)])
            if (
                member.running
                and network.reachable(self.host, member.host)
                and network.reachable(member.host, self.host)
            ):
                self._connect(member)
                return

    def _connect(self, member: MemberProcess) -> None:
        self._connections += 1
        self._connected = member
        self._incarnation = member.process.incarnation
        self._channel = Channel(
            self._kernel,
            self._group.network,
            member.host,
            self.host,
            patience_ns=KEEP_ALIVE_NS,
            lost=self._lost,
        )
        member.followers[self] = self._follow
        self.resync(member)

    def resync(self, member: MemberProcess) -> None:
        """Hear what the member has applied and this client has not heard of."""
        if member is not self._connected or member.applied_index <= self.index:
            return
        log = member.raft.log
        if self.index >= log.snapshot.index:
            for entry in log.after(self.index, member.applied_index - self.index):
                self._follow(entry)
            return
        snapshot = member.snapshot()
        self.member.restore(snapshot.data)
        self.member.lessor.demote()
        self.index = snapshot.index
        while self.member.store.sync_watchers():
            pass

    # -- what it watches ----------------------------------------------------------------------

    def _follow(self, entry: Entry) -> None:
        """The member has applied an entry: what it changes is on its way."""
        channel, member = self._channel, self._connected
        assert channel is not None
        assert member is not None
        if channel.idle and self._group.network.instant(member.host, self.host):
            self._hear(self._connections, entry)
        else:
            channel.send(self._hear, self._connections, entry, background=False)

    def _hear(self, connection: int, entry: Entry) -> None:
        if connection != self._connections or entry.index <= self.index:
            return
        assert entry.index == self.index + 1, "something was overtaken"
        self.index = entry.index
        if entry.data is not None:
            try:
                self.member.apply(entry.data[1])
            except EtcdError:
                # Refused by all alike.
                pass
        if self._wanting:
            self._tell_progress()

    def _tell_progress(self) -> None:
        now_ns = self._kernel.now_ns
        for watcher, until_ns in list(self._wanting.items()):
            if watcher.cancelled or now_ns > until_ns:
                del self._wanting[watcher]
            else:
                self.member.store.progress(watcher)

    def lost_leader(self) -> None:
        """The member has had no leader for three election timeouts: watches demand one."""
        watching, self._watching = self._watching, {}
        for watcher in watching:
            if not watcher.cancelled:
                watcher.cancel()
                watcher.callback(
                    WatchResponse(self.member.store.revision, error=ErrNoLeader())
                )

    async def watch(
        self,
        key: str,
        range_end: str = "",
        *,
        start_revision: int = 0,
        callback: Callable[[WatchResponse], object],
        prev_kv: bool = False,
        filters: Sequence[WatchFilter] = (),
    ) -> Watcher:
        """As ``Client.watch``; raises ``ErrNoLeader`` where the member has long known none."""
        member = self._connected
        if member is None:
            raise ErrConnectionRefused
        if member.leaderless:
            raise ErrNoLeader
        watcher = await super().watch(
            key,
            range_end,
            start_revision=start_revision,
            callback=callback,
            prev_kv=prev_kv,
            filters=filters,
        )
        if len(self._watching) > 256:
            self._watching = {each: None for each in self._watching if not each.cancelled}
        self._watching[watcher] = None
        return watcher

    async def request_progress(self, watcher: Watcher) -> bool:
        """As ``Client.request_progress``; it goes on to be told for the next three seconds."""
        self._wanting[watcher] = self._kernel.now_ns + 3 * NS
        return await super().request_progress(watcher)

    # -- what it asks -------------------------------------------------------------------------

    async def _read(self, ask: Callable[[MemberProcess], Coroutine[Any, Any, T]]) -> T:
        """Ask, and ask again as long as members cannot answer."""
        until_ns = self._kernel.now_ns + READ_TIMEOUT_NS
        for attempt in range(1, MAX_RETRIES + 1):
            try:
                return await self._once(ask, until_ns)
            except EtcdError as error:
                if error.code != "Unavailable" or attempt == MAX_RETRIES:
                    raise
            if attempt % quorum.size(len(self._group.numbers)) == 0:
                self._retries += 1
                await self._kernel.sleep(
                    self._kernel.rng.between_ns(
                        BACKOFF_NS * 9 // 10,
                        BACKOFF_NS * 11 // 10,
                        "etcd retry",
                        self.name,
                        self._retries,
                    )
                )
            if self._kernel.now_ns >= until_ns:
                break
        raise ErrDeadlineExceeded

    async def _write(self, ask: Callable[[MemberProcess], Coroutine[Any, Any, T]]) -> T:
        return await self._once(ask, self._kernel.now_ns + WRITE_TIMEOUT_NS)

    async def _once(
        self, ask: Callable[[MemberProcess], Coroutine[Any, Any, T]], until_ns: int
    ) -> T:
        member = self._connected
        if member is None:
            raise ErrConnectionRefused
        network, broken = self._group.network, self._broken
        if not member.running or not network.instant(self.host, member.host):
            await self._carry(self.host, member, until_ns, broken)
        kernel = self._kernel
        task = kernel.spawn(
            ask(member), name="etcd request", process=member.process, eager=True, daemon=True
        )
        if not task.done():
            await kernel.wait_any(task, broken, timeout_ns=max(0, until_ns - kernel.now_ns))
        if not network.instant(member.host, self.host):
            await self._carry(member.host, member, until_ns, broken)
        if task.done():
            error = task.exception()
            if error is None:
                return task.result()
            # Whoever ended it took the answer along.
            raise error if isinstance(error, EtcdError) else ErrConnectionLost()
        if broken.done():
            raise broken.result()
        raise ErrDeadlineExceeded

    async def _carry(
        self, source: str, member: MemberProcess, until_ns: int, broken: Future[Any]
    ) -> None:
        """Bring a message over the connection, from this host or to it."""
        network, kernel = self._group.network, self._kernel
        target = member.host if source == self.host else self.host
        while not network.reachable(source, target) or (
            target == member.host and member.process.paused
        ):
            if kernel.now_ns >= until_ns:
                raise ErrDeadlineExceeded
            await kernel.wait_any(
                broken, self._group.changed.future(), timeout_ns=until_ns - kernel.now_ns
            )
            if broken.done():
                raise broken.result()
        low, high = network.latency(source, target)
        if high:
            self._retries += 1
            await kernel.sleep(
                kernel.rng.between_ns(low, high, "net", self.name, source, target, self._retries)
            )
        if broken.done():
            raise broken.result()

    async def get(
        self, key: str, *, revision: int = 0, serializable: bool = False
    ) -> RangeResponse:
        """As ``Client.get``."""
        request = RangeRequest(key, revision=revision, serializable=serializable)
        return await self._read(lambda member: member.member.range(request))

    async def range(
        self,
        key: str,
        range_end: str,
        *,
        revision: int = 0,
        limit: int = 0,
        count_only: bool = False,
        keys_only: bool = False,
        serializable: bool = False,
    ) -> RangeResponse:
        """As ``Client.range``."""
        request = RangeRequest(
            key, range_end, revision, limit, count_only, keys_only, serializable
        )
        return await self._read(lambda member: member.member.range(request))

    async def put(
        self, key: str, value: Any, *, lease: int = NO_LEASE, prev_kv: bool = False
    ) -> PutResponse:
        """As ``Client.put``."""
        request = PutRequest(key, value, lease, prev_kv)
        return await self._write(lambda member: member.member.put(request))

    async def delete(
        self, key: str, range_end: str = "", *, prev_kv: bool = False
    ) -> DeleteRangeResponse:
        """As ``Client.delete``."""
        request = DeleteRangeRequest(key, range_end, prev_kv)
        return await self._write(lambda member: member.member.delete_range(request))

    async def txn(
        self,
        compare: Iterable[Compare],
        success: Iterable[RequestOp],
        failure: Iterable[RequestOp] = (),
    ) -> TxnResponse:
        """As ``Client.txn``."""
        request = TxnRequest(tuple(compare), tuple(success), tuple(failure))
        if kvstore_txn.is_read_only(request):
            return await self._read(lambda member: member.member.txn(request))
        return await self._write(lambda member: member.member.txn(request))

    async def lease_grant(
        self, ttl_seconds: int, *, lease_id: int = NO_LEASE
    ) -> LeaseGrantResponse:
        """As ``Client.lease_grant``."""
        request = LeaseGrantRequest(ttl_seconds, lease_id)
        return await self._read(
            lambda member: member.member.lease_grant(member.with_lease_id(request))
        )

    async def lease_revoke(self, lease_id: int) -> LeaseRevokeResponse:
        """As ``Client.lease_revoke``."""
        request = LeaseRevokeRequest(lease_id)
        return await self._read(lambda member: member.member.lease_revoke(request))

    async def lease_keep_alive(self, lease_id: int) -> int:
        """As ``Client.lease_keep_alive``: the member passes it on to its leader."""
        return await self._read(lambda member: self._renew(member, lease_id))

    async def _renew(self, member: MemberProcess, lease_id: int) -> int:
        group, kernel = self._group, self._kernel
        until_ns = kernel.now_ns + READ_TIMEOUT_NS
        while kernel.now_ns < until_ns:
            leader = group.of(member.lead) if member.lead != NONE else None
            if leader is not None:
                await group.network.transit(member.host, leader.host)
                try:
                    left = await leader.renew(lease_id)
                except ErrNotLeader:
                    pass
                else:
                    await group.network.transit(leader.host, member.host)
                    return left
            # Upstream waits so between its attempts to find the leader.
            await kernel.sleep(NS // 20)
        raise ErrDeadlineExceeded

    async def lease_time_to_live(
        self, lease_id: int, *, keys: bool = False
    ) -> LeaseTimeToLiveResponse:
        """As ``Client.lease_time_to_live``; the leader knows."""

        async def ask(member: MemberProcess) -> LeaseTimeToLiveResponse:
            await member.read_index()
            leader = self._group.of(member.lead) if member.lead != NONE else member
            return await leader.member.lease_time_to_live(lease_id, keys=keys)

        return await self._read(ask)

    async def compact(self, revision: int) -> CompactionResponse:
        """As ``Client.compact``."""
        request = CompactionRequest(revision)
        return await self._write(lambda member: member.member.compact(request))

    async def status(self) -> StatusResponse:
        """What the member that this client is connected to says of itself."""
        return await self._read(lambda member: member.status())
