"""GET of a collection.

::

    resourceVersion   match          is answered from
    (none)                           the cache, once it is as new as etcd
    0                                the cache as it is
    n                                the cache, once it has come to n
    n                 Exact          etcd, at n
    any limit, any continue token    etcd

Follows `handlers/get.go` (`ListResource`) and `storage/cacher/{delegator,cacher}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apiserver import responses
from pytest_kubesim.apiserver.handlers import selection
from pytest_kubesim.apiserver.options import EXACT, list_options
from pytest_kubesim.apiserver.storage import continue_token
from pytest_kubesim.apiserver.storage.errors import EtcdError, StorageError, interpret
from pytest_kubesim.apiserver.storage.etcd3 import Listed

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.handlers.selection import Selection
    from pytest_kubesim.apiserver.options import ListOptions
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.store import Store
    from pytest_kubesim.wire import Response


async def list_(scope: RequestScope) -> Response:
    """Read a collection.  Raises `APIStatus`."""
    options = list_options(scope)
    selection.check_fields(scope, options)
    store = scope.server.store(scope.served)
    return responses.answer(scope, 200, await listed(scope, store, options))


async def listed(scope: RequestScope, store: Store, options: ListOptions) -> Object:
    """The List object for those options.  Raises `APIStatus`."""
    selected = selection.select(store, scope.namespace, options)
    _check(options, selected)
    try:
        if options.limit or options.continue_ or options.match == EXACT:
            found = await _from_etcd(store, options, selected)
        else:
            found = await _from_cache(scope, store, options, selected)
    except (StorageError, EtcdError) as error:
        raise interpret(error, store.name, "", "list") from None
    metadata: Object = {"resourceVersion": str(found.revision)}
    if found.continue_:
        metadata["continue"] = found.continue_
    if found.remaining is not None:
        metadata["remainingItemCount"] = found.remaining
    resource = store.resource
    if resource.custom:
        # Lists of them are maps upstream, in which this is set though it is empty.
        metadata.setdefault("continue", "")
    strategy = store.strategy
    return {
        "kind": resource.list_kind,
        "apiVersion": resource.api_version,
        "metadata": metadata,
        "items": [store.served(strategy.decorate(obj)) for obj in found.items],
    }


def _check(options: ListOptions, selected: Selection) -> None:
    version = options.resource_version
    if options.continue_ and not selected.name and version not in ("", "0"):
        continue_token.checked(options.continue_, selected.prefix)
        raise status.new_bad_request(
            "specifying resource version is not allowed when using continue"
        )
    if version and not (version.isascii() and version.isdigit()):
        problem = f"strconv.ParseUint: parsing {quote(version)}: invalid syntax"
        raise status.new_bad_request(
            f"invalid resource version: resourceVersion: Invalid value: {quote(version)}: {problem}"
        )


async def _from_etcd(store: Store, options: ListOptions, selected: Selection) -> Listed:
    storage = store.storage
    version = int(options.resource_version or 0)
    exact = version if options.match == EXACT else 0
    token = options.continue_
    if selected.name:
        return await storage.list(
            selected.prefix, recursive=False, matches=selected.matches, revision=exact
        )
    if not options.match and options.limit:
        exact = version
    return await storage.list(
        selected.prefix[:-1],
        matches=selected.matches,
        limit=options.limit,
        token=token,
        revision=exact,
        at_least=0 if exact else version,
    )


async def _from_cache(
    scope: RequestScope, store: Store, options: ListOptions, selected: Selection
) -> Listed:
    cacher, storage = store.server.view(scope, store), store.storage
    await store.server.started(cacher)
    wanted = int(options.resource_version or 0)
    if not options.resource_version:
        wanted = await storage.current_revision()
        if cacher.holding and cacher.revision < wanted:
            # A cache that is kept behind does not serve consistent reads: etcd does.
            return await _from_etcd(store, options, selected)
    if wanted:
        try:
            await cacher.wait_until_fresh(wanted)
        except status.APIStatus:
            if options.resource_version:
                raise
            # A cache that is too far behind for a consistent read: etcd answers (`delegator.go`).
            return await _from_etcd(store, options, selected)
    if selected.name:
        found = cacher.objects.get(selected.prefix)
        objects = [] if found is None else [found]
    else:
        trigger = selected.trigger[1] if selected.trigger[0] == "trigger" else None
        objects = cacher.list(selected.prefix, trigger)
    if selected.matches is not None:
        objects = list(filter(selected.matches, objects))
    return Listed(objects, max(cacher.revision, wanted) if not cacher.holding else cacher.revision)
