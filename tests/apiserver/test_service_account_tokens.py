"""Tokens of service accounts: what they are bound to, how long they are believed."""

from __future__ import annotations

import base64
from typing import Any

import pytest

pytestmark = pytest.mark.kubesim(components="controllers")

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


@pytest.fixture
def http(kubesim: Any) -> Any:
    kubesim.create(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "op"}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p"},
            "spec": {
                "nodeName": "n1",
                "serviceAccountName": "op",
                "containers": [{"name": "c", "image": "a:1"}],
            },
        },
    )
    return kubesim.client("httpx")


def token(http: Any, **spec: Any) -> str:
    answer = http.post(f"{ACCOUNTS}/op/token", json={"spec": spec})
    assert answer.status_code == 201, answer.text
    return answer.json()["status"]["token"]


def review(http: Any, text: str, *audiences: str) -> Any:
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    spec = {"token": text, "audiences": list(audiences)}
    return http.post(path, json={"spec": spec}).json()["status"]


def bound(kind: str, name: str) -> dict[str, str]:
    return {"apiVersion": "v1", "kind": kind, "name": name}


def test_a_review_tells_the_pod_and_its_node(http: Any) -> None:
    extra = review(http, token(http, boundObjectRef=bound("Pod", "p")))["user"]["extra"]
    prefix = "authentication.kubernetes.io/"
    assert extra[f"{prefix}pod-name"] == ["p"]
    assert extra[f"{prefix}node-name"] == ["n1"]
    assert extra[f"{prefix}credential-id"][0].startswith("JTI=")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Pod", "/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0"),
        ("Secret", "/api/v1/namespaces/default/secrets/s"),
        ("Node", "/api/v1/nodes/n1"),
    ],
)
def test_what_is_bound_ends_with_what_it_is_bound_to(
    kubesim: Any, http: Any, kind: str, path: str
) -> None:
    name = path.partition("?")[0].rpartition("/")[2]
    text = token(http, boundObjectRef=bound(kind, name))
    assert review(http, text)["authenticated"]
    http.delete(path)
    assert review(http, text)["authenticated"]  # for ten seconds what was found out is believed
    kubesim.advance("11s")
    problem = "[invalid bearer token, service account token has been invalidated]"
    assert review(http, text) == {"user": {}, "error": problem}


def test_a_token_is_for_its_audiences(http: Any) -> None:
    text = token(http, audiences=["vault"])
    assert review(http, text, "vault", "other")["audiences"] == ["vault"]
    assert review(http, text)["error"] == (
        '[invalid bearer token, token audiences ["vault"] is invalid for the target audiences '
        '["https://kubernetes.default.svc"]]'
    )


def test_a_token_ends_a_minute_after_its_time(kubesim: Any, http: Any) -> None:
    text = token(http, expirationSeconds=600)
    kubesim.advance("659s")
    assert review(http, text)["authenticated"]
    kubesim.advance("12s")
    assert review(http, text)["error"] == (
        "[invalid bearer token, service account token has expired]"
    )


def test_tokens_of_accounts_that_were_made_anew_are_refused(kubesim: Any, http: Any) -> None:
    text = token(http)
    kubesim.delete("serviceaccount/op")
    problem = '[invalid bearer token, serviceaccounts "op" not found]'
    assert review(http, text)["error"] == problem
    kubesim.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "op"}})
    assert "does not match claim" in review(http, text)["error"]


def _has_token(obj: dict[str, Any]) -> bool:
    return "token" in (obj.get("data") or ())


def test_a_secret_can_hold_a_token(kubesim: Any, http: Any) -> None:
    kubesim.create({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {
            "name": "old", "annotations": {"kubernetes.io/service-account.name": "op"},
        },
    })
    kubesim.eventually("secret/old", _has_token, within="10s")
    data = kubesim.get("secret/old")["data"]
    text = base64.b64decode(data["token"]).decode()
    answer = review(http, text)
    assert answer["user"]["username"] == "system:serviceaccount:default:op"
    assert "extra" not in answer["user"]
    kubesim.advance("1s")
    assert kubesim.get("secret/old")["metadata"]["labels"] == {
        "kubernetes.io/legacy-token-last-used": "2026-01-01"
    }
    kubesim.delete("secret/old")
    kubesim.advance("11s")
    assert review(http, text)["error"] == "[invalid bearer token, Token has been invalidated]"
