"""The approving controller: kubelets' requests for their own identity are approved.

Who asks must be allowed to create `certificatesigningrequests/nodeclient` (any node) or
`/selfnodeclient` (itself).

Follows `pkg/controller/certificates/approver/sarapprove.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupVersionResource
from pytest_kubesim.client_go.resources import CERTIFICATESIGNINGREQUESTS
from pytest_kubesim.controller_manager import certificate_requests as requests
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller, SyncError

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

SUBJECT_ACCESS_REVIEWS = GroupVersionResource("authorization.k8s.io", "v1", "subjectaccessreviews")

_MESSAGES = {
    "selfnodeclient": (
        "Auto approving self kubelet client certificate after SubjectAccessReview."
    ),
    "nodeclient": "Auto approving kubelet client certificate after SubjectAccessReview.",
}


class CertificateSigningRequestApprovingController(Controller):
    """Approves kubelets' requests."""

    name = "certificatesigningrequest-approving-controller"
    service_account = "certificate-controller"
    workers: ClassVar[int] = 5
    base_delay_ns: ClassVar[int] = 200_000_000

    def setup(self) -> None:
        """Listen to requests."""
        self.requests = self.watch(
            CERTIFICATESIGNINGREQUESTS, add=self.enqueue, update=self.enqueue_new
        )

    async def reconcile(self, key: str) -> None:
        """Approve one request, if it is a kubelet's."""
        csr = self.requests.get(key)
        if csr is None or fields.status(csr).get("certificate"):
            return
        if any(c["type"] in {"Approved", "Denied"} for c in fields.conditions(csr)):
            return
        spec = fields.spec(csr)
        if spec["signerName"] != requests.KUBELET_CLIENT:
            return
        request = requests.parse(csr)
        if requests.kubelet_client_problem(request, fields.texts(spec, "usages")):
            return
        tried: list[str] = []
        for subresource, message in _MESSAGES.items():
            if subresource == "selfnodeclient" and spec.get("username") != request.common_name:
                continue
            tried.append(subresource)
            if await self._may(spec, subresource):
                await self._approve(csr, message)
                return
        raise SyncError(
            f"recognized csr {quote(key)} as [{' '.join(tried)}] but subject access review was not "
            "approved"
        )

    async def _may(self, spec: Object, subresource: str) -> bool:
        review: dict[str, Any] = {
            "user": spec.get("username"),
            "uid": spec.get("uid"),
            "groups": spec.get("groups"),
            "extra": spec.get("extra"),
            "resourceAttributes": {
                "group": "certificates.k8s.io",
                "resource": "certificatesigningrequests",
                "verb": "create",
                "subresource": subresource,
                "version": "*",
            },
        }
        body = {
            "kind": "SubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "spec": {name: value for name, value in review.items() if value},
        }
        answer = await self.client.create(SUBJECT_ACCESS_REVIEWS, "", body)
        return bool(fields.status(answer).get("allowed"))

    async def _approve(self, csr: Object, message: str) -> None:
        approved = {
            "type": "Approved", "status": "True", "reason": "AutoApproved", "message": message,
        }
        new = meta.with_status(csr, conditions=[*fields.conditions(csr), approved])
        try:
            await self.client.update(CERTIFICATESIGNINGREQUESTS, "", new, subresource="approval")
        except RETRIABLE as error:
            raise SyncError(f"error updating approval for csr: {error}") from None


CONTROLLER = CertificateSigningRequestApprovingController
