"""ReplicaSets and ReplicationControllers."""

from controller_world import World, pod_template

from pytest_kubesim.client_go import resources as r

SELECTOR = {"matchLabels": {"app": "web"}}


def replica_set(replicas=3, **spec):
    return {
        "metadata": {"name": "rs"},
        "spec": {"replicas": replicas, "selector": SELECTOR, "template": pod_template(), **spec},
    }


def orphan(name, **metadata):
    return {
        "metadata": {"name": name, "labels": {"app": "web"}, **metadata},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }


def names(w):
    return sorted(p["metadata"]["name"] for p in w.pods())


def test_pods_that_nobody_controls_are_adopted():
    w = World()
    w.create(r.PODS, orphan("p1"))
    w.create(r.REPLICASETS, replica_set(2))
    w.settle()
    assert len(w.pods()) == 2
    reference = w.get(r.PODS, "p1")["metadata"]["ownerReferences"][0]
    assert (reference["kind"], reference["controller"]) == ("ReplicaSet", True)


def test_a_pod_that_no_longer_matches_is_released_and_replaced():
    w = World()
    w.create(r.REPLICASETS, replica_set(1))
    w.settle()
    (name,) = names(w)
    w.patch(r.PODS, name, {"metadata": {"labels": {"app": "other"}}})
    w.settle()
    assert not w.get(r.PODS, name)["metadata"].get("ownerReferences")
    assert len(w.pods("app=web")) == 1


def test_the_cheapest_pods_go_first():
    w = World()
    for name, cost in (("a", "10"), ("b", "-1"), ("c", "5")):
        cost = {"controller.kubernetes.io/pod-deletion-cost": cost}
        w.create(r.PODS, orphan(name, annotations=cost))
    w.ready("a", "b", "c")
    w.create(r.REPLICASETS, replica_set(3))
    w.settle()
    w.patch(r.REPLICASETS, "rs", {"spec": {"replicas": 1}})
    w.settle()
    assert names(w) == ["a"]


def test_a_failed_pod_is_replaced_and_stays():
    w = World()
    w.create(r.REPLICASETS, replica_set(1))
    w.settle()
    w.end(names(w)[0], "Failed", 1)
    w.settle()
    assert len(w.pods()) == 2
    assert w.get(r.REPLICASETS, "rs")["status"]["replicas"] == 1


def test_refused_pods_show_in_a_condition_and_events():
    w = World()
    w.create(r.REPLICASETS, replica_set(2, template=pod_template(serviceAccountName="nobody")))
    w.settle(1)
    (condition,) = w.get(r.REPLICASETS, "rs")["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("ReplicaFailure", "FailedCreate")
    assert 'serviceaccount "nobody" not found' in condition["message"]
    assert w.events("rs")[0] == ("FailedCreate", f"Error creating: {condition['message']}")


def test_creation_starts_slowly_and_stops_at_the_first_failure():
    w = World()
    w.create(r.REPLICASETS, replica_set(50, template=pod_template(serviceAccountName="nobody")))
    w.settle(0.001)
    refused = [e for e in w.kernel.journal.entries("request")
               if e[4].get("resource") == "pods" and e[4]["verb"] == "create"]
    assert len(refused) <= 2  # one for each sync


def test_availability_waits_for_min_ready_seconds():
    w = World()
    w.create(r.REPLICASETS, replica_set(1, minReadySeconds=30))
    w.settle()
    w.ready(*names(w))
    w.settle(20)
    assert "availableReplicas" not in w.get(r.REPLICASETS, "rs")["status"]
    w.settle(12)
    assert w.get(r.REPLICASETS, "rs")["status"]["availableReplicas"] == 1


def test_a_replication_controller_does_the_same():
    w = World()
    w.create(r.REPLICATIONCONTROLLERS, {
        "metadata": {"name": "rc"},
        "spec": {"replicas": 2, "selector": {"app": "web"}, "template": pod_template()},
    })
    w.settle()
    assert len(w.pods()) == 2
    status = w.get(r.REPLICATIONCONTROLLERS, "rc")["status"]
    assert status["replicas"] == 2
    assert "terminatingReplicas" not in status
