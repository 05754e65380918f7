"""Trust bundles and certificates in pods' volumes, and what programs in pods do with them."""

import base64
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from freezegun.api import FakeDatetime, real_datetime

from pytest_kubesim.sim.freezes import real_classes

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"
SIGNER = "example.com/spiffe"


class Authority:
    """Signs certificates that are good at the cluster's time."""

    def __init__(self, now):
        self.seconds = now.timestamp()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])
        self.certificate = self._sign(self.key.public_key(), self.name, [], authority=True)

    def _sign(self, key, subject, names, *, authority=False):
        # The library takes datetimes of the class that it has met first, a frozen one maybe.
        with real_classes():
            try:
                return self._signed(real_datetime, key, subject, names, authority)
            except TypeError:
                return self._signed(FakeDatetime, key, subject, names, authority)

    def _signed(self, kind, key, subject, names, authority):
        now = kind.fromtimestamp(self.seconds, dt.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=24))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, key, *names):
        """A certificate for a key, PEM."""
        made = self._sign(key, x509.Name([]), list(names))
        return made.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def authority(kubesim):
    kubesim.add_nodes(1)
    return Authority(kubesim.clock.now)


def pod(name, args, volumes=(), **labels):
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {
            "containers": [{
                "name": "c", "image": AGNHOST, "args": args,
                "volumeMounts": [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in volumes],
            }],
            "volumes": list(volumes), "terminationGracePeriodSeconds": 1,
        },
    }


def log(kubesim, name):
    uid = kubesim.get(f"pod/{name}")["metadata"]["uid"]
    run = kubesim.nodes["node-1"].machine.runtime.pod_state(uid).containers[0]
    return "\n".join(line.text for line in run.logs)


def bundle(name, pem, **extra):
    return {
        "apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle",
        "metadata": {"name": name}, "spec": {"trustBundle": pem, **extra},
    }


def projected(name, *sources):
    return {"name": name, "projected": {"sources": list(sources)}}


