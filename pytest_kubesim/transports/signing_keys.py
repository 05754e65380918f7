"""Keys of service account tokens: what outside this process can check them.

Law: the first key signs; every key checks.  A key's algorithm follows from its kind, its name is
the hash of its public half.

Follows `pkg/serviceaccount/{jwt,openidmetadata}.go`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import Any, cast

import attrs

from pytest_kubesim.errors import UsageError

Object = dict[str, Any]

_CURVES = {"secp256r1": ("ES256", "P-256", 32), "secp384r1": ("ES384", "P-384", 48),
           "secp521r1": ("ES512", "P-521", 66)}
"""JWT's name of the algorithm, JWK's of the curve, and how long a number is, in bytes."""


class _Key:
    """A public key."""

    def __init__(self, public: Any) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        self.public = public
        der: bytes = public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.name = _base64(hashlib.sha256(der).digest())
        self.rsa = isinstance(public, rsa.RSAPublicKey)
        self.size = 0
        self.curve = ""
        if self.rsa:
            self.algorithm = "RS256"
        else:
            self.algorithm, self.curve, self.size = _CURVES[public.curve.name]

    def signed(self, private: Any, data: bytes) -> bytes:
        """The signature that `private`, its other half, gives."""
        from cryptography.hazmat.primitives.asymmetric import ec, padding
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        if self.rsa:
            signature: bytes = private.sign(data, padding.PKCS1v15(), self._hash())
            return signature
        r, s = decode_dss_signature(private.sign(data, ec.ECDSA(self._hash())))
        return r.to_bytes(self.size, "big") + s.to_bytes(self.size, "big")

    def checks(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is this key's for `data`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, padding
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        try:
            if self.rsa:
                self.public.verify(signature, data, padding.PKCS1v15(), self._hash())
            elif len(signature) != 2 * self.size:
                return False
            else:
                r = int.from_bytes(signature[: self.size], "big")
                s = int.from_bytes(signature[self.size :], "big")
                der = encode_dss_signature(r, s)
                self.public.verify(der, data, ec.ECDSA(self._hash()))
        except InvalidSignature:
            return False
        return True

    def _hash(self) -> Any:
        from cryptography.hazmat.primitives import hashes

        return {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}[
            self.algorithm[2:]
        ]()

    def jwk(self) -> Object:
        """The key as a JSON Web Key."""
        common = {"use": "sig", "kid": self.name, "alg": self.algorithm}
        numbers = self.public.public_numbers()
        if self.rsa:
            return {**common, "kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        x, y = (_base64(value.to_bytes(self.size, "big")) for value in (numbers.x, numbers.y))
        return {**common, "kty": "EC", "crv": self.curve, "x": x, "y": y}


@attrs.frozen(slots=True)
class Signer:
    """An `authenticators.TokenSigner`: `private` signs, any of `keys` checks."""

    private: Any
    own: _Key
    keys: tuple[_Key, ...]

    @classmethod
    def made(cls) -> Signer:
        """One with a key made now."""
        from cryptography.hazmat.primitives.asymmetric import ec

        private = ec.generate_private_key(ec.SECP256R1())
        own = _Key(private.public_key())
        return cls(private, own, (own,))

    @classmethod
    def read(cls, private_pem: bytes, public_pems: Sequence[bytes]) -> Signer:
        """One with the keys of `--service-account-signing-key-file` and `-key-file`.

        Raises: `UsageError` for what is no key.
        """
        from cryptography.hazmat.primitives import serialization

        try:
            private = serialization.load_pem_private_key(private_pem, None)
            own = _Key(cast("Any", private).public_key())
            keys = [_Key(public) for pem in public_pems for public in _publics(pem)]
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"a key of service account tokens cannot be read: {error}") from error
        return cls(private, own, tuple(keys) or (own,))

    def sign(self, claims: Object) -> str:
        """A JWT that says so."""
        body = f"{_part({'alg': self.own.algorithm, 'kid': self.own.name})}.{_part(claims)}"
        return f"{body}.{_base64(self.own.signed(self.private, body.encode()))}"

    def claims(self, token: str) -> Object | None:
        """What a token says, if one of the keys has signed it."""
        body, _, signature = token.rpartition(".")
        head, _, payload = body.partition(".")
        try:
            header = _read(head)
            proof = _bytes(signature)
            if all(
                header.get("alg") != key.algorithm or not key.checks(proof, body.encode())
                for key in self.keys
            ):
                return None
            return _read(payload)
        except (ValueError, binascii.Error):
            return None

    def key_set(self) -> Object:
        """The public keys, a JWKS."""
        return {"keys": [key.jwk() for key in self.keys]}


def _publics(pem: bytes) -> list[Any]:
    """The public keys in a file: of public keys, private keys, certificates."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    found: list[Any] = []
    end = b"-----END "
    for block in pem.split(b"-----BEGIN ")[1:]:
        label = block.partition(b"-----")[0]
        data = b"-----BEGIN " + block[: block.index(end)] + end + label + b"-----\n"
        if label == b"CERTIFICATE":
            found.append(x509.load_pem_x509_certificate(data).public_key())
        elif label.endswith(b"PUBLIC KEY"):
            found.append(serialization.load_pem_public_key(data))
        elif label.endswith(b"PRIVATE KEY"):
            private: Any = serialization.load_pem_private_key(data, None)
            found.append(private.public_key())
    return found


def _read(part: str) -> Object:
    found: Any = json.loads(_bytes(part))
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004 - what was read, not what was given
    return cast("Object", found)


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _part(value: Object) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
