"""Endpoints, EndpointSlices and their mirrors."""

from controller_world import World
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.client_go import resources as r
from pytest_kubesim.controller_manager import endpoint_subsets, topology_cache

CONTROLLERS = ("endpoints-controller", "endpointslice-controller",
               "endpointslice-mirroring-controller")


def service(name="web", selector=None, **spec):
    selector = {"app": "web"} if selector is None else selector
    return {
        "metadata": {"name": name, "labels": {"team": "a"}},
        "spec": {
            "selector": selector or None,
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}],
            "type": "ClusterIP",
            "clusterIP": "None",
            "ipFamilies": ["IPv4"],
            **spec,
        },
    }


def start(*names, zones=("a",), **svc):
    w = World(*CONTROLLERS)
    for zone in zones:
        node = {"metadata": {"name": f"n-{zone}", "labels": {"topology.kubernetes.io/zone": zone}}}
        w.create(r.NODES, node, namespace="")
    w.create(r.SERVICES, service(**svc))
    for number, name in enumerate(names):
        add_pod(w, name, f"10.0.0.{number + 1}", zones[number % len(zones)])
    w.settle()
    return w


def add_pod(w, name, ip, zone="a", port=8080, ready=True):
    container = {"name": "c", "image": "i",
                 "ports": [{"name": "web", "containerPort": port, "protocol": "TCP"}]}
    w.create(r.PODS, {
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": f"n-{zone}", "containers": [container]},
    })
    w.set_pod(name, podIP=ip, podIPs=[{"ip": ip}])
    w.ready(name, ready=ready)


def slices(w):
    return w.list(r.ENDPOINTSLICES)


def endpoints(w):
    return [e for s in slices(w) for e in s["endpoints"] or []]


def test_a_service_leads_to_its_ready_pods():
    w = start("p1", "p2")
    (subset,) = w.get(r.ENDPOINTS, "web")["subsets"]
    assert [a["ip"] for a in subset["addresses"]] == ["10.0.0.1", "10.0.0.2"]
    assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    (found,) = slices(w)
    assert found["metadata"]["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "service.kubernetes.io/headless": "",
    }
    assert found["endpoints"][0]["conditions"] == {
        "ready": True, "serving": True, "terminating": False
    }
    assert found["endpoints"][0]["zone"] == "a"


def test_pods_that_are_not_ready_are_apart():
    w = start("p1")
    w.ready("p1", ready=False)
    w.settle()
    (subset,) = w.get(r.ENDPOINTS, "web")["subsets"]
    assert "addresses" not in subset
    assert endpoints(w)[0]["conditions"]["ready"] is False


def test_a_terminating_pod_leaves_endpoints_and_serves_in_slices():
    w = start("p1")
    w.delete(r.PODS, "p1", grace_period_seconds=30)
    w.settle()
    assert not w.get(r.ENDPOINTS, "web").get("subsets")
    assert endpoints(w)[0]["conditions"] == {"ready": False, "serving": True, "terminating": True}


def test_there_is_a_slice_even_without_pods():
    w = start()
    assert len(slices(w)) == 1
    assert endpoints(w) == []


def test_slices_hold_a_hundred_endpoints():
    w = start(*[f"p{n}" for n in range(120)])
    assert sorted(len(s["endpoints"]) for s in slices(w)) == [20, 100]


def test_different_ports_make_different_slices():
    w = start("p1")
    add_pod(w, "p2", "10.0.0.9", port=9090)
    w.settle()
    assert sorted(s["ports"][0]["port"] for s in slices(w)) == [8080, 9090]


def test_a_pod_that_loses_its_label_goes():
    w = start("p1", "p2")
    w.patch(r.PODS, "p1", {"metadata": {"labels": {"app": "other"}}})
    w.settle()
    assert [e["targetRef"]["name"] for e in endpoints(w)] == ["p2"]


def test_the_time_of_the_change_is_told():
    w = start("p1")
    w.settle(60)
    w.ready("p1", ready=False)
    changed = w.now
    w.settle()
    annotations = w.get(r.ENDPOINTS, "web")["metadata"]["annotations"]
    assert annotations["endpoints.kubernetes.io/last-change-trigger-time"] == changed


def test_traffic_prefers_its_own_zone_where_asked_to():
    w = start("p1", "p2", zones=("a", "b"), trafficDistribution="PreferClose")
    hints = {e["targetRef"]["name"]: e["hints"]["forZones"][0]["name"] for e in endpoints(w)}
    assert hints == {"p1": "a", "p2": "b"}


