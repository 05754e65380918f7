"""Claims, volumes, the driver that makes disks, and what protects them."""

from controller_world import World, pod_template
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.client_go import resources as r
from pytest_kubesim.controller_manager import volume_binding as binding
from pytest_kubesim.csi.provisioner import DRIVER, Provisioner

CONTROLLERS = (
    "persistentvolume-binder-controller",
    "persistentvolumeclaim-protection-controller",
    "persistentvolume-protection-controller",
)


def storage(*more, provisioner=True, **settings):
    w = World(*CONTROLLERS, *more, **settings)
    if provisioner:
        w.provisioner = Provisioner(w.kernel, lambda process: w.client(process, "csi"))
        w.provisioner.start()
    return w


def claim(w, name="c", size="1Gi", modes=("ReadWriteOnce",), **spec):
    body = {
        "metadata": {"name": name},
        "spec": {
            "accessModes": list(modes), "resources": {"requests": {"storage": size}},
            "volumeMode": "Filesystem", **spec,
        },
    }
    return w.create(r.PERSISTENTVOLUMECLAIMS, body)


def volume(w, name="v", size="1Gi", modes=("ReadWriteOnce",), metadata=None, **spec):
    source = {} if {"nfs", "csi"} & spec.keys() else {"hostPath": {"path": "/x"}}
    body = {
        "metadata": {"name": name, **(metadata or {})},
        "spec": {
            "capacity": {"storage": size}, "accessModes": list(modes), "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Retain", **source, **spec,
        },
        "status": {"phase": "Pending"},
    }
    return w.create(r.PERSISTENTVOLUMES, body, namespace="")


def storage_class(w, name="std", provisioner=DRIVER, mode="Immediate", policy="Delete", default=False):
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    body = {
        "metadata": {"name": name, "annotations": annotations}, "provisioner": provisioner,
        "volumeBindingMode": mode, "reclaimPolicy": policy,
    }
    w.create(r.STORAGECLASSES, body, namespace="")


def get_claim(w, name="c"):
    return w.get(r.PERSISTENTVOLUMECLAIMS, name)


def get_volume(w, name="v"):
    return w.get(r.PERSISTENTVOLUMES, name, namespace="")


def phase(obj):
    return obj["status"].get("phase")


def pod(w, name="p", claims=("c",), node=None):
    spec = dict(pod_template()["spec"])
    spec["volumes"] = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
    if node:
        spec["nodeName"] = node
    w.create(r.PODS, {"metadata": {"name": name}, "spec": spec})


def test_a_claim_waits_for_a_volume_and_is_bound_at_the_next_resync():
    w = storage(provisioner=False)
    claim(w)
    w.settle(1)
    assert w.events("c")[0] == (
        "FailedBinding",
        "no persistent volumes available for this claim and no storage class is set",
    )
    volume(w)
    w.settle(1)
    assert phase(get_volume(w)) == "Available"
    w.settle(15)
    bound, its_volume = get_claim(w), get_volume(w)
    assert (phase(bound), bound["spec"]["volumeName"]) == ("Bound", "v")
    assert bound["metadata"]["annotations"] == {
        "pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes",
    }
    assert bound["status"]["capacity"] == {"storage": "1Gi"}
    assert its_volume["spec"]["claimRef"]["name"] == "c"
    assert w.errors() == []


def test_the_smallest_of_those_with_the_fewest_access_modes_is_taken():
    w = storage(provisioner=False)
    volume(w, "small", "1Gi")
    volume(w, "many", "2Gi", ("ReadWriteOnce", "ReadWriteMany"))
    volume(w, "big", "10Gi")
    volume(w, "bigger", "20Gi")
    volume(w, "classy", "2Gi", storageClassName="gold")
    w.settle(1)
    claim(w, size="2Gi")
    w.settle(1)
    assert get_claim(w)["spec"]["volumeName"] == "big"


def test_a_selector_is_obeyed():
    w = storage(provisioner=False)
    volume(w, "plain")
    volume(w, "gold", metadata={"labels": {"tier": "gold"}})
    w.settle(1)
    claim(w, selector={"matchLabels": {"tier": "gold"}})
    w.settle(1)
    assert get_claim(w)["spec"]["volumeName"] == "gold"


