"""What create, update and patch have in common on the way from a decoded object to the store.

Follows the closures that `handlers/{create,update,patch}.go` hand to the registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apiserver import apiextensions
from pytest_kubesim.apiserver.admission import chain
from pytest_kubesim.apiserver.filters.authorization import Attributes as AccessAttributes
from pytest_kubesim.apiserver.filters.authorization import forbidden

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.apimachinery.meta import GroupVersionKind, Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.store import Validate
    from pytest_kubesim.registry.rest import Strategy

_DUPLICATES = (
    ".metadata.ownerReferences contains duplicate entries{}; API server dedups owner references in "
    "1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate "
    "UID(s) observed: {}"
)


def strategy_of(scope: RequestScope) -> Strategy:
    """The hooks for the endpoint that is asked: the kind's own, or those of a subresource."""
    resource = scope.served
    subresource = scope.subresource
    if not subresource:
        return resource.strategy
    if subresource == "status":
        return scope.server.status_strategy(resource)
    return resource.other_strategies.get(subresource) or resource.strategy


def dedup_owners(scope: RequestScope, obj: Object, *, after_admission: bool) -> Object:
    """The object with each owner reference once; a warning where one stood twice."""
    metadata: Object = obj.get("metadata") or {}
    references: list[Object] = metadata.get("ownerReferences") or []
    if len(references) < 2:
        return obj
    kept: list[Object] = []
    duplicates: list[str] = []
    for reference in references:
        if reference in kept:
            duplicates.append(reference.get("uid") or "")
        else:
            kept.append(reference)
    if not duplicates:
        return obj
    where = " after mutating admission happens" if after_admission else ""
    scope.warn(_DUPLICATES.format(where, ", ".join(duplicates)))
    return {**obj, "metadata": {**metadata, "ownerReferences": kept}}


async def admit(
    scope: RequestScope,
    options: dict[str, Any],
    obj: Object,
    old: Object | None,
    *,
    kind: GroupVersionKind | None = None,
) -> Object:
    """What mutating admission makes of the object to store.  Raises `APIStatus`."""
    operation = chain.CREATE if old is None else chain.UPDATE
    if old is None and scope.served.custom:
        apiextensions.check_creatable(scope.server, scope.served, scope.name)
    attributes = chain.attributes_for(scope, operation, options, obj=obj, old=old, kind=kind)
    admitted = await scope.server.admission.admit(attributes, obj)
    assert admitted is not None
    return dedup_owners(scope, admitted, after_admission=True)


def validator(
    scope: RequestScope,
    options: dict[str, Any],
    *,
    authorize_create: bool = False,
    kind: GroupVersionKind | None = None,
) -> Validate:
    """Validating admission of the object about to be stored.

    `authorize_create`: an update or patch that creates needs the right to create as well.
    """

    async def validate(obj: Object, old: Object | None) -> None:
        if old is None and authorize_create:
            await _may_create(scope)
        operation = chain.CREATE if old is None else chain.UPDATE
        attributes = chain.attributes_for(scope, operation, options, obj=obj, old=old, kind=kind)
        await scope.server.admission.validate(attributes, obj)

    return validate


async def _may_create(scope: RequestScope) -> None:
    attributes = AccessAttributes.of(scope, verb="create")
    decision, reason = await scope.server.authorize(attributes)
    if decision != "allow":
        raise forbidden(attributes, reason)


def delete_validator(scope: RequestScope, options: dict[str, Any]) -> Callable[[Object], Any]:
    """Admission of a deletion, mutating plugins first."""

    async def validate(old: Object) -> None:
        admission = scope.server.admission
        attributes = chain.attributes_for(scope, chain.DELETE, options, old=old)
        await admission.admit(attributes, None)
        await admission.validate(attributes, None)

    return validate


def check_name(obj: Object, name: str, namespace: str) -> None:
    """Raises `APIStatus` (400) where the object is not the one that the path names."""
    metadata: Object = obj.get("metadata") or {}
    found = metadata.get("name") or ""
    if not found:
        raise status.new_bad_request(
            f"the name of the object ({name} based on URL) was undeterminable: "
            "name must be provided"
        )
    if found != name:
        raise status.new_bad_request(
            f"the name of the object ({found}) does not match the name on the URL ({name})"
        )
    where = metadata.get("namespace") or ""
    if namespace and where and where != namespace:
        raise status.new_bad_request(
            f"the namespace of the object ({where}) does not match the namespace on the request "
            f"({namespace})"
        )
