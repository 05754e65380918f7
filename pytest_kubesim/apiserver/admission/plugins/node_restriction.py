"""NodeRestriction: a kubelet writes its own node and what runs there, nothing else.

The law: it concerns users `system:node:<name>` in the group `system:nodes`; all others pass.

Follows `plugin/pkg/admission/noderestriction/admission.go` and
`kubelet/pkg/apis/well_known_labels.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, labels
from pytest_kubesim.apiserver.admission import mirror_pods, node_tokens
from pytest_kubesim.apiserver.admission.chain import (
    CREATE,
    DELETE,
    UPDATE,
    Attributes,
    Plugin,
    forbidden,
)
from pytest_kubesim.registry import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_kubesim.apimachinery.meta import Object

PREFIX, GROUP = "system:node:", "system:nodes"
LEASES = "kube-node-lease"
RESTRICTED = "node-restriction.kubernetes.io"
KUBELET_LABELS = frozenset({
    "kubernetes.io/hostname", "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type", "kubernetes.io/os",
    "kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
})
KUBELET_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")

_PODS, _NODES = GroupResource("", "pods"), GroupResource("", "nodes")


class NodeRestriction(Plugin):
    """The plugin."""

    operations = (CREATE, UPDATE, DELETE)

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Refuses what is not a kubelet's."""
        user = attributes.user
        if not user.name.startswith(PREFIX) or GROUP not in user.groups:
            return obj
        node = user.name.removeprefix(PREFIX)
        if not node:
            raise forbidden(attributes, f"could not determine node from user {quote(user.name)}")
        resource = attributes.resource.group_resource
        if resource == GroupResource("", "serviceaccounts"):
            if attributes.operation == CREATE and attributes.subresource == "token":
                await node_tokens.check(attributes, obj or {}, node)
            return obj
        problem = _CHECKS.get(resource)
        if problem is not None and (text := problem(attributes, obj, node)):
            raise forbidden(attributes, text)
        return obj


def _pods(attributes: Attributes, obj: Object | None, node: str) -> str:
    if attributes.subresource == "status":
        return _pod_status(attributes, obj, node)
    if attributes.subresource == "eviction":
        if _node_of(_pod(attributes, attributes.name)) != node:
            return f"node {node} can only evict pods with spec.nodeName set to itself"
        return ""
    if attributes.subresource:
        return (
            f"unexpected pod subresource {quote(attributes.subresource)}, only 'status' and "
            "'eviction' are allowed"
        )
    if attributes.operation == DELETE:
        if _node_of(_pod(attributes, attributes.name)) != node:
            return f"node {quote(node)} can only delete pods with spec.nodeName set to itself"
        return ""
    if attributes.operation != CREATE or obj is None:
        return (
            f"unexpected operation {quote(attributes.operation)}, node {quote(node)} can only "
            "create and delete mirror pods"
        )
    return mirror_pods.problem(attributes, obj, node)


def _pod(attributes: Attributes, name: str) -> Object:
    found = attributes.server.reader.get(_PODS, attributes.namespace, name)
    if found is None:
        raise status.new_not_found(_PODS, name)
    return found


def _node_of(pod: Object) -> str:
    return parts.text(parts.spec(pod), "nodeName")


