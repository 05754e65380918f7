"""The whole scheduler against a small API server: placement, words, retries, preemption."""

import pytest
from scheduler_world import World

TAINT = {"key": "dedicated", "value": "big", "effect": "NoSchedule"}
NOT_HELPFUL = "Preemption is not helpful for scheduling"


def three_nodes():
    world = World()
    world.node("a", cpu="2", memory="4Gi", pods="10", labels={"zone": "east", "gen": "3"}, extra={"example.com/gpu": "1"})
    world.node("b", cpu="1", memory="2Gi", pods="10", labels={"zone": "west", "gen": "5"})
    world.node("c", cpu="4", memory="8Gi", pods="3", labels={"zone": "west"}, taints=[TAINT])
    return world.start()


def test_a_pod_gets_a_node_and_an_event_says_so():
    world = World().nodes(1).start()
    world.pod("web")
    world.run()
    assert world.where("web") == "node-0"
    assert world.events() == [("web", "Scheduled", "Successfully assigned default/web to node-0")]
    [event] = world.api.objects["events"].values()
    assert (event["type"], event["action"], event["reportingController"]) == ("Normal", "Binding", "default-scheduler")


def test_without_nodes_it_says_so():
    world = World().start()
    world.pod("web")
    world.run()
    assert world.why("web") == "no nodes available to schedule pods"
    world.node("late")
    world.run()
    assert world.where("web") is None or world.where("web") == "late"
    world.run(2)
    assert world.where("web") == "late"


def test_too_big_for_any_node():
    world = three_nodes()
    world.pod("huge", cpu="3", memory="6Gi")
    world.run()
    condition = world.condition("huge")
    message = (
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu, 2 Insufficient memory. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    assert condition == {
        "type": "PodScheduled", "observedGeneration": 1, "status": "False", "lastProbeTime": None,
        "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Unschedulable", "message": message,
    }
    assert world.events() == [("huge", "FailedScheduling", message)]


def test_a_taint_that_is_tolerated_opens_a_node():
    world = three_nodes()
    world.pod("tolerant", cpu="3", tolerations=[{"key": "dedicated", "operator": "Equal", "value": "big", "effect": "NoSchedule"}])
    world.run()
    assert world.where("tolerant") == "c"


def test_a_node_that_gets_the_label_gets_the_pod_that_waited():
    world = three_nodes()
    world.pod("sel", nodeSelector={"disk": "ssd"})
    world.run()
    assert world.why("sel") == (
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't match Pod's node affinity/selector. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    node = world.api.get("nodes", "a")
    labels = {**node["metadata"]["labels"], "disk": "ssd"}
    world.api.put("nodes", {**node, "metadata": {**node["metadata"], "labels": labels}})
    world.run()
    assert world.where("sel") == "a"


def test_node_affinity_compares_numbers():
    world = three_nodes()
    terms = [{"matchExpressions": [{"key": "gen", "operator": "Gt", "values": ["4"]}]}]
    world.pod("aff", affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
    world.run()
    assert world.where("aff") == "b"


def test_too_few_of_an_extended_resource():
    world = three_nodes()
    world.pod("gpu", requests={"example.com/gpu": "2"})
    world.run()
    assert world.why("gpu").startswith("0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient example.com/gpu. ")


def test_anti_affinity_keeps_pods_apart():
    world = three_nodes()
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "anti"}}, "topologyKey": "zone"}]}}
    for i in (1, 2, 3):
        world.pod(f"anti-{i}", labels={"app": "anti"}, affinity=anti)
        world.run()
    assert {world.where("anti-1"), world.where("anti-2")} == {"a", "b"}
    assert world.why("anti-3") == (
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't match pod anti-affinity rules. "
        "preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
    )
    world.api.remove("pods", "default/anti-1")
    world.run()
    assert world.where("anti-3") in ("a", "b")