def test_a_claim_by_name_gets_its_volume_or_says_why_not():
    w = storage(provisioner=False)
    volume(w, "small", "1Gi")
    volume(w, "right", "5Gi")
    w.settle(1)
    claim(w, "a", "2Gi", volumeName="small")
    claim(w, "b", "2Gi", volumeName="right")
    claim(w, "c", "2Gi", volumeName="right")
    w.settle(20)
    assert phase(get_claim(w, "a")) == "Pending"
    assert w.events("a")[0] == (
        "VolumeMismatch", 'Cannot bind to requested volume "small": requested PV is too small',
    )
    assert phase(get_claim(w, "b")) == "Bound"
    assert "pv.kubernetes.io/bound-by-controller" not in get_claim(w, "b")["metadata"]["annotations"]
    assert w.events("c")[0] == (
        "FailedBinding", 'volume "right" already bound to a different claim.',
    )


def test_a_volume_that_was_bound_beforehand_waits_for_its_claim():
    w = storage(provisioner=False)
    volume(w, claimRef={"namespace": "default", "name": "mine"})
    w.settle(1)
    claim(w, "other")
    w.settle(20)
    assert phase(get_claim(w, "other")) == "Pending"
    claim(w, "mine")
    w.settle(20)
    assert get_claim(w, "mine")["spec"]["volumeName"] == "v"


def test_a_claim_that_loses_its_volume_is_lost():
    w = storage(provisioner=False)
    volume(w)
    w.settle(1)
    claim(w)
    w.settle(1)
    release = {"metadata": {"finalizers": None}}
    w.do(w.admin.patch(r.PERSISTENTVOLUMES, "", "v", release, patch_type="merge"))
    w.do(w.admin.delete(r.PERSISTENTVOLUMES, "", "v"))
    w.do(w.admin.patch(r.PERSISTENTVOLUMES, "", "v", release, patch_type="merge")) if any(
        v["metadata"]["name"] == "v" for v in w.list(r.PERSISTENTVOLUMES, "")
    ) else None
    w.settle(1)
    assert phase(get_claim(w)) == "Lost"
    assert w.events("c")[-1] == (
        "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
    )


def test_a_volume_is_kept_deleted_or_fails_as_its_policy_says():
    w = storage(provisioner=False)
    volume(w, "keep")
    volume(w, "nfs", persistentVolumeReclaimPolicy="Delete", nfs={"server": "s", "path": "/"})
    volume(w, "tmp", persistentVolumeReclaimPolicy="Delete", hostPath={"path": "/tmp/a"})
    w.settle(1)
    for name in ("keep", "nfs", "tmp"):
        claim(w, name, volumeName=name)
    w.settle(1)
    for name in ("keep", "nfs", "tmp"):
        w.delete(r.PERSISTENTVOLUMECLAIMS, name)
    w.settle(20)
    assert phase(get_volume(w, "keep")) == "Released"
    failed = get_volume(w, "nfs")
    message = 'error getting deleter volume plugin for volume "nfs": no deletable volume plugin matched'
    assert (phase(failed), failed["status"]["message"]) == ("Failed", message)
    assert w.events("nfs") == [("VolumeFailedDelete", message)]
    assert [v["metadata"]["name"] for v in w.list(r.PERSISTENTVOLUMES, "")] == ["keep", "nfs"]


def test_a_volume_that_is_recycled_is_emptied_by_a_pod_and_then_anyones():
    w = storage(provisioner=False)
    volume(w, persistentVolumeReclaimPolicy="Recycle", size="4Gi", storageClassName="")
    claim(w, storageClassName="")
    w.settle(20)
    w.do(w.admin.delete(r.PERSISTENTVOLUMECLAIMS, "default", "c"))
    w.settle(20)
    assert phase(get_volume(w)) == "Released"
    scrubbing = w.get(r.PODS, "recycler-for-v")
    assert scrubbing["spec"]["activeDeadlineSeconds"] == 120
    assert scrubbing["spec"]["volumes"][0]["hostPath"]["path"] == "/x"
    ended = {**scrubbing, "status": {"phase": "Failed", "message": "no disk"}}
    w.do(w.admin.update(r.PODS, "default", ended, subresource="status"))
    w.settle(1)
    failed = get_volume(w)["status"]
    assert failed["phase"] == "Failed"
    assert failed["message"] == "Recycle failed: failed to recycle volume: no disk"
    w.do(w.admin.delete(r.PODS, "default", "recycler-for-v", grace_period_seconds=0))
    w.settle(20)
    again = {**w.get(r.PODS, "recycler-for-v"), "status": {"phase": "Succeeded"}}
    w.do(w.admin.update(r.PODS, "default", again, subresource="status"))
    w.settle(1)
    assert phase(get_volume(w)) == "Available"
    assert "claimRef" not in get_volume(w)["spec"]