def _pod_status(attributes: Attributes, obj: Object | None, name: str) -> str:
    if attributes.operation != UPDATE or obj is None or attributes.old is None:
        return f"unexpected operation {quote(attributes.operation)}"
    node, old = quote(name), attributes.old
    if _node_of(old) != name:
        wanted = "pods with spec.nodeName set to itself"
        return f"node {node} can only update pod status for {wanted}"
    if labels(old) != labels(obj):
        return f"node {node} cannot update labels through pod status"
    for key, text in (
        ("resourceClaimStatuses", "resource claim statues"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
        ("nodeAllocatableResourceClaimStatuses", "node allocatable resource claim statuses"),
    ):
        if (parts.status(old).get(key) or None) != (parts.status(obj).get(key) or None):
            return f"node {node} cannot update {text}"
    return ""


def _nodes(attributes: Attributes, obj: Object | None, name: str) -> str:
    node = quote(name)
    requested = attributes.name
    if not requested and obj is not None:
        requested = parts.text(obj["metadata"], "name")
    if requested != name:
        return f"node {node} is not allowed to modify node {quote(requested)}"
    if obj is None:
        return ""
    if attributes.operation == CREATE:
        if parts.spec(obj).get("configSource") is not None:
            return f"node {node} is not allowed to create pods with a non-nil configSource"
        wrong = _forbidden_labels(labels(obj), {})
        text = f"node {node} is not allowed to set the following labels: {', '.join(wrong)}"
        return text if wrong else ""
    if attributes.operation != UPDATE or attributes.old is None:
        return ""
    old = attributes.old
    source = parts.spec(obj).get("configSource")
    if source is not None and source != parts.spec(old).get("configSource"):
        return f"node {node} is not allowed to update configSource to a new non-nil configSource"
    if parts.structs(parts.spec(obj), "taints") != parts.structs(parts.spec(old), "taints"):
        return f"node {node} is not allowed to modify taints"
    owners = (parts.structs(each["metadata"], "ownerReferences") for each in (obj, old))
    if next(owners) != next(owners):
        return f"node {node} is not allowed to modify ownerReferences"
    wrong = _forbidden_labels(labels(obj), labels(old))
    return f"is not allowed to modify labels: {', '.join(wrong)}" if wrong else ""


def _forbidden_labels(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """The labels that differ and that are no kubelet's to set, sorted."""
    changed = {key for key in {*new, *old} if new.get(key) != old.get(key)}
    return sorted(key for key in changed if _is_forbidden(key))


def _is_forbidden(key: str) -> bool:
    domain = key.split("/", 1)[0] if "/" in key else ""
    if _is_below(domain, RESTRICTED):
        return True
    if not (_is_below(domain, "kubernetes.io") or _is_below(domain, "k8s.io")):
        return False
    return key not in KUBELET_LABELS and not any(_is_below(domain, d) for d in KUBELET_DOMAINS)


def _is_below(domain: str, parent: str) -> bool:
    return domain == parent or domain.endswith(f".{parent}")


def _claims(attributes: Attributes, obj: Object | None, name: str) -> str:
    if attributes.subresource != "status":
        return "may only update PVC status"
    if attributes.operation != UPDATE or obj is None or attributes.old is None:
        return f"unexpected operation {quote(attributes.operation)}"
    if _claim(obj) != _claim(attributes.old):
        return (
            f"node {quote(name)} is not allowed to update fields other than status.quantity and "
            "status.conditions"
        )
    return ""


def _claim(obj: Object) -> Object:
    """A claim without what its kubelet may change."""
    without = ("capacity", "conditions", "allocatedResourceStatuses", "allocatedResources")
    told = {key: value for key, value in parts.status(obj).items() if key not in without}
    metadata: Object = obj["metadata"]
    kept = {k: v for k, v in metadata.items() if k not in ("resourceVersion", "managedFields")}
    return {**obj, "metadata": kept, "status": told}


def _own(what: str) -> Callable[[Attributes, Object | None, str], str]:
    """A check that an object has the node's name."""

    def check(attributes: Attributes, obj: Object | None, name: str) -> str:
        found = attributes.name
        if attributes.operation == CREATE and obj is not None:
            found = parts.text(obj["metadata"], "name")
        if found == name:
            return ""
        return f"can only access {what} with the same name as the requesting node"

    return check


def _leases(attributes: Attributes, obj: Object | None, name: str) -> str:
    if attributes.namespace != LEASES:
        return f"can only access leases in the {quote(LEASES)} system namespace"
    return _own("node lease")(attributes, obj, name)


def _slices(attributes: Attributes, obj: Object | None, name: str) -> str:
    found = obj if attributes.operation == CREATE else attributes.old
    if attributes.operation == UPDATE or found is None:
        return ""
    if parts.text(parts.spec(found), "nodeName") == name:
        return ""
    verb = "create" if attributes.operation == CREATE else "delete"
    return f"can only {verb} ResourceSlice with the same NodeName as the requesting node"


def _requests(attributes: Attributes, obj: Object | None, name: str) -> str:
    if attributes.operation != CREATE or obj is None:
        return ""
    spec = parts.spec(obj)
    if parts.text(spec, "signerName") not in (
        "kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"
    ):  # fmt: skip
        return ""
    if node_tokens.common_name(spec.get("request")) != f"{PREFIX}{name}":
        return f"can only create a node CSR with CN={PREFIX}{name}"
    return ""


_CHECKS: dict[GroupResource, Any] = {
    _PODS: _pods,
    _NODES: _nodes,
    GroupResource("", "persistentvolumeclaims"): _claims,
    GroupResource("coordination.k8s.io", "leases"): _leases,
    GroupResource("storage.k8s.io", "csinodes"): _own("CSINode"),
    GroupResource("resource.k8s.io", "resourceslices"): _slices,
    GroupResource("certificates.k8s.io", "certificatesigningrequests"): _requests,
}

PLUGIN = NodeRestriction()
