"""Volumes that are attached to nodes; the tests play the driver's attacher."""

from controller_world import World, pod_template

from pytest_kubesim.client_go import resources as r

DRIVER = "disks.example.com"


MANAGED = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}


def attaching(modes=("ReadWriteOnce",), managed=MANAGED):
    w = World("persistentvolume-attach-detach-controller", "persistentvolume-binder-controller")
    for name in ("n1", "n2"):
        condition = {"type": "Ready", "status": "True"}
        metadata = {"name": name, "annotations": managed}
        body = {"metadata": metadata, "status": {"conditions": [condition]}}
        w.create(r.NODES, body, namespace="")
    spec = {"accessModes": list(modes), "volumeMode": "Filesystem"}
    body = {
        "metadata": {"name": "v"},
        "spec": {
            **spec, "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": DRIVER, "volumeHandle": "h"},
        },
        "status": {"phase": "Pending"},
    }
    w.create(r.PERSISTENTVOLUMES, body, namespace="")
    w.settle(1)
    body = {"metadata": {"name": "c"}, "spec": {**spec, "resources": {"requests": {"storage": "1Gi"}}}}
    w.create(r.PERSISTENTVOLUMECLAIMS, body)
    w.settle(1)
    return w


def pod(w, name, node):
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    spec = {**pod_template()["spec"], "nodeName": node, "volumes": volumes}
    w.create(r.PODS, {"metadata": {"name": name}, "spec": spec})
    w.settle(1)


def attachments(w):
    return {a["spec"]["nodeName"]: a for a in w.list(r.VOLUMEATTACHMENTS, "")}


def attached(w, node):
    found = attachments(w)[node]
    new = {**found, "status": {"attached": True}}
    w.do(w.admin.update(r.VOLUMEATTACHMENTS, "", new, subresource="status"))
    w.settle(1)


def on_node(w, name):
    return [v["name"] for v in w.get(r.NODES, name, namespace="")["status"].get("volumesAttached", [])]


def test_a_volume_is_attached_where_a_pod_needs_it_and_detached_after_it():
    w = attaching()
    pod(w, "p", "n1")
    found = attachments(w)["n1"]
    assert found["spec"]["attacher"] == DRIVER
    assert found["metadata"]["name"].startswith("csi-")
    attached(w, "n1")
    assert w.events("p") == [
        ("SuccessfulAttachVolume", 'AttachVolume.Attach succeeded for volume "v" '),
    ]
    assert on_node(w, "n1") == [f"kubernetes.io/csi/{DRIVER}^h"]
    w.delete(r.PODS, "p", grace_period_seconds=0)
    w.settle(1)
    assert attachments(w) == {}
    assert on_node(w, "n1") == []
    assert w.errors() == []


def test_a_volume_of_one_node_is_waited_for():
    w = attaching()
    pod(w, "first", "n1")
    attached(w, "n1")
    pod(w, "second", "n2")
    assert list(attachments(w)) == ["n1"]
    assert w.events("second") == [
        ("FailedAttachVolume", 'Waiting for detach for volume "v" Volume is already used by pod(s) first'),
    ]
    w.delete(r.PODS, "first", grace_period_seconds=0)
    w.settle(1)
    assert list(attachments(w)) == ["n2"]


def test_a_volume_of_many_is_attached_to_all():
    w = attaching(["ReadWriteMany"])
    pod(w, "first", "n1")
    pod(w, "second", "n2")
    assert sorted(attachments(w)) == ["n1", "n2"]


def test_a_volume_that_an_ill_node_may_still_use_is_taken_after_six_minutes():
    w = attaching()
    pod(w, "p", "n1")
    attached(w, "n1")
    use = {
        "volumesInUse": [f"kubernetes.io/csi/{DRIVER}^h"],
        "conditions": [{"type": "Ready", "status": "Unknown"}],
    }
    w.do(w.admin.patch(r.NODES, "", "n1", {"status": use}, subresource="status"))
    w.delete(r.PODS, "p", grace_period_seconds=0)
    w.settle(350)
    assert list(attachments(w)) == ["n1"]
    w.settle(20)
    assert attachments(w) == {}


def test_a_driver_that_needs_no_attaching_gets_none():
    w = attaching()
    driver = {"metadata": {"name": DRIVER}, "spec": {"attachRequired": False}}
    w.create(r.CSIDRIVERS, driver, namespace="")
    w.settle(1)
    pod(w, "p", "n1")
    assert attachments(w) == {}


def test_a_node_whose_kubelet_attaches_by_itself_is_left_alone_until_it_says_otherwise():
    w = attaching(managed={})
    pod(w, "p", "n1")
    assert attachments(w) == {}
    w.do(w.admin.patch(r.NODES, "", "n1", {"metadata": {"annotations": MANAGED}}))
    w.settle(190)
    assert sorted(attachments(w)) == ["n1"]


def test_a_pod_that_ends_while_its_volume_is_being_attached_is_told_of_it_still():
    w = attaching()
    pod(w, "p", "n1")
    w.set_pod("p", phase="Succeeded")
    w.settle(5)
    attached(w, "n1")
    assert ("SuccessfulAttachVolume", 'AttachVolume.Attach succeeded for volume "v" ') in w.events("p")
    assert (attachments(w), on_node(w, "n1")) == ({}, [])


def test_an_attacher_that_does_nothing_is_waited_for_two_minutes():
    w = attaching()
    pod(w, "p", "n1")
    w.settle(115)
    assert w.events("p") == []
    w.settle(10)
    late = (
        'AttachVolume.Attach failed for volume "v" : timed out waiting for external-attacher of '
        f"{DRIVER} CSI driver to attach volume h"
    )
    assert w.events("p") == [("FailedAttachVolume", late)]
    w.set_pod("p", phase="Failed")
    w.settle(125)
    assert attachments(w) == {}
