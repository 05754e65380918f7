"""The Node authorizer: a kubelet may do what concerns its node and the pods that are bound to it.

The law: it only adds rights, and only for users `system:node:<name>` in the group `system:nodes`.
What relates an object to a node is looked up in the pods of the node as they are now, instead of in
a graph kept beside them; what a pod refers to does not change while it lives, so it is found once.

Follows `plugin/pkg/auth/authorizer/node/{node_authorizer,graph}.go` and `NodeRules` of
`plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, Object
from pytest_kubesim.apiserver.pod_references import PodReferences
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.rbac import rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_kubesim.apiserver.filters.authorization import Attributes, Decision
    from pytest_kubesim.apiserver.server import APIServer

_Answer: TypeAlias = tuple["Decision", str]
PREFIX = "system:node:"
NODES = "system:nodes"
LEASES = "kube-node-lease"
_ALLOW: _Answer = ("allow", "")
_SILENT: _Answer = ("no-opinion", "")
_CHANGES = ("get", "create", "update", "patch", "delete")
_READ = ["get", "list", "watch"]


def _rule(verbs: list[str], groups: list[str], *resources: str) -> Object:
    return {"verbs": verbs, "apiGroups": groups, "resources": list(resources)}


RULES: tuple[Object, ...] = (
    _rule(["create"], ["authentication.k8s.io"], "tokenreviews"),
    _rule(
        ["create"], ["authorization.k8s.io"], "subjectaccessreviews", "localsubjectaccessreviews"
    ),
    _rule(_READ, [""], "services"),
    _rule(["create", "update", "patch"], ["", "events.k8s.io"], "events"),
    _rule(["get"], [""], "endpoints"),
    _rule(["create", *_READ], ["certificates.k8s.io"], "certificatesigningrequests"),
    _rule(_READ, ["storage.k8s.io"], "csidrivers"),
    _rule(_READ, ["node.k8s.io"], "runtimeclasses"),
    _rule(_READ, ["certificates.k8s.io"], "clustertrustbundles"),
)
"""What all nodes may do alike: of upstream's rules those that are not looked at more closely."""

_PODS = GroupResource("", "pods")
_VOLUMES = GroupResource("", "persistentvolumes")


def node_of(attributes: Attributes) -> str | None:
    """The name of the node that asks; None if no node does (`NodeIdentity`)."""
    user = attributes.user
    if user.name.startswith(PREFIX) and NODES in user.groups:
        return user.name.removeprefix(PREFIX)
    return None


