"""Who hears of a change, and what a change is long after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_kubesim.apiserver.storage.indexed_watchers import EVERYTHING, IndexedWatchers
from pytest_kubesim.apiserver.storage.watch import CacheWatcher, Change
from pytest_kubesim.etcd.messages import KeyValue
from pytest_kubesim.sim.kernel import Kernel

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

GROUPS = [
    ("trigger", "node-1"),
    EVERYTHING,
    ("namespace", "default"),
    ("key", "default/web"),
    ("name", "web"),
    ("trigger", "node-2"),
    ("namespace", "other"),
]


def _node(obj: Object) -> str:
    return obj["spec"].get("nodeName") or ""


def _decode(kv: KeyValue) -> Object:
    value: dict[str, Any] = kv.value
    return {**value, "metadata": {**value["metadata"], "resourceVersion": str(kv.mod_revision)}}


def _record(node: str, revision: int) -> KeyValue:
    value = {"metadata": {"namespace": "default", "name": "web"}, "spec": {"nodeName": node}}
    return KeyValue("/registry/pods/default/web", value, 1, revision, revision)


def _change(old: str | None, new: str | None) -> Change:
    before = None if old is None else _record(old, 1)
    after = _record(new or "", 2)
    return Change(
        after,
        before,
        None if new is None else _decode(after),
        None if before is None else _decode(before),
        0,
        _decode,
    )


def _watchers() -> IndexedWatchers:
    found = IndexedWatchers(_node)
    for identity, group in enumerate(GROUPS):
        watcher = CacheWatcher(
            Kernel(), identity, group, None, bookmarks=False, stop=lambda _watcher: None
        )
        found.add(watcher)
    return found


@pytest.mark.parametrize(
    ("old", "new", "heard"),
    [
        (None, "", [1, 2, 3, 4]),
        ("", "node-2", [1, 2, 3, 4, 5]),
        ("node-2", "node-1", [0, 1, 2, 3, 4, 5]),
        ("node-1", "node-1", [0, 1, 2, 3, 4]),
        ("node-1", None, [0, 1, 2, 3, 4]),
    ],
)
def test_they_hear_whom_it_concerns_in_the_order_in_which_they_came(
    old: str | None, new: str | None, heard: list[int]
) -> None:
    assert [w.id for w in _watchers().concerned(_change(old, new))] == heard


def test_who_has_gone_hears_nothing() -> None:
    watchers = _watchers()
    for watcher in watchers.all()[:5]:
        assert watchers.discard(watcher)
        assert not watchers.discard(watcher)
    assert watchers.concerned(_change("node-1", "node-1")) == []
    assert [watcher.id for watcher in watchers.all()] == [5, 6]


@pytest.mark.parametrize(("old", "new"), [(None, "a"), ("a", "b"), ("a", None)])
def test_a_faded_change_says_what_it_said(old: str | None, new: str | None) -> None:
    change = _change(old, new)
    obj, before, event = change.obj, change.old, change.seen(None)
    change.fade()
    assert (change.obj, change.old) == (obj, before)
    again = change.seen(None)
    assert event is not None
    assert again is not None
    assert (again.type, again.object, again.revision) == (event.type, event.object, event.revision)
