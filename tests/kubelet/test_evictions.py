"""Who is evicted, for what, and what is said of it; and who is killed for want of memory."""

import kubernetes
import pytest

from pytest_kubesim import runs_forever

DD = "dd if=/dev/zero of={path} bs=1M count=30; sleep 10000"


def pod(name, *, script="sleep 10000", image="busybox", volumes=(), mounts=(), limits=None, requests=None, **spec):
    container = {"name": "c", "image": image, "resources": {"limits": limits or {}, "requests": requests or {}}}
    if image == "busybox":
        container |= {"command": ["sh", "-c", script], "volumeMounts": list(mounts)}
    spec = {"containers": [container], "volumes": list(volumes), **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


DATA = ({"name": "d", "mountPath": "/data"},)


@pytest.mark.parametrize(("volume", "limits", "path", "message"), [
    ({"sizeLimit": "10Mi"}, {}, "/data/x", 'Usage of EmptyDir volume "d" exceeds the limit "10Mi". '),
    ({}, {"ephemeral-storage": "20Mi"}, "/data/x", "Pod ephemeral local storage usage exceeds the total limit of containers 20Mi. "),
    ({}, {"ephemeral-storage": "20Mi"}, "/tmp/x", "Pod ephemeral local storage usage exceeds the total limit of containers 20Mi. "),
    ({}, {"ephemeral-storage": "100Mi"}, "/tmp/x", ""),
    ({"sizeLimit": "10Mi"}, {}, "/tmp/x", ""),
])
def test_a_pod_takes_as_much_of_the_disk_as_it_may(kubesim, volume, limits, path, message):
    kubesim.add_nodes(1)
    volumes = [{"name": "d", "emptyDir": volume}]
    kubesim.apply(pod("p", script=DD.format(path=path), volumes=volumes, mounts=DATA, limits=limits))
    kubesim.advance("1m")
    status = kubesim.get("pod/p")["status"]
    if not message:
        assert status["phase"] == "Running"
        return
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "Evicted", message)
    assert all(condition["type"] != "DisruptionTarget" for condition in status["conditions"])


def test_a_container_that_takes_more_than_its_share_is_named(kubesim):
    kubesim.add_nodes(1)
    manifest = pod("p", script=DD.format(path="/tmp/x"), limits={"ephemeral-storage": "20Mi"})
    other = {"name": "o", "image": "x:1", "resources": {"limits": {"ephemeral-storage": "1Gi"}}}
    manifest["spec"]["containers"].append(other)
    kubesim.apply(manifest)
    kubesim.eventually("pod/p", {"status": {
        "phase": "Failed", "reason": "Evicted", "message": 'Container c exceeded its local ephemeral storage limit "20Mi". ',
    }}, within="1m")


def test_under_disk_pressure_goes_first_who_takes_more_than_it_asked_for(kubesim):
    kubesim.add_nodes(1)
    kubesim.images["big:1"] = runs_forever().using(disk="2Gi")
    kubesim.apply(pod("asked", image="big:1", requests={"ephemeral-storage": "3Gi"}), pod("took", image="big:1"))
    kubesim.eventually("pods", {"status": {"phase": "Running"}}, count=2, within="1m")
    kubesim.faults.node("node-1").pressure("disk")
    kubesim.advance("5s")
    took = kubesim.get("pod/took")["status"]
    assert took["message"] == (
        "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 5Gi. "
        "Container c was using 2Gi, request is 0, has larger consumption of ephemeral-storage. "
    )
    assert kubesim.get("pod/asked")["status"]["phase"] == "Running"
    event = next(e for e in kubesim.list("events") if e["reason"] == "Evicted")
    assert event["metadata"]["annotations"] == {
        "offending_containers": "c", "offending_containers_usage": "2Gi", "starved_resource": "ephemeral-storage",
    }


def test_for_want_of_process_ids_goes_first_who_has_most(kubesim):
    kubesim.add_nodes(1)
    kubesim.apply(pod("few"), pod("many", script="sleep 9999 & sleep 9999 & sleep 9999 & wait"))
    kubesim.eventually("pods", {"status": {"phase": "Running"}}, count=2, within="1m")
    kubesim.faults.node("node-1").pressure("pid")
    kubesim.advance("5s")
    assert [kubesim.get(f"pod/{name}")["status"]["phase"] for name in ("many", "few")] == ["Failed", "Running"]


def test_more_memory_than_the_limit_is_the_end(kubesim):
    kubesim.add_nodes(1)
    used = ["100Mi"]
    kubesim.images["grows:1"] = runs_forever().using(memory=lambda: used[0])
    kubesim.apply(pod("p", image="grows:1", limits={"memory": "200Mi"}))
    kubesim.eventually("pod/p", {"status": {"phase": "Running"}}, within="1m")
    kubesim.stays("pod/p", {"status": {"containerStatuses": [{"name": "c", "restartCount": 0}]}}, during="1h")
    used[0] = "300Mi"
    kubesim.eventually("pod/p", {"status": {"containerStatuses": [
        {"name": "c", "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}},
    ]}}, within="10s")


def test_a_volume_in_memory_is_full_at_its_limit(kubesim):
    kubesim.add_nodes(1)
    volumes = [{"name": "d", "emptyDir": {"medium": "Memory", "sizeLimit": "10Mi"}}]
    script = "dd if=/dev/zero of=/data/x bs=1M count=30 ; wc -c < /data/x; echo more >> /data/x"
    kubesim.apply(pod("p", script=script, volumes=volumes, mounts=DATA, restartPolicy="Never"))
    kubesim.eventually("pod/p", {"status": {"phase": "Failed"}}, within="1m")
    log = kubernetes.client.CoreV1Api(kubesim.client("kubernetes")).read_namespaced_pod_log("p", "default")
    assert "No space left on device" in log
    assert "10+0 records out" in log
    assert "10485760\n" in log
