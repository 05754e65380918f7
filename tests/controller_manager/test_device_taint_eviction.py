"""Pods leave devices that are tainted."""

import pytest
from controller_world import World

from pytest_kubesim.client_go import resources as r

CONTROLLER = "device-taint-eviction-controller"


@pytest.fixture
def w():
    w = World(CONTROLLER)
    devices = [{"name": "d0"}, {"name": "d1"}]
    w.create(r.RESOURCESLICES, {"metadata": {"name": "s"}, "spec": {
        "driver": "dra.example.com", "nodeName": "n",
        "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1}, "devices": devices,
    }}, namespace="")
    return w


def using(w, name, device="d0", tolerations=()):
    claim = w.create(r.RESOURCECLAIMS, {"metadata": {"name": name}, "spec": {"devices": {
        "requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}})
    pod = w.create(r.PODS, {"metadata": {"name": name}, "spec": {
        "nodeName": "n", "containers": [{"name": "c", "image": "i"}],
        "resourceClaims": [{"name": "r", "resourceClaimName": name}]}})
    result = {"request": "r", "driver": "dra.example.com", "pool": "n", "device": device}
    if tolerations:
        result["tolerations"] = list(tolerations)
    status = {
        "allocation": {"devices": {"results": [result]}},
        "reservedFor": [{"resource": "pods", "name": name, "uid": pod["metadata"]["uid"]}],
    }
    w.do(w.admin.update(r.RESOURCECLAIMS, "default", {**claim, "status": status},
                        subresource="status"))


def rule(w, effect, device="d0"):
    w.create(r.DEVICETAINTRULES, {"metadata": {"name": "rule"}, "spec": {
        "deviceSelector": {"driver": "dra.example.com", "device": device},
        "taint": {"key": "broken", "effect": effect},
    }}, namespace="")


def told(w):
    (condition,) = w.get(r.DEVICETAINTRULES, "rule", namespace="")["status"]["conditions"]
    return condition["status"], condition["reason"], condition["message"]


def gone(w, name):
    return [p for p in w.pods() if p["metadata"]["name"] == name
            and not p["metadata"].get("deletionTimestamp")] == []


def test_a_rule_evicts_the_pods_of_the_devices_it_selects(w):
    using(w, "p")
    using(w, "q", "d1")
    w.settle(1)
    rule(w, "NoExecute")
    w.settle(2)
    assert gone(w, "p")
    assert not gone(w, "q")
    assert ("DeviceTaintManagerEviction", "Marking for deletion") in w.events("p")
    (marked,) = [p for p in w.pods() if p["metadata"]["name"] == "p"]
    condition = next(c for c in marked["status"]["conditions"] if c["type"] == "DisruptionTarget")
    assert condition["reason"] == "DeletionByDeviceTaintManager"
    w.settle(30)
    assert told(w) == ("False", "Completed", "1 pod evicted since starting the controller.")


def test_a_rule_without_effect_is_told_what_it_would_do(w):
    using(w, "p")
    w.settle(1)
    rule(w, "None")
    w.settle(1)
    assert told(w) == ("False", "NoEffect", (
        "1 published device selected. 1 allocated device selected. "
        "1 pod would be evicted in 1 namespace if the effect was NoExecute. "
        "This information will not be updated again. "
        "Recreate the DeviceTaintRule to trigger an update."
    ))
    assert not gone(w, "p")


def test_a_toleration_puts_it_off_and_a_vanished_taint_calls_it_off(w):
    bearing = {"key": "broken", "operator": "Exists", "effect": "NoExecute",
               "tolerationSeconds": 60}
    using(w, "p", tolerations=[bearing])
    w.settle(1)
    rule(w, "NoExecute")
    w.settle(11)
    assert told(w) == ("True", "PodsPendingEviction", "1 pod needs to be evicted in 1 namespace.")
    w.do(w.admin.delete(r.DEVICETAINTRULES, "", "rule"))
    w.settle(120)
    assert not gone(w, "p")
    assert ("DeviceTaintManagerEviction", "Cancelling deletion") in w.events("p")
