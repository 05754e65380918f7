"""Namespaces: what they are given, and how they are emptied."""

from controller_world import World

from pytest_kubesim.client_go import resources as r

NAMESPACE = {
    "metadata": {"name": "x"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
}


def exists(w):
    return any(ns["metadata"]["name"] == "x" for ns in w.list(r.NAMESPACES, ""))


def conditions(w):
    found = w.get(r.NAMESPACES, "x", namespace="")["status"].get("conditions") or []
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in found}


def delete(w):
    w.do(w.admin.delete(r.NAMESPACES, "", "x"))


def release(w, gvr, name):
    patch = {"metadata": {"finalizers": None}}
    w.do(w.admin.patch(gvr, "x", name, patch, patch_type="merge"))


def test_a_namespace_gets_a_service_account_and_the_root_certificate():
    w = World(
        "serviceaccount-controller", "root-ca-certificate-publisher-controller",
        **{"root-ca-file": "PEM"},
    )
    w.create(r.NAMESPACES, NAMESPACE, namespace="")
    w.settle(1)
    assert w.get(r.SERVICEACCOUNTS, "default", namespace="x")
    config_map = w.get(r.CONFIGMAPS, "kube-root-ca.crt", namespace="x")
    assert config_map["data"] == {"ca.crt": "PEM"}
    assert "Contains a CA bundle" in config_map["metadata"]["annotations"]["kubernetes.io/description"]


def test_both_are_made_anew_and_put_right():
    w = World("serviceaccount-controller", "root-ca-certificate-publisher-controller")
    w.delete(r.SERVICEACCOUNTS, "default")
    before = w.get(r.CONFIGMAPS, "kube-root-ca.crt")["data"]
    patch = {"data": {"ca.crt": "mine", "more": "1"}}
    w.patch(r.CONFIGMAPS, "kube-root-ca.crt", patch, patch_type="merge")
    w.settle(1)
    assert w.get(r.SERVICEACCOUNTS, "default")
    assert w.get(r.CONFIGMAPS, "kube-root-ca.crt")["data"] == before
    w.delete(r.CONFIGMAPS, "kube-root-ca.crt")
    w.settle(1)
    assert w.get(r.CONFIGMAPS, "kube-root-ca.crt")["data"] == before


def test_an_empty_namespace_goes_after_its_grace():
    w = World("namespace-controller")
    w.create(r.NAMESPACES, NAMESPACE, namespace="")
    delete(w)
    w.settle(4.9)
    assert exists(w)
    w.settle(0.2)
    assert not exists(w)
    assert w.errors() == []


def test_content_goes_and_what_is_held_is_told():
    w = World("namespace-controller")
    w.create(r.NAMESPACES, NAMESPACE, namespace="")
    w.create(r.SECRETS, {"metadata": {"name": "free"}}, namespace="x")
    held = {"metadata": {"name": "held", "finalizers": ["a.b/one", "a.b/two"]}}
    w.create(r.CONFIGMAPS, held, namespace="x")
    delete(w)
    w.settle(6)
    assert w.list(r.SECRETS, "x") == []
    found = conditions(w)
    assert list(found) == [
        "NamespaceDeletionDiscoveryFailure",
        "NamespaceDeletionGroupVersionParsingFailure",
        "NamespaceDeletionContentFailure",
        "NamespaceContentRemaining",
        "NamespaceFinalizersRemaining",
    ]
    assert found["NamespaceContentRemaining"] == (
        "True", "SomeResourcesRemain",
        "Some resources are remaining: configmaps. has 1 resource instances",
    )
    assert found["NamespaceFinalizersRemaining"] == (
        "True", "SomeFinalizersRemain",
        ("Some content in the namespace has finalizers remaining: a.b/one in 1 resource instances, "
        "a.b/two in 1 resource instances"),
    )
    assert found["NamespaceDeletionContentFailure"][0] == "False"
    release(w, r.CONFIGMAPS, "held")
    w.settle(8)
    assert not exists(w)


def test_pods_go_before_everything_else():
    w = World("namespace-controller")
    w.create(r.NAMESPACES, NAMESPACE, namespace="")
    w.create(r.SERVICEACCOUNTS, {"metadata": {"name": "default"}}, namespace="x")
    w.create(r.SECRETS, {"metadata": {"name": "free"}}, namespace="x")
    pod = {
        "metadata": {"name": "p", "finalizers": ["a.b/c"]},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    w.create(r.PODS, pod, namespace="x")
    delete(w)
    w.settle(6)
    assert [s["metadata"]["name"] for s in w.list(r.SECRETS, "x")] == ["free"]
    assert {state for state, _, _ in conditions(w).values()} == {"False"}
    release(w, r.PODS, "p")
    w.settle(20)
    assert not exists(w)


def test_a_refusal_is_told_in_a_condition():
    w = World("namespace-controller")
    controller = w.manager.running["namespace-controller"]
    original = controller.client

    class Client:
        def __getattr__(self, attribute):
            return refuse if attribute == "delete_collection" else getattr(original, attribute)

    async def refuse(gvr, namespace, **options):
        from pytest_kubesim.apimachinery import status

        if gvr == r.SECRETS:
            raise status.new_internal_error("no")
        return await original.delete_collection(gvr, namespace, **options)

    controller.client = Client()
    w.create(r.NAMESPACES, NAMESPACE, namespace="")
    delete(w)
    w.settle(5.1)
    state, reason, message = conditions(w)["NamespaceDeletionContentFailure"]
    assert (state, reason) == ("True", "ContentDeletionFailed")
    assert message.startswith("Failed to delete all resource types, 1 remaining: ")
    controller.client = original
    w.settle(30)
    assert not exists(w)


def test_a_namespace_that_is_stuck_keeps_nobody_waiting():
    w = World("namespace-controller")
    w.create(r.NAMESPACES, NAMESPACE, namespace="")
    held = {"metadata": {"name": "held", "finalizers": ["a.b/c"]}}
    w.create(r.CONFIGMAPS, held, namespace="x")
    delete(w)
    w.settle(6)
    assert not w.kernel.idle()
    w.settle(20)
    assert w.kernel.idle()
    release(w, r.CONFIGMAPS, "held")
    w.settle(9)
    assert not exists(w)