def test_endpoints_by_hand_are_mirrored():
    w = World(*CONTROLLERS)
    w.create(r.SERVICES, service("manual", selector={}, ports=[{"port": 80, "protocol": "TCP"}]))
    w.create(r.ENDPOINTS, {
        "metadata": {"name": "manual", "annotations": {"a": "b"}},
        "subsets": [{"addresses": [{"ip": "192.0.2.1"}],
                     "ports": [{"port": 80, "protocol": "TCP"}]}],
    })
    w.settle()
    (found,) = slices(w)
    assert found["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == (
        "endpointslicemirroring-controller.k8s.io"
    )
    assert found["endpoints"] == [{"addresses": ["192.0.2.1"], "conditions": {"ready": True}}]
    w.delete(r.ENDPOINTS, "manual")
    w.settle()
    assert slices(w) == []


def test_endpoints_go_with_their_service():
    w = start("p1")
    w.delete(r.SERVICES, "web")
    w.settle()
    assert w.list(r.ENDPOINTS) == []


# -- the arithmetic ------------------------------------------------------------------------------


def test_the_hash_is_go_s():
    text = (
        "(v1.EndpointPort){Name:(string)http Port:(int32)80 Protocol:(v1.Protocol)TCP "
        "AppProtocol:(*string)<nil>}"
    )
    assert f"{endpoint_subsets.fnv128a(text):032x}" == "754b003f50f133a539c60d18cfb30a55"


def test_an_address_that_is_not_ready_once_is_not_ready():
    port = [{"name": "x", "port": 1, "protocol": "TCP"}]
    packed = endpoint_subsets.repack([
        {"addresses": [{"ip": "10.0.0.1"}], "ports": port},
        {"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": port},
    ])
    assert packed == [{"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": port}]


ADDRESSES = st.lists(st.integers(0, 5).map(lambda n: {"ip": f"10.0.0.{n}"}), max_size=4)
PORTS = st.lists(
    st.integers(1, 3).map(lambda n: {"name": f"p{n}", "port": n, "protocol": "TCP"}),
    max_size=2, unique_by=lambda p: p["port"],
)
SUBSETS = st.lists(
    st.fixed_dictionaries({"addresses": ADDRESSES, "notReadyAddresses": ADDRESSES, "ports": PORTS}),
    max_size=4,
)


@given(SUBSETS)
def test_packing_twice_changes_nothing(subsets):
    once = endpoint_subsets.repack(subsets)
    assert endpoint_subsets.repack(once) == once


@given(st.integers(0, 1500), st.integers(0, 1500))
def test_truncation_keeps_a_thousand_ready_ones_first(ready, not_ready):
    subset = {
        "addresses": [{"ip": f"r{n}"} for n in range(ready)],
        "notReadyAddresses": [{"ip": f"n{n}"} for n in range(not_ready)],
    }
    cut = endpoint_subsets.truncate([subset])
    if ready + not_ready <= 1000:
        assert cut is None
    else:
        assert endpoint_subsets.count(cut, "addresses") == min(ready, 1000)
        assert endpoint_subsets.count(cut, "notReadyAddresses") == 1000 - min(ready, 1000)


def test_zones_share_endpoints_by_their_cpu():
    def node(name, zone, cpu):
        return {
            "metadata": {"name": name, "labels": {topology_cache.ZONE: zone}},
            "status": {"allocatable": {"cpu": cpu},
                       "conditions": [{"type": "Ready", "status": "True"}]},
        }

    cache = topology_cache.TopologyCache()
    cache.set_nodes([node("a", "a", "4"), node("b", "b", "4")])
    several = [{"addresses": [str(n)], "conditions": {"ready": True}, "zone": "a"}
               for n in range(4)]
    changes = topology_cache.SliceChanges("ns/s", "IPv4", [{"endpoints": several}], [], [])
    ((type_, reason, message),) = cache.add_hints(changes)
    assert (type_, reason) == ("Normal", "TopologyAwareHintsEnabled")
    assert message == "Topology Aware Hints has been enabled, addressType: IPv4"
    zones = [e["hints"]["forZones"][0]["name"] for e in changes.create[0]["endpoints"]]
    assert sorted(zones) == ["a", "a", "b", "b"]
