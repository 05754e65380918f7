"""Questions that are asked by creating an object, and what is forgotten in time."""

from __future__ import annotations

import pytest
from api_world import CONFIG_MAPS, MERGE, World

from pytest_kubesim.wire import UserInfo

ANN = UserInfo("ann", ("x", "system:authenticated"), "u-1", {"scope": ("one",)})


@pytest.fixture
def world() -> World:
    return World()


def test_who_asks_is_told_who_he_is(world: World) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    assert world.ok("POST", path, {}, user=ANN)["status"]["userInfo"] == {
        "username": "ann",
        "uid": "u-1",
        "groups": ["x", "system:authenticated"],
        "extra": {"scope": ["one"]},
    }


def test_an_access_review_is_answered_and_not_stored(world: World) -> None:
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    asked = {"spec": {"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods"}}}
    before = world.member.store.revision
    assert world.ok("POST", path, asked)["status"] == {"allowed": False}
    assert world.member.store.revision == before


def test_an_access_review_of_nobody_is_refused(world: World) -> None:
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    answer = world.call("POST", path, {"spec": {}})
    assert [cause["field"] for cause in answer.obj["details"]["causes"]] == ["spec", "spec.user"]


def test_a_token_review_tells_whose_a_token_is(world: World) -> None:
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    world.ok("POST", accounts, {"metadata": {"name": "sa"}})
    token = world.ok("POST", f"{accounts}/sa/token", {"spec": {}})["status"]["token"]
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    found = world.ok("POST", path, {"spec": {"token": token}})["status"]
    assert found["authenticated"]
    assert found["user"]["username"] == "system:serviceaccount:default:sa"
    assert "system:authenticated" in found["user"]["groups"]


def test_events_are_forgotten_after_an_hour(world: World) -> None:
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
    }
    world.ok("POST", "/api/v1/namespaces/default/events", event)
    world.wait(3601 + 60)
    world.kernel.run_coroutine(world.member.tick())
    assert world.call("GET", "/api/v1/namespaces/default/events/e").status == 404


def test_revisions_older_than_five_minutes_are_compacted(world: World) -> None:
    version = world.config_map("a")["metadata"]["resourceVersion"]
    world.ok("PATCH", f"{CONFIG_MAPS}/a", {"data": {"k": "v"}}, content_type=MERGE)
    exact = {"resourceVersion": version, "resourceVersionMatch": "Exact"}
    assert world.call("GET", CONFIG_MAPS, query=exact).status == 200
    world.wait(601)
    answer = world.call("GET", CONFIG_MAPS, query=exact)
    assert answer.status == 410
    assert answer.obj["message"] == "The resourceVersion for the provided list is too old."


def test_a_list_that_took_too_long_can_go_on_inconsistently(world: World) -> None:
    for name in "abc":
        world.config_map(name)
    first = world.ok("GET", CONFIG_MAPS, query={"limit": "1"})
    token = first["metadata"]["continue"]
    world.config_map("d")
    world.wait(601)
    answer = world.call("GET", CONFIG_MAPS, query={"limit": "1", "continue": token})
    assert answer.status == 410
    again = world.ok(
        "GET", CONFIG_MAPS, query={"limit": "5", "continue": answer.obj["metadata"]["continue"]}
    )
    assert [item["metadata"]["name"] for item in again["items"]] == ["b", "c", "d"]
