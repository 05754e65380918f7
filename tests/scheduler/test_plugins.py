"""Plugins one by one: tables of nodes and pods, scores, and what wakes a pod that was rejected."""

import pytest
from scheduler_world import World

from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.framework import CycleState, Diagnosis, FitError
from pytest_kubesim.scheduler.node_info import NodeInfo
from pytest_kubesim.scheduler.node_selection import NodeSelector, tolerates
from pytest_kubesim.scheduler.plugins.default_preemption import (
    Candidate,
    pick_one,
    split_by_budgets,
)
from pytest_kubesim.scheduler.plugins.node_name import NodeName
from pytest_kubesim.scheduler.plugins.node_ports import NodePorts
from pytest_kubesim.scheduler.plugins.node_resources_balanced_allocation import (
    NodeResourcesBalancedAllocation,
)
from pytest_kubesim.scheduler.plugins.node_resources_fit import NodeResourcesFit
from pytest_kubesim.scheduler.plugins.node_unschedulable import NodeUnschedulable
from pytest_kubesim.scheduler.plugins.taint_toleration import TaintToleration
from pytest_kubesim.scheduler.pod_info import PodInfo, pod_requests


def pod(name="p", requests=None, **spec):
    container = {"name": "c", "image": "x"}
    if requests:
        container["resources"] = {"requests": requests}
    return PodInfo({"metadata": {"name": name, "namespace": "default", "uid": name, "labels": spec.pop("labels", {})},
                    "spec": {"containers": [container], **spec}})


def node(name="n", *, cpu="4", memory="8Gi", pods="10", labels=None, taints=None, unschedulable=False, **extra):
    return NodeInfo(name, {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": taints or [], "unschedulable": unschedulable},
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods, **extra}},
    })


def reasons(plugin, p, n):
    status = plugin.filter(CycleState(), p, n)
    return None if status is None else (fwk.CODE_NAMES[status.code], *status.reasons)


@pytest.mark.parametrize(("requests", "used", "want"), [
    ({}, {}, None),
    ({"cpu": "4"}, {}, None),
    ({"cpu": "3"}, {"cpu": "2"}, ("Unschedulable", "Insufficient cpu")),
    ({"cpu": "5"}, {}, ("UnschedulableAndUnresolvable", "Insufficient cpu")),
    ({"cpu": "3", "memory": "7Gi"}, {"cpu": "2", "memory": "2Gi"}, ("Unschedulable", "Insufficient cpu", "Insufficient memory")),
    ({"ephemeral-storage": "1Gi"}, {}, ("UnschedulableAndUnresolvable", "Insufficient ephemeral-storage")),
    ({"example.com/gpu": "2"}, {}, None),
    ({"example.com/gpu": "2"}, {"example.com/gpu": "1"}, ("Unschedulable", "Insufficient example.com/gpu")),
    ({"hugepages-2Mi": "2Mi"}, {}, ("UnschedulableAndUnresolvable", "Insufficient hugepages-2Mi")),
])
def test_resources_have_to_be_free(requests, used, want):
    n = node(**{"example.com/gpu": "2"})
    n.add_pod(pod("other", used))
    assert reasons(NodeResourcesFit(), pod(requests=requests), n) == want


def test_a_node_takes_so_many_pods():
    n = node(pods="1")
    n.add_pod(pod("other"))
    assert reasons(NodeResourcesFit(), pod(), n) == ("Unschedulable", "Too many pods")


