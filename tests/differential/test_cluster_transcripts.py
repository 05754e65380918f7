"""What controllers, scheduler and kubelets of a real Kubernetes did, and how much is alike here.

`MATCHING` only goes up: a change that matches more steps raises the number with it.
"""

from __future__ import annotations

from pathlib import Path

import cluster_player
import pytest

CLUSTER = Path(__file__).parent / "transcripts" / "cluster"

MATCHING = {
    "daemonset": 27,
    "deployment": 40,
    "gc": 31,
    "hpa-misc": 31,
    "job-cronjob": 37,
    "namespace-lifecycle": 27,
    "node-lifecycle": 29,
    "pdb-eviction": 26,
    "quota-limits": 26,
    "replicaset-rc": 24,
    "scheduling": 31,
    "services-endpoints": 22,
    "statefulset": 33,
    "storage": 35,
}
"""By scenario: how many steps match at least."""


def _play(name: str, *, kubelets: bool) -> None:
    results = cluster_player.play_cluster(CLUSTER / f"{name}.yaml", kubelets=kubelets)
    wrong = [f"{step}: {found[0]}" for step, found in results if found]
    assert len(results) - len(wrong) >= MATCHING[name], "\n".join(wrong)


@pytest.mark.parametrize("name", sorted(MATCHING))
def test_a_cluster_does_as_kubernetes_did(name: str) -> None:
    _play(name, kubelets=True)


@pytest.mark.parametrize("name", ["node-lifecycle", "services-endpoints"])
def test_a_scenario_that_plays_the_kubelets_needs_none(name: str) -> None:
    _play(name, kubelets=False)
