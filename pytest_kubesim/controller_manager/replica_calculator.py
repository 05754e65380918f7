"""How many replicas a metric asks for.

The law: the replicas that would bring the average to its target, from those pods that count.  Pods
that are starting, or of which nothing is known, are assumed to use what keeps the number where it
is: none when it would rise, all of their request when it would fall.  Within the tolerance nothing
changes.

Follows `pkg/controller/podautoscaler/{replica_calculator.go,metrics/utilization.go}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from pytest_kubesim.apimachinery import labels, meta, quantity, timestamps
from pytest_kubesim.controller_manager import fields, pods
from pytest_kubesim.controller_manager.controller import RETRIABLE, SyncError
from pytest_kubesim.controller_manager.pod_metrics import MetricsClient, PodMetric
from pytest_kubesim.registry import quota

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.store import Store

MAX_INT32, MAX_INT64 = 2**31 - 1, 2**63 - 1
INT64_OF_INFINITY = -(2**63)
"""What a division by no pods is as an integer, on the machines that Kubernetes mostly runs on."""

NO_PODS = "no pods returned by selector while calculating replica count"
NO_METRICS = "did not receive metrics for targeted pods (pods might be unready)"


class Tolerances(NamedTuple):
    """How far from its target a metric may be, downwards and upwards."""

    down: float
    up: float

    def hold(self, ratio: float) -> bool:
        """Whether a ratio of usage to target changes nothing."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


class Proposal(NamedTuple):
    """The replicas that a metric asks for, and what it is: raw in thousandths, in percent."""

    replicas: int
    raw: int
    utilization: int = 0


class _Groups(NamedTuple):
    ready: int
    unready: dict[str, None]
    missing: dict[str, None]
    ignored: dict[str, None]


_Ratio = Callable[[Mapping[str, PodMetric]], tuple[float, int, int]]
"""Of metrics: usage to target, the utilization in percent, the raw average."""


