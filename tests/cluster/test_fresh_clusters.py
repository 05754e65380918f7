"""What a cluster is when a test gets it, and that it shares no more with the next than it may."""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.client_go.resources import CONFIGMAPS
from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig
from pytest_kubesim.sim.process import Process

BINDING: dict[str, Any] = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "bob"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
}


def may_list(cluster: Cluster, user: str) -> bool:
    process = Process(cluster.kernel, f"{user}'s client", host="control-plane")
    client = cluster.control_plane.client(process, user, agent="test/1")
    try:
        cluster.kernel.run_coroutine(client.list(CONFIGMAPS, "default"))
    except APIStatus as refused:
        assert refused.code == 403
        return False
    return True


def test_nothing_is_written_in_the_first_instant() -> None:
    cluster = Cluster(ClusterConfig())
    revision = cluster.control_plane.etcd.store.revision
    cluster.advance("0s")
    assert cluster.control_plane.etcd.store.revision == revision
    verbs = {entry.fields["verb"] for entry in cluster.journal.entries("request")}
    assert verbs == {"list", "watch"}


def test_what_controllers_write_in_an_empty_cluster_is_there() -> None:
    cluster = Cluster(ClusterConfig())
    assert cluster.get("serviceaccount/default")["metadata"]["uid"]
    assert "ca.crt" in cluster.get("configmap/kube-root-ca.crt")["data"]
    assert cluster.get("clusterrole/view")["rules"]


def test_an_api_server_alone_has_no_controllers_work() -> None:
    cluster = Cluster(ClusterConfig(components="apiserver"))
    assert not cluster.list("serviceaccounts")


def test_rights_in_one_cluster_are_none_in_another() -> None:
    one, other = Cluster(ClusterConfig()), Cluster(ClusterConfig())
    assert not may_list(one, "bob")
    one.create(BINDING)
    assert may_list(one, "bob")
    assert not may_list(other, "bob")
    one.delete("clusterrolebinding/bob")
    assert not may_list(one, "bob")
    other.create(BINDING)
    assert may_list(other, "bob")
