"""Pods that no kubelet will ever end."""

from controller_world import World, pod_template

from pytest_kubesim.client_go import resources as r


def pod(name, node=None, **metadata):
    spec = dict(pod_template()["spec"])
    if node:
        spec["nodeName"] = node
    return {"metadata": {"name": name, **metadata}, "spec": spec}


def names(w):
    return [p["metadata"]["name"] for p in w.pods()]


def collector(**settings):
    return World("pod-garbage-collector-controller", **settings)


def test_pods_of_a_node_that_is_not_there_go_after_forty_seconds():
    w = collector()
    w.create(r.NODES, {"metadata": {"name": "n1"}}, namespace="")
    w.create(r.PODS, pod("here", "n1"))
    w.create(r.PODS, pod("lost", "n2", finalizers=["a.b/c"]))
    w.settle(35)
    assert "deletionTimestamp" not in w.get(r.PODS, "lost")["metadata"]
    w.settle(40)
    lost = w.get(r.PODS, "lost")
    assert lost["metadata"]["deletionGracePeriodSeconds"] == 0
    assert lost["status"]["phase"] == "Failed"
    target = lost["status"]["conditions"][-1]
    assert (target["type"], target["reason"], target["message"]) == (
        "DisruptionTarget", "DeletionByPodGC", "PodGC: node no longer exists",
    )
    assert names(w) == ["here", "lost"]


def test_a_node_that_comes_back_in_time_keeps_its_pods():
    w = collector()
    w.create(r.PODS, pod("p", "n1"))
    w.settle(30)
    w.create(r.NODES, {"metadata": {"name": "n1"}}, namespace="")
    w.settle(100)
    assert names(w) == ["p"]


def test_a_terminating_pod_that_never_got_a_node_goes():
    w = collector()
    w.create(r.PODS, pod("p", finalizers=["a.b/c"]))
    w.delete(r.PODS, "p")
    w.settle(25)
    assert w.get(r.PODS, "p")["status"]["phase"] == "Failed"


def test_terminating_pods_of_a_node_out_of_service_go():
    w = collector()
    taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
    w.create(r.NODES, {"metadata": {"name": "n1"}, "spec": {"taints": [taint]}}, namespace="")
    w.create(r.PODS, pod("p", "n1"))
    w.create(r.PODS, pod("stays", "n1"))
    w.delete(r.PODS, "p", grace_period_seconds=3600)
    w.settle(25)
    assert names(w) == ["stays"]


def test_the_oldest_finished_pods_beyond_the_threshold_go_evicted_ones_first():
    w = collector(**{"terminated-pod-gc-threshold": 2})
    for number in range(4):
        w.create(r.PODS, pod(f"p{number}"))
        w.set_pod(f"p{number}", phase="Succeeded")
        w.settle(1)
    w.create(r.PODS, pod("evicted"))
    w.set_pod("evicted", phase="Failed", reason="Evicted")
    w.settle(25)
    assert names(w) == ["p2", "p3"]


def test_an_idle_cluster_is_never_looked_at():
    w = collector()
    w.settle(60)
    before = w.kernel.events
    w.settle(250)
    assert w.kernel.events - before < 10
