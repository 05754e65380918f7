"""Volumes, environment and logs."""

import base64

import pytest
from kubelet_world import World

from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.cri.programs import crashes
from pytest_kubesim.kubelet.node_proxy import KubeletProxy
from pytest_kubesim.kubelet.server import KubeletError, LogOptions


def config_map(world, name, **data):
    world.api.put("configmaps", {"kind": "ConfigMap", "metadata": {"name": name, "namespace": "default", "uid": name}, "data": data})


def test_a_missing_config_map_keeps_a_pod_waiting():
    world = World()
    world.pod(volumes=[{"name": "cfg", "configMap": {"name": "settings"}}])
    world.run(5)
    assert world.status()["phase"] == "Pending"
    assert world.events("FailedMount") == [
        'Warning FailedMount MountVolume.SetUp failed for volume "cfg" : configmap "settings" not found x4'
    ]
    config_map(world, "settings", a="1")
    world.run(10)
    assert world.status()["phase"] == "Running"


def test_a_missing_key_is_named():
    world = World()
    config_map(world, "settings", a="1")
    world.pod(volumes=[{"name": "cfg", "configMap": {"name": "settings", "items": [{"key": "b", "path": "b"}]}}])
    world.run(0.1)
    assert world.events("FailedMount")[0].endswith(
        'volume "cfg" : configmap references non-existent config key: b'
    )


def test_a_claim_has_to_be_bound():
    world = World()
    world.pod(volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data-0"}}])
    claim = world.api.put("persistentvolumeclaims", {
        "metadata": {"name": "data-0", "namespace": "default", "uid": "c1"}, "spec": {}, "status": {"phase": "Pending"},
    })
    world.run(1)
    assert world.events("FailedMount") == [
        "Warning FailedMount Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], failed to process volumes=[data]: error processing PVC default/data-0: PVC is not bound"
    ]
    world.api.put("persistentvolumes", {"metadata": {"name": "pv-1"}, "spec": {"claimRef": {"uid": "c1"}}})
    world.api.put("persistentvolumeclaims", {**claim, "spec": {"volumeName": "pv-1"}, "status": {"phase": "Bound"}})
    world.run(20)
    assert world.status()["phase"] == "Running"


def test_a_pod_that_waits_for_volumes_can_be_deleted():
    world = World()
    world.pod(volumes=[{"name": "cfg", "secret": {"secretName": "none"}}])
    world.run(5)
    world.delete()
    world.run(1)
    assert world.get() is None


def test_environment_comes_from_everywhere():
    world = World()
    seen = {}

    async def program(container):
        seen.update(container.env)
        container.log(f"hello from {container.pod_name}")
        return 0

    world.images["nginx:1"] = program
    config_map(world, "settings", MODE="fast", LEVEL="3")
    world.api.put("secrets", {
        "kind": "Secret", "metadata": {"name": "key", "namespace": "default", "uid": "s"},
        "data": {"token": base64.b64encode(b"abc").decode()},
    })
    world.api.put("services", {
        "metadata": {"name": "data-base", "namespace": "default", "uid": "v"},
        "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 5432, "name": "sql"}]},
    })
    world.pod(restartPolicy="Never", containers=[{
        "name": "c", "image": "nginx:1",
        "resources": {"requests": {"cpu": "1500m"}},
        "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "APP_"}],
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(APP_MODE)-$(NONE)-$$(A)"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "key", "key": "token"}}},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Gi"}}},
        ],
    }])
    world.run(1)
    assert world.status()["phase"] == "Succeeded"
    assert {k: seen[k] for k in ("A", "B", "TOKEN", "POD", "IP", "CPU", "MEM", "APP_LEVEL")} == {
        "A": "1", "B": "1-fast-$(NONE)-$(A)", "TOKEN": "abc", "POD": "web", "IP": "10.244.1.2",
        "CPU": "2", "MEM": "16", "APP_LEVEL": "3",
    }
    assert seen["DATA_BASE_SERVICE_HOST"] == "10.96.0.9"
    assert seen["DATA_BASE_PORT_5432_TCP_ADDR"] == "10.96.0.9"


def test_a_reference_to_nothing_fails_the_creation():
    world = World()
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "a"}}}]
    world.pod(containers=[{"name": "c", "image": "x", "env": env}])
    world.run(12)
    assert world.container()["state"]["waiting"] == {
        "reason": "CreateContainerConfigError", "message": 'configmap "none" not found',
    }
    assert world.events("Failed")[0].startswith('Warning Failed Error: configmap "none" not found')


