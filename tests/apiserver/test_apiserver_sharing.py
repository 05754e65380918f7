"""What a write shares with what is stored needs no second look, and the result is the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery.go_decoding import check_types, unknown_fields
from pytest_kubesim.apimachinery.go_encoding import roundtrip
from pytest_kubesim.apimachinery.schema import schema_for

SCHEMA = schema_for("", "v1", "Pod")
assert SCHEMA is not None
STORED = roundtrip(
    SCHEMA,
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "b"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "containers": [
                {"name": "c", "image": "i", "resources": {"limits": {"cpu": "0.5"}}},
                {"name": "d", "image": "j", "ports": [{"containerPort": 80}]},
            ],
            "nodeSelector": {"x": "y"},
        },
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"},
    },
)

VALUES = st.sampled_from(
    [None, "", "text", 0, 7, 1.5, True, [], {}, ["x"], {"a": None}, [None], "1.50", {"cpu": "0.25"}]
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key, below in value.items():
            found += paths(below, (*path, key))
        found.append((*path, "unknown"))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            found += paths(below, (*path, index))
        found.append((*path, len(value)))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with something else at a path; all beside the path is shared."""
    if not path:
        return new
    head, *rest = path
    if isinstance(value, list):
        below = value[head] if head < len(value) else None
        return [*value[:head], replaced(below, tuple(rest), new), *value[head + 1 :]]
    return {**value, head: replaced(value.get(head), tuple(rest), new)}


@given(st.sampled_from(paths(STORED)), VALUES)
def test_a_changed_object_is_judged_and_printed_as_if_nothing_were_known_of_it(
    path: tuple[Any, ...], value: Any
) -> None:
    obj = replaced(STORED, path, value)
    assert SCHEMA is not None
    wrong = check_types(SCHEMA, obj)
    assert check_types(SCHEMA, obj, STORED) == wrong
    if wrong is not None:
        return
    assert unknown_fields(SCHEMA, obj, STORED) == unknown_fields(SCHEMA, obj)
    printed = roundtrip(SCHEMA, obj, STORED)
    alone = roundtrip(SCHEMA, obj)
    assert printed == alone
    assert repr(printed) == repr(alone)


def test_parts_that_are_shared_stay_the_same() -> None:
    assert SCHEMA is not None
    obj = replaced(STORED, ("status", "phase"), "Failed")
    assert roundtrip(SCHEMA, obj, STORED)["spec"] is STORED["spec"]
