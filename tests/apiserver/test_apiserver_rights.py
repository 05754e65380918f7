"""Who may do what: roles and bindings, nodes, and those that would give away more than they have."""

from __future__ import annotations

from typing import Any

import pytest
from api_world import MERGE, World

from pytest_kubesim.wire import UserInfo

RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"
PODS = "/api/v1/namespaces/default/pods"
SECRETS = "/api/v1/namespaces/default/secrets"
NODE = UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))


def user(name: str, *groups: str) -> UserInfo:
    return UserInfo(name, (*groups, "system:authenticated"))


ANN = user("ann")


@pytest.fixture
def world() -> World:
    return World()


def rule(verbs: list[str], *resources: str, **more: Any) -> dict[str, Any]:
    return {"verbs": verbs, "apiGroups": [""], "resources": list(resources), **more}


def grant(world: World, *rules: dict[str, Any], who: str = "ann", name: str = "r") -> None:
    path = f"{RBAC}/namespaces/default"
    world.ok("POST", f"{path}/roles", {"metadata": {"name": name}, "rules": list(rules)})
    bind(world, f"{path}/rolebindings", "Role", name, who)


def bind(world: World, path: str, kind: str, role: str, who: str, **options: Any) -> dict[str, Any]:
    subject = {"kind": "User", "name": who, "apiGroup": GROUP}
    ref = {"kind": kind, "name": role, "apiGroup": GROUP}
    binding = {"metadata": {"name": role}, "subjects": [subject], "roleRef": ref}
    return world.call("POST", path, binding, **options).obj


def message(answer: Any) -> str:
    return answer.obj["message"]


def test_who_has_no_right_is_told_which_he_lacks(world: World) -> None:
    refused = world.call("GET", PODS, user=ANN)
    assert refused.status == 403
    assert message(refused) == (
        'pods is forbidden: User "ann" cannot list resource "pods" in API group "" in the '
        'namespace "default"'
    )
    refused = world.call("DELETE", "/apis/apps/v1/namespaces/a/deployments/d", user=ANN)
    assert message(refused) == (
        'deployments.apps "d" is forbidden: User "ann" cannot delete resource "deployments" in '
        'API group "apps" in the namespace "a"'
    )
    refused = world.call("GET", "/api/v1/nodes", user=ANN)
    assert message(refused).endswith(
        'cannot list resource "nodes" in API group "" at the cluster scope'
    )
    assert message(world.call("GET", "/metrics", user=ANN)) == (
        'forbidden: User "ann" cannot get path "/metrics"'
    )


def test_nobody_in_particular_sees_what_is_public(world: World) -> None:
    assert world.call("GET", "/version", user=None).status == 200
    refused = world.call("GET", PODS, user=None)
    assert refused.status == 403
    assert 'User "system:anonymous" cannot list' in message(refused)


def test_a_role_gives_rights_until_it_changes(world: World) -> None:
    assert world.call("GET", PODS, user=ANN).status == 403
    grant(world, rule(["list"], "pods"))
    assert world.call("GET", PODS, user=ANN).status == 200
    assert world.call("GET", f"{PODS}/p", user=ANN).status == 403
    assert world.call("GET", "/api/v1/namespaces/a/pods", user=ANN).status == 403
    role = f"{RBAC}/namespaces/default/roles/r"
    world.ok("PATCH", role, {"rules": [rule(["get"], "pods")]}, content_type=MERGE)
    assert world.call("GET", PODS, user=ANN).status == 403
    assert world.call("GET", f"{PODS}/p", user=ANN).status == 404
    world.ok("DELETE", role)
    refused = world.call("GET", f"{PODS}/p", user=ANN)
    assert message(refused).endswith(
        'in the namespace "default": rbac: RBAC: role.rbac.authorization.k8s.io "r" not found'
    )


def test_a_rule_may_name_objects_and_subresources(world: World) -> None:
    grant(
        world,
        rule(["get"], "secrets", resourceNames=["mine"]),
        rule(["get"], "pods/log", "*/scale"),
    )
    assert world.call("GET", f"{SECRETS}/mine", user=ANN).status == 404
    assert world.call("GET", f"{SECRETS}/other", user=ANN).status == 403
    assert world.call("GET", SECRETS, user=ANN).status == 403
    assert world.call("GET", f"{PODS}/p/log", user=ANN).status != 403
    assert world.call("GET", f"{PODS}/p", user=ANN).status == 403


def test_a_review_tells_by_which_binding(world: World) -> None:
    grant(world, rule(["list"], "pods"))
    attributes = {"verb": "list", "resource": "pods", "namespace": "default"}
    asked = {"spec": {"user": "ann", "resourceAttributes": attributes}}
    found = world.ok("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", asked)
    assert found["status"] == {
        "allowed": True,
        "reason": 'RBAC: allowed by RoleBinding "r/default" of Role "r" to User "ann"',
    }


# -- escalation ------------------------------------------------------------------------------------


def test_nobody_gives_a_role_what_he_does_not_have(world: World) -> None:
    roles = f"{RBAC}/namespaces/default/roles"
    grant(world, rule(["get"], "pods"), rule(["create"], "roles", apiGroups=[GROUP]))
    fine = {"metadata": {"name": "fine"}, "rules": [rule(["get"], "pods")]}
    assert world.call("POST", roles, fine, user=ANN).status == 201
    more = {"metadata": {"name": "more"}, "rules": [rule(["get", "list"], "pods", "secrets")]}
    refused = world.call("POST", roles, more, user=ANN)
    assert refused.status == 403
    assert message(refused) == (
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "ann" '
        '(groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently '
        'held:\n{APIGroups:[""], Resources:["pods"], Verbs:["list"]}\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}'
    )


