"""Static pods, and the mirror pods that show them."""

import pytest

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: etcd, namespace: kube-system, labels: {tier: control-plane}}
spec:
  containers: [{name: etcd, image: "etcd:3.6"}]
"""


@pytest.fixture
def cluster():
    made = Cluster(ClusterConfig(nodes=1))
    made.advance("5s")
    made.nodes["node-1"].put_static_pod(MANIFEST)
    made.advance("30s")
    return made


def mirror(cluster):
    return cluster.get("pod/etcd-node-1", namespace="kube-system")


def test_a_mirror_pod_shows_it(cluster):
    pod = mirror(cluster)
    annotations = pod["metadata"]["annotations"]
    assert annotations["kubernetes.io/config.source"] == "file"
    assert annotations["kubernetes.io/config.mirror"] == annotations["kubernetes.io/config.hash"]
    assert pod["metadata"]["labels"] == {"tier": "control-plane"}
    (owner,) = pod["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Node", "node-1", True)
    assert {"effect": "NoExecute", "operator": "Exists"} in pod["spec"]["tolerations"]
    assert pod["status"]["phase"] == "Running"
    assert pod["status"]["containerStatuses"][0]["ready"] is True


def test_a_mirror_that_is_deleted_comes_again_and_nothing_restarts(cluster):
    before = mirror(cluster)
    cluster.delete("pod/etcd-node-1", namespace="kube-system")
    cluster.advance("10s")
    after = mirror(cluster)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]


def test_it_goes_with_its_manifest(cluster):
    cluster.nodes["node-1"].remove_static_pod("etcd", "kube-system")
    cluster.advance("1m")
    assert cluster.list("pods", namespace="kube-system") == []


def test_another_manifest_makes_another_pod(cluster):
    before = mirror(cluster)
    cluster.nodes["node-1"].put_static_pod(MANIFEST.replace("3.6", "3.7"))
    cluster.advance("1m")
    after = mirror(cluster)
    assert after["spec"]["containers"][0]["image"] == "etcd:3.7"
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["status"]["phase"] == "Running"


def test_a_kubelet_that_starts_again_finds_it(cluster):
    before = mirror(cluster)
    cluster.nodes["node-1"].stop_kubelet()
    cluster.nodes["node-1"].start_kubelet()
    cluster.advance("30s")
    after = mirror(cluster)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]


def test_a_node_that_boots_runs_it_again(cluster):
    cluster.nodes["node-1"].power_off()
    cluster.advance("10s")
    cluster.nodes["node-1"].power_on()
    cluster.advance("1m")
    assert mirror(cluster)["status"]["containerStatuses"][0]["restartCount"] == 1
