"""JSON patches and merge patches as evanphx/json-patch carries them out."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import jsonpatch, mergepatch

SCALARS = st.one_of(st.integers(0, 3), st.sampled_from(["x", ""]), st.booleans())
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


@pytest.mark.parametrize(
    ("document", "operation", "result"),
    [
        ({"a": 1}, {"op": "replace", "path": "/a", "value": 2}, {"a": 2}),
        ({}, {"op": "replace", "path": "/new", "value": 2}, {"new": 2}),
        ({"l": ["a", "b"]}, {"op": "add", "path": "/l/-", "value": "c"}, {"l": ["a", "b", "c"]}),
        ({"l": ["a", "b"]}, {"op": "add", "path": "/l/1", "value": "m"}, {"l": ["a", "m", "b"]}),
        ({"l": ["a", "b"]}, {"op": "remove", "path": "/l/-1"}, {"l": ["a"]}),
        ({"l": {}}, {"op": "add", "path": "/l/a~1b~0c", "value": 1}, {"l": {"a/b~c": 1}}),
        ({"a": {"b": 1}}, {"op": "move", "from": "/a/b", "path": "/c"}, {"a": {}, "c": 1}),
        ({"a": [1]}, {"op": "copy", "from": "/a", "path": "/b"}, {"a": [1], "b": [1]}),
        ({"a": 1}, {"op": "replace", "path": "", "value": {"b": 2}}, {"b": 2}),
        ({"a": 1}, {"op": "test", "path": "/b", "value": None}, {"a": 1}),
        ({"a": 1}, {"op": "add", "path": "x/b", "value": 1}, {"a": 1, "b": 1}),
    ],
)
def test_an_operation_does_what_the_library_does(document, operation, result):
    before = copy.deepcopy(document)
    assert jsonpatch.apply(document, [operation]) == result
    assert document == before


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ({"op": "test", "path": "/a", "value": 2}, "testing value /a failed: test failed"),
        ({"op": "test", "path": "/a", "value": True}, "testing value /a failed: test failed"),
        (
            {"op": "remove", "path": "/x"},
            "error in remove for path: '/x': Unable to remove nonexistent key: x: missing value",
        ),
        (
            {"op": "add", "path": "/x/y", "value": 1},
            'add operation does not apply: doc is missing path: "/x/y": missing value',
        ),
        (
            {"op": "add", "path": "/l/5", "value": 1},
            (
                "error in add for path: '/l/5': Unable to access invalid index: 5: invalid index "
                "referenced"
            ),
        ),
        ({"op": "nope", "path": "/a"}, "Unexpected kind: nope"),
        ({"op": "add", "value": 1}, "add operation failed to decode path: missing value"),
    ],
)
def test_what_does_not_apply_is_refused_in_the_librarys_words(operation, message):
    with pytest.raises(jsonpatch.JSONPatchError) as caught:
        jsonpatch.apply({"a": 1, "l": []}, [operation])
    assert str(caught.value) == message


def test_what_is_no_patch_is_refused_as_gos_decoder_does():
    with pytest.raises(jsonpatch.JSONPatchError) as caught:
        jsonpatch.decode({})
    assert str(caught.value) == (
        "json: cannot unmarshal object into Go value of type jsonpatch.Patch"
    )


def test_copies_are_limited():
    patch = [{"op": "copy", "from": "/a", "path": "/b"}] * 3
    with pytest.raises(jsonpatch.JSONPatchError, match="exceeding the limit 10"):
        jsonpatch.apply({"a": "xxxx"}, patch, copy_limit_bytes=10)


@given(OBJECTS, st.lists(st.tuples(st.sampled_from(["add", "replace"]), JSON), max_size=3))
def test_a_json_patch_changes_nothing_it_was_given(document, operations):
    before = copy.deepcopy(document)
    patch = [{"op": op, "path": f"/{k}", "value": v} for k, (op, v) in zip("abc", operations)]
    result = jsonpatch.apply(document, patch)
    assert document == before
    assert all(result[op["path"][1:]] == op["value"] for op in patch)


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({}, {"a": [{"b": None}]}, {"a": [{}]}),
        ({"a": {}}, {"a": [{"b": None}]}, {"a": [{"b": None}]}),
    ],
)
def test_a_merge_patch_merges(document, patch, result):
    before = copy.deepcopy(document)
    assert mergepatch.apply(document, patch) == result
    assert document == before


@given(OBJECTS, OBJECTS)
def test_a_difference_applied_gives_the_other(original, modified):
    patch = mergepatch.create(original, modified)
    assert mergepatch.apply(original, patch) == modified
    assert mergepatch.create(modified, modified) == {}
