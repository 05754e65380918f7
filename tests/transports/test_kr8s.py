"""kr8s, synchronous (its own loop in a thread) and asynchronous."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("kr8s")
import kr8s  # noqa: E402
import kr8s.asyncio  # noqa: E402
from kr8s.asyncio.objects import ConfigMap as AsyncConfigMap  # noqa: E402
from kr8s.objects import ConfigMap  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Kubernetes version .* is not supported")


def config_map(name, **data):
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


def test_creates_patches_and_deletes(kubesim):
    made = ConfigMap(config_map("a", x="1"))
    made.create()
    made.patch({"data": {"y": "2"}})
    assert dict(ConfigMap.get("a", namespace="default").data) == {"x": "1", "y": "2"}
    assert [c.name for c in kr8s.get("configmaps", namespace="default")] == ["a"]
    made.delete()
    assert not made.exists()
    with pytest.raises(kr8s.NotFoundError):
        ConfigMap.get("a", namespace="default", timeout=1)


def test_the_next_test_has_a_cluster_of_its_own(kubesim):
    assert list(kr8s.get("configmaps", namespace="default")) == []


def test_refusals_carry_the_status(kubesim):
    ConfigMap(config_map("a")).create()
    with pytest.raises(kr8s.ServerError) as exists:
        ConfigMap(config_map("a")).create()
    assert exists.value.response.status_code == 409
    kubesim.faults.api(client="test", verb="create", resource="configmaps").fail(429, retry_after=1)
    with pytest.raises(kr8s.ServerError) as busy:
        ConfigMap(config_map("b")).create()
    assert busy.value.response.status_code == 429


async def test_async_watches_and_waits(kubesim):
    api = await kr8s.asyncio.api()
    made = await AsyncConfigMap(config_map("a"), api=api)
    await made.create()
    seen = []

    async def follow():
        async for event, obj in api.watch("configmaps", namespace="default"):
            seen.append((event, obj.name))

    following = asyncio.create_task(follow())
    await asyncio.sleep(60)
    await made.patch({"data": {"x": "1"}})
    await asyncio.sleep(1)
    await made.delete()
    await asyncio.sleep(1)
    following.cancel()
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    with pytest.raises(kr8s.NotFoundError):
        await AsyncConfigMap.get("a", namespace="default", api=api, timeout=1)


async def test_a_ready_client(kubesim):
    api = await kubesim.client("kr8s")
    assert (await api.version())["minor"] == "37"


async def test_too_old_a_revision_is_410(kubesim):
    kubesim.faults.api_server().restart()  # it knows of nothing that was before
    api = await kr8s.asyncio.api()
    await (await AsyncConfigMap(config_map("a"), api=api)).create()
    async with api.call_api(
        "GET", url="configmaps", namespace="default", stream=True,
        params={"watch": "true", "resourceVersion": "1", "timeoutSeconds": "5"},
    ) as answer:
        lines = [line async for line in answer.aiter_lines()]
    assert '"code":410' in lines[0]


def test_an_operator(kubesim):
    async def operator():
        api = await kr8s.asyncio.api()
        while True:
            async for found in api.get("configmaps", namespace="default"):
                if not found.labels.get("seen"):
                    await found.label({"seen": "yes"})
            await asyncio.sleep(30)

    kubesim.run(operator, name="labeller")
    kubesim.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    kubesim.eventually("configmap/a", {"metadata": {"labels": {"seen": "yes"}}}, within="2m")
