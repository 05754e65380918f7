"""What a watch tells, and when."""

from __future__ import annotations

import pytest
from api_world import CONFIG_MAPS, MERGE, World, drain
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_kubesim.apiserver.storage.cacher import LOWER_CAPACITY


@pytest.fixture
def world() -> World:
    return World()


def patch(world: World, name: str, **fields: object) -> None:
    world.ok("PATCH", f"{CONFIG_MAPS}/{name}", fields, content_type=MERGE)


def test_an_object_that_leaves_a_selection_is_deleted_as_it_was(world: World) -> None:
    made = world.config_map("a", metadata={"labels": {"app": "x"}})
    watch = world.watch(
        CONFIG_MAPS, labelSelector="app=x", resourceVersion=made["metadata"]["resourceVersion"]
    )
    patch(world, "a", metadata={"labels": {"app": "y"}})
    event = watch.next_nowait()
    assert event is not None
    assert event.type == "DELETED"
    assert event.object["metadata"]["labels"] == {"app": "x"}
    assert int(event.object["metadata"]["resourceVersion"]) == event.revision


def test_watchers_that_see_a_change_alike_share_its_event(world: World) -> None:
    version = world.config_map("a")["metadata"]["resourceVersion"]
    one = world.watch(CONFIG_MAPS, resourceVersion=version)
    two = world.watch("/api/v1/configmaps", resourceVersion=version)
    world.config_map("b")
    assert one.next_nowait() is two.next_nowait()


def test_a_watch_of_one_name_hears_nothing_of_others(world: World) -> None:
    version = world.config_map("a")["metadata"]["resourceVersion"]
    watch = world.watch(CONFIG_MAPS, resourceVersion=version, fieldSelector="metadata.name=b")
    world.config_map("c")
    world.config_map("b")
    assert drain(watch) == [("ADDED", "b")]


def test_a_forgotten_revision_is_gone(world: World) -> None:
    version = world.config_map("a")["metadata"]["resourceVersion"]
    world.watch(CONFIG_MAPS, resourceVersion=version).close()
    for _ in range(2 * LOWER_CAPACITY):
        world.wait(100)
        patch(world, "a", data={"k": str(world.kernel.now_ns)})
    watch = world.watch(CONFIG_MAPS, resourceVersion=version)
    event = watch.next_nowait()
    assert event is not None
    assert event.type == "ERROR"
    assert (event.object["code"], event.object["reason"]) == (410, "Expired")
    assert event.object["message"].startswith(f"too old resource version: {version} (")
    assert watch.closed


def test_bookmarks_come_each_minute(world: World) -> None:
    version = world.config_map("a")["metadata"]["resourceVersion"]
    watch = world.watch(CONFIG_MAPS, resourceVersion=version, allowWatchBookmarks="true")
    world.ok("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}})
    world.wait(61)
    event = watch.next_nowait()
    assert event is not None
    assert event.type == "BOOKMARK"
    # The bookmark knows of writes to other resources: etcd notifies of its progress.
    assert int(event.object["metadata"]["resourceVersion"]) > int(version)


def test_a_watch_ends_with_its_time(world: World) -> None:
    watch = world.watch(CONFIG_MAPS, timeoutSeconds="5")
    world.wait(4)
    assert not watch.closed
    world.wait(2)
    assert watch.closed


def test_a_cache_that_is_held_serves_the_past_and_catches_up(world: World) -> None:
    world.config_map("a")
    watch = world.watch(CONFIG_MAPS, resourceVersion="0", fieldSelector="metadata.name!=kube-root-ca.crt")
    drain(watch)
    resource = world.server.catalog.by_resource("", "v1", "configmaps")
    assert resource is not None
    cacher = world.server.cacher(resource)
    cacher.hold()
    world.config_map("b")
    stale = world.ok("GET", CONFIG_MAPS, query={"resourceVersion": "0"})
    fresh = world.ok("GET", CONFIG_MAPS)
    assert "b" not in [item["metadata"]["name"] for item in stale["items"]]
    assert "b" in [item["metadata"]["name"] for item in fresh["items"]]
    assert drain(watch) == []
    cacher.release()
    assert drain(watch) == [("ADDED", "b")]


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["set", "delete"]), st.sampled_from("abc"), st.sampled_from("xyz")
        ),
        max_size=15,
    ),
    split=st.integers(0, 15),
)
def test_a_list_and_the_watch_after_it_lead_to_what_is_there(
    steps: list[tuple[str, str, str]], split: int
) -> None:
    world = World()

    def run(each: tuple[str, str, str]) -> None:
        what, name, value = each
        body = {"metadata": {"name": name, "labels": {"app": value}}}
        if what == "delete":
            world.call("DELETE", f"{CONFIG_MAPS}/{name}")
        elif world.call("PUT", f"{CONFIG_MAPS}/{name}", body).status == 404:
            world.ok("POST", CONFIG_MAPS, body)

    for step in steps[:split]:
        run(step)
    selector = {"labelSelector": "app in (x,y)"}
    listed = world.ok("GET", CONFIG_MAPS, query=selector)
    view = {item["metadata"]["name"]: item for item in listed["items"]}
    watch = world.watch(
        CONFIG_MAPS, resourceVersion=listed["metadata"]["resourceVersion"], **selector
    )
    for step in steps[split:]:
        run(step)
    last = 0
    while (event := watch.next_nowait()) is not None:
        assert event.revision > last
        last = event.revision
        name = event.object["metadata"]["name"]
        if event.type == "DELETED":
            del view[name]
        else:
            assert (event.type == "MODIFIED") == (name in view)
            view[name] = event.object
    now = world.ok("GET", CONFIG_MAPS, query=selector)
    assert list(sorted(view)) == [item["metadata"]["name"] for item in now["items"]]
    assert [view[name] for name in sorted(view)] == now["items"]
