"""Migrations of stored versions, and the bundle of the API server's signer."""

from controller_world import World

from pytest_kubesim.client_go import resources as r

MIGRATOR = "storage-version-migrator-controller"
PUBLISHER = "kube-apiserver-serving-clustertrustbundle-publisher-controller"


def migration(w, name, resource, group=""):
    which = {"resource": resource, **({"group": group} if group else {})}
    w.create(r.STORAGEVERSIONMIGRATIONS,
             {"metadata": {"name": name}, "spec": {"resource": which}}, namespace="")


def conditions(w, name):
    found = w.get(r.STORAGEVERSIONMIGRATIONS, name, namespace="")["status"]["conditions"]
    return [(c["type"], c["status"], c["reason"], c["message"]) for c in found]


def test_objects_are_written_once_more():
    w = World(MIGRATOR)
    for name in ("a", "b"):
        w.create(r.CONFIGMAPS, {"metadata": {"name": name}, "data": {"k": "v"}})
    before = [c["metadata"]["resourceVersion"] for c in w.list(r.CONFIGMAPS)]
    migration(w, "m", "configmaps")
    w.settle(2)
    assert conditions(w, "m") == [
        ("Running", "False", "MigrationCompleted", "Migration completed"),
        ("Succeeded", "True", "StorageVersionMigrationSucceeded", "Migration completed"),
    ]
    # Built-in objects are stored as they were: nothing is written.
    assert [c["metadata"]["resourceVersion"] for c in w.list(r.CONFIGMAPS)] == before


def test_a_resource_that_is_never_found_fails_after_a_minute():
    w = World(MIGRATOR)
    migration(w, "m", "ghosts", "example.com")
    w.settle(30)
    assert [c[0] for c in conditions(w, "m")] == ["Running"]
    w.settle(90)
    assert conditions(w, "m") == [
        ("Running", "False", "MigrationCompleted", "Migration completed"),
        ("Failed", "True", "StorageVersionMigrationFailed",
         "resource does not exist in discovery"),
    ]


def crd(storage):
    versions = [
        {"name": name, "served": True, "storage": name == storage,
         "schema": {"openAPIV3Schema": {
             "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
        for name in ("v1", "v2")
    ]
    return {
        "metadata": {"name": "pets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "versions": versions,
                 "names": {"plural": "pets", "singular": "pet", "kind": "Pet",
                           "listKind": "PetList"}},
    }


def test_a_custom_resource_ends_with_one_stored_version():
    w = World(MIGRATOR)
    w.create(r.CUSTOMRESOURCEDEFINITIONS, crd("v1"), namespace="")
    w.settle(1)
    pets = r.CUSTOMRESOURCEDEFINITIONS.__class__("example.com", "v1", "pets")
    w.create(pets, {"apiVersion": "example.com/v1", "kind": "Pet", "metadata": {"name": "rex"}})
    definition = w.get(r.CUSTOMRESOURCEDEFINITIONS, "pets.example.com", namespace="")
    changed = {**definition, "spec": crd("v2")["spec"]}
    w.do(w.admin.update(r.CUSTOMRESOURCEDEFINITIONS, "", changed))
    w.settle(1)
    version = w.get(pets, "rex")["metadata"]["resourceVersion"]
    migration(w, "m", "pets", "example.com")
    w.settle(3)
    status = w.get(r.CUSTOMRESOURCEDEFINITIONS, "pets.example.com", namespace="")["status"]
    assert status["storedVersions"] == ["v2"]
    told = next(c for c in status["conditions"] if c["type"] == "StorageMigrating")
    assert (told["status"], told["reason"], told["message"]) == (
        "False", "MigrationSucceeded",
        "The migration has succeeded and the stored versions have been updated",
    )
    assert int(w.get(pets, "rex")["metadata"]["resourceVersion"]) > int(version)


def test_the_api_servers_signer_has_one_bundle():
    w = World(PUBLISHER)
    (bundle,) = w.list(r.CLUSTERTRUSTBUNDLES, "")
    name = bundle["metadata"]["name"]
    assert name.startswith("kubernetes.io:kube-apiserver-serving:")
    assert len(name.rpartition(":")[2]) == 24
    other = {"metadata": {"name": "kubernetes.io:kube-apiserver-serving:old"},
             "spec": bundle["spec"]}
    w.create(r.CLUSTERTRUSTBUNDLES, other, namespace="")
    w.do(w.admin.delete(r.CLUSTERTRUSTBUNDLES, "", name))
    w.settle(1)
    assert [b["metadata"]["name"] for b in w.list(r.CLUSTERTRUSTBUNDLES, "")] == [name]
