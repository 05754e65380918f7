"""Claims of devices, and ranges of service addresses."""

from controller_world import World, pod_template

from pytest_kubesim.client_go import resources as r
from pytest_kubesim.controller_manager.controllers.resourceclaim import CLAIMS, FINALIZER, TEMPLATES

SPEC = {"devices": {"requests": [{"name": "one", "exactly": {"deviceClassName": "gpu.example.com"}}]}}


def template(w, name="gpu"):
    body = {"metadata": {"name": name}, "spec": {"metadata": {"labels": {"made": "so"}}, "spec": SPEC}}
    w.create(TEMPLATES, body)


def pod(w, name="p", **entry):
    spec = {**pod_template()["spec"], "resourceClaims": [{"name": "gpu", **entry}]}
    w.create(r.PODS, {"metadata": {"name": name}, "spec": spec})


def test_a_pod_gets_its_claim_once_its_template_is_there():
    w = World("resourceclaim-controller")
    pod(w, resourceClaimTemplateName="gpu")
    w.settle(1)
    assert w.events("p")[0] == (
        "FailedResourceClaimCreation",
        (
            'PodResourceClaim gpu: resource claim template "gpu": '
            'resourceclaimtemplate.resource.k8s.io "gpu" not found'
        ),
    )
    template(w)
    w.settle(1)
    (claim,) = w.list(CLAIMS)
    metadata = claim["metadata"]
    assert metadata["name"].startswith("p-gpu-")
    assert metadata["labels"] == {"made": "so"}
    assert metadata["annotations"] == {"resource.kubernetes.io/pod-claim-name": "gpu"}
    assert metadata["ownerReferences"][0]["name"] == "p"
    assert w.get(r.PODS, "p")["status"]["resourceClaimStatuses"] == [
        {"name": "gpu", "resourceClaimName": metadata["name"]},
    ]


def test_a_claim_that_was_made_goes_with_the_end_of_its_pod():
    w = World("resourceclaim-controller")
    template(w)
    pod(w, resourceClaimTemplateName="gpu")
    w.settle(1)
    w.set_pod("p", phase="Succeeded")
    w.settle(1)
    assert w.list(CLAIMS) == []


def test_a_claim_is_kept_for_pods_that_may_run_and_freed_of_those_that_are_gone():
    w = World("resourceclaim-controller")
    claim = w.create(CLAIMS, {"metadata": {"name": "shared", "finalizers": [FINALIZER]}, "spec": SPEC})
    pod(w, resourceClaimName="shared")
    uid = w.get(r.PODS, "p")["metadata"]["uid"]
    reserved = [
        {"resource": "pods", "name": "p", "uid": uid},
        {"resource": "pods", "name": "gone", "uid": "other"},
    ]
    status = {"allocation": {"devices": {}}, "reservedFor": reserved}
    w.do(w.admin.update(CLAIMS, "default", {**claim, "status": status}, subresource="status"))
    w.settle(1)
    assert [e["name"] for e in w.get(CLAIMS, "shared")["status"]["reservedFor"]] == ["p"]
    w.delete(r.PODS, "p", grace_period_seconds=0)
    w.settle(1)
    freed = w.get(CLAIMS, "shared")
    assert "reservedFor" not in freed["status"]
    assert "allocation" not in freed["status"]
    assert "finalizers" not in freed["metadata"]


def range_of(w, name, *cidrs):
    body = {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}}
    w.create(r.SERVICECIDRS, body, namespace="")


def test_a_range_of_services_is_ready_and_waits_for_its_addresses():
    w = World("service-cidr-controller")
    range_of(w, "extra", "192.168.0.0/24")
    w.settle(1)
    ready = w.get(r.SERVICECIDRS, "extra", namespace="")["status"]["conditions"][0]
    assert (ready["status"], ready["message"]) == ("True", "Kubernetes Service CIDR is ready")
    labels = {
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        "ipaddress.kubernetes.io/ip-family": "IPv4",
    }
    parent = {"group": "", "resource": "services", "namespace": "default", "name": "s"}
    body = {"metadata": {"name": "192.168.0.7", "labels": labels}, "spec": {"parentRef": parent}}
    w.create(r.IPADDRESSES, body, namespace="")
    w.do(w.admin.delete(r.SERVICECIDRS, "", "extra"))
    w.settle(30)
    held = w.get(r.SERVICECIDRS, "extra", namespace="")["status"]["conditions"][0]
    assert (held["status"], held["reason"]) == ("False", "Terminating")
    w.do(w.admin.delete(r.IPADDRESSES, "", "192.168.0.7"))
    w.settle(12)
    assert "extra" not in [c["metadata"]["name"] for c in w.list(r.SERVICECIDRS, "")]


def test_an_old_token_is_marked_and_goes_when_its_time_has_passed_twice():
    day = 24 * 3600
    period = {"legacy-service-account-token-clean-up-period": 5 * day * 10**9}
    w = World("legacy-serviceaccount-token-cleaner-controller", **period)
    tracking = {
        "metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking"},
        "data": {"since": w.now[:10]},
    }
    w.create(r.CONFIGMAPS, tracking, namespace="kube-system")
    w.create(r.SERVICEACCOUNTS, {"metadata": {"name": "robot"}, "secrets": [{"name": "old"}]})
    for name in ("old", "manual"):
        annotations = {"kubernetes.io/service-account.name": "robot"}
        body = {
            "metadata": {"name": name, "annotations": annotations},
            "type": "kubernetes.io/service-account-token",
        }
        w.create(r.SECRETS, body)
    w.settle(8 * day)
    labels = {s["metadata"]["name"]: s["metadata"].get("labels") for s in w.list(r.SECRETS)}
    assert labels["manual"] is None
    assert "kubernetes.io/legacy-token-invalid-since" in labels["old"]
    w.settle(8 * day)
    assert [s["metadata"]["name"] for s in w.list(r.SECRETS)] == ["manual"]
