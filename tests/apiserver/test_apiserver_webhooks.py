"""Webhooks in this process, and what becomes of requests that they are asked about."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from api_world import CONFIG_MAPS, World

from pytest_kubesim.apiserver.audit import Auditor
from pytest_kubesim.apiserver.webhook_client import Webhooks
from pytest_kubesim.sim.clock import NS

Json = dict[str, Any]
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/{}webhookconfigurations"
URL = "https://hooks.example.com/check"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def webhooks(world: World) -> Webhooks:
    found = world.server.call_webhook = Webhooks()
    return found


def configure(world: World, kind: str = "validating", **fields: Any) -> None:
    webhook: Json = {
        "name": "check.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"url": URL},
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["configmaps"],
            }
        ],
        **fields,
    }
    path = CONFIGURATIONS.format(kind)
    world.ok("POST", path, {"metadata": {"name": f"hook-{kind}"}, "webhooks": [webhook]})


def answering(**response: Any) -> Any:
    def answer(review: Json) -> Json:
        uid = review["request"]["uid"]
        return {**review, "response": {"uid": uid, "allowed": True, **response}}

    return answer


def make(world: World, name: str = "a") -> Any:
    return world.call("POST", CONFIG_MAPS, {"metadata": {"name": name}})


def test_a_webhook_that_nobody_carries_calls_to_refuses_connections(world: World) -> None:
    configure(world, clientConfig={"url": "https://10.1.2.3:8443/x"})
    answer = make(world)
    assert answer.status == 500
    assert answer.obj["message"].endswith(
        'failed to call webhook: Post "https://10.1.2.3:8443/x?timeout=10s": dial tcp '
        "10.1.2.3:8443: connect: connection refused"
    )


def test_a_webhook_in_this_process_is_asked_and_refuses(world: World, webhooks: Webhooks) -> None:
    webhooks.add(URL, answering(allowed=False, status={"message": "never", "code": 403}))
    configure(world)
    answer = make(world)
    assert answer.status == 403
    assert answer.obj["message"] == (
        'admission webhook "check.example.com" denied the request: never'
    )


def test_a_webhook_answers_for_all_paths_below_its_own(world: World, webhooks: Webhooks) -> None:
    webhooks.add("https://hooks.example.com", answering())
    configure(world)
    assert make(world).status == 201


def test_a_webhook_of_a_service_is_found_by_the_name_of_the_service(
    world: World, webhooks: Webhooks
) -> None:
    configure(world, clientConfig={"service": {"namespace": "default", "name": "s", "path": "/c"}})
    webhooks.add("https://s.default.svc:443/c", answering())
    assert 'service "s" not found' in make(world).obj["message"]
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 443}]}}
    world.ok("POST", "/api/v1/namespaces/default/services", service)
    assert make(world).status == 201


def test_a_webhook_that_takes_too_long_fails_after_its_timeout(world: World) -> None:
    async def slow(config: Json, path: str, review: Json, timeout_ns: int) -> Json:
        await world.kernel.sleep(5 * NS)
        return review

    world.server.call_webhook = slow
    configure(world, timeoutSeconds=2)
    before = world.kernel.now_ns
    answer = make(world)
    assert answer.obj["message"].endswith("context deadline exceeded")
    assert world.kernel.now_ns - before == 2 * NS


def test_what_a_mutating_webhook_patches_is_stored(world: World, webhooks: Webhooks) -> None:
    operations = [{"op": "add", "path": "/data", "value": {"k": "v"}}]
    patch = base64.b64encode(json.dumps(operations).encode()).decode()
    webhooks.add(URL, answering(patchType="JSONPatch", patch=patch))
    configure(world, "mutating")
    assert make(world).status == 201
    assert world.ok("GET", f"{CONFIG_MAPS}/a")["data"] == {"k": "v"}


def test_a_webhook_with_side_effects_is_not_called_for_a_dry_run(
    world: World, webhooks: Webhooks
) -> None:
    webhooks.add(URL, answering())
    configure(world, sideEffects="NoneOnDryRun")
    dry = {"dryRun": "All"}
    assert world.call("POST", CONFIG_MAPS, {"metadata": {"name": "b"}}, query=dry).status == 201


def test_connections_are_admitted(world: World, webhooks: Webhooks) -> None:
    seen: list[Json] = []

    def answer(review: Json) -> Json:
        seen.append(review["request"])
        return answering(allowed=False)(review)

    webhooks.add(URL, answer)
    rule = {"apiGroups": [""], "apiVersions": ["v1"]}
    configure(world, rules=[{**rule, "operations": ["CONNECT"], "resources": ["pods/exec"]}])
    query = {"command": "ls", "stdin": "true"}
    path = "/api/v1/namespaces/default/pods/p/exec"
    assert world.call("POST", path, query=query).status == 400
    assert seen[0]["operation"] == "CONNECT"
    assert seen[0]["object"] == {
        "kind": "PodExecOptions",
        "apiVersion": "v1",
        "stdin": True,
        "command": ["ls"],
    }


def test_annotations_of_webhooks_are_noted_for_the_audit(world: World, webhooks: Webhooks) -> None:
    noted: list[Json] = []
    world.server.audit.append(Auditor("Metadata", noted.append))
    webhooks.add(URL, answering(auditAnnotations={"seen": "yes"}))
    configure(world)
    make(world)
    assert noted[-1]["annotations"]["check.example.com/seen"] == "yes"


def test_who_converts_may_take_time(world: World) -> None:
    asked: list[Json] = []

    async def answer(review: Json) -> Json:
        asked.append(review)
        await world.kernel.sleep(NS)
        request = review["request"]
        wanted = request["desiredAPIVersion"]
        shown = {"apiVersion": wanted, "spec": {"seen": wanted}}
        made = [{**each, **shown} for each in request["objects"]]
        result = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": made}
        return {**review, "response": result}

    carrier = world.server.call_webhook = Webhooks()
    carrier.add("https://hooks.example.com/convert", answer)
    spec = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    versions = [
        {"name": name, "served": True, "storage": name == "v1", "schema": schema}
        for name in ("v1", "v2")
    ]
    world.ok(
        "POST",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        {
            "metadata": {"name": "links.example.com"},
            "spec": {
                "group": "example.com",
                "scope": "Cluster",
                "names": {"plural": "links", "singular": "link", "kind": "Link"},
                "versions": versions,
                "conversion": {
                    "strategy": "Webhook",
                    "webhook": {
                        "conversionReviewVersions": ["v1"],
                        "clientConfig": {"url": "https://hooks.example.com/convert"},
                    },
                },
            },
        },
    )
    world.kernel.run(until_ns=world.kernel.now_ns + 5 * NS)
    link = {"apiVersion": "example.com/v1", "kind": "Link", "metadata": {"name": "a"}}
    watch = world.watch("/apis/example.com/v2/links")
    world.ok("POST", "/apis/example.com/v1/links", {**link, "spec": {"x": 1}})
    before = world.kernel.now_ns
    got = world.ok("GET", "/apis/example.com/v2/links/a")
    assert got["spec"] == {"seen": "example.com/v2"}
    assert world.kernel.now_ns - before >= NS
    world.ok(
        "PATCH", "/apis/example.com/v2/links/a", {"metadata": {"labels": {"x": "y"}}},
        content_type="application/merge-patch+json",
    )
    world.kernel.run(until_ns=world.kernel.now_ns + 5 * NS)
    world.kernel.run_coroutine(watch.next())
    assert len(asked) >= 3
