"""Kinds that a body may name: those that are decoded, though no path here serves them.

The law: a kind that the scheme knows is decoded, and then it is of the wrong kind or version; one
that it does not know is refused unread.

Follows `pkg/api/legacyscheme` with what `k8s.io/api/*/*/register.go` puts into it, and
`meta/v1/register.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.meta import GroupVersionKind

if TYPE_CHECKING:
    from pytest_kubesim.registry.generic import Catalog

_META = frozenset({
    "WatchEvent", "ListOptions", "GetOptions", "DeleteOptions", "CreateOptions", "UpdateOptions",
    "PatchOptions",
})  # fmt: skip
"""What every group and version knows."""

_CORE = frozenset({
    "Status", "APIVersions", "APIGroup", "APIGroupList", "APIResourceList", "List", "PodLogOptions",
    "PodExecOptions", "PodAttachOptions", "PodPortForwardOptions", "PodProxyOptions",
    "NodeProxyOptions", "ServiceProxyOptions", "SerializedReference", "RangeAllocation",
})  # fmt: skip

_OLD: dict[str, str] = {
    "admissionregistration.k8s.io/v1alpha1": "ValidatingAdmissionPolicy "
    "ValidatingAdmissionPolicyBinding MutatingAdmissionPolicy MutatingAdmissionPolicyBinding",
    "admissionregistration.k8s.io/v1beta1": "ValidatingWebhookConfiguration "
    "MutatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding "
    "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding",
    "apps/v1beta1": "Deployment StatefulSet ControllerRevision Scale",
    "apps/v1beta2": "Deployment StatefulSet DaemonSet ReplicaSet ControllerRevision Scale",
    "authentication.k8s.io/v1": "TokenRequest",
    "authentication.k8s.io/v1alpha1": "SelfSubjectReview",
    "authentication.k8s.io/v1beta1": "SelfSubjectReview TokenReview",
    "authorization.k8s.io/v1beta1": "SelfSubjectRulesReview SelfSubjectAccessReview "
    "SubjectAccessReview LocalSubjectAccessReview",
    "autoscaling/v1": "Scale",
    "batch/v1beta1": "CronJob",
    "certificates.k8s.io/v1": "ClusterTrustBundle PodCertificateRequest",
    "certificates.k8s.io/v1alpha1": "ClusterTrustBundle",
    "certificates.k8s.io/v1beta1": "CertificateSigningRequest ClusterTrustBundle "
    "PodCertificateRequest",
    "coordination.k8s.io/v1alpha2": "LeaseCandidate",
    "coordination.k8s.io/v1beta1": "Lease LeaseCandidate",
    "discovery.k8s.io/v1beta1": "EndpointSlice",
    "events.k8s.io/v1beta1": "Event",
    "extensions/v1beta1": "Deployment DaemonSet ReplicaSet Ingress NetworkPolicy Scale",
    "flowcontrol.apiserver.k8s.io/v1beta1": "FlowSchema PriorityLevelConfiguration",
    "flowcontrol.apiserver.k8s.io/v1beta2": "FlowSchema PriorityLevelConfiguration",
    "flowcontrol.apiserver.k8s.io/v1beta3": "FlowSchema PriorityLevelConfiguration",
    "networking.k8s.io/v1beta1": "Ingress IngressClass IPAddress ServiceCIDR",
    "node.k8s.io/v1alpha1": "RuntimeClass",
    "node.k8s.io/v1beta1": "RuntimeClass",
    "policy/v1": "Eviction",
    "policy/v1beta1": "PodDisruptionBudget Eviction",
    "rbac.authorization.k8s.io/v1alpha1": "Role RoleBinding ClusterRole ClusterRoleBinding",
    "rbac.authorization.k8s.io/v1beta1": "Role RoleBinding ClusterRole ClusterRoleBinding",
    "resource.k8s.io/v1alpha3": "DeviceTaintRule ResourcePoolStatusRequest",
    "resource.k8s.io/v1beta1": "DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice",
    "resource.k8s.io/v1beta2": "DeviceClass DeviceTaintRule ResourceClaim ResourceClaimTemplate "
    "ResourceSlice",
    "scheduling.k8s.io/v1alpha3": "Workload PodGroup CompositePodGroup",
    "scheduling.k8s.io/v1beta1": "PriorityClass Workload PodGroup",
    "storage.k8s.io/v1alpha1": "VolumeAttachment CSIStorageCapacity VolumeAttributesClass",
    "storage.k8s.io/v1beta1": "StorageClass VolumeAttachment CSIDriver CSINode CSIStorageCapacity "
    "VolumeAttributesClass",
    "storagemigration.k8s.io/v1beta1": "StorageVersionMigration",
}  # fmt: skip
"""Versions that are no longer, or not yet, served: read all the same."""

_PACKAGES = {"": "core", "events.k8s.io": "core", "rbac.authorization.k8s.io": "rbac"}
_OF_EXTENSIONS = {"Ingress": "networking", "NetworkPolicy": "networking", "Scale": "autoscaling"}


def other_versions() -> frozenset[str]:
    """The versions that no path serves, and that are read all the same."""
    return frozenset(_OLD)


def package(group: str, kind: str = "") -> str:
    """The Go package of a kind's internal type."""
    if group == "extensions":
        return _OF_EXTENSIONS.get(kind, "apps")
    if kind == "Scale":
        return "autoscaling"
    return _PACKAGES.get(group) or group.partition(".")[0]


def is_known(catalog: Catalog, gvk: GroupVersionKind) -> bool:
    """Whether the scheme of built-in kinds can decode a kind."""
    group, version, kind = gvk
    if _is_object_kind(catalog, gvk):
        return True
    api_version = f"{group}/{version}" if group else version
    if kind.endswith("List"):
        item = GroupVersionKind(group, version, kind.removesuffix("List"))
        if _is_object_kind(catalog, item):
            return True
    if api_version == "v1" and kind in _CORE:
        return True
    return kind in _META and (api_version in _OLD or bool(catalog.infos(group, version)))


def _is_object_kind(catalog: Catalog, gvk: GroupVersionKind) -> bool:
    found = catalog.by_kind(gvk)
    if found is not None:
        return not found.custom
    group, version, kind = gvk
    return kind in _OLD.get(f"{group}/{version}", "").split()


def problem(catalog: Catalog, gvk: GroupVersionKind, wanted: GroupVersionKind, scheme: str) -> str:
    """Why an object of the kind `gvk` is none of the kind `wanted`; "" if only versions differ."""
    group, version, kind = gvk
    if not is_known(catalog, gvk):
        api_version = f"{group}/{version}" if group else version
        return f'no kind "{kind}" is registered for version "{api_version}" in {scheme}'
    of_wanted = package(wanted.group, wanted.kind)
    if kind == wanted.kind and package(group, kind) == of_wanted:
        return ""
    return f"converting ({version}.{kind}) to ({of_wanted}.{wanted.kind}): unknown conversion"
