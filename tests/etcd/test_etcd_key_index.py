"""The life of one key, as the example at the top of ``key_index`` tells it."""

from __future__ import annotations

import pytest

from pytest_kubesim.etcd.messages import KeyValue
from pytest_kubesim.etcd.mvcc.key_index import KeyIndex


def put(main: int, version: int, created: int) -> KeyValue:
    return KeyValue("foo", f"at {main}", created, main, version)


def tombstone(main: int) -> KeyValue:
    return KeyValue("foo", None, 0, main, 0)


def foo() -> KeyIndex:
    """put(1.0) put(2.0) tombstone(3.0) put(4.0) tombstone(5.0)."""
    index = KeyIndex("foo", 0, put(1, 1, 1))
    index.add(put(2, 2, 1))
    index.add(tombstone(3))
    index.add(put(4, 1, 4))
    index.add(tombstone(5))
    return index


def mains(index: KeyIndex) -> list[list[int]]:
    return [[revision.main for revision in each] for each in index.generations()]


def test_a_tombstone_ends_a_generation() -> None:
    assert mains(foo()) == [[1, 2, 3], [4, 5], []]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (2, [[2, 3], [4, 5], []]),
        (3, [[3], [4, 5], []]),
        (4, [[4, 5], []]),
        (5, [[5], []]),
        (6, [list[int]()]),
    ],
)
def test_compaction_keeps_what_is_in_force(at: int, expected: list[list[int]]) -> None:
    index = foo()
    index.drop(index.superseded(at))
    assert mains(index) == expected
    assert index.is_empty() == (at == 6)


@pytest.mark.parametrize(
    ("at", "expected"),
    [(0, None), (1, "at 1"), (2, "at 2"), (3, None), (4, "at 4"), (5, None), (9, None)],
)
def test_a_key_reads_as_it_was(at: int, expected: str | None) -> None:
    found = foo().get(at)
    assert (found.value if found else None) == expected


def test_revisions_since_one_are_the_last_of_each_transaction() -> None:
    index = foo()
    index.add(KeyValue("foo", "a", 6, 6, 1))
    index.add(KeyValue("foo", "b", 6, 6, 2), sub=1)
    assert index.since(4) == [(4, 0), (5, 0), (6, 1)]


@pytest.mark.parametrize(("at", "kept"), [(2, (2, 0)), (3, None), (4, (4, 0)), (6, None)])
def test_a_tombstone_at_the_compacted_revision_does_not_count_for_hashes(
    at: int, kept: tuple[int, int] | None
) -> None:
    assert foo().keep(at) == kept


def test_a_copy_changes_alone() -> None:
    index = foo()
    twin = index.copy(1)
    twin.add(put(6, 1, 6))
    assert mains(index) == [[1, 2, 3], [4, 5], []]
    assert mains(twin) == [[1, 2, 3], [4, 5], [6]]
