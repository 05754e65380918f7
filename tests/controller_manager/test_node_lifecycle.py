"""Nodes that fall silent or ill, and the pods on them."""

import pytest
from controller_world import World, is_ready
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery.timestamps import format_micro_time
from pytest_kubesim.client_go import resources as r
from pytest_kubesim.controller_manager.zone_tainter import (
    FULL_DISRUPTION,
    NORMAL,
    PARTIAL_DISRUPTION,
    ZoneTainter,
    state_of,
)
from pytest_kubesim.sim.clock import NS

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"


def nodes_world(*more, **settings):
    return World("node-lifecycle-controller", "taint-eviction-controller", *more, **settings)


def add(w, name, ready="True", **labels):
    condition = {"type": "Ready", "status": ready, "lastHeartbeatTime": w.now, "lastTransitionTime": w.now}
    node = {"metadata": {"name": name, "labels": labels}, "status": {"conditions": [condition]}}
    w.create(r.NODES, node, namespace="")
    if ready == "True":
        patch = {"spec": {"taints": None}}
        w.do(w.admin.patch(r.NODES, "", name, patch, patch_type="merge"))


def beat(w, *names, ready="True", **conditions):
    entries = [{"type": "Ready", "status": ready, "lastHeartbeatTime": w.now}]
    entries += [{"type": t, "status": s, "lastHeartbeatTime": w.now} for t, s in conditions.items()]
    for name in names:
        w.do(w.admin.patch(r.NODES, "", name, {"status": {"conditions": entries}}, subresource="status"))


def silence(w, seconds, *alive):
    """Let time pass while only these nodes are heard of."""
    for _ in range(int(seconds // 5)):
        w.settle(5)
        beat(w, *alive)


def taints(w, name):
    spec = w.get(r.NODES, name, namespace="")["spec"]
    return sorted((t["key"], t["effect"]) for t in spec.get("taints") or ())


def ready(w, name):
    conditions = w.get(r.NODES, name, namespace="")["status"]["conditions"]
    return {c["type"]: (c["status"], c.get("reason")) for c in conditions}


def pod(w, name, node, *tolerations):
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}], "tolerations": list(tolerations)}
    w.create(r.PODS, {"metadata": {"name": name}, "spec": spec})
    w.ready(name)


EVERYTHING = {"operator": "Exists"}


def tolerates(key, seconds=None):
    found = {"key": key, "operator": "Exists", "effect": "NoExecute"}
    return found if seconds is None else {**found, "tolerationSeconds": seconds}


def deleted(w, name):
    return any(
        p["metadata"]["name"] == name and "deletionTimestamp" in p["metadata"] for p in w.pods()
    ) or all(p["metadata"]["name"] != name for p in w.pods())


def test_a_node_that_goes_before_anybody_has_looked_at_it_is_forgotten():
    w = nodes_world()
    w.settle(1)
    w.create(r.NODES, {"metadata": {"name": "short"}}, namespace="")
    w.settle(1)
    w.do(w.admin.delete(r.NODES, "", "short"))
    before = w.kernel.events
    w.settle(90)
    assert w.kernel.events - before < 1000


def test_a_node_is_registered_and_removed_with_events():
    w = nodes_world()
    add(w, "n1")
    w.settle(6)
    w.do(w.admin.delete(r.NODES, "", "n1"))
    w.settle(6)
    assert w.events("n1") == [
        ("RegisteredNode", "Node n1 event: Registered Node n1 in Controller"),
        ("RemovingNode", "Node n1 event: Removing Node n1 from Controller"),
    ]


def test_conditions_and_a_cordon_are_taints_at_once():
    w = nodes_world()
    add(w, "n1")
    beat(w, "n1", MemoryPressure="True", DiskPressure="False")
    w.do(w.admin.patch(r.NODES, "", "n1", {"spec": {"unschedulable": True}}))
    w.settle(0.1)
    assert taints(w, "n1") == [
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ]
    beat(w, "n1", MemoryPressure="False")
    w.do(w.admin.patch(r.NODES, "", "n1", {"spec": {"unschedulable": None}}, patch_type="merge"))
    w.settle(0.1)
    assert taints(w, "n1") == []


def test_old_labels_follow_the_new_ones():
    w = nodes_world()
    labels = {"kubernetes.io/os": "linux", "beta.kubernetes.io/os": "wrong", "kubernetes.io/arch": "arm64"}
    add(w, "n1", **labels)
    w.settle(1)
    found = w.get(r.NODES, "n1", namespace="")["metadata"]["labels"]
    assert (found["beta.kubernetes.io/os"], found["beta.kubernetes.io/arch"]) == ("linux", "arm64")


def test_a_silent_node_is_unknown_after_fifty_seconds():
    w = nodes_world()
    add(w, "n1")
    add(w, "n2")
    pod(w, "p", "n1", EVERYTHING)
    silence(w, 45, "n2")
    assert ready(w, "n1")["Ready"][0] == "True"
    silence(w, 10, "n2")
    found = ready(w, "n1")
    assert found["Ready"] == ("Unknown", "NodeStatusUnknown")
    assert found["PIDPressure"] == ("Unknown", "NodeStatusNeverUpdated")
    assert taints(w, "n1") == [(UNREACHABLE, "NoExecute"), (UNREACHABLE, "NoSchedule")]
    assert not is_ready(w.get(r.PODS, "p"))
    assert w.events("n1")[-1] == ("NodeNotReady", "Node n1 status is now: NodeNotReady")
    assert w.events("p") == [("NodeNotReady", "Node is not ready")]
    assert ready(w, "n2")["Ready"][0] == "True"


