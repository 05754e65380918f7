"""kubernetes_asyncio (aiohttp) on the loop of an async test, and as an operator."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("kubernetes_asyncio")
from kubernetes_asyncio import client, config, watch  # noqa: E402
from kubernetes_asyncio.client.exceptions import ApiException  # noqa: E402


def config_map(name, **data):
    return {"metadata": {"name": name}, "data": data}


async def test_creates_patches_and_deletes(kubesim):
    await config.load_kube_config()
    async with client.ApiClient() as api:
        core = client.CoreV1Api(api)
        made = await core.create_namespaced_config_map("default", config_map("a", x="1"))
        assert made.metadata.creation_timestamp.year == 2026
        await core.patch_namespaced_config_map("a", "default", {"data": {"y": "2"}})
        assert (await core.read_namespaced_config_map("a", "default")).data == {"x": "1", "y": "2"}
        await core.delete_namespaced_config_map("a", "default")
        with pytest.raises(ApiException) as gone:
            await core.read_namespaced_config_map("a", "default")
        assert gone.value.status == 404


async def test_conflict_too_many_requests_and_gone(kubesim):
    kubesim.faults.api_server().restart()  # it knows of nothing that was before
    config.load_incluster_config()
    async with client.ApiClient() as api:
        core = client.CoreV1Api(api)
        await core.create_namespaced_config_map("default", config_map("a"))
        with pytest.raises(ApiException) as exists:
            await core.create_namespaced_config_map("default", config_map("a"))
        assert exists.value.status == 409
        kubesim.faults.api(client="test", verb="get", resource="configmaps").fail(429, retry_after=1)
        with pytest.raises(ApiException) as busy:
            await core.read_namespaced_config_map("a", "default")
        assert busy.value.status == 429
        async with watch.Watch() as stream:
            with pytest.raises(ApiException) as gone:
                async for _ in stream.stream(core.list_namespaced_config_map, "default", resource_version="1", timeout_seconds=5):
                    pass
        assert gone.value.status == 410


async def test_an_hour_of_sleep_costs_nothing_and_a_watch_sees_what_happens(kubesim):
    async with kubesim.client("kubernetes_asyncio") as api:
        core = client.CoreV1Api(api)
        seen = []

        async def follow():
            async with watch.Watch() as stream:
                async for event in stream.stream(core.list_namespaced_config_map, "default", timeout_seconds=7200):
                    seen.append(event["object"].metadata.name)

        following = asyncio.create_task(follow())
        await asyncio.sleep(3600)
        await core.create_namespaced_config_map("default", config_map("late"))
        await asyncio.sleep(1)
        assert "late" in seen
        assert kubesim.clock.time == 3601
        following.cancel()


async def test_a_request_can_time_out(kubesim):
    kubesim.faults.api(client="test", verb="list", resource="namespaces").delay("1h", times=None)
    async with kubesim.client("kubernetes_asyncio") as api:
        with pytest.raises(asyncio.TimeoutError):
            await client.CoreV1Api(api).list_namespace(_request_timeout=10)
    assert kubesim.clock.time == 10


def test_an_operator_that_crashes_at_a_write_begins_anew(kubesim):
    async def operator():
        config.load_incluster_config()
        async with client.ApiClient() as api:
            core = client.CoreV1Api(api)
            for name in ("one", "two", "three"):
                try:
                    await core.create_namespaced_config_map("default", config_map(name))
                except ApiException as error:
                    if error.status != 409:
                        raise
                await asyncio.sleep(1)
            await asyncio.sleep(1e6)

    running = kubesim.run(operator)
    running.crash(at_write=2, restart_after="30s")
    kubesim.eventually("configmap/three", within="2m")
    assert running.restarts == 1
    assert kubesim.clock.time > 30


def test_two_replicas_run_side_by_side(kubesim):
    turns = []

    async def operator():
        async with kubesim.client("kubernetes_asyncio") as api:
            for _ in range(3):
                await client.CoreV1Api(api).list_namespace()
                turns.append(asyncio.get_running_loop())
                await asyncio.sleep(5)

    kubesim.run(operator, name="twin", replicas=2)
    kubesim.advance("1m")
    assert len(set(turns)) == 2
    assert turns[0::2] == [turns[0]] * 3
    clients = [e.actor for e in kubesim.journal.entries("request") if e.actor.startswith("twin")]
    assert clients == ["twin", "twin-2"] * 3


async def test_the_async_half_of_the_official_client(kubesim):
    pytest.importorskip("kubernetes.aio")
    from kubernetes.aio import client, config, watch

    await config.load_kube_config()
    async with client.ApiClient() as api:
        core = client.CoreV1Api(api)
        await core.create_namespaced_config_map("default", config_map("a"))
        async with watch.Watch() as stream:
            seen = [e["object"].metadata.name async for e in stream.stream(core.list_namespaced_config_map, "default", timeout_seconds=30)]
    assert "a" in seen
    assert kubesim.clock.time >= 30
