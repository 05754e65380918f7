"""What controllers, scheduler and kubelets of a real Kubernetes did, and how much is alike here.

`MATCHING` only goes up: a change that matches more steps raises the number with it.
"""

from __future__ import annotations

from pathlib import Path

import cluster_player
import pytest

CLUSTER = Path(__file__).parent / "transcripts" / "cluster"
VARIATIONS = CLUSTER.parent / "variations"

MATCHING = {
    "certificates": 29,
    "daemonset": 27,
    "deployment": 40,
    "gc": 31,
    "gc-crd": 19,
    "gc-kinds": 33,
    "gc-references": 38,
    "gc-workloads": 32,
    "hpa-custom": 19,
    "hpa-metrics": 26,
    "hpa-misc": 31,
    "job-cronjob": 37,
    "misc-claims": 31,
    "misc-controllers": 44,
    "namespace-kinds": 24,
    "namespace-lifecycle": 27,
    "namespace-more": 32,
    "node-disruption": 9,
    "node-evictions": 28,
    "node-lifecycle": 29,
    "node-zones": 19,
    "pdb-eviction": 26,
    "pdb-more": 31,
    "pdb-owners": 25,
    "quota-custom": 24,
    "quota-late": 33,
    "quota-limits": 26,
    "quota-more": 33,
    "random-attachments": 11,
    "random-budgets": 11,
    "random-claims": 5,
    "random-nodes": 6,
    "random-owners": 22,
    "random-quotas": 21,
    "random-services": 20,
    "replicaset-rc": 24,
    "scheduling": 31,
    "services-endpoints": 22,
    "services-kinds": 33,
    "services-many": 12,
    "services-more": 43,
    "statefulset": 33,
    "storage": 35,
    "storage-attach": 31,
    "storage-intree": 20,
    "storage-late": 22,
    "storage-more": 43,
    "tokens-roles": 35,
    "watches": 13,
}
"""By scenario: how many steps match at least."""


MATCHING_VARIATIONS = {
    "autoscaler-bounds": 10,
    "budgets": 29,
    "cronjob-missed": 27,
    "cronjob-names": 27,
    "cronjob-runs": 14,
    "daemonset-by-hand": 60,
    "daemonset-held-up": 31,
    "daemonset-life": 45,
    "daemonset-nodes": 24,
    "daemonset-revisions": 17,
    "daemonset-strategies": 27,
    "daemonset-surge": 31,
    "deployment-deadline": 29,
    "deployment-finds": 19,
    "deployment-flapping": 23,
    "deployment-life": 54,
    "deployment-owners": 31,
    "deployment-percent": 30,
    "deployment-recreate": 35,
    "deployment-unlucky": 31,
    "dra": 19,
    "dra-choices": 15,
    "dra-extended": 10,
    "dra-parts": 13,
    "dra-shares": 12,
    "job-changes": 36,
    "job-ends": 35,
    "job-failed-indexes": 29,
    "job-failure-rules": 20,
    "job-indexes": 25,
    "job-life": 58,
    "job-policies": 30,
    "job-terminating": 23,
    "namespace-stuck": 17,
    "node-corners": 24,
    "node-taints": 17,
    "owners": 22,
    "preemption-choices": 33,
    "quota-scopes": 27,
    "replicaset-choice": 28,
    "replicaset-nodes": 23,
    "replicaset-quota": 24,
    "replicaset-selection": 23,
    "replicationcontroller-life": 25,
    "scheduling-affinity": 30,
    "scheduling-devices": 32,
    "scheduling-messages": 26,
    "scheduling-more": 30,
    "scheduling-preemption": 34,
    "scheduling-queue": 38,
    "scheduling-resources": 42,
    "scheduling-scores": 13,
    "scheduling-spread": 24,
    "scheduling-taints": 44,
    "scheduling-volumes": 33,
    "statefulset-broken": 28,
    "statefulset-by-hand": 60,
    "statefulset-claims": 26,
    "statefulset-finds": 17,
    "statefulset-held-up": 23,
    "statefulset-life": 108,
    "statefulset-on-delete": 24,
    "statefulset-strategies": 29,
    "statefulset-unavailable": 26,
    "sts-parallel": 21,
    "volume-corners": 24,
    "volumes": 36,
    "workloads-pending": 26,
    "workloads-watched": 8,
    "workloads-whole": 28,
}
"""The same of further scenarios; what does not match is random in Kubernetes."""


def _play(file: Path, least: int, *, kubelets: bool | None) -> None:
    results = [
        (step, found)
        for step, found in cluster_player.play_cluster(file, kubelets=kubelets)
        if found is not None
    ]
    wrong = [f"{step}: {found[0]}" for step, found in results if found]
    assert len(results) - len(wrong) >= least, "\n".join(wrong)


@pytest.mark.parametrize("name", sorted(MATCHING))
def test_a_cluster_does_as_kubernetes_did(name: str) -> None:
    _play(CLUSTER / f"{name}.yaml", MATCHING[name], kubelets=True)


@pytest.mark.parametrize("name", ["node-lifecycle", "services-endpoints"])
def test_a_scenario_that_plays_the_kubelets_needs_none(name: str) -> None:
    _play(CLUSTER / f"{name}.yaml", MATCHING[name], kubelets=False)


@pytest.mark.parametrize("name", sorted(MATCHING_VARIATIONS))
def test_so_it_does_in_a_variation(name: str) -> None:
    _play(VARIATIONS / f"{name}.yaml", MATCHING_VARIATIONS[name], kubelets=None)
