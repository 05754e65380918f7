"""What pods use: metrics as the autoscaler asks for them.

The law: metrics come from the three metrics APIs (`metrics.k8s.io`, `custom.metrics.k8s.io`,
`external.metrics.k8s.io`) through the API server; a *source* that is given instead answers in their
place, with the same lists, or raises `APIStatus`.

Follows `pkg/controller/podautoscaler/metrics/client.go`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import meta, quantity, timestamps
from pytest_kubesim.apimachinery.meta import GroupVersionResource
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import RETRIABLE, SyncError
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.rest import RESTClient

DEFAULT_WINDOW_NS = 60 * NS

POD_METRICS = GroupVersionResource("metrics.k8s.io", "v1beta1", "pods")
CUSTOM, EXTERNAL = "custom.metrics.k8s.io", "external.metrics.k8s.io"

Source = Callable[[GroupVersionResource, str, str], "Object | Awaitable[Object]"]
"""Answers `(resource, namespace, label selector)` with a list: of PodMetrics for
`metrics.k8s.io/pods`; of MetricValues for `custom.metrics.k8s.io`, the resource being
`pods/*/METRIC` or `RESOURCE/NAME/METRIC`; of ExternalMetricValues for a metric of
`external.metrics.k8s.io`."""


@attrs.frozen(slots=True)
class PodMetric:
    """One pod's value in thousandths, of a window of time that ended at an instant."""

    value: int
    timestamp_ns: int = 0
    window_ns: int = 0


class MetricsClient:
    """Asks for metrics.

    Parameters: `client` that asks the API server, or `source` that answers in its place.
    """

    def __init__(self, client: RESTClient, source: Source | None = None) -> None:
        self._client = client
        self._source = source

    async def _list(self, gvr: GroupVersionResource, namespace: str, selector: str) -> list[Object]:
        kind = {CUSTOM: "custom", EXTERNAL: "external"}.get(gvr.group, "resource")
        try:
            if self._source is None:
                found = await self._client.list(gvr, namespace, label_selector=selector)
            else:
                answer = self._source(gvr, namespace, selector)
                found = await answer if isinstance(answer, Awaitable) else answer
        except RETRIABLE as error:
            raise SyncError(f"unable to fetch metrics from {kind} metrics API: {error}") from None
        items: list[Object] = found.get("items") or []
        if not items:
            raise SyncError(f"no metrics returned from {kind} metrics API")
        return items

    async def resource(
        self, resource: str, namespace: str, selector: str, container: str = ""
    ) -> dict[str, PodMetric]:
        """What pods (or their containers of one name) use of cpu or memory, by pod name."""
        found: dict[str, PodMetric] = {}
        for item in await self._list(POD_METRICS, namespace, selector):
            value = _used(item, resource, container)
            if value is not None:
                found[meta.name(item)] = PodMetric(
                    value,
                    timestamps.parse_time(item["timestamp"]),
                    timestamps.parse_duration(item.get("window") or "0s"),
                )
        return found

    async def of_pods(self, metric: str, namespace: str, selector: str) -> dict[str, PodMetric]:
        """A custom metric of pods, by pod name."""
        gvr = GroupVersionResource(CUSTOM, "v1beta2", f"pods/*/{metric}")
        found: dict[str, PodMetric] = {}
        for item in await self._list(gvr, namespace, selector):
            seconds = item.get("windowSeconds")
            found[item["describedObject"]["name"]] = PodMetric(
                quantity.milli_value(item["value"]),
                timestamps.parse_time(item["timestamp"]),
                DEFAULT_WINDOW_NS if seconds is None else seconds * NS,
            )
        return found

    async def of_object(self, metric: str, namespace: str, resource: str, name: str) -> int:
        """A custom metric of one object, in thousandths."""
        gvr = GroupVersionResource(CUSTOM, "v1beta2", f"{resource}/{name}/{metric}")
        items = await self._list(gvr, namespace, "")
        return quantity.milli_value(items[0]["value"])

    async def external(self, metric: str, namespace: str, selector: str) -> list[int]:
        """An external metric's values, in thousandths."""
        gvr = GroupVersionResource(EXTERNAL, "v1beta1", metric)
        items = await self._list(gvr, namespace, selector)
        return [quantity.milli_value(item["value"]) for item in items]


def _used(item: Object, resource: str, container: str) -> int | None:
    containers = fields.objects(item, "containers")
    if container:
        containers = [entry for entry in containers if entry["name"] == container][:1]
    total = 0
    for entry in containers:
        used = fields.mapping(entry, "usage").get(resource)
        if used is None:
            return None
        total += quantity.milli_value(used)
    return total if containers else None
