"""kopf operators: handlers sync and async, timers, daemons, finalizers."""

from __future__ import annotations

import asyncio
import sys
import time
import types

import pytest

kopf = pytest.importorskip("kopf")
import kubernetes  # noqa: E402

LAST = "kopf.zalando.org/last-handled-configuration"


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@pytest.fixture
def registry():
    return kopf.OperatorRegistry()


def test_async_handlers_and_progress(kubesim, registry):
    @kopf.on.create("", "v1", "configmaps", registry=registry, when=lambda name, **_: name == "a")
    async def create(logger, **_):
        await asyncio.sleep(10)
        logger.info("made it")
        return {"answer": 42}

    running = kubesim.run(registry, name="operator")
    kubesim.create(config_map("a"))
    kubesim.eventually(lambda: "made it" in running.log, within="2m")
    assert kubesim.clock.time >= 10
    kubesim.eventually("configmap/a", lambda o: LAST in o["metadata"].get("annotations", {}), within="1m")


def test_synchronous_handlers_call_the_official_client(kubesim, registry):
    @kopf.on.create("", "v1", "configmaps", registry=registry, labels={"app": "x"})
    def create(name, **_):
        time.sleep(30)
        core = kubernetes.client.CoreV1Api()
        body = {"metadata": {"name": name + "-secret"}, "stringData": {"k": "v"}}
        kopf.adopt(body)
        core.create_namespaced_secret("default", body)

    running = kubesim.run(registry, name="operator")
    kubesim.create({**config_map("a"), "metadata": {"name": "a", "labels": {"app": "x"}}})
    kubesim.eventually("secret/a-secret", within="2m")
    assert 30 <= kubesim.clock.time < 60
    assert running.restarts == 0


def test_a_handler_that_fails_is_tried_again_after_its_delay(kubesim, registry):
    tries = []

    @kopf.on.create("", "v1", "configmaps", registry=registry, when=lambda name, **_: name == "a")
    def create(**_):
        tries.append(kubesim.clock.time)
        if len(tries) < 3:
            raise kopf.TemporaryError("not yet", delay=600)

    kubesim.run(registry)
    kubesim.create(config_map("a"))
    kubesim.eventually(lambda: len(tries) == 3, within="1h")
    assert 1200 <= tries[2] - tries[0] < 1230


def test_timers_and_daemons(kubesim, registry):
    ticks, beats = [], []

    @kopf.timer("", "v1", "configmaps", interval=60, registry=registry, when=lambda name, **_: name == "a")
    def tick(**_):
        ticks.append(kubesim.clock.time)

    @kopf.daemon("", "v1", "configmaps", registry=registry, when=lambda name, **_: name == "a")
    def beat(stopped, **_):
        while not stopped:
            beats.append(kubesim.clock.time)
            stopped.wait(100)

    kubesim.run(registry)
    kubesim.create(config_map("a"))
    kubesim.advance("10m")
    assert 9 <= len(ticks) <= 11
    assert 5 <= len(beats) <= 7
    kubesim.delete("configmap/a")
    kubesim.eventually(lambda: not kubesim.list("configmaps", fields="metadata.name=a"), within="5m")
    count = len(ticks)
    kubesim.advance("10m")
    assert len(ticks) == count


def test_finalizers(kubesim, registry):
    removed = []

    @kopf.on.delete("", "v1", "configmaps", registry=registry, labels={"app": "x"})
    async def delete(name, **_):
        await asyncio.sleep(60)
        removed.append((name, kubesim.clock.time))

    kubesim.run(registry)
    kubesim.create({**config_map("a"), "metadata": {"name": "a", "labels": {"app": "x"}}})
    kubesim.eventually("configmap/a", lambda o: o["metadata"].get("finalizers"), within="1m")
    started = kubesim.clock.time
    kubesim.delete("configmap/a")
    assert kubesim.get("configmap/a")["metadata"]["deletionTimestamp"]
    kubesim.eventually(lambda: not kubesim.list("configmaps", fields="metadata.name=a"), within="5m")
    assert removed[0][1] - started >= 60


def test_a_crash_in_the_middle_is_made_good_by_the_next_start(kubesim, registry):
    seen = []

    @kopf.on.create("", "v1", "configmaps", registry=registry, when=lambda name, **_: name == "a")
    async def create(patch, **_):
        seen.append(kubesim.clock.time)
        await asyncio.sleep(30)
        patch.metadata.labels["done"] = "yes"

    running = kubesim.run(registry)
    kubesim.create(config_map("a"))
    kubesim.eventually(lambda: seen, within="1m")
    running.crash()
    kubesim.advance("5m")
    assert "labels" not in kubesim.get("configmap/a")["metadata"]
    running.restart()
    kubesim.eventually("configmap/a", {"metadata": {"labels": {"done": "yes"}}}, within="2m")
    assert len(seen) == 2


def test_a_module_brings_its_own_handlers_only(kubesim):
    first, second = (module_of(name) for name in ("first_operator", "second_operator"))
    kubesim.run(first)
    kubesim.create(config_map("a"))
    kubesim.eventually("configmap/a", {"metadata": {"labels": {"first_operator": "yes"}}}, within="1m")
    kubesim.advance("1m")
    assert "second_operator" not in kubesim.get("configmap/a")["metadata"]["labels"]
    kubesim.run(second)
    kubesim.eventually("configmap/a", {"metadata": {"labels": {"second_operator": "yes"}}}, within="1m")


def test_a_module_without_handlers_is_told(kubesim):
    from pytest_kubesim.errors import UsageError

    with pytest.raises(UsageError, match="has registered no kopf handlers"):
        kubesim.run(types)


def module_of(name):
    if name not in sys.modules:
        module = sys.modules[name] = types.ModuleType(name)
        exec(
            "import kopf\n"
            "@kopf.on.event('', 'v1', 'configmaps', when=lambda name, **_: name == 'a')\n"
            "def seen(name, labels, patch, **_):\n"
            f"    if {name!r} not in labels: patch.metadata.labels[{name!r}] = 'yes'\n",
            module.__dict__,
        )
    return sys.modules[name]


def test_kopf_run_in_a_plain_function(kubesim, registry):
    seen = []

    @kopf.on.event("", "v1", "configmaps", registry=registry)
    def event(name, **_):
        seen.append(name)

    def main():
        kopf.run(registry=registry, clusterwide=True, standalone=True)

    registry = with_login(registry)
    kubesim.run(main, name="operator")
    kubesim.create(config_map("a"))
    kubesim.eventually(lambda: "a" in seen, within="1m")


def with_login(registry):
    @kopf.on.login(registry=registry)
    def login(**kwargs):
        return kopf.login_via_client(**kwargs)

    return registry
