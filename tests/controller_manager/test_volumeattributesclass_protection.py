"""Classes of volume attributes that are in use stay."""

from controller_world import World

from pytest_kubesim.client_go import resources as r

CLASSES = r.VOLUMEATTRIBUTESCLASSES


def names(w):
    return [found["metadata"]["name"] for found in w.list(CLASSES, "")]


def test_a_class_stays_as_long_as_a_claim_names_it():
    w = World(
        "volumeattributesclass-protection-controller", "persistentvolumeclaim-protection-controller"
    )
    for name in ("fast", "free"):
        class_ = {"metadata": {"name": name}, "driverName": "d.io", "parameters": {"iops": "9"}}
        w.create(CLASSES, class_, namespace="")
    w.create(r.PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "volumeAttributesClassName": "fast",
    }})
    w.settle(1)
    fast = w.get(CLASSES, "fast", namespace="")
    assert fast["metadata"]["finalizers"] == ["kubernetes.io/vac-protection"]
    for name in ("fast", "free"):
        w.do(w.admin.delete(CLASSES, "", name))
    w.settle(1)
    assert names(w) == ["fast"]
    w.delete(r.PERSISTENTVOLUMECLAIMS, "c")
    w.settle(1)
    assert names(w) == []


def test_a_class_goes_when_a_claim_has_got_another():
    w = World("volumeattributesclass-protection-controller")
    class_ = {"metadata": {"name": "old"}, "driverName": "d.io", "parameters": {"iops": "9"}}
    w.create(CLASSES, class_, namespace="")
    w.create(r.PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    }})
    status = {"modifyVolumeStatus": {"targetVolumeAttributesClassName": "old", "status": "Pending"}}

    def tell(status):
        w.do(w.admin.patch(
            r.PERSISTENTVOLUMECLAIMS, "default", "c", {"status": status},
            patch_type="merge", subresource="status",
        ))
        w.settle(1)

    tell(status)
    w.do(w.admin.delete(CLASSES, "", "old"))
    w.settle(1)
    assert names(w) == ["old"]
    tell({"modifyVolumeStatus": None})
    assert names(w) == []
