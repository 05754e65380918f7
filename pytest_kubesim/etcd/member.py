"""One etcd member: it checks a request, has it agreed upon, and applies it to its store.

Law: the store changes only in ``apply``, and ``apply`` depends on the request, the store and the
clock alone. Agreement is a ``Proposer``; a member alone is its own, and then no method here ever
suspends. For example::

    member = Member()
    await member.put(PutRequest("a", 1))          -> PutResponse(revision=2)
    await member.range(RangeRequest("a"))         -> a=1, created 2, modified 2, version 1

``consult`` lets faults in. It is asked at ``etcd.request`` before a request is looked at, at
``etcd.response`` when it is done but not answered, and at ``etcd.watch`` when a watch begins; it
may raise an ``EtcdError``, or return an awaitable, which is awaited. Follows
``server/etcdserver/v3_server.go`` and ``apply``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs
import msgspec

from pytest_kubesim.etcd import v3rpc
from pytest_kubesim.etcd.lease import SECOND, Lessor
from pytest_kubesim.etcd.messages import (
    NO_LEASE,
    AlarmRequest,
    AlarmResponse,
    CompactionRequest,
    CompactionResponse,
    DeleteRangeRequest,
    DeleteRangeResponse,
    ErrCompacted,
    ErrLeaseNotFound,
    ErrNoSpace,
    ErrRequestTooLarge,
    HashKVResponse,
    LeaseCheckpoint,
    LeaseCheckpointRequest,
    LeaseCheckpointResponse,
    LeaseGrantRequest,
    LeaseGrantResponse,
    LeaseRevokeRequest,
    LeaseRevokeResponse,
    LeaseTimeToLiveResponse,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    StatusResponse,
    TxnRequest,
    TxnResponse,
)
from pytest_kubesim.etcd.mvcc import kvstore_txn
from pytest_kubesim.etcd.mvcc.watchable_store import WatchableStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_kubesim.etcd.lease import LessorSnapshot
    from pytest_kubesim.etcd.messages import (
        AlarmType,
        ApplyResponse,
        InternalRaftRequest,
        WatchFilter,
        WatchResponse,
    )
    from pytest_kubesim.etcd.mvcc.kvstore import Snapshot
    from pytest_kubesim.etcd.mvcc.watchable_store import Watcher

VERSION = "3.7.0"
MAX_REQUEST_BYTES = 1536 * 1024
"""What etcd accepts by default (``--max-request-bytes``)."""


class Proposer(Protocol):
    """How members agree."""

    async def propose(self, request: InternalRaftRequest, /) -> ApplyResponse:
        """Have the request applied by all, and answer as this member applied it."""
        ...

    async def read_index(self) -> int:
        """Return, with its index, once all that was agreed before the call is applied here."""
        ...


@attrs.frozen(eq=False)
class MemberSnapshot:
    """All that a member keeps."""

    store: Snapshot
    leases: LessorSnapshot
    applied_index: int
    leases_made: int
    alarms: tuple[AlarmType, ...]


class Member:
    """One member with its store.

    ``clock`` gives the present in nanoseconds, for leases. ``value_size`` gives the bytes of a
    value; without it no request is too large.
    """

    def __init__(
        self,
        *,
        member_id: int = 1,
        clock: Callable[[], int] = lambda: 0,
        proposer: Proposer | None = None,
        consult: Callable[[str, dict[str, Any]], Any] | None = None,
        value_size: Callable[[Any], int] | None = None,
        max_request_bytes: int = MAX_REQUEST_BYTES,
    ) -> None:
        self.member_id = member_id
        self.clock = clock
        self.consult = consult
        self.lessor = Lessor()
        self.store = WatchableStore(self.lessor)
        self.applied_index = 0
        self.proposer: Proposer = self if proposer is None else proposer
        self._value_size = value_size
        self._max_request_bytes = max_request_bytes
        self._leases_made = 0
        self._alarms: dict[AlarmType, None] = {}
        if proposer is None:
            self.lessor.promote(clock())

    # Alone, a member agrees with itself

    async def propose(self, request: InternalRaftRequest, /) -> ApplyResponse:
        """Apply at once."""
        return self.apply(request)

    async def read_index(self) -> int:
        """All that was agreed is applied."""
        return self.applied_index

    # Keys

    async def range(self, request: RangeRequest) -> RangeResponse:
        """Read. Raises ``ErrEmptyKey``, ``ErrFutureRev``, ``ErrCompacted``."""
        if self.consult is not None:
            await self._consulted("etcd.request", request)
        v3rpc.check_range(request)
        if not request.serializable:
            await self.proposer.read_index()
        response = kvstore_txn.apply_range(self.store, request)
        if self.consult is not None:
            await self._consulted("etcd.response", request)
        return response

    async def put(self, request: PutRequest) -> PutResponse:
        """Write. Raises ``ErrLeaseNotFound``, ``ErrNoSpace`` and as ``v3rpc.check_put``."""
        response = await self._do(request)
        assert isinstance(response, PutResponse)
        return response

    async def delete_range(self, request: DeleteRangeRequest) -> DeleteRangeResponse:
        """Delete. Raises ``ErrEmptyKey``."""
        response = await self._do(request)
        assert isinstance(response, DeleteRangeResponse)
        return response

    async def txn(self, request: TxnRequest) -> TxnResponse:
        """Apply a transaction; one that only reads is not proposed.

        Raises what ``v3rpc.check_txn`` and ``kvstore_txn.apply_txn`` raise, and ``ErrNoSpace``.
        """
        if kvstore_txn.is_read_only(request):
            if self.consult is not None:
                await self._consulted("etcd.request", request)
            v3rpc.check_txn(request)
            if not kvstore_txn.is_serializable(request):
                await self.proposer.read_index()
            response = self.store.txn(request.compare, request.success, request.failure)
            if self.consult is not None:
                await self._consulted("etcd.response", request)
            return response
        written = await self._do(request)
        assert isinstance(written, TxnResponse)
        return written

    async def compact(self, request: CompactionRequest) -> CompactionResponse:
        """Forget history. Raises ``ErrCompacted``, ``ErrFutureRev``."""
        response = await self._do(request)
        assert isinstance(response, CompactionResponse)
        return response

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
        """Watch. What the watcher missed is delivered before this returns.

        Raises ``ErrCompacted`` if the revision is negative, ``ErrEmptyWatcherRange``. That the
        revision is compacted is told to the callback, as upstream does.
        """
        if self.consult is not None:
            await self._consult(
                "etcd.watch",
                {"key": key, "range_end": range_end, "start_revision": start_revision},
            )
        if start_revision < 0:
            raise ErrCompacted
        watcher = self.store.watch(
            key or "\0", range_end, start_revision, callback, prev_kv=prev_kv, filters=filters
        )
        while self.store.sync_watchers():
            pass
        return watcher

    # Leases

    async def lease_grant(self, request: LeaseGrantRequest) -> LeaseGrantResponse:
        """Begin a lease, of an id that the member chooses if the request has none."""
        if request.id == NO_LEASE:
            self._leases_made += 1
            # Upstream's ids begin with the member's too, so that two members never choose alike.
            chosen = (self.member_id << 48) + self._leases_made
            request = msgspec.structs.replace(request, id=chosen)
        response = await self._do(request)
        assert isinstance(response, LeaseGrantResponse)
        return response

    async def lease_revoke(self, request: LeaseRevokeRequest) -> LeaseRevokeResponse:
        """End a lease and delete its keys. Raises ``ErrLeaseNotFound``."""
        response = await self._do(request)
        assert isinstance(response, LeaseRevokeResponse)
        return response

    async def lease_renew(self, lease_id: int) -> int:
        """Begin a lease again; returns its TTL in seconds, 0 if there is none."""
        lease = self.lessor.lookup(lease_id)
        if lease is not None and lease.remaining_ttl:
            await self.proposer.propose(LeaseCheckpointRequest((LeaseCheckpoint(lease_id, 0),)))
        try:
            return self.lessor.renew(lease_id, self.clock())
        except ErrLeaseNotFound:
            return 0

    async def lease_time_to_live(
        self, lease_id: int, *, keys: bool = False
    ) -> LeaseTimeToLiveResponse:
        """What is left of a lease, in whole seconds; -1 if there is none."""
        lease = self.lessor.lookup(lease_id)
        if lease is None:
            return LeaseTimeToLiveResponse(self.store.revision, lease_id, -1, 0, ())
        remaining_ns = lease.remaining_ns(self.clock())
        ttl = lease.ttl if remaining_ns is None else remaining_ns // SECOND
        return LeaseTimeToLiveResponse(
            self.store.revision, lease_id, ttl, lease.ttl, tuple(sorted(lease.keys)) if keys else ()
        )

    async def tick(self) -> int | None:
        """Revoke what expired and checkpoint what is due.

        Returns when to call again, in nanoseconds; ``None`` means that nothing is due until a lease
        is granted. Upstream's loop looks every 500 ms.
        """
        now_ns = self.clock()
        for lease_id in self.lessor.expired(now_ns):
            await self.proposer.propose(LeaseRevokeRequest(lease_id))
        while checkpoints := self.lessor.due_checkpoints(now_ns):
            await self.proposer.propose(LeaseCheckpointRequest(tuple(checkpoints)))
        return self.lessor.next_deadline_ns()

    # The member itself

    async def alarm(self, request: AlarmRequest) -> AlarmResponse:
        """Raise or clear an alarm on every member."""
        response = await self._do(request)
        assert isinstance(response, AlarmResponse)
        return response

    async def status(self) -> StatusResponse:
        """What the member says of itself."""
        if self.consult is not None:
            await self._consult("etcd.request", {"request": "status"})
        return StatusResponse(
            revision=self.store.revision,
            version=VERSION,
            member_id=self.member_id,
            leader=self.member_id if self.lessor.primary else 0,
            raft_term=1,
            raft_index=self.applied_index,
            alarms=tuple(sorted(self._alarms)),
        )

    def hash_kv(
        self, revision: int = 0, *, encode: Callable[[Any], bytes] = bytes
    ) -> HashKVResponse:
        """As ``KVStore.hash_kv``."""
        return self.store.hash_kv(revision, encode=encode)

    def apply(self, request: InternalRaftRequest, /) -> ApplyResponse:
        """Change the store: what every member does with every request that was agreed."""
        self.applied_index += 1
        store = self.store
        if isinstance(request, PutRequest):
            self._check_space(request)
            return kvstore_txn.apply_put(store, request)
        if isinstance(request, TxnRequest):
            self._check_space(request)
            return store.txn(request.compare, request.success, request.failure)
        if isinstance(request, DeleteRangeRequest):
            return kvstore_txn.apply_delete_range(store, request)
        if isinstance(request, CompactionRequest):
            store.compact(request.revision)
            return CompactionResponse(store.revision)
        if isinstance(request, AlarmRequest):
            if request.action == "ACTIVATE":
                self._alarms[request.alarm] = None
            else:
                self._alarms.pop(request.alarm, None)
            return AlarmResponse(store.revision, tuple(sorted(self._alarms)))
        return self._apply_lease(request)

    def snapshot(self) -> MemberSnapshot:
        """All that the member keeps, at this moment."""
        return MemberSnapshot(
            self.store.snapshot(),
            self.lessor.snapshot(),
            self.applied_index,
            self._leases_made,
            tuple(self._alarms),
        )

    def restore(self, snapshot: MemberSnapshot) -> None:
        """Become what the snapshot holds; watchers as ``WatchableStore.restore`` says.

        Leases keep the expiries they had; who restores an old snapshot promotes the lessor again.
        """
        self.store.restore(snapshot.store)
        self.lessor.restore(snapshot.leases, self.clock())
        self.applied_index = snapshot.applied_index
        self._leases_made = snapshot.leases_made
        self._alarms = dict.fromkeys(snapshot.alarms)

    def _apply_lease(
        self, request: LeaseGrantRequest | LeaseRevokeRequest | LeaseCheckpointRequest
    ) -> ApplyResponse:
        store, now_ns = self.store, self.clock()
        if isinstance(request, LeaseGrantRequest):
            if "NOSPACE" in self._alarms:
                raise ErrNoSpace
            lease = self.lessor.grant(request.id, request.ttl, now_ns)
            return LeaseGrantResponse(store.revision, lease.id, lease.ttl)
        if isinstance(request, LeaseRevokeRequest):
            for key in self.lessor.revoke(request.id):
                store.stage_delete_range(key)
            return LeaseRevokeResponse(store.commit())
        for checkpoint in request.checkpoints:
            self.lessor.checkpoint(checkpoint.id, checkpoint.remaining_ttl, now_ns)
        return LeaseCheckpointResponse(store.revision)

    async def _do(self, request: InternalRaftRequest) -> ApplyResponse:
        if self.consult is not None:
            await self._consulted("etcd.request", request)
        if isinstance(request, TxnRequest):
            v3rpc.check_txn(request)
        elif isinstance(request, PutRequest):
            v3rpc.check_put(request)
        elif isinstance(request, DeleteRangeRequest):
            v3rpc.check_delete(request)
        if self._value_size is not None:
            self._check_size(request, self._value_size)
        response = await self.proposer.propose(request)
        if self.consult is not None:
            await self._consulted("etcd.response", request)
        return response

    async def _consulted(self, point: str, request: object) -> None:
        await self._consult(point, {"member": self.member_id, "request": request})

    async def _consult(self, point: str, attributes: dict[str, Any]) -> None:
        assert self.consult is not None
        delay = self.consult(point, attributes)
        if delay is not None:
            await delay

    def _check_size(self, request: InternalRaftRequest, value_size: Callable[[Any], int]) -> None:
        if sum(value_size(put.value) for put in _puts(request)) > self._max_request_bytes:
            raise ErrRequestTooLarge

    def _check_space(self, request: InternalRaftRequest) -> None:
        # Only what makes the database larger is refused.
        if self._alarms and "NOSPACE" in self._alarms and _puts(request):
            raise ErrNoSpace


def _puts(request: InternalRaftRequest | RangeRequest) -> list[PutRequest]:
    if isinstance(request, PutRequest):
        return [request]
    if isinstance(request, TxnRequest):
        return [put for step in request.success + request.failure for put in _puts(step)]
    return []
