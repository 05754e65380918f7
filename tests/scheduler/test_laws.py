"""What is remembered equals what would be found anew, whatever happened in between."""

from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_world import World

from pytest_kubesim.apimachinery import labels as label_selectors
from pytest_kubesim.scheduler.cache import Cache
from pytest_kubesim.scheduler.framework import CycleState, Diagnosis
from pytest_kubesim.scheduler.node_info import NodeInfo
from pytest_kubesim.scheduler.pod_counts import MatchCounts

NODES = ["a", "b", "c"]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("node"), st.sampled_from(NODES), st.sampled_from(["1", "2", "4"]), st.booleans()),
        st.tuples(st.just("remove node"), st.sampled_from(NODES)),
        st.tuples(st.just("pod"), st.integers(0, 5), st.sampled_from(NODES), st.sampled_from(["100m", "1"]), st.booleans()),
        st.tuples(st.just("remove pod"), st.integers(0, 5)),
    ),
    max_size=25,
)


def node(name, cpu, cordoned):
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"unschedulable": cordoned},
        "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "3"}},
    }


def pod(number, node_name, cpu, labelled):
    return {
        "metadata": {"name": f"p{number}", "namespace": "default", "uid": f"u{number}", "labels": {"app": "x"} if labelled else {}},
        "spec": {"nodeName": node_name, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
    }


def apply(cache, step):
    match step:
        case ("node", name, cpu, cordoned):
            cache.add_node(node(name, cpu, cordoned))
        case ("remove node", name):
            cache.remove_node(name)
        case ("pod", number, node_name, cpu, labelled):
            cache.add_pod(pod(number, node_name, cpu, labelled))
        case ("remove pod", number):
            cache.remove_pod(f"u{number}")


SUMS = ("requested_cpu", "requested_memory", "non_zero_cpu", "non_zero_memory", "ports")


@given(steps)
def test_sums_are_those_of_the_pods_that_are_there(history):
    cache = Cache()
    for step in history:
        apply(cache, step)
    for info in cache.nodes:
        anew = NodeInfo(info.name, info.node, info.pods.values())
        assert {k: getattr(info, k) for k in SUMS} == {k: getattr(anew, k) for k in SUMS}
        assert cache.nodes[info.index] is info


@given(steps, st.integers(1, 5))
def test_counts_of_pods_alike_are_true(history, every):
    cache = Cache()
    selector = label_selectors.from_set({"app": "x"})
    counts = MatchCounts(cache, "default", selector)
    for i, step in enumerate(history):
        apply(cache, step)
        if i % every == 0:
            counts.refresh()
    counts.refresh()
    want = [sum(bool(p.labels) for p in info.pods.values()) for info in cache.nodes]
    assert counts.by_node == want
    assert {i: c for i, c in counts.occupied.items() if c} == {i: c for i, c in enumerate(want) if c}


@settings(max_examples=50)
@given(steps)
def test_a_remembered_answer_is_the_answer(history):
    world = World().start()
    scheduler = world.scheduler
    runtime = scheduler.runtimes["default-scheduler"]
    world.pod("new", cpu="500m")
    pending = world.api.get("pods", "default/new")
    from pytest_kubesim.scheduler.pod_info import PodInfo

    for step in history:
        apply(scheduler.cache, step)
        incoming = PodInfo(pending)
        state, diagnosis = CycleState(), Diagnosis()
        runtime.run_pre_filters(state, incoming, diagnosis)
        nodes = scheduler.cache.nodes
        feasible, _ = runtime.search.find(state, incoming, nodes, 0, diagnosis)
        anew = {n.name: runtime.run_plain_filters(state, incoming, n) for n in nodes}
        assert [n.name for n in feasible] == [name for name, status in anew.items() if status is None]
        assert diagnosis.node_to_status.statuses == {k: v for k, v in anew.items() if v is not None}
