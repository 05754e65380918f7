"""The process, its faults, and who may ask what."""

from __future__ import annotations

from typing import Any

import pytest
from api_world import CONFIG_MAPS, MERGE, World

from pytest_kubesim.apiserver import effects
from pytest_kubesim.apiserver.effects import Delay, Drop, Hold, Refuse, Respond
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import ConnectionLost, UserInfo

BOB = UserInfo("bob", ("system:authenticated",))


@pytest.fixture
def world() -> World:
    return World()


def arm(world: World, effect: Any, **wanted: str) -> list[dict[str, Any]]:
    """Let one effect strike requests with those attributes."""
    seen: list[dict[str, Any]] = []

    def decide(attributes: dict[str, Any]) -> Any:
        seen.append(attributes)
        return effect if wanted.items() <= attributes.items() else None

    world.faultpoints.arm("apiserver.request", decide)
    return seen


def test_a_request_without_a_fault_does_not_suspend(world: World) -> None:
    coroutine = world.server.handle(world.request("GET", "/api/v1/namespaces/default"))
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    assert stopped.value.value.status == 200


def test_a_stopped_server_refuses(world: World) -> None:
    world.server.process.stop()
    with pytest.raises(ConnectionLost) as lost:
        world.call("GET", "/version")
    assert lost.value.kind == "refused"


def test_a_crash_ends_watches_and_loses_no_object(world: World) -> None:
    world.config_map("a")
    watch = world.watch(CONFIG_MAPS)
    world.server.process.crash()
    assert watch.closed
    world.server.start()
    assert world.ok("GET", f"{CONFIG_MAPS}/a")["metadata"]["name"] == "a"


def test_uids_differ_from_one_life_of_the_process_to_the_next(world: World) -> None:
    first = world.config_map("a")["metadata"]["uid"]
    world.ok("DELETE", f"{CONFIG_MAPS}/a")
    world.server.process.crash()
    world.server.start()
    assert world.config_map("a")["metadata"]["uid"] != first


def test_a_frozen_server_answers_when_it_thaws(world: World) -> None:
    world.server.process.pause()
    task = world.kernel.spawn(
        world.server.handle(world.request("GET", "/version")), name="client"
    )
    world.wait(5)
    assert not task.done()
    world.server.process.resume()
    world.wait(0)
    assert task.result().status == 200


def test_a_crash_resets_a_request_that_waits_for_etcd(world: World) -> None:
    world.member.consult = lambda _point, _attributes: world.kernel.sleep(NS)
    task = world.kernel.spawn(
        world.server.handle(world.request("GET", "/api/v1/namespaces/default")),
        name="client",
        daemon=True,
    )
    world.wait(0.5)
    world.server.process.crash()
    world.wait(0)
    lost = task.exception()
    assert isinstance(lost, ConnectionLost)
    assert lost.kind == "reset"


def test_a_request_that_waits_for_etcd_is_answered(world: World) -> None:
    world.member.consult = lambda _point, _attributes: world.kernel.sleep(NS)
    assert world.ok("GET", "/api/v1/namespaces/default")["kind"] == "Namespace"
    assert world.kernel.elapsed_ns == 2 * NS


def test_a_dropped_answer_leaves_the_write_applied(world: World) -> None:
    arm(world, Drop(), verb="create", resource="configmaps")
    with pytest.raises(ConnectionLost) as lost:
        world.config_map("a")
    assert lost.value.kind == "reset"
    assert world.ok("GET", f"{CONFIG_MAPS}/a")["metadata"]["name"] == "a"


def test_a_response_from_a_fault_is_given_as_it_is(world: World) -> None:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 429}
    seen = arm(world, Respond(status, (("Retry-After", "1"),)))
    answer = world.call("GET", f"{CONFIG_MAPS}/a")
    assert (answer.status, answer.obj, answer.headers) == (429, status, (("Retry-After", "1"),))
    assert seen[0]["client"] == "test"
    assert seen[0]["user"] == "admin"
    assert (seen[0]["verb"], seen[0]["resource"], seen[0]["name"]) == ("get", "configmaps", "a")