def test_logs_have_a_tail_a_past_and_an_end():
    world = World()
    world.images["nginx:1"] = crashes(1, after="5s", times=1, log="one\ntwo\nthree")
    world.pod()
    world.run(8)
    server = world.machine.kubelet.server

    def logs(**options):
        return server.container_logs("default", "web", "c", LogOptions(**options))

    assert logs(previous=True) == "one\ntwo\nthree\n"
    assert logs(previous=True, tail_lines=1) == "three\n"
    assert logs(previous=True, limit_bytes=5) == "one\nt"
    assert logs(previous=True, since_seconds=3) == ""
    assert logs(previous=True, timestamps=True, tail_lines=1) == "2026-01-01T00:00:00.000000000Z three\n"
    assert logs() == ""
    with pytest.raises(KubeletError, match='container "d" in pod "web" is not available'):
        server.container_logs("default", "web", "d", LogOptions())


def test_logs_of_a_container_that_waits_are_refused():
    world = World()
    world.images.missing("nginx:1")
    world.pod()
    world.run(35)
    with pytest.raises(KubeletError, match="trying and failing to pull image"):
        world.machine.kubelet.server.container_logs("default", "web", "c", LogOptions())
    with pytest.raises(KubeletError, match='previous terminated container "c" in pod "web" not found'):
        world.machine.kubelet.server.container_logs("default", "web", "c", LogOptions(previous=True))


def test_the_last_words_of_a_container_are_its_message():
    world = World()
    world.images["nginx:1"] = crashes(1, log="boom")
    world.pod(restartPolicy="Never", containers=[{
        "name": "c", "image": "nginx:1", "terminationMessagePolicy": "FallbackToLogsOnError",
    }])
    world.run(1)
    assert world.container()["state"]["terminated"]["message"] == "boom\n"


# -- through the API server ------------------------------------------------------------------


def proxy_of(world):
    machines = {"node-1": world.machine.kubelet}
    return KubeletProxy(machines.get)


def ask(world, **query):
    coro = proxy_of(world).logs(world.node(), world.get(), "c", tuple(query.items()))
    return world.kernel.run_coroutine(coro)


def test_logs_come_through_the_api_server():
    world = World()
    world.images["nginx:1"] = crashes(1, after="1h", log="one\ntwo")
    world.pod()
    world.run(1)
    assert ask(world).encoded() == b"one\ntwo\n"
    assert ask(world, tailLines="1").encoded() == b"two\n"
    world.machine.stop_kubelet()
    with pytest.raises(APIStatus, match=r'Get "https://172\.18\.0\.3:10250/containerLogs/default/web/c": dial tcp'):
        ask(world)


def test_a_followed_log_goes_on_until_the_container_ends():
    world = World()

    async def program(container):
        for number in range(3):
            container.log(f"line {number}")
            await container.sleep("10s")

    world.images["nginx:1"] = program
    world.pod(restartPolicy="Never")
    world.run(1)
    stream = ask(world, follow="true")
    pieces = []

    async def read():
        while (event := await stream.next()) is not None:
            pieces.append((round(world.time), stream.encode(event)))

    world.kernel.spawn(read(), name="reader")
    world.run(60)
    assert pieces == [(1, b"line 0\n"), (10, b"line 1\n"), (20, b"line 2\n")]
    assert stream.closed


@pytest.mark.parametrize(("path", "kind", "problem"), [
    ("/data", "Directory", "/data is not a directory"),
    ("/data", "DirectoryOrCreate", ""),
    ("/etc/hosts", "Directory", "/etc/hosts is not a directory"),
    ("/etc/hosts", "File", ""),
    ("/run/containerd/containerd.sock", "Socket", ""),
    ("/var/run/docker.sock", "Socket", "/var/run/docker.sock is not a socket file"),
    ("/dev/fuse", "CharDevice", ""),
    ("/dev/sdb", "BlockDevice", "/dev/sdb is not a block device"),
    ("/var/lib/kubelet/plugins_registry", "Directory", ""),
])
def test_a_path_of_the_node_must_be_what_its_type_says(path, kind, problem):
    world = World()
    world.pod(volumes=[{"name": "v", "hostPath": {"path": path, "type": kind}}], containers=[{
        "name": "c", "image": "app:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }])
    world.run(3)
    assert world.status()["phase"] == ("Pending" if problem else "Running")
    told = f'Warning FailedMount MountVolume.SetUp failed for volume "v" : hostPath type check failed: {problem}'
    assert {event.partition(" x")[0] for event in world.events("FailedMount")} == ({told} if problem else set())
