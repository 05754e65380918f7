"""Python functions as webhooks of a test."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_kubesim import APIStatus, UsageError

Json = dict[str, Any]
CRD: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "links.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "links", "singular": "link", "kind": "Link"},
        "versions": [
            {
                "name": name,
                "served": True,
                "storage": name == "v1",
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "x-kubernetes-preserve-unknown-fields": True,
                            }
                        },
                    }
                },
            }
            for name in ("v1", "v2")
        ],
    },
}


LINK: Json = {"apiVersion": "example.com/v1", "kind": "Link", "metadata": {"name": "l"}}


def config_map(name: str, **fields: Any) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


def test_a_function_denies_with_its_words(kubesim: Any) -> None:
    @kubesim.webhook("configmaps")
    def guard(request: Json) -> str | None:
        return "no secrets here" if "password" in (request["object"].get("data") or {}) else None

    kubesim.create(config_map("fine"))
    with pytest.raises(APIStatus, match="denied the request: no secrets here"):
        kubesim.create(config_map("leak", data={"password": "x"}))
    assert guard.calls == 2
    assert guard.requests[1]["name"] == "leak"


def test_a_function_changes_what_is_stored(kubesim: Any) -> None:
    @kubesim.webhook("configmaps", mutating=True, operations=("CREATE",))
    def stamp(request: Json) -> Json:
        return {**request["object"], "data": {"made": "by stamp"}}

    kubesim.create(config_map("a", data={"x": "y"}))
    assert kubesim.get("configmap/a")["data"] == {"made": "by stamp"}
    assert stamp.calls == 1


def test_a_function_that_raises_is_a_server_that_fails(kubesim: Any) -> None:
    @kubesim.webhook("configmaps")
    def broken(request: Json) -> None:
        raise RuntimeError(request["name"])

    with pytest.raises(APIStatus, match="failed calling webhook") as failure:
        kubesim.create(config_map("a"))
    assert failure.value.code == 500
    broken.remove()
    with pytest.raises(APIStatus, match=r"no such host|connection refused"):
        kubesim.create(config_map("a"))


def test_a_webhook_that_a_manifest_configured_is_answered_for(kubesim: Any) -> None:
    kubesim.create({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "op"},
        "spec": {"ports": [{"port": 443}]},
    })
    kubesim.create({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "op"},
        "webhooks": [{
            "name": "check.example.com",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": "default", "name": "op", "path": "/check"}},
            "rules": [{
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["configmaps"],
            }],
        }],
    })
    with pytest.raises(APIStatus, match=r"https://op.default.svc:443/check\?timeout=10s"):
        kubesim.create(config_map("a"))
    asked = kubesim.webhook(service="default/op")(lambda _request: False)
    with pytest.raises(APIStatus, match="denied the request without explanation"):
        kubesim.create(config_map("a"))
    assert asked.calls == 1


def test_a_function_converts_between_versions(kubesim: Any) -> None:
    kubesim.apply(CRD)

    @kubesim.webhook(conversion="links.example.com")
    def convert(obj: Json, api_version: str) -> Json:
        spec: Json = obj.get("spec") or {}
        if api_version.endswith("v2"):
            return {**obj, "spec": {"address": f"{spec['host']}:{spec['port']}"}}
        host, _, port = spec["address"].partition(":")
        return {**obj, "spec": {"host": host, "port": int(port)}}

    kubesim.create({
        "apiVersion": "example.com/v1",
        "kind": "Link",
        "metadata": {"name": "a"},
        "spec": {"host": "h", "port": 80},
    })
    assert kubesim.get("links.v2.example.com/a")["spec"] == {"address": "h:80"}
    assert kubesim.get("links.v1.example.com/a")["spec"] == {"host": "h", "port": 80}
    kubesim.eventually("links.v1.example.com/a", {"spec": {"host": "h"}}, within="1s")
    kubesim.eventually("links.v2.example.com/a", {"spec": {"address": "h:80"}}, within="1s")
    assert convert.calls


def test_options_that_are_none_are_named(kubesim: Any) -> None:
    with pytest.raises(UsageError, match="unknown option 'mutate'"):
        kubesim.webhook("pods", mutate=True)
    with pytest.raises(UsageError, match="say what it is asked about"):
        kubesim.webhook()


def test_a_function_may_change_one_of_two_equal_parts(kubesim: Any) -> None:
    spec: Json = {"selector": {"app": "x"}, "labels": {"app": "x"}}
    kubesim.apply(CRD)
    kubesim.create({**LINK, "spec": spec})
    seen: list[Json] = []

    @kubesim.webhook("links.example.com", operations=("UPDATE",))
    def change(request: Json) -> bool:
        request["oldObject"]["spec"]["labels"]["changed"] = "yes"
        seen.append(request["oldObject"]["spec"])
        return True

    kubesim.patch("links.example.com/l", {"spec": {"more": "1"}})
    assert change.calls == 1
    assert seen == [{"selector": {"app": "x"}, "labels": {"app": "x", "changed": "yes"}}]
    assert kubesim.get("links.example.com/l")["spec"] == {**spec, "more": "1"}
