"""Many pods: Deployments to Running, and the memory they take.

1,000 nodes and 10,000 pods of 100 Deployments (`KUBESIM_BENCH_PODS` for fewer: nodes are a tenth of
them, Deployments a hundredth).  Budgets: at least ten times as fast as a real control plane with
kwok, and less than 1 GiB.  With `KUBESIM_ORACLE`, a control plane with controllers, scheduler and
kwok, the same number of pods runs there.  Say with the ratio which limits its clients have: by
default 20 requests a second (`--kube-api-qps`) decide, not the machine.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from measuring import ORACLE, deployment, in_new_processes, needs_oracle, now, say

PODS = int(os.environ.get("KUBESIM_BENCH_PODS", "10000"))
NODES, DEPLOYMENTS = max(PODS // 10, 1), max(PODS // 100, 1)

SIMULATED = """
import resource, sys, time
sys.path.insert(0, sys.argv[4])
from measuring import deployment
from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig
pods, nodes, deployments = map(int, sys.argv[1:4])
cluster = Cluster(ClusterConfig())
cluster.add_nodes(nodes)
ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
cluster.eventually("nodes", ready, count=nodes, within="10m")
start = time.perf_counter()
for number in range(deployments):
    cluster.create(deployment(f"d{number}", pods // deployments))
for number in range(deployments):
    wanted = {"status": {"readyReplicas": pods // deployments}}
    cluster.eventually(f"deployment/d{number}", wanted, within="1h")
took = time.perf_counter() - start
print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""

_took: dict[str, float] = {}


def test_simulated() -> None:
    pytest.importorskip("resource", reason="tells the memory of a process")
    here = os.path.dirname(__file__)
    [[took, mebibytes]] = in_new_processes(
        SIMULATED, str(PODS), str(NODES), str(DEPLOYMENTS), here, rounds=1
    )
    _took["simulated"] = took
    what = f"{PODS} pods on {NODES} nodes"
    say(what, f"{took:.1f} s, {mebibytes:.0f} MiB", "a tenth of the real time, 1 GiB")


@needs_oracle
@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
def test_real() -> None:
    config = pytest.importorskip("kubernetes.config")
    client = pytest.importorskip("kubernetes.client")
    api = config.new_client_from_config(ORACLE)
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    for number in range(NODES):
        core.create_node(_node(f"bench-{number}"))
    start = now()
    for number in range(DEPLOYMENTS):
        body = deployment(f"bench-{number}", PODS // DEPLOYMENTS)
        apps.create_namespaced_deployment("default", body)
    while True:
        found = apps.list_namespaced_deployment("default").items
        if sum(each.status.ready_replicas or 0 for each in found) >= PODS:
            break
        time.sleep(0.5)
    took = now() - start
    say(f"{PODS} pods on {NODES} nodes, real", f"{took:.1f} s", "what is compared with")
    if "simulated" in _took:
        say("ratio", f"{took / _took['simulated']:.1f}", ">= 10")


def _node(name: str) -> dict[str, Any]:
    capacity = {"cpu": "4", "memory": "16Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "status": {"capacity": capacity, "allocatable": capacity},
    }