@pytest.mark.parametrize(("spec", "want"), [
    ({"containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}}}, {"name": "b", "resources": {"requests": {"cpu": "200m"}}}]}, 300),
    ({"containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}}}], "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "500m"}}}]}, 500),
    ({"containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}}}], "overhead": {"cpu": "50m"}}, 150),
    ({"containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}}}],
      "initContainers": [{"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "200m"}}}, {"name": "i", "resources": {"requests": {"cpu": "250m"}}}]}, 450),
    ({"containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}}}], "resources": {"requests": {"cpu": "1"}}}, 1000),
])
def test_a_pod_asks_for_its_widest_moment(spec, want):
    assert pod_requests({"metadata": {"name": "p"}, "spec": spec}).milli_cpu == want


def test_a_pod_without_requests_counts_for_something_in_scores():
    p = pod()
    assert (p.requests.milli_cpu, p.non_zero_cpu, p.non_zero_memory) == (0, 100, 200 * 1024 * 1024)


@pytest.mark.parametrize(("used", "want"), [({}, (75 + 75) // 2), ({"cpu": "2", "memory": "4Gi"}, 25), ({"cpu": "3"}, 36)])
def test_the_emptier_node_scores_more(used, want):
    n = node()
    if used:
        n.add_pod(pod("other", used))
    assert NodeResourcesFit().score(CycleState(), pod(requests={"cpu": "1", "memory": "2Gi"}), n) == want


def test_balance_is_better_than_imbalance():
    plugin = NodeResourcesBalancedAllocation()
    skewed = node()
    skewed.add_pod(pod("other", {"cpu": "2"}))
    evens_out = pod(requests={"memory": "4Gi"})
    assert plugin.score(CycleState(), evens_out, skewed) > plugin.score(CycleState(), evens_out, node())
    assert plugin.pre_score(CycleState(), pod(), []) is fwk.SKIPPED


def test_a_named_node_is_the_only_one():
    assert reasons(NodeName(), pod(nodeName="other"), node()) == ("UnschedulableAndUnresolvable", "node(s) didn't match the requested node name")
    assert reasons(NodeName(), pod(nodeName="n"), node()) is None


def test_a_cordoned_node_takes_who_tolerates_it():
    toleration = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}
    n = node(unschedulable=True)
    assert reasons(NodeUnschedulable(), pod(), n) == ("UnschedulableAndUnresolvable", "node(s) were unschedulable")
    assert reasons(NodeUnschedulable(), pod(tolerations=[toleration]), n) is None


@pytest.mark.parametrize(("toleration", "want"), [
    ({"operator": "Exists"}, True),
    ({"key": "k", "operator": "Exists"}, True),
    ({"key": "k", "value": "v"}, True),
    ({"key": "k", "operator": "Equal", "value": "w"}, False),
    ({"key": "k", "value": "v", "effect": "NoExecute"}, False),
    ({"key": "other", "operator": "Exists"}, False),
])
def test_tolerations(toleration, want):
    assert tolerates(toleration, {"key": "k", "value": "v", "effect": "NoSchedule"}) is want


def test_preferred_taints_only_lower_the_score():
    plugin = TaintToleration()
    taints = [{"key": "k", "effect": "PreferNoSchedule"}]
    tainted, plain = node(taints=taints), node()
    assert reasons(plugin, pod(), tainted) is None
    scores = [plugin.score(CycleState(), pod(), n) for n in (tainted, plain)]
    assert plugin.normalize(CycleState(), pod(), [tainted, plain], scores) == [0, 100]


@pytest.mark.parametrize(("ip", "protocol", "taken"), [
    ("", "TCP", True), ("10.0.0.1", "TCP", True), ("10.0.0.2", "TCP", False), ("", "UDP", False),
])
def test_ports_clash_by_address_protocol_and_number(ip, protocol, taken):
    def with_port(name, ip, protocol):
        port = {"hostPort": 80, "containerPort": 80, "hostIP": ip, "protocol": protocol}
        return pod(name, containers=[{"name": "c", "ports": [port]}])

    n = node()
    n.add_pod(with_port("other", "10.0.0.1", "TCP"))
    assert (reasons(NodePorts(), with_port("p", ip, protocol), n) is not None) is taken


@pytest.mark.parametrize(("terms", "want"), [
    ([], False),
    ([{}], False),
    ([{"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}], True),
    ([{"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}], False),
    ([{"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}, {"key": "a", "operator": "Exists"}]}], True),
    ([{"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["0"]}]}], True),
    ([{"matchExpressions": [{"key": "a", "operator": "Lt", "values": ["1"]}]}], False),
    ([{"matchExpressions": [{"key": "b", "operator": "Gt", "values": ["0"]}]}], False),
    ([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}], True),
    ([{"matchExpressions": [{"key": "a", "operator": "In", "values": ["9"]}]}, {"matchExpressions": [{"key": "a", "operator": "Exists"}]}], True),
])
def test_node_selector_terms(terms, want):
    assert NodeSelector(terms).matches({"a": "1"}, "n") is want


def test_the_message_counts_reasons_and_sorts_them_as_text():
    diagnosis = Diagnosis()
    for i in range(12):
        diagnosis.node_to_status.statuses[f"n{i}"] = fwk.unschedulable("Insufficient cpu", *(["Too many pods"] if i < 2 else []))
    diagnosis.post_filter_message = "preemption: no"
    assert FitError(13, diagnosis).message() == "0/13 nodes are available: 12 Insufficient cpu, 2 Too many pods. preemption: no"


def test_a_node_named_by_affinity_is_looked_at_alone():
    world = World().nodes(3).start()
    fields = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": fields}}}
    world.pod("daemon", affinity=affinity)
    world.pod("large", affinity=affinity, cpu="100")
    world.run()
    assert world.where("daemon") == "node-1"
    assert world.why("large") == (
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )


def test_preferences_draw_a_pod_to_a_node():
    world = World().nodes(3).start()
    prefer = [{"weight": 10, "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-2"]}]}}]
    world.pod("p", affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": prefer}})
    world.run()
    assert world.where("p") == "node-2"


def test_an_image_that_is_there_draws_a_pod():
    world = World()
    world.node("without")
    world.node("with", images={"registry.example/app:latest": 800 * 1024 * 1024})
    world.start()
    world.pod("p", containers=[{"name": "c", "image": "registry.example/app"}])
    world.run()
    assert world.where("p") == "with"


def test_an_image_has_the_size_that_the_first_node_said():
    world = World()
    world.node("small", images={"app:v1": 50 * 2**20})
    world.node("large", images={"app:v1": 900 * 2**20})
    world.start()
    assert world.scheduler.cache.image_sizes == {"app:v1": 50 * 2**20}
    world.api.remove("nodes", "small")
    world.run()
    assert world.scheduler.cache.image_sizes == {"app:v1": 50 * 2**20}
    world.node("large", images={"app:v1": 800 * 2**20})
    world.run()
    assert world.scheduler.cache.image_sizes == {"app:v1": 800 * 2**20}


def test_a_preferred_companion_draws_a_pod():
    world = World().nodes(4).start()
    world.pod("db", labels={"app": "db"})
    world.run()
    term = {"weight": 100, "podAffinityTerm": {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}}
    world.pod("web", affinity={"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}})
    world.run()
    assert world.where("web") == world.where("db")


def test_the_first_of_a_group_that_wants_to_be_together_goes_anywhere():
    world = World().nodes(4).start()
    together = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "ring"}}, "topologyKey": "kubernetes.io/hostname"}]}}
    for i in range(3):
        world.pod(f"ring-{i}", labels={"app": "ring"}, affinity=together)
    world.pod("alone", affinity=together, namespace="other")
    world.run()
    assert len({world.where(f"ring-{i}") for i in range(3)}) == 1
    assert world.why("alone", "other").startswith("0/4 nodes are available: 4 node(s) didn't match pod affinity rules. ")


def test_pods_that_are_there_keep_others_away():
    world = World().nodes(1).start()
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "noisy"}}, "topologyKey": "kubernetes.io/hostname"}]}}
    world.pod("quiet", affinity=anti)
    world.run()
    world.pod("noisy", labels={"app": "noisy"})
    world.pod("other")
    world.run()
    assert world.why("noisy").startswith("0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules. ")
    assert world.where("other") == "node-0"


def test_a_namespace_selector_reaches_into_other_namespaces():
    world = World().nodes(2).start()
    world.api.put("namespaces", {"metadata": {"name": "other", "labels": {"team": "a"}}})
    world.pod("there", namespace="other", labels={"app": "x"})
    world.run()
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "x"}}, "namespaceSelector": {"matchLabels": {"team": "a"}}, "topologyKey": "kubernetes.io/hostname"}]}}
    world.pod("here", affinity=anti)
    world.run()
    assert world.where("here") != world.where("there", "other")


