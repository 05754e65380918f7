"""CertificateApproval: approving a request for a certificate takes the right to do so.

Follows `plugin/pkg/admission/certificates/approval/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apiserver.admission import signers
from pytest_kubesim.apiserver.admission.chain import UPDATE, Attributes, Plugin, forbidden

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object


class CertificateApproval(Plugin):
    """The plugin."""

    operations = (UPDATE,)
    resources = frozenset({signers.REQUESTS})

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses approvals by those who have no right to them."""
        del obj
        if attributes.subresource != "approval" or attributes.old is None:
            return
        signer: str = attributes.old["spec"]["signerName"]
        if not await signers.is_authorized(attributes, "approve", signer):
            raise forbidden(
                attributes,
                f"user not permitted to approve requests with signerName {quote(signer)}",
            )


PLUGIN = CertificateApproval()
