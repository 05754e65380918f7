"""The ordered key set against a sorted list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.etcd.messages import FROM_KEY, prefix_end
from pytest_kubesim.etcd.mvcc import index
from pytest_kubesim.etcd.mvcc.index import SortedKeys

KEYS = st.text(alphabet="ab/c", min_size=1, max_size=3)


@pytest.fixture(autouse=True, scope="module")
def small_buckets() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "_BUCKET", 2)
        yield


@given(st.lists(KEYS), KEYS, st.one_of(KEYS, st.just(FROM_KEY)), st.integers(0, 4))
def test_a_range_is_the_slice_of_a_sorted_list(
    toggled: list[str], key: str, range_end: str, limit: int
) -> None:
    keys, expected = SortedKeys(), set[str]()
    for each in toggled:
        if each in expected:
            keys.remove(each)
        else:
            keys.add(each)
        expected ^= {each}
    inside = sorted(k for k in expected if k >= key and (range_end == FROM_KEY or k < range_end))
    assert keys.range(key, range_end) == inside
    assert keys.range(key, range_end, limit) == (inside[:limit] if limit else inside)
    assert keys.count(key, range_end) == len(inside)
    assert keys.copy().range("\0", FROM_KEY) == sorted(expected)
    assert len(keys) == len(expected)


@given(st.text(max_size=3), st.text(max_size=4))
def test_the_end_of_a_prefix_is_after_all_that_begins_with_it(prefix: str, key: str) -> None:
    end = prefix_end(prefix)
    inside = key >= prefix and (end == FROM_KEY or key < end)
    assert inside == key.startswith(prefix)
