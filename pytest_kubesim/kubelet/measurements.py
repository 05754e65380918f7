"""What a kubelet tells of its measurements and of itself: `/stats/summary`, `/metrics/resource`,
`/configz`.

Follows `pkg/kubelet/server/stats/{handler,summary}.go`,
`pkg/kubelet/metrics/collectors/resource_metrics.go` and `component-base/configz`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.timestamps import format_duration, format_time
from pytest_kubesim.kubelet import usage
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import Response

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.server import KubeletServer
    from pytest_kubesim.kubelet.usage import ContainerUsage, NodeUsage, PodUsage

PATHS = frozenset({"stats/summary", "metrics/resource", "configz"})
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
_MILLI_TO_NANO = 1_000_000

_HELP = (
    ("container_cpu_usage_seconds_total", "counter",
     "Cumulative cpu time consumed by the container in core-seconds"),
    ("container_memory_working_set_bytes", "gauge",
     "Current working set of the container in bytes"),
    ("container_start_time_seconds", "gauge",
     "Start time of the container since unix epoch in seconds"),
    ("node_cpu_usage_seconds_total", "counter",
     "Cumulative cpu time consumed by the node in core-seconds"),
    ("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes"),
    ("pod_cpu_usage_seconds_total", "counter",
     "Cumulative cpu time consumed by the pod in core-seconds"),
    ("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes"),
    ("resource_scrape_error", "gauge",
     "1 if there was an error while getting container metrics, 0 otherwise"),
)


def answer(server: KubeletServer, path: str) -> Response:
    """The answer to a GET of one of `PATHS`."""
    if path == "configz":
        return Response(200, {"kubeletconfig": _configuration(server)})
    node = server.usage()
    if path == "stats/summary":
        return Response(200, summary(node))
    return Response(200, None, metrics(node).encode(), PROMETHEUS)


def summary(node: NodeUsage) -> Object:
    """`stats.Summary`, as far as it is measured: cpu and memory."""
    now_ns = node.now_ns
    memory = {**_memory(now_ns, node.memory), "availableBytes": usage.available(node)}
    return {
        "node": {
            "nodeName": node.name,
            "startTime": format_time(node.started_ns),
            "cpu": _cpu(now_ns, node.cpu_milli, node.cpu_ns),
            "memory": memory,
        },
        "pods": [_pod(now_ns, pod) for pod in node.pods],
    }


def _pod(now_ns: int, pod: PodUsage) -> Object:
    meta = pod.pod["metadata"]
    started_ns = min(c.started_ns for c in pod.containers)
    return {
        "podRef": {key: meta[key] for key in ("name", "namespace", "uid")},
        "startTime": format_time(started_ns),
        "containers": [
            {
                "name": c.name,
                "startTime": format_time(c.started_ns),
                "cpu": _cpu(now_ns, c.cpu_milli, c.cpu_ns(now_ns)),
                "memory": _memory(now_ns, c.memory),
            }
            for c in pod.containers
        ],
        "cpu": _cpu(
            now_ns, sum(c.cpu_milli for c in pod.containers),
            sum(c.cpu_ns(now_ns) for c in pod.containers),
        ),
        "memory": _memory(now_ns, sum(c.memory for c in pod.containers)),
    }


def _cpu(now_ns: int, milli: int, total_ns: int) -> Object:
    return {
        "time": format_time(now_ns),
        "usageNanoCores": milli * _MILLI_TO_NANO,
        "usageCoreNanoSeconds": total_ns,
    }


def _memory(now_ns: int, amount: int) -> Object:
    return {
        "time": format_time(now_ns),
        "usageBytes": amount,
        "workingSetBytes": amount,
        "rssBytes": amount,
        "pageFaults": 0,
        "majorPageFaults": 0,
    }


def metrics(node: NodeUsage) -> str:
    """The text of `/metrics/resource`."""
    now_ns = node.now_ns
    samples: dict[str, list[str]] = {name: [] for name, _, _ in _HELP}
    stamp = now_ns // _MILLI_TO_NANO
    for pod in node.pods:
        meta = pod.pod["metadata"]
        labels = f'namespace="{meta["namespace"]}",pod="{meta["name"]}"'
        for container in pod.containers:
            _container(samples, container, labels, now_ns)
        cpu_ns = sum(c.cpu_ns(now_ns) for c in pod.containers)
        memory = sum(c.memory for c in pod.containers)
        samples["pod_cpu_usage_seconds_total"].append(
            f"{{{labels}}} {usage.seconds(cpu_ns)} {stamp}"
        )
        samples["pod_memory_working_set_bytes"].append(f"{{{labels}}} {memory:.9g} {stamp}")
    samples["node_cpu_usage_seconds_total"].append(f" {usage.seconds(node.cpu_ns)} {stamp}")
    samples["node_memory_working_set_bytes"].append(f" {node.memory:.9g} {stamp}")
    samples["resource_scrape_error"].append(" 0")
    lines: list[str] = []
    for name, kind, text in _HELP:
        if samples[name]:
            lines += [f"# HELP {name} [STABLE] {text}", f"# TYPE {name} {kind}"]
            lines += [name + sample for sample in samples[name]]
    return "\n".join(lines) + "\n"


def _container(
    samples: dict[str, list[str]], container: ContainerUsage, labels: str, now_ns: int
) -> None:
    where = f'{{container="{container.name}",{labels}}}'
    stamp = now_ns // _MILLI_TO_NANO
    used = usage.seconds(container.cpu_ns(now_ns))
    samples["container_cpu_usage_seconds_total"].append(f"{where} {used} {stamp}")
    samples["container_memory_working_set_bytes"].append(
        f"{where} {container.memory:.9g} {stamp}"
    )
    samples["container_start_time_seconds"].append(
        f"{where} {usage.seconds(container.started_ns)}"
    )


def _configuration(server: KubeletServer) -> dict[str, Any]:
    """`KubeletConfiguration`: the fields that are simulated."""
    config = server.configuration
    return {
        "nodeStatusUpdateFrequency": format_duration(config.node_status_update_ns),
        "nodeStatusReportFrequency": format_duration(config.node_status_report_ns),
        "nodeLeaseDurationSeconds": config.lease_duration_seconds,
        "syncFrequency": format_duration(config.resync_ns),
        "serializeImagePulls": config.serialize_image_pulls,
        "crashLoopBackOff": {
            "maxContainerRestartPeriod": format_duration(config.crash_loop_max_ns)
        },
        "volumeStatsAggPeriod": format_duration(60 * NS),
        "enableServer": True,
        "cgroupDriver": "systemd",
        "cpuManagerPolicy": "none",
        "memoryManagerPolicy": "None",
        "topologyManagerPolicy": "none",
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
    }
