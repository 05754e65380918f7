"""Scaling by what pods use."""

from controller_world import World, deployment, is_ready
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.client_go import resources as r
from pytest_kubesim.controller_manager.scaling_behavior import Limits, ScaleHistory
from pytest_kubesim.sim.clock import NS

CPU = {"type": "Resource", "resource": {
    "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50},
}}


class Metrics:
    """Every running pod uses so much."""

    def __init__(self, cpu="100m"):
        self.cpu = cpu
        self.custom = {}
        self.world = None

    def __call__(self, gvr, namespace, selector):
        if gvr.group != "metrics.k8s.io":
            value = self.custom.get(gvr.resource)
            items = [] if value is None else [
                {"value": value, "timestamp": self.world.now, "describedObject": {"name": "x"}}
            ]
            return {"items": items}
        return {"items": [
            {
                "metadata": {"name": p["metadata"]["name"]}, "timestamp": self.world.now,
                "window": "30s", "containers": [{"name": "c", "usage": {"cpu": self.cpu}}],
            }
            for p in self.world.pods()
            if p["status"].get("phase") == "Running"
        ]}


def scaled(metrics=None, *, replicas=2, metric=CPU, **spec):
    settings = {} if metrics is None else {"metrics": metrics}
    w = World(
        "horizontal-pod-autoscaler-controller", "deployment-controller", "replicaset-controller",
        **settings,
    )
    if metrics is not None:
        metrics.world = w
    web = deployment("web", replicas)
    web["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "200m"}}
    w.create(r.DEPLOYMENTS, web)
    run(w, 1)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    body = {
        "metadata": {"name": "web"},
        "spec": {
            "minReplicas": 1, "maxReplicas": 10, "scaleTargetRef": target, "metrics": [metric], **spec,
        },
    }
    w.create(r.HORIZONTALPODAUTOSCALERS, body)
    return w


def run(w, seconds):
    """Let time pass; pods become ready at once."""
    for _ in range(max(1, int(seconds // 15))):
        for p in w.pods():
            if not is_ready(p):
                condition = {"type": "Ready", "status": "True", "lastTransitionTime": w.now}
                w.set_pod(p["metadata"]["name"], phase="Running", startTime=w.now, conditions=[condition])
        w.settle(min(seconds, 15))


def replicas(w):
    return w.get(r.DEPLOYMENTS, "web")["spec"]["replicas"]


def conditions(w):
    found = w.get(r.HORIZONTALPODAUTOSCALERS, "web")["status"]["conditions"]
    return {c["type"]: (c["status"], c["reason"]) for c in found}


def test_more_load_makes_more_pods_and_less_makes_fewer_after_five_minutes():
    metrics = Metrics("100m")
    w = scaled(metrics)
    run(w, 120)
    assert replicas(w) == 2
    metrics.cpu = "200m"
    run(w, 15)
    assert replicas(w) == 4
    metrics.cpu = "100m"
    run(w, 15)
    assert ("SuccessfulRescale", (
        "New size: 4; reason: cpu resource utilization (percentage of request) above target"
    )) in w.events("web")
    metrics.cpu = "50m"
    run(w, 240)
    assert replicas(w) == 4
    assert conditions(w)["AbleToScale"] == ("True", "ScaleDownStabilized")
    run(w, 400)
    assert replicas(w) < 4
    assert any("reason: All metrics below target" in message for _, message in w.events("web"))


def test_without_metrics_nothing_is_scaled_and_it_says_why():
    w = scaled()
    run(w, 30)
    assert replicas(w) == 2
    assert conditions(w)["ScalingActive"] == ("False", "FailedGetResourceMetric")
    messages = dict(w.events("web"))
    assert messages["FailedGetResourceMetric"] == (
        "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch "
        "metrics from resource metrics API: the server could not find the requested resource (get "
        "pods.metrics.k8s.io)"
    )


def test_the_limits_of_the_spec_hold_without_metrics():
    w = scaled(replicas=1, minReplicas=3)
    run(w, 1)
    assert replicas(w) == 3
    assert ("SuccessfulRescale", (
        "New size: 3; reason: Current number of replicas below Spec.MinReplicas"
    )) in w.events("web")


def test_an_external_metric_is_divided_among_pods():
    metrics = Metrics()
    metrics.custom["queue"] = "70"
    external = {"type": "External", "external": {
        "metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"},
    }}
    w = scaled(metrics, metric=external)
    run(w, 60)
    assert replicas(w) == 7


def test_what_is_not_there_cannot_be_scaled():
    w = World("horizontal-pod-autoscaler-controller")
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "nope"}
    spec = {"maxReplicas": 3, "scaleTargetRef": target, "metrics": [CPU]}
    w.create(r.HORIZONTALPODAUTOSCALERS, {"metadata": {"name": "web"}, "spec": spec})
    w.settle(1)
    assert w.events("web") == [("FailedGetScale", 'deployments.apps "nope" not found')]
    assert conditions(w) == {"AbleToScale": ("False", "FailedGetScale")}


def test_two_autoscalers_of_the_same_pods_stop():
    metrics = Metrics()
    w = scaled(metrics)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"maxReplicas": 3, "scaleTargetRef": target, "metrics": [CPU]}
    w.create(r.HORIZONTALPODAUTOSCALERS, {"metadata": {"name": "second"}, "spec": spec})
    run(w, 45)
    assert conditions(w)["ScalingActive"] == ("False", "AmbiguousSelector")


NUMBERS = st.integers(0, 200)


@given(st.lists(st.tuples(NUMBERS, st.integers(1, 200)), min_size=1, max_size=20))
def test_a_number_never_falls_below_what_was_recommended_lately(steps):
    history = ScaleHistory(5, 0)
    now_ns, current, seen = 0, 5, [(0, 5)]
    for desired, seconds in steps:
        now_ns += seconds * NS
        decision = history.decide(desired, Limits(current, 1, 200), 300 * NS, now_ns)
        seen.append((now_ns, desired))
        assert 1 <= decision.replicas <= max(200, 1)
        assert decision.replicas <= max(2 * current, 4)
        recent = max(amount for at, amount in seen if at >= now_ns - 300 * NS)
        assert decision.replicas >= min(recent, max(2 * current, 4), 200)
        current = decision.replicas


BEHAVIOR = {
    "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
        {"type": "Pods", "value": 2, "periodSeconds": 60},
    ]},
    "scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Min", "policies": [
        {"type": "Pods", "value": 1, "periodSeconds": 60},
        {"type": "Percent", "value": 50, "periodSeconds": 60},
    ]},
}


