"""A node under test: a kubelet and its runtime against a small API server that keeps objects."""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import status as apistatus
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apimachinery.timestamps import format_time
from pytest_kubesim.client_go.rest import RESTClient
from pytest_kubesim.cri.images import Images
from pytest_kubesim.kubelet.config import KubeletConfiguration, NodeSpec
from pytest_kubesim.kubelet.machine import Machine
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.network import Network
from pytest_kubesim.sim.tasks import Queue
from pytest_kubesim.wire import Request, Response, UserInfo, WatchEvent

MERGE_KEYS = {"conditions": "type", "hostIPs": "ip", "podIPs": "ip", "addresses": "type"}


def merge(old: Any, patch: Any) -> Any:
    """Strategic merge, as far as kubelets use it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old or {})
    for key, value in patch.items():
        if key.startswith("$setElementOrder/"):
            continue
        merge_key = MERGE_KEYS.get(key)
        if value is None:
            result.pop(key, None)
        elif merge_key and isinstance(value, list) and result.get(key):
            by_key = {e[merge_key]: e for e in result[key]}
            for element in value:
                name = element[merge_key]
                if element.get("$patch") == "delete":
                    by_key.pop(name, None)
                else:
                    by_key[name] = merge(by_key.get(name, {}), element)
            order = [e[merge_key] for e in patch.get(f"$setElementOrder/{key}", [])]
            names = sorted(by_key, key=lambda n: order.index(n) if n in order else -1)
            result[key] = [by_key[name] for name in names]
        elif isinstance(value, dict):
            result[key] = merge(result.get(key), value)
        else:
            result[key] = value
    return result


class Stream:
    """A watch."""

    status, content_type, headers, closed = 200, "application/json", (), False

    def __init__(self, kernel: Kernel, wants) -> None:
        self.queue: Queue[WatchEvent] = Queue(kernel)
        self.wants = wants

    async def next(self):
        return await self.queue.get()

    def next_nowait(self):
        return self.queue.get_nowait() if len(self.queue) else None

    def close(self) -> None:
        self.closed = True


class FakeAPI:
    """Objects by collection, key and revision; the verbs that a kubelet uses."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.objects: dict[str, dict[str, dict]] = {}
        self.streams: dict[str, list[Stream]] = {}
        self.revision = 0
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[Any] = []
        self.down = False

    async def handle(self, request: Request):
        self.requests.append((request.method, request.path))
        self.bodies.append(request.obj)
        if self.down:
            return self._error(apistatus.new_service_unavailable("down"))
        parts = request.path.split("/")[1:]
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        resource, name = parts[0], parts[1] if len(parts) > 1 else ""
        wants = self._selection(request.param("fieldSelector"))
        if request.method == "GET" and not name:
            if request.param("watch"):
                stream = Stream(self.kernel, wants)
                self.streams.setdefault(resource, []).append(stream)
                return stream
            items = [o for o in self.objects.get(resource, {}).values() if wants(o)]
            return Response(200, {"metadata": {"resourceVersion": str(self.revision)}, "items": items})
        try:
            return Response(200, self._do(request, resource, namespace, name))
        except apistatus.APIStatus as error:
            return self._error(error)

    @staticmethod
    def _error(error):
        return Response(error.code, error.to_object())

    @staticmethod
    def _selection(selector: str):
        if not selector:
            return lambda obj: True
        path, _, value = selector.partition("=")
        outer, inner = path.split(".")
        return lambda obj: (obj.get(outer) or {}).get(inner) == value

    def _do(self, request: Request, resource: str, namespace: str, name: str) -> dict:
        known, body = self.objects.setdefault(resource, {}), request.obj or {}
        if request.method == "POST":
            name = body["metadata"].get("name") or f"{resource}-{self.revision}"
        key = f"{namespace}/{name}"
        old = known.get(key)
        if request.method == "POST":
            if old is not None:
                raise apistatus.new_already_exists(GroupResource("", resource), name)
            meta = {**body["metadata"], "name": name, "uid": f"uid-{name}-{self.revision}",
                    "creationTimestamp": format_time(self.kernel.now_ns)}
            if namespace:
                meta["namespace"] = namespace
            return self.put(resource, {**body, "metadata": meta})
        if old is None:
            raise apistatus.new_not_found(GroupResource("", resource), name)
        if request.method == "GET":
            return old
        if request.method == "PUT":
            return self.put(resource, body)
        if request.method == "PATCH":
            uid = (body.get("metadata") or {}).get("uid")
            if uid and uid != old["metadata"]["uid"]:
                raise apistatus.new_conflict(GroupResource("", resource), name, "uid")
            merged = merge(old, body)
            return old if merged == old else self.put(resource, merged)
        assert request.method == "DELETE"
        return self.remove(resource, key)

    def put(self, resource: str, obj: dict) -> dict:
        self.revision += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        meta = obj["metadata"]
        key = f"{meta.get('namespace', '')}/{meta['name']}"
        known = self.objects.setdefault(resource, {})
        self._tell(resource, "MODIFIED" if key in known else "ADDED", obj)
        known[key] = obj
        return obj

    def remove(self, resource: str, key: str) -> dict:
        self.revision += 1
        obj = self.objects[resource].pop(key)
        meta = {**obj["metadata"], "resourceVersion": str(self.revision)}
        self._tell(resource, "DELETED", {**obj, "metadata": meta})
        return obj

    def _tell(self, resource: str, kind: str, obj: dict) -> None:
        for stream in self.streams.get(resource, []):
            if not stream.closed and stream.wants(obj):
                stream.queue.put(WatchEvent(kind, obj, self.revision))


