"""Several API servers over one etcd: what one is behind in, and what they must agree on."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_kubesim.apiserver import node_ports
from pytest_kubesim.apiserver.server import APIServer
from pytest_kubesim.apiserver.storage.watch import CacheWatcher
from pytest_kubesim.etcd.client import Client
from pytest_kubesim.registry.generic import Catalog
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import ConnectionLost
from tests.apiserver.api_world import CONFIG_MAPS, World, drain

SERVICES = "/api/v1/namespaces/default/services"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/widgets"


class Two(World):
    """A second server beside the first; it is two seconds late."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.server
        self.second = APIServer(
            self.kernel, Client(self.member), catalog=Catalog(), name="kube-apiserver-2",
        )
        self.second.start()

    def late(self, seconds: float) -> None:
        self.second.delivery.latency_ns = (int(seconds * NS), int(seconds * NS))

    def at(self, server: APIServer) -> Two:
        self.server = server
        return self


@pytest.fixture
def world() -> Two:
    return Two()


def names(found: Any) -> list[str]:
    return [each["metadata"]["name"] for each in found["items"]]


def warm(world: Two) -> None:
    for server in (world.first, world.second):
        world.at(server).ok("GET", CONFIG_MAPS)


def test_a_list_of_any_revision_may_be_old_and_a_plain_one_never_is(world: Two) -> None:
    warm(world)
    world.late(2)
    world.at(world.first).config_map("a")
    world.at(world.second)

    assert "a" not in names(world.ok("GET", CONFIG_MAPS, query={"resourceVersion": "0"}))
    begun = world.kernel.now_ns
    assert "a" in names(world.ok("GET", CONFIG_MAPS))
    assert world.kernel.now_ns - begun == 2 * NS
    assert "a" in names(world.ok("GET", CONFIG_MAPS, query={"resourceVersion": "0"}))


def test_a_plain_get_is_never_old(world: Two) -> None:
    warm(world)
    world.late(2)
    world.at(world.first).config_map("a")

    assert world.at(world.second).ok("GET", f"{CONFIG_MAPS}/a")
    behind = world.call("GET", f"{CONFIG_MAPS}/a", query={"resourceVersion": "0"})
    assert behind.status == 404


def test_etcd_answers_consistent_reads_for_a_cache_that_is_too_far_behind(world: Two) -> None:
    warm(world)
    world.late(60)
    world.at(world.first).config_map("a")
    begun = world.kernel.now_ns

    assert "a" in names(world.at(world.second).ok("GET", CONFIG_MAPS))
    assert world.kernel.now_ns - begun == 3 * NS


def test_a_revision_that_the_cache_does_not_reach_is_too_large(world: Two) -> None:
    warm(world)
    world.late(60)
    revision = world.at(world.first).config_map("a")["metadata"]["resourceVersion"]
    answer = world.at(world.second).call(
        "GET", CONFIG_MAPS, query={"resourceVersion": revision}
    )

    assert answer.status == 504
    assert "Too large resource version" in answer.obj["message"]


def test_a_watch_from_a_revision_that_is_still_to_come_sees_only_what_is_newer(world: Two) -> None:
    warm(world)
    world.late(2)
    revision = world.at(world.first).config_map("a")["metadata"]["resourceVersion"]
    watch = world.at(world.second).watch(CONFIG_MAPS, resourceVersion=revision)
    world.at(world.first).config_map("b")
    world.wait(1)
    assert drain(watch) == []
    world.wait(2)

    assert drain(watch) == [("ADDED", "b")]


def test_the_changes_of_one_watch_stay_in_order_when_the_latency_falls(world: Two) -> None:
    warm(world)
    watch = world.at(world.second).watch(CONFIG_MAPS, resourceVersion="0")
    drain(watch)
    world.late(5)
    world.at(world.first).config_map("a")
    world.late(0)
    world.config_map("b")
    world.wait(6)

    assert drain(watch) == [("ADDED", "a"), ("ADDED", "b")]


def test_a_frozen_server_sends_nothing(world: Two) -> None:
    warm(world)
    watch = world.at(world.second).watch(CONFIG_MAPS, resourceVersion="0")
    drain(watch)
    world.second.process.pause()
    world.at(world.first).config_map("a")
    world.wait(30)
    assert drain(watch) == []
    world.second.process.resume()
    world.wait(1)

    assert drain(watch) == [("ADDED", "a")]


def test_a_definition_is_served_elsewhere_when_it_has_been_heard_of(world: Two) -> None:
    world.late(2)
    version = {
        "name": "v1", "served": True, "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object"}},
    }
    world.at(world.first).ok("POST", DEFINITIONS, {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster", "versions": [version],
            "names": {"plural": "widgets", "kind": "Widget"},
        },
    })
    world.wait(1)

    assert world.call("GET", WIDGETS).status == 200
    assert world.at(world.second).call("GET", WIDGETS).status == 404
    world.wait(4)
    assert world.call("GET", WIDGETS).status == 200


def node_port_service(name: str, port: int = 0) -> Any:
    ports: dict[str, Any] = {"port": 80}
    if port:
        ports["nodePort"] = port
    return {"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [ports]}}


def test_a_node_port_that_another_server_is_giving_away_is_taken(world: Two) -> None:
    world.kernel.run_coroutine(node_ports.claim(world.first, frozenset({30123})))
    answer = world.at(world.second).call("POST", SERVICES, node_port_service("web", 30123))

    assert answer.status == 422
    assert "provided port is already allocated" in answer.obj["message"]


def test_a_node_port_is_drawn_from_those_that_nobody_is_giving_away(world: Two) -> None:
    others = frozenset(range(30000, 32768)) - {31999}
    world.kernel.run_coroutine(node_ports.claim(world.first, others))
    made = world.at(world.second).ok("POST", SERVICES, node_port_service("web"))

    assert made["spec"]["ports"][0]["nodePort"] == 31999


def test_what_nobody_uses_is_free_again_after_three_repairs(world: Two) -> None:
    world.kernel.run_coroutine(node_ports.claim(world.first, frozenset({30123})))
    world.wait(9 * 60 + 1)

    assert world.at(world.second).ok("POST", SERVICES, node_port_service("web", 30123))


def test_the_ports_of_a_deleted_service_are_free_at_once(world: Two) -> None:
    world.at(world.first).ok("POST", SERVICES, node_port_service("web", 30123))
    world.at(world.second).ok("DELETE", f"{SERVICES}/web")

    assert world.ok("POST", SERVICES, node_port_service("other", 30123))


def test_who_is_told_to_stop_is_not_ready_and_finishes_what_it_has_begun(world: Two) -> None:
    warm(world)
    watch = world.at(world.second).watch(CONFIG_MAPS, resourceVersion="0")
    world.second.stop(delay_ns=5 * NS)
    world.wait(1)
    assert world.call("GET", "/readyz").status == 500
    assert "[-]shutdown failed" in world.call("GET", "/readyz").body.decode()
    assert world.call("GET", "/livez").status == 200
    world.wait(5)

    with pytest.raises(ConnectionLost, match="refused"):
        world.call("GET", "/readyz")
    assert not watch.closed
    world.wait(60)
    assert isinstance(watch, CacheWatcher)
    assert watch.closed
    assert world.second.process.state == "stopped"


def test_a_stopped_server_can_be_started_again(world: Two) -> None:
    world.second.stop()
    world.wait(1)
    assert world.second.process.state == "stopped"
    world.second.start()

    assert world.at(world.second).call("GET", "/readyz").status == 200
