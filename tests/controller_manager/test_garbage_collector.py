"""Garbage collection through the API server."""

import pytest
from controller_world import World

from pytest_kubesim.apimachinery import status
from pytest_kubesim.client_go import resources as r


def config_map(name, *owners, **metadata):
    return {"metadata": {"name": name, "ownerReferences": list(owners), **metadata}}


def reference(owner, kind="ConfigMap", **more):
    meta = owner["metadata"]
    return {"apiVersion": "v1", "kind": kind, "name": meta["name"], "uid": meta["uid"], **more}


def collector(**options):
    return World("garbage-collector-controller", **options)


def names(w, namespace="default"):
    return [obj["metadata"]["name"] for obj in w.list(r.CONFIGMAPS, namespace)]


def test_dependents_of_dependents_go_in_the_background():
    w = collector()
    owner = w.create(r.CONFIGMAPS, config_map("owner"))
    child = w.create(r.CONFIGMAPS, config_map("child", reference(owner)))
    w.create(r.CONFIGMAPS, config_map("grandchild", reference(child)))
    w.delete(r.CONFIGMAPS, "owner")
    w.settle(1)
    assert names(w) == []
    assert w.errors() == []


def test_a_slow_watch_makes_no_difference():
    w = collector(latency_ns=(1_000_000, 50_000_000))
    owner = w.create(r.CONFIGMAPS, config_map("owner"))
    w.create(r.CONFIGMAPS, config_map("child", reference(owner)))
    w.delete(r.CONFIGMAPS, "owner")
    w.settle()
    assert names(w) == []


def test_one_owner_is_enough_and_the_other_reference_goes():
    w = collector()
    first = w.create(r.CONFIGMAPS, config_map("first"))
    second = w.create(r.CONFIGMAPS, config_map("second"))
    w.create(r.CONFIGMAPS, config_map("both", reference(first), reference(second)))
    w.delete(r.CONFIGMAPS, "first")
    w.settle(1)
    references = w.get(r.CONFIGMAPS, "both")["metadata"]["ownerReferences"]
    assert [entry["name"] for entry in references] == ["second"]


def test_an_owner_with_another_uid_is_no_owner():
    w = collector()
    owner = w.create(r.CONFIGMAPS, config_map("owner"))
    w.create(r.CONFIGMAPS, config_map("stale", {**reference(owner), "uid": "somebody-else"}))
    w.settle(1)
    assert names(w) == ["owner"]


def test_what_is_owned_by_an_unknown_kind_stays():
    w = collector()
    owner = {"apiVersion": "nope.example.com/v1", "kind": "Nope", "name": "x", "uid": "1"}
    w.create(r.CONFIGMAPS, config_map("waits", owner))
    w.settle(60)
    assert names(w) == ["waits"]
    assert w.kernel.idle()
    assert set(w.errors()) == {'no matches for kind "Nope" in version "nope.example.com/v1"'}


def test_an_owner_in_another_namespace_is_none_and_an_event_says_so():
    w = collector()
    owner = w.create(r.CONFIGMAPS, config_map("owner"))
    w.create(r.CONFIGMAPS, config_map("far", reference(owner)), namespace="kube-system")
    w.settle(1)
    assert names(w, "kube-system") == []
    event = w.list(r.EVENTS, "kube-system")[0]
    assert (event["reason"], event["source"]["component"]) == (
        "OwnerRefInvalidNamespace", "garbage-collector-controller",
    )
    uid = owner["metadata"]["uid"]
    assert event["message"] == (
        f"ownerRef [v1/ConfigMap, namespace: kube-system, name: owner, uid: {uid}] does not exist "
        'in namespace "kube-system"'
    )


def test_a_cluster_scoped_object_cannot_have_a_namespaced_owner_and_stays():
    w = collector()
    owner = w.create(r.CONFIGMAPS, config_map("owner"))
    dependent = {
        "metadata": {"name": "dep", "ownerReferences": [reference(owner)]}, "value": 5,
    }
    w.create(r.PRIORITYCLASSES, dependent, namespace="")
    w.delete(r.CONFIGMAPS, "owner")
    w.settle(5)
    assert w.get(r.PRIORITYCLASSES, "dep", namespace="")


def test_in_the_foreground_the_owner_waits_for_those_that_block_it():
    w = collector()
    owner = w.create(r.CONFIGMAPS, config_map("owner"))
    hold = {"finalizers": ["example.com/hold"]}
    w.create(r.CONFIGMAPS, config_map("blocks", reference(owner, blockOwnerDeletion=True), **hold))
    w.create(r.CONFIGMAPS, config_map("lets", reference(owner), **hold))
    w.delete(r.CONFIGMAPS, "owner", propagation_policy="Foreground")
    w.settle(1)
    deleted = {o["metadata"]["name"]: "deletionTimestamp" in o["metadata"] for o in w.list(r.CONFIGMAPS)}
    assert deleted == {"blocks": True, "lets": True, "owner": True}
    w.patch(r.CONFIGMAPS, "blocks", {"metadata": {"finalizers": None}}, patch_type="merge")
    w.settle(1)
    assert names(w) == ["lets"]


