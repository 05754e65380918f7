"""httpx, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import json

import pytest

httpx = pytest.importorskip("httpx")

PATH = "/api/v1/namespaces/default/configmaps"


def code_of(line):
    answer = json.loads(line)
    return answer.get("object", answer)["code"]


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_the_verbs(kubesim):
    with kubesim.client("httpx") as http:
        assert http.post(PATH, json=config_map("a", x="1")).status_code == 201
        assert http.post(PATH, json=config_map("a")).status_code == 409
        merge = {"content-type": "application/merge-patch+json"}
        patched = http.patch(PATH + "/a", content=json.dumps({"data": {"y": "2"}}), headers=merge)
        assert patched.json()["data"] == {"x": "1", "y": "2"}
        assert http.delete(PATH + "/a").status_code == 200
        gone = http.get(PATH + "/a")
        assert (gone.status_code, gone.json()["reason"]) == (404, "NotFound")
        kubesim.faults.api(client="test", verb="get", resource="configmaps").fail(429, retry_after=3)
        busy = http.get(PATH + "/a")
        assert (busy.status_code, busy.headers["retry-after"]) == (429, "3")


def test_a_watch_is_streamed_event_by_event(kubesim):
    with kubesim.client("httpx") as http, http.stream("GET", PATH, params={"watch": "1", "timeoutSeconds": "60"}, timeout=100) as stream:
        lines = stream.iter_lines()
        kubesim.create(config_map("a"))
        assert json.loads(next(lines))["type"] == "ADDED"
        kubesim.delete("configmap/a")
        assert json.loads(next(lines))["type"] == "DELETED"
        assert list(lines) == []
    assert 60 <= kubesim.clock.time < 61


def test_a_revision_that_is_compacted_is_410(kubesim):
    kubesim.faults.api_server().restart()  # it knows of nothing that was before
    kubesim.create(config_map("a"))
    with kubesim.client("httpx") as http:
        answer = http.get(PATH, params={"watch": "1", "resourceVersion": "1", "timeoutSeconds": "5"})
        assert code_of(answer.text.splitlines()[0]) == 410


def test_a_read_times_out_in_virtual_time(kubesim):
    kubesim.faults.api(client="test", verb="get", resource="configmaps").delay("1h", times=None)
    with kubesim.client("httpx") as http, pytest.raises(httpx.ReadTimeout):
        http.get(PATH + "/a", timeout=20)
    assert kubesim.clock.time == 20


def test_refused_and_reset(kubesim):
    faults = kubesim.faults.api(client="test", verb="list", resource="configmaps")
    with kubesim.client("httpx") as http:
        faults.refuse()
        with pytest.raises(httpx.TransportError):
            http.get(PATH)
        faults.reset()
        with pytest.raises(httpx.TransportError):
            http.get(PATH)
        assert http.get(PATH).status_code == 200


async def test_async(kubesim):
    async with kubesim.client("httpx") as http:
        await http.post(PATH, json=config_map("a"))

        async def follow():
            async with http.stream("GET", PATH, params={"watch": "1"}, timeout=None) as stream:
                return [json.loads(line)["type"] async for line in stream.aiter_lines()]

        following = asyncio.create_task(follow())
        await asyncio.sleep(120)
        assert (await http.get(PATH + "/a")).json()["metadata"]["name"] == "a"
        following.cancel()


async def test_another_host_is_refused_with_a_reason(kubesim):
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.ConnectError, match="no example.com:80 in the simulation"):
            await http.get("http://example.com/")
