"""The store against a naive model, step by step.

The model keeps a dictionary of all keys for every revision, and answers from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pytest_kubesim.etcd import v3rpc
from pytest_kubesim.etcd.messages import (
    FROM_KEY,
    Compare,
    DeleteRangeRequest,
    ErrCompacted,
    ErrFutureRev,
    EtcdError,
    Event,
    KeyValue,
    PutRequest,
    RangeResponse,
    TxnRequest,
    WatchResponse,
)
from pytest_kubesim.etcd.mvcc.watchable_store import WatchableStore

if TYPE_CHECKING:
    from collections.abc import Iterable

KEYS = st.sampled_from(["a", "a/b", "b", "c"])
ENDS = st.one_of(st.just(""), st.just(FROM_KEY), st.just(FROM_KEY), KEYS)
VALUES = st.sampled_from([b"", b"1", b"2", b"3"])
REVISIONS = st.integers(0, 14)
# How far back from now; None is where compaction was.
BACK = st.one_of(st.none(), st.integers(-1, 5))


def within(key: str, start: str, range_end: str) -> bool:
    """Whether a range, by etcd's rules, has a key."""
    if not range_end:
        return key == start
    return key >= start and (range_end == FROM_KEY or key < range_end)


class Naive:
    """Every revision's keys in full; what it was told happened, in order."""

    def __init__(self) -> None:
        self.states: list[dict[str, KeyValue]] = [{}, {}]
        self.changes: list[list[Event]] = [[], []]
        self.compacted = -1

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    def range(self, key: str, range_end: str, revision: int) -> list[KeyValue]:
        at = revision or self.revision
        if at > self.revision:
            raise ErrFutureRev
        if at < self.compacted:
            raise ErrCompacted
        state = self.states[at]
        return [state[name] for name in sorted(state) if within(name, key, range_end)]

    def change(self, steps: Iterable[PutRequest | DeleteRangeRequest]) -> None:
        state, changes, main = dict(self.states[-1]), list[Event](), self.revision + 1
        for step in steps:
            if isinstance(step, PutRequest):
                old = state.get(step.key)
                created, version = (
                    (main, 1) if old is None else (old.create_revision, old.version + 1)
                )
                state[step.key] = KeyValue(step.key, step.value, created, main, version)
                changes.append(Event("PUT", state[step.key], old))
                continue
            for name in sorted(state):
                if within(name, step.key, step.range_end):
                    gone = KeyValue(name, None, 0, main, 0)
                    changes.append(Event("DELETE", gone, state.pop(name)))
        if changes:
            self.states.append(state)
            self.changes.append(changes)

    def events(self, key: str, range_end: str, first: int, last: int) -> list[Event]:
        found = list[Event]()
        for main in range(first, last + 1):
            for event in self.changes[main]:
                if within(event.kv.key, key, range_end):
                    known = event.kv.mod_revision - 1 >= self.compacted
                    found.append(event if known else msgspec.structs.replace(event, prev_kv=None))
        return found


@attrs.define(eq=False)
class Watch:
    """One watch, what it should have heard, and what it did."""

    key: str
    range_end: str
    next_revision: int
    heard: list[Event] = attrs.Factory(list[Event])
    expected: list[Event] = attrs.Factory(list[Event])
    ended: int = 0
    synced: bool = True
    revisions: list[int] = attrs.Factory(list[int])

    def tell(self, response: WatchResponse) -> None:
        self.heard += response.events
        self.ended = response.compact_revision
        self.revisions.append(response.revision)


