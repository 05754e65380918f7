"""What is used of quotas."""

import pytest
from controller_world import World, deployment, pod_template

from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.client_go import resources as r
from pytest_kubesim.registry import quota

PODS = GroupResource("", "pods")


def quotas(hard, **spec):
    w = World("resourcequota-controller")
    w.create(r.RESOURCEQUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}})
    w.settle(1)
    return w


def used(w):
    return w.get(r.RESOURCEQUOTAS, "q")["status"]["used"]


def pod(name, cpu="100m", memory="10Mi", **spec):
    resources = {"requests": {"cpu": cpu}, "limits": {"memory": memory}}
    container = {"name": "c", "image": "i", "resources": resources}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


def test_what_is_there_is_counted():
    w = World("resourcequota-controller")
    w.create(r.CONFIGMAPS, {"metadata": {"name": "a"}})
    w.create(r.PODS, pod("p", "250m", "64Mi"))
    w.create(r.DEPLOYMENTS, deployment())
    hard = {
        "configmaps": "5", "pods": "2", "requests.cpu": "1", "limits.memory": "1Gi",
        "count/deployments.apps": "3", "services": "1",
    }
    w.create(r.RESOURCEQUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    w.settle(1)
    status = w.get(r.RESOURCEQUOTAS, "q")["status"]
    assert status["hard"] == hard
    assert status["used"] == {
        "configmaps": "1", "pods": "1", "requests.cpu": "250m", "limits.memory": "64Mi",
        "count/deployments.apps": "1", "services": "0",
    }


def test_what_ends_or_goes_is_given_back():
    w = quotas({"pods": "5", "requests.cpu": "2"})
    for name in ("a", "b"):
        w.create(r.PODS, pod(name))
    w.settle(301)
    assert used(w) == {"pods": "2", "requests.cpu": "200m"}
    w.set_pod("a", phase="Succeeded")
    w.settle(1)
    assert used(w) == {"pods": "1", "requests.cpu": "100m"}
    w.delete(r.PODS, "b", grace_period_seconds=0)
    w.settle(1)
    assert used(w) == {"pods": "0", "requests.cpu": "0"}


def test_a_quota_of_scopes_counts_what_is_in_all_of_them():
    w = World("resourcequota-controller")
    w.create(r.PODS, pod("short", activeDeadlineSeconds=10))
    w.create(r.PODS, pod("long"))
    spec = {"hard": {"pods": "5"}, "scopes": ["NotTerminating", "NotBestEffort"]}
    w.create(r.RESOURCEQUOTAS, {"metadata": {"name": "q"}, "spec": spec})
    w.settle(1)
    assert used(w) == {"pods": "1"}


def test_a_changed_limit_is_taken_over():
    w = quotas({"pods": "5"})
    w.patch(r.RESOURCEQUOTAS, "q", {"spec": {"hard": {"pods": "7"}}})
    w.settle(1)
    assert w.get(r.RESOURCEQUOTAS, "q")["status"]["hard"] == {"pods": "7"}


def test_without_a_quota_nothing_is_watched_for_it():
    w = World("resourcequota-controller")
    assert w.manager.running["resourcequota-controller"].monitors == {}


def test_init_containers_count_by_the_greatest_and_sidecars_beside_the_rest():
    def container(cpu, **more):
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "containers": [container("200m"), container("100m")],
        "initContainers": [container("600m"), container("50m", restartPolicy="Always"), container("320m")],
        "overhead": {"cpu": "10m"},
    }
    assert quota.pod_resources({"spec": spec}, "requests") == {"cpu": "610m"}
    spec["initContainers"][0] = container("100m")
    assert quota.pod_resources({"spec": spec}, "requests") == {"cpu": "380m"}


def test_what_is_said_of_the_pod_as_a_whole_counts():
    spec = {"containers": [{"name": "c"}], "resources": {"requests": {"cpu": "2"}}}
    assert quota.pod_resources({"spec": spec}, "requests") == {"cpu": "2"}


def test_a_pod_has_to_say_what_is_limited():
    found = pod_template()
    found["spec"]["initContainers"] = [{"name": "i", "resources": {"requests": {"cpu": "1"}}}]
    assert quota.missing(found, ["requests.cpu", "limits.memory", "pods"]) == (
        "must specify limits.memory for: c,i; requests.cpu for: c"
    )
    assert quota.missing(found, ["pods"]) == ""


@pytest.mark.parametrize(
    ("resource", "name", "measured"),
    [
        ("pods", "requests.nvidia.com/gpu", True),
        ("pods", "requests.storage", False),
        ("pods", "hugepages-2Mi", True),
        ("services", "services.nodeports", True),
        ("persistentvolumeclaims", "gold.storageclass.storage.k8s.io/requests.storage", True),
        ("secrets", "secrets", True),
        ("secrets", "count/secrets", True),
        ("secrets", "configmaps", False),
    ],
)
def test_every_resource_knows_what_it_is_measured_by(resource, name, measured):
    assert quota.measured(GroupResource("", resource), [name]) == ([name] if measured else [])


def test_services_and_claims_are_measured():
    service = {"metadata": {}, "spec": {"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]}}
    found = quota.usage(GroupResource("", "services"), service, 0)
    assert (found["services.nodeports"], found["services.loadbalancers"]) == ("2", "1")
    claim = {"metadata": {}, "spec": {
        "storageClassName": "gold", "resources": {"requests": {"storage": "3Gi"}},
    }}
    found = quota.usage(GroupResource("", "persistentvolumeclaims"), claim, 0)
    assert found["gold.storageclass.storage.k8s.io/requests.storage"] == "3Gi"


def test_a_pod_that_should_be_gone_uses_nothing():
    deleted = {"metadata": {
        "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30,
    }}
    from pytest_kubesim.apimachinery.timestamps import parse_time

    since = parse_time("2026-01-01T00:00:00Z")
    assert quota.counts(deleted, since + 30 * 10**9)
    assert not quota.counts(deleted, since + 31 * 10**9)


def test_claims_of_devices_use_the_most_that_any_alternative_would():
    wanted = [
        {"name": "a", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}},
        {
            "name": "b",
            "firstAvailable": [
                {"name": "x", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1},
                {"name": "y", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 4},
                {"name": "z", "deviceClassName": "nic", "allocationMode": "All"},
            ],
        },
    ]
    claim = {"metadata": {"name": "c"}, "spec": {"devices": {"requests": wanted}}}
    assert quota.usage(quota.DEVICE_CLAIMS, claim, 0) == {
        "count/resourceclaims.resource.k8s.io": "1",
        "gpu.deviceclass.resource.k8s.io/devices": "6",
        "nic.deviceclass.resource.k8s.io/devices": "32",
    }
    names = ["gpu.deviceclass.resource.k8s.io/devices", "count/resourceclaims.resource.k8s.io", "pods"]
    assert quota.measured(quota.DEVICE_CLAIMS, names) == names[:2]
