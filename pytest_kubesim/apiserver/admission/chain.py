"""Admission: what may change or refuse an object between decoding and storing.

A plugin is a file `plugins/<name>.py` with a module constant `PLUGIN`, an object of class `Plugin`.
The law: mutating plugins run in the order of `ORDER`, each given what the one before made of the
object; validating ones run in the same order once the object is complete.  A plugin refuses by
raising `APIStatus`; `forbidden` words it as upstream does.

Follows `apiserver/pkg/admission` and `pkg/kubeapiserver/options/plugins.go` (the order).
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import (
    GroupResource,
    GroupVersionKind,
    GroupVersionResource,
)
from pytest_kubesim.registry.generic import snake_case

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.status import APIStatus
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.wire import UserInfo

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"

_NAMESPACES = GroupResource("", "namespaces")

ORDER = (
    "AlwaysAdmit",
    "NamespaceAutoProvision",
    "NamespaceLifecycle",
    "NamespaceExists",
    "LimitPodHardAntiAffinityTopology",
    "LimitRanger",
    "ServiceAccount",
    "NodeRestriction",
    "TaintNodesByCondition",
    "AlwaysPullImages",
    "ImagePolicyWebhook",
    "PodSecurity",
    "PodNodeSelector",
    "Priority",
    "DefaultTolerationSeconds",
    "PodTolerationRestriction",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "DefaultStorageClass",
    "StorageObjectInUseProtection",
    "PodGroupProtection",
    "OwnerReferencesPermissionEnforcement",
    "PersistentVolumeClaimResize",
    "RuntimeClass",
    "CertificateApproval",
    "CertificateSigning",
    "ClusterTrustBundleAttest",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "DenyServiceExternalIPs",
    "PodTopologyLabels",
    "NodeDeclaredFeatureValidator",
    "PodResizeValidator",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
    "ResourceQuota",
    "AlwaysDeny",
)
"""All plugins in the order in which they run (`AllOrderedPlugins`)."""

DEFAULT_ON = (
    "NamespaceLifecycle",
    "LimitRanger",
    "ServiceAccount",
    "TaintNodesByCondition",
    "PodSecurity",
    "Priority",
    "DefaultTolerationSeconds",
    "DefaultStorageClass",
    "StorageObjectInUseProtection",
    "PodGroupProtection",
    "PersistentVolumeClaimResize",
    "RuntimeClass",
    "CertificateApproval",
    "CertificateSigning",
    "ClusterTrustBundleAttest",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "PodTopologyLabels",
    "NodeDeclaredFeatureValidator",
    "PodResizeValidator",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
    "ResourceQuota",
)
"""Those that are on unless told otherwise (`DefaultOffAdmissionPlugins`, inverted)."""


UNCONFIGURED = {
    "EventRateLimit": (
        "limits: Invalid value: null: must not be empty (a configuration file is not simulated)"
    ),
    "ImagePolicyWebhook": (
        "it needs a configuration file, which is not simulated; take a validating webhook"
    ),
}
"""The plugins that cannot be without `--admission-control-config-file`, and why."""


class Reinvocation(msgspec.Struct, eq=False):
    """What mutating plugins tell each other of a second round (`ReinvocationContext`)."""

    is_reinvoke: bool = False
    should_reinvoke: bool = False
    values: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """What a plugin keeps between the rounds, by its name."""


class Attributes(msgspec.Struct, frozen=True, eq=False):
    """What is being done: to which resource, by whom, with which options (`admission.Attributes`).

    `obj` is None in deletions, `old` in creations.  Both are in the version that is stored.
    """

    scope: RequestScope
    operation: str
    kind: GroupVersionKind
    resource: GroupVersionResource
    subresource: str
    namespace: str
    name: str
    user: UserInfo
    options: Mapping[str, Any]
    dry_run: bool
    obj: Object | None = None
    old: Object | None = None
    reinvocation: Reinvocation = msgspec.field(default_factory=Reinvocation)

    @property
    def server(self) -> APIServer:
        """The API server that asks."""
        return self.scope.server


class Plugin:
    """An admission plugin; override what it does.  One instance serves a process."""

    operations: tuple[str, ...] = (CREATE, UPDATE)
    """The operations that it wants to hear of (`Handles`)."""
    resources: frozenset[GroupResource] | None = None
    """The resources that it has to do with, whatever their subresource; None: any."""
    configured_by: GroupResource | None = None
    """It does nothing as long as there is no object of this resource."""

    def started(self, server: APIServer) -> None:
        """The API server has started; keep what belongs to it in `server.state`."""

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """The object as the plugin wants it; raises to refuse.  `obj` is None in deletions."""
        del attributes
        return obj

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Raises to refuse."""