def test_in_the_foreground_an_owner_without_dependents_goes_at_once():
    w = collector()
    w.create(r.CONFIGMAPS, config_map("alone"))
    w.delete(r.CONFIGMAPS, "alone", propagation_policy="Foreground")
    w.settle(1)
    assert names(w) == []


def test_a_circle_of_owners_goes_too():
    w = collector()
    a = w.create(r.CONFIGMAPS, config_map("a"))
    b = w.create(r.CONFIGMAPS, config_map("b", reference(a, blockOwnerDeletion=True)))
    patch = {"metadata": {"ownerReferences": [reference(b, blockOwnerDeletion=True)]}}
    w.patch(r.CONFIGMAPS, "a", patch)
    w.delete(r.CONFIGMAPS, "a", propagation_policy="Foreground")
    w.settle()
    assert names(w) == []


def test_orphans_lose_the_reference_and_stay():
    w = collector()
    owner = w.create(r.CONFIGMAPS, config_map("owner"))
    w.create(r.CONFIGMAPS, config_map("child", reference(owner)))
    w.delete(r.CONFIGMAPS, "owner", propagation_policy="Orphan")
    w.settle(1)
    assert names(w) == ["child"]
    assert "ownerReferences" not in w.get(r.CONFIGMAPS, "child")["metadata"]


def test_what_was_orphaned_while_nobody_looked_is_found_at_the_start():
    w = World("serviceaccount-controller")
    owner = w.create(r.CONFIGMAPS, config_map("owner"))
    w.create(r.CONFIGMAPS, config_map("child", reference(owner)))
    w.delete(r.CONFIGMAPS, "owner")
    from pytest_kubesim.controller_manager.manager import ControllerManager

    second = ControllerManager(
        w.kernel, lambda process: w.client(process, "system:kube-controller-manager"),
        controllers=["garbage-collector-controller"], name="second",
    )
    second.start()
    w.settle()
    assert names(w) == []


def test_a_busy_object_is_deleted_all_the_same():
    """Its resourceVersion changes between the look and the deletion, its owners do not."""
    w = collector()
    gc = w.manager.running["garbage-collector-controller"]
    owner = w.create(r.CONFIGMAPS, config_map("owner"))
    w.create(r.CONFIGMAPS, config_map("child", reference(owner)))
    w.settle(1)
    delete = gc.client.delete
    touched = []

    async def interfere(gvr, namespace, name, **options):
        if not touched:
            touched.append(name)
            await w.admin.patch(gvr, namespace, name, {"metadata": {"labels": {"busy": "1"}}})
        return await delete(gvr, namespace, name, **options)

    class Client:
        def __getattr__(self, attribute):
            return interfere if attribute == "delete" else getattr(original, attribute)

    original, gc.client = gc.client, Client()
    w.delete(r.CONFIGMAPS, "owner")
    w.settle(1)
    assert touched == ["child"]
    assert names(w) == []


def test_custom_resources_come_and_go():
    w = collector()
    definition = {
        "metadata": {"name": "owners.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "owners", "kind": "Owner"},
            "versions": [{
                "name": "v1", "served": True, "storage": True,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": True,
                }},
            }],
        },
    }
    owners = r.PODS._replace(group="example.com", resource="owners")
    w.create(r.CUSTOMRESOURCEDEFINITIONS, definition, namespace="")
    w.settle(1)
    body = {"apiVersion": "example.com/v1", "kind": "Owner", "metadata": {"name": "cr"}}
    owner = w.create(owners, body)
    by_owner = {**reference(owner, "Owner"), "apiVersion": "example.com/v1"}
    w.create(r.CONFIGMAPS, config_map("ofcr", by_owner))
    w.create(owners, {**body, "metadata": {"name": "child", "ownerReferences": [by_owner]}})
    w.settle(31)
    gc = w.manager.running["garbage-collector-controller"]
    assert owners in gc.monitors
    w.do(w.admin.delete(owners, "default", "cr"))
    w.settle(1)
    assert names(w) == []
    with pytest.raises(status.APIStatus):
        w.get(owners, "child")
    w.do(w.admin.delete(r.CUSTOMRESOURCEDEFINITIONS, "", "owners.example.com"))
    w.settle(61)
    assert owners not in gc.monitors


def test_a_change_that_touches_no_owner_is_not_looked_at():
    w = collector()
    owner = w.create(r.CONFIGMAPS, config_map("owner"))
    for number in range(20):
        w.create(r.CONFIGMAPS, config_map(f"c{number}", reference(owner)))
    w.settle()
    gc = w.manager.running["garbage-collector-controller"]
    looked_at = []
    gc.to_delete.add = gc.graph._attempt_to_delete = looked_at.append
    for number in range(20):
        w.patch(r.CONFIGMAPS, f"c{number}", {"data": {"a": "b"}})
    w.settle(10)
    assert looked_at == []
