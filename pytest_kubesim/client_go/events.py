"""Events of events.k8s.io/v1, as the scheduler records them: repeats become a series.

The law (`client-go/tools/events/event_broadcaster.go`): the second event alike within six minutes
(about the object in the same version) turns the first into a series of two, by a patch; further
ones are only counted, and written when the series is refreshed (every 30 minutes) or over (six
minutes without another).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import meta, status, timestamps
from pytest_kubesim.client_go.resources import EVENTS_V1
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.rest import RESTClient

FINISH_NS = 6 * 60 * NS
REFRESH_NS = 30 * 60 * NS
RETRY_NS = 10 * NS
MAX_TRIES = 12


@attrs.define(slots=True)
class _Cached:
    event: Object
    at_ns: int
    count: int = 1
    refreshed_ns: int = 0


class EventRecorder:
    """Records events as one reporting controller.

    Parameters: `client` that sends them; `controller`, such as `default-scheduler`; `instance`,
    the controller's name and host as upstream joins them.
    """

    def __init__(self, client: RESTClient, controller: str, instance: str = "") -> None:
        self._client = client
        self._controller = controller
        self._instance = instance or f"{controller}-{client.process.host}"
        self._cache: dict[tuple[str, ...], _Cached] = {}
        self._count = 0
        self._sweeping = False

    def named(self, controller: str) -> EventRecorder:
        """The recorder of `controller`, by the same client."""
        return self if controller == self._controller else EventRecorder(self._client, controller)

    def eventf(
        self,
        regarding: Object,
        related: Object | None,
        type_: str,
        reason: str,
        action: str,
        note: str,
    ) -> None:
        """Record that `action` had the outcome `reason` for `regarding`.

        Parameters: `regarding` and `related`, objects; `type_`, `Normal` or `Warning`; `note`, the
        message for people.
        """
        process = self._client.process
        reference = meta.object_reference(regarding)
        other = meta.object_reference(related) if related is not None else {}
        key = (type_, action, reason, *_identity(reference), *_identity(other))
        now_ns = process.now_ns()
        cached = self._cache.get(key)
        if cached is not None:
            cached.count += 1
            cached.at_ns = now_ns
            if cached.count > 2:
                return
            event = self._series(cached)
        else:
            self._count += 1
            jitter_ns = process.kernel.rng.below(
                1_000_000, "event-name", self._instance, self._count
            )
            event: Object = {
                "kind": "Event",
                "apiVersion": "events.k8s.io/v1",
                "metadata": {
                    "name": f"{reference.get('name', '')}.{now_ns + jitter_ns:x}",
                    "namespace": reference.get("namespace") or "default",
                },
                "eventTime": timestamps.format_micro_time(now_ns),
                "reportingController": self._controller,
                "reportingInstance": self._instance,
                "action": action,
                "reason": reason,
                "regarding": reference,
                "note": note,
                "type": type_,
            }
            if other:
                event["related"] = other
            self._cache[key] = _Cached(event, now_ns)
        if not self._sweeping:
            self._sweeping = True
            process.spawn(self._sweep(), name="event series")
        process.spawn(self._record(event), name=f"event {reason}")

    def _series(self, cached: _Cached) -> Object:
        series = {
            "count": cached.count,
            "lastObservedTime": timestamps.format_micro_time(cached.at_ns),
        }
        return {**cached.event, "series": series}

    async def _record(self, event: Object) -> None:
        for _attempt in range(MAX_TRIES):
            try:
                await self._write(event)
            except status.APIStatus as error:
                if not ("series" in event and status.is_already_exists(error)):
                    return  # The server rejected it: upstream does not retry.
            except ConnectionLost:
                pass
            else:
                return
            await self._client.process.kernel.sleep(RETRY_NS, periodic=True)

    async def _write(self, event: Object) -> None:
        namespace, name = event["metadata"]["namespace"], event["metadata"]["name"]
        if "series" in event:
            patch: dict[str, Any] = {"series": event["series"]}
            try:
                await self._client.patch(EVENTS_V1, namespace, name, patch)
            except status.APIStatus as error:
                if not status.is_not_found(error):
                    raise
            else:
                return
        await self._client.create(EVENTS_V1, namespace, event)

    async def _sweep(self) -> None:
        process = self._client.process
        while True:
            await process.kernel.sleep(FINISH_NS, periodic=True)
            now_ns = process.now_ns()
            for key, cached in list(self._cache.items()):
                over = now_ns - cached.at_ns > FINISH_NS
                stale = now_ns - cached.refreshed_ns > REFRESH_NS
                if cached.count > 1 and (over or stale):
                    cached.refreshed_ns = now_ns
                    await self._record(self._series(cached))
                if over:
                    del self._cache[key]


def _identity(reference: Object) -> tuple[str, ...]:
    return tuple(
        str(reference.get(k, ""))
        for k in (
            "kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath",
        )
    )
