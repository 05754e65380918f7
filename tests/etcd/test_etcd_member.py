"""A member that is alone, through its client: it never suspends, checks first, and lets faults in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from pytest_kubesim.etcd.client import Client
from pytest_kubesim.etcd.lease import SECOND
from pytest_kubesim.etcd.member import Member
from pytest_kubesim.etcd.messages import (
    FROM_KEY,
    AlarmRequest,
    Compare,
    DeleteRangeRequest,
    ErrCompacted,
    ErrDuplicateKey,
    ErrEmptyKey,
    ErrLeaseNotFound,
    ErrLeaseProvided,
    ErrNoSpace,
    ErrRequestTooLarge,
    ErrTimeout,
    ErrTooManyOps,
    ErrValueProvided,
    PutRequest,
    RangeRequest,
    TxnRequest,
    WatchResponse,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that must not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    pytest.fail("suspended")


def test_a_member_alone_answers_without_suspending() -> None:
    client, got = Client(Member()), list[WatchResponse]()
    created = run(
        client.txn([Compare("a", "MOD", "EQUAL", 0)], [PutRequest("a", 1)], [RangeRequest("a")])
    )
    assert (created.succeeded, created.revision) == (True, 2)
    run(client.watch("a", start_revision=2, callback=got.append))
    run(client.put("a", 2))
    assert [response.revision for response in got] == [2, 3]
    assert run(client.get("a")).kvs[0].value == 2
    assert run(client.range("\0", FROM_KEY, count_only=True)).count == 1
    assert run(client.delete("a", prev_kv=True)).prev_kvs[0].value == 2
    run(client.compact(4))
    with pytest.raises(ErrCompacted):
        run(client.get("a", revision=3))
    status = run(client.status())
    assert (status.revision, status.raft_index, status.leader) == (4, 4, 1)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (PutRequest(""), ErrEmptyKey),
        (PutRequest("a", 1, ignore_value=True), ErrValueProvided),
        (PutRequest("a", 1, 7, ignore_lease=True), ErrLeaseProvided),
        (PutRequest("a", 1, 7), ErrLeaseNotFound),
        (DeleteRangeRequest(""), ErrEmptyKey),
        (RangeRequest(""), ErrEmptyKey),
        (TxnRequest((Compare("", "MOD", "EQUAL", 0),)), ErrEmptyKey),
        (TxnRequest((), (RangeRequest("a"),) * 129), ErrTooManyOps),
        (TxnRequest((), (PutRequest("a"), PutRequest("a"))), ErrDuplicateKey),
        (TxnRequest((), (PutRequest("a"), DeleteRangeRequest("a"))), ErrDuplicateKey),
        (TxnRequest((), (), (DeleteRangeRequest("Z", FROM_KEY), PutRequest("a"))), ErrDuplicateKey),
        (TxnRequest((), (PutRequest("a"), TxnRequest((), (PutRequest("a"),)))), ErrDuplicateKey),
    ],
)
def test_requests_without_sense_are_refused(request_: Any, error: type[Exception]) -> None:
    member = Member()
    call = {
        PutRequest: member.put,
        DeleteRangeRequest: member.delete_range,
        RangeRequest: member.range,
        TxnRequest: member.txn,
    }[type(request_)]
    with pytest.raises(error):
        run(call(request_))
    assert member.store.revision == 1


def test_either_branch_of_an_inner_transaction_may_put_the_same_key() -> None:
    inner = TxnRequest((), (PutRequest("a", 1),), (PutRequest("a", 2),))
    assert run(Member().txn(TxnRequest((), (inner,)))).revision == 2


def test_keys_end_with_their_lease() -> None:
    now = 0
    member = Member(clock=lambda: now)
    client, got = Client(member), list[WatchResponse]()
    lease = run(client.lease_grant(10))
    run(client.put("b", 1, lease=lease.id))
    run(client.put("a", 1, lease=lease.id))
    run(client.put("c", 1, lease=lease.id))
    run(client.put("c", 2))
    run(client.watch("\0", FROM_KEY, callback=got.append))
    now = 4 * SECOND
    assert run(member.tick()) == 10 * SECOND
    assert run(client.lease_time_to_live(lease.id, keys=True)).keys == ("a", "b")
    assert run(client.lease_keep_alive(lease.id)) == 10
    now = 14 * SECOND
    assert run(member.tick()) is None
    assert [(event.type, event.kv.key) for event in got[0].events] == [
        ("DELETE", "a"),
        ("DELETE", "b"),
    ]
    assert len(got) == 1
    assert run(client.lease_keep_alive(lease.id)) == 0
    assert run(client.lease_time_to_live(lease.id)).ttl == -1


def test_a_long_lease_is_checkpointed_until_it_is_renewed() -> None:
    now = 0
    member = Member(clock=lambda: now)
    lease_id = run(Client(member).lease_grant(1000)).id
    lease = member.lessor.lookup(lease_id)
    assert lease is not None
    now = 300 * SECOND
    run(member.tick())
    assert lease.remaining_ttl == 700
    assert run(Client(member).lease_keep_alive(lease_id)) == 1000
    assert lease.remaining_ttl == 0


def test_a_fault_before_leaves_all_as_it_was_and_one_after_does_not() -> None:
    at = "etcd.request"

    def consult(point: str, attributes: dict[str, Any]) -> None:
        if point == at and isinstance(attributes["request"], PutRequest):
            raise ErrTimeout

    member = Member(consult=consult)
    with pytest.raises(ErrTimeout, match="^etcdserver: request timed out$"):
        run(member.put(PutRequest("a", 1)))
    assert member.store.revision == 1
    at = "etcd.response"
    with pytest.raises(ErrTimeout):
        run(member.put(PutRequest("a", 1)))
    assert member.store.latest("a") is not None


def test_a_fault_can_hold_a_request_up() -> None:
    class Pause:
        def __await__(self) -> Generator[str, None, None]:
            yield "paused"

    member = Member(consult=lambda point, _: Pause() if point == "etcd.request" else None)
    waiting = member.put(PutRequest("a", 1))
    assert waiting.send(None) == "paused"
    assert member.store.revision == 1
    with pytest.raises(StopIteration):
        waiting.send(None)
    assert member.store.revision == 2


def test_without_space_only_reads_and_deletes_are_served() -> None:
    member = Member()
    client = Client(member)
    run(client.put("a", 1))
    assert run(member.alarm(AlarmRequest("ACTIVATE", "NOSPACE"))).alarms == ("NOSPACE",)
    with pytest.raises(ErrNoSpace, match="^etcdserver: mvcc: database space exceeded$"):
        run(client.put("a", 2))
    with pytest.raises(ErrNoSpace):
        run(client.txn([Compare("a", "MOD", "EQUAL", 0)], [PutRequest("b", 1)]))
    with pytest.raises(ErrNoSpace):
        run(client.lease_grant(10))
    run(client.txn([], [DeleteRangeRequest("a")]))
    run(member.alarm(AlarmRequest("DEACTIVATE", "NOSPACE")))
    assert run(client.put("a", 2)).revision == 4


def test_a_request_that_is_too_large_is_refused() -> None:
    member = Member(value_size=len, max_request_bytes=10)
    with pytest.raises(ErrRequestTooLarge, match="^etcdserver: request is too large$"):
        run(member.txn(TxnRequest((), (PutRequest("a", b"123456"), PutRequest("b", b"123456")))))
    run(member.put(PutRequest("a", b"123456")))


def test_a_watch_from_a_negative_revision_is_refused() -> None:
    with pytest.raises(ErrCompacted):
        run(Client(Member()).watch("a", start_revision=-1, callback=print))


def test_a_restored_member_has_its_leases_back() -> None:
    member = Member()
    client = Client(member)
    lease_id = run(client.lease_grant(10)).id
    run(client.put("a", 1, lease=lease_id))
    taken = member.snapshot()
    run(client.lease_revoke(lease_id))
    member.restore(taken)
    assert run(client.lease_time_to_live(lease_id, keys=True)).keys == ("a",)
    assert run(client.get("a")).kvs[0].lease == lease_id
    assert run(client.lease_grant(10)).id == lease_id + 1
