"""The catalog: which kinds a cluster serves, each as a `Resource`.

Built-in kinds come from the generated discovery data, and each is made when it is first asked for:
only then is its file `registry/<group>/<kind>.py` imported, which contributes its `KIND`.  Custom
kinds are added and removed while the cluster runs.

The law: a `Resource` never changes.  A custom kind that changes is another `Resource`.

Follows `pkg/controlplane/instance.go` (what is served) and
`pkg/kubeapiserver/default_storage_factory_builder.go` (where it is stored).
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping

from pytest_kubesim.apimachinery.meta import (
    GroupResource,
    GroupVersion,
    GroupVersionKind,
    parse_api_version,
)
from pytest_kubesim.apimachinery.schema import schema_named
from pytest_kubesim.data import load
from pytest_kubesim.registry.rest import Kind, Resource, Subresource

FOLDERS: Mapping[str, str] = {
    "": "core",
    "rbac.authorization.k8s.io": "rbac",
    "storage.k8s.io": "storage",
    "networking.k8s.io": "networking",
    "discovery.k8s.io": "discovery",
    "coordination.k8s.io": "coordination",
    "scheduling.k8s.io": "scheduling",
    "node.k8s.io": "node",
    "admissionregistration.k8s.io": "admissionregistration",
    "apiextensions.k8s.io": "apiextensions",
    "certificates.k8s.io": "certificates",
    "events.k8s.io": "events",
    "resource.k8s.io": "resource",
    "flowcontrol.apiserver.k8s.io": "flowcontrol",
    "authentication.k8s.io": "authentication",
    "authorization.k8s.io": "authorization",
    "storagemigration.k8s.io": "storagemigration",
    "internal.apiserver.k8s.io": "internal_apiserver",
    "apiregistration.k8s.io": "apiregistration",
}
"""The folder of a group in `registry/`; a group that is not here has a folder of its own name."""

_PREFIXES: Mapping[GroupResource, str] = {
    GroupResource("", "replicationcontrollers"): "controllers",
    GroupResource("", "endpoints"): "services/endpoints",
    GroupResource("", "nodes"): "minions",
    GroupResource("", "services"): "services/specs",
    GroupResource("networking.k8s.io", "ingresses"): "ingress",
    GroupResource("events.k8s.io", "events"): "events",
    GroupResource("apiregistration.k8s.io", "apiservices"): "apiregistration.k8s.io/apiservices",
    GroupResource(
        "apiextensions.k8s.io", "customresourcedefinitions"
    ): "apiextensions.k8s.io/customresourcedefinitions",
}

_RETURNS_DELETED = frozenset(
    {
        *(
            GroupResource("", plural)
            for plural in (
                "namespaces",
                "persistentvolumeclaims",
                "persistentvolumes",
                "pods",
                "podtemplates",
                "resourcequotas",
                "serviceaccounts",
                "services",
            )
        ),
        *(
            GroupResource("resource.k8s.io", plural)
            for plural in (
                "deviceclasses",
                "resourceclaims",
                "resourceclaimtemplates",
                "resourceslices",
            )
        ),
        *(
            GroupResource("storage.k8s.io", plural)
            for plural in (
                "csidrivers",
                "csinodes",
                "storageclasses",
                "volumeattachments",
                "volumeattributesclasses",
            )
        ),
    }
)
"""Those whose store upstream has `ReturnDeletedObject: true`."""



def _is_older_taint_rule(name: GroupResource, version: str) -> bool:
    """Of the kinds of its group, one has its store do so only in the versions before `v1`."""
    return name == GroupResource("resource.k8s.io", "devicetaintrules") and version != "v1"


_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(kind: str) -> str:
    """`PersistentVolumeClaim` as `persistent_volume_claim`, `CSIDriver` as `csi_driver`."""
    return _WORD.sub("_", kind).lower()


def storage_prefix(group: str, plural: str) -> str:
    """Where the objects of a built-in resource lie in etcd, without a slash at the end."""
    return f"/registry/{_PREFIXES.get(GroupResource(group, plural), plural)}"


@functools.cache
def kind_of(group: str, kind: str) -> Kind:
    """What the file of a built-in kind says of it; the base `Kind` where there is no file."""
    folder = FOLDERS.get(group, group)
    name = f"pytest_kubesim.registry.{folder}.{snake_case(kind)}"
    try:
        if importlib.util.find_spec(name) is None:
            return Kind()
    except ModuleNotFoundError:
        return Kind()
    found: Kind = importlib.import_module(name).KIND
    return found


class Catalog:
    """The resources of one cluster.

    `version` is that of Kubernetes; without `built_in` kinds it holds what is added, as that of an
    API server beside the cluster's.
    """

    def __init__(self, version: str = load.LATEST, *, built_in: bool = True) -> None:
        self.version = version
        self.built_in = built_in
        self.generation = 0
        """Raised by every `add` and `remove`: what was derived from the catalog is stale then."""
        self._infos = _infos(version) if built_in else {}
        self._kinds = _kinds(version) if built_in else {}
        self._built = _built(version) if built_in else {}
        self._custom: dict[tuple[str, str, str], Resource] = {}
        self._version_lists: dict[str, list[str]] | None = None

    # -- looking up ---------------------------------------------------------------------------

    def by_resource(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource with that plural name, or None."""
        key = (group, version, plural)
        found = self._built.get(key)
        if found is None:
            info = self._infos.get(key)
            if info is None:
                return self._custom.get(key)
            found = self._built[key] = _build(info)
        return found

    def by_kind(self, gvk: GroupVersionKind) -> Resource | None:
        """The resource whose objects have that kind, or None."""
        info = self._kinds.get(gvk)
        if info is not None:
            return self.by_resource(info.group, info.version, info.plural)
        for resource in self._custom.values():
            if resource.gvk == gvk:
                return resource
        return None

    def storage_resource(self, resource: Resource) -> Resource:
        """The resource in the version in which objects are stored (itself, if it is that)."""
        group, version = parse_api_version(resource.storage_version)
        if (group, version) == (resource.group, resource.version):
            return resource
        return self.by_resource(group, version, resource.plural) or resource

    def of(self, group: str, plural: str) -> Resource | None:
        """The resource of a group in its preferred version, or None."""
        for version in self.versions(group):
            found = self.by_resource(group, version, plural)
            if found is not None:
                return found
        return None

    # -- going through ------------------------------------------------------------------------

    def groups(self) -> list[str]:
        """The API groups in the order of discovery, the core group "" first, custom ones last."""
        return list(self._versions())

    def versions(self, group: str) -> list[str]:
        """The versions of a group, the preferred one first; [] if it is not served."""
        return self._versions().get(group, [])

    def infos(self, group: str, version: str) -> list[load.ResourceInfo]:
        """What discovery says of the built-in resources of a group version, by name."""
        return [info for (g, v, _), info in self._infos.items() if (g, v) == (group, version)]

    def custom(self, group: str = "", version: str = "") -> list[Resource]:
        """The custom resources, of one group version if given, by name."""
        return [
            resource
            for (g, v, _), resource in sorted(self._custom.items())
            if not version or (g, v) == (group, version)
        ]

    def __iter__(self) -> Iterator[Resource]:
        for key in self._infos:
            found = self.by_resource(*key)
            assert found is not None
            yield found
        yield from self.custom()

    # -- custom resources ---------------------------------------------------------------------

    def add(self, resource: Resource) -> None:
        """Serve a custom resource in one version, in place of what was served by its name."""
        self._custom[resource.group, resource.version, resource.plural] = resource
        self.generation += 1
        self._version_lists = None

    def remove(self, resource: Resource) -> None:
        """Serve a custom resource in that version no longer."""
        self._custom.pop((resource.group, resource.version, resource.plural), None)
        self.generation += 1
        self._version_lists = None

    def _versions(self) -> dict[str, list[str]]:
        if self._version_lists is not None:
            return self._version_lists
        known = _groups(self.version) if self.built_in else {}
        found = {name: list(versions) for name, versions in known.items()}
        custom: dict[str, set[str]] = {}
        for group, version, _ in self._custom:
            custom.setdefault(group, set()).add(version)
        for group in sorted(custom):
            known = found.setdefault(group, [])
            known += sorted(custom[group] - set(known), key=version_priority)
        self._version_lists = found
        return found


