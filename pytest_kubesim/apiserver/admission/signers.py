"""Who may approve, sign and attest for a signer of certificates.

Follows `pkg/certauthorization`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.filters.authorization import Attributes as AccessAttributes

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.admission.chain import Attributes

REQUESTS = GroupResource("certificates.k8s.io", "certificatesigningrequests")


async def is_authorized(attributes: Attributes, verb: str, signer: str) -> bool:
    """Whether who asks may do that for a signer, or for all of the signer's domain."""
    for name in (signer, signer.partition("/")[0] + "/*"):
        wanted = AccessAttributes(
            attributes.user,
            verb,
            is_resource=True,
            group="certificates.k8s.io",
            version="*",
            resource="signers",
            name=name,
        )
        decision, _ = await attributes.server.authorize(wanted)
        if decision == "allow":
            return True
    return False