def test_a_pod_goes_where_the_one_it_wants_is_and_ports_are_taken_once():
    world = three_nodes()
    world.pod("fits", cpu="1500m", labels={"app": "fits"})
    world.run()
    assert world.where("fits") == "a"
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "fits"}}, "topologyKey": "kubernetes.io/hostname"}]}}
    port = [{"name": "c", "image": "x", "ports": [{"containerPort": 80, "hostPort": 8080}]}]
    world.pod("with", affinity=near, containers=port)
    world.run()
    assert world.where("with") == "a"
    node = world.api.get("nodes", "b")
    cordon = {"unschedulable": True, "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}
    world.api.put("nodes", {**node, "spec": cordon})
    world.pod("port", containers=port)
    world.run()
    assert world.why("port") == (
        "0/3 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. "
        "preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
    )


def test_spreading_over_zones_waits_for_the_uncordoned_node():
    world = three_nodes()
    node = world.api.get("nodes", "b")
    cordon = {"unschedulable": True, "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}
    world.api.put("nodes", {**node, "spec": cordon})
    spread = [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "spread"}}}]
    for i in (1, 2):
        world.pod(f"spread-{i}", labels={"app": "spread"}, topologySpreadConstraints=spread)
        world.run()
    assert world.where("spread-1") == "a"
    assert world.why("spread-2") == (
        "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. "
        "preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
    )
    world.api.put("nodes", {**world.api.get("nodes", "b"), "spec": {}})
    world.run(1)
    assert world.where("spread-2") == "b"


def test_a_gated_pod_waits_until_the_gate_is_gone():
    world = three_nodes()
    pod = world.pod("gated", schedulingGates=[{"name": "example.com/go"}], nodeSelector={"zone": "east"})
    world.run(60)
    assert world.where("gated") is None
    assert world.events() == []
    spec = {k: v for k, v in pod["spec"].items() if k != "schedulingGates"}
    world.api.put("pods", {**pod, "spec": spec})
    world.run()
    assert world.where("gated") == "a"


def test_a_claim_that_is_not_there_is_waited_for():
    world = three_nodes()
    world.pod("claim", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "nope"}}])
    world.run()
    assert world.why("claim") == '0/3 nodes are available: persistentvolumeclaim "nope" not found. not found'


def test_a_pod_of_higher_priority_takes_the_place_of_another():
    world = three_nodes()
    world.pod("victim", cpu="800m", nodeSelector={"gen": "5"}, finalizers=["example.com/look"], priority=0)
    world.run()
    assert world.where("victim") == "b"
    world.pod("vip", cpu="900m", nodeSelector={"gen": "5"}, priority=1000)
    world.run()
    victim = world.api.get("pods", "default/victim")
    assert victim["metadata"]["deletionTimestamp"]
    assert world.condition("victim", "DisruptionTarget") == {
        "type": "DisruptionTarget", "observedGeneration": 1, "status": "True", "lastProbeTime": None,
        "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "PreemptionByScheduler",
        "message": "default-scheduler: preempting to accommodate a higher priority pod",
    }
    assert world.api.get("pods", "default/vip")["status"]["nominatedNodeName"] == "b"
    assert world.where("vip") is None
    assert world.events("Preempted") == [("victim", "Preempted", "Preempted by pod uid-pods-default/vip on node b")]
    world.pod("small", cpu="700m", nodeSelector={"gen": "5"}, priority=0)
    world.run(5)
    world.api.remove("pods", "default/victim")
    world.run(5)
    assert world.where("vip") == "b"
    assert world.where("small") is None


def test_preemption_policy_never_preempts_nothing():
    world = World().nodes(1, cpu="1").start()
    world.pod("low", cpu="800m")
    world.run()
    world.pod("polite", cpu="800m", priority=10, preemptionPolicy="Never")
    world.run()
    assert world.why("polite") == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    )
    assert world.events("Preempted") == []


def test_higher_priority_goes_first():
    world = World(latency_ns=(1_000_000, 1_000_000)).nodes(1, pods="2").start()
    world.pod("first")
    world.run()
    for name, priority in (("low", 1), ("high", 5), ("middle", 3)):
        world.pod(name, priority=priority)
    world.run(0.0021)
    assert world.where("first")
    assert world.where("high")
    assert world.where("low") is None
    assert world.where("middle") is None


