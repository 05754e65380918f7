"""lightkube, synchronous and asynchronous (httpx2)."""

from __future__ import annotations

import asyncio

import pytest

lightkube = pytest.importorskip("lightkube")
import httpx2  # noqa: E402
from lightkube import ApiError, AsyncClient, Client  # noqa: E402
from lightkube.generic_resource import create_namespaced_resource  # noqa: E402
from lightkube.models.meta_v1 import ObjectMeta  # noqa: E402
from lightkube.resources.core_v1 import ConfigMap  # noqa: E402
from lightkube.types import PatchType  # noqa: E402


def config_map(name, **data):
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default"), data=data)


def test_creates_patches_and_deletes(kubesim):
    client = Client()
    made = client.create(config_map("a", x="1"))
    assert made.metadata.creationTimestamp.year == 2026
    client.patch(ConfigMap, "a", {"data": {"y": "2"}}, namespace="default", patch_type=PatchType.MERGE)
    assert client.get(ConfigMap, "a", namespace="default").data == {"x": "1", "y": "2"}
    client.delete(ConfigMap, "a", namespace="default")
    with pytest.raises(ApiError) as gone:
        client.get(ConfigMap, "a", namespace="default")
    assert gone.value.status.code == 404


def test_refusals_carry_the_status(kubesim):
    client = Client()
    client.create(config_map("a"))
    with pytest.raises(ApiError) as exists:
        client.create(config_map("a"))
    assert (exists.value.status.code, exists.value.status.reason) == (409, "AlreadyExists")
    kubesim.faults.api(client="test", verb="get", resource="configmaps").fail(429, retry_after=1)
    with pytest.raises(ApiError) as busy:
        client.get(ConfigMap, "a", namespace="default")
    assert busy.value.status.code == 429


def test_a_watch_ends_with_its_timeout(kubesim):
    client = kubesim.client("lightkube")
    client.create(config_map("a"))
    seen = []
    for kind, obj in client.watch(ConfigMap, namespace="default", server_timeout=30):
        seen.append((kind, obj.metadata.name))
        if len(seen) == 2:
            break
        client.delete(ConfigMap, "a", namespace="default")
    assert seen == [("ADDED", "a"), ("DELETED", "a")]


def test_too_old_a_revision_is_410(kubesim):
    kubesim.faults.api_server().restart()  # it knows of nothing that was before
    client = Client()
    client.create(config_map("a"))
    with pytest.raises(httpx2.HTTPError) as gone:
        for _ in client.watch(ConfigMap, namespace="default", resource_version="1", server_timeout=5):
            pass
    assert isinstance(gone.value, ApiError)
    assert gone.value.status.code == 410


def test_applies_custom_resources(widgets):
    Widget = create_namespaced_resource("example.com", "v1", "Widget", "widgets")
    client = Client(field_manager="me")
    client.apply(Widget(metadata=ObjectMeta(name="w", namespace="default"), spec={"size": 3}))
    assert client.get(Widget, "w", namespace="default").spec["size"] == 3


async def test_the_async_client(kubesim):
    client = AsyncClient()
    await client.create(config_map("a"))
    seen = []

    async def follow():
        async for kind, obj in client.watch(ConfigMap, namespace="default"):
            seen.append((kind, obj.metadata.name))

    following = asyncio.create_task(follow())
    await asyncio.sleep(600)
    await client.delete(ConfigMap, "a", namespace="default")
    await asyncio.sleep(1)
    following.cancel()
    assert seen == [("ADDED", "a"), ("DELETED", "a")]
    with pytest.raises(ApiError) as gone:
        await client.get(ConfigMap, "a", namespace="default")
    assert gone.value.status.code == 404


def test_operators_sync_and_async(kubesim):
    def first():
        import time

        client = Client()
        while True:
            for found in client.list(ConfigMap, namespace="default"):
                if not (found.metadata.labels or {}).get("first"):
                    client.patch(ConfigMap, found.metadata.name, {"metadata": {"labels": {"first": "yes"}}}, namespace="default")
            time.sleep(10)

    async def second():
        client = AsyncClient()
        async for _kind, found in client.watch(ConfigMap, namespace="default"):
            if not (found.metadata.labels or {}).get("second"):
                await client.patch(ConfigMap, found.metadata.name, {"metadata": {"labels": {"second": "yes"}}}, namespace="default")

    kubesim.run(first)
    kubesim.run(second)
    kubesim.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    kubesim.eventually("configmap/a", {"metadata": {"labels": {"first": "yes", "second": "yes"}}}, within="1m")
