"""Who owns which fields: `apimachinery.managedfields` with what a request and its kind say.

Follows `endpoints/handlers/fieldmanager` and `managerOrUserAgent` of `handlers/create.go`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import fieldpath
from pytest_kubesim.apimachinery.golang import is_print
from pytest_kubesim.apimachinery.managedfields import fieldmanager
from pytest_kubesim.apimachinery.managedfields.updater import MissingVersion
from pytest_kubesim.apimachinery.meta import parse_api_version
from pytest_kubesim.apiserver import apiextensions

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.fieldpath import Filter
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.registry.rest import Resource, Strategy

_MAX_BYTES = 128


@functools.lru_cache(1024)
def from_user_agent(user_agent: str) -> str:
    """The manager of a client that names none: the first word of its `User-Agent`."""
    found, size = "", 0
    for character in user_agent.partition("/")[0]:
        if not is_print(character):
            continue
        size += len(character.encode())
        if size > _MAX_BYTES:
            break
        found += character
    return found


def manager_of(scope: RequestScope, options: Mapping[str, Any]) -> str:
    """The field manager of a write."""
    return options.get("fieldManager") or from_user_agent(scope.request.header("user-agent"))


@functools.lru_cache(512)
def _resets(strategy: Strategy, api_version: str) -> Mapping[str, Filter]:
    if not strategy.reset_fields:
        return {}
    paths = [".".join(path) for path in strategy.reset_fields]
    return {api_version: fieldpath.excluding(fieldpath.of_fields(*paths))}


def update(
    scope: RequestScope,
    live: Object | None,
    new: Object,
    *,
    manager: str,
    strategy: Strategy,
    subresource: str = "",
) -> Object:
    """The new object with the managed fields of a create, update or patch.

    Both objects are in the version of the request.
    """
    resource = scope.served
    return fieldmanager.update(
        live,
        new,
        schema=resource.schema,
        manager=manager,
        api_version=resource.api_version,
        now=scope.context.now,
        subresource=subresource,
        reset_fields=_resets(strategy, resource.api_version),
        convert=_converter(scope, resource),
    )


def apply(
    scope: RequestScope,
    live: Object | None,
    applied: Object,
    *,
    manager: str,
    force: bool,
    strategy: Strategy,
    subresource: str = "",
) -> Object:
    """The live object with a configuration applied.  Raises `APIStatus` (400, 409, 500)."""
    resource = scope.served
    return fieldmanager.apply(
        live,
        applied,
        schema=resource.schema,
        manager=manager,
        force=force,
        api_version=resource.api_version,
        kind=resource.kind,
        now=scope.context.now,
        subresource=subresource,
        reset_fields=_resets(strategy, resource.api_version),
        convert=_converter(scope, resource),
    )


def _custom_converter(scope: RequestScope, resource: Resource) -> Any:
    """The same for a custom resource: versions that are not served count too."""
    served = apiextensions.state_of(scope.server).of(resource)
    assert served is not None
    schemas, change = served.schemas.by_version, served.convert

    def convert(obj: Object, api_version: str) -> Any:
        group, version = parse_api_version(api_version)
        if group != resource.group or version not in schemas:
            raise MissingVersion(api_version)
        return fieldmanager.versioned(schemas[version], change(obj, api_version))

    return convert


def _converter(scope: RequestScope, resource: Resource) -> Any:
    """How objects come into other versions of their kind; None where there is only one."""
    catalog = scope.server.catalog
    if resource.custom:
        return _custom_converter(scope, resource)
    if len(catalog.versions(resource.group)) < 2 and not resource.conversion:
        return None

    def convert(obj: Object, api_version: str) -> Any:
        group, version = parse_api_version(api_version)
        target = catalog.by_resource(group, version, resource.plural)
        if target is None:
            raise MissingVersion(api_version)
        stored = resource.conversion.to_storage(obj) if resource.conversion else obj
        found = target.conversion.from_storage(stored) if target.conversion else stored
        if found.get("apiVersion") != api_version:
            found = {**found, "apiVersion": api_version}
        return fieldmanager.versioned(target.schema, found)

    return convert
