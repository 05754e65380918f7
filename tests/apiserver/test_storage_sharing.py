"""Equal parts of stored objects are one object."""

from __future__ import annotations

import copy
import json
from typing import Any, cast

import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apiserver.responses import to_yaml
from pytest_kubesim.apiserver.storage import sharing
from pytest_kubesim.apiserver.storage.sharing import Parts
from pytest_kubesim.cluster.cluster import Cluster

ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=20,
)
OBJECTS = st.dictionaries(
    st.sampled_from(["kind", "metadata", "spec", "status", "data"]), VALUES, max_size=5
)


def _text(obj: Any) -> str:
    return json.dumps(obj, sort_keys=False)


@given(st.lists(OBJECTS, max_size=6))
def test_what_is_shared_says_the_same_to_the_letter(objects: list[dict[str, Any]]) -> None:
    parts = Parts()
    before: dict[str, Any] | None = None
    for obj in objects:
        given_text = _text(obj)
        found = parts.shared(obj, before)
        assert _text(found) == given_text == _text(obj)
        before = found


def _changed(draw: st.DataObject, value: Any) -> Any:
    """The value with something else somewhere in it; all beside it is the very same."""
    if not isinstance(value, (dict, list)) or not value or draw.draw(st.booleans()):
        return draw.draw(VALUES)
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        key = draw.draw(st.sampled_from(sorted(entries)))
        return {**entries, key: _changed(draw, entries[key])}
    items = cast("list[Any]", value)
    index = draw.draw(st.integers(0, len(items) - 1))
    return [*items[:index], _changed(draw, items[index]), *items[index + 1 :]]


@given(OBJECTS, st.data())
def test_what_replaces_an_object_and_shares_with_it_stays_what_it_is(
    obj: dict[str, Any], draw: st.DataObject
) -> None:
    parts = Parts()
    before = parts.shared(obj, None)
    for _ in range(3):
        new = _changed(draw, before) if before else draw.draw(OBJECTS)
        if not isinstance(new, dict):
            continue
        text = _text(new)
        before = parts.shared(cast("dict[str, Any]", new), before)
        assert _text(before) == text


def test_equal_parts_of_two_objects_are_one() -> None:
    parts = Parts()
    first: dict[str, Any] = {
        "metadata": {"name": "a", "labels": {"app": "x"}},
        "spec": {"list": [{"k": [1]}]},
    }
    second = copy.deepcopy(first)
    second["metadata"]["name"] = "b"
    parts.shared(first, None)
    found = parts.shared(second, None)
    assert found["metadata"]["labels"] is first["metadata"]["labels"]
    assert found["spec"]["list"] is first["spec"]["list"]
    assert second["metadata"]["labels"] is not first["metadata"]["labels"]


def test_a_number_is_not_taken_for_another_that_equals_it() -> None:
    parts = Parts()
    for value in (1, True, 1.0):
        found = parts.shared({"spec": {"part": {"value": value}}}, None)
        assert type(found["spec"]["part"]["value"]) is type(value)


def test_what_is_the_same_as_before_is_not_looked_at() -> None:
    parts = Parts()
    labels = {"app": "x"}
    before = {"metadata": {"labels": labels}}
    parts.shared({"metadata": {"labels": dict(labels)}}, None)
    assert parts.shared({"metadata": {"labels": labels}}, before)["metadata"]["labels"] is labels


def test_a_new_time_beside_known_parts_is_not_looked_up() -> None:
    parts = Parts()
    fields: dict[str, Any] = {"f:spec": {}}
    before: dict[str, Any] = {"metadata": {"managedFields": [{"time": "1", "fieldsV1": fields}]}}
    now: dict[str, Any] = {"metadata": {"managedFields": [{"time": "2", "fieldsV1": fields}]}}
    assert parts.shared(now, before) is now
    assert not parts.remembered_bytes


def test_texts_and_numbers_without_an_encoding_are_let_through() -> None:
    obj = {"spec": {"part": {"text": "\ud800"}, "number": [2**80]}}
    assert Parts().shared(obj, None) == obj


def test_it_remembers_a_bounded_number_of_parts() -> None:
    parts = Parts()
    for number in range(100_000):
        parts.shared({"spec": {"part": {"number": str(number)}}}, None)
    assert parts.remembered_bytes <= 2 * sharing.HALF_BYTES


def test_pods_of_a_replica_set_share_what_their_managers_own() -> None:
    cluster = Cluster()
    cluster.add_nodes(2)
    template = {
        "metadata": {"labels": {"app": "d"}},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]},
    }
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "d"}}, "template": template}
    cluster.create(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    )
    cluster.eventually("pods", {"status": {"phase": "Running"}}, count=2, within="5m")
    caches = cluster.control_plane.servers[0].caches()
    one, other = next(cache for cache in caches if cache.kind == "Pod").objects.values()
    fields = [obj["metadata"]["managedFields"][0]["fieldsV1"] for obj in (one, other)]
    assert fields[0] is fields[1]
    text = to_yaml({"items": [one, other]}).decode()
    assert "&id" not in text
    assert yaml.safe_load(text) == {"items": [one, other]}
