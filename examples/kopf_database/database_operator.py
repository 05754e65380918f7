"""A kopf operator: a Database is a StatefulSet with a volume each, and survives a lost node.

Kubernetes keeps the pod of a StatefulSet on a node that does not answer: it might still be running
there.  This operator lets go of such a pod once its node is tainted as unreachable, so that another
takes its place.
"""

from __future__ import annotations

import kopf
from kubernetes import client


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_):
    settings.posting.enabled = False
    settings.persistence.finalizer = "example.com/database-operator"


@kopf.on.create("example.com", "v1", "databases")
@kopf.on.update("example.com", "v1", "databases", field="spec")
def reconcile(name, namespace, spec, body, **_):
    apps = client.AppsV1Api()
    wanted = statefulset(name, spec)
    kopf.adopt(wanted, owner=body)
    try:
        apps.create_namespaced_stateful_set(namespace, wanted)
    except client.ApiException as error:
        if error.status != 409:
            raise
        apps.patch_namespaced_stateful_set(name, namespace, wanted)


@kopf.timer("example.com", "v1", "databases", interval=10, initial_delay=1)
def watch_over(name, namespace, spec, patch, **_):
    core, apps = client.CoreV1Api(), client.AppsV1Api()
    for pod in core.list_namespaced_pod(namespace, label_selector=f"app={name}").items:
        if pod.metadata.deletion_timestamp and unreachable(core, pod.spec.node_name):
            # All options in the body: where there is one, Kubernetes does not look at the query.
            options = client.V1DeleteOptions(
                grace_period_seconds=0, preconditions=client.V1Preconditions(uid=pod.metadata.uid)
            )
            core.delete_namespaced_pod(pod.metadata.name, namespace, body=options)
    try:
        status = apps.read_namespaced_stateful_set_status(name, namespace).status
    except client.ApiException as error:
        if error.status != 404:
            raise
        return
    ready = (status.ready_replicas or 0) == spec["replicas"]
    patch.status["phase"] = "Ready" if ready else "Progressing"


def unreachable(core, node_name):
    try:
        node = core.read_node(node_name)
    except client.ApiException as error:
        if error.status != 404:
            raise
        return True
    taints = node.spec.taints or []
    return any(taint.key == "node.kubernetes.io/unreachable" for taint in taints)


def statefulset(name, spec):
    labels = {"app": name}
    container = {
        "name": "db",
        "image": spec["image"],
        "volumeMounts": [{"name": "data", "mountPath": "/var/lib/postgresql"}],
    }
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "replicas": spec["replicas"],
            "serviceName": name,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            "volumeClaimTemplates": [claim],
        },
    }
