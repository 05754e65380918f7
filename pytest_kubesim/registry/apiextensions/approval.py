"""Groups that belong to the Kubernetes community want an annotation that says who has approved.

Follows `apiextensions-apiserver/pkg/apihelpers/helpers.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from pytest_kubesim.apimachinery import go_url, meta
from pytest_kubesim.apimachinery.golang import quote

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

ANNOTATION = "api-approved.kubernetes.io"
APPROVED_ANNOTATION: Final = "ApprovedAnnotation"
INVALID_ANNOTATION: Final = "InvalidAnnotation"
MISSING_ANNOTATION: Final = "MissingAnnotation"
UNAPPROVED_ANNOTATION: Final = "UnapprovedAnnotation"

_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"
_MISSING = f"protected groups must have approval annotation {quote(ANNOTATION)}, {_SEE}"
_INVALID = (
    f"protected groups must have approval annotation {quote(ANNOTATION)} with either a URL or a "
    f'reason starting with "unapproved", {_SEE}'
)


@attrs.frozen
class Approval:
    """How it stands with a definition's approval."""

    reason: str
    message: str


def is_protected(crd: Object) -> bool:
    """Whether the group belongs to the community."""
    group: str = crd["spec"].get("group") or ""
    return any(
        group == domain or group.endswith(f".{domain}") for domain in ("k8s.io", "kubernetes.io")
    )


def state(crd: Object) -> Approval:
    """What the annotation of a definition says."""
    text = meta.annotations(crd).get(ANNOTATION) or ""
    if not text:
        return Approval(MISSING_ANNOTATION, _MISSING)
    if text.startswith("unapproved"):
        return Approval(UNAPPROVED_ANNOTATION, f"not approved: {quote(text)}")
    try:
        url = go_url.parse_request_uri(text)
    except go_url.URLError:
        return Approval(INVALID_ANNOTATION, _INVALID)
    if url.host and url.scheme:
        return Approval(APPROVED_ANNOTATION, f"approved in {text}")
    return Approval(INVALID_ANNOTATION, _INVALID)
