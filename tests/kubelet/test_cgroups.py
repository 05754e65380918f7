"""Containers see what their kubelet gave them as files of a cgroup."""

import pytest

from pytest_kubesim.client_go.resources import PODS
from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig
from pytest_kubesim.cri.cgroup_files import nice_of, weight_of


@pytest.fixture
def cluster():
    made = Cluster(ClusterConfig())
    made.add_nodes(1, cpu="2", memory="2Gi")
    return made


def resources(cpu, memory, *, limits=True):
    amounts = {"cpu": cpu, "memory": memory}
    return {"requests": amounts, **({"limits": amounts} if limits else {})}


def create(cluster, name, container=None, **spec):
    cluster.create({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {**spec, "containers": [{
            "name": "c", "image": "busybox", "command": ["sleep", "1d"], **(container or {}),
        }]},
    })
    cluster.eventually(f"pod/{name}", {"status": {"phase": "Running"}}, within="1m")


def says(cluster, name, command):
    uid = cluster.get(f"pod/{name}")["metadata"]["uid"]
    node = next(iter(cluster.nodes))
    runtime = cluster.nodes[node].machine.runtime
    result = runtime.exec_sync(
        runtime.pod_state(uid).find("c"), ("sh", "-c", command)
    )
    return cluster.perform(result).stdout


@pytest.mark.parametrize(("shares", "weight"), [
    (2, 1), (102, 17), (1024, 100), (2048, 174), (262_144, 10_000),
])
def test_the_weight_of_shares_is_what_runc_makes_of_them(shares, weight):
    assert weight_of(shares) == weight


def test_the_usual_weight_is_nice_0():
    assert (nice_of(100), nice_of(10_000), nice_of(1)) == (0, -20, 19)


def test_a_container_reads_its_limits_and_those_of_a_resize(cluster):
    create(cluster, "p", {"resources": resources("500m", "100M")})
    read = "cd /sys/fs/cgroup; cat cpu.max cpu.weight memory.max memory.swap.max memory.oom.group"
    assert says(cluster, "p", read).split() == ["50000", "100000", "59", "99999744", "0", "1"]
    cluster.perform(cluster._client.patch(PODS, "default", "p", {"spec": {"containers": [
        {"name": "c", "resources": resources("1", "64Mi")}]}}, subresource="resize"))
    cluster.advance("10s")
    assert says(cluster, "p", read).split() == ["100000", "100000", "100", "67108864", "0", "1"]
    assert cluster.get("pod/p")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_without_requests_there_is_no_limit_and_the_least_weight(cluster):
    create(cluster, "p")
    read = "cd /sys/fs/cgroup; cat cpu.max cpu.weight memory.max cpuset.cpus.effective"
    assert says(cluster, "p", read).split() == ["max", "100000", "1", "max", "0-1"]
    assert says(cluster, "p", "cat /proc/1/oom_score_adj /proc/self/cgroup") == "1000\n0::/\n"
    assert "cgroup on /sys/fs/cgroup type cgroup2" in says(cluster, "p", "mount -t cgroup2")


def test_containers_without_limits_have_those_of_their_pod(cluster):
    create(cluster, "p", resources=resources("1", "512Mi"))
    read = "cd /sys/fs/cgroup; cat cpu.max memory.max; cat /proc/1/oom_score_adj"
    assert says(cluster, "p", read).split() == ["100000", "100000", "536870912", "-997"]


@pytest.mark.parametrize(("asked", "score"), [("512Mi", "750"), ("1Mi", "999"), ("2Gi", "3")])
def test_what_asks_for_more_memory_is_killed_later(cluster, asked, score):
    create(cluster, "p", {"resources": {"requests": {"memory": asked}}})
    assert says(cluster, "p", "cat /proc/1/oom_score_adj") == f"{score}\n"


