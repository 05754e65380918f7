"""What policies are told of the types in their expressions; recorded from Kubernetes 1.37.2."""

import json
from pathlib import Path

import pytest
from controller_world import World

from pytest_kubesim.client_go import resources as r

POLICIES = r.VALIDATINGADMISSIONPOLICIES
RECORDED = json.loads(Path(__file__).with_name("policy_types.golden.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def w():
    world = World("validatingadmissionpolicy-status-controller")
    world.create(r.CUSTOMRESOURCEDEFINITIONS, RECORDED["definition"], namespace="")
    world.settle(4)
    return world


@pytest.mark.parametrize("policy", RECORDED["policies"], ids=lambda policy: policy["name"])
def test_a_policy_is_told_what_kubernetes_tells_it(w, policy):
    name = policy["name"]
    w.create(POLICIES, {"metadata": {"name": name}, "spec": policy["spec"]}, namespace="")
    w.settle(1)
    assert w.get(POLICIES, name, namespace="")["status"] == policy["status"]


def test_the_status_is_applied_by_the_controller(w):
    policy = {"metadata": {"name": "owned"}, "spec": RECORDED["policies"][0]["spec"]}
    w.create(POLICIES, policy, namespace="")
    w.settle(1)
    entry = w.get(POLICIES, "owned", namespace="")["metadata"]["managedFields"][0]
    assert entry["manager"] == "validatingadmissionpolicy-status"
    assert (entry["operation"], entry["subresource"]) == ("Apply", "status")
    assert entry["fieldsV1"] == RECORDED["fields"]


def test_a_policy_is_checked_once_in_each_generation(w):
    spec = RECORDED["policies"][2]["spec"]
    w.create(POLICIES, {"metadata": {"name": "again"}, "spec": spec}, namespace="")
    w.settle(1)
    told = w.get(POLICIES, "again", namespace="")
    assert told["status"]["typeChecking"]
    label = {"metadata": {"labels": {"a": "b"}}}
    w.do(w.admin.patch(POLICIES, "", "again", label, patch_type="merge"))
    w.settle(1)
    assert w.get(POLICIES, "again", namespace="")["status"] == told["status"]
    right = {"spec": {"validations": [{"expression": "object.spec.replicas > 1"}]}}
    w.do(w.admin.patch(POLICIES, "", "again", right, patch_type="merge"))
    w.settle(1)
    assert w.get(POLICIES, "again", namespace="")["status"] == {"observedGeneration": 2}
