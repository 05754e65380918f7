"""metrics-server: the API `metrics.k8s.io`, from what kubelets measure.

The law: it looks at the kubelets every `--metric-resolution`; a pod is known when each of its
containers had run for ten seconds at the last look, a node from the second look on.

Follows `pkg/{server,storage,api}/*.go` of `sigs.k8s.io/metrics-server@v0.8.0`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import fields, labels, status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apimachinery.timestamps import format_duration, format_time, parse_duration
from pytest_kubesim.cri import http1
from pytest_kubesim.cri.software.agnhost.flags import forever
from pytest_kubesim.cri.software.rootfs import Software
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.linux.process import Proc

API_VERSION = "metrics.k8s.io/v1beta1"
ROOT = f"/apis/{API_VERSION}"
FRESH_NS = 10 * NS
"""How long a container must have run (`freshContainerMinMetricsResolution`)."""
KIB = 1024
HEALTH = ("/livez", "/readyz", "/healthz")
_RESOURCES = [
    {"name": name, "singularName": "", "namespaced": kind == "PodMetrics", "kind": kind,
     "verbs": ["get", "list"]}
    for name, kind in (("nodes", "NodeMetrics"), ("pods", "PodMetrics"))
]


async def main(proc: Proc) -> int:
    """The server."""
    flags: dict[str, str] = {}
    for word in proc.argv[1:]:
        name, _, value = word.partition("=")
        flags[name.lstrip("-")] = value
    serving = MetricsServer(proc, parse_duration(flags.get("metric-resolution") or "60s"))
    port = int(flags.get("secure-port") or 443)

    async def answer(request: http1.Request) -> http1.Response:
        return serving.answer(request)

    proc.system.serve(port, lambda stream: http1.serve(stream, answer))
    return await forever(proc)


class MetricsServer:
    """What the server has seen, and its answers."""

    def __init__(self, proc: Proc, resolution_ns: int) -> None:
        self._system = proc.system
        self._started_ns = proc.system.now_ns()
        self._resolution_ns = resolution_ns

    @property
    def _seen_ns(self) -> int:
        """When it last looked."""
        passed = self._system.now_ns() - self._started_ns
        return self._started_ns + passed // self._resolution_ns * self._resolution_ns

    def _nodes(self) -> Sequence[Any]:
        measure = getattr(self._system.network, "measure", None)
        return [] if measure is None else measure()

    # -- answers ------------------------------------------------------------------------------

    def answer(self, request: http1.Request) -> http1.Response:
        """The answer to a request."""
        path = request.path.rstrip("/")
        if path in HEALTH or path.startswith(tuple(f"{each}/" for each in HEALTH)):
            return http1.Response(200, b"ok", {"Content-Type": "text/plain; charset=utf-8"})
        if path == "/apis":
            return _json(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]})
        if path == "/apis/metrics.k8s.io":
            return _json(200, {"kind": "APIGroup", "apiVersion": "v1", **_group()})
        if path == ROOT:
            listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API_VERSION}
            return _json(200, {**listed, "resources": _RESOURCES})
        parts = path.removeprefix(f"{ROOT}/").split("/") if path.startswith(f"{ROOT}/") else []
        try:
            return _json(200, self._resource(parts, request.query))
        except status.APIStatus as refusal:
            return _json(refusal.code, refusal.to_object())

    def _resource(self, parts: list[str], query: dict[str, str]) -> Object:
        if parts[:1] == ["nodes"] and len(parts) <= 2:
            return self._one_or_all(self._node_metrics(), "nodes", "", parts[1:], query)
        if parts == ["pods"]:
            return self._one_or_all(self._pod_metrics(), "pods", "", [], query)
        if parts[:1] == ["namespaces"] and len(parts) in (3, 4) and parts[2] == "pods":
            return self._one_or_all(self._pod_metrics(), "pods", parts[1], parts[3:], query)
        raise status.APIStatus(
            404, "NotFound", "the server could not find the requested resource"
        )

    def _one_or_all(
        self, found: list[Object], resource: str, namespace: str, name: list[str],
        query: dict[str, str],
    ) -> Object:
        kind = "NodeMetrics" if resource == "nodes" else "PodMetrics"
        if namespace:
            found = [each for each in found if each["metadata"]["namespace"] == namespace]
        if name:
            for each in found:
                if each["metadata"]["name"] == name[0]:
                    return {"kind": kind, "apiVersion": API_VERSION, **each}
            shown = f"{namespace}/{name[0]}" if namespace else name[0]
            raise status.new_not_found(GroupResource("metrics.k8s.io", kind.lower()), shown)
        selector = labels.parse(query.get("labelSelector", ""))
        wanted = fields.parse(query.get("fieldSelector", ""))
        items = [
            each
            for each in found
            if selector.matches(each["metadata"].get("labels") or {})
            and wanted.matches({
                f"metadata.{key}": each["metadata"].get(key) or "" for key in ("name", "namespace")
            })
        ]
        return {"kind": f"{kind}List", "apiVersion": API_VERSION, "metadata": {}, "items": items}

    # -- metrics ------------------------------------------------------------------------------

    def _node_metrics(self) -> list[Object]:
        seen_ns = self._seen_ns
        if seen_ns <= self._started_ns:
            return []
        return [
            {
                **self._measured(node.name, "", {}, self._resolution_ns),
                "usage": _usage(node.cpu_milli, node.memory),
            }
            for node in self._nodes()
        ]

    def _pod_metrics(self) -> list[Object]:
        seen_ns = self._seen_ns
        found: list[Object] = []
        for node in self._nodes():
            for measured in node.pods:
                youngest_ns = max(c.started_ns for c in measured.containers)
                window_ns = min(self._resolution_ns, seen_ns - youngest_ns)
                running = {c.name for c in measured.containers}
                spec = measured.pod["spec"]
                if window_ns < FRESH_NS or any(
                    c["name"] not in running for c in spec["containers"]
                ):
                    continue
                metadata = measured.pod["metadata"]
                about = self._measured(
                    metadata["name"], metadata["namespace"], metadata.get("labels") or {},
                    window_ns,
                )
                found.append({**about, "containers": [
                    {"name": c.name, "usage": _usage(c.cpu_milli, c.memory)}
                    for c in measured.containers
                ]})
        return sorted(found, key=lambda m: (m["metadata"]["namespace"], m["metadata"]["name"]))

    def _measured(
        self, name: str, namespace: str, of: dict[str, str], window_ns: int
    ) -> Object:
        metadata: Object = {"name": name}
        if namespace:
            metadata["namespace"] = namespace
        metadata["creationTimestamp"] = format_time(self._system.now_ns())
        if of:
            metadata["labels"] = of
        return {
            "metadata": metadata,
            "timestamp": format_time(self._seen_ns),
            "window": format_duration(window_ns),
        }


def _usage(cpu_milli: int, memory: int) -> Object:
    return {
        "cpu": f"{cpu_milli * 1_000_000}n" if cpu_milli else "0",
        "memory": f"{memory // KIB}Ki" if memory else "0",
    }


def _group() -> Object:
    version = {"groupVersion": API_VERSION, "version": "v1beta1"}
    return {"name": "metrics.k8s.io", "versions": [version], "preferredVersion": version}


def _json(code: int, obj: Object) -> http1.Response:
    body = json.dumps(obj, separators=(",", ":")).encode() + b"\n"
    return http1.Response(code, body, {"Content-Type": "application/json"})


METRICS_SERVER = Software(
    name="metrics-server",
    entrypoint=("/metrics-server",),
    user=1000,
    programs={"metrics-server": main},
    paths={"metrics-server": "metrics-server"},
)
