"""Leases, by the example at the top of ``lease`` and the corners of it."""

from __future__ import annotations

import pytest

from pytest_kubesim.etcd.lease import MAX_TTL_SECONDS, SECOND, Lessor
from pytest_kubesim.etcd.messages import (
    ErrLeaseExist,
    ErrLeaseNotFound,
    ErrLeaseTTLTooLarge,
    ErrNotLeader,
    LeaseCheckpoint,
)


def primary() -> Lessor:
    lessor = Lessor()
    lessor.promote(0)
    return lessor


def test_the_life_of_a_lease() -> None:
    lessor = primary()
    lessor.grant(7, 10, 0)
    lessor.attach(7, ["b", "a"])
    assert lessor.lease_of("a") == 7
    assert lessor.renew(7, 6 * SECOND) == 10
    assert lessor.next_deadline_ns() == 16 * SECOND
    assert lessor.expired(12 * SECOND) == []
    assert lessor.expired(16 * SECOND) == [7]
    assert lessor.expired(17 * SECOND) == []
    assert lessor.expired(19 * SECOND) == [7]
    with pytest.raises(ErrLeaseNotFound):
        lessor.renew(7, 20 * SECOND)
    assert lessor.revoke(7) == ["a", "b"]
    assert lessor.lease_of("a") == 0
    assert lessor.next_deadline_ns() is None


def test_a_grant_is_refused_for_upstreams_reasons() -> None:
    lessor = primary()
    lessor.grant(7, 10, 0)
    with pytest.raises(ErrLeaseExist, match="^etcdserver: lease already exists$"):
        lessor.grant(7, 10, 0)
    with pytest.raises(ErrLeaseTTLTooLarge, match="^etcdserver: too large lease TTL$"):
        lessor.grant(8, MAX_TTL_SECONDS + 1, 0)
    with pytest.raises(ErrLeaseNotFound, match="^etcdserver: requested lease not found$"):
        lessor.grant(0, 10, 0)
    assert lessor.grant(9, 1, 0).ttl == 2


def test_leases_expire_in_order_and_no_more_than_the_limit_at_once() -> None:
    lessor = primary()
    for lease_id, ttl in ((1, 30), (2, 10), (3, 20), (4, 40)):
        lessor.grant(lease_id, ttl, 0)
    assert lessor.expired(30 * SECOND, limit=2) == [2, 3]
    assert lessor.expired(30 * SECOND) == [1]


def test_only_the_primary_lets_leases_expire() -> None:
    lessor = primary()
    lessor.grant(7, 10, 0)
    lessor.demote()
    assert lessor.expired(1000 * SECOND) == []
    with pytest.raises(ErrNotLeader):
        lessor.renew(7, 0)
    lessor.promote(1000 * SECOND, extend_ns=SECOND)
    assert lessor.next_deadline_ns() == 1011 * SECOND


def test_a_new_primary_continues_a_checkpointed_lease() -> None:
    lessor, follower = primary(), Lessor()
    for each in (lessor, follower):
        each.grant(7, 1000, 0)
    assert lessor.next_deadline_ns() == 300 * SECOND
    checkpoints = lessor.due_checkpoints(300 * SECOND)
    assert checkpoints == [LeaseCheckpoint(7, 700)]
    for each in (lessor, follower):
        each.checkpoint(7, 700, 300 * SECOND)
    assert lessor.next_deadline_ns() == 600 * SECOND
    follower.promote(310 * SECOND)
    lease = follower.lookup(7)
    assert lease is not None
    assert lease.remaining_ns(310 * SECOND) == 700 * SECOND


def test_leases_that_would_expire_together_are_spread() -> None:
    lessor = Lessor()
    for lease_id in range(1, 2001):
        lessor.grant(lease_id, 60, 0)
    lessor.promote(0)
    expiries = [lease.expiry_ns or 0 for lease in lessor.leases()]
    assert expiries[749] == 60 * SECOND
    assert expiries[750] > 61 * SECOND
    assert expiries[-1] > 62 * SECOND


def test_detaching_from_a_lease_that_is_gone_does_nothing() -> None:
    lessor = primary()
    lessor.detach(7, ["a"])
    with pytest.raises(ErrLeaseNotFound):
        lessor.attach(7, ["a"])


def test_a_restored_lessor_goes_on_where_it_was() -> None:
    lessor = primary()
    lessor.grant(7, 10, 0)
    lessor.attach(7, ["a"])
    taken = lessor.snapshot()
    lessor.revoke(7)
    lessor.restore(taken, 0)
    assert lessor.lease_of("a") == 7
    assert lessor.expired(10 * SECOND) == [7]
    assert lessor.revoke(7) == ["a"]
    again = Lessor()
    again.restore(taken, 0)
    assert again.revoke(7) == ["a"]
