"""Leases: keys that go away unless somebody keeps them.

Only the primary lessor, the leader's, lets leases expire; on the others they last forever. Time
comes in with each call, as nanoseconds of any one clock. For example::

    promote at 0s                 primary
    grant 7 for 10s, at 0s        expires at 10s
    attach a, b to 7
    renew 7 at 6s                 expires at 16s
    expired at 12s -> []          at 16s -> [7]
    expired at 17s -> []          at 19s -> [7], if it is still not revoked
    revoke 7 -> [a, b]            the caller deletes them

A long lease is checkpointed every five minutes: what is left of it is told to all members, so that
a new leader continues it instead of starting it afresh. Follows ``server/lease/lessor.go``.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.etcd.messages import (
    NO_LEASE,
    ErrLeaseExist,
    ErrLeaseNotFound,
    ErrLeaseTTLTooLarge,
    ErrNotLeader,
    LeaseCheckpoint,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

SECOND = 1_000_000_000
MAX_TTL_SECONDS = 9_000_000_000
MIN_TTL_SECONDS = 2
"""With etcd's defaults: one and a half times ten ticks of 100 ms, in whole seconds."""

CHECKPOINT_INTERVAL_NS = 300 * SECOND
RETRY_INTERVAL_NS = 3 * SECOND
REVOKE_RATE = 1000
"""How many leases are revoked in a second at most."""

MAX_CHECKPOINTS = 1000


@attrs.define(eq=False)
class Lease:
    """One lease. ``ttl`` and ``remaining_ttl`` are seconds; ``expiry_ns`` ``None`` is "never"."""

    id: int
    ttl: int
    remaining_ttl: int = 0
    expiry_ns: int | None = None
    keys: dict[str, None] = attrs.Factory(dict[str, None])

    def remaining_ns(self, now_ns: int) -> int | None:
        """What is left, not less than 0; ``None`` if it never expires."""
        return None if self.expiry_ns is None else max(0, self.expiry_ns - now_ns)

    def refresh(self, now_ns: int, extend_ns: int = 0) -> int:
        """Begin again with what the last checkpoint left, or with all; returns the new expiry."""
        self.expiry_ns = now_ns + extend_ns + (self.remaining_ttl or self.ttl) * SECOND
        return self.expiry_ns


@attrs.frozen(eq=False)
class LessorSnapshot:
    """All leases at one moment."""

    primary: bool
    leases: tuple[Lease, ...]


