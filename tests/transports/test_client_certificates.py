"""A client certificate that was requested and signed opens the door of the cluster that signed it."""

from __future__ import annotations

import base64
import json
import ssl
import time
import urllib.error
import urllib.request

import pytest
import served

x509 = pytest.importorskip("cryptography.x509")
CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


def request_of(user, group):
    """A key and a signing request, both in PEM."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    oid = x509.oid.NameOID
    name = x509.Name([
        x509.NameAttribute(oid.ORGANIZATION_NAME, group), x509.NameAttribute(oid.COMMON_NAME, user),
    ])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    return (
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        request.public_bytes(encoding),
    )


@pytest.mark.slow
def test_a_signed_certificate_says_who_one_is(tmp_path):
    key, request = request_of("jane", "devs")
    server = served.Served("--components", "controllers")
    try:
        spec = {
            "request": base64.b64encode(request).decode(), "usages": ["client auth"],
            "signerName": "kubernetes.io/kube-apiserver-client",
        }
        csr = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
               "metadata": {"name": "jane"}, "spec": spec}
        assert server.ask("POST", CSRS, csr)[0] == 201
        made = server.ask("GET", f"{CSRS}/jane")[1]
        made["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "ok", "message": "ok"}]}
        assert server.ask("PUT", f"{CSRS}/jane/approval", made)[0] == 200
        while not (signed := server.ask("GET", f"{CSRS}/jane")[1]["status"].get("certificate")):
            time.sleep(0.05)
        pair = tmp_path / "jane.pem"
        pair.write_bytes(key + base64.b64decode(signed))
        context = ssl._create_unverified_context()  # noqa: S323, SLF001 - it is the client that is looked at
        context.load_cert_chain(pair)
        url = f"{server.url}/api/v1/namespaces/default/secrets"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url, context=context)  # noqa: S310 - our own server
        assert 'User "jane" cannot list' in json.loads(refused.value.read())["message"]
        refused.value.close()
    finally:
        server.stop()