def test_delays_add_up_to_what_comes_then(world: World) -> None:
    arm(world, Delay(2 * NS, Refuse()))
    with pytest.raises(ConnectionLost):
        world.call("GET", "/version")
    assert world.kernel.elapsed_ns == 2 * NS


def test_a_held_answer_comes_when_it_is_let_go(world: World) -> None:
    gate = world.kernel.future()
    arm(world, Hold(gate), verb="create")
    task = world.kernel.spawn(
        world.server.handle(world.request("POST", CONFIG_MAPS, {"metadata": {"name": "a"}})),
        name="client",
    )
    world.wait(1)
    assert not task.done()
    assert world.ok("GET", f"{CONFIG_MAPS}/a")
    gate.set_result(None)
    world.wait(0)
    assert task.result().status == 201


def test_effects_print_as_the_python_that_makes_them() -> None:
    assert repr(effects.Delay(5, effects.Refuse())) == "Delay(delay_ns=5, then=Refuse())"


class Nobody:
    """An authorizer that allows nothing."""

    async def authorize(self, attributes: Any) -> tuple[Any, str]:
        return "no-opinion", ""


def test_who_may_nothing_is_told_so_in_kubernetes_words() -> None:
    world = World(authorizers=(Nobody(),))
    answer = world.call("GET", f"{CONFIG_MAPS}/a", user=BOB)
    assert answer.status == 403
    assert answer.obj["message"] == (
        'configmaps "a" is forbidden: User "bob" cannot get resource "configmaps" in API group "" '
        'in the namespace "default"'
    )


def test_an_update_that_would_create_needs_the_right_to_create() -> None:
    class PatchOnly:
        async def authorize(self, attributes: Any) -> tuple[Any, str]:
            return ("allow" if attributes.verb == "patch" else "no-opinion"), ""

    world = World(authorizers=(PatchOnly(),))
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    answer = world.call(
        "PATCH",
        f"{CONFIG_MAPS}/a",
        body,
        query={"fieldManager": "m"},
        user=BOB,
        content_type="application/apply-patch+yaml",
    )
    assert answer.status == 403
    assert 'User "bob" cannot create resource "configmaps"' in answer.obj["message"]


def test_a_service_account_token_is_who_it_says_until_its_time_is_up(world: World) -> None:
    path = "/api/v1/namespaces/default/serviceaccounts"
    world.ok("POST", path, {"metadata": {"name": "sa"}})
    asked = {"spec": {"expirationSeconds": 600}}
    token = world.ok("POST", f"{path}/sa/token", asked)["status"]["token"]
    header = (("authorization", f"Bearer {token}"),)
    answer = world.call("GET", "/api", user=None, headers=header)
    assert answer.status == 200
    assert world.server.authenticators.user_of(token) == UserInfo(
        "system:serviceaccount:default:sa",
        ("system:serviceaccounts", "system:serviceaccounts:default"),
        world.ok("GET", f"{path}/sa")["metadata"]["uid"],
        {"authentication.kubernetes.io/credential-id": (f"JTI={_jti(world, token)}",)},
    )
    world.wait(660)
    assert world.call("GET", "/api", user=None, headers=header).status == 200
    world.wait(11)
    assert world.call("GET", "/api", user=None, headers=header).status == 401


def _jti(world: World, token: str) -> str:
    claims = world.server.authenticators.claims(token)
    assert claims is not None
    return claims["jti"]


def test_a_token_dies_with_its_account(world: World) -> None:
    path = "/api/v1/namespaces/default/serviceaccounts"
    world.ok("POST", path, {"metadata": {"name": "sa"}})
    token = world.ok("POST", f"{path}/sa/token", {"spec": {}})["status"]["token"]
    world.ok("DELETE", f"{path}/sa")
    world.ok("POST", path, {"metadata": {"name": "sa"}})
    assert world.server.authenticators.user_of(token) is None