class Chain:
    """The plugins of one API server, in order.

    The law: who says that a request cannot concern it is not asked; who is asked, and in which
    order, is worked out once for an operation on a resource.
    """

    def __init__(self, plugins: Iterable[tuple[str, Plugin]]) -> None:
        self.plugins = tuple(plugins)
        self._concerned: dict[tuple[str, GroupVersionResource], _Concerned] = {}

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """What the mutating plugins make of the object, in a second round if one asks for it."""
        mutating = self._of(attributes.operation, attributes.resource).mutating
        obj = await _admitted(mutating, attributes, obj)
        reinvocation = attributes.reinvocation
        if reinvocation.should_reinvoke:
            reinvocation.is_reinvoke = True
            obj = await _admitted(mutating, attributes, obj)
        return obj

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Asks the validating plugins."""
        reader = attributes.scope.server.reader
        for plugin in self._of(attributes.operation, attributes.resource).validating:
            if plugin.configured_by is None or reader.list(plugin.configured_by):
                await plugin.validate(attributes, obj)

    def _of(self, operation: str, resource: GroupVersionResource) -> _Concerned:
        found = self._concerned.get((operation, resource))
        if found is None:
            heard = [
                plugin
                for _, plugin in self.plugins
                if operation in plugin.operations
                and (plugin.resources is None or resource.group_resource in plugin.resources)
            ]
            found = self._concerned[operation, resource] = _Concerned(
                tuple(p for p in heard if type(p).admit is not Plugin.admit),
                tuple(p for p in heard if type(p).validate is not Plugin.validate),
            )
        return found


class _Concerned(NamedTuple):
    """The plugins that an operation on a resource may concern."""

    mutating: tuple[Plugin, ...]
    validating: tuple[Plugin, ...]


async def _admitted(
    plugins: tuple[Plugin, ...], attributes: Attributes, obj: Object | None
) -> Object | None:
    reader = attributes.scope.server.reader
    for plugin in plugins:
        if plugin.configured_by is None or reader.list(plugin.configured_by):
            obj = await plugin.admit(attributes, obj)
    return obj


_FILES = {"DenyServiceExternalIPs": "deny_service_external_ips"}
"""Names that do not say their file by themselves."""


def chosen(enable: Iterable[str] = (), disable: Iterable[str] = ()) -> tuple[str, ...]:
    """The plugins that run when some are switched on and off besides the default, in order.

    Raises `ValueError`, in the words of kube-apiserver, for unknown names and for contradictions.
    """
    on, off = list(enable), list(disable)
    for option, names in (("enable", on), ("disable", off)):
        unknown = [name for name in names if name not in ORDER]
        if unknown:
            raise ValueError(
                f"{option}-admission-plugins plugin {quote(unknown[0])} is unknown; the plugins "
                f"are {', '.join(sorted(ORDER))}"
            )
    both = sorted(set(on) & set(off))
    if both:
        raise ValueError(
            f"[{' '.join(both)}] in enable-admission-plugins and disable-admission-plugins "
            "overlapped"
        )
    for name in on:
        if name in UNCONFIGURED:
            raise ValueError(f"couldn't init admission plugin {quote(name)}: {UNCONFIGURED[name]}")
    wanted = (set(DEFAULT_ON) | set(on)) - set(off)
    return tuple(name for name in ORDER if name in wanted)


def load(names: Iterable[str] = DEFAULT_ON) -> Chain:
    """The chain of those plugins that have a file here, in the order of `ORDER`."""
    wanted = set(names)
    found: list[tuple[str, Plugin]] = []
    for name in ORDER:
        if name not in wanted:
            continue
        file = _FILES.get(name) or snake_case(name)
        module = f"pytest_kubesim.apiserver.admission.plugins.{file}"
        if importlib.util.find_spec(module) is not None:
            found.append((name, importlib.import_module(module).PLUGIN))
    return Chain(found)


def attributes_for(
    scope: RequestScope,
    operation: str,
    options: Mapping[str, Any],
    *,
    obj: Object | None = None,
    old: Object | None = None,
    kind: GroupVersionKind | None = None,
) -> Attributes:
    """The attributes of the request in `scope`."""
    resource = scope.served
    namespace = scope.namespace
    if not namespace and resource.group_resource == _NAMESPACES:
        # Upstream takes a namespace to be in itself.
        namespace = scope.name
    return Attributes(
        scope,
        operation,
        kind or resource.gvk,
        resource.gvr,
        scope.subresource,
        namespace,
        scope.name,
        scope.user,
        options,
        bool(options.get("dryRun")),
        obj,
        old,
    )


def forbidden(attributes: Attributes, problem: object, *, name: str = "") -> APIStatus:
    """403 for an object, in the words of `admission.NewForbidden`."""
    name = name or attributes.name
    if not name and attributes.obj is not None:
        metadata: Any = attributes.obj.get("metadata") or {}
        name = metadata.get("name") or ""
        if not name and metadata.get("generateName"):
            name = metadata["generateName"]
    if not name:
        name = "Unknown"
    return status.new_forbidden(attributes.resource.group_resource, name, problem)