def test_who_may_escalate_does(world: World) -> None:
    roles = f"{RBAC}/namespaces/default/roles"
    grant(world, rule(["create", "escalate"], "roles", apiGroups=[GROUP]))
    more = {"metadata": {"name": "more"}, "rules": [rule(["get"], "secrets")]}
    assert world.call("POST", roles, more, user=ANN).status == 201


def test_a_role_is_bound_by_those_who_hold_it_or_may_bind_it(world: World) -> None:
    bindings = f"{RBAC}/namespaces/default/rolebindings"
    grant(world, rule(["create"], "rolebindings", apiGroups=[GROUP]))
    for name in ("big", "bigger"):
        role = {"metadata": {"name": name}, "rules": [rule(["get"], "secrets")]}
        world.ok("POST", f"{RBAC}/clusterroles", role)
    refused = bind(world, bindings, "ClusterRole", "big", "bob", user=ANN)
    assert refused["code"] == 403
    assert "is attempting to grant RBAC permissions not currently held" in refused["message"]
    held = rule(["bind"], "clusterroles", apiGroups=[GROUP], resourceNames=["big"])
    grant(world, held, name="binder")
    assert "code" not in bind(world, bindings, "ClusterRole", "big", "bob", user=ANN)
    assert bind(world, bindings, "ClusterRole", "bigger", "bob", user=ANN)["code"] == 403


# -- nodes and components --------------------------------------------------------------------------


def pod(name: str, node: str, secret: str) -> dict[str, Any]:
    volume = {"name": "v", "secret": {"secretName": secret}}
    return {
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [volume],
        },
    }


def test_a_node_reads_what_its_pods_need(world: World) -> None:
    for name in ("a", "b"):
        world.ok("POST", SECRETS, {"metadata": {"name": name}})
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    if world.call("GET", f"{accounts}/default").status == 404:
        world.ok("POST", accounts, {"metadata": {"name": "default"}})
    world.ok("POST", PODS, pod("one", "n1", "a"))
    world.ok("POST", PODS, pod("two", "n2", "b"))
    assert world.call("GET", f"{SECRETS}/a", user=NODE).status == 200
    refused = world.call("GET", f"{SECRETS}/b", user=NODE)
    assert refused.status == 403
    assert message(refused).endswith("no relationship found between node 'n1' and this object")


def test_a_node_keeps_its_own_lease_alone(world: World) -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    if world.call("GET", "/api/v1/namespaces/kube-node-lease").status == 404:
        world.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "kube-node-lease"}})
    lease = {"metadata": {"name": "n1"}, "spec": {"holderIdentity": "n1"}}
    made = world.ok("POST", leases, lease, user=NODE)
    made["spec"]["renewTime"] = "2026-01-01T00:00:10.000000Z"
    assert world.call("PUT", f"{leases}/n1", made, user=NODE).status == 200
    assert world.call("PUT", f"{leases}/n2", made, user=NODE).status == 403


def test_a_node_without_a_name_is_nobody(world: World) -> None:
    odd = user("system:node:", "system:nodes")
    assert world.call("GET", f"{SECRETS}/a", user=odd).status == 403


@pytest.mark.parametrize(
    ("name", "groups", "verb", "group", "resource", "allowed"),
    [
        ("system:kube-scheduler", (), "create", "", "pods/binding", True),
        ("system:kube-scheduler", (), "patch", "", "pods/status", True),
        ("system:kube-scheduler", (), "update", "coordination.k8s.io", "leases", True),
        ("system:kube-scheduler", (), "create", "", "pods", False),
        ("system:kube-controller-manager", (), "list", "apps", "deployments", True),
        ("system:kube-controller-manager", (), "create", "", "serviceaccounts/token", True),
        ("system:kube-controller-manager", (), "delete", "apps", "deployments", False),
        ("deployment-controller", (), "create", "apps", "replicasets", True),
        ("deployment-controller", (), "update", "apps", "deployments/status", True),
        ("replicaset-controller", (), "create", "", "pods", True),
        ("job-controller", (), "update", "batch", "jobs/status", True),
        ("endpointslice-controller", (), "create", "discovery.k8s.io", "endpointslices", True),
        ("generic-garbage-collector", (), "delete", "apps", "replicasets", True),
        ("namespace-controller", (), "deletecollection", "", "configmaps", True),
        ("deployment-controller", (), "delete", "", "secrets", False),
        ("system:node:n1", ("system:nodes",), "create", "", "events", True),
        ("system:node:n1", ("system:nodes",), "patch", "", "nodes/status", True),
        ("system:node:n1", ("system:nodes",), "delete", "", "services", False),
    ],
)
def test_components_may_do_what_they_do_and_no_more(
    world: World,
    name: str,
    groups: tuple[str, ...],
    verb: str,
    group: str,
    resource: str,
    allowed: bool,
) -> None:
    name = f"system:serviceaccount:kube-system:{name}" if "system:" not in name else name
    resource, _, sub = resource.partition("/")
    attributes = {
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": sub,
        "namespace": "kube-system",
        "name": "kube-scheduler" if resource == "leases" else "n1",
    }
    who = [*groups, "system:authenticated"]
    asked = {"spec": {"user": name, "groups": who, "resourceAttributes": attributes}}
    found = world.ok("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", asked)
    assert found["status"]["allowed"] is allowed
