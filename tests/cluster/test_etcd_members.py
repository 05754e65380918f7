"""A cluster on three etcd members: it goes on while they fail, and says so when they cannot."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "replicas": 5,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "nginx"}]},
        },
    },
}
MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}}


def cluster(**options: Any) -> Cluster:
    return Cluster(ClusterConfig(**{"etcd_members": 3, "nodes": 3, **options}))


def test_a_deployment_goes_on_while_the_leader_crashes() -> None:
    made = cluster()
    made.apply(DEPLOYMENT)
    old = made.control_plane.group.leader
    old.crash()
    made.eventually("deployment/web", {"status": {"readyReplicas": 5}}, within="2m")
    old.start()
    made.settle()
    assert made.control_plane.group.leader is not old
    assert len({h.hash for h in made.control_plane.group.hash_kv(encode=lambda v: repr(v).encode()).values()}) == 1


def test_without_a_quorum_writes_fail_reads_of_the_cache_go_on_and_all_heals(kubesim_factory) -> None:
    made = kubesim_factory(etcd_members=3, components="apiserver")
    made.apply(MAP)
    group = made.control_plane.group
    mine = made.control_plane.server.etcd.endpoint
    lost = [member for member in group.members.values() if member is not mine]
    for member in lost:
        member.crash()
    made.advance("1500ms")
    client = made.client("httpx")
    client.timeout = 120
    base = "/api/v1/namespaces/default/configmaps"
    cached = client.get(base, params={"resourceVersion": "0"})
    assert cached.status_code == 200
    refused = client.post(base, json={**MAP, "metadata": {"name": "n"}})
    assert refused.status_code == 500
    assert refused.json()["message"].startswith("etcdserver: request timed out")
    late = client.get(f"{base}/m")
    assert (late.status_code, late.json()["reason"]) == (504, "Timeout")
    for member in lost:
        member.start()
    made.advance("5s")
    assert client.post(base, json={**MAP, "metadata": {"name": "o"}}).status_code == 201
    assert client.get(base).status_code == 200


@pytest.mark.parametrize("members", [3, 5])
def test_equal_runs_are_equal(members: int) -> None:
    def run() -> str:
        made = cluster(etcd_members=members, nodes=1)
        made.apply(DEPLOYMENT)
        made.control_plane.group.leader.crash()
        made.advance("1m")
        return made.journal.digest()

    assert run() == run()


def test_several_api_servers_over_several_members_idle_cheaply() -> None:
    made = cluster(control_planes=3)
    made.advance("1m")
    group = made.control_plane.group
    for _ in range(3):
        leader = group.leader
        leader.crash()
        made.advance("5s")
        leader.start()
        made.advance("55s")
        assert group.calm
    made.apply(DEPLOYMENT)
    made.eventually("deployment/web", {"status": {"readyReplicas": 5}}, within="2m")
