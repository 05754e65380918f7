"""AdmissionReviews: what a webhook is asked, and what its answer means.

Follows `admission/plugin/webhook/request/admissionreview.go` and `.../errors/statuserror.go`.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, cast

import attrs

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupVersionKind, GroupVersionResource, Object, gvk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_kubesim.apimachinery.status import APIStatus
    from pytest_kubesim.apiserver.admission.chain import Attributes

GROUP = "admission.k8s.io"
VERSIONS = ("v1", "v1beta1")

_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}
_FIELDS = {
    "CREATE": ("dryRun", "fieldManager", "fieldValidation"),
    "UPDATE": ("dryRun", "fieldManager", "fieldValidation"),
    "DELETE": (
        "gracePeriodSeconds",
        "preconditions",
        "orphanDependents",
        "propagationPolicy",
        "dryRun",
        "ignoreStoreReadErrorWithClusterBreakingPotential",
    ),
}


class InvalidResponse(Exception):
    """An answer that is none; the text is the reason."""


def request_of(
    attributes: Attributes, kind: GroupVersionKind, resource: GroupVersionResource
) -> Object:
    """The request of a review, without its uid and its objects.

    `kind` and `resource` are what the webhook or the policy asked to see.
    """
    user = attributes.user
    info: Object = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    request: Object = {
        "kind": _kind(kind),
        "resource": _resource(resource),
        "subResource": attributes.subresource,
        "requestKind": _kind(attributes.kind),
        "requestResource": _resource(attributes.resource),
        "requestSubResource": attributes.subresource,
        "name": attributes.name,
        "namespace": attributes.namespace,
        "operation": attributes.operation,
        "userInfo": info,
        "dryRun": attributes.dry_run,
        "options": options_of(attributes),
    }
    return {key: value for key, value in request.items() if value != ""}


def _kind(kind: GroupVersionKind) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _resource(resource: GroupVersionResource) -> Object:
    return {
        "group": resource.group,
        "version": resource.version,
        "resource": resource.resource,
    }


def options_of(attributes: Attributes) -> Object | None:
    """The options of the operation as an object; None for CONNECT."""
    kind = _OPTIONS.get(attributes.operation)
    if kind is None:
        return None
    given = attributes.options
    fields = {
        name: given[name] for name in _FIELDS[attributes.operation] if given.get(name) is not None
    }
    kept = {name: value for name, value in fields.items() if value not in ("", [])}
    return {"kind": kind, "apiVersion": "meta.k8s.io/v1", **kept}


def review_of(version: str, uid: str, request: Object, obj: Any, old: Any) -> Object:
    """The review that is sent."""
    last = ("dryRun", "options")
    ordered: Object = {"uid": uid, **{k: v for k, v in request.items() if k not in last}}
    ordered |= {"object": obj, "oldObject": old}
    ordered |= {key: request[key] for key in last}
    return {"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": ordered}


def version_for(accepted: Iterable[str]) -> str:
    """The first version of the review that both know.  Raises `InvalidResponse`."""
    for version in accepted:
        if version in VERSIONS:
            return version
    raise InvalidResponse("webhook does not accept known AdmissionReview versions (v1, v1beta1)")


def version_of(review: Any) -> str:
    """The version of a review; empty if it is none."""
    found = gvk(cast("Object", review)) if isinstance(review, dict) else None
    if found is None or (found.group, found.kind) != (GROUP, "AdmissionReview"):
        return ""
    return found.version if found.version in VERSIONS else ""


@attrs.frozen
class Verdict:
    """What a webhook said."""

    allowed: bool
    result: Object | None
    patch: bytes
    patch_type: str
    warnings: tuple[str, ...]
    audit: Object


def verdict_of(review: Any, version: str, uid: str, *, mutating: bool) -> Verdict:
    """What an answer means (`VerifyAdmissionResponse`).  Raises `InvalidResponse`."""
    answer = cast("Object", review) if isinstance(review, dict) else {}
    response: Object | None = answer.get("response")
    if response is None:
        raise InvalidResponse("webhook response was absent")
    patch = _decoded(response.get("patch"))
    patch_type: str | None = response.get("patchType")
    if version == "v1":
        _verify(answer, response, uid)
        if mutating:
            _verify_patch(patch, patch_type)
        elif patch:
            raise InvalidResponse("validating webhook may not return response.patch")
        elif patch_type is not None:
            raise InvalidResponse("validating webhook may not return response.patchType")
    else:
        patch = patch if mutating else b""
        patch_type = "JSONPatch" if patch else ""
    return Verdict(
        bool(response.get("allowed")),
        response.get("status"),
        patch,
        patch_type or "",
        tuple(response.get("warnings") or ()),
        response.get("auditAnnotations") or {},
    )


def _decoded(patch: Any) -> bytes:
    if not patch:
        return b""
    if isinstance(patch, bytes):
        return patch
    try:
        return base64.b64decode(str(patch), validate=True)
    except binascii.Error as error:
        raise InvalidResponse(str(error)) from None


def _verify(review: Object, response: Object, uid: str) -> None:
    given = response.get("uid") or ""
    if given != uid:
        raise InvalidResponse(f"expected response.uid={quote(uid)}, got {quote(given)}")
    wanted = GroupVersionKind(GROUP, "v1", "AdmissionReview")
    found = gvk(review)
    if found != wanted:
        raise InvalidResponse(f"expected webhook response of {wanted}, got {found}")


def _verify_patch(patch: bytes, patch_type: str | None) -> None:
    if patch and patch_type is None:
        raise InvalidResponse("webhook returned response.patch but not response.patchType")
    if not patch and patch_type is not None:
        raise InvalidResponse("webhook returned response.patchType but not response.patch")
    if patch_type == "":
        raise InvalidResponse('webhook returned invalid response.patchType of ""')


def denial(webhook: str, result: Object | None) -> APIStatus:
    """The refusal that a webhook's status makes (`ToStatusErr`)."""
    given = result or {}
    code = max(given.get("code") or 0, 400)
    state = given.get("status") or ""
    if state in ("", "Success"):
        state = "Failure"
    start = f"admission webhook {quote(webhook)} denied the request"
    reason = given.get("reason") or ""
    said = given.get("message") or reason
    message = f"{start}: {said}" if said else f"{start} without explanation"
    return status.APIStatus(
        code,
        reason,
        message,
        given.get("details"),
        metadata=given.get("metadata"),
        status=state,
    )
