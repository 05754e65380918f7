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
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import status
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


@attrs.define
class Reinvocation:
    """What mutating plugins tell each other of a second round (`ReinvocationContext`)."""

    is_reinvoke: bool = False
    should_reinvoke: bool = False
    values: dict[str, Any] = attrs.field(factory=dict[str, Any])
    """What a plugin keeps between the rounds, by its name."""


@attrs.frozen(eq=False)
class Attributes:
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
    reinvocation: Reinvocation = attrs.field(factory=Reinvocation)

    @property
    def server(self) -> APIServer:
        """The API server that asks."""
        return self.scope.server


class Plugin:
    """An admission plugin; override what it does.  One instance serves a process."""

    operations: tuple[str, ...] = (CREATE, UPDATE)
    """The operations that it wants to hear of (`Handles`)."""

    def started(self, server: APIServer) -> None:
        """The API server has started; keep what belongs to it in `server.state`."""

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """The object as the plugin wants it; raises to refuse.  `obj` is None in deletions."""
        del attributes
        return obj

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Raises to refuse."""


class Chain:
    """The plugins of one API server, in order."""

    def __init__(self, plugins: Iterable[tuple[str, Plugin]]) -> None:
        self.plugins = tuple(plugins)
        self._mutating: dict[str, tuple[Plugin, ...]] = {}
        self._validating: dict[str, tuple[Plugin, ...]] = {}
        for operation in (CREATE, UPDATE, DELETE, CONNECT):
            heard = [p for _, p in self.plugins if operation in p.operations]
            self._mutating[operation] = tuple(p for p in heard if type(p).admit is not Plugin.admit)
            self._validating[operation] = tuple(
                p for p in heard if type(p).validate is not Plugin.validate
            )

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """What the mutating plugins make of the object, in a second round if one asks for it."""
        for plugin in self._mutating[attributes.operation]:
            obj = await plugin.admit(attributes, obj)
        reinvocation = attributes.reinvocation
        if reinvocation.should_reinvoke:
            reinvocation.is_reinvoke = True
            for plugin in self._mutating[attributes.operation]:
                obj = await plugin.admit(attributes, obj)
        return obj

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Asks the validating plugins."""
        for plugin in self._validating[attributes.operation]:
            await plugin.validate(attributes, obj)

    def validates(self, operation: str) -> bool:
        """Whether any plugin validates that operation."""
        return bool(self._validating[operation])


def load(names: Iterable[str] = DEFAULT_ON) -> Chain:
    """The chain of those plugins that have a file here, in the order of `ORDER`."""
    wanted = set(names)
    found: list[tuple[str, Plugin]] = []
    for name in ORDER:
        if name not in wanted:
            continue
        module = f"pytest_kubesim.apiserver.admission.plugins.{snake_case(name)}"
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
