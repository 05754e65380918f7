"""What audit tells."""

from __future__ import annotations

from typing import Any

import pytest
from api_world import CONFIG_MAPS, World

from pytest_kubesim.apiserver.audit import Auditor
from pytest_kubesim.errors import UsageError
from pytest_kubesim.wire import UserInfo

Json = dict[str, Any]


def audited(world: World, policy: Any) -> list[Json]:
    events: list[Json] = []
    world.server.audit.append(Auditor(policy, events.append))
    return events


def test_every_stage_of_a_request_is_told() -> None:
    world = World()
    events = audited(world, "RequestResponse")
    world.config_map("a", data={"x": "y"})
    received, complete = events
    assert received["stage"] == "RequestReceived"
    assert "responseStatus" not in received
    assert complete["stage"] == "ResponseComplete"
    assert complete["auditID"] == received["auditID"]
    assert complete["verb"] == "create"
    assert complete["requestURI"] == CONFIG_MAPS
    assert complete["objectRef"] == {
        "resource": "configmaps", "namespace": "default", "apiVersion": "v1", "name": "a",
    }
    assert complete["responseStatus"] == {"metadata": {}, "code": 201}
    assert complete["requestObject"]["data"] == {"x": "y"}
    assert complete["responseObject"]["metadata"]["uid"]
    assert complete["annotations"]["authorization.k8s.io/decision"] == "allow"


def test_the_first_rule_that_matches_decides() -> None:
    world = World()
    policy = {
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "verbs": ["get"]},
            {"level": "Request", "resources": [{"group": "", "resources": ["configmaps"]}]},
            {"level": "Metadata", "nonResourceURLs": ["/health*"]},
        ],
    }
    events = audited(world, policy)
    world.config_map("a")
    world.call("GET", f"{CONFIG_MAPS}/a")
    world.call("GET", "/healthz")
    world.call("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}})
    assert [(e["verb"], e["level"]) for e in events] == [("create", "Request")]
    assert "responseObject" not in events[0]


def test_a_refusal_is_told_with_its_status() -> None:
    world = World()
    events = audited(world, "Metadata")
    world.call("GET", f"{CONFIG_MAPS}/a", user=UserInfo("eve", ("system:authenticated",)))
    told = events[-1]
    assert told["responseStatus"]["code"] == 403
    assert told["responseStatus"]["reason"] == "Forbidden"
    assert told["user"]["username"] == "eve"
    assert told["annotations"]["authorization.k8s.io/decision"] == "forbid"


def test_a_watch_has_begun_before_it_is_complete() -> None:
    world = World()
    events = audited(world, "Metadata")
    watch = world.watch(CONFIG_MAPS)
    assert [e["stage"] for e in events] == ["RequestReceived", "ResponseStarted"]
    watch.close()
    assert events[-1]["stage"] == "ResponseComplete"


def test_managed_fields_can_be_left_out() -> None:
    world = World()
    rule = {"level": "RequestResponse", "omitManagedFields": True}
    events = audited(world, {"rules": [rule]})
    world.config_map("a")
    assert "managedFields" not in events[-1]["responseObject"]["metadata"]


def test_a_policy_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="the levels are None, Metadata"):
        Auditor({"rules": [{"level": "Everything"}]}, print)


@pytest.mark.kubesim(components="apiserver")
def test_events_tell_what_came_as_it_came(kubesim: Any) -> None:
    events: list[Any] = []
    policy = {"omitStages": ["RequestReceived"], "rules": [{"level": "RequestResponse"}]}
    kubesim.server.audit.append(Auditor(policy, events.append))
    client = kubesim.client("httpx")
    path = "/api/v1/namespaces/default/configmaps"

    def ask(method: str, target: str, **options: Any) -> Any:
        answer = client.request(method, target, **options)
        return answer, events[-1]

    answer, event = ask("POST", path, json={"metadata": {"name": "c"}})
    assert answer.headers["Audit-Id"] == event["auditID"]
    assert event["requestObject"]["kind"] == "ConfigMap"
    answer, event = ask("GET", path, headers={"Audit-ID": "mine", "X-Forwarded-For": "1.2.3.4"})
    assert (answer.headers["Audit-Id"], event["auditID"]) == ("mine", "mine")
    assert event["sourceIPs"] == ["1.2.3.4", "127.0.0.1"]
    assert "kind" not in event["responseObject"]["items"][0]
    patch: Any = [{"op": "add", "path": "/data", "value": {}}]
    headers = {"Content-Type": "application/json-patch+json"}
    _, event = ask("PATCH", f"{path}/c", json=patch, headers=headers)
    assert event["requestObject"] == patch
    _, event = ask("POST", path, json=[1])
    assert "requestObject" not in event
    _, event = ask("DELETE", f"{path}/c", json={"propagationPolicy": "Background"})
    assert event["requestObject"] == {
        "propagationPolicy": "Background",
        "kind": "DeleteOptions",
        "apiVersion": "meta.k8s.io/__internal",
    }
    assert event["responseStatus"]["code"] == 200
    _, event = ask("GET", path, headers={"Authorization": "Bearer nobodys"})
    assert (event["stage"], event["user"]) == ("ResponseStarted", {})
    assert event["responseStatus"]["code"] == 401
    _, event = ask("GET", path, headers={"Impersonate-User": "eve"})
    assert event["authenticationMetadata"] == {"impersonationConstraint": "impersonate:user-info"}
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}}
    kubesim.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}})
    _, event = ask("POST", "/api/v1/namespaces/default/pods", json=pod)
    notes = event["annotations"]
    assert notes["pod-security.kubernetes.io/enforce-policy"] == "privileged:latest"