class ReplicaCalculator:
    """Works out replicas.

    Parameters: `metrics`; `store` of pods; `now_ns`; `cpu_initialization_ns`, for how long a pod's
    CPU counts only once it is ready; `readiness_delay_ns`, for how long it may be unready at first.
    """

    def __init__(
        self,
        metrics: MetricsClient,
        store: Store,
        now_ns: Callable[[], int],
        cpu_initialization_ns: int,
        readiness_delay_ns: int,
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._now_ns = now_ns
        self._cpu_initialization_ns = cpu_initialization_ns
        self._readiness_delay_ns = readiness_delay_ns

    # -- metrics ------------------------------------------------------------------------------

    async def by_utilization(
        self, current: int, target: int, resource: str, tolerances: Tolerances,
        namespace: str, selector: Selector, container: str,
    ) -> Proposal:
        """By the usage of a resource in percent of what pods have requested."""
        metrics = await self._resource(resource, namespace, selector, container)
        found = self._pods(namespace, selector)
        requests: dict[str, int] = {}

        def ratio(values: Mapping[str, PodMetric]) -> tuple[float, int, int]:
            used = [(m.value, requests[name]) for name, m in values.items() if name in requests]
            total, asked = sum(value for value, _ in used), sum(request for _, request in used)
            if asked == 0:
                raise SyncError("no metrics returned matched known pods")
            percent = int(total * 100 / asked)
            return percent / target, percent, int(total / len(used))

        groups = self._group(found, metrics, resource)
        _drop(metrics, groups)
        if not metrics:
            raise SyncError(NO_METRICS)
        for pod in found:
            requests[meta.name(pod)] = _request(pod, container, resource)
        fallback = max(100, target)
        return self._propose(
            current, metrics, groups, ratio, tolerances,
            lambda name: requests[name] * fallback // 100,
        )

    async def by_usage(
        self, current: int, target: int, resource: str, tolerances: Tolerances,
        namespace: str, selector: Selector, container: str,
    ) -> Proposal:
        """By the average usage of a resource."""
        metrics = await self._resource(resource, namespace, selector, container)
        return self._plain(current, target, metrics, tolerances, namespace, selector, resource)

    async def by_pods_metric(
        self, current: int, target: int, metric: str, tolerances: Tolerances,
        namespace: str, selector: Selector, metric_selector: Object | None,
    ) -> Proposal:
        """By the average of a custom metric of the pods."""
        try:
            metrics = await self._metrics.of_pods(
                metric, namespace, str(selector), _text_of(metric_selector)
            )
        except RETRIABLE as error:
            raise SyncError(f"unable to get metric {metric}: {error}") from None
        return self._plain(current, target, metrics, tolerances, namespace, selector, "")

    async def by_object_metric(
        self, current: int, target: int, metric: str, tolerances: Tolerances,
        namespace: str, described: Object, selector: Selector, metric_selector: Object | None,
    ) -> Proposal:
        """By a custom metric of one object."""
        usage = await self._object(metric, namespace, described, metric_selector)
        return self._by_ratio(current, usage, target, tolerances, namespace, selector)

    async def by_object_metric_per_pod(
        self, status_replicas: int, target: int, metric: str, tolerances: Tolerances,
        namespace: str, described: Object, metric_selector: Object | None,
    ) -> Proposal:
        """By a custom metric of one object, divided by the pods."""
        usage = await self._object(metric, namespace, described, metric_selector)
        return _per_pod(status_replicas, usage, target, tolerances)

    async def by_external_metric(
        self, current: int, target: int, metric: str, tolerances: Tolerances,
        namespace: str, metric_selector: Object | None, selector: Selector,
    ) -> Proposal:
        """By an external metric."""
        usage = await self._external(metric, namespace, metric_selector)
        return self._by_ratio(current, usage, target, tolerances, namespace, selector)

    async def by_external_metric_per_pod(
        self, status_replicas: int, target: int, metric: str, tolerances: Tolerances,
        namespace: str, metric_selector: Object | None,
    ) -> Proposal:
        """By an external metric, divided by the pods."""
        usage = await self._external(metric, namespace, metric_selector)
        return _per_pod(status_replicas, usage, target, tolerances)

    # -- inside -------------------------------------------------------------------------------

    async def _resource(
        self, resource: str, namespace: str, selector: Selector, container: str
    ) -> dict[str, PodMetric]:
        try:
            return await self._metrics.resource(resource, namespace, str(selector), container)
        except RETRIABLE as error:
            raise SyncError(f"unable to get metrics for resource {resource}: {error}") from None

    async def _object(
        self, metric: str, namespace: str, described: Object, metric_selector: Object | None
    ) -> int:
        try:
            return await self._metrics.of_object(
                metric, namespace, described, _text_of(metric_selector)
            )
        except RETRIABLE as error:
            where = f"{described['kind']} {namespace}/{described['name']}"
            raise SyncError(f"unable to get metric {metric} on {where}: {error}") from None

    async def _external(self, metric: str, namespace: str, selector: Object | None) -> int:
        try:
            values = await self._metrics.external(metric, namespace, _text_of(selector))
        except RETRIABLE as error:
            raise SyncError(
                f"unable to get external metric {namespace}/{metric}/{labels.printed(selector)}: "
                f"{error}"
            ) from None
        return min(sum(values), MAX_INT64)

    def _pods(self, namespace: str, selector: Selector) -> list[Object]:
        found = [p for p in self._store.list(namespace) if selector.matches(meta.labels(p))]
        if not found:
            raise SyncError(NO_PODS)
        return found

    def _plain(
        self, current: int, target: int, metrics: dict[str, PodMetric], tolerances: Tolerances,
        namespace: str, selector: Selector, resource: str,
    ) -> Proposal:
        found = self._pods(namespace, selector)
        groups = self._group(found, metrics, resource)
        _drop(metrics, groups)

        def ratio(values: Mapping[str, PodMetric]) -> tuple[float, int, int]:
            usage = int(sum(metric.value for metric in values.values()) / len(values))
            return usage / target, 0, usage

        return self._propose(current, metrics, groups, ratio, tolerances, lambda _name: target)

    @staticmethod
    def _propose(
        current: int, metrics: dict[str, PodMetric], groups: _Groups, ratio_of: _Ratio,
        tolerances: Tolerances, assumed: Callable[[str], int],
    ) -> Proposal:
        if not metrics:
            raise SyncError(NO_METRICS)
        ratio, utilization, raw = ratio_of(metrics)
        unready_matter = bool(groups.unready) and ratio > 1.0
        if not unready_matter and not groups.missing:
            stays = tolerances.hold(ratio)
            return Proposal(current if stays else math.ceil(ratio * groups.ready), raw, utilization)
        for name in groups.missing:
            if ratio < 1.0:
                metrics[name] = PodMetric(assumed(name))
            elif ratio > 1.0:
                metrics[name] = PodMetric(0)
        if unready_matter:
            for name in groups.unready:
                metrics[name] = PodMetric(0)
        new, _, _ = ratio_of(metrics)
        if tolerances.hold(new) or (ratio < 1.0 < new) or (new < 1.0 < ratio):
            return Proposal(current, raw, utilization)
        replicas = math.ceil(new * len(metrics))
        if (new < 1.0 and replicas > current) or (new > 1.0 and replicas < current):
            return Proposal(current, raw, utilization)
        return Proposal(replicas, raw, utilization)

    def _by_ratio(
        self, current: int, usage: int, target: int, tolerances: Tolerances,
        namespace: str, selector: Selector,
    ) -> Proposal:
        ratio = usage / target
        if current == 0:
            return Proposal(math.ceil(ratio), usage)
        if tolerances.hold(ratio):
            return Proposal(current, usage)
        try:
            found = self._pods(namespace, selector)
        except SyncError as error:
            raise SyncError(f"unable to calculate ready pods: {error}") from None
        ready = sum(pods.phase(pod) == "Running" and pods.is_ready(pod) for pod in found)
        return Proposal(min(math.ceil(ratio * ready), MAX_INT32), usage)

    def _group(
        self, found: list[Object], metrics: Mapping[str, PodMetric], resource: str
    ) -> _Groups:
        """`groupPods`."""
        ready = 0
        unready: dict[str, None] = {}
        missing: dict[str, None] = {}
        ignored: dict[str, None] = {}
        for pod in found:
            name = meta.name(pod)
            metric = metrics.get(name)
            if meta.deletion_timestamp(pod) or pods.phase(pod) == "Failed":
                ignored[name] = None
            elif pods.phase(pod) == "Pending":
                unready[name] = None
            elif metric is None:
                missing[name] = None
            elif resource == "cpu" and self._is_unready(pod, metric):
                unready[name] = None
            else:
                ready += 1
        return _Groups(ready, unready, missing, ignored)

    def _is_unready(self, pod: Object, metric: PodMetric) -> bool:
        condition = pods.ready_condition(pod)
        started = fields.status(pod).get("startTime")
        if condition is None or not started:
            return True
        started_ns = timestamps.parse_time(started)
        since = condition.get("lastTransitionTime")
        since_ns = timestamps.parse_time(since) if since else 0
        false = condition["status"] == "False"
        if started_ns + self._cpu_initialization_ns > self._now_ns():
            return false or metric.timestamp_ns < since_ns + metric.window_ns
        return false and started_ns + self._readiness_delay_ns > since_ns


def _text_of(selector: Object | None) -> str:
    """Which metrics are meant; nothing (`LabelSelectorAsSelector` of none) reads as all."""
    return "" if selector is None else str(labels.from_label_selector(selector))


def _drop(metrics: dict[str, PodMetric], groups: _Groups) -> None:
    for name in (*groups.ignored, *groups.unready):
        metrics.pop(name, None)


def _per_pod(status_replicas: int, usage: int, target: int, tolerances: Tolerances) -> Proposal:
    replicas = status_replicas
    ratio = usage / (target * replicas) if replicas else math.inf
    if not tolerances.hold(ratio):
        replicas = min(math.ceil(usage / target), MAX_INT32)
    average = math.ceil(usage / status_replicas) if status_replicas else INT64_OF_INFINITY
    return Proposal(replicas, average)


def _request(pod: Object, container: str, resource: str) -> int:
    """What a pod (or its container of that name) has requested, in thousandths."""
    spec = fields.spec(pod)
    if not container and fields.mapping(fields.mapping(spec, "resources"), "requests"):
        whole = quota.pod_resources(pod, "requests").get(resource)
        if whole is None:
            raise SyncError(f"missing pod-level request for {resource} in Pod {meta.name(pod)}")
        return quantity.milli_value(whole)
    containers = [
        *fields.objects(spec, "containers"),
        *(
            entry
            for entry in fields.objects(spec, "initContainers")
            if entry.get("restartPolicy") == "Always"
        ),
    ]
    total = 0
    for entry in containers:
        if container not in {"", entry["name"]}:
            continue
        request = fields.mapping(fields.mapping(entry, "resources"), "requests").get(resource)
        if request is None:
            raise SyncError(
                f"missing request for {resource} in container {entry['name']} of Pod "
                f"{meta.name(pod)}"
            )
        total += quantity.milli_value(request)
        if container:
            return total
    if container:
        raise SyncError(f"container {container} not found in Pod {meta.name(pod)}")
    return total
