"""How the API server speaks to etcd.

Every method is a coroutine function; against a member that is alone, and without a fault, none
suspends, so a caller driven by ``send`` pays for a call and no more. For example::

    created = await client.txn(
        [Compare("a", "MOD", "EQUAL", 0)], [PutRequest("a", 1)], [RangeRequest("a")]
    )
    created.succeeded, created.revision           True, 2
    (await client.get("a")).kvs[0].mod_revision   2

Follows ``client/v3`` in its names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.etcd.messages import (
    NO_LEASE,
    CompactionRequest,
    DeleteRangeRequest,
    LeaseGrantRequest,
    LeaseRevokeRequest,
    PutRequest,
    RangeRequest,
    TxnRequest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytest_kubesim.etcd.member import Member
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
        WatchResponse,
    )
    from pytest_kubesim.etcd.mvcc.watchable_store import Watcher


class Client:
    """A connection to one member. Every method raises ``EtcdError``; see ``Member`` for which."""

    def __init__(self, member: Member) -> None:
        self.member = member

    @property
    def leaderless(self) -> bool:
        """Whether nobody could answer at this moment, as far as the other end knows."""
        return False

    async def get(
        self, key: str, *, revision: int = 0, serializable: bool = False
    ) -> RangeResponse:
        """Read one key, at a revision (0: the newest)."""
        return await self.member.range(
            RangeRequest(key, revision=revision, serializable=serializable)
        )

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
        """Read ``[key, range_end)`` in order of keys, at a revision (0: the newest)."""
        return await self.member.range(
            RangeRequest(key, range_end, revision, limit, count_only, keys_only, serializable)
        )

    async def put(
        self, key: str, value: Any, *, lease: int = NO_LEASE, prev_kv: bool = False
    ) -> PutResponse:
        """Write one key, attached to a lease if one is given."""
        return await self.member.put(PutRequest(key, value, lease, prev_kv))

    async def delete(
        self, key: str, range_end: str = "", *, prev_kv: bool = False
    ) -> DeleteRangeResponse:
        """Delete a key or a range."""
        return await self.member.delete_range(DeleteRangeRequest(key, range_end, prev_kv))

    async def txn(
        self,
        compare: Iterable[Compare],
        success: Iterable[RequestOp],
        failure: Iterable[RequestOp] = (),
    ) -> TxnResponse:
        """If all conditions hold then ``success`` else ``failure``, as one revision."""
        return await self.member.txn(TxnRequest(tuple(compare), tuple(success), tuple(failure)))

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
        """Watch from a revision on (0: the next one); history is delivered before this returns."""
        return await self.member.watch(
            key,
            range_end,
            start_revision=start_revision,
            callback=callback,
            prev_kv=prev_kv,
            filters=filters,
        )

    async def request_progress(self, watcher: Watcher) -> bool:
        """Have the watcher told how far it is; says whether it is synced and so was told."""
        return self.member.store.progress(watcher)

    async def lease_grant(
        self, ttl_seconds: int, *, lease_id: int = NO_LEASE
    ) -> LeaseGrantResponse:
        """Begin a lease."""
        return await self.member.lease_grant(LeaseGrantRequest(ttl_seconds, lease_id))

    async def lease_revoke(self, lease_id: int) -> LeaseRevokeResponse:
        """End a lease and delete its keys."""
        return await self.member.lease_revoke(LeaseRevokeRequest(lease_id))

    async def lease_keep_alive(self, lease_id: int) -> int:
        """Begin a lease again; returns its TTL in seconds, 0 if it is gone."""
        return await self.member.lease_renew(lease_id)

    async def lease_time_to_live(
        self, lease_id: int, *, keys: bool = False
    ) -> LeaseTimeToLiveResponse:
        """What is left of a lease, and which keys it has."""
        return await self.member.lease_time_to_live(lease_id, keys=keys)

    async def compact(self, revision: int) -> CompactionResponse:
        """Forget what was superseded at or before a revision."""
        return await self.member.compact(CompactionRequest(revision))

    async def status(self) -> StatusResponse:
        """What the member says of itself."""
        return await self.member.status()
