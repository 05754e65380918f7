"""Certificates of pods: a projected volume `podCertificate`, asked for and renewed.

The law: a key is made for each request, from the run's randomness; it never leaves the node.  A
request that was denied or failed is final for the pod.  While a certificate is renewed the old one
stays.  Making keys needs the package `cryptography`, imported when the first pod wants one.

Follows `pkg/kubelet/podcertificate/podcertificatemanager.go`; states are looked at when the volume
is, not by an informer.
"""

from __future__ import annotations

import base64
from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.timestamps import parse_time
from pytest_kubesim.client_go.resources import NODES, PODCERTIFICATEREQUESTS, SERVICEACCOUNTS
from pytest_kubesim.errors import NotSimulated
from pytest_kubesim.kubelet.errors import ContentProblem
from pytest_kubesim.kubelet.host import NOTHING, WARNING
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.kubelet.references import References

ASSUME_DELETED_NS = 600 * NS
"""After so long a request that is not there must have been deleted."""
OVERDUE_NS = 600 * NS
JITTER_NS = 300 * NS
_NOT_YET = "credential bundle is not issued yet"
_CURVES = {"ECDSAP256": "SECP256R1", "ECDSAP384": "SECP384R1", "ECDSAP521": "SECP521R1"}
_RSA_BITS = {"RSA3072": 3072, "RSA4096": 4096}
_RSA_EXPONENT = 65_537
_SMALL = tuple(n for n in range(3, 2000, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2)))


@attrs.define(slots=True)
class _Record:
    """One source of one volume."""

    key: bytes = b""
    chain: bytes = b""
    refresh_ns: int = 0
    ends_ns: int = 0
    asked: str = ""
    """The request that is under way."""
    asked_key: bytes = b""
    abandon_ns: int = 0
    refused: str = ""
    told: set[str] = attrs.field(factory=set[str])


