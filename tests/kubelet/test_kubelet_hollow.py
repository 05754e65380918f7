"""Nodes that somebody else made: hollow kubelets, and who plays what."""

from __future__ import annotations

import pytest

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig

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
    volume = {"name": "v", "configMap": {"name": "missing"}}
    cluster.create(_pod("p", volumes=[volume]))
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}
    cluster.eventually("pod/p", {"status": waiting}, within="30s")


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