def test_a_companion_in_a_namespace_that_is_selected_by_labels_is_noticed_only_later():
    world = World().nodes(1).start()
    world.api.put("namespaces", {"metadata": {"name": "other", "labels": {"team": "a"}}})
    for name, how in (("by-name", {"namespaces": ["other"]}), ("all", {"namespaceSelector": {}}),
                      ("by-label", {"namespaceSelector": {"matchLabels": {"team": "a"}}})):
        world.pod(name, affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname", **how}]}})
    world.run()
    world.pod("there", namespace="other", labels={"app": "x"})
    world.run(60)
    assert (world.where("by-name"), world.where("all"), world.where("by-label")) == ("node-0", "node-0", None)
    world.run(300)
    assert world.where("by-label") == "node-0"


def test_a_missing_topology_label_is_said():
    world = World().nodes(1).start()
    spread = [{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "x"}}}]
    world.pod("p", labels={"app": "x"}, topologySpreadConstraints=spread)
    world.run()
    assert world.why("p").startswith(
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label). "
    )


def test_min_domains_keeps_room_for_zones_to_come():
    world = World()
    world.node("a", labels={"zone": "1"})
    world.start()
    spread = [{"maxSkew": 1, "minDomains": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "x"}}}]
    for i in range(2):
        world.pod(f"p{i}", labels={"app": "x"}, topologySpreadConstraints=spread)
        world.run()
    assert (world.where("p0"), world.where("p1")) == ("a", None)
    world.node("b", labels={"zone": "2"})
    world.run(1)
    assert world.where("p1") == "b"


def test_a_pod_waits_in_silence_for_a_claim_that_is_not_there():
    world = World().nodes(1).start()
    world.pod("p", resourceClaims=[{"name": "gpu", "resourceClaimName": "g"}])
    world.run()
    assert world.why("p") is None



def test_violated_budgets_come_first_then_priority_then_number():
    low, high = pod("low", priority=1), pod("high", priority=5)
    assert pick_one([Candidate("a", (low,), 1), Candidate("b", (high,), 0)], 0).node_name == "b"
    assert pick_one([Candidate("a", (high,), 0), Candidate("b", (low, low), 0)], 0).node_name == "b"
    assert pick_one([Candidate("a", (low, low), 0), Candidate("b", (low,), 0)], 0).node_name == "b"


def test_a_budget_allows_so_many_evictions():
    budget = {"metadata": {"namespace": "default"}, "spec": {"selector": {"matchLabels": {"app": "x"}}}, "status": {"disruptionsAllowed": 1}}
    pods = [pod(str(i), labels={"app": "x"}) for i in range(3)] + [pod("free")]
    violating, others = split_by_budgets(pods, [budget])
    assert [p.name for p in violating] == ["1", "2"]
    assert [p.name for p in others] == ["0", "free"]
