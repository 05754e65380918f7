"""The official client: CoreV1Api, watches, errors, in-cluster and kubeconfig loading."""

from __future__ import annotations

import threading
import time

import pytest

kubernetes = pytest.importorskip("kubernetes")
from kubernetes import client, config, watch  # noqa: E402
from kubernetes.client.rest import ApiException  # noqa: E402


@pytest.fixture
def core(kubesim):
    config.load_kube_config()
    return client.CoreV1Api()


def config_map(name, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


def test_creates_reads_patches_and_deletes(core):
    made = core.create_namespaced_config_map("default", config_map("a", x="1"))
    assert made.metadata.uid
    core.patch_namespaced_config_map("a", "default", {"data": {"y": "2"}})
    assert core.read_namespaced_config_map("a", "default").data == {"x": "1", "y": "2"}
    core.delete_namespaced_config_map("a", "default")
    with pytest.raises(ApiException) as gone:
        core.read_namespaced_config_map("a", "default")
    assert gone.value.status == 404
    assert '"reason":"NotFound"' in gone.value.body.replace(" ", "")


def test_a_pod_is_a_model_with_datetimes(core):
    core.create_namespaced_service_account("default", {"metadata": {"name": "default"}})
    pod = client.V1Pod(
        metadata=client.V1ObjectMeta(name="p"),
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="i")]),
    )
    made = core.create_namespaced_pod("default", pod)
    assert made.metadata.creation_timestamp.year == 2026
    assert made.spec.restart_policy == "Always"


def test_conflicts_are_409(core):
    made = core.create_namespaced_config_map("default", config_map("a"))
    with pytest.raises(ApiException) as exists:
        core.create_namespaced_config_map("default", config_map("a"))
    assert (exists.value.status, exists.value.reason) == (409, "Conflict")
    core.patch_namespaced_config_map("a", "default", {"data": {"x": "1"}})
    with pytest.raises(ApiException) as stale:
        core.replace_namespaced_config_map("a", "default", made)
    assert stale.value.status == 409


def test_watches_until_the_timeout_in_virtual_time(kubesim, core):
    core.create_namespaced_config_map("default", config_map("a"))
    kubesim.kernel.call_later(
        20_000_000_000, lambda: kubesim.kernel.spawn(_create_later(kubesim), name="later")
    )
    before = kubesim.clock.time
    seen = [
        (e["type"], e["object"].metadata.name)
        for e in watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=60)
    ]
    assert ("ADDED", "a") in seen
    assert ("ADDED", "b") in seen
    assert 59 < kubesim.clock.time - before < 66


async def _create_later(kubesim):
    from pytest_kubesim.client_go.resources import CONFIGMAPS

    await kubesim._client.create(
        CONFIGMAPS, "default",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "namespace": "default"}},
    )


def test_too_old_a_revision_is_410(kubesim, core):
    kubesim.faults.api_server().restart()  # it knows of nothing that was before
    core.create_namespaced_config_map("default", config_map("a"))
    with pytest.raises(ApiException) as gone:
        for _ in watch.Watch().stream(core.list_namespaced_config_map, "default", resource_version="1", timeout_seconds=5):
            pass
    assert gone.value.status == 410


def test_too_many_requests_is_429_with_a_retry_after(kubesim, core):
    kubesim.faults.api(client="test", verb="get", resource="configmaps").fail(429, retry_after=2)
    before = kubesim.clock.time
    with pytest.raises(ApiException) as busy:
        core.read_namespaced_config_map("a", "default", _request_timeout=5)
    # urllib3 honours Retry-After by itself: it slept, and then was answered 404.
    assert (busy.value.status, kubesim.clock.time - before) in ((429, 0.0), (404, 2.0))


def test_a_reset_connection_is_seen_as_such(kubesim, core):
    import urllib3

    core.list_namespace()
    kubesim.faults.api(client="test", verb="create", resource="configmaps").reset(times=10)
    with pytest.raises(urllib3.exceptions.HTTPError):
        core.create_namespaced_config_map("default", config_map("a"))


