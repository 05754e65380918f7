"""Certificate signing requests: what they ask for, whether they may have it, and the certificate.

The law: what a signer may sign is decided by the subject, the alternative names and the usages.  A
certificate begins five minutes before it is made, so that clocks may differ, and ends with the
signer's own at the latest.

Reading and signing need the package `cryptography`, which is imported when the first request is
looked at.  Follows `pkg/apis/certificates/helpers.go` and `pkg/controller/certificates/authority`.
"""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import SyncError
from pytest_kubesim.errors import NotSimulated
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import to_datetime

if TYPE_CHECKING:
    from collections.abc import Collection

    from pytest_kubesim.apimachinery.meta import Object

KUBELET_SERVING = "kubernetes.io/kubelet-serving"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
API_SERVER_CLIENT = "kubernetes.io/kube-apiserver-client"
LEGACY_UNKNOWN = "kubernetes.io/legacy-unknown"

BACKDATE_NS = 300 * NS
SHORT_NS = 8 * 3600 * NS

NOT_NODES = "subject organization is not system:nodes"
NOT_A_NODE = "subject common name does not begin with system:node:"
NAME_NEEDED = "DNS or IP subjectAltName is required"

_CLIENT_USAGES = frozenset({"digital signature", "client auth"})
_SERVING_USAGES = frozenset({"digital signature", "server auth"})
_ENCIPHERMENT = frozenset({"key encipherment"})

_KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_EXTENDED_USAGES = {
    "any": "2.5.29.37.0",
    "server auth": "1.3.6.1.5.5.7.3.1",
    "client auth": "1.3.6.1.5.5.7.3.2",
    "code signing": "1.3.6.1.5.5.7.3.3",
    "email protection": "1.3.6.1.5.5.7.3.4",
    "s/mime": "1.3.6.1.5.5.7.3.4",
    "ipsec end system": "1.3.6.1.5.5.7.3.5",
    "ipsec tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp signing": "1.3.6.1.5.5.7.3.9",
    "microsoft sgc": "1.3.6.1.4.1.311.10.3.3",
    "netscape sgc": "2.16.840.1.113730.4.1",
}


@attrs.frozen(slots=True, eq=False)
class CertificateRequest:
    """What a request asks for; `parsed` is the library's own."""

    common_name: str
    organizations: tuple[str, ...]
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    emails: tuple[str, ...]
    uris: tuple[str, ...]
    parsed: Any


def _cryptography(module: str) -> Any:
    try:
        return import_module(f"cryptography.{module}")
    except ImportError:
        raise NotSimulated(
            "certificate signing requests are read with the package `cryptography`, which is not "
            "installed.",
            "Install pytest-kubesim[serve].",
        ) from None


def parse(csr: Object) -> CertificateRequest:
    """The request in a CertificateSigningRequest.

    Raises: `SyncError` if it is none; `NotSimulated` without the package `cryptography`.
    """
    x509 = _cryptography("x509")
    try:
        pem = base64.b64decode(fields.text(fields.spec(csr), "request"))
        parsed = x509.load_pem_x509_csr(pem)
    except (ValueError, binascii.Error):
        problem = "PEM block type must be CERTIFICATE REQUEST"
        raise SyncError(f'unable to parse csr "{meta.name(csr)}": {problem}') from None
    oid = x509.oid.NameOID
    names = parsed.subject.get_attributes_for_oid(oid.COMMON_NAME)
    organizations = parsed.subject.get_attributes_for_oid(oid.ORGANIZATION_NAME)
    try:
        alternative = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        alternative = None

    def of(kind: Any) -> tuple[str, ...]:
        if alternative is None:
            return ()
        return tuple(str(value) for value in alternative.get_values_for_type(kind))

    return CertificateRequest(
        names[0].value if names else "",
        tuple(attribute.value for attribute in organizations),
        of(x509.DNSName),
        of(x509.IPAddress),
        of(x509.RFC822Name),
        of(x509.UniformResourceIdentifier),
        parsed,
    )


# -- what may be signed ------------------------------------------------------------------------


def kubelet_client_problem(request: CertificateRequest, usages: Collection[str]) -> str:
    """Why a request is not one of a kubelet for its own identity; empty if it is."""
    if request.organizations != ("system:nodes",):
        return NOT_NODES
    for names, what in (
        (request.dns_names, "DNS"), (request.emails, "Email"), (request.ip_addresses, "IP"),
        (request.uris, "URI"),
    ):
        if names:
            return f"{what} subjectAltNames are not allowed"
    if not request.common_name.startswith("system:node:"):
        return NOT_A_NODE
    return _usages_problem(usages, _CLIENT_USAGES)


def kubelet_serving_problem(request: CertificateRequest, usages: Collection[str]) -> str:
    """Why a request is not one of a kubelet for what it serves with; empty if it is."""
    if request.organizations != ("system:nodes",):
        return NOT_NODES
    if not request.dns_names and not request.ip_addresses:
        return NAME_NEEDED
    for names, what in ((request.emails, "Email"), (request.uris, "URI")):
        if names:
            return f"{what} subjectAltNames are not allowed"
    problem = _usages_problem(usages, _SERVING_USAGES)
    if problem:
        return problem
    return "" if request.common_name.startswith("system:node:") else NOT_A_NODE


