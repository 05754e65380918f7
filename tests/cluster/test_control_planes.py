"""Several API servers, controller managers and schedulers over one etcd."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}


def pod_template(app: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]},
    }


def deployment(name: str, replicas: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": pod_template(name),
        },
    }


def make(nodes: int = 0, seed: int = 0) -> Cluster:
    return Cluster(ClusterConfig(control_planes=3, nodes=nodes, seed=seed))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    found = make(nodes=2)
    yield found
    found.close()


def holder(cluster: Cluster, name: str) -> str:
    lease = cluster.get(f"lease/{name}", namespace="kube-system")
    return lease["spec"]["holderIdentity"].partition("_")[0]


def test_each_control_plane_has_a_host_and_processes_of_its_own(cluster: Cluster) -> None:
    processes = cluster.control_plane.processes()

    assert {name: process.host for name, process in processes.items()} == {
        f"{name}-{number}": f"control-plane-{number}"
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
        for number in (1, 2, 3)
    }


def test_what_one_server_stores_the_others_read(cluster: Cluster) -> None:
    cluster.apply(deployment("web", 2))
    cluster.eventually("pods", {"status": {"phase": "Running"}}, count=2, within="1m")
    resource = cluster.names.resource("pods")

    for server in cluster.control_plane.servers:
        assert len(server.reader.list(resource.group_resource, "default")) == 2


def test_one_controller_manager_and_one_scheduler_lead(cluster: Cluster) -> None:
    cluster.advance("10s")

    running = [m for m in cluster.control_plane.controller_managers if m.running]
    assert [m.process.host for m in running] == [holder(cluster, "kube-controller-manager")]
    assert holder(cluster, "kube-scheduler") in {f"control-plane-{n}" for n in (1, 2, 3)}
    events = cluster.list("events", namespace="kube-system")
    assert {e["reason"] for e in events} == {"LeaderElection"}
    assert all(e["message"].endswith(" became leader") for e in events)


def test_when_the_leaders_machine_goes_another_takes_over(cluster: Cluster) -> None:
    cluster.advance("10s")
    first = holder(cluster, "kube-controller-manager")
    for process in cluster.control_plane.processes().values():
        if process.host == first:
            process.crash()
    cluster.apply(deployment("web", 2))
    cluster.eventually("pods", {"status": {"phase": "Running"}}, count=2, within="1m")

    assert holder(cluster, "kube-controller-manager") != first
    lease = cluster.get("lease/kube-controller-manager", namespace="kube-system")
    assert lease["spec"]["leaseTransitions"] == 1


def test_a_leader_without_its_api_server_gives_up_and_is_started_again(cluster: Cluster) -> None:
    cluster.advance("10s")
    first = holder(cluster, "kube-controller-manager")
    server = next(s for s in cluster.control_plane.servers if s.host == first)
    manager = next(
        m.process for m in cluster.control_plane.controller_managers if m.process.host == first
    )
    server.process.crash()
    cluster.advance("9s")
    assert manager.running
    assert manager.restarts == 0
    cluster.advance("30s")

    ends = [e.fields for e in cluster.journal if e.actor == manager.name and e.kind == "process"]
    assert [e.get("error") for e in ends if e["what"] == "exited"] == [
        "LeaderElectionLost: leaderelection lost"
    ]
    assert manager.running
    assert holder(cluster, "kube-controller-manager") != first


def test_clients_go_on_with_another_server(cluster: Cluster) -> None:
    cluster.apply(CONFIG_MAP)
    cluster.control_plane.servers[0].process.crash()
    cluster.control_plane.servers[1].process.crash()

    assert cluster.get("configmap/a")["metadata"]["name"] == "a"
    cluster.apply({**CONFIG_MAP, "data": {"x": "y"}})
    cluster.advance("2m")
    nodes = cluster.list("nodes")
    assert all(n["status"]["conditions"][-1]["status"] == "True" for n in nodes)


def addresses(cluster: Cluster) -> list[str]:
    endpoints = cluster.get("endpoints/kubernetes")
    found = cluster.get("endpointslice/kubernetes")
    of_slice = [each["addresses"][0] for each in found["endpoints"]]
    assert of_slice == [each["ip"] for each in endpoints["subsets"][0]["addresses"]]
    return of_slice


def test_the_service_kubernetes_finds_all_api_servers(cluster: Cluster) -> None:
    cluster.advance("1s")
    assert addresses(cluster) == ["172.18.0.2", "172.18.255.2", "172.18.255.3"]

    cluster.control_plane.servers[1].process.crash()
    cluster.advance("5s")
    assert len(addresses(cluster)) == 3
    cluster.advance("25s")
    assert addresses(cluster) == ["172.18.0.2", "172.18.255.3"]

    cluster.control_plane.servers[1].start()
    cluster.advance("1s")
    assert len(addresses(cluster)) == 3


def identities(cluster: Cluster) -> list[str]:
    leases = cluster.list("leases", namespace="kube-system")
    hosts = (lease["metadata"].get("labels", {}).get("kubernetes.io/hostname") for lease in leases)
    return sorted(host for host in hosts if host)


def test_each_api_server_has_a_lease_that_says_who_it_is(cluster: Cluster) -> None:
    cluster.advance("1s")
    assert identities(cluster) == ["control-plane-1", "control-plane-2", "control-plane-3"]

    cluster.control_plane.servers[2].process.crash()
    cluster.advance("59m")
    assert len(identities(cluster)) == 3
    cluster.advance("62m")
    assert identities(cluster) == ["control-plane-1", "control-plane-2"]


def test_an_api_server_that_is_told_to_stop_says_goodbye(cluster: Cluster) -> None:
    cluster.advance("15s")
    server = cluster.control_plane.servers[2]
    server.stop()
    cluster.advance("1s")

    assert server.process.running
    assert not server.accepting
    assert addresses(cluster) == ["172.18.0.2", "172.18.255.2"]
    assert identities(cluster) == ["control-plane-1", "control-plane-2"]
    assert server.watches()
    cluster.advance("60s")
    assert server.process.state == "stopped"


def test_equal_seeds_make_equal_runs() -> None:
    def digest(seed: int) -> str:
        cluster = make(nodes=2, seed=seed)
        cluster.apply(deployment("web", 2))
        cluster.advance("20s")
        cluster.control_plane.servers[1].process.restart()
        cluster.advance("40s")
        found = cluster.journal.digest()
        cluster.close()
        return found

    assert digest(3) == digest(3)
    assert digest(3) != digest(4)


def test_a_scheduler_that_is_stopped_gives_its_lease_away_and_one_that_is_killed_does_not(cluster: Cluster) -> None:
    cluster.advance("1m")
    first = holder(cluster, "kube-scheduler")
    processes = {process.host: process for process in cluster.control_plane.schedulers}
    processes[first].stop()
    cluster.advance("4s")
    second = holder(cluster, "kube-scheduler")
    assert second not in ("", first)
    processes[second].crash()
    cluster.advance("10s")
    assert holder(cluster, "kube-scheduler") == second


def test_a_controller_manager_keeps_its_lease_when_it_is_stopped(cluster: Cluster) -> None:
    cluster.advance("1m")
    first = holder(cluster, "kube-controller-manager")
    managers = {each.process.host: each.process for each in cluster.control_plane.controller_managers}
    managers[first].stop()
    cluster.advance("10s")
    assert holder(cluster, "kube-controller-manager") == first
