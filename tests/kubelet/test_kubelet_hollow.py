"""Nodes that somebody else made: hollow kubelets, and who plays what."""

from __future__ import annotations

import pytest

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig
from pytest_kubesim.cri.programs import exits

READY = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]


@pytest.fixture
def cluster():
    cluster = Cluster(ClusterConfig(instant=True))
    cluster.nodes.manage_all()
    yield cluster
    cluster.close()


def _node(name, **status):
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status}


def _pod(name, **spec):
    containers = [{"name": "c", "image": "x"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": containers, **spec},
    }


def test_a_node_object_gets_a_kubelet_that_runs_pods_and_records_no_events(cluster):
    cluster.create(_node("n"))
    cluster.create(_pod("p"))
    cluster.eventually("pod/p", {"status": {"phase": "Running"}}, within="1m")
    reasons = [event["reason"] for event in cluster.list("events", namespace="default")]
    assert "Scheduled" in reasons
    assert not {"Pulled", "Created", "Started"} & set(reasons)


def test_a_pod_is_told_of_once_when_it_runs(cluster):
    cluster.create(_node("n"))
    cluster.create(_pod("p"))
    cluster.eventually("pod/p", {"status": {"phase": "Running"}}, within="1m")
    told = [
        entry for entry in cluster.journal.entries("request")
        if entry.fields["resource"] == "pods/status" and entry.actor != "kube-scheduler"
    ]
    assert len(told) == 1


def test_a_pod_that_cannot_begin_is_told_of_after_a_while(cluster):
    cluster.create(_node("n"))
    cluster.nodes.images.slow("x", "1h")
    cluster.create(_pod("p"))
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}
    cluster.eventually("pod/p", {"status": waiting}, within="30s")


PLAIN = [{"name": "c", "image": "x"}]
MISSING = {"envFrom": [{"configMapRef": {"name": "missing"}}]}
ASKED = {"readinessProbe": {"httpGet": {"port": 80}, "initialDelaySeconds": 600}}


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [{"name": "c", "image": "busybox", "command": ["false"]}]},
        {"containers": PLAIN, "volumes": [{"name": "v", "configMap": {"name": "missing"}}]},
        {"containers": [{**PLAIN[0], **MISSING}]},
        {"containers": PLAIN, "initContainers": [{"name": "i", "image": "x"}]},
        {"containers": PLAIN, "readinessGates": [{"conditionType": "example.com/open"}]},
        {"containers": [{**PLAIN[0], "imagePullPolicy": "Never"}]},
    ],
)
def test_a_pod_runs_whatever_is_in_it(cluster, spec):
    cluster.create(_node("n"))
    cluster.create(_pod("p", **spec))
    true = [{"type": kind, "status": "True"} for kind in ("Initialized", "Ready")]
    cluster.eventually("pod/p", {"status": {"phase": "Running", "conditions": true}}, within="5s")


def test_pods_of_jobs_complete_and_stay_as_ready_as_they_were(cluster):
    cluster.create(_node("n"))
    template = {"spec": {"restartPolicy": "Never", "containers": PLAIN}}
    cluster.create({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"},
        "spec": {"completions": 2, "template": template},
    })
    cluster.eventually("job/j", {"status": {"succeeded": 2}}, within="1m")
    for pod in cluster.list("pods", namespace="default"):
        (told,) = pod["status"]["containerStatuses"]
        assert told["state"]["terminated"]["reason"] == "Completed"
        assert told["image"] == "x"
        assert {c["status"] for c in pod["status"]["conditions"]} == {"True"}


def test_what_the_test_says_of_an_image_comes_first(cluster):
    cluster.create(_node("n"))
    cluster.nodes.images["x"] = exits(3)
    cluster.create(_pod("p", restartPolicy="Never"))
    cluster.eventually("pod/p", {"status": {"phase": "Failed"}}, within="5s")


def test_a_node_that_comes_ready_is_played_by_somebody(cluster):
    cluster.create(_node("n", conditions=READY))
    cluster.create(_pod("p", nodeName="n"))
    cluster.advance("1m")
    assert "n" not in cluster.nodes
    assert cluster.get("pod/p")["status"]["phase"] == "Pending"


def test_a_pod_placed_by_hand_runs_unless_somebody_plays_it(cluster):
    cluster.create(_node("n"))
    cluster.create(_pod("p", nodeName="n"))
    cluster.eventually("pod/p", {"status": {"phase": "Running"}}, within="10s")


def test_who_plays_one_pod_of_a_node_plays_all_that_were_placed_by_hand(cluster):
    cluster.create(_node("n"))
    cluster.create(_pod("played", nodeName="n"))
    cluster.create(_pod("other", nodeName="n"))
    status = {"status": {"phase": "Running", "podIP": "192.0.2.1"}}
    cluster.patch("pod/played", status, subresource="status")
    cluster.advance("1m")
    assert cluster.get("pod/played")["status"]["podIP"] == "192.0.2.1"
    assert cluster.get("pod/other")["status"]["phase"] == "Pending"


def test_what_somebody_else_says_of_a_pod_is_let_be(cluster):
    cluster.create(_node("n"))
    cluster.create(_pod("p"))
    cluster.eventually("pod/p", {"status": {"phase": "Running"}}, within="1m")
    unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    cluster.patch("pod/p", unready, subresource="status")
    cluster.stays("pod/p", unready, during="1m")
    cluster.delete("pod/p")
    cluster.eventually(lambda: not cluster.list("pods"), within="1m")


def test_a_node_that_somebody_plays_stays_his_when_it_is_made_anew(cluster):
    cluster.create(_node("n", conditions=READY))
    cluster.advance("1m")
    cluster.delete("node/n")
    cluster.create(_node("n"))
    cluster.advance("1m")
    assert not cluster.get("node/n")["status"].get("nodeInfo", {}).get("kubeletVersion")