_VERSION = re.compile(r"v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?")


def version_priority(version: str) -> tuple[int, int, int, str]:
    """A key that sorts versions as Kubernetes prefers them: v2, v1, v1beta2, v1alpha1, others.

    Follows `apimachinery/pkg/version/helpers.go`.
    """
    found = _VERSION.fullmatch(version)
    if found is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (stage, -int(found[1]), -int(found[3] or 0), "")


@functools.cache
def _infos(version: str) -> dict[tuple[str, str, str], load.ResourceInfo]:
    return {(info.group, info.version, info.plural): info for info in load.resources(version)}


@functools.cache
def _built(version: str) -> dict[tuple[str, str, str], Resource]:
    """The built-in resources that somebody has asked for: alike for all clusters of a version."""
    del version
    return {}


@functools.cache
def _kinds(version: str) -> dict[GroupVersionKind, load.ResourceInfo]:
    return {
        GroupVersionKind(info.group, info.version, info.kind): info
        for info in load.resources(version)
    }


@functools.cache
def _served(version: str, plural: str) -> frozenset[GroupVersion]:
    return frozenset(GroupVersion(g, v) for g, v, name in _infos(version) if name == plural)


@functools.cache
def _groups(version: str) -> dict[str, tuple[str, ...]]:
    return {info.name: info.versions for info in load.groups(version)}


@functools.cache
def _build(info: load.ResourceInfo) -> Resource:
    kind = kind_of(info.group, info.kind)
    stored = info.storage_version or info.api_version
    if parse_api_version(stored) not in _served(load.LATEST, info.plural):
        # Stored in a version that is not served: it has the same shape, so nothing is lost by
        # storing the served one.
        stored = info.api_version
    own = info.api_version == stored
    if not own:
        # One file describes a kind that two groups serve (events) where the other has none.
        other = parse_api_version(stored).group
        if other != info.group and kind.strategy is Kind().strategy:
            kind = kind_of(other, info.kind)
    name = GroupResource(info.group, info.plural)
    return Resource(
        group=info.group,
        version=info.version,
        kind=info.kind,
        plural=info.plural,
        singular=info.singular,
        namespaced=info.namespaced,
        verbs=info.verbs,
        schema=schema_named(info.schema_name) if info.schema_name else None,
        strategy=kind.strategy,
        list_kind=f"{info.kind}List",
        short_names=info.short_names,
        categories=info.categories,
        status_strategy=kind.status,
        other_strategies=kind.others,
        subresources={
            sub.name: Subresource(
                sub.name, GroupVersionKind(sub.group, sub.version, sub.kind), sub.verbs
            )
            for sub in info.subresources
        },
        storage_prefix=storage_prefix(info.group, info.plural),
        storage_version=stored,
        conversion=None if own else kind.conversions.get(info.version),
        printer=kind.printer,
        scale=kind.scale,
        returns_deleted=name in _RETURNS_DELETED or _is_older_taint_rule(name, info.version),
        decode_stored=kind.decode_stored,
    )
