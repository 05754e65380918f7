"""agnhost's signer, in a pod, gives other pods their certificates."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("cryptography")

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.66"
SIGNER = "row-major.net/spiffe"
RBAC = "rbac.authorization.k8s.io"
RIGHTS = {
    "apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "signer"},
    "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
}


def pod(name: str, *args: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": AGNHOST, "args": list(args), **spec.pop("container", {})}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [container], **spec},
    }


def test_pods_get_the_certificates_that_it_signs(kubesim: Any) -> None:
    kubesim.add_nodes(1)
    kubesim.apply(RIGHTS)
    kubesim.create(pod("signer", "podcertificatesigner", f"--signer-name={SIGNER}"))
    source = {"podCertificate": {
        "signerName": SIGNER, "keyType": "ED25519", "credentialBundlePath": "creds.pem",
    }}
    kubesim.create(pod(
        "holder", "pause",
        container={"volumeMounts": [{"name": "v", "mountPath": "/creds"}]},
        volumes=[{"name": "v", "projected": {"sources": [source]}}],
    ))
    kubesim.eventually("pod/holder", {"status": {"phase": "Running"}}, within="1m")
    bundle = kubesim.get("clustertrustbundle/row-major.net:spiffe:primary-bundle")
    assert bundle["spec"]["signerName"] == SIGNER
    request = kubesim.list("podcertificaterequests")[0]
    chain = request["status"]["certificateChain"].encode()
    from pytest_kubesim.apimachinery import x509

    x509.check(chain, bundle["spec"]["trustBundle"].encode(), "server.default.svc",
               kubesim.kernel.now_ns)
    assert x509.uris(chain) == ["spiffe://cluster.local/ns/default/sa/default"]
    kubesim.delete("pod/signer")
    kubesim.eventually("pods", {"metadata": {"name": "signer"}}, count=0, within="1m")
