"""What the store costs with 20,000 keys, and one watcher for each of 60 resources.

Orders of magnitude to hold: a put under 5 us, a transaction of one condition and one put under 8 us, a range of
10,000 keys under 3 ms, a snapshot a few ms.
"""

from __future__ import annotations

import itertools
from typing import Any, TypeAlias

import pytest

from pytest_kubesim.etcd.client import Client
from pytest_kubesim.etcd.member import Member
from pytest_kubesim.etcd.messages import Compare, PutRequest, RangeRequest
from pytest_kubesim.etcd.mvcc.watchable_store import WatchableStore

pytest.importorskip("pytest_benchmark")

# pytest-benchmark's fixture, which has no types.
BenchmarkFixture: TypeAlias = Any

KEY = "/registry/r3/namespace-3/name-3"


def fill(store: WatchableStore) -> WatchableStore:
    for number in range(60):
        store.watch(f"/registry/r{number}/", f"/registry/r{number}0", prev_kv=True)
    for number in range(20_000):
        resource, namespace = number % 60, number % 17
        store.put(f"/registry/r{resource}/namespace-{namespace}/name-{number}", b"value")
    return store


@pytest.fixture
def store() -> WatchableStore:
    return fill(WatchableStore())


def test_put_of_a_new_key(benchmark: BenchmarkFixture, store: WatchableStore) -> None:
    numbers = itertools.count()
    benchmark(lambda: store.put(f"/registry/r7/new/{next(numbers)}", b"value"))


def test_put_of_a_known_key(benchmark: BenchmarkFixture, store: WatchableStore) -> None:
    benchmark(store.put, KEY, b"value")


def test_txn_of_one_condition_and_one_put(
    benchmark: BenchmarkFixture, store: WatchableStore
) -> None:
    read = (RangeRequest(KEY),)

    def update() -> None:
        held = store.latest(KEY)
        assert held is not None
        store.txn(
            (Compare(KEY, "MOD", "EQUAL", held.mod_revision),), (PutRequest(KEY, b"v"),), read
        )

    benchmark(update)


def test_txn_through_the_client(benchmark: BenchmarkFixture) -> None:
    member = Member()
    fill(member.store)
    client = Client(member)

    async def update() -> None:
        held = (await client.get(KEY)).kvs[0]
        compare = (Compare(KEY, "MOD", "EQUAL", held.mod_revision),)
        await client.txn(compare, (PutRequest(KEY, b"v"),), (RangeRequest(KEY),))

    def run() -> None:
        try:
            update().send(None)
        except StopIteration:
            return

    benchmark(run)


@pytest.mark.parametrize("back", [0, 100])
def test_range_of_10000_keys(benchmark: BenchmarkFixture, store: WatchableStore, back: int) -> None:
    revision = store.revision - back
    found = benchmark(store.range, "/registry/", "/registry0", revision=revision, limit=10_000)
    assert len(found.kvs) == 10_000


def test_snapshot_and_restore(benchmark: BenchmarkFixture, store: WatchableStore) -> None:
    benchmark(lambda: store.restore(store.snapshot()))


def test_compaction_of_2000_changes(benchmark: BenchmarkFixture, store: WatchableStore) -> None:
    store.compact(store.revision)

    def change() -> tuple[tuple[Any, ...], dict[str, Any]]:
        for number in range(2000):
            store.put(f"/registry/r1/new/{number % 100}", b"value")
        return (store.revision,), {}

    benchmark.pedantic(store.compact, setup=change, rounds=10)
