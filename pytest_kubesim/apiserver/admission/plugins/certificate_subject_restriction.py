"""CertificateSubjectRestriction: nobody becomes a member of `system:masters` by a certificate.

Follows `plugin/pkg/admission/certificates/subjectrestriction/admission.go`.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from pytest_kubesim.apiserver.admission import signers
from pytest_kubesim.apiserver.admission.chain import CREATE, Attributes, Plugin, forbidden
from pytest_kubesim.apiserver.filters.authorization import MASTERS
from pytest_kubesim.registry.certificates import pem

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"

_ORGANIZATION = b"\x55\x04\x0a"
"""The object identifier 2.5.4.10."""


class CertificateSubjectRestriction(Plugin):
    """The plugin."""

    operations = (CREATE,)
    resources = frozenset({signers.REQUESTS})

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses requests that name the group."""
        if obj is None or attributes.subresource:
            return
        if obj["spec"].get("signerName") != CLIENT_SIGNER:
            return
        if MASTERS in _organizations(obj["spec"].get("request") or ""):
            raise forbidden(
                attributes,
                f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed",
            )


def _organizations(request: str) -> list[str]:
    """The organizations in the subject of a request (base64 of PEM); none if it cannot be read."""
    try:
        found = next(pem.blocks(base64.b64decode(request)), None)
        if found is None:
            return []
        whole = _parts(found.data)[0]
        _, subject, *_ = _parts(_parts(whole)[0])
        pairs = [_parts(pair) for names in _parts(subject) for pair in _parts(names)]
    except (ValueError, IndexError):
        return []
    return [value.decode("utf-8", "replace") for oid, value in pairs if oid == _ORGANIZATION]


def _parts(data: bytes) -> list[bytes]:
    """The contents of the DER elements that lie in a row.  Raises `IndexError`."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        size, at = data[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            size, at = int.from_bytes(data[at : at + count], "big"), at + count
        found.append(data[at : at + size])
        at += size
    return found


PLUGIN = CertificateSubjectRestriction()
