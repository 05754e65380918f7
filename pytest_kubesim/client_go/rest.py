"""A client: one process's way to an API server, through the network.

Every call is a coroutine; where no latency, partition or fault is in the way it completes without
suspending.  Objects that come back are the server's own, shared and immutable.  Errors are
`apimachinery.status.APIStatus` for what the server answered and `wire.ConnectionLost` for what it
could not.

Follows `client-go/rest/request.go` and the generated typed clients.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import (
    ConnectionLost,
    Request,
    Response,
    UserInfo,
    WatchEvent,
    WatchStream,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pytest_kubesim.apimachinery.meta import GroupVersionResource, Object
    from pytest_kubesim.client_go.servers import Servers
    from pytest_kubesim.sim.network import Network
    from pytest_kubesim.sim.process import Process
    from pytest_kubesim.sim.tasks import Task
    from pytest_kubesim.wire import Handler, TimedStream

PATCH_TYPES = {
    "strategic": "application/strategic-merge-patch+json",
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}

DEFAULT_TIMEOUT_NS = 30 * NS
CONNECTION_LOST_NS = 45 * NS
"""How long a watch survives on a dead connection: HTTP/2's 30 s read idle and 15 s ping timeout
(`k8s.io/apimachinery/pkg/util/net/http.go`)."""


def path_of(
    gvr: GroupVersionResource, namespace: str, name: str = "", subresource: str = ""
) -> str:
    """The URL path of a collection, an object or a subresource."""
    path = f"/apis/{gvr.group}/{gvr.version}" if gvr.group else f"/api/{gvr.version}"
    if namespace:
        path = f"{path}/namespaces/{namespace}/{gvr.resource}"
    else:
        path = f"{path}/{gvr.resource}"
    if name:
        path = f"{path}/{name}"
    return f"{path}/{subresource}" if subresource else path


class RESTClient:
    """The requests of one identity in one process.

    Parameters: `process` that asks (its host is where messages come from); `handler`, the API
    server; `network` between them; `user` it is; `user_agent` it sends; `server_host`, the
    server's place in the network; `timeout_ns` after which a request without an answer is given up;
    `watch_latency_ns`, least and most time that a watch event is under way; `servers`, where there
    are several API servers: `handler` and `server_host` are those of the first then.
    """

    __slots__ = (
        "_handler",
        "_headers",
        "_network",
        "_servers",
        "_watches",
        "process",
        "server_host",
        "timeout_ns",
        "user",
        "watch_latency_ns",
    )

    def __init__(
        self,
        process: Process,
        handler: Handler,
        network: Network,
        *,
        user: UserInfo,
        user_agent: str,
        server_host: str = "control-plane",
        timeout_ns: int = DEFAULT_TIMEOUT_NS,
        watch_latency_ns: tuple[int, int] = (0, 0),
        servers: Servers | None = None,
    ) -> None:
        self.process = process
        self._handler = handler
        self._servers = servers
        self._network = network
        self.user = user
        self.server_host = server_host
        self.timeout_ns = timeout_ns
        self.watch_latency_ns = watch_latency_ns
        self._headers = (("user-agent", user_agent), ("accept", "application/json"))
        self._watches = 0

    def as_user(self, user: UserInfo, user_agent: str | None = None) -> RESTClient:
        """The same way to the server under another identity."""
        return RESTClient(
            self.process,
            self._handler,
            self._network,
            user=user,
            user_agent=user_agent or self._headers[0][1],
            server_host=self.server_host,
            timeout_ns=self.timeout_ns,
            watch_latency_ns=self.watch_latency_ns,
            servers=self._servers,
        )

    # -- the verbs ----------------------------------------------------------------------------

    async def get(
        self,
        gvr: GroupVersionResource,
        namespace: str,
        name: str,
        *,
        resource_version: str | None = None,
        subresource: str = "",
    ) -> Object:
        """GET an object."""
        query = (("resourceVersion", resource_version),) if resource_version is not None else ()
        return await self._call("GET", path_of(gvr, namespace, name, subresource), query)

    async def list(
        self,
        gvr: GroupVersionResource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        metric_selector: str = "",
        resource_version: str | None = None,
        limit: int = 0,
        continue_token: str = "",
    ) -> Object:
        """GET a collection: the List object; `metric_selector` is for the custom metrics API."""
        query = _query(
            labelSelector=label_selector,
            metricLabelSelector=metric_selector,
            fieldSelector=field_selector,
            limit=str(limit) if limit else "",
        )
        if continue_token:
            query += (("continue", continue_token),)
        elif resource_version is not None:
            query += (("resourceVersion", resource_version),)
        return await self._call("GET", path_of(gvr, namespace), query)

    async def create(
        self,
        gvr: GroupVersionResource,
        namespace: str,
        obj: Object,
        *,
        name: str = "",
        subresource: str = "",
        field_manager: str = "",
        dry_run: bool = False,
    ) -> Object:
        """POST an object (or, with `name` and `subresource`, to a subresource)."""
        query = ()
        if field_manager or dry_run:
            query = _query(fieldManager=field_manager, dryRun="All" if dry_run else "")
        return await self._call("POST", path_of(gvr, namespace, name, subresource), query, obj)

    async def update(
        self,
        gvr: GroupVersionResource,
        namespace: str,
        obj: Object,
        *,
        subresource: str = "",
        field_manager: str = "",
    ) -> Object:
        """PUT an object (or its `status`, `scale` ...)."""
        path = path_of(gvr, namespace, obj["metadata"]["name"], subresource)
        query = _query(fieldManager=field_manager) if field_manager else ()
        return await self._call("PUT", path, query, obj)

    async def patch(
        self,
        gvr: GroupVersionResource,
        namespace: str,
        name: str,
        patch: Any,
        *,
        patch_type: str = "strategic",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        """PATCH an object; `patch_type` is `strategic`, `merge`, `json` or `apply`."""
        query = ()
        if field_manager or force:
            query = _query(fieldManager=field_manager, force="true" if force else "")
        return await self._call(
            "PATCH",
            path_of(gvr, namespace, name, subresource),
            query,
            patch,
            content_type=PATCH_TYPES[patch_type],
        )

    async def delete(
        self,
        gvr: GroupVersionResource,
        namespace: str,
        name: str,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> Object:
        """DELETE an object, with preconditions if `uid` or `resource_version` is given."""
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation_policy is not None:
            options["propagationPolicy"] = propagation_policy
        preconditions: dict[str, Any] = {}
        if uid is not None:
            preconditions["uid"] = uid
        if resource_version is not None:
            preconditions["resourceVersion"] = resource_version
        if preconditions:
            options["preconditions"] = preconditions
        return await self._call("DELETE", path_of(gvr, namespace, name), (), options)

    async def delete_collection(
        self,
        gvr: GroupVersionResource,
        namespace: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        propagation_policy: str | None = None,
    ) -> Object:
        """DELETE a collection."""
        query = _query(labelSelector=label_selector, fieldSelector=field_selector)
        options: Object | None = None
        if propagation_policy is not None:
            options = {
                "kind": "DeleteOptions",
                "apiVersion": "v1",
                "propagationPolicy": propagation_policy,
            }
        return await self._call("DELETE", path_of(gvr, namespace), query, options)

    async def raw(
        self, method: str, path: str, body: Object | None = None, *, accept: str = ""
    ) -> Object:
        """Any other request that is answered with an object (discovery)."""
        return await self._call(method, path, (), body, accept=accept)

    async def watch(
        self,
        gvr: GroupVersionResource,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int | None = None,
        allow_bookmarks: bool = True,
    ) -> RemoteWatch:
        """Open a watch; its events come through the network, in order."""
        query = (
            ("watch", "true"),
            ("resourceVersion", resource_version),
            *_query(
                labelSelector=label_selector,
                fieldSelector=field_selector,
                allowWatchBookmarks="true" if allow_bookmarks else "",
                timeoutSeconds=str(timeout_seconds) if timeout_seconds else "",
            ),
        )
        request = Request(
            "GET", path_of(gvr, namespace), query, self._headers, user=self.user,
            client=self.process.name, host=self.process.host,
        )
        server_host = self.server_host
        if self._servers is None:
            answer = await self._send(request)
        else:
            answer, server_host = await self._balanced(self._servers, request)
        if isinstance(answer, Response):
            raise _refusal("GET", path_of(gvr, namespace), answer)
        self._watches += 1
        name = f"{self.process.name}/{gvr.resource}/{self._watches}"
        return RemoteWatch(self, answer, name, server_host)

    # -- inside -------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        query: tuple[tuple[str, str], ...] = (),
        obj: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "",
    ) -> Object:
        headers = self._headers
        if accept:
            headers = (headers[0], ("accept", accept))
        if obj is not None:
            headers = (*headers, ("content-type", content_type))
        answer = await self._send(Request(
            method, path, query, headers, obj=obj, user=self.user,
            client=self.process.name, host=self.process.host,
        ))
        assert isinstance(answer, Response)
        if answer.status >= 400:
            raise _refusal(method, path, answer)
        if answer.obj is None and answer.body:
            return json.loads(answer.body)
        return cast("Object", answer.obj)

    async def _send(self, request: Request) -> Response | WatchStream:
        if self._servers is not None:
            return (await self._balanced(self._servers, request))[0]
        if self._network.calm:
            return await self._handler.handle(request)
        return await self._to(self._handler, self.server_host, request)

    async def _balanced(
        self, servers: Servers, request: Request
    ) -> tuple[Response | WatchStream, str]:
        """The answer, and the host of the server that gave it."""
        for attempt in range(len(servers), 0, -1):
            server = servers.pick()
            try:
                return await self._to(server, server.host, request), server.host
            except ConnectionLost as lost:
                servers.failed(server)
                if lost.kind != "refused" or server.accepting or attempt == 1:
                    raise
        raise AssertionError("there is no server")

    async def _to(
        self, handler: Handler, server_host: str, request: Request
    ) -> Response | WatchStream:
        network, host = self._network, self.process.host
        if network.instant(host, server_host) and network.instant(server_host, host):
            return await handler.handle(request)
        return await self._with_timeout(self._through_network(handler, server_host, request))

    async def _through_network(
        self, handler: Handler, server_host: str, request: Request
    ) -> Response | WatchStream:
        host = self.process.host
        await self._network.transit(host, server_host)
        answer = await handler.handle(request)
        await self._network.transit(server_host, host)
        return answer

    async def _with_timeout(
        self, coro: Coroutine[Any, Any, Response | WatchStream]
    ) -> Response | WatchStream:
        task: Task[Any] = self.process.spawn(coro, name="request", daemon=True)
        if not await self.process.kernel.wait_any(task, timeout_ns=self.timeout_ns):
            task.cancel()
            raise ConnectionLost(
                "timeout",
                "net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
            )
        return task.result()

    def lost(self, server_host: str) -> None:
        """The server at that host is out of reach: where there are others, speak to them."""
        if self._servers is not None and self._servers.pick().host == server_host:
            self._servers.failed(self._servers.pick())

    @property
    def network(self) -> Network:
        """The network it goes through."""
        return self._network


class RemoteWatch:
    """A watch as its client sees it: later than the server sent it, in the same order."""

    __slots__ = ("_batch", "_client", "_name", "_server_host", "_stream", "_timed")

    def __init__(
        self, client: RESTClient, stream: WatchStream, name: str, server_host: str
    ) -> None:
        self._client = client
        self._server_host = server_host
        self._stream = stream
        # Told by its method: to ask for the protocol takes longer than to open the watch.
        self._timed = cast("TimedStream", stream) if hasattr(stream, "arrived") else None
        self._name = name
        self._batch = 0

    async def next(self) -> list[WatchEvent]:
        """The events that have arrived since the last call, at least one; [] when it has ended.

        Raises: `ConnectionLost` when the way has been cut for longer than a connection lives.
        """
        client, stream = self._client, self._stream
        kernel = client.process.kernel
        events: list[WatchEvent] = []
        if self._timed is not None and client.watch_latency_ns[1]:
            if not await self._timed.arrived(self._transit_ns):
                return []
        else:
            first = await stream.next()
            if first is None:
                return []
            events.append(first)
            if client.watch_latency_ns[1]:
                await kernel.sleep(self._draw_ns())
        while (event := stream.next_nowait()) is not None:
            events.append(event)
        network, server, host = client.network, self._server_host, client.process.host
        if not network.calm and not network.instant(server, host):
            arrival = client.process.spawn(network.transit(server, host), name="watch", daemon=True)
            if not await kernel.wait_any(arrival, timeout_ns=CONNECTION_LOST_NS, periodic=True):
                arrival.cancel()
                stream.close()
                client.lost(server)
                raise ConnectionLost("timeout", "http2: client connection lost")
        return events

    def _draw_ns(self) -> int:
        """How long the next batch is under way, by the client's clock."""
        self._batch += 1
        low, high = self._client.watch_latency_ns
        rng = self._client.process.kernel.rng
        return rng.between_ns(low, high, "watch", self._name, self._batch)

    def _transit_ns(self) -> int:
        return self._client.process.true_ns(self._draw_ns())

    def close(self) -> None:
        """End it."""
        self._stream.close()


def _refusal(method: str, path: str, answer: Response) -> status.APIStatus:
    """The error of an answer: the Status in it, or what client-go makes of a plain text."""
    if answer.obj is not None:
        return status.from_object(answer.obj)
    text = answer.encoded().decode("utf-8", "replace").strip()
    if text.startswith("{") and '"Status"' in text:
        # Another API server's answer comes as it was written.
        with suppress(ValueError):
            found: Object = json.loads(text)
            if found.get("kind") == "Status":
                return status.from_object(found)
    parts = path.split("/")[2:]
    group = "" if path.startswith("/api/") else parts.pop(0)
    parts = parts[1:]
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    resource = GroupResource(group, parts[0] if parts else "")
    name = parts[1] if len(parts) > 1 else ""
    return status.new_generic_server_response(
        answer.status, method, resource, name, text, is_unexpected_response=True
    )


def _query(**pairs: str) -> tuple[tuple[str, str], ...]:
    return tuple((k, v) for k, v in pairs.items() if v)
