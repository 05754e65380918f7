"""What changed between two states of an object."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.report.differences import differences


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"spec": {"replicas": 1}}, {"spec": {"replicas": 3}}, [("spec.replicas", 1, 3)]),
        ({}, {"metadata": {"labels": {"a": "b"}}}, [("metadata", None, {"labels": {"a": "b"}})]),
        ({"metadata": {"resourceVersion": "1"}}, {"metadata": {"resourceVersion": "2"}}, []),
        (
            {"c": [{"type": "Ready", "status": "False"}, {"type": "Synced", "status": "True"}]},
            {"c": [{"type": "Synced", "status": "True"}, {"type": "Ready", "status": "True"}]},
            [("c[Ready].status", "False", "True")],
        ),
        ({"l": [{"name": "a"}]}, {"l": []}, [("l[a]", {"name": "a"}, None)]),
        ({"args": ["a", "b"]}, {"args": ["b"]}, [("args", ["a", "b"], ["b"])]),
        (
            {"env": [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]},
            {"env": [{"name": "a", "value": "2"}]},
            [("env", [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}],
              [{"name": "a", "value": "2"}])],
        ),
        ({"labels": {"app.io/x": "1"}}, {"labels": {"app.io/x": "2"}},
         [("labels[app.io/x]", "1", "2")]),
    ],
)
def test_each_changed_field_is_a_line(before: Any, after: Any, told: list[Any]) -> None:
    assert list(differences(before, after)) == told


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["name", "type", "a", "b"]), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_nothing_differs_from_itself(value: Any) -> None:
    assert list(differences(value, value)) == []
