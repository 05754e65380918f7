"""The scale of a custom resource: its numbers are where the definition says.

Follows `ScaleREST` of `apiextensions-apiserver/pkg/registry/customresource/etcd.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apiserver import apiextensions
from pytest_kubesim.apiserver.apiextensions.places import is_absent, nested, replicas_at, string_at
from pytest_kubesim.apiserver.storage.errors import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_kubesim.apimachinery.fieldpath import Path
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.registry.rest import Resource

NOT_SET = -(2**31)
"""Stands for replicas that are not set, while a scale is changed."""


def dotted(path: tuple[str, ...] | None) -> str:
    """A path as a definition writes it."""
    return f".{'.'.join(path)}" if path else ""


def of_parent(resource: Resource, obj: Object) -> tuple[Object, bool]:
    """The scale of an object, and whether its replicas are set.  Raises `APIStatus` (500)."""
    where = resource.scale
    assert where is not None
    wanted, problem = replicas_at(obj, dotted(where.spec_replicas))
    present, wrong = replicas_at(obj, dotted(where.status_replicas))
    selector, unreadable = string_at(obj, dotted(where.selector)) if where.selector else ("", "")
    if problem := problem or wrong or unreadable:
        raise plain(problem)
    metadata: Object = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    scale: Object = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept if metadata.get(key)},
        "spec": {"replicas": wanted} if wanted else {},
        "status": {"replicas": present or 0},
    }
    if selector:
        scale["status"]["selector"] = selector
    return scale, wanted is not None


def read(resource: Resource, obj: Object) -> Object:
    """The scale that a client asks for.  Raises `APIStatus` (500) where no replicas are set."""
    scale, found = of_parent(resource, obj)
    if not found:
        assert resource.scale is not None
        path = quote(dotted(resource.scale.spec_replicas))
        problem = ValueError(f"the spec replicas field {path} does not exist")
        raise status.new_internal_error(problem)
    return scale


def to_change(resource: Resource, obj: Object) -> Object:
    """The scale as a change begins with it."""
    scale, found = of_parent(resource, obj)
    return scale if found else {**scale, "spec": {"replicas": NOT_SET}}


def check(resource: Resource, obj: Object, replicas: int) -> None:
    """Raises `APIStatus` (400, 500) where the replicas cannot be written into the object."""
    assert resource.scale is not None
    path = resource.scale.spec_replicas
    if replicas == NOT_SET:
        text = f"the spec replicas field {quote(dotted(path))} cannot be empty"
        raise status.new_bad_request(text)
    for depth in range(1, len(path)):
        above, problem = nested(obj, dotted(path[:depth]))
        if problem or not (is_absent(above) or isinstance(above, dict)):
            shown = dotted(path[:depth])
            raise plain(f"value cannot be set because {shown} is not a map[string]interface{{}}")


def mappings(server: APIServer, resource: Resource) -> Mapping[str, Path | None]:
    """Where the replicas are, by version."""
    served = apiextensions.state_of(server).of(resource)
    versions = served.by_version.values() if served is not None else (resource,)
    return {
        each.api_version: tuple(f"f:{name}" for name in each.scale.spec_replicas)
        if each.scale is not None
        else None
        for each in versions
    }