class Lessor:
    """All leases of a member.

    ``min_ttl_seconds`` is what a shorter request is raised to.
    """

    def __init__(
        self,
        *,
        min_ttl_seconds: int = MIN_TTL_SECONDS,
        checkpoint_interval_ns: int = CHECKPOINT_INTERVAL_NS,
    ) -> None:
        self.primary = False
        self._min_ttl = min_ttl_seconds
        self._checkpoint_interval_ns = checkpoint_interval_ns
        self._leases: dict[int, Lease] = {}
        self._lease_of: dict[str, int] = {}
        # Heaps of (time, lease); an entry counts only while it is the one that _due has for its
        # lease.
        self._expiries: list[tuple[int, int]] = []
        self._due: dict[int, int] = {}
        self._checkpoints: list[tuple[int, int]] = []

    # What exists

    def lookup(self, lease_id: int) -> Lease | None:
        """The lease of that id, if there is one."""
        return self._leases.get(lease_id)

    def leases(self) -> list[Lease]:
        """All leases by expiry, those that never expire last, equal ones by id."""
        return sorted(
            self._leases.values(),
            key=lambda lease: (lease.expiry_ns is None, lease.expiry_ns or 0, lease.id),
        )

    def lease_of(self, key: str) -> int:
        """The lease that a key is attached to, 0 if none."""
        return self._lease_of.get(key, NO_LEASE)

    # What everyone applies

    def grant(self, lease_id: int, ttl_seconds: int, now_ns: int) -> Lease:
        """Begin a lease.

        Raises ``ErrLeaseNotFound`` if the id is 0, ``ErrLeaseTTLTooLarge``, ``ErrLeaseExist``.
        """
        if lease_id == NO_LEASE:
            raise ErrLeaseNotFound
        if ttl_seconds > MAX_TTL_SECONDS:
            raise ErrLeaseTTLTooLarge
        if lease_id in self._leases:
            raise ErrLeaseExist
        lease = self._leases[lease_id] = Lease(lease_id, max(ttl_seconds, self._min_ttl))
        if self.primary:
            self._schedule(lease_id, lease.refresh(now_ns))
            self._schedule_checkpoint(lease, now_ns)
        return lease

    def revoke(self, lease_id: int) -> list[str]:
        """End a lease; returns its keys in order, for the caller to delete.

        Raises ``ErrLeaseNotFound``.
        """
        lease = self._leases.pop(lease_id, None)
        if lease is None:
            raise ErrLeaseNotFound
        self._due.pop(lease_id, None)
        for key in lease.keys:
            del self._lease_of[key]
        return sorted(lease.keys)

    def attach(self, lease_id: int, keys: Iterable[str]) -> None:
        """Let keys end with a lease. Raises ``ErrLeaseNotFound``."""
        lease = self._leases.get(lease_id)
        if lease is None:
            raise ErrLeaseNotFound
        for key in keys:
            lease.keys[key] = None
            self._lease_of[key] = lease_id

    def detach(self, lease_id: int, keys: Iterable[str]) -> None:
        """Let keys outlive a lease. That the lease is gone is no error: upstream only logs it."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return
        for key in keys:
            lease.keys.pop(key, None)
            self._lease_of.pop(key, None)

    def checkpoint(self, lease_id: int, remaining_ttl: int, now_ns: int) -> None:
        """Note how many seconds a lease has left, for the next ``promote``."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return
        lease.remaining_ttl = remaining_ttl
        if self.primary:
            self._schedule_checkpoint(lease, now_ns)

    # What only the primary does

    def promote(self, now_ns: int, extend_ns: int = 0) -> None:
        """Become primary: each lease begins again with what is left, ``extend_ns`` longer."""
        self.primary = True
        for lease in self._leases.values():
            self._schedule(lease.id, lease.refresh(now_ns, extend_ns))
            self._schedule_checkpoint(lease, now_ns)
        if len(self._leases) >= REVOKE_RATE:
            self._spread(now_ns, extend_ns)

    def demote(self) -> None:
        """Be primary no longer: leases last forever."""
        self.primary = False
        for lease in self._leases.values():
            lease.expiry_ns = None
        self._expiries.clear()
        self._due.clear()
        self._checkpoints.clear()

    def renew(self, lease_id: int, now_ns: int) -> int:
        """Begin a lease again; returns its TTL in seconds.

        Raises ``ErrNotLeader`` if not primary, ``ErrLeaseNotFound`` if there is none or it has
        expired: upstream waits there until it is revoked.
        """
        if not self.primary:
            raise ErrNotLeader
        lease = self._leases.get(lease_id)
        if lease is None or lease.remaining_ns(now_ns) == 0:
            raise ErrLeaseNotFound
        self._schedule(lease_id, lease.refresh(now_ns))
        return lease.ttl

    def expired(self, now_ns: int, limit: int = REVOKE_RATE // 2) -> list[int]:
        """The leases to revoke now, by expiry, at most ``limit``; each again after 3 seconds."""
        found: list[int] = []
        while len(found) < limit and (due := self._next_expiry()) is not None and due <= now_ns:
            _, lease_id = heappop(self._expiries)
            self._schedule(lease_id, now_ns + RETRY_INTERVAL_NS)
            if self._leases[lease_id].remaining_ns(now_ns) == 0:
                found.append(lease_id)
        return found

    def due_checkpoints(self, now_ns: int) -> list[LeaseCheckpoint]:
        """What to tell all members now of long leases."""
        found: list[LeaseCheckpoint] = []
        heap = self._checkpoints
        while heap and heap[0][0] <= now_ns and len(found) < MAX_CHECKPOINTS:
            _, lease_id = heappop(heap)
            lease = self._leases.get(lease_id)
            remaining_ns = None if lease is None else lease.remaining_ns(now_ns)
            if lease is None or not remaining_ns:
                continue
            remaining_ttl = -(-remaining_ns // SECOND)
            if remaining_ttl < lease.ttl:
                found.append(LeaseCheckpoint(lease_id, remaining_ttl))
        return found

    def next_deadline_ns(self) -> int | None:
        """When ``expired`` or ``due_checkpoints`` next has something to say, ``None`` for never."""
        expiry = self._next_expiry()
        if not self._checkpoints:
            return expiry
        checkpoint = self._checkpoints[0][0]
        return checkpoint if expiry is None else min(expiry, checkpoint)

    # Copies

    def snapshot(self) -> LessorSnapshot:
        """All leases at this moment."""
        return LessorSnapshot(self.primary, tuple(_copy(lease) for lease in self._leases.values()))

    def restore(self, snapshot: LessorSnapshot, now_ns: int) -> None:
        """Become what the snapshot holds, expiries included."""
        self.demote()
        self.primary = snapshot.primary
        self._leases = {lease.id: _copy(lease) for lease in snapshot.leases}
        self._lease_of = {key: lease.id for lease in self._leases.values() for key in lease.keys}
        for lease in self._leases.values():
            if lease.expiry_ns is not None:
                self._schedule(lease.id, lease.expiry_ns)
                self._schedule_checkpoint(lease, now_ns)

    def _schedule(self, lease_id: int, when_ns: int) -> None:
        self._due[lease_id] = when_ns
        heappush(self._expiries, (when_ns, lease_id))

    def _next_expiry(self) -> int | None:
        heap = self._expiries
        while heap:
            when, lease_id = heap[0]
            if self._due.get(lease_id) == when:
                return when
            heappop(heap)
        return None

    def _schedule_checkpoint(self, lease: Lease, now_ns: int) -> None:
        remaining_ttl = lease.remaining_ttl or lease.ttl
        if remaining_ttl * SECOND > self._checkpoint_interval_ns:
            heappush(self._checkpoints, (now_ns + self._checkpoint_interval_ns, lease.id))

    def _spread(self, now_ns: int, extend_ns: int) -> None:
        # Leases that would all expire within one second are moved apart, so that revoking the pile
        # does not take the whole rate.
        target = 3 * REVOKE_RATE // 4
        leases = self.leases()
        base = leases[0].remaining_ns(now_ns) or 0
        following = base + SECOND
        expires = 0
        for lease in leases:
            remaining = lease.remaining_ns(now_ns) or 0
            if remaining > following:
                base, following, expires = remaining, remaining + SECOND, 1
                continue
            expires += 1
            if expires <= target:
                continue
            delay = SECOND * expires // target - (remaining - base)
            following = base + delay
            self._schedule(lease.id, lease.refresh(now_ns, delay + extend_ns))
            self._schedule_checkpoint(lease, now_ns)


def _copy(lease: Lease) -> Lease:
    return attrs.evolve(lease, keys=lease.keys.copy())
