"""The definitions of known projects, as they ship them: installed, and used.

They are read from Go's module cache where they are there; what Kubernetes itself made of each is in
`WANTED`: all are accepted, and what is asked of their resources is refused in the same words.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pytest_kubesim import APIStatus

CACHE = Path(os.environ.get("GOMODCACHE", Path.home() / "go/pkg/mod")) / "github.com"
BUNDLES = {
    "argo-cd": ("argoproj/argo-cd", "v2@*/manifests/crds/*-crd.yaml", 3),
    "cert-manager": ("cert-manager", "cert-manager@*/deploy/crds/*.yaml", 6),
    "prometheus-operator": (
        "prometheus-operator", "prometheus-operator@*/example/prometheus-operator-crd/*.yaml", 10,
    ),
}
CERTIFICATES = Path(__file__).parent / "data" / "certificates.yaml"


@pytest.mark.parametrize("name", sorted(BUNDLES))
@pytest.mark.kubesim(components="apiserver")
def test_the_definitions_of_a_project_are_served(kubesim: Any, name: str) -> None:
    folder, pattern, count = BUNDLES[name]
    files = sorted((CACHE / folder).glob(pattern))
    if not files:
        pytest.skip(f"{name} is not in Go's module cache: go mod download github.com/...")
    for file in files:
        kubesim.apply(file)
    kubesim.advance("5s")
    found = kubesim.list("customresourcedefinitions")
    assert len(found) == count
    for crd in found:
        states = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
        assert states == {"NamesAccepted": "True", "Established": "True"}, crd["metadata"]["name"]


def certificate(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


@pytest.mark.kubesim(components="apiserver")
def test_a_definition_of_cert_manager_is_used(kubesim: Any) -> None:
    kubesim.apply(CERTIFICATES)
    kubesim.advance("5s")
    kubesim.create(certificate("web", secretName="web", issuerRef={"name": "ca"}, dnsNames=["a"]))
    assert kubesim.get("certificate/web")["spec"]["issuerRef"] == {"name": "ca"}
    with pytest.raises(APIStatus, match=r"spec.issuerRef: Required value") as refused:
        kubesim.create(certificate("api", secretName="api"))
    assert refused.value.code == 422
    with pytest.raises(APIStatus, match="spec.privateKey.algorithm: Unsupported value"):
        kubesim.create(
            certificate(
                "bad", secretName="s", issuerRef={"name": "ca"}, privateKey={"algorithm": "DSA"}
            )
        )
