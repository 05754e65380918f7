"""What a cluster that has been left alone long enough comes to.

After faults have healed and the cluster has settled, what its objects ask for is there: workloads
have the pods that they want, nothing belongs to an owner that is gone, no pod is bound to a node
that is gone.  `unconverged` says what is not so; it is no law of every moment, but of the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Object = dict[str, Any]
Lister = Callable[[str], Iterable[Object]]
"""All objects of a resource by its plural name."""

_WORKLOADS = ("deployments", "statefulsets", "replicasets")


def unconverged(objects: Lister) -> list[str]:
    """What a settled cluster still lacks, in words; empty when all is as it is asked for.

    Parameters: `objects` gives the objects of a resource, such as `cluster.list`.
    """
    return [*_workloads(objects), *_orphans(objects), *_lost_pods(objects)]


def _workloads(objects: Lister) -> Iterator[str]:
    for resource in _WORKLOADS:
        for workload in objects(resource):
            name, spec = _name(workload), workload["spec"]
            status: Object = workload.get("status") or {}
            if workload["metadata"].get("deletionTimestamp"):
                continue
            generation: int = workload["metadata"].get("generation") or 0
            seen: int = status.get("observedGeneration") or 0
            if seen < generation:
                yield f"{resource}/{name}: generation {generation} is not observed ({seen} is)"
            wanted: int = spec.get("replicas", 1)
            there: int = status.get("readyReplicas") or 0
            if there != wanted and not spec.get("paused"):
                yield f"{resource}/{name}: {there} of {wanted} replicas are ready"
    for daemon_set in objects("daemonsets"):
        status = daemon_set.get("status") or {}
        if status.get("numberReady") != status.get("desiredNumberScheduled"):
            yield (
                f"daemonsets/{_name(daemon_set)}: {status.get('numberReady')} of "
                f"{status.get('desiredNumberScheduled')} pods are ready"
            )


def _orphans(objects: Lister) -> Iterator[str]:
    owners = {
        owner["metadata"]["uid"]
        for resource in (*_WORKLOADS, "daemonsets", "jobs", "cronjobs")
        for owner in objects(resource)
    }
    kinds = {"ReplicaSet", "StatefulSet", "Deployment", "DaemonSet", "Job", "CronJob"}
    for resource in ("pods", "replicasets", "jobs"):
        for obj in objects(resource):
            for reference in obj["metadata"].get("ownerReferences") or ():
                if reference["kind"] in kinds and reference["uid"] not in owners:
                    yield f"{resource}/{_name(obj)}: its owner {reference['name']} is gone"


def _lost_pods(objects: Lister) -> Iterator[str]:
    nodes = {node["metadata"]["name"] for node in objects("nodes")}
    for pod in objects("pods"):
        node = pod["spec"].get("nodeName")
        if node and node not in nodes:
            yield f"pods/{_name(pod)}: it is bound to {node}, which is gone"


def _name(obj: Object) -> str:
    metadata = obj["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"
