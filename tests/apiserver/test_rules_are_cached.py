"""Rules are compiled once for a definition, not for each object."""

from __future__ import annotations

from typing import Any

import pytest
from api_world import World

from pytest_kubesim.apimachinery.cel import planner, program

RULES = [{"rule": f"self.a{i} <= self.b && self.a{i} >= 0", "message": f"a{i}"} for i in range(20)]


def crd() -> dict[str, Any]:
    fields: dict[str, Any] = {f"a{i}": {"type": "integer", "default": i} for i in range(20)}
    fields["b"] = {"type": "integer"}
    spec = {"type": "object", "properties": fields, "x-kubernetes-validations": RULES}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "links.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Cluster",
            "names": {"plural": "links", "singular": "link", "kind": "Link"},
            "versions": [{
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
            }],
        },
    }


def test_twenty_rules_are_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    world.ok("POST", path, crd())
    world.kernel.run(until_ns=world.kernel.now_ns + 5_000_000_000)
    links = "/apis/example.com/v1/links"
    kind = {"apiVersion": "example.com/v1", "kind": "Link"}
    world.ok("POST", links, {**kind, "metadata": {"name": "a"}, "spec": {"b": 50}})

    def compiled(*_: Any, **__: Any) -> Any:
        raise AssertionError("a rule was compiled again")

    monkeypatch.setattr(program, "compile", compiled)
    monkeypatch.setattr(planner, "plan", compiled)
    refused = world.call("POST", links, {**kind, "metadata": {"name": "b"}, "spec": {"b": 18}})
    assert refused.status == 422
    assert "a19" in refused.obj["message"]
