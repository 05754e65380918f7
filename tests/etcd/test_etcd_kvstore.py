"""The store, by the example at its top and the corners of it."""

from __future__ import annotations

import pytest

from pytest_kubesim.etcd.messages import (
    FROM_KEY,
    Compare,
    DeleteRangeRequest,
    ErrCompacted,
    ErrFutureRev,
    ErrKeyNotFound,
    KeyValue,
    PutRequest,
    RangeRequest,
    TxnRequest,
    TxnResponse,
)
from pytest_kubesim.etcd.mvcc.kvstore import KVStore
from pytest_kubesim.etcd.mvcc.kvstore_txn import apply_put, apply_range


def values(store: KVStore, revision: int = 0) -> dict[str, object]:
    return {kv.key: kv.value for kv in store.range("\0", FROM_KEY, revision=revision).kvs}


def example() -> KVStore:
    store = KVStore()
    store.put("a", 1)
    store.put("a", 2)
    store.stage_put("b", 1)
    store.stage_delete_range("a")
    store.commit()
    return store


def test_every_revision_reads_as_it_was() -> None:
    store = example()
    assert store.revision == 4
    assert [values(store, revision) for revision in (1, 2, 3, 4)] == [
        {},
        {"a": 1},
        {"a": 2},
        {"b": 1},
    ]
    assert store.range("a", revision=3).kvs == (KeyValue("a", 2, 2, 3, 2),)
    with pytest.raises(ErrFutureRev, match="^etcdserver: mvcc: required revision is a future"):
        store.range("a", revision=5)


def test_what_is_compacted_cannot_be_read() -> None:
    store = example()
    store.compact(3)
    with pytest.raises(ErrCompacted, match="required revision has been compacted$"):
        store.range("a", revision=2)
    assert values(store, 3) == {"a": 2}
    with pytest.raises(ErrCompacted):
        store.compact(3)
    with pytest.raises(ErrFutureRev):
        store.compact(5)
    store.compact(4)
    assert values(store) == {"b": 1}


def test_a_limited_range_says_how_much_there_is() -> None:
    store = KVStore()
    for key in "abcd":
        store.put(key, key)
    store.delete_range("a")
    store.put("e", "e")
    now = store.range("\0", FROM_KEY, limit=2)
    assert ([kv.key for kv in now.kvs], now.more, now.count) == (["b", "c"], True, 4)
    then = store.range("\0", FROM_KEY, limit=2, revision=5)
    assert ([kv.key for kv in then.kvs], then.more, then.count) == (["a", "b"], True, 4)
    assert store.range("b", "d", count_only=True).count == 2
    assert store.range("b", keys_only=True).kvs == (KeyValue("b", None, 3, 3, 1),)


def test_a_range_is_filtered_and_sorted_before_it_is_cut() -> None:
    store = KVStore()
    for key, value in (("a", 3), ("b", 1), ("c", 2), ("a", 0)):
        store.put(key, value)
    newest = apply_range(
        store, RangeRequest("\0", FROM_KEY, sort_order="DESCEND", sort_target="MOD", limit=2)
    )
    assert ([kv.key for kv in newest.kvs], newest.more, newest.count) == (["a", "c"], True, 3)
    old = apply_range(store, RangeRequest("\0", FROM_KEY, max_mod_revision=4))
    assert ([kv.key for kv in old.kvs], old.count) == (["b", "c"], 3)


def test_a_transaction_is_one_revision_and_sees_what_it_wrote() -> None:
    store = example()
    done = store.txn(
        [Compare("b", "MOD", "EQUAL", 4), Compare("a", "VERSION", "EQUAL", 0)],
        [PutRequest("c", 1), RangeRequest("\0", FROM_KEY), DeleteRangeRequest("b", prev_kv=True)],
        [RangeRequest("b")],
    )
    assert done.succeeded
    assert done.revision == store.revision == 5
    assert [response.revision for response in done.responses] == [5, 5, 5]
    assert values(store) == {"c": 1}
    assert store.range("b", revision=4).kvs == (KeyValue("b", 1, 4, 4, 1),)


def test_a_transaction_that_cannot_be_whole_is_not_at_all() -> None:
    store = example()
    with pytest.raises(ErrKeyNotFound, match="^etcdserver: key not found$"):
        store.txn([], [PutRequest("c", 1), PutRequest("d", ignore_value=True)])
    with pytest.raises(ErrFutureRev):
        store.txn([], [PutRequest("c", 1), RangeRequest("c", revision=5)])
    assert values(store) == {"b": 1}
    assert store.revision == 4


def test_conditions_inside_are_decided_before_anything_changes() -> None:
    store = example()
    inner = TxnRequest((Compare("c", "VERSION", "GREATER", 0),), (PutRequest("d", 1),))
    done = store.txn([], [PutRequest("c", 1), inner])
    assert done.responses[1] == TxnResponse(0, succeeded=False, responses=())
    assert values(store) == {"b": 1, "c": 1}


def test_the_value_of_a_missing_key_compares_with_nothing() -> None:
    store = KVStore()
    assert not store.txn([Compare("a", "VALUE", "NOT_EQUAL", "x")], []).succeeded
    assert store.txn([Compare("a", "LEASE", "EQUAL", 0)], []).succeeded


def test_a_put_can_keep_the_value() -> None:
    store = example()
    done = apply_put(store, PutRequest("b", lease=7, ignore_value=True, prev_kv=True))
    assert done.prev_kv == KeyValue("b", 1, 4, 4, 1)
    assert store.latest("b") == KeyValue("b", 1, 4, 5, 2, 7)


def test_a_snapshot_is_not_touched_by_what_comes_after() -> None:
    store = example()
    taken = store.snapshot()
    store.put("b", 2)
    store.delete_range("\0", FROM_KEY)
    store.compact(6)
    twin = KVStore()
    twin.restore(taken)
    assert [values(twin, revision) for revision in (2, 3, 4)] == [{"a": 1}, {"a": 2}, {"b": 1}]
    twin.put("b", 3)
    assert values(store) == {}
    store.restore(taken)
    assert values(store) == {"b": 1}
    assert store.revision == 4
    assert values(twin) == {"b": 3}


def test_equal_histories_have_equal_hashes() -> None:
    one, two = example(), example()
    assert one.hash_kv(encode=lambda value: b"%d" % value) == two.hash_kv(
        encode=lambda value: b"%d" % value
    )
    two.put("b", 2)
    assert one.hash_kv(encode=repr_bytes).hash != two.hash_kv(encode=repr_bytes).hash
    assert one.hash_kv(4, encode=repr_bytes).hash == two.hash_kv(4, encode=repr_bytes).hash


def repr_bytes(value: object) -> bytes:
    return repr(value).encode()


def test_a_key_written_once_reads_and_counts_like_any_other() -> None:
    store = KVStore()
    store.put("once", 1)
    store.put("twice", 1)
    store.put("twice", 2)
    store.stage_put("first", 1)
    store.stage_put("second", 1)
    store.commit()
    assert values(store, 2) == {"once": 1}
    assert values(store, 4) == {"once": 1, "twice": 2}
    assert [(*revision, kv.key) for revision, kv in sorted(store.entries())] == [
        (2, 0, "once"),
        (3, 0, "twice"),
        (4, 0, "twice"),
        (5, 0, "first"),
        (5, 1, "second"),
    ]
    before = store.snapshot()
    store.compact(5)
    store.delete_range("twice")
    assert values(store, 5) == {"once": 1, "twice": 2, "first": 1, "second": 1}
    store.restore(before)
    assert values(store, 3) == {"once": 1, "twice": 1}
