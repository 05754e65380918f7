"""What a test means by `"deployment/web"`, `"pods"`, `"deploy.apps/web"`, `"svc"`.

As kubectl reads it: plural, singular, short name or kind, with `.group` or `.version.group` behind
it where that is needed, and `/name` for one object.  Of several groups that have the name, the
first in the order of discovery is meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery.meta import GroupVersionResource
from pytest_kubesim.errors import UsageError, suggestion

if TYPE_CHECKING:
    from pytest_kubesim.data.load import ResourceInfo
    from pytest_kubesim.registry.generic import Catalog
    from pytest_kubesim.registry.rest import Resource


@attrs.frozen(slots=True)
class Reference:
    """A resource, and the name of one object of it if the text had one."""

    resource: Resource
    name: str | None

    def __str__(self) -> str:
        return f"{self.resource.singular}/{self.name}" if self.name else self.resource.plural


class Names:
    """The names under which the resources of a catalog are known."""

    __slots__ = ("_generation", "_index", "catalog")

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._generation = -1
        self._index: dict[str, list[GroupVersionResource]] = {}

    def parse(self, text: str) -> Reference:
        """The resource and name that `text` means.

        Raises: `UsageError` with the nearest names when no kind of that name is served.
        """
        if not isinstance(text, str) or not text:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"{text!r} names no resource; write 'pods' or 'deployment/web'")
        kind, slash, name = text.partition("/")
        if slash and not name:
            raise UsageError(f"{text!r} has no name behind the slash; leave the slash out for all")
        return Reference(self.resource(kind), name or None)

    def resource(self, text: str) -> Resource:
        """The resource that `text` (without a slash) means."""
        index = self._names()
        wanted, _, rest = text.lower().partition(".")
        for gvr in index.get(wanted, ()):
            if not rest or rest in (gvr.group, f"{gvr.version}.{gvr.group}", f"{gvr.version}."):
                found = self.catalog.by_resource(*gvr)
                if found is not None:
                    return found
        hint = suggestion(wanted, sorted(index)) or "check the spelling. "
        raise UsageError(
            f"the cluster serves no resource {text!r}; {hint}(A custom resource is served once "
            "its CustomResourceDefinition has been applied.)"
        )

    def knows(self, plural: str) -> bool:
        """Whether a resource of that plural name is served."""
        return any(gvr.resource == plural for gvr in self._names().get(plural, ()))

    def plurals(self) -> list[str]:
        """The plural names of all resources that are served."""
        return sorted({gvr.resource for known in self._names().values() for gvr in known})

    def plural_of(self, text: str) -> str | None:
        """The plural name of what is served under that name, kind or short name."""
        known = self._names().get(text.lower())
        return known[0].resource if known else None

    def subresources(self, plural: str | None) -> set[str]:
        """The subresources of all resources of that plural name; of all there are."""
        found: set[str] = set()
        for group in self.catalog.groups():
            for version in self.catalog.versions(group):
                for info in self.catalog.infos(group, version):
                    if plural in (None, info.plural):
                        found.update(sub.name for sub in info.subresources)
                for resource in self.catalog.custom(group, version):
                    if plural in (None, resource.plural):
                        found.update(resource.subresources)
        return found

    def _names(self) -> dict[str, list[GroupVersionResource]]:
        catalog = self.catalog
        if self._generation != catalog.generation:
            self._generation = catalog.generation
            self._index = {}
            for group in catalog.groups():
                for version in catalog.versions(group):
                    known: list[ResourceInfo | Resource] = [
                        *catalog.infos(group, version),
                        *catalog.custom(group, version),
                    ]
                    for info in known:
                        if "get" in info.verbs or "create" in info.verbs:
                            self._enter(info)
        return self._index

    def _enter(self, info: ResourceInfo | Resource) -> None:
        gvr = GroupVersionResource(info.group, info.version, info.plural)
        names = (info.plural, info.singular, info.kind.lower(), *info.short_names)
        for name in dict.fromkeys(names):
            self._index.setdefault(name, []).append(gvr)