class World:
    """One node, its API server, and what a test does to pods."""

    def __init__(self, *, config=None, adopt=False, start=True, **node: Any) -> None:
        self.kernel = Kernel(seed=1)
        self.api = FakeAPI(self.kernel)
        self.network = Network(self.kernel)
        self.images = Images()
        self.spec = NodeSpec(**{"name": "node-1", **node})
        self.machine = Machine(
            self.kernel,
            self.spec,
            client=self._client,
            images=self.images,
            config=config or KubeletConfiguration.instant(),
            adopt=adopt,
        )
        if start:
            self.machine.start()
            self.run(0)

    def _client(self, process):
        return RESTClient(
            process, self.api, self.network,
            user=UserInfo(f"system:node:{self.spec.name}"), user_agent="kubelet",
        )

    def run(self, seconds: float) -> None:
        self.kernel.run(until_ns=self.kernel.now_ns + round(seconds * NS))

    @property
    def time(self) -> float:
        return self.kernel.elapsed_ns / NS

    def pod(self, name: str = "web", namespace: str = "default", **fields: Any) -> dict:
        """Create a pod bound to the node."""
        spec: dict[str, Any] = {
            "nodeName": "node-1",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "c", "image": "nginx:1", "imagePullPolicy": "IfNotPresent"}],
        }
        status: dict[str, Any] = {"phase": "Pending", "qosClass": "BestEffort"}
        metadata = {
            "name": name, "namespace": namespace, "generation": 1,
            "uid": f"uid-{name}-{self.api.revision}",
            "creationTimestamp": format_time(self.kernel.now_ns),
        }
        metadata.update(fields.pop("metadata", {}))
        spec.update(fields)
        return self.api.put("pods", {
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status,
        })

    def get(self, name: str = "web", namespace: str = "default") -> dict | None:
        return self.api.objects.get("pods", {}).get(f"{namespace}/{name}")

    def status(self, name: str = "web") -> dict:
        found = self.get(name)
        assert found is not None
        return found["status"]

    def condition(self, type_: str, name: str = "web") -> dict:
        return next(c for c in self.status(name)["conditions"] if c["type"] == type_)

    def container(self, name: str = "web", index: int = 0) -> dict:
        return self.status(name)["containerStatuses"][index]

    def delete(self, name: str = "web", grace: int | None = None) -> None:
        """Graceful deletion, as the API server begins it."""
        pod = self.get(name)
        assert pod is not None
        if grace is None:
            grace = pod["spec"]["terminationGracePeriodSeconds"]
        meta = {
            **pod["metadata"],
            "deletionTimestamp": format_time(self.kernel.now_ns + grace * NS),
            "deletionGracePeriodSeconds": grace,
        }
        self.api.put("pods", {**pod, "metadata": meta})

    def events(self, reason: str = "", name: str = "") -> list[str]:
        return [
            f"{e['type']} {e['reason']} {e['message']}" + (f" x{e['count']}" if e["count"] > 1 else "")
            for e in self.api.objects.get("events", {}).values()
            if (not reason or e["reason"] == reason)
            and (not name or e["involvedObject"]["name"] == name)
        ]

    def node(self) -> dict:
        return self.api.objects["nodes"]["/" + self.spec.name]
