"""Devices: which are given to whom, and where pods go for them."""

import pytest

from pytest_kubesim.scheduler.device_allocator import AllocationError, Allocator
from pytest_kubesim.scheduler.devices import pools

DRIVER = "dra.example.com"


def slice_of(*devices, name="s", pool="p", generation=1, count=1, node="n", **spec):
    where = {"nodeName": node} if node else {}
    return {"metadata": {"name": name}, "spec": {
        "driver": DRIVER, "pool": {"name": pool, "generation": generation,
                                   "resourceSliceCount": count},
        "devices": list(devices), **where, **spec}}


def device(name, **attributes):
    return {"name": name, "attributes": {
        key: {"int": value} if isinstance(value, int) else {"string": value}
        for key, value in attributes.items()}}


def claim(*requests, name="c", **devices):
    return {"metadata": {"name": name, "namespace": "default"},
            "spec": {"devices": {"requests": list(requests), **devices}}}


def exactly(name="r", *, cel=None, **spec):
    selectors = [{"cel": {"expression": cel}}] if cel else []
    return {"name": name, "exactly": {
        "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1,
        **({"selectors": selectors} if selectors else {}), **spec}}


def allocate(slices, *claims, used=(), class_spec=None, here=lambda _: True):
    classes = {"gpu": {"spec": class_spec or {}}}
    return Allocator(
        list(claims), classes.get, pools(slices), set(used), "n", here
    ).allocate()


def given(allocations):
    return [[r["device"] for r in a["devices"]["results"]] for a in allocations]


THREE = slice_of(device("d0", model="a"), device("d1", model="b"), device("d2", model="b"))


def test_the_first_device_that_is_free_is_given():
    found = allocate([THREE], claim(exactly()), claim(exactly(), name="other"))
    assert given(found) == [["d0"], ["d1"]]
    assert found[0]["nodeSelector"]["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["n"]
    assert allocate([THREE], claim(exactly(count=3)), used={(DRIVER, "p", "d1")}) is None


def test_selectors_and_constraints_hold_together():
    wanted = "device.attributes['dra.example.com'].model == 'b'"
    assert given(allocate([THREE], claim(exactly(cel=wanted)))) == [["d1"]]
    alike = [{"matchAttribute": f"{DRIVER}/model"}]
    assert given(allocate([THREE], claim(exactly(count=2), constraints=alike))) == [["d1", "d2"]]
    apart = [{"distinctAttribute": f"{DRIVER}/model"}]
    assert given(allocate([THREE], claim(exactly(count=2), constraints=apart))) == [["d0", "d1"]]
    assert allocate([THREE], claim(exactly(count=3), constraints=apart)) is None


def test_the_first_alternative_that_can_be_had_is_taken():
    request = {"name": "r", "firstAvailable": [
        {"name": "many", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 4},
        {"name": "few", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}]}
    (found,) = allocate([THREE], claim(request))
    assert [r["request"] for r in found["devices"]["results"]] == ["r/few", "r/few"]


def test_all_means_all_and_a_pool_under_change_is_not_used():
    assert given(allocate([THREE], claim(exactly(allocationMode="All")))) == [["d0", "d1", "d2"]]
    half = slice_of(device("d0"), count=2)
    assert allocate([half], claim(exactly())) is None
    with pytest.raises(AllocationError, match="is currently being updated"):
        allocate([half], claim(exactly(allocationMode="All")))


def test_old_generations_do_not_count():
    old = slice_of(device("old"), name="old")
    new = slice_of(device("new"), name="new", generation=2)
    assert given(allocate([old, new], claim(exactly()))) == [["new"]]


def test_a_taint_has_to_be_tolerated():
    tainted = {**device("d0"), "taints": [{"key": "k", "effect": "NoSchedule"}]}
    assert allocate([slice_of(tainted)], claim(exactly())) is None
    bears = [{"key": "k", "operator": "Exists"}]
    (found,) = allocate([slice_of(tainted)], claim(exactly(tolerations=bears)))
    assert found["devices"]["results"][0]["tolerations"] == bears


def test_admin_access_shares_what_is_in_use():
    used = {(DRIVER, "p", name) for name in ("d0", "d1", "d2")}
    (found,) = allocate([THREE], claim(exactly(adminAccess=True)), used=used)
    assert found["devices"]["results"][0]["adminAccess"] is True


def test_partitions_share_counters():
    def part(name, amount):
        return {"name": name, "consumesCounters": [
            {"counterSet": "gpu0", "counters": {"memory": {"value": amount}}}]}

    shared = slice_of(name="counters", count=2, sharedCounters=[
        {"name": "gpu0", "counters": {"memory": {"value": "40Gi"}}}])
    shared["spec"]["devices"] = []
    parts = slice_of(part("big", "30Gi"), part("half", "20Gi"), part("small", "10Gi"), count=2)
    found = allocate([shared, parts], claim(exactly(count=2)))
    assert given(found) == [["big", "small"]]
    assert allocate([shared, parts], claim(exactly(count=3))) is None


def test_a_selector_that_fails_says_on_which_device():
    with pytest.raises(AllocationError, match="selector #0 on device dra.example.com/p/d0"):
        allocate([THREE], claim(exactly(cel="device.attributes['dra.example.com'].size > 1")))


def test_configuration_of_class_and_claim_comes_along():
    opaque = {"opaque": {"driver": DRIVER, "parameters": {"a": 1}}}
    (found,) = allocate(
        [THREE], claim(exactly(), config=[{"requests": ["r"], **opaque}]),
        class_spec={"config": [opaque]},
    )
    assert [c["source"] for c in found["devices"]["config"]] == ["FromClass", "FromClaim"]


def test_devices_of_other_nodes_are_not_here():
    assert allocate([slice_of(device("d0"), node="elsewhere")], claim(exactly())) is None
    labelled = slice_of(device("d0"), node="", nodeSelector={"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]})
    assert allocate([labelled], claim(exactly()), here=lambda _: False) is None
    (found,) = allocate([labelled], claim(exactly()))
    assert found["nodeSelector"]["nodeSelectorTerms"][0]["matchExpressions"][0]["key"] == "gpu"
