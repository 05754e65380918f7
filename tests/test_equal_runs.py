"""Equal seed, equal journal: in other processes, under other hash seeds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCENARIO = """
from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig

cluster = Cluster(ClusterConfig(seed=int(__import__("sys").argv[1])))
cluster.add_nodes(3)
labels = {"app": "web"}
container = {"name": "c", "image": "nginx:1.27", "resources": {"requests": {"cpu": "100m"}}}
template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
spec = {"replicas": 4, "selector": {"matchLabels": labels}, "template": template}
cluster.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
               "spec": {"selector": labels, "ports": [{"port": 80}]}})
cluster.eventually("pods", {"status": {"phase": "Running"}}, count=4, within="1m")
cluster.faults.api(client="kube-controller-manager", verb="create", resource="pods").fail(503, times=2)
cluster.patch("deployment/web", {"spec": {"replicas": 6}})
cluster.eventually("deployment/web", {"status": {"readyReplicas": 6}}, within="2m")
cluster.faults.node("node-2").crash()
cluster.advance("10m")
cluster.delete("deployment/web")
cluster.settle("1h")
print(cluster.journal.digest(), len(cluster.journal), cluster.random.random())
cluster.close()
"""


def run(seed: int, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", SCENARIO, str(seed)], env=environment, capture_output=True, text=True,
        check=False, timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_equal_seeds_give_equal_journals_in_other_processes_and_hash_seeds() -> None:
    runs = {run(7, hash_seed) for hash_seed in ("0", "1", "4242")}
    assert len(runs) == 1


@pytest.mark.slow
def test_another_seed_gives_another_run() -> None:
    assert run(7, "0") != run(8, "0")
