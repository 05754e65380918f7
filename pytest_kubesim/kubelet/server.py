"""What the API server asks a kubelet for: logs of containers, commands in them.

Errors are `KubeletError` with an HTTP code and upstream's text.

Follows `pkg/kubelet/kubelet_pods.go` (`validateContainerLogStatus`) and
`pkg/kubelet/kuberuntime/logs/logs.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery.timestamps import format_time
from pytest_kubesim.cri.container import RUNNING
from pytest_kubesim.kubelet.host import NOTHING
from pytest_kubesim.kubelet.image_manager import ERR_IMAGE_PULL, ERR_IMAGE_PULL_BACK_OFF
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.container import Container, LogLine
    from pytest_kubesim.cri.runtime import Runtime
    from pytest_kubesim.kubelet.config import KubeletConfiguration
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.kubelet.pod_workers import PodWorkers
    from pytest_kubesim.kubelet.status_manager import StatusManager
    from pytest_kubesim.kubelet.usage import NodeUsage
    from pytest_kubesim.sim.kernel import Kernel


class KubeletError(Exception):
    """The kubelet's refusal."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@attrs.frozen(slots=True, kw_only=True)
class LogOptions:
    """Which part of a log, as `PodLogOptions` says."""

    tail_lines: int | None = None
    since_seconds: int | None = None
    since_time_ns: int | None = None
    limit_bytes: int | None = None
    timestamps: bool = False
    previous: bool = False
    stream: str = "All"


class KubeletServer:
    """The server of one kubelet."""

    def __init__(
        self,
        host: Host,
        workers: PodWorkers,
        statuses: StatusManager,
        usage: Callable[[], NodeUsage],
    ) -> None:
        self.usage = usage
        """Measures what node and pods use now."""
        self._host = host
        self._workers = workers
        self._statuses = statuses

    def container_logs(
        self, namespace: str, pod_name: str, container: str, options: LogOptions
    ) -> str:
        """The log of a container.

        Raises: `KubeletError` where there is none (yet).
        """
        run = self.find_log(namespace, pod_name, container, previous=options.previous)
        return format_log(run.logs, options, self._host.now_ns())

    def find_log(
        self, namespace: str, pod_name: str, container: str, *, previous: bool = False
    ) -> Container:
        """The container whose log is meant."""
        pod = self.find_pod(namespace, pod_name)
        if pod is None:
            raise KubeletError(404, f'pod "{pod_name}" cannot be found - no logs available')
        uid = pod["metadata"]["uid"]
        status = self._statuses.get(uid) or pod.get("status") or NOTHING
        wanted = _log_container_id(status, pod_name, container, previous)
        for run in self._host.runtime.pod_state(uid).containers:
            if wanted.endswith(run.id):
                return run
        raise KubeletError(
            400, f"unable to retrieve container logs for {wanted}"
        )

    def running_container(self, namespace: str, pod_name: str, name: str) -> Container | None:
        """A container that runs, or None."""
        pod = self.find_pod(namespace, pod_name)
        if pod is None:
            return None
        run = self._host.runtime.pod_state(pod["metadata"]["uid"]).find(name)
        return run if run is not None and run.state == RUNNING else None

    @property
    def runtime(self) -> Runtime:
        """The node's runtime."""
        return self._host.runtime

    @property
    def configuration(self) -> KubeletConfiguration:
        """How the kubelet is set up."""
        return self._host.config

    @property
    def kernel(self) -> Kernel:
        """Where its connections run."""
        return self._host.kernel

    def running_pods(self) -> list[Object]:
        """The pods that it runs."""
        return [worker.pod for worker in self._workers.workers.values()]

    def find_pod(self, namespace: str, name: str) -> Object | None:
        """A pod of this node."""
        for worker in self._workers.workers.values():
            meta = worker.pod["metadata"]
            if meta["name"] == name and meta["namespace"] == namespace and not worker.gone:
                return worker.pod
        return None


def _log_container_id(status: Object, pod: str, container: str, previous: bool) -> str:
    found = None
    for field in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for one in status.get(field) or ():
            if one["name"] == container and found is None:
                found = one
    about = f'container "{container}" in pod "{pod}"'
    if found is None:
        raise KubeletError(400, f"{about} is not available")
    state = found["state"]
    last = ((found.get("lastState") or NOTHING).get("terminated") or NOTHING).get("containerID")
    if previous:
        if not last:
            raise KubeletError(400, f"previous terminated {about} not found")
        return last
    if "running" in state:
        return found["containerID"]
    terminated = state.get("terminated")
    if terminated is not None:
        wanted = terminated.get("containerID") or last
        if not wanted:
            raise KubeletError(400, f"{about} is terminated")
        return wanted
    if (found.get("lastState") or NOTHING).get("terminated") is not None:
        if not last:
            raise KubeletError(400, f"{about} is terminated")
        return last
    reason = (state.get("waiting") or NOTHING).get("reason") or ""
    why = {
        ERR_IMAGE_PULL: "image can't be pulled",
        ERR_IMAGE_PULL_BACK_OFF: "trying and failing to pull image",
    }.get(reason, reason)
    raise KubeletError(400, f"{about} is waiting to start: {why}")


def format_log(lines: list[LogLine], options: LogOptions, now_ns: int) -> str:
    """Lines as `kubectl logs` shows them."""
    chosen = lines
    if options.stream != "All":
        chosen = [line for line in chosen if line.stream == options.stream.lower()]
    since_ns = options.since_time_ns
    if options.since_seconds is not None:
        since_ns = now_ns - options.since_seconds * NS
    if since_ns is not None:
        chosen = [line for line in chosen if line.time_ns >= since_ns]
    if options.tail_lines is not None:
        chosen = chosen[-options.tail_lines :] if options.tail_lines else []
    text = "".join(_shown(line, stamped=options.timestamps) for line in chosen)
    if options.limit_bytes is not None:
        text = text.encode()[: options.limit_bytes].decode(errors="ignore")
    return text


def _shown(line: LogLine, *, stamped: bool) -> str:
    """A line; one that was not ended when its container did has no end here either."""
    text = line.text if line.partial else f"{line.text}\n"
    return f"{nano_time(line.time_ns)} {text}" if stamped else text


def nano_time(time_ns: int) -> str:
    """RFC 3339 with nine digits, as runtimes stamp lines."""
    return f"{format_time(time_ns)[:-1]}.{time_ns % NS:09d}Z"
