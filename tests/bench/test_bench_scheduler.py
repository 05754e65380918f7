"""What the scheduler costs for a pod: 10,000 pods of 100 ReplicaSets on 1,000 nodes.

Run: `python -m pytest tests/bench/test_bench_scheduler.py`.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scheduler"))

from scheduler_world import World


class QuietRecorder:
    def eventf(self, *args):
        pass


def filled(nodes, replica_sets, replicas, zones):
    world = World()
    for i in range(nodes):
        labels = {"topology.kubernetes.io/zone": f"zone-{i % zones}"} if zones else None
        world.node(f"node-{i}", labels=labels)
    world.start()
    world.scheduler._recorder = QuietRecorder()
    for r in range(replica_sets):
        name = f"web-{r}"
        world.api.put("replicasets", {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": name}}},
        })
    world.run()
    pods = []
    for i in range(replicas):
        for r in range(replica_sets):
            name = f"web-{r}"
            owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": name}
            pods.append((f"{name}-{i}", name, owner))
    return world, pods


@pytest.mark.parametrize("zones", [0, 3])
def test_ten_thousand_pods_on_a_thousand_nodes(benchmark, zones):
    world, pods = filled(1000, 100, 100, zones)

    def schedule():
        for name, app, owner in pods:
            world.pod(name, cpu="10m", memory="16Mi", labels={"app": app}, owner=owner)
        world.run()

    benchmark.pedantic(schedule, rounds=1, iterations=1)
    assert len(world.api.bindings) == len(pods)
    benchmark.extra_info["microseconds per pod"] = round(benchmark.stats["mean"] / len(pods) * 1e6)
