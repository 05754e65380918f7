"""What every node is given: a range of addresses, a time to live."""

from controller_world import World

from pytest_kubesim.client_go import resources as r


def add(w, name, **spec):
    w.create(r.NODES, {"metadata": {"name": name}, "spec": spec}, namespace="")


def cidrs(w):
    return {n["metadata"]["name"]: n["spec"].get("podCIDR") for n in w.list(r.NODES, "")}


def test_nodes_get_ranges_in_order_and_none_twice():
    w = World("node-ipam-controller")
    add(w, "a")
    add(w, "b", podCIDR="10.244.7.0/24", podCIDRs=["10.244.7.0/24"])
    for name in "cdefgh":
        add(w, name)
    w.settle(1)
    found = cidrs(w)
    assert found["a"] == "10.244.0.0/24"
    assert found["c"] == "10.244.1.0/24"
    assert len(set(found.values())) == 8


def test_a_range_that_comes_back_is_given_out_last():
    w = World("node-ipam-controller", **{"cluster-cidr": "10.0.0.0/22"})
    for name in "abcd":
        add(w, name)
    w.settle(1)
    w.do(w.admin.delete(r.NODES, "", "b"))
    w.settle(1)
    add(w, "e")
    add(w, "f")
    w.settle(1)
    found = cidrs(w)
    assert found["e"] == "10.0.1.0/24"
    assert found["f"] is None
    assert w.events("f")[0] == ("CIDRNotAvailable", "Node f status is now: CIDRNotAvailable")


def test_two_families_give_two_ranges():
    w = World("node-ipam-controller", **{"cluster-cidr": "10.244.0.0/16,fd00::/48"})
    add(w, "a")
    w.settle(1)
    node = w.get(r.NODES, "a", namespace="")
    assert node["spec"]["podCIDRs"] == ["10.244.0.0/24", "fd00::/64"]


def test_the_more_nodes_the_longer_may_copies_be_trusted():
    w = World("ttl-controller")
    add(w, "a")
    w.settle(1)
    controller = w.manager.running["ttl-controller"]

    def ttl(name):
        annotations = w.get(r.NODES, name, namespace="")["metadata"]["annotations"]
        return annotations["node.alpha.kubernetes.io/ttl"]

    assert ttl("a") == "0"
    controller.count = 100
    add(w, "b")
    w.settle(1)
    assert ttl("b") == "15"
    controller.count = 91
    w.do(w.admin.delete(r.NODES, "", "b"))
    w.settle(1)
    assert controller.step == 1