def test_a_node_shows_the_cgroups_of_its_pods(cluster):
    create(
        cluster, "p",
        {"resources": resources("500m", "64Mi", limits=False),
         "volumeMounts": [{"name": "v", "mountPath": "/node"}]},
        volumes=[{"name": "v", "hostPath": {"path": "/sys/fs/cgroup"}}],
    )
    create(cluster, "q", {"resources": resources("500m", "64Mi")})
    uids = [cluster.get(f"pod/{n}")["metadata"]["uid"].replace("-", "_") for n in "pq"]
    find = [says(cluster, "p", f"find /node -name '*{uid}*'").split() for uid in uids]
    top = "/node/kubepods.slice"
    assert find == [
        [f"{top}/kubepods-burstable.slice/kubepods-burstable-pod{uids[0]}.slice"],
        [f"{top}/kubepods-pod{uids[1]}.slice"],
    ]
    read = "cat cpu.weight cpu.max memory.max"
    assert says(cluster, "p", f"cd {find[0][0]}; {read}").split() == ["20", "max", "100000", "max"]
    assert says(cluster, "p", f"cd {find[1][0]}; {read}").split() == [
        "20", "50000", "100000", "67108864",
    ]
    assert says(cluster, "p", f"cat {top}/memory.max") == "2147483648\n"
    assert says(cluster, "p", f"ls -d {find[1][0]}/*.scope").count("cri-containerd-") == 2


def resize(cluster, name, spec):
    cluster.perform(
        cluster._client.patch(PODS, "default", name, {"spec": spec}, subresource="resize")
    )
    cluster.advance("70s")


def conditions(cluster, name):
    found = cluster.get(f"pod/{name}")["status"]["conditions"]
    return [(c["reason"], c["message"]) for c in found if c["type"] == "PodResizeInProgress"]


def whole(memory, cpu="1"):
    return {"resources": resources(cpu, memory)}


def test_a_resize_of_the_pod_reaches_containers_without_limits(cluster):
    create(cluster, "p", **whole("512Mi"))
    resize(cluster, "p", whole("256Mi"))
    assert says(cluster, "p", "cat /sys/fs/cgroup/memory.max") == "268435456\n"
    status = cluster.get("pod/p")["status"]
    assert status["resources"]["limits"]["memory"] == "256Mi"
    assert status["containerStatuses"][0]["restartCount"] == 0
    assert conditions(cluster, "p") == []


def test_a_resize_of_the_pod_restarts_containers_that_want_it(cluster):
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    create(cluster, "p", {"resizePolicy": policy}, **whole("512Mi"))
    resize(cluster, "p", whole("256Mi"))
    assert says(cluster, "p", "cat /sys/fs/cgroup/memory.max") == "268435456\n"
    assert cluster.get("pod/p")["status"]["containerStatuses"][0]["restartCount"] == 1


def test_a_pod_does_not_get_less_memory_than_it_uses(cluster):
    create(cluster, "p", {"resources": {"limits": {"memory": "64Mi"}}}, **whole("64Mi"))
    resize(cluster, "p", {
        **whole("1Mi"),
        "containers": [{"name": "c", "resources": resources("500m", "1Mi")}],
    })
    assert conditions(cluster, "p") == [(
        "Error",
        ("cannot decrease memory limits: [attempting to set pod memory limit (1048576) below "
        'current usage (8388608), attempting to set container "c" memory limit (1048576) below '
        "current usage (8388608)]"),
    )]
    assert cluster.get("pod/p")["status"]["resources"]["limits"]["memory"] == "64Mi"
    resize(cluster, "p", {
        **whole("128Mi"),
        "containers": [{"name": "c", "resources": resources("500m", "64Mi")}],
    })
    assert conditions(cluster, "p") == []


def test_a_running_init_container_is_resized(cluster):
    cluster.create({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {
            "initContainers": [{
                "name": "i", "image": "busybox", "command": ["sleep", "1d"],
                "resources": resources("100m", "32Mi"),
            }],
            "containers": [{"name": "c", "image": "busybox", "resources": resources("100m", "32Mi")}],
        },
    })
    cluster.advance("10s")
    wanted = resources("200m", "64Mi")
    resize(cluster, "p", {"initContainers": [{"name": "i", "resources": wanted}]})
    status = cluster.get("pod/p")["status"]["initContainerStatuses"][0]
    assert (status["resources"], status["restartCount"]) == (wanted, 0)
