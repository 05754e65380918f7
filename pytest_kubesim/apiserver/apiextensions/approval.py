"""Groups that belong to the Kubernetes community want an annotation that says who has approved.

Follows `apiextensions-apiserver/pkg/controller/apiapproval/apiapproval_controller.go` and
`pkg/apihelpers/helpers.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apiserver.apiextensions.conditions import (
    API_APPROVED,
    FALSE,
    TRUE,
    condition,
    equivalent,
    find,
    with_condition,
)

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.apiextensions.controllers import Controllers

ANNOTATION = "api-approved.kubernetes.io"
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"
MISSING = f"protected groups must have approval annotation {quote(ANNOTATION)}, {_SEE}"
INVALID = (
    f"protected groups must have approval annotation {quote(ANNOTATION)} with either a URL or a "
    f'reason starting with "unapproved", {_SEE}'
)


def is_protected(crd: Object) -> bool:
    """Whether the group belongs to the community."""
    group: str = crd["spec"]["group"]
    return any(
        group == domain or group.endswith(f".{domain}") for domain in ("k8s.io", "kubernetes.io")
    )


def state(crd: Object) -> tuple[str, str, str]:
    """Status, reason and message of the approval of a definition."""
    text = meta.annotations(crd).get(ANNOTATION) or ""
    if not text:
        return FALSE, "MissingAnnotation", MISSING
    if text.startswith("unapproved"):
        return FALSE, "UnapprovedAnnotation", f"not approved: {quote(text)}"
    try:
        url = urlsplit(text)
    except ValueError:
        return FALSE, "InvalidAnnotation", INVALID
    if url.scheme and url.netloc:
        return TRUE, "ApprovedAnnotation", f"approved in {text}"
    return FALSE, "InvalidAnnotation", INVALID


async def sync(controllers: Controllers, name: str) -> None:
    """Say in a condition whether a definition's group was approved."""
    crd = controllers.crd(name)
    if crd is None:
        return
    new = condition(API_APPROVED, *state(crd))
    if not equivalent(new, find(crd, API_APPROVED)):
        await controllers.update_status(with_condition(crd, new, controllers.now))