def sign(kubesim, authority, *names):
    """Sign what has been asked for."""
    for request in kubesim.list("podcertificaterequests"):
        stub = base64.b64decode(request["spec"]["stubPKCS10Request"])
        asked = x509.load_der_x509_csr(stub)
        assert asked.is_signature_valid
        now = kubesim.clock.now
        status = {
            "conditions": [{
                "type": "Issued", "status": "True", "reason": "Issued", "message": "Issued",
                "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }],
            "certificateChain": authority.issue(asked.public_key(), *names),
            "notBefore": (now - dt.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "beginRefreshAt": (now + dt.timedelta(hours=12)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "notAfter": (now + dt.timedelta(hours=24)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if not request.get("status"):
            kubesim.patch(
                f"podcertificaterequest/{request['metadata']['name']}", {"status": status},
                subresource="status",
            )


def test_a_trust_bundle_is_a_file_and_a_missing_one_is_waited_for(kubesim, authority):
    volume = projected("v", {"clusterTrustBundle": {"name": "b", "path": "a.pem"}})
    kubesim.apply(pod("p", ["mounttest", "--file_content=/v/a.pem"], [volume]))
    kubesim.advance("30s")
    assert kubesim.get("pod/p")["status"]["phase"] == "Pending"
    kubesim.apply(bundle("b", authority.pem))
    kubesim.eventually("pod/p", {"status": {"phase": "Running"}}, within="3m")
    assert authority.pem.strip() in log(kubesim, "p")


@pytest.mark.parametrize("kind", ["ECDSAP256", "ECDSAP384", "ED25519", "RSA3072"])
def test_a_pod_is_given_a_certificate_for_a_key_of_its_own(kubesim, authority, kind):
    source = {"podCertificate": {
        "signerName": SIGNER, "keyType": kind, "credentialBundlePath": "both.pem",
    }}
    kubesim.apply(pod("p", ["mounttest", "--file_content=/v/both.pem"], [projected("v", source)]))
    kubesim.eventually("podcertificaterequests", count=1, within="1m")
    assert kubesim.get("pod/p")["status"]["phase"] == "Pending"
    sign(kubesim, authority, x509.DNSName("p"))
    kubesim.eventually("pod/p", {"status": {"phase": "Running"}}, within="3m")
    shown = log(kubesim, "p")
    start = shown.index("-----BEGIN PRIVATE KEY-----")
    key = serialization.load_pem_private_key(shown[start:].encode(), None)
    chain = x509.load_pem_x509_certificates(shown[start:].encode())
    assert chain[0].public_key() == key.public_key()


def test_a_denied_certificate_keeps_the_pod_from_starting(kubesim, authority):
    del authority
    source = {"podCertificate": {
        "signerName": SIGNER, "keyType": "ED25519", "credentialBundlePath": "both.pem",
    }}
    kubesim.apply(pod("p", ["pause"], [projected("v", source)]))
    kubesim.eventually("podcertificaterequests", count=1, within="1m")
    name = kubesim.list("podcertificaterequests")[0]["metadata"]["name"]
    kubesim.patch(f"podcertificaterequest/{name}", {"status": {"conditions": [{
        "type": "Denied", "status": "True", "reason": "NotYou", "message": "never",
        "lastTransitionTime": kubesim.clock.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }]}}, subresource="status")
    kubesim.eventually(
        "events", {"reason": "Denied", "message": f'NotYou%!(EXTRA string=PodCertificateRequest default/{name} was denied, reason="NotYou", message="never")'},
        within="2m",
    )
    kubesim.advance("2m")
    assert kubesim.get("pod/p")["status"]["phase"] == "Pending"


def test_two_pods_prove_to_each_other_who_they_are(kubesim, authority):
    kubesim.apply(bundle("b", authority.pem))
    volume = projected(
        "v",
        {"podCertificate": {"signerName": SIGNER, "keyType": "ECDSAP256", "credentialBundlePath": "both.pem"}},
        {"clusterTrustBundle": {"name": "b", "path": "trusted.pem"}},
    )
    server = ["mtlsserver", "--listen=0.0.0.0:443", "--server-creds=/v/both.pem", "--spiffe-trust-bundle=/v/trusted.pem"]
    client = [
        "mtlsclient", "--fetch-url=https://server.default.svc/spiffe-echo",
        "--server-trust-bundle=/v/trusted.pem", "--client-cred-bundle=/v/both.pem",
    ]
    kubesim.apply(pod("server", server, [volume], app="server"), pod("client", client, [volume]), {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 443}]},
    })
    kubesim.eventually("podcertificaterequests", count=2, within="1m")
    sign(kubesim, authority, x509.DNSName("server.default.svc"), x509.UniformResourceIdentifier("spiffe://a/b"))
    kubesim.eventually("pods", {"status": {"phase": "Running"}}, count=2, within="3m")
    kubesim.advance("30s")
    assert "Got response body: Client Identity: spiffe://a/b" in log(kubesim, "client")


def test_a_webhook_in_a_pod_is_called_if_its_certificate_is_good(kubesim, authority):
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    kubesim.apply(
        {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {
                "tls.crt": authority.issue(key.public_key(), x509.DNSName("hook.default.svc")),
                "tls.key": secret.decode(),
            },
        },
        pod(
            "hook",
            ["webhook", "--tls-cert-file=/v/tls.crt", "--tls-private-key-file=/v/tls.key", "--port=8444", "-v=4"],
            [{"name": "v", "secret": {"secretName": "s"}}], app="hook",
        ),
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"},
            "spec": {"selector": {"app": "hook"}, "ports": [{"port": 443, "targetPort": 8444}]},
        },
    )
    kubesim.eventually("pod/hook", {"status": {"phase": "Running"}}, within="3m")
    kubesim.advance("10s")

    def configuration(pem):
        return {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "w"}, "webhooks": [{
                "name": "deny.k8s.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
                "clientConfig": {
                    "service": {"name": "hook", "namespace": "default", "path": "/configmaps"},
                    "caBundle": base64.b64encode(pem.encode()).decode(),
                },
            }],
        }

    def refusal():
        with pytest.raises(Exception, match="webhook") as refused:
            kubesim.create({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"},
                "data": {"webhook-e2e-test": "webhook-disallow"},
            })
        return str(refused.value)

    kubesim.apply(configuration(authority.pem))
    said = 'admission webhook "deny.k8s.io" denied the request: the configmap contains unwanted key and value'
    assert said in refusal()
    kubesim.apply(configuration(Authority(kubesim.clock.now).pem))
    assert "x509: certificate signed by unknown authority" in refusal()


def test_a_program_in_a_pod_asks_the_api_server(kubesim, authority):
    del authority
    kubesim.apply(pod("p", ["inclusterclient", "--poll-interval=5"]))
    kubesim.eventually("pod/p", {"status": {"phase": "Running"}}, within="3m")
    kubesim.advance("20s")
    assert "calling /healthz" in log(kubesim, "p")
    assert "status=failed" not in log(kubesim, "p")
