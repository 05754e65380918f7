"""The node: registration, heartbeats, admission, pressure, and what an idle hour costs."""

import pytest
from kubelet_world import World

from pytest_kubesim.errors import UsageError
from pytest_kubesim.kubelet.config import KubeletConfiguration, NodeSpec


def test_a_node_registers_itself():
    world = World(zone="a", labels={"disk": "ssd"}, taints=["gpu=yes:NoSchedule"], memory="8Gi")
    world.run(0.1)
    node = world.node()
    assert node["metadata"]["labels"] == {
        "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": "node-1",
        "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": "a", "disk": "ssd",
    }
    assert node["spec"]["taints"] == [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]
    status = node["status"]
    assert status["capacity"]["memory"] == "8Gi"
    assert status["allocatable"]["pods"] == "110"
    assert status["addresses"] == [
        {"type": "InternalIP", "address": "172.18.0.3"}, {"type": "Hostname", "address": "node-1"},
    ]
    assert [(c["type"], c["status"], c["reason"], c["message"]) for c in status["conditions"]] == [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
    assert status["nodeInfo"]["kubeletVersion"] == "v1.37.2"
    assert world.events("Starting") == ["Normal Starting Starting kubelet."]


def test_an_idle_node_renews_its_lease_and_little_else():
    world = World(config=KubeletConfiguration())
    world.run(10)
    before, events = len(world.api.requests), world.kernel.events
    world.run(3600)
    requests = world.api.requests[before:]
    leases = [r for r in requests if r[1].endswith("kube-node-lease/leases/node-1")]
    assert 340 <= len(leases) <= 361
    statuses = [r for r in requests if r[1].endswith("nodes/node-1/status")]
    assert 11 <= len(statuses) <= 13
    assert world.kernel.events - events < 1.2 * (len(leases) + len(statuses)) + 100


def test_the_lease_belongs_to_the_node():
    world = World()
    world.run(12)
    lease = world.api.objects["leases"]["kube-node-lease/node-1"]
    assert lease["spec"]["holderIdentity"] == "node-1"
    assert lease["spec"]["leaseDurationSeconds"] == 40
    assert lease["spec"]["renewTime"] == "2026-01-01T00:00:10.000000Z" or lease["spec"]["renewTime"] > "2026-01-01T00:00:10"
    assert lease["metadata"]["ownerReferences"][0]["uid"] == world.node()["metadata"]["uid"]


def test_a_node_condition_that_the_control_plane_set_is_put_right():
    world = World()
    world.run(1)
    node = world.node()
    conditions = [{**c, "status": "Unknown", "reason": "NodeStatusUnknown"} for c in node["status"]["conditions"]]
    world.api.put("nodes", {**node, "status": {**node["status"], "conditions": conditions}})
    world.run(11)
    assert [c["status"] for c in world.node()["status"]["conditions"]] == ["False", "False", "False", "True"]


def test_a_network_that_comes_late_makes_the_node_ready_late():
    world = World(config=KubeletConfiguration(network_ready_after_ns=5_000_000_000))
    world.run(1)
    ready = world.node()["status"]["conditions"][-1]
    assert (ready["status"], ready["reason"]) == ("False", "KubeletNotReady")
    assert "cni plugin not initialized" in ready["message"]
    world.pod()
    world.run(3)
    assert world.status()["phase"] == "Pending"
    world.run(25)
    assert world.node()["status"]["conditions"][-1]["status"] == "True"
    assert world.status()["phase"] == "Running"
    assert "Normal NodeReady Node node-1 status is now: NodeReady" in world.events("NodeReady")


def test_an_adopted_node_keeps_what_it_has():
    world = World(adopt=True, start=False)
    world.api.put("nodes", {
        "metadata": {"name": "node-1", "uid": "n1", "labels": {"mine": "1"}},
        "spec": {"podCIDR": "10.9.8.0/24"},
        "status": {"capacity": {"cpu": "64", "pods": "500"}, "allocatable": {"cpu": "63", "pods": "500"}},
    })
    world.machine.start()
    world.pod()
    world.run(1)
    node = world.node()
    assert node["metadata"]["labels"] == {"mine": "1"}
    assert node["status"]["capacity"] == {"cpu": "64", "pods": "500"}
    assert node["status"]["allocatable"] == {"cpu": "63", "pods": "500"}
    assert node["status"]["conditions"][-1]["status"] == "True"
    assert world.status()["podIP"] == "10.9.8.2"
    assert "leases" in world.api.objects


def test_a_pod_that_does_not_fit_is_rejected():
    world = World(cpu="2")
    world.pod("big", containers=[{"name": "c", "image": "x", "resources": {"requests": {"cpu": "1500m"}}}])
    world.run(1)
    world.pod("more", containers=[{"name": "c", "image": "x", "resources": {"requests": {"cpu": "600m"}}}])
    world.run(1)
    status = world.status("more")
    assert (status["phase"], status["reason"]) == ("Failed", "OutOfcpu")
    assert status["message"] == (
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000"
    )
    world.delete("more")
    world.run(1)
    assert world.get("more") is None


def test_a_pod_that_the_api_server_has_no_more_holds_nothing_back():
    world = World(cpu="2")
    requests = {"resources": {"requests": {"cpu": "1500m"}}}
    world.pod("big", containers=[{"name": "c", "image": "x", **requests}])
    world.run(1)
    world.api.remove("pods", "default/big")
    world.pod("next", containers=[{"name": "c", "image": "x", **requests}])
    world.run(3)
    assert world.status("next")["phase"] == "Running"


@pytest.mark.parametrize(("fields", "reason", "message"), [
    ({"nodeSelector": {"disk": "ssd"}}, "NodeAffinity",
     "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"),
    ({"os": {"name": "windows"}}, "PodOSNotSupported",
     "Failed to admit pod as the OS field doesn't match node OS"),
])
def test_node_side_admission_speaks_the_schedulers_words(fields, reason, message):
    world = World()
    world.pod(**fields)
    world.run(1)
    assert world.status()["reason"] == reason
    assert world.status()["message"] == f"Pod was rejected: {message}"
    assert world.events(reason) == [f"Warning {reason} {message}"]


def test_no_execute_taints_keep_pods_out_unless_tolerated():
    world = World(taints=["bad:NoExecute"])
    world.pod("one")
    world.pod("two", tolerations=[{"operator": "Exists"}])
    world.run(1)
    assert world.status("one")["reason"] == "TaintToleration"
    assert world.status("two")["phase"] == "Running"


def test_host_ports_are_taken_once():
    world = World()
    container = {"name": "c", "image": "x", "ports": [{"containerPort": 80, "hostPort": 80}]}
    world.pod("one", containers=[container])
    world.pod("two", containers=[container])
    world.run(1)
    assert world.status("two")["reason"] == "NodePorts"


def test_pressure_is_a_condition_and_keeps_best_effort_pods_out():
    world = World()
    world.machine.kubelet.set_pressure("MemoryPressure")
    world.run(11)
    condition = world.node()["status"]["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("True", "KubeletHasInsufficientMemory")
    world.pod()
    world.run(1)
    assert world.status()["reason"] == "Evicted"
    assert world.status()["message"] == "Pod was rejected: The node had condition: [MemoryPressure]. "
    world.machine.kubelet.set_pressure("MemoryPressure", False)
    world.run(280)
    assert world.node()["status"]["conditions"][0]["status"] == "True"
    world.run(41)
    assert world.node()["status"]["conditions"][0]["status"] == "False"


def test_an_evicted_pod_fails_with_a_disruption_target():
    world = World()
    world.pod(containers=[{"name": "c", "image": "x.org/x"}])
    world.run(1)
    active = world.machine.kubelet.active
    active.eviction.evict(world.get(), "MemoryPressure")
    world.run(3)
    status = world.status()
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
    assert status["message"] == (
        "The node was low on resource: memory. "
        "Container c was using 8Mi, request is 0, has larger consumption of memory. "
    )
    assert world.condition("DisruptionTarget")["reason"] == "TerminationByKubelet"


def test_a_cordon_is_an_event():
    world = World()
    world.run(1)
    node = world.node()
    world.api.put("nodes", {**node, "spec": {**node["spec"], "unschedulable": True}})
    world.run(1)
    assert world.events("NodeNotSchedulable") == [
        "Normal NodeNotSchedulable Node node-1 status is now: NodeNotSchedulable"
    ]


@pytest.mark.parametrize(("fields", "words"), [
    ({"name": "Node_1"}, "cannot be the name of a node"),
    ({"name": "n", "memory": "lots"}, "is not an amount"),
    ({"name": "n", "taints": ["gpu"]}, "is not a taint"),
    ({"name": "n", "runtime": "rkt"}, "Known are containerd, cri-o, docker"),
    ({"name": "n", "labels": {"a b": "c"}}, "cannot be a label"),
])
def test_a_node_that_cannot_be_is_refused_with_a_remedy(fields, words):
    with pytest.raises(UsageError, match=words):
        NodeSpec(**fields)


def test_registration_waits_for_the_server():
    world = World(start=False)
    world.api.down = True
    world.machine.start()
    world.run(20)
    assert "nodes" not in world.api.objects
    world.api.down = False
    world.run(10)
    assert world.node()["status"]["conditions"][-1]["status"] == "True"


def test_ten_thousand_idle_seconds_do_not_grow_memory():
    world = World()
    world.pod()
    world.run(1000)
    tasks = len(world.machine.kubelet.process._tasks)
    world.run(9000)
    assert len(world.machine.kubelet.process._tasks) == tasks
