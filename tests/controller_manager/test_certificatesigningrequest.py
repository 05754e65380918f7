"""Certificates, and tokens of service accounts."""

import base64

import pytest
from controller_world import World

from pytest_kubesim.client_go import resources as r

x509 = pytest.importorskip("cryptography.x509")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402

CLIENT, KUBELET = "kubernetes.io/kube-apiserver-client", "kubernetes.io/kube-apiserver-client-kubelet"
CSRS = r.CERTIFICATESIGNINGREQUESTS


def world(**settings):
    return World(
        "certificatesigningrequest-signing-controller",
        "certificatesigningrequest-approving-controller",
        "certificatesigningrequest-cleaner-controller",
        **settings,
    )


def request(name, *organizations, dns=()):
    key = ec.derive_private_key(12345, ec.SECP256R1())
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    parts.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(parts))
    if dns:
        names = x509.SubjectAlternativeName([x509.DNSName(d) for d in dns])
        builder = builder.add_extension(names, critical=False)
    signed = builder.sign(key, hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def ask(w, name, text, signer=CLIENT, usages=("client auth",), **spec):
    body = {
        "metadata": {"name": name},
        "spec": {
            "request": text, "signerName": signer, "usages": list(usages), "username": "admin",
            "groups": ["system:masters"], **spec,
        },
    }
    w.create(CSRS, body, namespace="")
    w.settle(1)


def approve(w, name, type_="Approved"):
    csr = w.get(CSRS, name, namespace="")
    condition = {"type": type_, "status": "True", "reason": "Test", "lastUpdateTime": w.now}
    w.do(w.admin.update(CSRS, "", {**csr, "status": {"conditions": [condition]}}, subresource="approval"))
    w.settle(1)


def certificate(w, name):
    text = w.get(CSRS, name, namespace="")["status"].get("certificate")
    return text and x509.load_pem_x509_certificate(base64.b64decode(text))


def test_what_is_approved_is_signed_for_the_time_asked_for():
    w = world()
    ask(w, "jane", request("jane", "dev"), expirationSeconds=3600)
    assert certificate(w, "jane") is None
    approve(w, "jane")
    found = certificate(w, "jane")
    assert found.subject.rfc4514_string() == "CN=jane,O=dev"
    assert found.issuer.rfc4514_string() == "CN=kubernetes"
    length = found.not_valid_after_utc - found.not_valid_before_utc
    assert length.total_seconds() == 3600 + 300
    assert w.errors() == []


def test_equal_runs_give_equal_certificates():
    texts = set()
    for _ in range(2):
        w = world()
        ask(w, "jane", request("jane"))
        approve(w, "jane")
        found = certificate(w, "jane")
        texts.add((found.serial_number, found.signature))
    assert len(texts) == 1


def test_what_is_denied_is_not_signed():
    w = world()
    ask(w, "jane", request("jane"))
    approve(w, "jane", "Denied")
    assert certificate(w, "jane") is None


def test_a_signer_refuses_what_is_not_its_own():
    w = world()
    ask(w, "jane", request("jane"), usages=("client auth", "server auth"))
    approve(w, "jane")
    failed = w.get(CSRS, "jane", namespace="")["status"]["conditions"][-1]
    assert (failed["type"], failed["reason"], failed["message"]) == (
        "Failed", "SignerValidationFailure", "invalid usage for client certificate: server auth",
    )


def test_a_kubelets_own_request_is_approved():
    w = world()
    usages = ("digital signature", "client auth")
    ask(w, "node", request("system:node:w1", "system:nodes"), KUBELET, usages)
    approved = w.get(CSRS, "node", namespace="")["status"]["conditions"][0]
    assert (approved["type"], approved["reason"]) == ("Approved", "AutoApproved")
    assert certificate(w, "node") is not None


@pytest.mark.parametrize(
    ("text", "usages"),
    [
        (request("jane", "system:nodes"), ("digital signature", "client auth")),
        (request("system:node:w1", "admins"), ("digital signature", "client auth")),
        (request("system:node:w1", "system:nodes", dns=["w1"]), ("digital signature", "client auth")),
        (request("system:node:w1", "system:nodes"), ("client auth",)),
    ],
)
def test_what_is_no_kubelets_request_is_left_alone(text, usages):
    w = world()
    ask(w, "node", text, KUBELET, usages)
    assert not w.get(CSRS, "node", namespace="")["status"].get("conditions")


def test_what_cannot_be_read_is_an_error():
    w = world()
    ask(w, "bad", request("jane"))
    from pytest_kubesim.controller_manager import certificate_requests
    from pytest_kubesim.controller_manager.controller import SyncError

    with pytest.raises(SyncError, match="unable to parse csr"):
        certificate_requests.parse({"metadata": {"name": "x"}, "spec": {"request": "bm8="}})


def test_old_requests_are_deleted():
    w = world()
    ask(w, "answered", request("jane"))
    approve(w, "answered")
    ask(w, "forgotten", request("jim"))
    w.settle(3 * 3600)
    assert [c["metadata"]["name"] for c in w.list(CSRS, "")] == ["forgotten"]
    w.settle(24 * 3600)
    assert w.list(CSRS, "") == []


# -- tokens of service accounts ----------------------------------------------------------------

TYPE, NAME = "kubernetes.io/service-account-token", "kubernetes.io/service-account.name"


def token(name, account):
    return {"metadata": {"name": name, "annotations": {NAME: account}}, "type": TYPE}


def tokens():
    said = []

    def sign(claims):
        said.append(claims)
        return "signed"

    w = World("serviceaccount-token-controller", **{"service-account-signer": sign, "root-ca-file": "PEM"})
    w.said = said
    return w


def test_a_secret_for_a_token_is_filled_and_goes_with_its_service_account():
    w = tokens()
    account = w.create(r.SERVICEACCOUNTS, {"metadata": {"name": "robot"}})
    w.create(r.SECRETS, token("t", "robot"))
    w.settle(1)
    secret = w.get(r.SECRETS, "t")
    assert {k: base64.b64decode(v).decode() for k, v in secret["data"].items()} == {
        "token": "signed", "ca.crt": "PEM", "namespace": "default",
    }
    uid = account["metadata"]["uid"]
    assert secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == uid
    assert w.said[0]["sub"] == "system:serviceaccount:default:robot"
    w.delete(r.SERVICEACCOUNTS, "robot")
    w.settle(1)
    assert w.list(r.SECRETS) == []


def test_a_secret_for_a_service_account_that_is_not_there_goes():
    w = tokens()
    w.create(r.SECRETS, token("t", "ghost"))
    w.settle(1)
    assert w.list(r.SECRETS) == []


def test_a_service_account_forgets_secrets_that_are_gone():
    w = tokens()
    body = {"metadata": {"name": "robot"}, "secrets": [{"name": "t"}, {"name": "other"}]}
    w.create(r.SERVICEACCOUNTS, body)
    w.create(r.SECRETS, token("t", "robot"))
    w.settle(1)
    w.delete(r.SECRETS, "t")
    w.settle(1)
    assert w.get(r.SERVICEACCOUNTS, "robot")["secrets"] == [{"name": "other"}]


def test_requests_of_pods_are_deleted_after_a_quarter_of_an_hour():
    w = World("podcertificaterequest-cleaner-controller")
    key = ec.derive_private_key(12345, ec.SECP256R1())
    stub = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    uid = "11111111-2222-3333-4444-555555555555"
    w.create(r.PODCERTIFICATEREQUESTS, {"metadata": {"name": "r"}, "spec": {
        "signerName": "example.com/signer", "podName": "p", "podUID": uid,
        "serviceAccountName": "default", "serviceAccountUID": uid,
        "nodeName": "n", "nodeUID": uid, "maxExpirationSeconds": 86400,
        "stubPKCS10Request": base64.b64encode(stub.public_bytes(serialization.Encoding.DER)).decode(),
    }})
    w.settle(14 * 60)
    assert len(w.list(r.PODCERTIFICATEREQUESTS)) == 1
    w.settle(7 * 60)
    assert w.list(r.PODCERTIFICATEREQUESTS) == []
