"""Objects are read without copying and changed without touching them."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import meta

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "uid": "u1"}}


def test_the_accessors_of_an_empty_object_are_empty():
    assert meta.name({}) == meta.namespace({}) == meta.uid({}) == ""
    assert meta.labels({"metadata": {"labels": None}}) == {}
    assert meta.finalizers({"metadata": None}) == []
    assert meta.generation({}) == 0
    assert meta.deletion_timestamp({}) is None


def test_names_print_as_upstream_prints_them():
    assert str(meta.GroupResource("apps", "deployments")) == "deployments.apps"
    assert str(meta.GroupResource("", "pods")) == "pods"
    assert str(meta.GroupVersionKind("apps", "v1", "Deployment")) == "apps/v1, Kind=Deployment"
    assert str(meta.GroupVersionKind("", "v1", "Pod")) == "/v1, Kind=Pod"
    assert str(meta.GroupVersionResource("", "v1", "pods")) == "/v1, Resource=pods"
    assert f"{meta.GroupKind('apps', 'Deployment')}" == "Deployment.apps"


def test_an_api_version_is_split_at_its_slash():
    assert meta.parse_api_version("apps/v1") == ("apps", "v1")
    assert meta.parse_api_version("v1") == ("", "v1")
    assert meta.parse_api_version("") == ("", "")
    with pytest.raises(ValueError, match="unexpected GroupVersion string: a/b/c"):
        meta.parse_api_version("a/b/c")


def test_a_path_is_set_in_a_copy_that_shares_the_rest():
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}}
    before = copy.deepcopy(pod)
    changed = meta.set_path(pod, ("spec", "containers", 1, "image"), "img:2")
    assert changed["spec"]["containers"][1] == {"name": "b", "image": "img:2"}
    assert pod == before
    assert changed["metadata"] is pod["metadata"]
    assert changed["spec"]["containers"][0] is pod["spec"]["containers"][0]


def test_missing_maps_are_made_and_an_index_past_the_end_appends():
    assert meta.set_path({}, ("status", "phase"), "Running") == {"status": {"phase": "Running"}}
    assert meta.set_path({"l": [1]}, ("l", 1), 2) == {"l": [1, 2]}


def test_deleting_what_is_not_there_returns_the_object_itself():
    pod = {"metadata": {"labels": {"a": "1"}}}
    assert meta.delete_path(pod, ("metadata", "annotations", "x")) is pod
    assert meta.delete_path(pod, ("metadata", "labels", "a")) == {"metadata": {"labels": {}}}
    assert pod == {"metadata": {"labels": {"a": "1"}}}


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.integers())
def test_what_was_set_is_read_back(keys, value):
    obj = meta.set_path({"a": {"b": {}}}, tuple(keys), value)
    assert meta.get_path(obj, *keys) == value


def test_a_condition_keeps_its_transition_time_while_its_status_stays():
    pod = meta.with_condition({}, "Ready", "False", now="t1", reason="Starting")
    again = meta.with_condition(pod, "Ready", "False", now="t2", reason="Waiting")
    turned = meta.with_condition(again, "Ready", "True", now="t3")
    assert meta.condition(again, "Ready")["lastTransitionTime"] == "t1"
    assert meta.condition(turned, "Ready")["lastTransitionTime"] == "t3"
    assert meta.is_condition_true(turned, "Ready")
    assert meta.with_condition(turned, "Ready", "True", now="t4") is turned


def test_a_controller_reference_leads_back_to_its_owner():
    pod = {"metadata": {"ownerReferences": [{"uid": "x"}, meta.new_controller_ref(OWNER)]}}
    assert meta.controller_of(pod) == {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "web",
        "uid": "u1",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    assert meta.is_controlled_by(pod, OWNER)
    assert not meta.is_controlled_by({}, OWNER)


def test_keys_are_namespace_and_name():
    assert meta.key_of({"metadata": {"namespace": "n", "name": "p"}}) == "n/p"
    assert meta.split_key("n/p") == ("n", "p")
    assert meta.split_key("node") == ("", "node")
    with pytest.raises(ValueError, match='unexpected key format: "a/b/c"'):
        meta.split_key("a/b/c")
