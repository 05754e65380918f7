"""podcertificatesigner: signs PodCertificateRequests, and publishes its authority.

The law: it looks for requests every second, and signs those of its signer with a key of its own,
which equal runs draw alike.  It needs the package `cryptography`.

Follows `test/images/agnhost/podcertificatesigner` and `test/utils/hermeticpodcertificatesigner`.
"""

from __future__ import annotations

import base64
import datetime as dt
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.timestamps import format_time
from pytest_kubesim.cri.software.agnhost.flags import Signals, klog, parse
from pytest_kubesim.cri.software.in_cluster import Unavailable, ask
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import to_datetime

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.linux.process import Proc

AGENT = "agnhost/v0.0.0 (linux/amd64) kubernetes/$Format"
ROOT = "/apis/certificates.k8s.io/v1"
SPIFFE_PATH = "spiffe/path-overriding"
LOOK_NS, BUNDLE_NS = NS, 60 * NS
EARLY_NS, LIFETIME_SECONDS, REFRESH_NS = 120 * NS, 24 * 3600, 1800 * NS
AUTHORITY_NS = 24 * 3600 * NS


async def podcertificatesigner(proc: Proc, args: list[str]) -> int:
    """`podcertificatesigner --signer-name name [--cluster-dns-domain domain]`."""
    flags = await parse(
        proc, args, {"kubeconfig": "", "signer-name": "", "cluster-dns-domain": "", "v": "0"}
    )
    signals = Signals(proc, "TERM", "INT")
    try:
        authority = Authority(proc)
    except ImportError:
        await proc.err("Error: certificates are not simulated without the package cryptography\n")
        return 1
    signer = Signer(proc, authority, flags["signer-name"], flags["cluster-dns-domain"])
    proc.system.thread(signer.publish(), "publishes")
    proc.system.thread(signer.sign_all(), "signs")
    # The real one begins to delete its ClusterTrustBundle then, and has ended before that is done.
    await signals.wait()
    return 0


class Authority:
    """A key, and the certificate of it that it has signed itself.  Raises `ImportError`."""

    def __init__(self, proc: Proc) -> None:
        self._proc = proc
        self._x509: Any = import_module("cryptography.x509")
        keys: Any = import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
        self._key = keys.Ed25519PrivateKey.from_private_bytes(proc.system.random(32))
        now_ns = proc.system.now_ns()
        x509 = self._x509
        self._certificate = (
            self._builder(self._key.public_key(), now_ns, now_ns + AUTHORITY_NS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, None)
        )

    def _builder(self, key: Any, first_ns: int, last_ns: int) -> Any:
        serial = int.from_bytes(self._proc.system.random(15), "big") | 1
        return (
            self._x509.CertificateBuilder()
            .subject_name(self._x509.Name([]))
            .issuer_name(self._x509.Name([]))
            .public_key(key)
            .serial_number(serial)
            .not_valid_before(_date(first_ns))
            .not_valid_after(_date(last_ns))
        )

    @property
    def pem(self) -> str:
        """Its certificate."""
        return _pem(self._certificate)

    def signed(
        self, request: bytes, uri: str, names: list[str], first_ns: int, last_ns: int
    ) -> str:
        """A certificate for who has made a request (PKCS#10, DER)."""
        x509 = self._x509
        usages = x509.oid.ExtendedKeyUsageOID
        key = x509.load_der_x509_csr(request).public_key()
        also = [
            x509.UniformResourceIdentifier(uri), *(x509.DNSName(name) for name in names)
        ]
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=False, crl_sign=False,
            encipher_only=False, decipher_only=False,
        )
        made = (
            self._builder(key, first_ns, last_ns)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([usages.CLIENT_AUTH, usages.SERVER_AUTH]), critical=False
            )
            # The subject is empty: who it is, is said there.
            .add_extension(x509.SubjectAlternativeName(also), critical=True)
            .sign(self._key, None)
        )
        return _pem(made)


def _date(time_ns: int) -> dt.datetime:
    """An instant, as an object of the class that is called so at present.

    The library takes no other; while time is frozen, that is a frozen one.
    """
    found = to_datetime(time_ns)
    return dt.datetime(
        found.year, found.month, found.day, found.hour, found.minute, found.second,
        tzinfo=dt.UTC,
    )


