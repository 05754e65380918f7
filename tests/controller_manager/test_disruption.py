"""PodDisruptionBudgets."""

from controller_world import World, deployment

from pytest_kubesim.client_go import resources as r


def budget(name="pdb", **spec):
    return {"metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec}}


def start(replicas=3, **spec):
    w = World("disruption-controller", "deployment-controller", "replicaset-controller")
    w.create(r.DEPLOYMENTS, deployment(replicas=replicas))
    w.settle()
    w.ready_all()
    w.create(r.PODDISRUPTIONBUDGETS, budget(**spec))
    w.settle()
    return w


def numbers(w, name="pdb"):
    status = w.get(r.PODDISRUPTIONBUDGETS, name)["status"]
    return tuple(
        status[k] for k in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    )


def condition(w, name="pdb"):
    (found,) = w.get(r.PODDISRUPTIONBUDGETS, name)["status"]["conditions"]
    return found["status"], found["reason"], found["message"]


def test_a_number_of_pods_must_stay():
    w = start(minAvailable=2)
    assert numbers(w) == (1, 3, 2, 3)
    assert condition(w) == ("True", "SufficientPods", "")


def test_a_percentage_is_of_what_the_controller_wants():
    w = start(minAvailable="50%")
    w.delete(r.PODS, w.pods()[0]["metadata"]["name"], grace_period_seconds=0)
    w.settle()
    assert numbers(w) == (0, 2, 2, 3)
    assert condition(w)[1] == "InsufficientPods"


def test_so_many_may_be_missing():
    assert numbers(start(maxUnavailable=1)) == (1, 3, 2, 3)
    assert numbers(start(maxUnavailable="100%")) == (3, 3, 0, 3)


def test_no_pods_are_told():
    w = World("disruption-controller")
    w.create(r.PODDISRUPTIONBUDGETS, budget(minAvailable=1))
    w.settle()
    assert numbers(w) == (0, 0, 1, 0)
    assert w.events("pdb")[0] == ("NoPods", "No matching pods found")


def test_pods_that_nobody_controls_are_told():
    w = World("disruption-controller")
    container = {"name": "c", "image": "i"}
    w.create(r.PODS, {"metadata": {"name": "p", "labels": {"app": "web"}},
                      "spec": {"containers": [container]}})
    w.create(r.PODDISRUPTIONBUDGETS, budget(maxUnavailable=1))
    w.settle()
    reason, message = w.events("pdb")[0]
    assert reason == "UnmanagedPods"
    assert "(selector: &LabelSelector{MatchLabels:map[string]string{app: web,}," in message


def test_pods_of_an_unknown_controller_close_the_budget():
    w = World("disruption-controller")
    owner = {"apiVersion": "example.com/v1", "kind": "Thing", "name": "t", "uid": "u",
             "controller": True}
    w.create(r.PODS, {
        "metadata": {"name": "p", "labels": {"app": "web"}, "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    })
    w.create(r.PODDISRUPTIONBUDGETS, budget(maxUnavailable=1))
    w.settle()
    said = 'no matches for kind "Thing" in version "example.com/v1"'
    assert condition(w) == ("False", "SyncFailed", said)
    assert ("CalculateExpectedPodCountFailed",
            f"Failed to calculate the number of expected pods: {said}") in w.events("pdb")


def test_what_was_to_be_evicted_counts_as_gone_for_two_minutes():
    w = start(minAvailable=1)
    name = w.pods()[0]["metadata"]["name"]
    status = w.get(r.PODDISRUPTIONBUDGETS, "pdb")["status"]
    w.patch(
        r.PODDISRUPTIONBUDGETS, "pdb",
        {"status": {**status, "disruptedPods": {name: w.now}}},
        subresource="status", patch_type="merge",
    )
    w.settle(60)
    assert numbers(w)[1] == 2
    w.settle(70)
    assert numbers(w)[1] == 3
    assert "disruptedPods" not in w.get(r.PODDISRUPTIONBUDGETS, "pdb")["status"]
    assert "NotDeleted" in [reason for reason, _ in w.events(name)]


def test_a_disruption_that_did_not_come_is_taken_back():
    w = start(minAvailable=1)
    name = w.pods()[0]["metadata"]["name"]
    target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
              "message": "", "lastTransitionTime": w.now}
    w.set_pod(name, conditions=[target])
    w.settle(130)
    conditions = {c["type"]: c["status"] for c in w.get(r.PODS, name)["status"]["conditions"]}
    assert conditions["DisruptionTarget"] == "False"