class NodeAuthorizer:
    """Decides for the kubelets of one API server."""

    name = "node"

    def __init__(self, server: APIServer) -> None:
        self._server = server
        self._references = PodReferences()

    async def authorize(self, attributes: Attributes) -> _Answer:
        """Whether it concerns the node that asks; no opinion of others."""
        node = node_of(attributes)
        if node is None:
            return _SILENT
        if not node:
            return "no-opinion", f"unknown node for user {quote(attributes.user.name)}"
        if attributes.is_resource:
            decide = _BY_RESOURCE.get((attributes.group, attributes.resource))
            if decide is not None:
                return decide(self, node, attributes)
        for rule in RULES:
            if attributes.is_resource and rules.matches_resource(
                rule,
                attributes.verb,
                attributes.group,
                attributes.resource,
                attributes.subresource,
            ):
                return _ALLOW
        return _SILENT

    # -- objects that pods refer to -------------------------------------------------------------

    def read(self, node: str, attributes: Attributes) -> _Answer:
        """Secrets and config maps: single ones, of pods of the node."""
        if attributes.verb not in _READ:
            return "no-opinion", "can only read resources of this type"
        if attributes.subresource:
            return "no-opinion", "cannot read subresource"
        if not attributes.namespace:
            return "no-opinion", "can only read namespaced object of this type"
        return self.related(node, attributes)

    def claim(self, node: str, attributes: Attributes) -> _Answer:
        """PersistentVolumeClaims: to read, and their status to write."""
        if attributes.subresource != "status":
            return self.get(node, attributes)
        if attributes.verb not in ("update", "patch"):
            return "no-opinion", "can only get/update/patch this type"
        return self.related(node, attributes)

    def get(self, node: str, attributes: Attributes) -> _Answer:
        """What may be read one by one."""
        if attributes.verb != "get":
            return "no-opinion", "can only get individual resources of this type"
        if attributes.subresource:
            return "no-opinion", "cannot get subresource"
        return self.related(node, attributes)

    def related(self, node: str, attributes: Attributes) -> _Answer:
        """Whether something leads from the object to the node."""
        if not attributes.name:
            return "no-opinion", "No Object name found"
        if self._leads_to(node, attributes):
            return _ALLOW
        return "no-opinion", f"no relationship found between node '{node}' and this object"

    def _leads_to(self, node: str, attributes: Attributes) -> bool:
        resource, name, namespace = attributes.resource, attributes.name, attributes.namespace
        reader = self._server.reader
        if resource == "pods":
            pod = reader.get(_PODS, namespace, name)
            return pod is not None and parts.spec(pod).get("nodeName") == node
        if resource in _NAMED_BY_SPEC:
            obj = reader.get(GroupResource(attributes.group, resource), namespace, name)
            return obj is not None and parts.spec(obj).get("nodeName") == node
        if resource == "persistentvolumes":
            claim = parts.struct(parts.spec(reader.get(_VOLUMES, "", name)), "claimRef")
            namespace, name = parts.text(claim, "namespace"), parts.text(claim, "name")
            resource = "persistentvolumeclaims"
        wanted = (resource, name)
        return any(wanted in self._references.of(pod) for pod in self._pods_of(node, namespace))

    def _pods_of(self, node: str, namespace: str) -> list[Object]:
        server = self._server
        pods = server.catalog.by_resource("", "v1", "pods")
        assert pods is not None
        cacher = server.cacher(pods)
        if cacher.ready:
            return cacher.list(f"{cacher.storage.prefix}/{namespace}/", node)
        found = server.reader.list(_PODS, namespace)
        return [pod for pod in found if parts.spec(pod).get("nodeName") == node]

    # -- what is the node's own -----------------------------------------------------------------

    def service_account(self, node: str, attributes: Attributes) -> _Answer:
        """Service accounts of pods of the node, and tokens for them."""
        if attributes.verb == "get" and not attributes.subresource:
            return self.read(node, attributes)
        if attributes.verb != "create" or not attributes.name:
            return "no-opinion", "can only create tokens for individual service accounts"
        if attributes.subresource != "token":
            return "no-opinion", "can only create token subresource of serviceaccount"
        return self.related(node, attributes)

    def lease(self, node: str, attributes: Attributes) -> _Answer:
        """The lease of the node."""
        verb = attributes.verb
        if verb not in _CHANGES:
            text = "can only get, create, update, patch, or delete a node lease"
            return "no-opinion", text
        if attributes.namespace != LEASES:
            text = f"can only access leases in the {quote(LEASES)} system namespace"
            return "no-opinion", text
        if verb != "create" and attributes.name != node:
            text = "can only access node lease with the same name as the requesting node"
            return "no-opinion", text
        return _ALLOW

    def csi_node(self, node: str, attributes: Attributes) -> _Answer:
        """The CSINode of the node."""
        verb, subresource = attributes.verb, attributes.subresource
        if subresource == "status":
            return "no-opinion", "CSINode status access requires CSIVolumeHealth feature"
        if subresource:
            return "no-opinion", "cannot authorize CSINode subresources"
        if verb not in _CHANGES:
            return "no-opinion", "can only get, create, update, patch, or delete a CSINode"
        if verb != "create" and attributes.name != node:
            text = "can only access CSINode with the same name as the requesting node"
            return "no-opinion", text
        return _ALLOW

    def node(self, node: str, attributes: Attributes) -> _Answer:
        """The Node object; that it is the node's own when it is written, admission sees to."""
        verb, name = attributes.verb, attributes.name
        if attributes.subresource == "status":
            return _ALLOW if verb in ("update", "patch") else _SILENT
        if attributes.subresource:
            return _SILENT
        if verb in ("create", "update", "patch"):
            return _ALLOW
        if verb not in _READ:
            return _SILENT
        if name == node:
            return _ALLOW
        if not name:
            text = f"node '{node}' cannot read all nodes, only its own Node object"
            return "no-opinion", text
        text = f"node '{node}' cannot read '{name}', only its own Node object"
        return "no-opinion", text

    def pod(self, node: str, attributes: Attributes) -> _Answer:
        """The pods of the node."""
        verb = attributes.verb
        if attributes.subresource == "status":
            return _ALLOW if verb in ("update", "patch") else _SILENT
        if attributes.subresource == "eviction":
            return _ALLOW if verb == "create" else _SILENT
        if attributes.subresource:
            return _SILENT
        if verb == "get":
            return self.get(node, attributes)
        if verb in ("create", "delete"):
            return _ALLOW
        if verb not in ("list", "watch"):
            return _SILENT
        if _selects_node(attributes, "spec.nodeName", node):
            return _ALLOW
        if attributes.name:
            return self.related(node, attributes)
        return "no-opinion", "can only list/watch pods with spec.nodeName field selector"

    def resource_slice(self, node: str, attributes: Attributes) -> _Answer:
        """The devices of the node."""
        verb = attributes.verb
        if attributes.subresource:
            return "no-opinion", "cannot authorize ResourceSlice subresources"
        if verb == "create":
            return _ALLOW
        if verb in ("get", "update", "patch", "delete"):
            return self.related(node, attributes)
        if verb in ("watch", "list", "deletecollection"):
            if _selects_node(attributes, "spec.nodeName", node):
                return _ALLOW
            text = (
                "can only list/watch/deletecollection resourceslices with nodeName field selector"
            )
            return "no-opinion", text
        text = (
            "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, "
            "update, patch, delete, deletecollection"
        )
        return "no-opinion", text

    def certificate_request(self, node: str, attributes: Attributes) -> _Answer:
        """The PodCertificateRequests of the node."""
        verb = attributes.verb
        if attributes.subresource:
            text = "nodes may not access the status subresource of PodCertificateRequests"
            return "no-opinion", text
        if verb == "create":
            return _ALLOW
        if verb == "get":
            return self.related(node, attributes)
        if verb in ("list", "watch"):
            if _selects_node(attributes, "spec.nodeName", node):
                return _ALLOW
            text = "can only list/watch podcertificaterequests with nodeName field selector"
            return "no-opinion", text
        return "no-opinion", f"nodes may not {verb} podcertificaterequests"


