"""A definition on its way out takes its objects with it.

Follows `apiextensions-apiserver/pkg/controller/finalizer/crd_finalizer.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apiserver.apiextensions.conditions import (
    CLEANUP_FINALIZER,
    ESTABLISHED,
    FALSE,
    TERMINATING,
    TRUE,
    condition,
    is_true,
    storage_version,
    with_condition,
)
from pytest_kubesim.apiserver.request_info import RequestInfo
from pytest_kubesim.apiserver.scope import RequestScope
from pytest_kubesim.apiserver.storage.errors import StorageError, interpret
from pytest_kubesim.etcd.messages import EtcdError
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import Request, UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.apiextensions.controllers import Controllers
    from pytest_kubesim.registry.rest import Resource

_LOOPBACK = UserInfo("system:apiserver", ("system:masters", "system:authenticated"))

POLL_NS = 5 * NS
TIMEOUT_NS = 60 * NS

_IN_PROGRESS = condition(
    TERMINATING, TRUE, "InstanceDeletionInProgress", "CustomResource deletion is in progress"
)
_COMPLETED = condition(TERMINATING, FALSE, "InstanceDeletionCompleted", "removed all instances")
_NEVER_ESTABLISHED = condition(
    TERMINATING, FALSE, "NeverEstablished", "resource was never established"
)


async def sync(controllers: Controllers, name: str) -> None:
    """Delete the objects of a definition, wait until they are gone, let it go.

    Raises `APIStatus` when they are still there after a minute; it is tried again then.
    """
    crd = controllers.crd(name)
    if crd is None or not crd["metadata"].get("deletionTimestamp"):
        return
    if CLEANUP_FINALIZER not in (crd["metadata"].get("finalizers") or ()):
        return
    crd = await controllers.update_status(with_condition(crd, _IN_PROGRESS, controllers.now))
    if crd is None:
        return
    if is_true(crd, ESTABLISHED):
        problem = await _delete_instances(controllers, crd)
        if problem is not None:
            found, error = problem
            await controllers.update_status(with_condition(crd, found, controllers.now))
            raise error
        crd = with_condition(crd, _COMPLETED, controllers.now)
    else:
        crd = with_condition(crd, _NEVER_ESTABLISHED, controllers.now)
    metadata: Object = crd["metadata"]
    kept = [each for each in metadata["finalizers"] if each != CLEANUP_FINALIZER]
    await controllers.update_status({**crd, "metadata": {**metadata, "finalizers": kept}})


async def _delete_instances(
    controllers: Controllers, crd: Object
) -> tuple[Object, APIStatus] | None:
    """Delete all objects; what is in the way, if they do not go."""
    served = controllers.serving.served(crd["metadata"]["name"])
    if served is None:
        return None
    store = _Instances(controllers, served.by_version[storage_version(crd)])
    try:
        namespaces = await store.namespaces()
    except APIStatus as error:
        text = f"could not list instances: {error.message}"
        return condition(TERMINATING, TRUE, "InstanceDeletionFailed", text), error
    for namespace in namespaces:
        try:
            await store.delete(namespace)
        except APIStatus as error:
            text = f"could not issue all deletes: {error.message}"
            return condition(TERMINATING, TRUE, "InstanceDeletionFailed", text), error
    kernel = controllers.server.kernel
    deadline_ns = kernel.now_ns + TIMEOUT_NS
    while await store.namespaces():
        if kernel.now_ns + POLL_NS > deadline_ns:
            error = APIStatus(500, "", "context deadline exceeded")
            text = f"could not confirm zero CustomResources remaining: {error.message}"
            return condition(TERMINATING, TRUE, "InstanceDeletionCheck", text), error
        await kernel.sleep(POLL_NS)
    return None


class _Instances:
    """The objects of a definition: reached in the store, as upstream does, whatever is served."""

    def __init__(self, controllers: Controllers, resource: Resource) -> None:
        self._server = controllers.server
        self._resource = resource

    async def namespaces(self) -> list[str]:
        """Where there are objects ("" for those of the cluster)."""
        found = {meta.namespace(item): None for item in await self._all()}
        return list(found)

    async def delete(self, namespace: str) -> None:
        """Delete all objects of a namespace."""
        server, resource = self._server, self._resource
        request = Request("DELETE", "/", user=_LOOPBACK, client=server.process.name)
        for item in await self._all():
            if meta.namespace(item) != namespace:
                continue
            scope = RequestScope(
                server,
                request,
                RequestInfo("/", "deletecollection"),
                user=_LOOPBACK,
                resource=resource,
                namespace=namespace,
                name=meta.name(item),
            )
            try:
                await server.delete_object(scope, scope.name, {}, _allow)
            except APIStatus as error:
                if not status.is_not_found(error):
                    raise

    async def _all(self) -> list[Object]:
        store = self._server.store(self._resource)
        try:
            return (await store.storage.list(self._resource.storage_prefix)).items
        except (StorageError, EtcdError) as error:
            raise interpret(error, store.name, "", "list") from None


async def _allow(obj: Object) -> None:
    """Nobody is asked whether the objects of a definition may go."""
    del obj
