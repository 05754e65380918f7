"""What one API server serves for definitions: kept in step with etcd, as an informer would.

A definition that changes is heard of at once: its resources are made anew, those who watched it are
cut off where what they saw may look different now, and the controllers get its name.

The law: everything here can be made again from etcd; a restarted server does so.

Follows `crdHandler` of `apiextensions-apiserver/pkg/apiserver/customresource_handler.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery.meta import GroupResource, Object
from pytest_kubesim.apiserver.apiextensions import resources
from pytest_kubesim.apiserver.apiextensions.conditions import (
    ESTABLISHED,
    NAMES_ACCEPTED,
    TERMINATING,
    is_true,
)
from pytest_kubesim.apiserver.apiextensions.controllers import Controllers
from pytest_kubesim.apiserver.apiextensions.conversion import converter

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.apiextensions.coercion import Schemas
    from pytest_kubesim.apiserver.apiextensions.conversion import Convert
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.etcd.messages import KeyValue, WatchResponse
    from pytest_kubesim.registry.rest import Resource


@attrs.frozen(eq=False)
class Served:
    """A definition, and what is served for it."""

    crd: Object
    schemas: Schemas
    by_version: Mapping[str, Resource]
    """The resources of all versions that are served or stored."""
    warnings: Mapping[str, str]
    convert: Convert


class Serving:
    """The definitions that one life of an API server knows."""

    def __init__(self, server: APIServer) -> None:
        self._server = server
        self.crds: dict[str, Object] = {}
        """The definitions by name, as they are now."""
        self._served: dict[str, Served] = {}
        self._by_resource: dict[GroupResource, Served] = {}
        self.controllers = Controllers(server, self)

    def begin(self, found: Iterable[KeyValue]) -> None:
        """Serve what is in etcd as the process starts, and nothing else."""
        for resource in self._server.catalog.custom():
            self._server.catalog.remove(resource)
        for kv in found:
            self._put(_with_version(kv))

    def heard(self, response: WatchResponse) -> None:
        """Definitions were written or deleted."""
        for event in response.events:
            if event.type == "DELETE":
                self._gone(event.kv.key.rpartition("/")[2])
            else:
                self._put(_with_version(event.kv))

    def of(self, resource: Resource) -> Served | None:
        """What is served beside a custom resource."""
        return self._by_resource.get(resource.group_resource)

    def served(self, name: str) -> Served | None:
        """What is served for a definition, by its name."""
        return self._served.get(name)

    # -- changes ------------------------------------------------------------------------------

    def _put(self, crd: Object) -> None:
        name: str = crd["metadata"]["name"]
        old = self.crds.get(name)
        self.crds[name] = crd
        serves = is_true(crd, NAMES_ACCEPTED) or is_true(crd, ESTABLISHED)
        served = self._served.get(name)
        if serves and (served is None or _looks_different(crd, served.crd)):
            self._serve(name, crd, served)
        elif served is not None and not serves:
            self._stop_serving(name)
        elif served is not None:
            self._remember(name, attrs.evolve(served, crd=crd))
        self.controllers.changed(crd, old)

    def _gone(self, name: str) -> None:
        old = self.crds.pop(name, None)
        self._stop_serving(name)
        if old is not None:
            self.controllers.deleted(old)

    def _remember(self, name: str, served: Served) -> None:
        self._served[name] = served
        for resource in served.by_version.values():
            self._by_resource[resource.group_resource] = served

    def _serve(self, name: str, crd: Object, before: Served | None) -> None:
        server, catalog = self._server, self._server.catalog
        schemas = resources.schemas_of(crd)
        convert = converter(server, crd)
        made = {each.version: each for each in resources.resources_of(crd, schemas, convert)}
        if before is not None:
            for resource in before.by_version.values():
                if _storage_differs(crd, before.crd):
                    server.close_watches(resource)
                else:
                    server.forget(resource)
                catalog.remove(resource)
        shown = {v["name"] for v in crd["spec"]["versions"] if v["served"]}
        for version, resource in made.items():
            if version in shown:
                catalog.add(resource)
        warnings = resources.deprecation_warnings(crd)
        self._remember(name, Served(crd, schemas, made, warnings, convert))

    def _stop_serving(self, name: str) -> None:
        served = self._served.pop(name, None)
        if served is None:
            return
        for resource in served.by_version.values():
            self._server.close_watches(resource)
            self._server.catalog.remove(resource)
            self._by_resource.pop(resource.group_resource, None)


def _with_version(kv: KeyValue) -> Object:
    value: Object = kv.value
    metadata: dict[str, Any] = {**value["metadata"], "resourceVersion": str(kv.mod_revision)}
    return {**value, "metadata": metadata}


def _storage_differs(new: Object, old: Object) -> bool:
    """Whether upstream would tear the storage down: watches end then."""
    return new["spec"] != old["spec"] or _accepted(new) != _accepted(old)


def _accepted(crd: Object) -> Object:
    return crd["status"]["acceptedNames"]


def _looks_different(new: Object, old: Object) -> bool:
    return _storage_differs(new, old) or is_true(new, TERMINATING) != is_true(old, TERMINATING)
