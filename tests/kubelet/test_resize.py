"""Pods get more or less of the node while they run."""

import pytest

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig


@pytest.fixture
def cluster():
    made = Cluster(ClusterConfig())
    made.add_nodes(1, cpu="2", memory="2Gi")
    return made


def resources(cpu, memory="64Mi"):
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


def create(cluster, name, cpu, **fields):
    cluster.create({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [
            {"name": "c", "image": "i", "resources": resources(cpu), **fields}]},
    })
    cluster.eventually(f"pod/{name}", {"status": {"phase": "Running"}}, within="1m")


def resize(cluster, name, cpu, memory="64Mi"):
    from pytest_kubesim.client_go.resources import PODS

    patch = {"spec": {"containers": [{"name": "c", "resources": resources(cpu, memory)}]}}
    cluster.perform(cluster._client.patch(PODS, "default", name, patch, subresource="resize"))


def container(cluster, name):
    return cluster.get(f"pod/{name}")["status"]["containerStatuses"][0]


def conditions(cluster, name):
    return [
        (c["type"], c.get("reason"), c.get("message"), c["observedGeneration"])
        for c in cluster.get(f"pod/{name}")["status"]["conditions"] if "Resize" in c["type"]
    ]


def events(cluster, name):
    found = [e for e in cluster.list("events") if e["involvedObject"]["name"] == name]
    return [(e["reason"], e["message"]) for e in found if e["reason"].startswith("Resize")]


def test_a_container_gets_more_without_a_restart(cluster):
    create(cluster, "p", "500m")
    resize(cluster, "p", "1")
    cluster.advance("10s")
    status = container(cluster, "p")
    assert status["resources"] == resources("1")
    assert status["allocatedResources"] == {"cpu": "1", "memory": "64Mi"}
    assert status["restartCount"] == 0
    assert conditions(cluster, "p") == []
    summary = (
        '{"containers":[{"name":"c","resources":{"limits":{"cpu":"1","memory":"64Mi"},'
        '"requests":{"cpu":"1","memory":"64Mi"}}}],"generation":2}'
    )
    assert events(cluster, "p") == [
        ("ResizeStarted", f"Pod resize started: {summary}"),
        ("ResizeCompleted", f"Pod resize completed: {summary}"),
    ]


def test_a_container_is_restarted_where_its_policy_says_so(cluster):
    create(cluster, "p", "500m", resizePolicy=[
        {"resourceName": "cpu", "restartPolicy": "RestartContainer"},
        {"resourceName": "memory", "restartPolicy": "NotRequired"},
    ])
    resize(cluster, "p", "500m", "128Mi")
    cluster.advance("10s")
    assert container(cluster, "p")["restartCount"] == 0
    resize(cluster, "p", "1", "128Mi")
    cluster.advance("1m")
    status = container(cluster, "p")
    assert (status["restartCount"], status["resources"]) == (1, resources("1", "128Mi"))
    assert conditions(cluster, "p") == []


def test_what_does_not_fit_is_deferred_until_there_is_room(cluster):
    create(cluster, "p", "500m")
    create(cluster, "other", "1")
    resize(cluster, "p", "1500m")
    cluster.advance("10s")
    message = (
        "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"
    )
    assert conditions(cluster, "p") == [("PodResizePending", "Deferred", message, 2)]
    assert container(cluster, "p")["resources"] == resources("500m")
    ((reason, said),) = events(cluster, "p")
    assert reason == "ResizeDeferred"
    assert said.startswith('Pod resize OutOfcpu: {"containers":')
    cluster.delete("pod/other")
    cluster.advance("1m")
    assert container(cluster, "p")["resources"] == resources("1500m")
    assert conditions(cluster, "p") == []


def test_a_wish_taken_back_is_forgotten(cluster):
    create(cluster, "p", "500m")
    create(cluster, "other", "1")
    resize(cluster, "p", "2")
    cluster.advance("5s")
    assert conditions(cluster, "p")[0][1] == "Deferred"
    resize(cluster, "p", "500m")
    cluster.advance("5s")
    assert conditions(cluster, "p") == []
    assert container(cluster, "p")["resources"] == resources("500m")


def test_memory_in_use_cannot_be_taken_away(cluster):
    from pytest_kubesim.cri.programs import runs_forever

    cluster.images["i"] = runs_forever().having(memory=50 * 2**20)
    create(cluster, "p", "500m")
    resize(cluster, "p", "500m", "32Mi")
    cluster.advance("30s")
    message = (
        "cannot decrease memory limits: [attempting to set pod memory limit (33554432) below "
        'current usage (52428800), attempting to set container "c" memory limit (33554432) below '
        "current usage (52428800)]"
    )
    assert conditions(cluster, "p") == [("PodResizeInProgress", "Error", message, 2)]
    assert container(cluster, "p")["resources"] == resources("500m")
    assert container(cluster, "p")["allocatedResources"]["memory"] == "32Mi"


def test_a_kubelet_that_starts_again_knows_what_was_allocated(cluster):
    create(cluster, "p", "500m")
    create(cluster, "other", "1")
    resize(cluster, "p", "2")
    cluster.advance("5s")
    cluster.nodes["node-1"].stop_kubelet()
    cluster.nodes["node-1"].start_kubelet()
    cluster.advance("20s")
    assert conditions(cluster, "p")[0][:2] == ("PodResizePending", "Deferred")
    assert container(cluster, "p")["resources"] == resources("500m")