def _pem(certificate: Any) -> str:
    serialization: Any = import_module("cryptography.hazmat.primitives.serialization")
    text: str = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return text


class Signer:
    """What it does, over and over."""

    def __init__(self, proc: Proc, authority: Authority, name: str, domain: str) -> None:
        self._proc = proc
        self._authority = authority
        self._name = name
        self._domain = domain
        self._bundle = f"{name.replace('/', ':', 1)}:primary-bundle"

    async def publish(self) -> None:
        """Have the ClusterTrustBundle there, and right."""
        path = f"{ROOT}/clustertrustbundles"
        spec = {"signerName": self._name, "trustBundle": self._authority.pem}
        wanted: Object = {
            "apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle",
            "metadata": {"name": self._bundle}, "spec": spec,
        }
        while True:
            try:
                found = await ask(self._proc, AGENT, "GET", f"{path}/{self._bundle}")
                if found["spec"] != spec:
                    changed = {**found, "spec": spec}
                    await ask(self._proc, AGENT, "PUT", f"{path}/{self._bundle}", changed)
            except Unavailable as error:
                await self._create(path, wanted, error)
            await self._proc.system.sleep(BUNDLE_NS)

    async def _create(self, path: str, wanted: Object, problem: Unavailable) -> None:
        said = f"Failed to get ClusterTrustBundle {self._bundle}: {problem}"
        if problem.code == 404:
            try:
                await ask(self._proc, AGENT, "POST", path, wanted)
            except Unavailable as error:
                said = f"Failed to create ClusterTrustBundle {self._bundle}: {error}"
            else:
                return
        await klog(self._proc, "E", "hermeticpodcertificatesigner.go:150", said)

    async def sign_all(self) -> None:
        """Sign what is to be signed, every second."""
        while True:
            try:
                listed = await ask(self._proc, AGENT, "GET", f"{ROOT}/podcertificaterequests")
                for request in listed["items"]:
                    status: Object = request.get("status") or {}
                    own = request["spec"]["signerName"] == self._name
                    if own and not status.get("certificateChain"):
                        await self._sign(request)
            except Unavailable as error:
                said = f'"Error while handling PodCertificateRequest" err="{error}"'
                await klog(self._proc, "E", "hermeticpodcertificatesigner.go:216", said)
            await self._proc.system.sleep(LOOK_NS)

    async def _sign(self, request: Object) -> None:
        """Sign one.  Raises `Unavailable`."""
        spec, metadata = request["spec"], request["metadata"]
        namespace: str = metadata["namespace"]
        seconds = min(LIFETIME_SECONDS, spec.get("maxExpirationSeconds") or LIFETIME_SECONDS)
        annotations: dict[str, str] = spec.get("unverifiedUserAnnotations") or {}
        path = annotations.get(SPIFFE_PATH, f"ns/{namespace}/sa/{spec['serviceAccountName']}")
        names = [f"server.{namespace}.svc"]
        if self._domain:
            names.append(f"server.{namespace}.svc.{self._domain}")
        now_ns = self._proc.system.now_ns()
        first_ns = now_ns - EARLY_NS
        last_ns = first_ns + seconds * NS
        chain = self._authority.signed(
            base64.b64decode(spec["stubPKCS10Request"]),
            f"spiffe://cluster.local/{path.lstrip('/')}", names, first_ns, last_ns,
        )
        status = {
            "conditions": [{
                "type": "Issued", "status": "True", "reason": "Reason", "message": "Issued",
                "lastTransitionTime": format_time(now_ns),
            }],
            "certificateChain": chain,
            "notBefore": format_time(first_ns),
            "beginRefreshAt": format_time(last_ns - REFRESH_NS),
            "notAfter": format_time(last_ns),
        }
        where = f"{ROOT}/namespaces/{namespace}/podcertificaterequests/{metadata['name']}/status"
        await ask(self._proc, AGENT, "PUT", where, {**request, "status": status})


COMMANDS = {"podcertificatesigner": podcertificatesigner}
