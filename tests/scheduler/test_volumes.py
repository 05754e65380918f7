"""Pods with claims: waiting, matching, provisioning, zones, limits."""

from scheduler_world import World

BOUND = {"pv.kubernetes.io/bind-completed": "yes"}


def claim(world, name, *, storage_class="slow", volume="", annotations=None, size="1Gi", modes=("ReadWriteOnce",), **metadata):
    return world.api.put("persistentvolumeclaims", {
        "metadata": {"name": name, "namespace": "default", "annotations": annotations or {}, **metadata},
        "spec": {"storageClassName": storage_class, "volumeName": volume, "accessModes": list(modes),
                 "resources": {"requests": {"storage": size}}},
        "status": {"phase": "Bound" if volume else "Pending"},
    })


def volume(world, name, *, size="1Gi", storage_class="slow", node=None, labels=None, csi=None, phase="Available"):
    spec = {"capacity": {"storage": size}, "storageClassName": storage_class, "accessModes": ["ReadWriteOnce"]}
    if node:
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}
    if csi:
        spec["csi"] = csi
    return world.api.put("persistentvolumes", {"metadata": {"name": name, "labels": labels or {}}, "spec": spec, "status": {"phase": phase}})


def storage_class(world, name="slow", mode="WaitForFirstConsumer", provisioner="kubernetes.io/no-provisioner", **fields):
    world.api.put("storageclasses", {"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode, **fields})


def using(*names):
    return [{"name": n, "persistentVolumeClaim": {"claimName": n}} for n in names]


def test_an_immediate_claim_has_to_be_bound_first():
    world = World().nodes(2).start()
    storage_class(world, mode="Immediate")
    claim(world, "data")
    world.pod("db", volumes=using("data"))
    world.run()
    assert world.why("db") == "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"
    volume(world, "pv", node="node-1", phase="Bound")
    claim(world, "data", volume="pv", annotations=BOUND)
    world.run(1)
    assert world.where("db") == "node-1"


def test_a_waiting_claim_gets_a_volume_of_the_chosen_node():
    world = World().nodes(3).start()
    storage_class(world)
    claim(world, "data", size="2Gi")
    volume(world, "small", node="node-0")
    volume(world, "fits", size="2Gi", node="node-2")
    world.pod("db", volumes=using("data"))
    world.run()
    assert world.where("db") is None
    pv = world.api.get("persistentvolumes", "fits")
    assert pv["spec"]["claimRef"]["name"] == "data"
    assert pv["metadata"]["annotations"] == {"pv.kubernetes.io/bound-by-controller": "yes"}
    assert world.api.get("pods", "default/db")["status"]["nominatedNodeName"] == "node-2"
    claim(world, "data", size="2Gi", volume="fits", annotations=BOUND)
    world.run(1)
    assert world.where("db") == "node-2"


def test_a_waiting_claim_is_told_the_node_and_provisioned_there():
    world = World().nodes(1).start()
    storage_class(world, provisioner="csi.example.com")
    claim(world, "data")
    world.pod("db", volumes=using("data"))
    world.run()
    pvc = world.api.get("persistentvolumeclaims", "default/data")
    assert pvc["metadata"]["annotations"] == {"volume.kubernetes.io/selected-node": "node-0"}
    assert world.where("db") is None
    volume(world, "pv-1", phase="Bound")
    claim(world, "data", volume="pv-1", annotations={**pvc["metadata"]["annotations"], **BOUND})
    world.run()
    assert world.where("db") == "node-0"


def test_a_provisioner_that_fails_sends_the_pod_back():
    world = World().nodes(1).start()
    storage_class(world, provisioner="csi.example.com")
    claim(world, "data")
    world.pod("db", volumes=using("data"))
    world.run()
    claim(world, "data", annotations={"another": "annotation"})
    world.run()
    assert world.condition("db")["reason"] == "SchedulerError"
    assert world.why("db") == 'running PreBind plugin "VolumeBinding": binding volumes: provisioning failed for PVC "data"'
    world.run(5)
    pvc = world.api.get("persistentvolumeclaims", "default/data")
    assert pvc["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] == "node-0"


def test_without_a_matching_volume_nothing_can_be_bound():
    world = World().nodes(2).start()
    storage_class(world)
    claim(world, "data", size="5Gi")
    volume(world, "small", node="node-0")
    world.pod("db", volumes=using("data"))
    world.run()
    assert world.why("db") == (
        "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind. "
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )
    volume(world, "large", size="5Gi")
    world.run(1)
    assert world.api.get("persistentvolumes", "large")["spec"]["claimRef"]["name"] == "data"


def test_a_bound_volume_binds_the_pod_to_its_node():
    world = World().nodes(2).start()
    storage_class(world)
    volume(world, "pv", node="elsewhere", phase="Bound")
    claim(world, "data", volume="pv", annotations=BOUND)
    world.pod("db", volumes=using("data"))
    world.run()
    assert world.why("db").startswith("0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity. ")


def test_a_volume_of_another_zone_is_out_of_reach():
    zone = "topology.kubernetes.io/zone"
    world = World()
    world.node("east", labels={zone: "east"})
    world.node("west", labels={zone: "west"})
    world.start()
    volume(world, "pv", labels={zone: "west"}, phase="Bound")
    claim(world, "data", volume="pv", annotations=BOUND)
    world.pod("db", volumes=using("data"))
    world.run()
    assert world.where("db") == "west"


def test_a_claim_for_one_pod_waits_for_the_other_pod_to_go():
    world = World().nodes(2).start()
    volume(world, "pv", phase="Bound")
    claim(world, "data", volume="pv", annotations=BOUND, modes=["ReadWriteOncePod"])
    world.pod("one", volumes=using("data"))
    world.run()
    world.pod("two", volumes=using("data"))
    world.run()
    assert world.why("two").startswith(
        "0/2 nodes are available: 2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod "
        "access mode already in-use by another pod. "
    )
    world.api.remove("pods", "default/one")
    world.run(1)
    assert world.where("two")


def test_a_claim_that_is_being_deleted_is_refused():
    world = World().nodes(1).start()
    volume(world, "pv", phase="Bound")
    claim(world, "data", volume="pv", annotations=BOUND, deletionTimestamp="2026-01-01T00:00:00Z")
    world.pod("db", volumes=using("data"))
    world.run()
    assert 'persistentvolumeclaim "data" is being deleted' in world.why("db")


def test_a_generic_ephemeral_volume_waits_for_its_claim():
    world = World().nodes(1).start()
    storage_class(world, mode="Immediate")
    world.pod("db", volumes=[{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}])
    world.run()
    assert 'waiting for ephemeral volume controller to create the persistentvolumeclaim "db-scratch"' in world.why("db")


def test_a_node_has_as_many_volumes_as_its_driver_allows():
    world = World().nodes(1).start()
    world.api.put("csinodes", {"metadata": {"name": "node-0"}, "spec": {"drivers": [{"name": "csi", "nodeID": "n", "allocatable": {"count": 1}}]}})
    for i in (1, 2):
        volume(world, f"pv-{i}", csi={"driver": "csi", "volumeHandle": f"h{i}"}, phase="Bound")
        claim(world, f"data-{i}", volume=f"pv-{i}", annotations=BOUND)
        world.pod(f"db-{i}", volumes=using(f"data-{i}"))
        world.run()
    assert world.where("db-1") == "node-0"
    assert world.why("db-2").startswith("0/1 nodes are available: 1 node(s) exceed max volume count. ")
    world.api.remove("pods", "default/db-1")
    world.run(1)
    assert world.where("db-2") == "node-0"


def test_storage_capacity_decides_where_a_volume_can_be_made():
    world = World().nodes(2).start()
    storage_class(world, provisioner="csi")
    world.api.put("csidrivers", {"metadata": {"name": "csi"}, "spec": {"storageCapacity": True}})
    world.api.put("csistoragecapacities", {
        "metadata": {"name": "c", "namespace": "kube-system"}, "storageClassName": "slow", "capacity": "10Gi",
        "nodeTopology": {"matchLabels": {"kubernetes.io/hostname": "node-1"}},
    })
    claim(world, "data")
    world.pod("db", volumes=using("data"))
    claim(world, "huge", size="20Gi")
    world.pod("big", volumes=using("huge"))
    world.run()
    pvc = world.api.get("persistentvolumeclaims", "default/data")
    assert pvc["metadata"]["annotations"] == {"volume.kubernetes.io/selected-node": "node-1"}
    assert world.why("big").startswith("0/2 nodes are available: 2 node(s) did not have enough free storage. ")


def test_a_pod_that_waits_for_its_volume_is_preempted_without_a_deletion():
    world = World().nodes(1, cpu="1").start()
    storage_class(world, provisioner="csi.example.com")
    claim(world, "data")
    world.pod("db", cpu="800m", priority=1, volumes=using("data"))
    world.run(1)
    assert world.api.get("pods", "default/db")["status"]["nominatedNodeName"] == "node-0"
    world.pod("vip", cpu="800m", priority=9)
    world.run(3)
    assert world.where("vip") == "node-0"
    condition = world.condition("db")
    assert "deletionTimestamp" not in world.api.get("pods", "default/db")["metadata"]
    assert (condition["reason"], condition["status"]) in {("SchedulerError", "False"), ("Unschedulable", "False")}
    notes = [note for _, _, note in world.events("FailedScheduling")]
    assert 'running PreBind plugin "VolumeBinding": preempted by DefaultPreemption' in notes
    assert [note.split(" on node ")[1] for _, _, note in world.events("Preempted")] == [
        "node-0 (in kube-scheduler memory)."
    ]
