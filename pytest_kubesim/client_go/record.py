"""Events of core/v1, as controllers and kubelets record them: correlated, counted, aggregated.

The law (`client-go/tools/record/events_cache.go`): an event that was seen before with the same
message raises a count by a patch; more than ten different messages of one reason within ten minutes
become one "(combined from similar events)"; a source gets 25 events about an object at once and one
in five minutes after that.  Events are sent one after the other, in order, and a refusal is final.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import meta, status, timestamps
from pytest_kubesim.client_go.resources import EVENTS
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.tasks import Queue
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.rest import RESTClient

NORMAL, WARNING = "Normal", "Warning"

AGGREGATED_PREFIX = "(combined from similar events): "
MAX_SIMILAR = 10
AGGREGATION_WINDOW_NS = 600 * NS
SPAM_BURST = 25
SPAM_QPS = 1 / 300
_SENDER_RETRIES = 12
_RETRY_NS = 10 * NS


_About = tuple[str, ...]
_SimilarKey = tuple[_About, str, str]
_Key = tuple[_SimilarKey, str, str]
"""What makes two events the same.  A cluster of many pods keeps many: keys hold each other."""


@attrs.define(slots=True)
class _Similar:
    messages: tuple[str, ...]
    last_ns: int


@attrs.define(slots=True)
class _Seen:
    name: str
    count: int
    first: str
    message: str


@attrs.define(slots=True)
class _Bucket:
    about: _About
    tokens: float
    at_ns: int


class EventRecorder:
    """Records events as one component (of one host).

    Parameters: `client` that sends them; `component`, such as `deployment-controller` or `kubelet`;
    `host`, the node of a kubelet.
    """

    def __init__(self, client: RESTClient, component: str, host: str = "") -> None:
        self._client = client
        self._component = component
        self._host = host
        self._stamp_ns = 0
        self._offset_ns = client.process.kernel.rng.below(1_000_000, "event-name", component, host)
        self._queue: Queue[tuple[Object, bool, _Key]] = Queue(client.process.kernel)
        self._similar: dict[_SimilarKey, _Similar] = {}
        self._seen: dict[_Key, _Seen] = {}
        self._spam: dict[_About, _Bucket] = {}
        self._sending = False

    def event(
        self,
        obj: Object,
        type_: str,
        reason: str,
        message: str,
        *,
        annotations: dict[str, str] | None = None,
        field_path: str = "",
    ) -> None:
        """Record that `reason` happened to `obj`.

        Parameters: `obj`, an object or an ObjectReference (one without `metadata`); `type_`,
        `Normal` or `Warning`; `field_path` of the part it is about.
        """
        reference = meta.object_reference(obj, field_path) if "metadata" in obj else obj
        self._correlate(reference, type_, reason, message, annotations)

    # -- correlation --------------------------------------------------------------------------

    def _correlate(
        self,
        reference: Object,
        type_: str,
        reason: str,
        message: str,
        annotations: dict[str, str] | None,
    ) -> None:
        now_ns = self._client.process.now_ns()
        about = tuple(
            str(reference.get(k, "")) for k in ("kind", "namespace", "name", "uid", "apiVersion")
        )
        bucket = self._spam.get(about)
        if bucket is None:
            bucket = self._spam[about] = _Bucket(about, float(SPAM_BURST), now_ns)
        similar_key = (bucket.about, type_, reason)
        similar = self._similar.get(similar_key)
        if similar is None or now_ns - similar.last_ns > AGGREGATION_WINDOW_NS:
            similar = self._similar[similar_key] = _Similar((), now_ns)
        if message not in similar.messages:
            similar.messages = (*similar.messages, message)
        similar.last_ns = now_ns
        if len(similar.messages) < MAX_SIMILAR:
            key = (similar_key, str(reference.get("fieldPath", "")), message)
        else:
            similar.messages = similar.messages[1:]
            key = (similar_key, "", AGGREGATED_PREFIX)
            message = AGGREGATED_PREFIX + message
        # The spam filter looks last: what it holds back is counted all the same.
        allowed = self._allowed(bucket, now_ns)
        now = timestamps.format_time(now_ns)
        seen = self._seen.get(key)
        if seen is None:
            # Names sort in the order of what happened, as upstream's, where no two events happen at
            # one instant; and no two sources think of the same name.
            self._stamp_ns = max(self._stamp_ns + 1, now_ns + self._offset_ns)
            name = f"{reference.get('name', '')}.{self._stamp_ns:x}"
            seen = self._seen[key] = _Seen(name, 1, now, message)
            new = True
        else:
            seen.count += 1
            seen.message = message
            new = False
        if allowed:
            self._put(self._event(reference, type_, reason, seen, now, annotations), new, key)

    @staticmethod
    def _allowed(bucket: _Bucket, now_ns: int) -> bool:
        refill = (now_ns - bucket.at_ns) / NS * SPAM_QPS
        bucket.tokens = min(float(SPAM_BURST), bucket.tokens + refill)
        bucket.at_ns = now_ns
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _event(
        self,
        reference: Object,
        type_: str,
        reason: str,
        seen: _Seen,
        now: str,
        annotations: dict[str, str] | None,
    ) -> Object:
        metadata: dict[str, Any] = {
            "name": seen.name,
            "namespace": reference.get("namespace") or "default",
        }
        if annotations:
            metadata["annotations"] = annotations
        source = {"component": self._component}
        if self._host:
            source["host"] = self._host
        return {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": metadata,
            "involvedObject": reference,
            "reason": reason,
            "message": seen.message,
            "source": source,
            "firstTimestamp": seen.first,
            "lastTimestamp": now,
            "count": seen.count,
            "type": type_,
            "eventTime": None,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }

    # -- sending ------------------------------------------------------------------------------

    def _put(self, event: Object, new: bool, key: _Key) -> None:
        self._queue.put((event, new, key))
        if not self._sending:
            self._sending = True
            self._client.process.spawn(self._send_all(), name=f"events of {self._component}")

    async def _send_all(self) -> None:
        try:
            while len(self._queue):
                await self._send(*self._queue.get_nowait())
        finally:
            self._sending = False

    async def _send(self, event: Object, new: bool, key: _Key) -> None:
        namespace, name = event["metadata"]["namespace"], event["metadata"]["name"]
        for _attempt in range(_SENDER_RETRIES):
            try:
                if not new:
                    try:
                        patch = {
                            "count": event["count"],
                            "lastTimestamp": event["lastTimestamp"],
                            "message": event["message"],
                        }
                        await self._client.patch(EVENTS, namespace, name, patch)
                        return
                    except status.APIStatus as error:
                        if not status.is_not_found(error):
                            raise
                await self._client.create(EVENTS, namespace, event)
            except status.APIStatus as error:
                # The server rejected it: upstream logs this and gives up on the event.
                if new and not status.is_already_exists(error):
                    self._seen.pop(key, None)
                return
            except ConnectionLost:
                await self._client.process.kernel.sleep(_RETRY_NS, periodic=True)
            else:
                return
