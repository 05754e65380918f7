"""ClusterTrustBundleAttest: a bundle of a signer takes the right to attest for it.

Follows `plugin/pkg/admission/certificates/ctbattest/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.admission import signers
from pytest_kubesim.apiserver.admission.chain import CREATE, UPDATE, Attributes, Plugin, forbidden

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

_BUNDLES = GroupResource("certificates.k8s.io", "clustertrustbundles")
_COLLECTED = ("ownerReferences", "finalizers", "managedFields")
"""Metadata that garbage collection and storage migration touch."""


class ClusterTrustBundleAttest(Plugin):
    """The plugin."""

    operations = (CREATE, UPDATE)
    resources = frozenset({_BUNDLES})

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses bundles from those who have no right to attest for the signer."""
        if obj is None:
            return
        signer: str = obj["spec"].get("signerName") or ""
        if not signer:
            return
        if attributes.old is not None and _bare(obj) == _bare(attributes.old):
            return
        if not await signers.is_authorized(attributes, "attest", signer):
            raise forbidden(
                attributes, f"user not permitted to attest for signerName {quote(signer)}"
            )


def _bare(obj: Object) -> Object:
    metadata = {k: v for k, v in obj["metadata"].items() if k not in _COLLECTED}
    return {**obj, "metadata": metadata}


PLUGIN = ClusterTrustBundleAttest()
