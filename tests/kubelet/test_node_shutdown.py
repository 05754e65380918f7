"""Nodes shut down in order."""

import pytest

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig
from pytest_kubesim.cri.programs import hangs_on_sigterm


@pytest.fixture
def cluster():
    made = Cluster(ClusterConfig(nodes=1))
    for name, critical in (("plain", ""), ("critical", "system-node-critical")):
        made.create({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "kube-system"},
            "spec": {"priorityClassName": critical, "containers": [{"name": "c", "image": name}]},
        })
    made.advance("30s")
    return made


def status(cluster, name):
    return cluster.get(f"pod/{name}", namespace="kube-system")["status"]


def ready(cluster):
    conditions = cluster.get("node/node-1")["status"]["conditions"]
    return next(c for c in conditions if c["type"] == "Ready")


def test_pods_end_and_say_why_and_the_node_is_not_ready(cluster):
    cluster.nodes["node-1"].shut_down()
    cluster.advance("500ms")
    condition = ready(cluster)
    assert (condition["status"], condition["message"]) == ("False", "node is shutting down")
    cluster.advance("5s")
    for name in ("plain", "critical"):
        found = status(cluster, name)
        assert (found["phase"], found["reason"]) == ("Failed", "Terminated")
        assert found["message"] == (
            "Pod was terminated in response to imminent node shutdown."
        )
        (why,) = [c for c in found["conditions"] if c["type"] == "DisruptionTarget"]
        assert why["reason"] == "TerminationByKubelet"
    assert not cluster.nodes["node-1"].powered


def test_critical_pods_end_when_the_others_have():
    cluster = Cluster(ClusterConfig(nodes=1))
    cluster.images["stubborn"] = hangs_on_sigterm()
    for name, image, critical in (
        ("plain", "stubborn", ""), ("critical", "any", "system-node-critical")
    ):
        cluster.create({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "kube-system"},
            "spec": {"priorityClassName": critical, "containers": [{"name": "c", "image": image}]},
        })
    cluster.advance("30s")
    cluster.nodes["node-1"].shut_down("30s", critical_pods="10s")
    cluster.advance("15s")
    assert "deletionTimestamp" not in cluster.get("pod/critical", "kube-system")["metadata"]
    assert status(cluster, "critical")["phase"] == "Running"
    cluster.advance("15s")
    assert status(cluster, "critical")["phase"] == "Failed"


def test_nothing_new_is_admitted(cluster):
    cluster.images["plain"] = hangs_on_sigterm()
    cluster.nodes["node-1"].shut_down("40s")
    cluster.create({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "i"}]},
    })
    cluster.advance("200ms")
    found = cluster.get("pod/late")["status"]
    assert (found["phase"], found["reason"]) == ("Failed", "NodeShutdown")
    assert found["message"] == (
        "Pod was rejected: Pod was rejected as the node is shutting down."
    )


def test_groups_of_priorities_end_one_after_the_other():
    cluster = Cluster(ClusterConfig(nodes=1))
    cluster.images["stubborn"] = hangs_on_sigterm()
    for name, value in (("low", -5), ("middle", 1000), ("high", 90_000)):
        cluster.create({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value})
        cluster.create({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "kube-system"},
            "spec": {"priorityClassName": name, "containers": [{"name": "c", "image": "stubborn"}]},
        })
    cluster.advance("30s")
    cluster.nodes["node-1"].shut_down(by_priority={0: "10s", 1000: "20s", 50_000: "5s"})
    seen = []
    for seconds in (9, 3, 15, 5, 5):
        cluster.advance(seconds)
        seen.append("".join(status(cluster, name)["phase"][0] for name in ("low", "middle", "high")))
    assert seen == ["RRR", "FRR", "FRR", "FFR", "FFF"]
    (event,) = [e for e in cluster.list("events") if e["reason"] == "Shutdown"]
    assert event["message"] == "Shutdown manager detected shutdown event"