def test_a_forged_token_is_nobodys(world: World) -> None:
    answer = world.call("GET", "/api", user=None, headers=(("authorization", "Bearer a.b.c"),))
    assert (answer.status, answer.obj["message"]) == (401, "Unauthorized")


def test_requests_are_in_the_journal(world: World) -> None:
    world.config_map("a")
    entry = world.kernel.journal.entries("request")[-1]
    assert entry.actor == "test"
    assert entry.fields == {
        "verb": "create",
        "group": "",
        "resource": "configmaps",
        "namespace": "default",
        "name": "a",
        "version": world.ok("GET", f"{CONFIG_MAPS}/a")["metadata"]["resourceVersion"],
        "code": 201,
    }


def test_what_is_too_large_is_refused(world: World) -> None:
    request = world.request("POST", CONFIG_MAPS)
    import msgspec

    large = msgspec.structs.replace(request, body=b" " * (3 * 1024 * 1024 + 1))
    answer = world.kernel.run_coroutine(world.server.handle(large))
    assert answer.status == 413
    assert answer.obj["message"] == "Request entity too large: limit is 3145728"


def test_conflicting_writers_are_told_apart_by_resource_version(world: World) -> None:
    made = world.config_map("a", data={"k": "1"})
    world.ok("PATCH", f"{CONFIG_MAPS}/a", {"data": {"k": "2"}}, content_type=MERGE)
    answer = world.call("PUT", f"{CONFIG_MAPS}/a", {**made, "data": {"k": "3"}})
    assert answer.status == 409


def test_a_second_cluster_begins_like_the_first() -> None:
    one, two = World(), World()
    assert one.ok("GET", "/api/v1/namespaces") == two.ok("GET", "/api/v1/namespaces")
    one.config_map("a")
    assert two.call("GET", f"{CONFIG_MAPS}/a").status == 404


class Allowing:
    """An authorizer that allows what `may` holds: verb, resource and name."""

    def __init__(self, *may: tuple[str, str, str]) -> None:
        self.may = may

    async def authorize(self, attributes: Any) -> tuple[Any, str]:
        asked = (attributes.verb, attributes.resource, attributes.name)
        return ("allow" if asked in self.may else "no-opinion"), ""


def impersonating(world: World, *headers: tuple[str, str]) -> Any:
    return world.call("GET", CONFIG_MAPS, user=BOB, headers=headers)


def test_impersonation_without_the_right_names_the_first_right_that_was_missing() -> None:
    answer = impersonating(World(authorizers=(Nobody(),)), ("impersonate-user", "ann"))
    assert answer.obj["message"] == (
        'configmaps is forbidden: User "bob" cannot impersonate-on:user-info:list resource '
        '"configmaps" in API group "" in the namespace "default"'
    )


def test_the_legacy_right_to_be_a_user_is_enough() -> None:
    world = World(
        authorizers=(Allowing(("impersonate", "users", "ann"), ("list", "configmaps", "")),)
    )
    assert impersonating(world, ("impersonate-user", "ann")).status == 200
    denied = impersonating(world, ("impersonate-user", "ann"), ("impersonate-group", "devs"))
    assert denied.status == 403


def test_constrained_impersonation_asks_for_the_act_and_for_the_user() -> None:
    rights = (
        ("impersonate-on:user-info:list", "configmaps", ""),
        ("impersonate:user-info", "users", "ann"),
        ("list", "configmaps", ""),
    )
    assert impersonating(World(authorizers=(Allowing(*rights),)), ("impersonate-user", "ann"))
    for missing in rights:
        kept = [right for right in rights if right != missing]
        world = World(authorizers=(Allowing(*kept),))
        assert impersonating(world, ("impersonate-user", "ann")).status == 403


def test_groups_of_nobody_are_a_bad_request(world: World) -> None:
    answer = impersonating(world, ("impersonate-group", "devs"))
    assert answer.status == 400
    assert answer.obj["message"].endswith("without impersonating a user name")
