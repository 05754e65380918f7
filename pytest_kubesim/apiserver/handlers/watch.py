"""GET of a collection that goes on: events as they come.

Follows `handlers/{get,watch}.go` and `storage/cacher/cacher.go` (`Watch`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import protobuf, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apiserver import negotiation, responses, table
from pytest_kubesim.apiserver.handlers import selection
from pytest_kubesim.apiserver.options import list_options
from pytest_kubesim.apiserver.storage.errors import plain
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import WatchEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.apiserver.options import ListOptions
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.storage.watch import CacheWatcher
    from pytest_kubesim.apiserver.store import Store

MIN_REQUEST_TIMEOUT_NS = 1800 * NS
"""How long a watch lasts at least whose client says nothing (`--min-request-timeout`)."""


async def watch(scope: RequestScope) -> CacheWatcher:
    """Open a watch.  Raises `APIStatus`."""
    if scope.output.media_type == negotiation.YAML:
        raise status.new_not_acceptable(negotiation.BUILT_IN)
    if "watch" not in scope.served.verbs:
        raise status.new_method_not_supported(scope.served.group_resource, "watch")
    options = list_options(scope, forced_watch=scope.info.legacy_watch)
    selection.check_fields(scope, options)
    options = selection.with_name(scope, options)
    server = scope.server
    store = server.store(scope.served)
    convert = _converter(scope, store)
    since = _revision(options)
    selected = selection.select(store, scope.namespace, options)
    cacher = server.view(scope, store)
    await server.started(cacher)
    initial = bool(options.send_initial_events) or (
        options.send_initial_events is None and options.resource_version in ("", "0")
    )
    if options.send_initial_events and not options.resource_version and not cacher.holding:
        await cacher.wait_until_fresh(await store.storage.current_revision())
    elif options.send_initial_events and since:
        await cacher.wait_until_fresh(since)
    elif not initial and not since:
        since = cacher.revision
    watcher = cacher.watch(
        since=since,
        trigger=selected.trigger,
        matches=selected.matches,
        prefix=selected.prefix,
        bookmarks=options.bookmarks,
        initial_events=initial,
        mark_end=bool(options.send_initial_events) and options.bookmarks,
    )
    binary = scope.output.media_type == negotiation.PROTOBUF and not scope.output.kind
    watcher.shape(
        convert,
        _protobuf_frame if binary else None,
        f"{negotiation.PROTOBUF};stream=watch" if binary else negotiation.JSON,
        responses.warning_headers(scope.warnings),
    )
    watcher.expires_at(server.kernel.now_ns + _timeout_ns(scope, options))
    server.opened(watcher)
    for listener in server.on_watch:
        listener(scope, watcher)
    return watcher


def _protobuf_frame(event: WatchEvent) -> bytes:
    return protobuf.encode_event(event.type, event.object)


def _revision(options: ListOptions) -> int:
    version = options.resource_version
    if not version:
        return 0
    if not (version.isascii() and version.isdigit()):
        problem = f"strconv.ParseUint: parsing {quote(version)}: invalid syntax"
        raise plain(f"resourceVersion: Invalid value: {quote(version)}: {problem}")
    return int(version)


def _timeout_ns(scope: RequestScope, options: ListOptions) -> int:
    if options.timeout_seconds:
        return options.timeout_seconds * NS
    kernel = scope.server.kernel
    return MIN_REQUEST_TIMEOUT_NS + kernel.rng.below(
        MIN_REQUEST_TIMEOUT_NS,
        "watch-timeout",
        scope.request.client,
        scope.info.path,
        kernel.now_ns,
    )


def _converter(scope: RequestScope, store: Store) -> Callable[[WatchEvent], WatchEvent] | None:
    turned = table.event_transform(scope)
    if store.resource.conversion is None:
        return turned
    served = store.served
    api_version = store.resource.api_version

    def converted(event: WatchEvent) -> WatchEvent:
        obj = event.object
        if event.type == "BOOKMARK":
            obj = {**obj, "apiVersion": api_version}
        elif event.type != "ERROR":
            obj = served(obj)
        event = WatchEvent(event.type, obj, event.revision)
        return event if turned is None else turned(event)

    return converted