def _selects_node(attributes: Attributes, field: str, node: str) -> bool:
    return any(requirement == (field, "=", node) for requirement in attributes.field_selector)


_NAMED_BY_SPEC = frozenset({"volumeattachments", "resourceslices", "podcertificaterequests"})
"""Objects that name their node themselves."""

_BY_RESOURCE: Mapping[tuple[str, str], Callable[[NodeAuthorizer, str, Attributes], _Answer]] = {
    ("", "secrets"): NodeAuthorizer.read,
    ("", "configmaps"): NodeAuthorizer.read,
    ("", "persistentvolumeclaims"): NodeAuthorizer.claim,
    ("", "persistentvolumes"): NodeAuthorizer.get,
    ("resource.k8s.io", "resourceclaims"): NodeAuthorizer.get,
    ("storage.k8s.io", "volumeattachments"): NodeAuthorizer.get,
    ("", "serviceaccounts"): NodeAuthorizer.service_account,
    ("coordination.k8s.io", "leases"): NodeAuthorizer.lease,
    ("storage.k8s.io", "csinodes"): NodeAuthorizer.csi_node,
    ("resource.k8s.io", "resourceslices"): NodeAuthorizer.resource_slice,
    ("", "nodes"): NodeAuthorizer.node,
    ("", "pods"): NodeAuthorizer.pod,
    ("certificates.k8s.io", "podcertificaterequests"): NodeAuthorizer.certificate_request,
}