class StoreAgainstModel(RuleBasedStateMachine):
    """Ours and the naive model, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.store, self.model = WatchableStore(), Naive()
        self.watches = list[Watch]()

    @rule(key=KEYS, value=VALUES)
    def put(self, key: str, value: bytes) -> None:
        self.model.change([PutRequest(key, value)])
        assert self.store.put(key, value) == self.model.revision
        self._all_hear()

    @rule(key=KEYS, range_end=ENDS)
    def delete(self, key: str, range_end: str) -> None:
        count = len(self.model.range(key, range_end, 0))
        self.model.change([DeleteRangeRequest(key, range_end)])
        assert self.store.delete_range(key, range_end) == (count, self.model.revision)
        self._all_hear()

    @rule(
        steps=st.lists(
            st.one_of(
                st.builds(PutRequest, KEYS, VALUES), st.builds(DeleteRangeRequest, KEYS, ENDS)
            ),
            max_size=4,
        )
    )
    def change_at_once(self, steps: list[PutRequest | DeleteRangeRequest]) -> None:
        try:
            v3rpc.check_txn(TxnRequest((), tuple(steps)))
        except EtcdError:
            return
        self.model.change(steps)
        assert self.store.txn([], steps).revision == self.model.revision
        self._all_hear()

    @rule(key=KEYS, expected=REVISIONS, value=VALUES)
    def change_if(self, key: str, expected: int, value: bytes) -> None:
        held = self.model.states[-1].get(key)
        holds = (held.mod_revision if held else 0) == expected
        if holds:
            self.model.change([PutRequest(key, value)])
        done = self.store.txn([Compare(key, "MOD", "EQUAL", expected)], [PutRequest(key, value)])
        assert (done.succeeded, done.revision) == (holds, self.model.revision)
        self._all_hear()

    @rule(key=KEYS, range_end=ENDS, back=BACK, limit=st.integers(0, 3))
    def read(self, key: str, range_end: str, back: int | None, limit: int) -> None:
        revision = self._revision(back)
        try:
            kvs = self.model.range(key, range_end, revision)
        except EtcdError as error:
            told = type(error)
            try:
                self.store.range(key, range_end, revision=revision)
            except told:
                return
            raise
        cut = kvs[:limit] if limit else kvs
        assert self.store.range(key, range_end, revision=revision, limit=limit) == RangeResponse(
            self.model.revision, tuple(cut), len(cut) < len(kvs), len(kvs)
        )
        assert self.store.range(key, range_end, revision=revision, count_only=True).count == len(
            kvs
        )

    @precondition(lambda self: self.model.revision > self.model.compacted)
    @rule(back=st.integers(0, 5))
    def compact(self, back: int) -> None:
        revision = max(self.model.compacted + 1, self.model.revision - back)
        self.store.compact(revision)
        self.model.compacted = revision

    @rule(key=KEYS, range_end=ENDS, back=BACK)
    def watch(self, key: str, range_end: str, back: int | None) -> None:
        if range_end not in {"", FROM_KEY} and key >= range_end:
            return
        start = self._revision(back)
        watch = Watch(key, range_end, start or self.model.revision + 1)
        self.store.watch(key, range_end, start, watch.tell, prev_kv=True)
        watch.synced = watch.next_revision > self.model.revision
        self.watches.append(watch)

    @rule()
    def sync(self) -> None:
        assert self.store.sync_watchers() == 0
        for watch in self.watches:
            if not watch.synced:
                watch.synced = True
                self._hears(watch)
        self.watches = [watch for watch in self.watches if not watch.ended]

    @rule()
    def go_on_with_a_copy(self) -> None:
        taken = self.store.snapshot()
        old, self.store = self.store, WatchableStore()
        self.store.restore(taken)
        self.watches.clear()
        # What the old one does from here on must not show in the new one.
        old.put("a", b"gone")
        old.delete_range("a", FROM_KEY)
        old.compact(old.revision)

    @invariant()
    def watches_heard_what_happened(self) -> None:
        for watch in self.watches:
            assert watch.heard == watch.expected
            assert watch.revisions == sorted(watch.revisions)

    def _revision(self, back: int | None) -> int:
        return max(0, self.model.compacted if back is None else self.model.revision - back)

    def _all_hear(self) -> None:
        for watch in self.watches:
            if watch.synced:
                self._hears(watch)

    def _hears(self, watch: Watch) -> None:
        if watch.next_revision < self.model.compacted:
            assert watch.ended == self.model.compacted
            return
        assert not watch.ended
        watch.expected += self.model.events(
            watch.key, watch.range_end, watch.next_revision, self.model.revision
        )
        watch.next_revision = max(watch.next_revision, self.model.revision + 1)


StoreAgainstModel.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None
)
TestTheStoreAndTheModelAgree = StoreAgainstModel.TestCase
