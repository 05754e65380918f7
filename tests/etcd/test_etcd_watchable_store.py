"""Watchers: what they hear, in which order, and when they end."""

from __future__ import annotations

import pytest

from pytest_kubesim.etcd.messages import (
    ErrEmptyWatcherRange,
    Event,
    KeyValue,
    PutRequest,
    WatchResponse,
)
from pytest_kubesim.etcd.mvcc import watchable_store
from pytest_kubesim.etcd.mvcc.watchable_store import WatchableStore


def heard(responses: list[WatchResponse]) -> list[tuple[int, str, str]]:
    return [
        (event.kv.mod_revision, event.type, event.kv.key)
        for response in responses
        for event in response.events
    ]


def example() -> WatchableStore:
    """Revisions 2 to 4 change a, b, a."""
    store = WatchableStore()
    store.put("a", 1)
    store.put("b", 1)
    store.put("a", 2)
    return store


def test_a_watcher_from_now_hears_what_follows() -> None:
    store, got = example(), list[WatchResponse]()
    watcher = store.watch("a", callback=got.append, prev_kv=True)
    assert store.is_synced(watcher)
    store.put("b", 2)
    store.put("a", 3)
    store.delete_range("a")
    a3, gone = KeyValue("a", 3, 2, 6, 3), KeyValue("a", None, 0, 7, 0)
    assert got == [
        WatchResponse(6, (Event("PUT", a3, KeyValue("a", 2, 2, 4, 2)),)),
        WatchResponse(7, (Event("DELETE", gone, a3),)),
    ]
    watcher.cancel()
    store.put("a", 4)
    assert len(got) == 2


def test_a_watcher_from_the_past_is_told_history_first() -> None:
    store, got = example(), list[WatchResponse]()
    watcher = store.watch("a", start_revision=2, callback=got.append)
    assert not store.is_synced(watcher)
    store.put("a", 3)
    assert got == []
    assert store.sync_watchers() == 0
    assert [(response.revision, len(response.events)) for response in got] == [(5, 3)]
    store.put("a", 4)
    assert heard(got) == [(2, "PUT", "a"), (4, "PUT", "a"), (5, "PUT", "a"), (6, "PUT", "a")]


def test_history_comes_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchable_store, "MAX_REVISIONS", 2)
    store, got = example(), list[WatchResponse]()
    store.watch("a", "c", 2, got.append)
    assert store.sync_watchers() == 1
    assert heard(got) == [(2, "PUT", "a"), (3, "PUT", "b")]
    assert store.sync_watchers() == 0
    assert heard(got)[2:] == [(4, "PUT", "a")]


def test_a_watcher_of_the_future_hears_nothing_before() -> None:
    store, got = example(), list[WatchResponse]()
    watcher = store.watch("a", start_revision=6, callback=got.append)
    store.put("a", 3)
    assert not store.progress(watcher)
    store.put("a", 4)
    assert heard(got) == [(6, "PUT", "a")]


def test_a_watcher_behind_compaction_is_ended() -> None:
    store, got = example(), list[WatchResponse]()
    store.compact(4)
    store.watch("a", start_revision=3, callback=got.append)
    store.watch("a", start_revision=4, callback=got.append, prev_kv=True)
    store.sync_watchers()
    store.put("a", 3)
    assert got[0] == WatchResponse(0, (), 4)
    assert heard(got[1:]) == [(4, "PUT", "a"), (5, "PUT", "a")]
    assert got[1].events[0].prev_kv is None


def test_filters_drop_events_and_nothing_is_sent_for_nothing() -> None:
    store, puts, deletes = example(), list[WatchResponse](), list[WatchResponse]()
    store.watch("a", "z", callback=puts.append, filters=("NODELETE",))
    store.watch("a", "z", callback=deletes.append, filters=("NOPUT",))
    store.put("a", 3)
    store.delete_range("a")
    assert (heard(puts), heard(deletes)) == ([(5, "PUT", "a")], [(6, "DELETE", "a")])
    assert (len(puts), len(deletes)) == (1, 1)


def test_a_transaction_is_one_response() -> None:
    store, got = example(), list[WatchResponse]()
    store.watch("b", "d", callback=got.append)
    store.txn([], [PutRequest("c", 1), PutRequest("a", 1), PutRequest("b", 1)])
    assert len(got) == 1
    assert heard(got) == [(5, "PUT", "c"), (5, "PUT", "b")]


def test_overlapping_ranges_each_hear() -> None:
    store = example()
    got = dict[str, list[WatchResponse]]()
    for start, end in (("a", "\0"), ("a", "b"), ("b", "c"), ("aa", "bb"), ("b", "")):
        store.watch(start, end, callback=got.setdefault(f"{start}-{end}", []).append)
    store.put("b", 9)
    assert {name for name, responses in got.items() if responses} == {
        "a-\0",
        "b-c",
        "aa-bb",
        "b-",
    }


def test_what_a_callback_writes_is_heard_after_what_is_being_told() -> None:
    store, got = example(), list[tuple[str, int]]()

    def first(response: WatchResponse) -> None:
        got.append(("first", response.revision))
        if response.revision == 5:
            store.put("a", "written by the callback")
            store.progress(second)

    store.watch("a", callback=first)
    second = store.watch("a", callback=lambda response: got.append(("second", response.revision)))
    store.put("a", 3)
    assert got == [("first", 5), ("second", 5), ("first", 6), ("second", 6), ("second", 6)]


def test_a_watcher_cancelled_by_a_callback_hears_no_more() -> None:
    store, got = example(), list[WatchResponse]()
    store.watch("a", callback=lambda _: second.cancel())
    second = store.watch("a", callback=got.append)
    store.put("a", 3)
    assert got == []


def test_a_watch_begun_in_a_callback_hears_what_follows_once() -> None:
    store, got = example(), list[WatchResponse]()

    def first(response: WatchResponse) -> None:
        if response.revision == 5:
            store.put("a", 4)
            store.watch("a", start_revision=5, callback=got.append)
            store.sync_watchers()

    store.watch("a", callback=first)
    store.put("a", 3)
    assert heard(got) == [(5, "PUT", "a"), (6, "PUT", "a")]


def test_progress_tells_how_far_a_watcher_is() -> None:
    store, got = example(), list[WatchResponse]()
    watcher = store.watch("z", callback=got.append)
    behind = store.watch("a", start_revision=2, callback=got.append)
    assert store.progress(watcher)
    assert not store.progress(behind)
    assert got == [WatchResponse(4)]


def test_a_watch_of_an_empty_range_is_refused() -> None:
    with pytest.raises(ErrEmptyWatcherRange, match="^mvcc: watcher range is empty$"):
        example().watch("b", "a")


def test_a_watcher_ahead_of_a_restored_store_waits() -> None:
    store, got = example(), list[WatchResponse]()
    taken = store.snapshot()
    store.watch("a", callback=got.append)
    store.put("a", 3)
    store.put("a", 4)
    store.restore(taken)
    store.sync_watchers()
    store.put("a", "lost")
    store.put("a", "lost")
    store.put("a", "heard")
    assert [response.revision for response in got] == [5, 6, 7]
    assert got[-1].events[0].kv.value == "heard"
