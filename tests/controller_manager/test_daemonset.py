"""DaemonSets: the tests play scheduler and kubelet."""

import pytest
from controller_world import World, pod_template
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.client_go import resources as r
from pytest_kubesim.controller_manager import daemon_pods, node_fit

NO_SCHEDULE = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
NO_EXECUTE = {"key": "dedicated", "value": "db", "effect": "NoExecute"}


def daemon_set(rolling=None, **spec):
    rolling = {"maxUnavailable": 1, "maxSurge": 0, **(rolling or {})}
    return {
        "metadata": {"name": "agent"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "revisionHistoryLimit": 10,
            "template": pod_template(labels={"app": "agent"}),
            **spec,
        },
    }


def with_nodes(count, **spec):
    w = World()
    for number in range(count):
        w.create(r.NODES, {"metadata": {"name": f"n{number}"}}, namespace="")
    w.settle(1)
    w.create(r.DAEMONSETS, daemon_set(**spec))
    w.settle()
    return w


def bind_all(w, ready=True):
    for pod in w.pods():
        if not pod["spec"].get("nodeName"):
            target = {"target": {"kind": "Node", "name": daemon_pods.target_node(pod)}}
            name = pod["metadata"]["name"]
            binding = {"metadata": {"name": name}, **target}
            w.do(w.admin.create(r.PODS, "default", binding, name=name, subresource="binding"))
            if ready:
                w.ready(name)
    w.settle()


def places(w):
    return sorted(daemon_pods.target_node(p) for p in w.pods())


def patch_node(w, name, patch):
    w.do(w.admin.patch(r.NODES, "", name, patch, patch_type="merge"))
    w.settle()


def test_every_node_gets_a_pod_pinned_to_it():
    w = with_nodes(3)
    assert places(w) == ["n0", "n1", "n2"]
    pod = w.pods()[0]
    assert {"key": "node.kubernetes.io/unschedulable", "operator": "Exists",
            "effect": "NoSchedule"} in pod["spec"]["tolerations"]
    assert pod["metadata"]["labels"]["controller-revision-hash"]


def test_the_status_counts_nodes():
    w = with_nodes(2)
    bind_all(w)
    status = w.get(r.DAEMONSETS, "agent")["status"]
    assert (status["desiredNumberScheduled"], status["numberReady"]) == (2, 2)
    assert (status["updatedNumberScheduled"], status["numberMisscheduled"]) == (2, 0)


def test_a_node_that_comes_gets_a_pod():
    w = with_nodes(1)
    w.create(r.NODES, {"metadata": {"name": "late"}}, namespace="")
    w.settle()
    assert places(w) == ["late", "n0"]


def test_a_taint_keeps_pods_away_but_not_out():
    w = with_nodes(2)
    bind_all(w)
    patch_node(w, "n0", {"spec": {"taints": [NO_SCHEDULE]}})
    assert places(w) == ["n0", "n1"]
    w.patch(r.DAEMONSETS, "agent", {"metadata": {"labels": {"touched": "1"}}})
    w.settle()
    assert w.get(r.DAEMONSETS, "agent")["status"]["numberMisscheduled"] == 1


def test_a_taint_that_evicts_drives_pods_out():
    w = with_nodes(2)
    bind_all(w)
    patch_node(w, "n0", {"spec": {"taints": [NO_EXECUTE]}})
    left = [p for p in w.pods() if not p["metadata"].get("deletionTimestamp")]
    assert [daemon_pods.target_node(p) for p in left] == ["n1"]


def test_a_node_selector_chooses_nodes():
    w = with_nodes(2, template=pod_template(labels={"app": "agent"}, nodeSelector={"disk": "ssd"}))
    assert places(w) == []
    patch_node(w, "n1", {"metadata": {"labels": {"disk": "ssd"}}})
    assert places(w) == ["n1"]


def test_a_failed_pod_is_killed_and_replaced_after_a_back_off():
    w = with_nodes(1)
    for _ in range(2):
        bind_all(w)
        name = w.pods()[0]["metadata"]["name"]
        w.end(name, "Failed", 1)
        w.settle(0.1)
    assert [reason for reason, _ in w.events("agent") if reason == "FailedDaemonPod"]
    w.settle(10)
    assert all(p["status"]["phase"] == "Pending" for p in w.pods()
               if not p["metadata"].get("deletionTimestamp"))


def update(w):
    template = {"spec": {"containers": [{"name": "c", "image": "img:2"}]}}
    w.patch(r.DAEMONSETS, "agent", {"spec": {"template": template}})
    w.settle()


def finish_deletions(w):
    for pod in w.pods():
        if pod["metadata"].get("deletionTimestamp"):
            w.delete(r.PODS, pod["metadata"]["name"], grace_period_seconds=0)
    w.settle()


def test_an_update_replaces_one_pod_after_the_other():
    w = with_nodes(3)
    bind_all(w)
    update(w)
    finish_deletions(w)
    assert sorted(p["spec"]["containers"][0]["image"] for p in w.pods()) == [
        "img:1", "img:1", "img:2",
    ]
    for _ in range(3):
        bind_all(w)
        finish_deletions(w)
    assert {p["spec"]["containers"][0]["image"] for p in w.pods()} == {"img:2"}
    assert sorted(rev["revision"] for rev in w.list(r.CONTROLLERREVISIONS)) == [1, 2]


def test_with_surge_the_new_pod_comes_before_the_old_one_goes():
    w = with_nodes(2, rolling={"maxSurge": 1, "maxUnavailable": 0})
    bind_all(w)
    update(w)
    assert len(w.pods()) == 3
    assert not [p for p in w.pods() if p["metadata"].get("deletionTimestamp")]
    bind_all(w)
    assert [p for p in w.pods() if p["metadata"].get("deletionTimestamp")]


def test_on_delete_leaves_pods_alone():
    w = with_nodes(1, updateStrategy={"type": "OnDelete"})
    bind_all(w)
    update(w)
    assert [p["spec"]["containers"][0]["image"] for p in w.pods()] == ["img:1"]


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "dedicated", "operator": "Exists"}, True),
        ({"key": "dedicated", "value": "db"}, True),
        ({"key": "dedicated", "value": "web"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_what_a_toleration_tolerates(toleration, tolerated):
    assert node_fit.tolerates(toleration, NO_SCHEDULE) is tolerated


@given(st.integers(0, 9), st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]))
def test_an_expression_and_its_opposite_never_both_match(value, operator):
    opposite = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist",
                "DoesNotExist": "Exists", "Gt": "Lt", "Lt": "Gt"}[operator]

    def matches(op):
        values = [] if "xist" in op else ["5"]
        expression = {"key": "k", "operator": op, "values": values}
        terms = [{"matchExpressions": [expression]}]
        path = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        node = {"metadata": {"name": "n", "labels": {"k": str(value)}}}
        return node_fit.affinity_matches({"affinity": {"nodeAffinity": path}}, node)

    assert not (matches(operator) and matches(opposite))
