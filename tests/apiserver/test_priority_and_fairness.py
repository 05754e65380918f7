"""Priority and fairness: seats, queues, 429."""

from __future__ import annotations

from typing import Any

from api_world import CONFIG_MAPS, World

from pytest_kubesim.apiserver import priority_and_fairness as flow_control
from pytest_kubesim.apiserver.webhook_client import Webhooks
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import UserInfo

API = "/apis/flowcontrol.apiserver.k8s.io/v1"
EVE = UserInfo("eve", ("system:masters-not", "system:authenticated"))


def headers(answer: Any) -> dict[str, str]:
    return dict(answer.headers)


def test_an_answer_says_to_what_its_request_belonged() -> None:
    world = World()
    answer = world.call("GET", "/api/v1/namespaces", user=EVE)
    schema = world.ok("GET", f"{API}/flowschemas/global-default")
    level = world.ok("GET", f"{API}/prioritylevelconfigurations/global-default")
    assert headers(answer)[flow_control.SCHEMA_HEADER] == schema["metadata"]["uid"]
    assert headers(answer)[flow_control.LEVEL_HEADER] == level["metadata"]["uid"]


def slow(world: World, limit_response: dict[str, Any], shares: int = 1) -> None:
    """Config maps are created slowly, and few of eve's requests at a time."""

    async def answer(review: Any) -> Any:
        await world.kernel.sleep(5 * NS)
        return {**review, "response": {"uid": review["request"]["uid"], "allowed": True}}

    webhooks = world.server.call_webhook = Webhooks()
    webhooks.add("https://h.example.com/slow", answer)
    rule = {
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": ["configmaps"],
    }
    webhook = {
        "name": "slow.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"url": "https://h.example.com/slow"}, "rules": [rule],
    }
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    world.ok("POST", path, {"metadata": {"name": "slow"}, "webhooks": [webhook]})
    limited = {"nominalConcurrencyShares": shares, "limitResponse": limit_response}
    world.ok("POST", f"{API}/prioritylevelconfigurations", {
        "metadata": {"name": "eve"}, "spec": {"type": "Limited", "limited": limited},
    })
    subject = {"kind": "User", "user": {"name": "eve"}}
    resources = {
        "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"],
    }
    world.ok("POST", f"{API}/flowschemas", {
        "metadata": {"name": "eve"},
        "spec": {
            "matchingPrecedence": 5,
            "priorityLevelConfiguration": {"name": "eve"},
            "rules": [{"subjects": [subject], "resourceRules": [resources]}],
        },
    })
    role = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    world.ok("POST", role, {
        "metadata": {"name": "eve"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin",
        },
        "subjects": [{"kind": "User", "name": "eve"}],
    })


def create_many(world: World, count: int) -> list[Any]:
    tasks = [
        world.kernel.spawn(
            world.server.handle(
                world.request("POST", CONFIG_MAPS, {"metadata": {"name": f"c{i}"}}, user=EVE)
            ),
            name=f"client {i}", eager=True,
        )
        for i in range(count)
    ]
    world.wait(120)
    return [task.result() for task in tasks]


def test_more_than_a_level_serves_is_too_many() -> None:
    world = World()
    slow(world, {"type": "Reject"})
    seats = 600 * 1 // 246 + 1
    answers = create_many(world, seats + 2)
    assert [a.status for a in answers] == [201] * seats + [429] * 2
    refused = answers[-1]
    assert headers(refused)["Retry-After"] == "1"
    assert refused.body == b"Too many requests, please try again later.\n"


def test_others_wait_in_queues_for_a_while() -> None:
    world = World()
    queuing = {"queues": 4, "handSize": 1, "queueLengthLimit": 50}
    slow(world, {"type": "Queue", "queuing": queuing})
    answers = create_many(world, 14)
    # Three seats: after 15 s, when the third round has been served, the rest has waited too long.
    assert [a.status for a in answers].count(201) >= 9
    assert [a.status for a in answers].count(429) >= 2


def test_who_is_exempt_never_waits() -> None:
    world = World()
    slow(world, {"type": "Reject"})
    create_many(world, 5)
    assert world.call("GET", CONFIG_MAPS).status == 200