def test_the_driver_makes_a_volume_for_its_class_and_deletes_it_again():
    w = storage()
    storage_class(w)
    claim(w, storageClassName="std", size="3Gi")
    w.settle(5)
    bound = get_claim(w)
    assert phase(bound) == "Bound"
    made = get_volume(w, bound["spec"]["volumeName"])
    assert made["metadata"]["name"] == f"pvc-{bound['metadata']['uid']}"
    assert made["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] == DRIVER
    assert made["spec"]["csi"]["driver"] == DRIVER
    assert made["spec"]["capacity"] == {"storage": "3Gi"}
    reasons = [reason for reason, _ in w.events("c")]
    assert reasons.count("ExternalProvisioning") == 1
    assert reasons[-1] == "ProvisioningSucceeded"
    w.delete(r.PERSISTENTVOLUMECLAIMS, "c")
    w.settle(5)
    assert w.list(r.PERSISTENTVOLUMES, "") == []
    assert w.errors() == []


def test_a_class_that_keeps_volumes_keeps_them():
    w = storage()
    storage_class(w, policy="Retain")
    claim(w, storageClassName="std")
    w.settle(5)
    w.delete(r.PERSISTENTVOLUMECLAIMS, "c")
    w.settle(20)
    assert [phase(v) for v in w.list(r.PERSISTENTVOLUMES, "")] == ["Released"]


def test_another_provisioners_claim_is_marked_and_waits_for_ever():
    w = storage()
    storage_class(w, provisioner="example.com/disks")
    claim(w, storageClassName="std")
    w.settle(100)
    waiting = get_claim(w)
    assert phase(waiting) == "Pending"
    assert waiting["metadata"]["annotations"] == {
        "volume.beta.kubernetes.io/storage-provisioner": "example.com/disks",
        "volume.kubernetes.io/storage-provisioner": "example.com/disks",
    }
    assert w.events("c")[0] == (
        "ExternalProvisioning",
        ("Waiting for a volume to be created either by the external provisioner "
        "'example.com/disks' or manually by the system administrator. If volume creation is "
        "delayed, please verify that the provisioner is running and correctly registered."),
    )


def test_a_late_class_waits_for_a_pod_to_be_placed():
    w = storage()
    storage_class(w, mode="WaitForFirstConsumer")
    claim(w, storageClassName="std")
    w.settle(1)
    pod(w)
    w.settle(20)
    assert w.events("c") == [
        ("WaitForFirstConsumer", "waiting for first consumer to be created before binding"),
        ("WaitForPodScheduled", "waiting for pod p to be scheduled"),
    ]
    patch = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n1"}}}
    w.patch(r.PERSISTENTVOLUMECLAIMS, "c", patch)
    w.settle(5)
    assert phase(get_claim(w)) == "Bound"


def test_what_class_is_missing_is_said():
    w = storage()
    claim(w, storageClassName="nope")
    w.settle(1)
    assert w.events("c") == [
        ("ProvisioningFailed", 'storageclass.storage.k8s.io "nope" not found'),
    ]


def test_claims_without_a_class_get_the_default_one_later():
    w = storage()
    claim(w)
    w.settle(1)
    storage_class(w, "old", default=True)
    w.settle(1)
    storage_class(w, "new", default=True)
    w.settle(20)
    assert get_claim(w)["spec"]["storageClassName"] == "new"
    assert phase(get_claim(w)) == "Bound"


def test_a_claim_in_use_is_kept_until_its_pod_has_gone():
    w = storage(provisioner=False)
    volume(w)
    w.settle(1)
    claim(w)
    w.settle(1)
    pod(w, node="n1")
    pod(w, "unplaced")
    w.settle(1)
    w.delete(r.PERSISTENTVOLUMECLAIMS, "c")
    w.settle(5)
    assert get_claim(w)["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    w.delete(r.PODS, "p", grace_period_seconds=0)
    w.settle(1)
    assert w.list(r.PERSISTENTVOLUMECLAIMS) == []


def test_a_claim_tells_whether_a_pod_names_it():
    w = storage(provisioner=False)
    volume(w)
    w.settle(1)
    claim(w)
    w.settle(1)

    def unused():
        found = get_claim(w)["status"]["conditions"][0]
        return found["type"], found["status"], found["reason"]

    assert unused() == ("Unused", "True", "NoPodsUsingPVC")
    pod(w)
    w.settle(1)
    assert unused() == ("Unused", "False", "PodUsingPVC")
    w.delete(r.PODS, "p", grace_period_seconds=0)
    w.settle(1)
    assert unused() == ("Unused", "True", "NoPodsUsingPVC")


def test_a_bound_volume_waits_for_its_claim():
    w = storage(provisioner=False)
    volume(w)
    w.settle(1)
    claim(w)
    w.settle(1)
    w.do(w.admin.delete(r.PERSISTENTVOLUMES, "", "v"))
    w.settle(1)
    assert get_volume(w)["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
    w.delete(r.PERSISTENTVOLUMECLAIMS, "c")
    w.settle(1)
    assert w.list(r.PERSISTENTVOLUMES, "") == []


def test_pods_get_the_claims_that_they_describe():
    w = storage("ephemeral-volume-controller", provisioner=False)
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    }}
    spec = {**pod_template()["spec"], "volumes": [
        {"name": "v", "ephemeral": {"volumeClaimTemplate": template}},
    ]}
    claim(w, "taken-v")
    w.create(r.PODS, {"metadata": {"name": "p"}, "spec": spec})
    w.create(r.PODS, {"metadata": {"name": "taken"}, "spec": spec})
    w.settle(1)
    made = get_claim(w, "p-v")
    assert made["metadata"]["labels"] == {"a": "b"}
    assert made["metadata"]["ownerReferences"][0]["name"] == "p"
    assert w.events("taken")[0] == (
        "FailedBinding",
        ("ephemeral volume v: PVC default/taken-v was not created for pod default/taken (pod is "
        "not owner)"),
    )


SIZES = st.sampled_from(["500Mi", "1Gi", "2Gi", "3Gi", "10Gi"])
MODES = st.lists(st.sampled_from(binding.MODES[:3]), min_size=1, max_size=3, unique=True)


@st.composite
def offered(draw):
    return [
        {
            "metadata": {"name": f"v{number}"},
            "spec": {"capacity": {"storage": draw(SIZES)}, "accessModes": draw(MODES)},
            "status": {"phase": draw(st.sampled_from(["Available", "Bound"]))},
        }
        for number in range(draw(st.integers(0, 8)))
    ]


@given(offered(), SIZES, MODES)
def test_the_best_volume_is_enough_and_no_other_is_better(volumes, size, modes):
    wanted = {
        "metadata": {"name": "c", "namespace": "ns", "uid": "u"},
        "spec": {"accessModes": modes, "resources": {"requests": {"storage": size}}},
    }

    def fits(v):
        return (
            v["status"]["phase"] == "Available"
            and set(modes) <= set(v["spec"]["accessModes"])
            and quantity.cmp(binding.capacity(v), size) >= 0
        )

    def rank(v):
        return len(v["spec"]["accessModes"]), quantity.value(binding.capacity(v))

    best = binding.best_match(wanted, volumes, delay_binding=False)
    fitting = [v for v in volumes if fits(v)]
    if best is None:
        assert fitting == []
    else:
        assert fits(best)
        # Among the same set of modes the smallest; among sets the one with the fewest modes.
        assert len(best["spec"]["accessModes"]) == min(rank(v)[0] for v in fitting)
        same = [v for v in fitting if set(v["spec"]["accessModes"]) == set(best["spec"]["accessModes"])]
        assert rank(best) == min(map(rank, same))
    assert binding.best_match(wanted, volumes, delay_binding=True) is None
