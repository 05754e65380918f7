from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery.schema import schema_for
from pytest_kubesim.cluster.matching import differences, matches

POD = {
    "metadata": {"name": "p", "labels": {"app": "x"}},
    "spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "j:1"}]},
    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "reason": ""}]},
}
SCHEMA = schema_for("", "v1", "Pod")


def test_a_match_names_only_what_matters() -> None:
    assert matches({"status": {"phase": "Running"}}, POD, SCHEMA)
    assert not matches({"status": {"phase": "Pending"}}, POD, SCHEMA)


def test_lists_match_by_the_schemas_merge_keys() -> None:
    assert matches({"spec": {"containers": [{"name": "b", "image": "j:1"}]}}, POD, SCHEMA)
    assert not matches({"spec": {"containers": [{"name": "c"}]}}, POD, SCHEMA)


def test_conditions_match_by_type_without_a_schema() -> None:
    assert matches({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, POD)


def test_other_lists_match_element_by_element() -> None:
    assert matches({"a": [1, {"x": 1}]}, {"a": [1, {"x": 1, "y": 2}]})
    assert not matches({"a": [1]}, {"a": [1, 2]})


def test_none_means_absent() -> None:
    assert matches({"metadata": {"deletionTimestamp": None}}, POD, SCHEMA)
    assert not matches({"metadata": {"name": None}}, POD, SCHEMA)
    assert matches({"metadata": {"annotations": {"x": None}}}, POD, SCHEMA)


def test_a_predicate_stands_for_an_object_or_a_value() -> None:
    assert matches(lambda pod: pod["status"]["phase"] == "Running", POD)
    assert matches({"spec": {"containers": lambda cs: len(cs) == 2}}, POD, SCHEMA)


def test_true_is_not_one() -> None:
    assert not matches({"x": 1}, {"x": True})


def test_a_difference_says_where_what_and_what_instead() -> None:
    found = differences({"spec": {"containers": [{"name": "a", "image": "i:2"}]}}, POD, SCHEMA)
    assert [str(d) for d in found] == ["spec.containers[name=a].image: expected 'i:2', was 'i:1'"]


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(st.dictionaries(st.text(max_size=3), json, max_size=4))
def test_every_object_matches_itself(obj: dict) -> None:
    assert matches(obj, obj)


@given(st.dictionaries(st.text(max_size=3), json, max_size=4), st.dictionaries(st.text(max_size=3), json, max_size=4))
def test_matches_and_differences_agree(match: dict, obj: dict) -> None:
    assert matches(match, obj) == (not differences(match, obj))
