"""Completion indexes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.controller_manager import job_indexes

INDEXES = st.sets(st.integers(0, 40))


@pytest.mark.parametrize(
    ("indexes", "text"),
    [([], ""), ([0], "0"), ([0, 1], "0,1"), ([0, 1, 2], "0-2"), ([1, 3, 4, 5, 7], "1,3-5,7")],
)
def test_how_indexes_are_written(indexes, text):
    assert job_indexes.to_text(job_indexes.with_indexes((), indexes)) == text


def test_indexes_beyond_the_last_are_cut_off():
    assert job_indexes.parse("0-9,20", 5) == ((0, 4),)


@given(INDEXES)
def test_what_is_written_is_read_again(indexes):
    intervals = job_indexes.with_indexes((), indexes)
    assert job_indexes.parse(job_indexes.to_text(intervals), 100) == _joined(intervals)
    assert job_indexes.total(intervals) == len(indexes)


def _joined(intervals):
    return intervals


@given(INDEXES, INDEXES)
def test_merging_is_union(left, right):
    merged = job_indexes.with_indexes(job_indexes.with_indexes((), left), right)
    assert {i for i in range(50) if job_indexes.has(merged, i)} == left | right


@given(INDEXES, st.integers(0, 10), st.integers(0, 45))
def test_pending_indexes_are_the_first_that_are_not_taken(taken, count, completions):
    intervals = job_indexes.with_indexes((), taken)
    expected = [i for i in range(completions) if i not in taken][:count]
    assert job_indexes.first_pending(intervals, count, completions) == expected


def test_names_with_an_index_are_cut_before_the_index():
    assert job_indexes.generate_name("job", 3) == "job-3-"
    name = job_indexes.generate_name("j" * 80, 12)
    assert len(name) == 58
    assert name.endswith("-12-")
