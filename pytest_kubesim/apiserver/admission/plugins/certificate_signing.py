"""CertificateSigning: signing a request for a certificate takes the right to do so for its signer.

Follows `plugin/pkg/admission/certificates/signing/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apiserver.admission import signers
from pytest_kubesim.apiserver.admission.chain import UPDATE, Attributes, Plugin, forbidden

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object


class CertificateSigning(Plugin):
    """The plugin."""

    operations = (UPDATE,)
    resources = frozenset({signers.REQUESTS})

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses certificates and conditions from those who have no right to set them."""
        if attributes.subresource != "status" or attributes.old is None or obj is None:
            return
        old: Object = attributes.old.get("status") or {}
        new: Object = obj.get("status") or {}
        same = old.get("certificate") == new.get("certificate")
        if same and (old.get("conditions") or []) == (new.get("conditions") or []):
            return
        signer: str = attributes.old["spec"]["signerName"]
        if not await signers.is_authorized(attributes, "sign", signer):
            raise forbidden(
                attributes, f"user not permitted to sign requests with signerName {quote(signer)}"
            )


PLUGIN = CertificateSigning()
