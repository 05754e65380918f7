"""StatefulSets."""

import pytest
from controller_world import World, pod_template

from pytest_kubesim.client_go import resources as r


def stateful_set(replicas=3, **spec):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}}
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "volumeMode": "Filesystem",
        },
    }
    return {
        "metadata": {"name": "db"},
        "spec": {
            "replicas": replicas,
            "serviceName": "peers",
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": strategy,
            "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"app": "db"}},
            "template": pod_template(labels={"app": "db"}),
            "volumeClaimTemplates": [claim],
            **spec,
        },
    }


def names(w):
    return sorted(p["metadata"]["name"] for p in w.pods())


def images(w):
    return {p["metadata"]["name"]: p["spec"]["containers"][0]["image"] for p in w.pods()}


def running(replicas=3, **spec):
    w = World()
    w.create(r.STATEFULSETS, stateful_set(replicas, **spec))
    w.settle()
    for _ in range(replicas):
        w.ready_all()
        w.settle()
    return w


def update(w, image):
    template = {"spec": {"containers": [{"name": "c", "image": image}]}}
    w.patch(r.STATEFULSETS, "db", {"spec": {"template": template}})
    w.settle()


def test_pods_come_one_after_the_other():
    w = World()
    w.create(r.STATEFULSETS, stateful_set())
    w.settle()
    assert names(w) == ["db-0"]
    w.ready("db-0")
    w.settle()
    assert names(w) == ["db-0", "db-1"]


def test_a_pod_has_its_name_its_claim_and_its_place():
    w = running(1)
    pod = w.get(r.PODS, "db-0")
    assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "0"
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-0", "peers")
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "data-db-0"}
    assert w.get(r.PERSISTENTVOLUMECLAIMS, "data-db-0")["metadata"]["labels"] == {"app": "db"}
    assert w.events("db") == [
        ("SuccessfulCreate", "Create Claim data-db-0 Pod db-0 in StatefulSet db success"),
        ("SuccessfulCreate", "Create Pod db-0 in StatefulSet db successful"),
    ]


def test_in_parallel_all_come_at_once():
    w = World()
    w.create(r.STATEFULSETS, stateful_set(podManagementPolicy="Parallel"))
    w.settle()
    assert names(w) == ["db-0", "db-1", "db-2"]


def test_an_update_goes_from_the_last_to_the_first():
    w = running()
    update(w, "img:2")
    assert images(w) == {"db-0": "img:1", "db-1": "img:1", "db-2": "img:2"}
    w.ready("db-2")
    w.settle()
    assert images(w) == {"db-0": "img:1", "db-1": "img:2", "db-2": "img:2"}


def test_a_partition_keeps_the_lower_ordinals_as_they_were():
    w = running()
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2, "maxUnavailable": 1}}
    w.patch(r.STATEFULSETS, "db", {"spec": {"updateStrategy": strategy}})
    update(w, "img:2")
    w.ready_all()
    w.settle()
    w.delete(r.PODS, "db-0", grace_period_seconds=0)
    w.settle()
    assert images(w) == {"db-0": "img:1", "db-1": "img:1", "db-2": "img:2"}


def test_max_unavailable_replaces_several_at_once():
    rolling = {"partition": 0, "maxUnavailable": 2}
    w = running(updateStrategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    update(w, "img:2")
    assert len([e for e in w.events("db") if e[0] == "SuccessfulDelete"]) == 2


def test_on_delete_waits_for_somebody_to_delete():
    w = running(updateStrategy={"type": "OnDelete"})
    update(w, "img:2")
    assert set(images(w).values()) == {"img:1"}
    w.delete(r.PODS, "db-1", grace_period_seconds=0)
    w.settle()
    assert images(w)["db-1"] == "img:2"


def test_the_last_goes_first_and_leaves_its_claim():
    w = running()
    w.patch(r.STATEFULSETS, "db", {"spec": {"replicas": 1}})
    w.settle()
    assert names(w) == ["db-0"]
    assert len(w.list(r.PERSISTENTVOLUMECLAIMS)) == 3
    deleted = [m for reason, m in w.events("db") if reason == "SuccessfulDelete"]
    assert deleted == [
        "Delete Pod db-2 in StatefulSet db successful",
        "Delete Pod db-1 in StatefulSet db successful",
    ]


@pytest.mark.parametrize(
    ("policy", "owners"),
    [
        ({"whenDeleted": "Delete", "whenScaled": "Retain"}, ["StatefulSet"]),
        ({"whenDeleted": "Retain", "whenScaled": "Delete"}, []),
        ({"whenDeleted": "Delete", "whenScaled": "Delete"}, ["StatefulSet"]),
    ],
)
def test_claims_belong_to_whom_the_retention_policy_says(policy, owners):
    w = running(1, persistentVolumeClaimRetentionPolicy=policy)
    claim = w.get(r.PERSISTENTVOLUMECLAIMS, "data-db-0")
    references = claim["metadata"].get("ownerReferences") or []
    assert [reference["kind"] for reference in references] == owners


def test_a_failed_pod_is_made_anew():
    w = running(1)
    uid = w.get(r.PODS, "db-0")["metadata"]["uid"]
    w.end("db-0", "Failed", 1)
    w.settle()
    pod = w.get(r.PODS, "db-0")
    assert pod["metadata"]["uid"] != uid
    assert pod["status"]["phase"] == "Pending"


def test_revisions_are_used_again_and_renumbered():
    w = running(1)
    update(w, "img:2")
    update(w, "img:1")
    assert sorted(rev["revision"] for rev in w.list(r.CONTROLLERREVISIONS)) == [2, 3]


def test_ordinals_may_begin_elsewhere():
    w = World()
    w.create(
        r.STATEFULSETS, stateful_set(2, ordinals={"start": 5}, podManagementPolicy="Parallel")
    )
    w.settle()
    assert names(w) == ["db-5", "db-6"]


def test_a_slow_watch_does_no_harm():
    w = World(latency_ns=(50_000_000, 200_000_000))
    w.create(r.STATEFULSETS, stateful_set(3, podManagementPolicy="Parallel"))
    w.settle(30)
    w.ready_all()
    w.settle(30)
    assert w.get(r.STATEFULSETS, "db")["status"]["readyReplicas"] == 3
    assert [reason for reason, _ in w.events("db") if reason.startswith("Failed")] == []
