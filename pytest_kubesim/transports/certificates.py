"""The certificates of `kubesim serve`: an authority, the server's, the admin's.

Made anew at every start, kept in memory and (for OpenSSL) in a folder that goes with the process.
A client certificate names its user in the common name and its groups in the organizations, as
`staging/src/k8s.io/apiserver/pkg/authentication/request/x509` reads it.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.errors import UsageError
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
ADDRESSES = ("127.0.0.1", "::1", "10.96.0.1", "172.18.0.2")
VALID_FOR = timedelta(days=3650)


@attrs.frozen(slots=True)
class KeyPair:
    """A certificate and its key in PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A certificate authority of one run.

    Parameters: `common_name`; `now` on the wall, where `datetime.now` may show another time.
    Raises: `UsageError` where the `cryptography` package is missing.
    """

    def __init__(self, common_name: str = "kubesim-ca", now: datetime | None = None) -> None:
        try:
            from cryptography import x509
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError:
            raise UsageError(
                "serve: the package 'cryptography' is missing;",
                "install it with: python -m pip install 'pytest-kubesim[serve]'",
            ) from None
        # OpenSSL checks certificates against the wall, not against our clock.
        self._now = now or datetime.now(UTC)
        self._x509: Any = x509
        self._ec: Any = ec
        self._key: Any = ec.generate_private_key(ec.SECP256R1())
        self._name: Any = x509.Name(
            [x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, common_name)]
        )
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=False, key_encipherment=True,
            content_commitment=False, data_encipherment=False, key_agreement=False,
            encipher_only=False, decipher_only=False,
        )
        self._certificate: Any = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, self._sha256())
        )

    @property
    def pem(self) -> bytes:
        """Its certificate in PEM."""
        return _pem(self._certificate)

    @property
    def key_pem(self) -> bytes:
        """Its key in PEM."""
        return _key(self._key)

    def server(self) -> KeyPair:
        """A certificate for loopback and the names of the `kubernetes` service."""
        x509 = self._x509
        key = self._ec.generate_private_key(self._ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "kube-apiserver")])
        names = [x509.DNSName(n) for n in NAMES]
        names += [x509.IPAddress(ipaddress.ip_address(a)) for a in ADDRESSES]
        usage = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH])
        certificate = (
            self._builder(name, key)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(usage, critical=False)
            .sign(self._key, self._sha256())
        )
        return KeyPair(_pem(certificate), _key(key))

    def client(self, user: str, groups: Sequence[str] = ()) -> KeyPair:
        """A client certificate for `user` in `groups`."""
        x509 = self._x509
        key = self._ec.generate_private_key(self._ec.SECP256R1())
        oid = x509.oid.NameOID
        name = x509.Name(
            [
                *(x509.NameAttribute(oid.ORGANIZATION_NAME, group) for group in groups),
                x509.NameAttribute(oid.COMMON_NAME, user),
            ]
        )
        usage = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate = (
            self._builder(name, key)
            .add_extension(usage, critical=False)
            .sign(self._key, self._sha256())
        )
        return KeyPair(_pem(certificate), _key(key))

    def _builder(self, name: Any, key: Any) -> Any:
        now = self._now
        return (
            self._x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(self._x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + VALID_FOR)
        )

    @staticmethod
    def _sha256() -> Any:
        from cryptography.hazmat.primitives import hashes

        return hashes.SHA256()


def _pem(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    pem: bytes = certificate.public_bytes(serialization.Encoding.PEM)
    return pem


def _key(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        # `EC PRIVATE KEY`: some clients take PKCS #8 to hold an RSA key.
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return pem


def write(folder: Path, name: str, pair: KeyPair) -> tuple[str, str]:
    """Write a pair into `folder`; gives the paths of certificate and key."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    certificate.write_bytes(pair.certificate)
    key.touch(mode=0o600)
    key.write_bytes(pair.key)
    return str(certificate), str(key)


def user_of(certificate: dict[str, Any] | None) -> UserInfo | None:
    """Who a client certificate (as `ssl` tells it) says its bearer is; None without one."""
    if not certificate:
        return None
    names: list[str] = []
    groups: list[str] = []
    for part in certificate.get("subject") or ():
        for key, value in part:
            if key == "commonName":
                names.append(value)
            elif key == "organizationName":
                groups.append(value)
    return UserInfo(names[-1], tuple(groups)) if names else None
