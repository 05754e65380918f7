"""`kubesim demo`: an operator heals its database after a node is lost, in virtual minutes.

The operator is ordinary code, as it runs in a pod: a loop that asks the API server with the
standard library's HTTP client, and sleeps.  It knows nothing of the simulation.
"""

from __future__ import annotations

import json
import os
import ssl
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.sim.journal import Entry

DATABASE: dict[str, Any] = {
    "apiVersion": "example.com/v1",
    "kind": "Database",
    "metadata": {"name": "db"},
    "spec": {"replicas": 3},
}

Object = dict[str, Any]

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

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

    def __init__(self) -> None:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        self._url = f"https://{host}:{port}"
        with open(f"{SERVICE_ACCOUNT}/token", encoding="utf-8") as token:
            self._headers = {"Authorization": f"Bearer {token.read().strip()}"}
        self._tls = ssl.create_default_context(cafile=f"{SERVICE_ACCOUNT}/ca.crt")

    def call(self, method: str, path: str, body: Any = None, kind: str = "json") -> Any:
        """Ask the API server; None for 404."""
        headers = {**self._headers, "Content-Type": f"application/{kind}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, context=self._tls) as answer:  # noqa: S310 - loopback
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
        status: Object = found.get("status") or {}
        ready = status.get("readyReplicas", 0)
        phase = "Ready" if ready == database["spec"]["replicas"] else "Progressing"
        known: Object = database.get("status") or {}
        if known.get("phase") != phase:
            path = f"/apis/example.com/v1/namespaces/{namespace}/databases/{name}/status"
            patch = {"status": {"phase": phase, "ready": ready}}
            self.call("PATCH", path, patch, "merge-patch+json")

    def release_lost_pods(self, namespace: str, name: str) -> None:
        """Delete for good the pods that Kubernetes keeps because their node does not answer."""
        pods = f"/api/v1/namespaces/{namespace}/pods"
        for pod in self.call("GET", f"{pods}?labelSelector=app%3D{name}")["items"]:
            node = self.call("GET", f"/api/v1/nodes/{pod['spec'].get('nodeName', '-')}")
            spec: Object = node["spec"] if node else {}
            taints: list[Object] = spec.get("taints") or []
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


STEPS = 4
"""How many steps the demo has: its progress is shown as `[2/4]`."""


class Display:
    """Prints the steps, and under each what happened, as it happens."""

    def __init__(self, cluster: Cluster, out: TextIO) -> None:
        self.shown = 0
        self._start_ns = cluster.kernel.start_ns
        self._out = out
        self._step = 0
        self._open = True
        cluster.journal.listen(self._heard)

    def step(self, text: str) -> None:
        """Begin the next step."""
        self._step += 1
        print(f"\n[{self._step}/{STEPS}] {text}", file=self._out, flush=True)

    def close(self) -> None:
        """Show nothing more of the journal."""
        self._open = False

    def _heard(self, entry: Entry) -> None:
        what = told(entry) if self._open else ""
        if what:
            self.shown += 1
            seconds = (entry.time_ns - self._start_ns) / 1e9
            minutes, seconds = divmod(seconds, 60)
            print(f"  {int(minutes):3}:{seconds:06.3f}  {what}", file=self._out, flush=True)


def told(entry: Entry) -> str:
    """An entry in words; empty for what the demo does not show."""
    fields = entry.fields
    name = f"{fields.get('resource', '')} {fields.get('name', '')}".strip()
    if entry.kind == "request":
        shown = {
            "databases": ("patch", "create"),
            "databases/status": ("patch",),
            "statefulsets": ("create",),
            "pods": ("create", "delete"),
            "pods/binding": ("create",),
            "customresourcedefinitions": ("patch",),
        }
        if fields.get("verb") in shown.get(fields.get("resource", ""), ()):
            return f"{entry.actor:<24} {fields['verb']:<7} {name}"
        return ""
    if entry.kind == "fault":
        return f"{entry.actor:<24} {fields.get('fault', '')}"
    if entry.kind == "container":
        which = f"container {fields.get('container')} of {fields.get('pod')}"
        return f"{entry.actor:<24} {which} {fields.get('what')}"
    if entry.kind == "node" or (entry.kind == "process" and "operator" in entry.actor):
        return f"{entry.actor:<24} {fields.get('what', '')}"
    return ""


def run(seed: int, out: TextIO) -> int:
    """Show it on `out`; gives the exit status."""
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.config import ClusterConfig
    from pytest_kubesim.transports.driver import Driver

    began = time.perf_counter()
    cluster = Cluster(ClusterConfig(seed=seed), doors=Driver.shared())
    display = Display(cluster, out)
    display.step("A control plane and three nodes")
    cluster.add_nodes(3)
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    cluster.eventually("nodes", ready, count=3, within="1m")
    display.step("A CustomResourceDefinition, its operator, and a Database of three replicas")
    cluster.apply(CRD)
    operator = cluster.run(lambda: Operator().run(), name="database-operator")
    cluster.apply(DATABASE)
    cluster.eventually("database/db", {"status": {"phase": "Ready"}}, within="2m")
    node = cluster.get("pod/db-0")["spec"]["nodeName"]
    display.step(f"The power of {node} fails, under db-0")
    cluster.faults.node(node).crash()
    cluster.eventually("database/db", {"status": {"phase": "Progressing"}}, within="5m")
    cluster.eventually("database/db", {"status": {"phase": "Ready"}}, within="15m")
    display.close()
    healed = cluster.get("pod/db-0")["spec"]["nodeName"]
    virtual, entries = cluster.clock.time, len(cluster.journal)
    digest = cluster.journal.digest()
    cluster.close()
    seconds = time.perf_counter() - began
    display.step(f"Healed: db-0 runs on {healed}, operator restarts: {operator.restarts}")
    print(
        f"  {virtual / 60:.1f} virtual minutes and {entries} journal entries in {seconds:.2f} "
        f"seconds, without a cluster.\n  Seed {seed}, journal {digest}: the same seed gives the "
        "same journal, everywhere.",
        file=out,
    )
    return 0