def test_a_binding_that_fails_is_tried_again_after_a_back_off():
    world = World().nodes(1, cpu="1").start()
    world.api.fail_bindings = 2
    world.pod("web", cpu="1")
    world.run()
    condition = world.condition("web")
    assert condition["reason"] == "SchedulerError"
    assert condition["message"].startswith('running Bind plugin "DefaultBinder": Internal error occurred: etcd is not there')
    assert world.where("web") is None
    world.run(10)
    assert world.where("web") == "node-0"


def test_what_was_assumed_counts_before_it_is_confirmed():
    world = World().nodes(1, cpu="1").start()
    world.pod("one", cpu="600m")
    world.pod("two", cpu="600m")
    world.run()
    assert [world.where("one"), world.where("two")].count("node-0") == 1


def test_a_deleted_pod_gives_its_place_to_one_that_waits():
    world = World().nodes(1, cpu="1").start()
    world.pod("one", cpu="600m")
    world.run()
    world.pod("two", cpu="600m")
    world.run(3)
    assert world.where("two") is None
    world.api.remove("pods", "default/one")
    world.run()
    assert world.where("two") == "node-0"


def test_an_unschedulable_pod_is_tried_again_after_five_minutes_only():
    world = World().nodes(1, cpu="1").start()
    world.pod("big", cpu="2")
    world.run(290)
    [queued] = world.scheduler.queue._infos.values()
    assert queued.attempts == 1
    world.run(60)
    assert queued.attempts == 2


def test_a_pod_of_another_scheduler_is_left_alone():
    world = World().nodes(1).start()
    world.pod("other", schedulerName="my-scheduler")
    world.run(10)
    assert world.where("other") is None
    assert world.condition("other") is None


def test_replicas_are_spread_over_the_nodes():
    world = World().nodes(10).start()
    world.api.put("replicasets", {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
    })
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u"}
    for i in range(30):
        world.pod(f"web-{i}", labels={"app": "web"}, owner=owner)
    world.run()
    placed = [node for _, node in world.api.bindings]
    assert {placed.count(f"node-{i}") for i in range(10)} == {3}


def test_equal_seeds_place_alike_and_others_do_not():
    def placements(seed):
        world = World(seed=seed).nodes(20).start()
        for i in range(10):
            world.pod(f"p{i}")
        world.run()
        return world.api.bindings

    assert placements(1) == placements(1)
    assert placements(1) != placements(2)


def test_a_restarted_scheduler_goes_on_where_the_cluster_is():
    world = World().nodes(1, cpu="1").start()
    world.pod("one", cpu="600m")
    world.run()
    world.process.crash()
    world.pod("two", cpu="300m")
    world.pod("three", cpu="300m")
    world.process.start()
    world.run()
    assert sorted(p for p, _ in world.api.bindings)[0] == "default/one"
    assert [world.where("two"), world.where("three")].count("node-0") == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_preemption_prefers_the_node_with_the_least_important_victims(seed):
    world = World(seed=seed)
    world.node("a", cpu="1", labels={"n": "a"})
    world.node("b", cpu="1", labels={"n": "b"})
    world.start()
    world.pod("on-a", cpu="800m", priority=5, nodeSelector={"n": "a"})
    world.pod("on-b", cpu="800m", priority=3, nodeSelector={"n": "b"})
    world.run()
    world.pod("vip", cpu="800m", priority=10)
    world.run()
    assert world.api.get("pods", "default/on-b")["metadata"].get("deletionTimestamp")
    assert not world.api.get("pods", "default/on-a")["metadata"].get("deletionTimestamp")


def test_a_pod_that_somebody_else_binds_meanwhile_is_left_alone():
    world = World(latency_ns=(2_000_000, 2_000_000)).nodes(2).start()
    pod = world.pod("p")
    world.run(0.001)
    world.api.put("pods", {**pod, "spec": {**pod["spec"], "nodeName": "node-1"}})
    world.pod("q")
    world.run(1)
    assert world.api.bindings == [("default/q", world.where("q"))]


def test_a_pod_that_is_deleted_on_its_way_is_forgotten():
    world = World(latency_ns=(2_000_000, 2_000_000)).nodes(1, cpu="1").start()
    world.pod("p", cpu="1")
    world.run(0.001)
    world.api.remove("pods", "default/p")
    world.pod("q", cpu="1")
    world.run(12)
    assert world.where("q") == "node-0"
    assert len(world.scheduler.queue) == 0
