"""Bootstrap tokens: what they sign, and their end."""

import base64

from controller_world import World

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.client_go import resources as r
from pytest_kubesim.controller_manager import manager
from pytest_kubesim.controller_manager.controllers.bootstrap_signer import detached_signature

SIGNER, CLEANER = "bootstrap-signer-controller", "token-cleaner-controller"


def token(w, name="abcdef", lives_for_ns=None, **entries):
    data = {"token-id": name, "token-secret": "0123456789abcdef",
            "usage-bootstrap-signing": "true", **entries}
    if lives_for_ns is not None:
        data["expiration"] = timestamps.format_time(w.kernel.now_ns + lives_for_ns)
    w.create(r.SECRETS, {
        "metadata": {"name": f"bootstrap-token-{name}"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()},
    }, namespace="kube-system")


def cluster_info(w):
    return w.get(r.CONFIGMAPS, "cluster-info", namespace="kube-public")["data"]


def test_both_are_off_unless_asked_for():
    assert not {SIGNER, CLEANER} & set(manager.select())
    assert manager.select(["*", SIGNER]).count(SIGNER) == 1


def test_every_token_that_may_sign_has_its_signature():
    w = World(SIGNER)
    w.create(r.CONFIGMAPS, {"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": "hi"}},
             namespace="kube-public")
    token(w)
    token(w, "nosign", **{"usage-bootstrap-signing": "false"})
    w.settle(1)
    signed = cluster_info(w)
    assert set(signed) == {"kubeconfig", "jws-kubeconfig-abcdef"}
    assert signed["jws-kubeconfig-abcdef"] == detached_signature("hi", "abcdef", "0123456789abcdef")
    w.do(w.admin.delete(r.SECRETS, "kube-system", "bootstrap-token-abcdef"))
    w.settle(1)
    assert cluster_info(w) == {"kubeconfig": "hi"}


def test_a_detached_signature_is_the_one_that_joining_nodes_check():
    # As `cluster-bootstrap/token/jws/jws_test.go` has it.
    assert detached_signature("Hello from the other side. I must have called a thousand times.",
                              "joshua", "my voice is my passcode") == (
        "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9.."
        "VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
    )


def test_a_token_goes_when_its_time_is_over():
    w = World(CLEANER)
    token(w, lives_for_ns=60 * 10**9)
    token(w, "always")
    w.settle(50)
    names = [s["metadata"]["name"] for s in w.list(r.SECRETS, "kube-system")]
    assert names == ["bootstrap-token-abcdef", "bootstrap-token-always"]
    w.settle(15)
    names = [s["metadata"]["name"] for s in w.list(r.SECRETS, "kube-system")]
    assert names == ["bootstrap-token-always"]
