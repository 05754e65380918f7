"""`kubesim demo`: an operator heals its database after a node is lost, in virtual minutes.

The operator is ordinary code: a loop that asks the API server with the standard library's HTTP
client, and sleeps.  It knows nothing of the simulation.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from pytest_kubesim.sim.journal import Entry

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: databases.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: databases, singular: database, kind: Database, shortNames: [db]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [replicas]
            properties: {replicas: {type: integer, minimum: 1}}
          status:
            type: object
            properties: {phase: {type: string}, ready: {type: integer}}
"""


class Operator:
    """Keeps a StatefulSet for every Database, and lets go of pods whose node is dead."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url = url
        self._headers = headers

    def call(self, method: str, path: str, body: Any = None, kind: str = "json") -> Any:
        """Ask the API server; None for 404."""
        headers = {**self._headers, "Content-Type": f"application/{kind}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def reconcile(self, database: dict[str, Any]) -> None:
        """Bring the world to what `database` says."""
        name, namespace = database["metadata"]["name"], database["metadata"]["namespace"]
        sets = f"/apis/apps/v1/namespaces/{namespace}/statefulsets"
        found = self.call("GET", f"{sets}/{name}")
        if found is None:
            found = self.call("POST", sets, statefulset(database))
        self.release_lost_pods(namespace, name)
        ready = (found.get("status") or {}).get("readyReplicas", 0)
        phase = "Ready" if ready == database["spec"]["replicas"] else "Progressing"
        if (database.get("status") or {}).get("phase") != phase:
            path = f"/apis/example.com/v1/namespaces/{namespace}/databases/{name}/status"
            status = {"status": {"phase": phase, "ready": ready}}
            self.call("PATCH", path, status, "merge-patch+json")

    def release_lost_pods(self, namespace: str, name: str) -> None:
        """Delete for good the pods that Kubernetes keeps because their node does not answer."""
        pods = f"/api/v1/namespaces/{namespace}/pods"
        for pod in self.call("GET", f"{pods}?labelSelector=app%3D{name}")["items"]:
            node = self.call("GET", f"/api/v1/nodes/{pod['spec'].get('nodeName', '-')}")
            taints = ((node or {}).get("spec") or {}).get("taints") or []
            unreachable = any(t["key"] == "node.kubernetes.io/unreachable" for t in taints)
            if unreachable and pod["metadata"].get("deletionTimestamp"):
                options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
                self.call("DELETE", f"{pods}/{pod['metadata']['name']}", options)

    def run(self) -> None:
        """Reconcile every five seconds, for ever."""
        while True:
            for database in self.call("GET", "/apis/example.com/v1/databases")["items"]:
                self.reconcile(database)
            time.sleep(5)


def statefulset(database: dict[str, Any]) -> dict[str, Any]:
    """The StatefulSet of a Database."""
    name = database["metadata"]["name"]
    labels = {"app": name}
    return {
        "metadata": {
            "name": name,
            "ownerReferences": [
                {
                    "apiVersion": "example.com/v1",
                    "kind": "Database",
                    "name": name,
                    "uid": database["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {
            "replicas": database["spec"]["replicas"],
            "serviceName": name,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "db", "image": "postgres:17"}]},
            },
        },
    }


def run(seed: int, out: TextIO) -> int:
    """Show it on `out`; gives the exit status."""
    from pytest_kubesim.cluster import timeline
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.config import ClusterConfig
    from pytest_kubesim.transports.driver import Driver

    began = time.perf_counter()
    cluster = Cluster(ClusterConfig(seed=seed), doors=Driver.shared())
    start_ns = cluster.kernel.start_ns
    shown = 0

    def show(entry: Entry) -> None:
        nonlocal shown
        if worth_showing(entry):
            shown += 1
            print("  " + timeline.line(entry, start_ns), file=out, flush=True)

    def say(text: str) -> None:
        print(f"\n{text}", file=out, flush=True)

    cluster.journal.listen(show)
    say("A control plane and three nodes:")
    cluster.add_nodes(3)
    cluster.eventually(
        "nodes", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
        count=3, within="1m",
    )
    say("A CustomResourceDefinition, the operator, and a Database of three replicas:")
    cluster.apply(CRD)

    def database_operator() -> None:
        url, headers = Driver.shared().address(cluster)
        Operator(url, headers).run()

    operator = cluster.run(database_operator, name="database-operator")
    cluster.apply(
        {
            "apiVersion": "example.com/v1",
            "kind": "Database",
            "metadata": {"name": "db"},
            "spec": {"replicas": 3},
        }
    )
    cluster.eventually("database/db", {"status": {"phase": "Ready"}}, within="2m")
    node = cluster.get("pod/db-0")["spec"]["nodeName"]
    say(f"The power of {node} fails, under db-0:")
    cluster.faults.node(node).crash()
    cluster.eventually("database/db", {"status": {"phase": "Progressing"}}, within="5m")
    cluster.eventually("database/db", {"status": {"phase": "Ready"}}, within="15m")
    healed = cluster.get("pod/db-0")["spec"]["nodeName"]
    virtual = cluster.clock.time
    cluster.close()
    seconds = time.perf_counter() - began
    say(
        f"Healed: db-0 runs on {healed}. {virtual / 60:.1f} virtual minutes, {shown} lines of "
        f"{len(cluster.journal)} entries, operator restarts: {operator.restarts}."
    )
    print(
        f"It took {seconds:.2f} s. Seed {seed}, journal {cluster.journal.digest()}: the same "
        "seed gives the same journal, everywhere.",
        file=out,
    )
    return 0


def worth_showing(entry: Entry) -> bool:
    """What the demo shows of the journal: what happened to the database and its pods."""
    from pytest_kubesim.cluster import timeline

    if not timeline.interesting(entry):
        return False
    if entry.kind == "request":
        return entry.fields.get("resource") in (
            "databases", "statefulsets", "pods", "nodes", "customresourcedefinitions",
        )
    return entry.kind in ("process", "fault", "node")
