"""A control plane without nodes: the tests play the kubelet."""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.apiserver import bootstrap
from pytest_kubesim.apiserver.server import APIServer
from pytest_kubesim.client_go import resources
from pytest_kubesim.client_go.rest import RESTClient
from pytest_kubesim.controller_manager.manager import ControllerManager
from pytest_kubesim.etcd.client import Client
from pytest_kubesim.etcd.member import Member
from pytest_kubesim.registry.generic import Catalog
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.network import Network
from pytest_kubesim.sim.process import Process
from pytest_kubesim.wire import UserInfo

CATALOG = Catalog("1.37")


class World:
    """An API server, the controllers asked for, and an admin."""

    def __init__(self, *controllers: str, latency_ns: tuple[int, int] = (0, 0), **settings: Any):
        self.kernel = Kernel()
        kernel = self.kernel
        etcd = Member(clock=lambda: kernel.now_ns)
        self.server = APIServer(kernel, Client(etcd), catalog=CATALOG)
        etcd.restore(bootstrap.snapshot(CATALOG, kernel.start_ns))
        self.server.start()
        self.network = Network(kernel)
        self.latency_ns = latency_ns
        self.admin = self.client(Process(kernel, "test", host="control-plane"), "admin")
        self._empty()
        for name in ("default", "kube-system"):
            account = {"metadata": {"name": "default", "namespace": name}}
            self.create(resources.SERVICEACCOUNTS, account, namespace=name)
        self.manager = ControllerManager(
            kernel,
            lambda process: self.client(process, "system:kube-controller-manager"),
            controllers=controllers or ("*",),
            settings=settings,
        )
        self.manager.start()
        self.settle()

    def client(self, process: Process, user: str) -> RESTClient:
        return RESTClient(
            process,
            self.server,
            self.network,
            user=UserInfo(user, ("system:masters", "system:authenticated")),
            user_agent="test/1",
            watch_latency_ns=self.latency_ns,
        )

    def _empty(self) -> None:
        """Take away what a control plane begins with, but for its namespaces and its policy."""
        for gvr in (resources.CONFIGMAPS, resources.ENDPOINTS, resources.ENDPOINTSLICES):
            for obj in self.list(gvr, ""):
                meta = obj["metadata"]
                self.do(self.admin.delete(gvr, meta["namespace"], meta["name"]))
        self.delete(resources.SERVICES, "kubernetes")

    # -- time ---------------------------------------------------------------------------------

    def settle(self, seconds: float = 5) -> None:
        """Run for so long."""
        self.kernel.run(until_ns=self.kernel.now_ns + int(seconds * NS))

    @property
    def now(self) -> str:
        return timestamps.format_time(self.kernel.now_ns)

    # -- objects ------------------------------------------------------------------------------

    def do(self, coro: Any) -> Any:
        return self.kernel.run_coroutine(coro)

    def create(self, gvr: Any, obj: dict[str, Any], namespace: str = "default") -> Any:
        return self.do(self.admin.create(gvr, namespace, obj))

    def get(self, gvr: Any, name: str, namespace: str = "default") -> Any:
        return self.do(self.admin.get(gvr, namespace, name))

    def list(self, gvr: Any, namespace: str = "default", labels: str = "") -> list[Any]:
        return self.do(self.admin.list(gvr, namespace, label_selector=labels))["items"] or []

    def patch(self, gvr: Any, name: str, patch: Any, **options: Any) -> Any:
        options.setdefault("patch_type", "strategic")
        return self.do(self.admin.patch(gvr, "default", name, patch, **options))

    def delete(self, gvr: Any, name: str, **options: Any) -> Any:
        return self.do(self.admin.delete(gvr, "default", name, **options))

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reasons and messages of the events about objects of that name, in order."""
        found = [e for e in self.list(resources.EVENTS) if e["involvedObject"]["name"] == name]
        found.sort(key=lambda e: int(e["metadata"]["resourceVersion"]))
        return [(e["reason"], e["message"]) for e in found]

    def errors(self) -> list[str]:
        """What syncs failed with."""
        return [
            entry[4]["error"] for entry in self.kernel.journal.entries() if entry[2] == "sync failed"
        ]

    # -- pods ---------------------------------------------------------------------------------

    def pods(self, labels: str = "") -> list[Any]:
        return self.list(resources.PODS, labels=labels)

    def set_pod(self, name: str, **status: Any) -> None:
        self.patch(resources.PODS, name, {"status": status}, subresource="status")

    def ready(self, *names: str, ready: bool = True) -> None:
        """Let pods run and be ready (or not)."""
        for name in names:
            condition = {
                "type": "Ready",
                "status": "True" if ready else "False",
                "lastTransitionTime": self.now,
            }
            self.set_pod(name, phase="Running", conditions=[condition])

    def ready_all(self, labels: str = "") -> None:
        self.ready(*[p["metadata"]["name"] for p in self.pods(labels) if not is_ready(p)])

    def end(self, name: str, phase: str = "Succeeded", exit_code: int = 0) -> None:
        """Let a pod's containers end."""
        state = {"terminated": {"exitCode": exit_code, "finishedAt": self.now}}
        container = {"name": "c", "state": state, "ready": False, "restartCount": 0,
                     "image": "i", "imageID": ""}
        self.set_pod(name, phase=phase, containerStatuses=[container])


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def pod_template(image: str = "img:1", labels: dict[str, str] | None = None, **spec: Any) -> Any:
    return {
        "metadata": {"labels": labels or {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": image}], **spec},
    }


def deployment(name: str = "web", replicas: int = 3, **spec: Any) -> Any:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "strategy": strategy,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"app": name}},
            "template": pod_template(labels={"app": name}),
            **spec,
        },
    }
