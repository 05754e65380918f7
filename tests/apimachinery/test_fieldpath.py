"""Sets of fields: their encoding and their algebra."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import fieldpath
from pytest_kubesim.apimachinery.fieldpath import FieldSet, Path

ELEMENTS = st.sampled_from(
    [
        "f:a",
        "f:b",
        "f:z.y",
        'k:{"name":"c"}',
        'k:{"port":80}',
        'k:{"port":9}',
        "v:1",
        'v:"x"',
        "i:2",
    ]
)
PATHS = st.lists(ELEMENTS, min_size=1, max_size=4).map(tuple)
PATH_SETS = st.frozensets(PATHS, max_size=8)


def a_set(paths: frozenset[Path]) -> FieldSet:
    return fieldpath.of(*sorted(paths))


def members(fields: FieldSet) -> set[Path]:
    found = list(fieldpath.paths(fields))
    assert len(found) == len(set(found))
    return set(found)


@given(PATH_SETS)
def test_a_set_holds_the_paths_it_was_made_of(paths: frozenset[Path]) -> None:
    fields = a_set(paths)
    assert members(fields) == paths
    assert all(fieldpath.has(fields, path) for path in paths)


@given(PATH_SETS)
def test_reading_what_was_written_gives_the_same(paths: frozenset[Path]) -> None:
    fields = a_set(paths)
    assert fieldpath.from_json(fields) == fields
    assert list(fieldpath.from_json(dict(reversed(fields.items())))) == list(fields)


@given(PATH_SETS, PATH_SETS)
def test_union_difference_and_intersection_are_those_of_sets(
    left: frozenset[Path], right: frozenset[Path]
) -> None:
    ours, theirs = a_set(left), a_set(right)
    assert members(fieldpath.union(ours, theirs)) == left | right
    assert members(fieldpath.intersection(ours, theirs)) == left & right
    assert members(fieldpath.difference(ours, theirs)) == left - right
    assert ours == a_set(left)
    assert theirs == a_set(right)


@given(PATH_SETS, PATH_SETS)
def test_recursive_difference_takes_what_is_below_too(
    left: frozenset[Path], right: frozenset[Path]
) -> None:
    kept = {path for path in left if not any(path[: len(gone)] == gone for gone in right)}
    assert members(fieldpath.recursive_difference(a_set(left), a_set(right))) == kept


@given(PATH_SETS)
def test_leaves_have_nothing_below_them(paths: frozenset[Path]) -> None:
    expected = {
        path
        for path in paths
        if not any(other != path and other[: len(path)] == path for other in paths)
    }
    assert members(fieldpath.leaves(a_set(paths))) == expected


def test_elements_are_ordered_fields_keys_values_positions() -> None:
    given_order = ["i:1", "v:2", 'k:{"port":443}', 'k:{"port":80}', "f:b", "f:a", "i:0", 'v:"1"']
    assert fieldpath.in_order(given_order) == [
        "f:a",
        "f:b",
        'k:{"port":80}',
        'k:{"port":443}',
        "v:2",
        'v:"1"',
        "i:0",
        "i:1",
    ]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("f:spec", "f:replicas"), ".spec.replicas"),
        (("f:ports", 'k:{"port":80,"protocol":"TCP"}'), '.ports[port=80,protocol="TCP"]'),
        (("f:finalizers", 'v:"a\\"b"'), '.finalizers[="a\\"b"]'),
        (("f:x", "i:3", "v:true", "v:1.5"), ".x[3][=true][=1.5]"),
    ],
)
def test_paths_read_as_in_messages(path: Path, text: str) -> None:
    assert fieldpath.path_text(path) == text


def test_reading_normalises_keys_and_drops_unknown_kinds() -> None:
    given_json: dict[str, Any] = {
        ".": {},
        "x:future": {"f:a": {}},
        'k:{ "b": 1, "a": "<" }': {"x:future": {}},
        "f:only": {"x:future": {}},
    }
    assert fieldpath.from_json(given_json) == {
        "f:only": {},
        'k:{"a":"\\u003c","b":1}': {},
    }


@pytest.mark.parametrize("bad", [{"a": {}}, {"fa": {}}, {"k:[": {}}, {"f:a": 1}, 3])
def test_malformed_sets_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- the text is the JSON library's, in part
        fieldpath.from_json(bad)


def test_filters_exclude_subtrees_or_keep_only_patterns() -> None:
    fields = fieldpath.of(
        ("f:status", "f:phase"),
        ("f:spec", "f:containers", 'k:{"name":"c"}', "f:resources", "f:limits"),
        ("f:spec", "f:containers", 'k:{"name":"c"}', "f:image"),
    )
    without = fieldpath.excluding(fieldpath.of_fields("status"))
    assert members(without(fields)) == members(fields) - {("f:status", "f:phase")}
    only = fieldpath.including(("f:spec", "f:containers", fieldpath.ANY, "f:resources"))
    assert members(only(fields)) == {
        ("f:spec", "f:containers", 'k:{"name":"c"}', "f:resources", "f:limits")
    }
