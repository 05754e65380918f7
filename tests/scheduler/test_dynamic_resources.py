"""Devices: which are given to whom, and where pods go for them."""

import itertools

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.scheduler import consumable_capacity as capacities
from pytest_kubesim.scheduler.allocation_results import allocation
from pytest_kubesim.scheduler.device_allocator import AllocationError, Allocator, Given, NodeError
from pytest_kubesim.scheduler.devices import indexed, pools_for

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


def allocate(slices, *claims, used=(), shared=None, class_spec=None, here=lambda _: True):
    classes = {"gpu": {"metadata": {"name": "gpu"}, "spec": class_spec or {}}}
    found = Allocator(
        list(claims), classes.get, pools_for(indexed(slices), "n", here),
        Given(set(used), shared or {}), "n", here,
    ).allocate()
    numbers = itertools.count(1)
    return None if found is None else [
        allocation(claim, choices, "n", lambda: f"share-{next(numbers)}")
        for claim, choices in zip(claims, found, strict=True)
    ]


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


def test_configuration_names_the_requests_unless_it_is_for_all_of_them():
    opaque = {"opaque": {"driver": DRIVER, "parameters": {"a": 1}}}
    (found,) = allocate(
        [THREE], claim(exactly("r0"), exactly("r1"), config=[{"requests": ["r1"], **opaque}]),
        class_spec={"config": [opaque]},
    )
    assert [c.get("requests") for c in found["devices"]["config"]] == [None, ["r1"]]


SHARED = slice_of({
    **device("d0"), "allowMultipleAllocations": True,
    "capacity": {"memory": {"value": "10Gi", "requestPolicy": {
        "default": "1Gi", "validRange": {"min": "1Gi", "max": "8Gi", "step": "1Gi"}}}}})


def test_a_device_is_shared_as_far_as_its_capacity_goes():
    def wants(amount):
        return exactly(capacity={"requests": {"memory": amount}})

    first, second = allocate([SHARED], claim(wants("1500Mi")), claim(exactly(), name="other"))
    assert first["devices"]["results"][0]["consumedCapacity"] == {"memory": "2Gi"}
    assert second["devices"]["results"][0]["consumedCapacity"] == {"memory": "1Gi"}
    assert second["devices"]["results"][0]["shareID"] == "share-2"
    used = {(DRIVER, "p", "d0"): {"memory": "5Gi"}}
    assert allocate([SHARED], claim(wants("6Gi")), shared=used) is None
    assert allocate([SHARED], claim(wants("9Gi"))) is None
    assert allocate([SHARED], claim(exactly(capacity={"requests": {"none": "1"}}))) is None


@for_all(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_what_is_consumed_is_the_next_step_of_the_range(asked, least, step):
    sizes = {"m": {"value": "1G", "requestPolicy": {"validRange": {
        "min": f"{least}m", "step": f"{step}m"}}}}
    (found,) = capacities.consumed(sizes, {"m": f"{asked}m"}).values()
    milli = quantity.milli_value(found)
    assert milli == least if asked < least else asked <= milli < asked + step
    assert (milli - least) % step == 0
    assert capacities.has_room(sizes, {"m": f"{asked}m"}, {})


def test_devices_of_one_name_spoil_a_pool():
    with pytest.raises(NodeError, match="invalid resource pools were encountered"):
        allocate([slice_of(device("d0"), device("d0"))], claim(exactly()))


def test_no_claim_gets_more_than_32_devices():
    many = slice_of(*(device(f"d{number}") for number in range(40)))
    with pytest.raises(AllocationError, match="exceeds the claim limit of 32, with 2 already"):
        allocate([many], claim(exactly("r0", count=2), exactly("r1", count=31)))
    alternatives = [
        {"name": "x", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count}
        for count in (20, 12)
    ]
    alternatives[1]["name"] = "y"
    request = {"name": "r1", "firstAvailable": alternatives}
    (found,) = allocate([many], claim(exactly("r0", count=20), request))
    assert {r["request"] for r in found["devices"]["results"]} == {"r0", "r1/y"}


def test_rules_taint_devices():
    rule = {"spec": {"deviceSelector": {"pool": "p", "device": "d0"},
                     "taint": {"key": "broken", "effect": "NoSchedule"}}}
    slices = indexed([THREE], [rule])
    (pool,) = pools_for(slices, "n", lambda _: True)
    assert [bool(d.obj.get("taints")) for d in pool.devices] == [True, False, False]
    assert "taints" not in THREE["spec"]["devices"][0]


def test_a_pod_gets_a_claim_for_the_resource_that_devices_stand_for(kubesim):
    node = kubesim.add_nodes(1)[0].name
    kubesim.apply("""
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: gpu}
spec:
  extendedResourceName: example.com/gpu
  selectors: [{cel: {expression: "device.driver == 'dra.example.com'"}}]
""")
    kubesim.create({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "s"},
        "spec": {"driver": DRIVER, "nodeName": node, "devices": [{"name": "d0"}],
                 "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}})
    resources = {"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}
    for name in ("first", "second"):
        kubesim.create({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "busybox", "resources": resources}]}})
    kubesim.eventually("pod/first", {"status": {"phase": "Running"}}, within="2m")
    told = kubesim.get("pod/first")["status"]["extendedResourceClaimStatus"]
    claim_ = kubesim.get(f"resourceclaim/{told['resourceClaimName']}")
    assert claim_["status"]["allocation"]["devices"]["results"][0]["device"] == "d0"
    assert kubesim.get("pod/second")["status"]["phase"] == "Pending"
    kubesim.delete("pod/first")
    kubesim.eventually("pod/second", {"status": {"phase": "Running"}}, within="2m")