class PodCertificates:
    """Those of one kubelet's pods."""

    def __init__(self, host: Host, references: References) -> None:
        self._host = host
        self._references = references
        self._records: dict[tuple[str, str, int], _Record] = {}
        self._made = 0

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._records if key[0] == uid]:
            del self._records[key]

    async def get(self, pod: Object, volume: str, number: int, ref: Object) -> tuple[bytes, bytes]:
        """The key and the chain of certificates, both PEM, of a source of a volume.

        Raises: `ContentProblem` as long as they are not there.
        """
        place = (pod["metadata"]["uid"], volume, number)
        record = self._records.setdefault(place, _Record())
        if not record.refused:
            await self._advance(pod, ref, record)
        if record.refused:
            raise ContentProblem(record.refused)
        if not record.chain:
            raise ContentProblem(_NOT_YET)
        return record.key, record.chain

    async def _advance(self, pod: Object, ref: Object, record: _Record) -> None:
        now_ns = self._host.now_ns()
        if record.asked:
            await self._look(pod, record)
        elif not record.chain or now_ns >= record.refresh_ns:
            await self._ask(pod, ref, record)
        if not record.chain:
            return
        for due_ns, reason, message in (
            (record.refresh_ns + OVERDUE_NS, "CertificateOverdueForRefresh",
             "PodCertificate refresh overdue"),
            (record.ends_ns, "CertificateExpired", "PodCertificate expired"),
        ):
            if now_ns > due_ns and reason not in record.told:
                record.told.add(reason)
                self._host.pod_event(pod, WARNING, reason, message)

    def _jitter_ns(self, *event: object) -> int:
        return self._host.kernel.rng.below(JITTER_NS, "pod certificates", *event)

    async def _ask(self, pod: Object, ref: Object, record: _Record) -> None:
        host, meta, spec = self._host, pod["metadata"], pod["spec"]
        name = spec.get("serviceAccountName") or "default"
        account = await self._references.get(SERVICEACCOUNTS, meta["namespace"], name)
        node = await self._references.get(NODES, "", host.node.name)
        if account is None or node is None:
            return
        self._made += 1
        key, request = self._key_and_proof(ref["keyType"], meta["uid"], self._made)
        wanted: Object = {
            "signerName": ref["signerName"],
            "podName": meta["name"],
            "podUID": meta["uid"],
            "serviceAccountName": name,
            "serviceAccountUID": account["metadata"]["uid"],
            "nodeName": host.node.name,
            "nodeUID": node["metadata"]["uid"],
            "stubPKCS10Request": base64.b64encode(request).decode(),
        }
        if ref.get("maxExpirationSeconds") is not None:
            wanted["maxExpirationSeconds"] = ref["maxExpirationSeconds"]
        if ref.get("userAnnotations"):
            wanted["unverifiedUserAnnotations"] = ref["userAnnotations"]
        owner = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        made = await host.client.create(
            PODCERTIFICATEREQUESTS,
            meta["namespace"],
            {
                "apiVersion": "certificates.k8s.io/v1",
                "kind": "PodCertificateRequest",
                "metadata": {
                    "generateName": "req-", "namespace": meta["namespace"],
                    "ownerReferences": [owner],
                },
                "spec": wanted,
            },
        )
        record.asked, record.asked_key = made["metadata"]["name"], key
        wait_ns = ASSUME_DELETED_NS + self._jitter_ns(record.asked, "abandon")
        record.abandon_ns = host.now_ns() + wait_ns

    async def _look(self, pod: Object, record: _Record) -> None:
        host, namespace = self._host, pod["metadata"]["namespace"]
        found = await self._references.get(PODCERTIFICATEREQUESTS, namespace, record.asked)
        if found is None:
            if host.now_ns() > record.abandon_ns:
                record.asked = ""
            return
        status: Object = found.get("status") or NOTHING
        for condition in status.get("conditions") or ():
            kind, reason = condition["type"], condition.get("reason") or ""
            said = f"reason={quote(reason)}, message={quote(condition.get('message') or '')}"
            if kind in ("Denied", "Failed"):
                words = "was denied" if kind == "Denied" else "failed"
                message = f"PodCertificateRequest {namespace}/{record.asked} {words}, {said}"
                # Upstream takes the reason for the format of the message.
                host.pod_event(pod, WARNING, kind, f"{reason}%!(EXTRA string={message})")
                record.refused = (
                    f"PodCertificateRequest was permanently {kind.lower()}: "
                    f"{said.replace(', message', ' message')}"
                )
            elif kind == "Issued":
                record.key = record.asked_key
                record.chain = _cleaned(status.get("certificateChain") or "")
                record.refresh_ns = parse_time(status["beginRefreshAt"]) + self._jitter_ns(
                    record.asked, "refresh"
                )
                record.ends_ns = parse_time(status["notAfter"])
                record.asked, record.told = "", set()

    # -- keys ---------------------------------------------------------------------------------

    def _key_and_proof(self, kind: str, *event: object) -> tuple[bytes, bytes]:
        """A new key (PKCS#8, PEM), and a request that proves that we have it (PKCS#10, DER)."""
        x509, serialization = _library("x509"), _library("hazmat.primitives.serialization")
        hashes = _library("hazmat.primitives.hashes")
        key = self._key(kind, event)
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        digest = None if kind == "ED25519" else {
            "ECDSAP384": hashes.SHA384, "ECDSAP521": hashes.SHA512,
        }.get(kind, hashes.SHA256)()
        own: Any = {"ecdsa_deterministic": True} if kind in _CURVES else {}
        try:
            request = builder.sign(key, digest, **own)
        except TypeError:  # older versions cannot sign the same twice
            request = builder.sign(key, digest)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return pem, request.public_bytes(serialization.Encoding.DER)

    def _key(self, kind: str, event: tuple[object, ...]) -> Any:
        if kind == "ED25519":
            ed25519 = _library("hazmat.primitives.asymmetric.ed25519")
            return ed25519.Ed25519PrivateKey.from_private_bytes(self._bytes(32, event, "ed"))
        if kind in _RSA_BITS:
            half = _RSA_BITS[kind] // 2
            p, q = (self._prime(half, (*event, which)) for which in "pq")
            return _rsa_key(p, q)
        ec = _library("hazmat.primitives.asymmetric.ec")
        curve = getattr(ec, _CURVES[kind])()
        # Never zero, and below the order of each of the curves.
        number = int.from_bytes(self._bytes(curve.key_size // 8, event, "ec"), "big") >> 1
        return ec.derive_private_key(number or 1, curve)

    def _bytes(self, count: int, event: tuple[object, ...], *more: object) -> bytes:
        rng = self._host.kernel.rng
        pieces = [
            rng.bytes(64, "pod certificates", *event, *more, at) for at in range(-(-count // 64))
        ]
        return b"".join(pieces)[:count]

    def _prime(self, bits: int, event: tuple[object, ...]) -> int:
        # The two highest bits are set, so that the product of two has twice the length.
        found = int.from_bytes(self._bytes(bits // 8, event), "big")
        found |= (3 << (bits - 2)) | 1
        while not _is_prime(found) or found % _RSA_EXPONENT == 1:
            found += 2
        return found


def _library(module: str) -> Any:
    try:
        return import_module(f"cryptography.{module}")
    except ImportError:
        raise NotSimulated(
            "podCertificate volumes are made with the package `cryptography`, which is not "
            "installed.",
            "Install pytest-kubesim[serve].",
        ) from None


def _is_prime(number: int) -> bool:
    """By small divisors, then Miller and Rabin with a few fixed bases: enough for a simulation."""
    if any(number % small == 0 for small in _SMALL):
        return False
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7):
        power = pow(base, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def _rsa_key(p: int, q: int) -> Any:
    rsa = _library("hazmat.primitives.asymmetric.rsa")
    p, q = max(p, q), min(p, q)
    private = pow(_RSA_EXPONENT, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(_RSA_EXPONENT, p * q)
    return rsa.RSAPrivateNumbers(
        p, q, private, rsa.rsa_crt_dmp1(private, p), rsa.rsa_crt_dmq1(private, q),
        rsa.rsa_crt_iqmp(p, q), public,
    ).private_key()


def _cleaned(chain: str) -> bytes:
    """The blocks of a chain, without what is between them."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    out = ""
    for piece in chain.split(begin)[1:]:
        body = "".join(piece.split(end)[0].split())
        lines = [body[at : at + 64] for at in range(0, len(body), 64)]
        out += "\n".join([begin, *lines, end, ""])
    return out.encode()
