"""A kubelet's own HTTP server, as far as it is more than streams: health, its pods, their logs.

Follows `pkg/kubelet/server/server.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pytest_kubesim.apimachinery.golang import query_flag
from pytest_kubesim.cri.container import RUNNING
from pytest_kubesim.cri.services import RuntimeServiceError
from pytest_kubesim.errors import NotSimulated
from pytest_kubesim.kubelet import measurements
from pytest_kubesim.kubelet.log_stream import LogStream, log_options
from pytest_kubesim.kubelet.server import KubeletError, KubeletServer, format_log
from pytest_kubesim.wire import Response

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.wire import Request

PLAIN = "text/plain; charset=utf-8"
HEALTHY = frozenset({"/healthz", "/healthz/ping", "/healthz/log", "/healthz/syncloop"})
_UNKNOWN = Response(404, None, b"404 page not found\n", PLAIN)
_KNOWN_BUT_ABSENT = (
    "metrics", "stats", "logs", "configz", "checkpoint", "debug", "spec", "statusz", "flagz",
    "allocatedPods",
)


async def serve(server: KubeletServer, path: str, request: Request) -> Any:
    """The answer to a request for `path`: a `Response`, or a stream of a log."""
    if path.rstrip("/") in HEALTHY:
        return _text(200, "ok")
    parts = unquote(path).strip("/").split("/")
    method = request.method
    if parts == ["pods"] and method == "GET":
        return _pods(server.running_pods())
    if path.strip("/") in measurements.PATHS and method == "GET":
        return measurements.answer(server, path.strip("/"))
    if parts == ["runningpods"] and method == "GET":
        return _pods([_as_runtime_knows(server, pod) for pod in server.running_pods()])
    try:
        if parts[0] == "containerLogs" and len(parts) == 4:
            if method != "GET":
                return _text(405, "Method Not Allowed")
            return _logs(server, parts[1], parts[2], parts[3], request)
        if parts[0] == "run" and len(parts) in {4, 5} and method == "POST":
            return await _run(server, parts[1], parts[2], parts[-1], request)
    except KubeletError as error:
        return _text(error.code, str(error))
    if parts[0] in _KNOWN_BUT_ABSENT:
        raise NotSimulated(
            f"A kubelet's {path} is not simulated.",
            "Ask for /healthz, /pods, /stats/summary, /metrics/resource, /configz, or for logs of "
            "containers.",
        )
    return _UNKNOWN


def _logs(
    server: KubeletServer, namespace: str, pod: str, container: str, request: Request
) -> Response | LogStream:
    options = log_options(dict(request.query))
    run = server.find_log(namespace, pod, container, previous=options.previous)
    if query_flag(dict(request.query).get("follow")) and run.state == RUNNING:
        return LogStream(run, options, run.now_ns())
    return _text(200, format_log(run.logs, options, run.now_ns()))


async def _run(
    server: KubeletServer, namespace: str, pod: str, container: str, request: Request
) -> Response:
    """A command, its output in one piece (`RunInContainer`)."""
    if server.find_pod(namespace, pod) is None:
        return _text(404, "pod does not exist")
    run = server.running_container(namespace, pod, container)
    if run is None:
        return _text(500, f'container not found ("{container}")')
    command = tuple(request.param("cmd").split(" "))
    try:
        result = await server.runtime.exec_sync(run, command, 0)
    except RuntimeServiceError as error:
        return _text(500, str(error))
    output = result.stdout + result.stderr
    if result.exit_code:
        return _text(
            500, f"command '{' '.join(command)}' exited with {result.exit_code}: {output}"
        )
    return Response(200, None, output.encode(), "application/json")


def _as_runtime_knows(server: KubeletServer, pod: Object) -> Object:
    """Name, namespace and uid, and the containers that run, with their images."""
    meta = pod["metadata"]
    running: list[Object] = [
        {"name": run.name, "image": run.config.image_ref, "resources": {}}
        for run in server.runtime.pod_state(meta["uid"]).containers
        if run.state == RUNNING
    ]
    return {
        "metadata": {key: meta[key] for key in ("name", "namespace", "uid")},
        "spec": {"containers": running},
        "status": {},
    }


def _pods(pods: list[Object]) -> Response:
    items = [{k: v for k, v in pod.items() if k not in {"kind", "apiVersion"}} for pod in pods]
    return Response(
        200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
    )


def _text(code: int, text: str) -> Response:
    return Response(code, None, text.encode(), PLAIN)
