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
from pytest_kubesim.client_go.discovery import RESET_PERIOD_NS, NoMatch, versions_of_group
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import RETRIABLE, SyncError
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.discovery import RESTMapper
    from pytest_kubesim.client_go.rest import RESTClient

DEFAULT_WINDOW_NS = 60 * NS

POD_METRICS = GroupVersionResource("metrics.k8s.io", "v1beta1", "pods")
CUSTOM, EXTERNAL = "custom.metrics.k8s.io", "external.metrics.k8s.io"
CUSTOM_VERSIONS = ("v1beta2", "v1beta1")
CUSTOM_FAILED = "unable to fetch metrics from custom metrics API"

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

    Parameters: `client` that asks the API server, or `source` that answers in its place; `mapper`
    that knows the resources of the objects that metrics describe.
    """

    def __init__(
        self, client: RESTClient, mapper: RESTMapper, source: Source | None = None
    ) -> None:
        self._client = client
        self._mapper = mapper
        self._source = source
        self._version = ("", -1)
        """The version of the custom metrics API, and the period in which it was asked for."""

    async def _list(
        self, gvr: GroupVersionResource, namespace: str, selector: str, metric_selector: str = "",
        *, exactly_one: bool = False,
    ) -> list[Object]:
        kind = {CUSTOM: "custom", EXTERNAL: "external"}.get(gvr.group, "resource")
        failed = f"unable to fetch metrics from {kind} metrics API"
        try:
            if self._source is None:
                found = await self._client.list(
                    gvr, namespace, label_selector=selector, metric_selector=metric_selector
                )
            else:
                answer = self._source(gvr, namespace, selector)
                found = await answer if isinstance(answer, Awaitable) else answer
        except RETRIABLE as error:
            raise SyncError(f"{failed}: {error}") from None
        items: list[Object] = found.get("items") or []
        if exactly_one and len(items) != 1:
            raise SyncError(
                f"{failed}: the custom metrics API server returned {len(items)} results when we "
                "asked for exactly one"
            )
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

    async def of_pods(
        self, metric: str, namespace: str, selector: str, metric_selector: str = ""
    ) -> dict[str, PodMetric]:
        """A custom metric of pods, by pod name."""
        gvr = await self._custom(f"pods/*/{metric}")
        found: dict[str, PodMetric] = {}
        items = await self._list(gvr, namespace, selector, metric_selector)
        for item in items:
            seconds = item.get("windowSeconds")
            found[item["describedObject"]["name"]] = PodMetric(
                quantity.milli_value(item["value"]),
                timestamps.parse_time(item["timestamp"]),
                DEFAULT_WINDOW_NS if seconds is None else seconds * NS,
            )
        return found

    async def of_object(
        self, metric: str, namespace: str, described: Object, metric_selector: str = ""
    ) -> int:
        """A custom metric of one object, in thousandths."""
        api_version, kind = described.get("apiVersion") or "", described["kind"]
        group = api_version.rpartition("/")[0]
        gvr = await self._custom("")
        if (group, kind) == ("", "Namespace"):
            what = f"metrics/{metric}"
        else:
            what = f"{await self._plural(group, kind)}/{described['name']}/{metric}"
        gvr = GroupVersionResource(CUSTOM, gvr.version, what)
        items = await self._list(gvr, namespace, "", metric_selector, exactly_one=True)
        return quantity.milli_value(items[0]["value"])

    async def _custom(self, what: str) -> GroupVersionResource:
        """A metric in the version of the custom metrics API that is served.

        A version that was found is believed for a while (`PeriodicallyInvalidate`).
        """
        if self._source is not None:
            return GroupVersionResource(CUSTOM, CUSTOM_VERSIONS[0], what)
        version, until_ns = self._version
        now_ns = self._client.process.kernel.now_ns
        if now_ns >= until_ns:
            served = await versions_of_group(self._client, CUSTOM)
            if not served:
                raise SyncError(f"{CUSTOM_FAILED}: no custom metrics API ({CUSTOM}) registered")
            known = [each for each in served if each in CUSTOM_VERSIONS]
            if not known:
                raise SyncError(f"{CUSTOM_FAILED}: no known available metric versions found")
            version = known[0]
            self._version = (version, now_ns - now_ns % RESET_PERIOD_NS + RESET_PERIOD_NS)
        return GroupVersionResource(CUSTOM, version, what)

    async def _plural(self, group: str, kind: str) -> str:
        try:
            resource = await self._mapper.mapping_of_group(group, kind)
        except NoMatch as error:
            shown = f"{kind}.{group}" if group else kind
            raise SyncError(
                f"{CUSTOM_FAILED}: unable to map kind {shown} to resource: {error}"
            ) from None
        return str(resource.gvr.group_resource)

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