def test_a_lease_is_a_sign_of_life():
    w = nodes_world()
    add(w, "n1")
    lease = {"metadata": {"name": "n1"}, "spec": {"holderIdentity": "n1"}}
    lease = w.create(r.LEASES, lease, namespace="kube-node-lease")
    for _ in range(12):
        w.settle(10)
        spec = {**lease["spec"], "renewTime": format_micro_time(w.kernel.now_ns)}
        lease = w.do(w.admin.update(r.LEASES, "kube-node-lease", {**lease, "spec": spec}))
    assert ready(w, "n1")["Ready"][0] == "True"
    w.settle(61)
    assert ready(w, "n1")["Ready"][0] == "Unknown"


def test_a_node_that_is_heard_of_again_loses_its_taints():
    w = nodes_world()
    add(w, "n1")
    add(w, "n2")
    silence(w, 60, "n2")
    beat(w, "n1")
    w.settle(6)
    assert taints(w, "n1") == []


def test_pods_on_an_ill_node_go_when_their_time_is_over():
    w = nodes_world()
    add(w, "n1")
    add(w, "n2")
    w.settle(6)
    pod(w, "soon", "n1", tolerates(NOT_READY, 4))
    pod(w, "never", "n1", EVERYTHING)
    beat(w, "n1", ready="False")
    w.settle(5.1)
    assert (NOT_READY, "NoExecute") in taints(w, "n1")
    assert not deleted(w, "soon")
    w.settle(4)
    assert deleted(w, "soon")
    assert not deleted(w, "never")
    assert w.events("soon")[0] == ("TaintManagerEviction", "Marking for deletion Pod default/soon")


def test_an_eviction_is_called_off_when_the_node_recovers():
    w = nodes_world()
    add(w, "n1")
    add(w, "n2")
    w.settle(6)
    pod(w, "p", "n1", tolerates(NOT_READY, 60))
    beat(w, "n1", ready="False")
    w.settle(20)
    beat(w, "n1")
    w.settle(100)
    assert not deleted(w, "p")
    assert ("TaintManagerEviction", "Cancelling deletion of Pod default/p") in w.events("p")


def test_what_does_not_tolerate_a_taint_goes_at_once_and_says_why():
    w = nodes_world()
    add(w, "n1")
    pod(w, "p", "n1")
    patch = {"spec": {"taints": [{"key": "mine", "effect": "NoExecute"}]}}
    w.do(w.admin.patch(r.NODES, "", "n1", patch))
    w.settle(0.5)
    target = [c for c in w.get(r.PODS, "p")["status"]["conditions"] if c["type"] == "DisruptionTarget"][0]
    assert (target["status"], target["reason"], target["message"]) == (
        "True", "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint",
    )


def test_one_node_after_the_other_is_tainted():
    w = nodes_world()
    for number in range(10):
        add(w, f"n{number}")
    w.settle(20)
    ill = ["n0", "n1"]
    beat(w, *ill, ready="False")
    w.settle(6)
    tainted = [n for n in ill if (NOT_READY, "NoExecute") in taints(w, n)]
    assert len(tainted) == 1
    silence(w, 10, *[f"n{n}" for n in range(2, 10)])
    assert all((NOT_READY, "NoExecute") in taints(w, n) for n in ill)


def test_when_no_node_is_heard_of_nobody_is_evicted():
    w = nodes_world()
    add(w, "n1")
    add(w, "n2")
    pod(w, "p", "n1")
    w.settle(400)
    assert ready(w, "n1")["Ready"][0] == ready(w, "n2")["Ready"][0] == "Unknown"
    assert (UNREACHABLE, "NoExecute") not in taints(w, "n1")
    assert not deleted(w, "p")


def test_idle_nodes_cost_nothing_but_their_heartbeats():
    w = nodes_world()
    add(w, "n1", ready="Unknown")
    w.settle(100)
    before = w.kernel.events
    w.settle(200)
    assert w.kernel.events - before < 200


@pytest.mark.parametrize(
    ("well", "ill", "state"),
    [(0, 0, NORMAL), (3, 1, NORMAL), (0, 1, FULL_DISRUPTION), (2, 3, PARTIAL_DISRUPTION), (3, 3, NORMAL)],
)
def test_a_zone_is_judged_by_its_nodes(well, ill, state):
    assert state_of([True] * well + [False] * ill, 0.55) == state


@given(st.integers(1, 20), st.sampled_from([0.1, 0.5, 2.0]))
def test_a_zone_lets_nodes_through_at_its_rate(count, qps):
    tainter = ZoneTainter(qps, 0)
    for number in range(count):
        assert tainter.add(f"n{number}", 0)
    order, at = [], []
    now_ns = 0
    while (next_ns := tainter.next_ns()) is not None:
        now_ns = max(now_ns, next_ns)
        name = tainter.head(now_ns)
        if name is not None:
            order.append(name)
            at.append(now_ns)
            tainter.done(name)
        else:
            now_ns += 1
    assert order == [f"n{number}" for number in range(count)]
    gaps = [b - a for a, b in zip(at, at[1:])]
    assert all(gap >= NS / qps * 0.999 for gap in gaps)
    assert not tainter.add("n0", now_ns)
    assert tainter.remove("n0")
    assert tainter.add("n0", now_ns)


def test_a_zone_that_is_stopped_lets_nobody_through():
    tainter = ZoneTainter(0.1, 0)
    tainter.add("n", 0)
    tainter.swap_limiter(0, 0)
    assert tainter.next_ns() is None
    assert tainter.head(10**15) is None
