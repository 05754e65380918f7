"""What kubelets may ask for: tokens of their pods, and certificates of their own.

Follows `admitServiceAccount` and `admitCSR` of
`plugin/pkg/admission/noderestriction/admission.go`; volumes of types that became CSI drivers are
not looked through for audiences.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apiserver.admission.chain import Attributes, forbidden
from pytest_kubesim.apiserver.filters.authorization import Attributes as AccessAttributes
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.certificates import pem

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

_PODS = GroupResource("", "pods")
_CLAIMS = GroupResource("", "persistentvolumeclaims")
_VOLUMES = GroupResource("", "persistentvolumes")
_DRIVERS = GroupResource("storage.k8s.io", "csidrivers")
_COMMON_NAME = b"\x55\x04\x03"
"""The object identifier 2.5.4.3."""


async def check(attributes: Attributes, request: Object, node: str) -> None:
    """Raises `APIStatus` where a kubelet may not have the token that it asks for."""
    reference: Object = get_path(request, "spec", "boundObjectRef") or {}
    kind = (reference.get("apiVersion"), reference.get("kind"))
    if kind != ("v1", "Pod") or not reference.get("name"):
        raise forbidden(attributes, "node requested token not bound to a pod")
    uid = reference.get("uid")
    if not uid:
        raise forbidden(attributes, "node requested token with a pod binding without a uid")
    pod = attributes.server.reader.get(_PODS, attributes.namespace, reference["name"])
    if pod is None:
        raise status.new_not_found(_PODS, reference["name"])
    if uid != pod["metadata"]["uid"]:
        raise forbidden(
            attributes,
            f"the UID in the bound object reference ({uid}) does not match the UID in record. The "
            "object might have been deleted and then recreated",
        )
    if parts.text(parts.spec(pod), "nodeName") != node:
        text = "node requested token bound to a pod scheduled on a different node"
        raise forbidden(attributes, text)
    audiences: list[str] = get_path(request, "spec", "audiences") or []
    if len(audiences) > 1:
        raise forbidden(attributes, "node may only request 0 or 1 audiences")
    audience = audiences[0] if audiences else ""
    if _is_referenced(attributes, pod, audience) or await _is_allowed(attributes, audience):
        return
    name = attributes.user.name
    raise forbidden(
        attributes, f"{name} is not authorized to request tokens for audience {quote(audience)}"
    )


async def _is_allowed(attributes: Attributes, audience: str) -> bool:
    wanted = AccessAttributes(
        attributes.user,
        "request-serviceaccounts-token-audience",
        is_resource=True,
        group=attributes.resource.group,
        version=attributes.resource.version,
        resource=audience,
        namespace=attributes.namespace,
        name=attributes.name,
    )
    decision, _ = await attributes.server.authorize(wanted)
    return decision == "allow"


def _is_referenced(attributes: Attributes, pod: Object, audience: str) -> bool:
    """Whether a volume of the pod is for that audience."""
    for volume in parts.structs(parts.spec(pod), "volumes"):
        for source in parts.structs(volume.get("projected") or {}, "sources"):
            token: Any = source.get("serviceAccountToken")
            if token is not None and (token.get("audience") or "") == audience:
                return True
        driver = _driver(attributes, pod, volume)
        found = attributes.server.reader.get(_DRIVERS, "", driver) if driver else None
        if found is not None and any(
            parts.text(each, "audience") == audience
            for each in parts.structs(parts.spec(found), "tokenRequests")
        ):
            return True
    return False


def _driver(attributes: Attributes, pod: Object, volume: Object) -> str:
    if volume.get("csi") is not None:
        return parts.text(volume["csi"], "driver")
    claim: str | None = get_path(volume, "persistentVolumeClaim", "claimName")
    if volume.get("ephemeral") is not None:
        claim = f"{pod['metadata']['name']}-{volume['name']}"
    if not claim:
        return ""
    reader = attributes.server.reader
    found = reader.get(_CLAIMS, attributes.namespace, claim)
    name = "" if found is None else parts.text(parts.spec(found), "volumeName")
    bound = reader.get(_VOLUMES, "", name) if name else None
    return "" if bound is None else get_path(bound, "spec", "csi", "driver") or ""


def common_name(request: Any) -> str:
    """The common name in the subject of a request (base64 of PEM); "" if it cannot be read."""
    try:
        found = next(pem.blocks(base64.b64decode(request or "")), None)
    except (binascii.Error, ValueError):
        return ""
    if found is None:
        return ""
    at = found.data.find(_COMMON_NAME)
    if at < 0 or at + 5 > len(found.data):
        return ""
    size = found.data[at + 4]
    return found.data[at + 5 : at + 5 + size].decode("utf-8", "replace")