def test_policies_bound_what_changes_within_their_period():
    history = ScaleHistory(4, 0)
    limits = Limits(4, 1, 100)
    first = history.decide_by(BEHAVIOR, 50, limits, 300 * NS, NS)
    assert (first.replicas, first.limited[0], first.is_limited) == (6, "ScaleUpLimit", True)
    history.scaled(BEHAVIOR, 4, 6, NS)
    again = history.decide_by(BEHAVIOR, 50, Limits(6, 1, 100), 300 * NS, 30 * NS)
    assert again.replicas == 6
    later = history.decide_by(BEHAVIOR, 50, Limits(6, 1, 100), 300 * NS, 90 * NS)
    assert later.replicas == 8
    down = history.decide_by(BEHAVIOR, 1, Limits(8, 1, 100), 300 * NS, 200 * NS)
    assert (down.replicas, down.limited[0]) == (7, "ScaleDownLimit")


def test_a_disabled_direction_stands_still():
    behavior = {"scaleUp": {"selectPolicy": "Disabled"}, "scaleDown": {"selectPolicy": "Disabled"}}
    history = ScaleHistory(4, 0)
    for desired in (1, 50):
        decision = history.decide_by(behavior, desired, Limits(4, 1, 100), 0, NS)
        assert decision.replicas == 4
