"""Deployments, through a real API server."""

from controller_world import World, deployment, pod_template

from pytest_kubesim.client_go import resources as r


def sets(w):
    """Image, wanted and present replicas of the ReplicaSets, oldest first."""
    found = w.list(r.REPLICASETS)
    found.sort(key=lambda s: int(s["metadata"]["annotations"]["deployment.kubernetes.io/revision"]))
    return [
        (s["spec"]["template"]["spec"]["containers"][0]["image"], s["spec"]["replicas"])
        for s in found
    ]


def condition(w, type_, name="web"):
    for entry in w.get(r.DEPLOYMENTS, name)["status"]["conditions"]:
        if entry["type"] == type_:
            return entry["status"], entry["reason"], entry["message"]
    return None


def rollout(w, image):
    template = {"spec": {"containers": [{"name": "c", "image": image}]}}
    w.patch(r.DEPLOYMENTS, "web", {"spec": {"template": template}})
    w.settle()


def running(**spec):
    w = World()
    w.create(r.DEPLOYMENTS, deployment(**spec))
    w.settle()
    w.ready_all()
    w.settle()
    return w


def test_a_new_deployment_gets_its_pods_and_says_so():
    w = running()
    name = w.list(r.REPLICASETS)[0]["metadata"]["name"]
    assert len(w.pods()) == 3
    assert condition(w, "Available") == (
        "True", "MinimumReplicasAvailable", "Deployment has minimum availability."
    )
    assert condition(w, "Progressing") == (
        "True", "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'
    )
    assert w.events("web") == [("ScalingReplicaSet", f"Scaled up replica set {name} from 0 to 3")]


def test_a_rolling_update_keeps_within_its_limits():
    w = running()
    rollout(w, "img:2")
    assert sets(w) == [("img:1", 2), ("img:2", 2)]
    while not all(p["spec"]["containers"][0]["image"] == "img:2" for p in w.pods()):
        w.ready_all()
        w.settle()
        ready = [p for p in w.pods() if p["status"].get("conditions")]
        assert len(ready) >= 2
        assert len(w.pods()) <= 4
    w.ready_all()
    w.settle()
    assert sets(w) == [("img:1", 0), ("img:2", 3)]


def test_an_old_template_takes_its_set_back():
    w = running()
    rollout(w, "img:2")
    rollout(w, "img:1")
    first = [s for s in w.list(r.REPLICASETS)
             if s["spec"]["template"]["spec"]["containers"][0]["image"] == "img:1"]
    annotations = first[0]["metadata"]["annotations"]
    assert annotations["deployment.kubernetes.io/revision"] == "3"
    assert annotations["deployment.kubernetes.io/revision-history"] == "1"


def test_recreate_empties_the_old_set_first():
    w = running(strategy={"type": "Recreate"}, replicas=2)
    old = {p["metadata"]["name"] for p in w.pods()}
    rollout(w, "img:2")
    events = [message for _, message in w.events("web")]
    assert [m.split(" replica")[0] for m in events] == ["Scaled up", "Scaled down", "Scaled up"]
    assert not old & {p["metadata"]["name"] for p in w.pods()}


def test_nothing_rolls_while_paused_but_scaling_goes_on_in_proportion():
    w = running()
    rollout(w, "img:2")
    w.patch(r.DEPLOYMENTS, "web", {"spec": {"paused": True}})
    w.settle()
    assert condition(w, "Progressing")[1:] == ("DeploymentPaused", "Deployment is paused")
    w.ready_all()
    w.settle()
    assert sets(w) == [("img:1", 2), ("img:2", 2)]
    w.patch(r.DEPLOYMENTS, "web", {"spec": {"replicas": 9}})
    w.settle()
    assert sets(w) == [("img:1", 5), ("img:2", 5)]


def test_a_deployment_that_gets_nowhere_says_so_after_its_deadline():
    w = World()
    w.create(r.DEPLOYMENTS, deployment(progressDeadlineSeconds=30))
    w.settle(20)
    assert condition(w, "Progressing")[1] == "ReplicaSetUpdated"
    w.settle(20)
    assert condition(w, "Progressing")[:2] == ("False", "ProgressDeadlineExceeded")


def test_old_sets_are_removed_beyond_the_limit():
    w = running(revisionHistoryLimit=1, replicas=1)
    for image in ("img:2", "img:3", "img:4"):
        rollout(w, image)
        w.ready_all()
        w.settle()
    assert sets(w) == [("img:3", 0), ("img:4", 1)]


def test_rolling_back_by_annotation():
    w = running()
    rollout(w, "img:2")
    rollback = {"metadata": {"annotations": {"deprecated.deployment.rollback.to": "1"}}}
    w.patch(r.DEPLOYMENTS, "web", rollback)
    w.settle()
    web = w.get(r.DEPLOYMENTS, "web")
    assert web["spec"]["template"]["spec"]["containers"][0]["image"] == "img:1"
    assert "deprecated.deployment.rollback.to" not in web["metadata"]["annotations"]
    assert ("DeploymentRollback", 'Rolled back deployment "web" to revision 1') in w.events("web")


def test_a_set_that_matches_and_has_no_owner_is_adopted():
    w = World()
    template = pod_template(labels={"app": "web", "pod-template-hash": "abc"})
    w.create(r.REPLICASETS, {
        "metadata": {"name": "web-abc", "labels": {"app": "web", "pod-template-hash": "abc"}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web", "pod-template-hash": "abc"}},
            "template": template,
        },
    })
    w.settle()
    w.create(r.DEPLOYMENTS, deployment(replicas=2))
    w.settle()
    (only,) = w.list(r.REPLICASETS)
    assert only["metadata"]["ownerReferences"][0]["name"] == "web"
    assert only["spec"]["replicas"] == 2


def test_a_slow_watch_does_not_lead_to_too_many_pods():
    w = World(latency_ns=(50_000_000, 200_000_000))
    w.create(r.DEPLOYMENTS, deployment(replicas=20))
    w.settle(30)
    assert len(w.pods()) == 20
    w.patch(r.DEPLOYMENTS, "web", {"spec": {"replicas": 5}})
    w.settle(30)
    assert len([p for p in w.pods() if not p["metadata"].get("deletionTimestamp")]) == 5