def test_an_answer_that_does_not_come_times_out_in_virtual_time(kubesim, core):
    import urllib3

    kubesim.faults.api(client="test", verb="get", resource="configmaps").delay("10m", times=None)
    before = kubesim.clock.time
    with pytest.raises(urllib3.exceptions.HTTPError):
        core.read_namespaced_config_map("a", "default", _request_timeout=30)
    assert 30 <= kubesim.clock.time - before < 600


def test_the_in_cluster_configuration_works(kubesim):
    config.load_incluster_config()
    assert [n.metadata.name for n in client.CoreV1Api().list_namespace().items][:1] == ["default"]


def test_a_ready_client(kubesim):
    api = kubesim.client("kubernetes")
    assert client.VersionApi(api).get_code().minor == "37"


def test_the_clocks_of_user_code_are_virtual(kubesim):
    started = time.time()
    time.sleep(3600)
    assert time.time() - started == 3600
    assert kubesim.clock.time == 3600


def test_a_synchronous_operator_watches_and_sleeps(kubesim):
    def operator():
        config.load_incluster_config()
        core = client.CoreV1Api()
        while True:
            for event in watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=30):
                found = event["object"]
                if event["type"] == "DELETED" or (found.metadata.labels or {}).get("seen"):
                    continue
                print("saw", found.metadata.name)
                core.patch_namespaced_config_map(found.metadata.name, "default", {"metadata": {"labels": {"seen": "yes"}}})
            time.sleep(10)

    running = kubesim.run(operator, name="labeller")
    kubesim.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    kubesim.eventually("configmap/a", {"metadata": {"labels": {"seen": "yes"}}}, within="1m")
    assert "saw a" in running.log
    running.crash()
    kubesim.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}})
    kubesim.advance("10m")
    assert "labels" not in kubesim.get("configmap/b")["metadata"]
    running.restart()
    kubesim.eventually("configmap/b", {"metadata": {"labels": {"seen": "yes"}}}, within="1m")
    assert running.restarts == 1


def test_a_watch_in_a_thread_of_the_test(kubesim, core):
    seen = []

    def follow():
        for event in watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=120):
            seen.append(event["object"].metadata.name)

    thread = threading.Thread(target=follow)
    thread.start()
    core.create_namespaced_config_map("default", config_map("a"))
    time.sleep(1)
    assert "a" in seen
    thread.join()
    assert not thread.is_alive()


def test_informers_follow_in_a_thread(kubesim, core):
    informer = pytest.importorskip("kubernetes.informer")
    seen = []
    following = informer.SharedInformer(list_func=core.list_namespaced_config_map, namespace="default")
    following.add_event_handler(informer.ADDED, lambda found: seen.append(found.metadata.name))
    following.start()
    time.sleep(60)
    core.create_namespaced_config_map("default", config_map("a"))
    time.sleep(1)
    assert "a" in seen
    following.stop()
    assert kubesim.clock.time == 61


def test_of_two_replicas_one_leads_and_the_other_takes_over(kubesim):
    from kubernetes.leaderelection import electionconfig, leaderelection
    from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock

    led, names = [], iter(("one", "two", "three"))

    def main():
        me = next(names)
        config.load_incluster_config()
        lock = electionconfig.Config(
            ConfigMapLock("lock", "default", me), lease_duration=17, renew_deadline=15, retry_period=5,
            onstarted_leading=lambda: led.append((me, kubesim.clock.time)), onstopped_leading=None,
        )
        leaderelection.LeaderElection(lock).run()

    first = kubesim.run(main, name="elected", replicas=2)
    kubesim.advance("1m")
    assert [name for name, _ in led] == ["one"]
    first.crash()
    kubesim.advance("1m")
    assert [name for name, _ in led] == ["one", "two"]
    assert led[1][1] >= 60 + 12