def client_usages_problem(usages: Collection[str]) -> str:
    """Why usages are not those of a client of the API server; empty if they are."""
    for usage in usages:
        if usage not in _CLIENT_USAGES and usage not in _ENCIPHERMENT:
            return f"invalid usage for client certificate: {usage}"
    if "client auth" not in usages:
        return "missing required usage for client certificate: client auth"
    return ""


def _usages_problem(usages: Collection[str], required: frozenset[str]) -> str:
    given = frozenset(usages)
    if given in {required, required | _ENCIPHERMENT}:
        return ""
    return f"usages did not match [{' '.join(sorted(required | _ENCIPHERMENT))}]"


# -- signing -----------------------------------------------------------------------------------


def load_authority(certificate: str, key: str) -> Authority:
    """The authority of a certificate and its key, PEM text."""
    serialization = _cryptography("hazmat.primitives.serialization")
    x509 = _cryptography("x509")
    return Authority(
        x509.load_pem_x509_certificate(certificate.encode()),
        serialization.load_pem_private_key(key.encode(), None),
    )


def make_authority(secret: int, now_ns: int) -> Authority:
    """An authority of its own, `kubernetes`, for ten years; equal for equal secrets."""
    x509 = _cryptography("x509")
    ec = _cryptography("hazmat.primitives.asymmetric.ec")
    hashes = _cryptography("hazmat.primitives.hashes")
    key = ec.derive_private_key(secret, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "kubernetes")])
    begin = to_datetime(now_ns).replace(microsecond=0)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    return Authority(certificate, key)


class Authority:
    """A certificate authority.

    Parameters: `certificate` and `key`, the library's own.
    """

    def __init__(self, certificate: Any, key: Any) -> None:
        self._certificate = certificate
        self._key = key

    def sign(
        self, request: CertificateRequest, usages: Collection[str], ttl_ns: int, now_ns: int,
        serial: int,
    ) -> str:
        """A certificate for a request, in base64.

        Raises: `SyncError` if the request is not signed by its own key, or the signer has expired.
        """
        x509 = _cryptography("x509")
        hashes = _cryptography("hazmat.primitives.hashes")
        ec = _cryptography("hazmat.primitives.asymmetric.ec")
        serialization = _cryptography("hazmat.primitives.serialization")
        try:
            is_valid: bool = request.parsed.is_signature_valid
        except ValueError:
            # The key itself is none.
            is_valid = False
        if not is_valid:
            raise SyncError(
                "error auto signing csr: unable to verify certificate request signature: x509: "
                "invalid signature"
            )
        now = to_datetime(now_ns).replace(microsecond=0)
        signer_end = self._certificate.not_valid_after_utc
        if now >= signer_end:
            raise SyncError(
                "error auto signing csr: refusing to sign a certificate that expired in the past: "
                f"NotAfter={signer_end}"
            )
        length_ns = ttl_ns if ttl_ns < SHORT_NS else ttl_ns - BACKDATE_NS
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.parsed.subject)
            .issuer_name(self._certificate.subject)
            .public_key(request.parsed.public_key())
            .serial_number(serial)
            .not_valid_before(now - timedelta(microseconds=BACKDATE_NS // 1000))
            .not_valid_after(min(now + timedelta(microseconds=length_ns // 1000), signer_end))
        )
        if any(usage in _KEY_USAGES for usage in usages):
            # Without a bit in it the extension is left out, as Go does: it would not be valid.
            builder = builder.add_extension(_key_usage(x509, usages), critical=True)
        extended = [
            x509.ObjectIdentifier(_EXTENDED_USAGES[usage])
            for usage in usages
            if usage in _EXTENDED_USAGES
        ]
        if extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        try:
            identifier = self._certificate.extensions.get_extension_for_class(
                x509.SubjectKeyIdentifier
            ).value
        except x509.ExtensionNotFound:
            pass
        else:
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False
            )
        for extension in request.parsed.extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName):
                builder = builder.add_extension(extension.value, extension.critical)
        # Equal runs give equal certificates: no randomness in the signature.
        options: dict[str, Any] = {}
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            options["ecdsa_deterministic"] = True
        signed = builder.sign(self._key, hashes.SHA256(), **options)
        pem: bytes = signed.public_bytes(serialization.Encoding.PEM)
        return base64.b64encode(pem).decode()


def _key_usage(x509: Any, usages: Collection[str]) -> Any:
    names = {_KEY_USAGES[usage] for usage in usages if usage in _KEY_USAGES}
    flags = {name: name in names for name in dict.fromkeys(_KEY_USAGES.values())}
    if not flags["key_agreement"]:
        flags["encipher_only"] = flags["decipher_only"] = False
    return x509.KeyUsage(**flags)


def expires_ns(csr: Object) -> int | None:
    """When the certificate in a CertificateSigningRequest expires; None if it cannot be read."""
    x509 = _cryptography("x509")
    try:
        pem = base64.b64decode(fields.text(fields.status(csr), "certificate"))
        certificate = x509.load_pem_x509_certificate(pem)
    except (ValueError, binascii.Error):
        return None
    return int(certificate.not_valid_after_utc.timestamp()) * NS
