"""Volumes that are emptied for the next claim, on a node that runs what empties them."""


def test_a_recycled_volume_is_emptied_by_a_pod_and_says_so(kubesim):
    kubesim.add_nodes(1)
    modes = {"storageClassName": "", "accessModes": ["ReadWriteOnce"]}
    volume = {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"},
        "spec": {
            **modes, "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Recycle",
            "hostPath": {"path": "/tmp/v"},
        },
    }
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {**modes, "resources": {"requests": {"storage": "1Gi"}}},
    }
    kubesim.apply(volume, claim)
    kubesim.eventually("pv/v", {"status": {"phase": "Bound"}}, within="1m")
    kubesim.delete("pvc/c")
    kubesim.eventually("pv/v", {"status": {"phase": "Available"}}, within="3m")
    told = [e["message"] for e in kubesim.list("events") if e["involvedObject"]["name"] == "v"]
    assert "Recycler pod: Successfully assigned default/recycler-for-v to node-1" in told
    kubesim.eventually("events", {"reason": "VolumeRecycled"}, within="1m")
    assert kubesim.list("pods") == []
