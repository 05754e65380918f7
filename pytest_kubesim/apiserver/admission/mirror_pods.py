"""The pods that kubelets may create: mirrors of static pods, which need nothing of the API.

Follows `admitPodCreate` of `plugin/pkg/admission/noderestriction/admission.go` and
`HasAPIObjectReference` of `pkg/api/pod/util.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, annotations, get_path
from pytest_kubesim.apiserver.pod_references import MIRROR
from pytest_kubesim.registry import parts

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.admission.chain import Attributes

_NODES = GroupResource("", "nodes")
_SECRETS = ("azureFile", "cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos")
"""The volumes that may name a secret."""
_BY_VOLUME = (
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
)
_BY_SOURCE = (
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
)


def problem(attributes: Attributes, pod: Object, name: str) -> str:
    """Why the kubelet of that node may not create a pod; "": it may.  Raises `APIStatus` (404)."""
    node = quote(name)
    if MIRROR not in annotations(pod):
        return (
            f"pod does not have {quote(MIRROR)} annotation, node {node} can only create mirror pods"
        )
    if parts.text(parts.spec(pod), "nodeName") != name:
        return f"node {node} can only create pods with spec.nodeName set to itself"
    owners = parts.structs(pod["metadata"], "ownerReferences")
    if len(owners) > 1:
        return f"node {node} can only create pods with a single owner reference set to itself"
    owner: Object = owners[0] if owners else {}
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", name):
        return f"node {node} can only create pods with an owner reference set to itself"
    if not owner.get("controller"):
        return f"node {node} can only create pods with a controller owner reference set to itself"
    if owner.get("blockOwnerDeletion"):
        return f"node {node} must not set blockOwnerDeletion on an owner reference"
    found = attributes.server.reader.get(_NODES, "", name)
    if found is None:
        raise status.new_not_found(_NODES, name)
    uid = found["metadata"]["uid"]
    if owner.get("uid") != uid:
        return f"node {name} UID mismatch: expected {owner.get('uid') or ''} got {uid}"
    referenced = _referenced(parts.spec(pod))
    return f"node {node} can not create pods that reference {referenced}" if referenced else ""


def _referenced(spec: Object) -> str:
    """What of the API a pod refers to first; "": nothing."""
    if parts.text(spec, "serviceAccountName"):
        return "serviceaccounts"
    for kind in ("secret", "configMap"):
        if _names(spec, kind):
            return f"{kind.lower()}s"
    if spec.get("resourceClaims"):
        return "resourceclaims"
    for volume in parts.structs(spec, "volumes"):
        for key, text in _BY_VOLUME:
            if volume.get(key) is not None:
                return text
        for source in parts.structs(volume.get("projected") or {}, "sources"):
            for key, text in _BY_SOURCE:
                if source.get(key) is not None:
                    return text
    return ""


def _names(spec: Object, kind: str) -> bool:
    """Whether a pod names a secret, or a config map."""
    volumes = parts.structs(spec, "volumes")
    if kind == "secret":
        if spec.get("imagePullSecrets"):
            return True
        for each in volumes:
            for key in _SECRETS:
                found: Object = each.get(key) or {}
                if found.get("secretRef") is not None or found.get("secretName"):
                    return True
    for each in volumes:
        sources = parts.structs(each.get("projected") or {}, "sources")
        if any(one.get(kind) is not None for one in (each, *sources)):
            return True
    return _in_environment(spec, kind)


def _in_environment(spec: Object, kind: str) -> bool:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for container in parts.structs(spec, key):
            sources = parts.structs(container, "envFrom")
            if any(each.get(f"{kind}Ref") is not None for each in sources):
                return True
            variables = parts.structs(container, "env")
            if any(get_path(each, "valueFrom", f"{kind}KeyRef") is not None for each in variables):
                return True
    return False
