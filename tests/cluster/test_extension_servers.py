"""sample-apiserver and its etcd run in a pod, and the cluster's API server hands requests on."""

from __future__ import annotations

from typing import Any

import pytest

GROUP = "wardle.example.com"
IMAGES = "registry.k8s.io/e2e-test-images"
AGNHOST = f"{IMAGES}/agnhost:2.66"
NAMESPACE = "wardle"
ACCOUNT = {"kind": "ServiceAccount", "name": "default", "namespace": NAMESPACE}
RBAC = "rbac.authorization.k8s.io"
RIGHTS = [
    {
        "apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "wardle:auth-delegator"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "system:auth-delegator"},
        "subjects": [ACCOUNT],
    },
    {
        "apiVersion": f"{RBAC}/v1", "kind": "RoleBinding",
        "metadata": {"name": "wardle-auth-reader", "namespace": "kube-system"},
        "roleRef": {
            "apiGroup": RBAC, "kind": "Role", "name": "extension-apiserver-authentication-reader",
        },
        "subjects": [ACCOUNT],
    },
]
ARGS = ["--etcd-servers=http://127.0.0.1:2379", "--audit-log-path=-"]
PROBE = {"httpGet": {"scheme": "HTTPS", "port": 443, "path": "/readyz"}, "periodSeconds": 1}
DEPLOYMENT = {
    "apiVersion": "apps/v1", "kind": "Deployment",
    "metadata": {"name": "wardle", "namespace": NAMESPACE},
    "spec": {
        "selector": {"matchLabels": {"app": "wardle"}},
        "template": {
            "metadata": {"labels": {"app": "wardle"}},
            "spec": {"containers": [
                {"name": "server", "image": f"{IMAGES}/sample-apiserver:1.33.8", "args": ARGS,
                 "readinessProbe": PROBE},
                {"name": "etcd", "image": "registry.k8s.io/etcd:3.7.0-0", "command": [
                    "/usr/local/bin/etcd", "--listen-client-urls", "http://127.0.0.1:2379"]},
            ]},
        },
    },
}
SERVICE = {
    "apiVersion": "v1", "kind": "Service", "metadata": {"name": "api", "namespace": NAMESPACE},
    "spec": {"selector": {"app": "wardle"}, "ports": [{"port": 443, "targetPort": 443}]},
}


def registration(version: str, priority: int) -> dict[str, Any]:
    return {
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": f"{version}.{GROUP}"},
        "spec": {
            "group": GROUP, "version": version, "insecureSkipTLSVerify": True,
            "service": {"namespace": NAMESPACE, "name": "api"},
            "groupPriorityMinimum": 2000, "versionPriority": priority,
        },
    }


@pytest.fixture
def kubesim(kubesim: Any) -> Any:
    kubesim.add_nodes(1)
    kubesim.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    return kubesim


def serve(kubesim: Any) -> None:
    kubesim.apply(*RIGHTS, DEPLOYMENT, SERVICE)
    for version, priority in (("v1beta1", 20), ("v1alpha1", 10)):
        kubesim.apply(registration(version, priority))
        kubesim.eventually(
            f"apiservices/{version}.{GROUP}",
            {"status": {"conditions": [{"type": "Available", "status": "True"}]}}, within="3m",
        )


def flunder(name: str, version: str = "v1alpha1", **spec: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/{version}", "kind": "Flunder", "metadata": {"name": name},
        **({"spec": spec} if spec else {}),
    }


def ask(kubesim: Any, method: str, path: str, **options: Any) -> Any:
    client = kubesim.client("httpx")
    return client.request(method, path, **options)


ROOT = f"/apis/{GROUP}/v1alpha1/namespaces/default/flunders"


def test_flunders_are_served(kubesim: Any) -> None:
    serve(kubesim)
    made = ask(kubesim, "POST", ROOT, json=flunder("a"))
    assert made.status_code == 201
    obj = made.json()
    assert obj["metadata"]["resourceVersion"]
    assert obj["metadata"]["uid"]
    assert (obj["spec"], obj["status"]) == ({}, {})
    listed = ask(kubesim, "GET", ROOT).json()
    assert (listed["kind"], [each["metadata"]["name"] for each in listed["items"]]) == (
        "FlunderList", ["a"],
    )
    again = ask(kubesim, "POST", ROOT, json=flunder("a"))
    assert again.json()["message"] == 'flunders.wardle.example.com "a" already exists'
    gone = ask(kubesim, "DELETE", f"{ROOT}/a")
    assert (gone.json()["kind"], gone.json()["status"]) == ("Status", "Success")
    assert ask(kubesim, "GET", ROOT).json()["items"] == []


def test_only_what_is_not_its_own_is_told_in_protobuf(kubesim: Any) -> None:
    serve(kubesim)
    ask(kubesim, "POST", ROOT, json=flunder("a"))
    wanted = {"Accept": "application/vnd.kubernetes.protobuf"}
    refused = ask(kubesim, "GET", f"{ROOT}/a", headers=wanted)
    assert (refused.status_code, refused.json()["message"]) == (
        406,
        (
            "object *v1alpha1.Flunder does not implement the protobuf marshalling interface and "
            "cannot be encoded to a protobuf message"
        ),
    )
    gone = ask(kubesim, "DELETE", f"{ROOT}/a", headers=wanted)
    assert (gone.status_code, gone.content[:4]) == (200, b"k8s\0")


def test_versions_are_converted(kubesim: Any) -> None:
    serve(kubesim)
    ask(kubesim, "POST", ROOT, json=flunder("a", reference="b"))
    old, new = (
        ask(kubesim, "GET", f"{ROOT}/a".replace("v1alpha1", version)).json()
        for version in ("v1alpha1", "v1beta1")
    )
    assert old["spec"] == {"reference": "b", "referenceType": "Flunder"}
    assert new["spec"] == {"flunderReference": "b", "referenceType": "Flunder"}
    wrong = flunder("c", "v1beta1", fischerReference="x", flunderReference="y")
    refused = ask(kubesim, "POST", ROOT.replace("v1alpha1", "v1beta1"), json=wrong)
    assert (refused.status_code, refused.json()["message"]) == (
        422,
        ('Flunder.wardle.example.com "c" is invalid: spec.fischerReference: Invalid value: "x": '
        "cannot be set with flunderReference at the same time"),
    )


def test_fischers_ban_flunders(kubesim: Any) -> None:
    serve(kubesim)
    fischer = {
        "apiVersion": f"{GROUP}/v1alpha1", "kind": "Fischer", "metadata": {"name": "f"},
        "disallowedFlunders": ["bad"],
    }
    made = ask(kubesim, "POST", f"/apis/{GROUP}/v1alpha1/fischers", json=fischer)
    assert made.status_code == 201
    refused = ask(kubesim, "POST", ROOT, json=flunder("bad"))
    assert (refused.status_code, refused.json()["message"]) == (
        403,
        ('flunders.wardle.example.com "bad" is forbidden: this name may not be used, please change '
        "the resource name"),
    )


def test_its_namespaces_are_the_clusters(kubesim: Any) -> None:
    serve(kubesim)
    refused = ask(kubesim, "POST", ROOT.replace("default", "none"), json=flunder("a"))
    assert (refused.status_code, refused.json()["message"]) == (404, 'namespaces "none" not found')


def test_patches_tables_and_watches(kubesim: Any) -> None:
    serve(kubesim)
    ask(kubesim, "POST", ROOT, json=flunder("a"))
    for kind in ("merge-patch", "strategic-merge-patch"):
        done = ask(
            kubesim, "PATCH", f"{ROOT}/a", json={"metadata": {"labels": {"by": kind}}},
            headers={"Content-Type": f"application/{kind}+json"},
        )
        assert done.json()["metadata"]["labels"] == {"by": kind}
    applied = ask(
        kubesim, "PATCH", f"{ROOT}/a?fieldManager=me&force=true",
        json=flunder("a", reference="z"),
        headers={"Content-Type": "application/apply-patch+yaml"},
    )
    assert applied.json()["spec"] == {"reference": "z", "referenceType": "Flunder"}
    table = ask(
        kubesim, "GET", ROOT, headers={"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}
    ).json()
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Created At"]
    watched = ask(kubesim, "GET", f"{ROOT}?watch=true&timeoutSeconds=2")
    assert watched.text.count('"type":"ADDED"') == 1
    emptied = ask(kubesim, "DELETE", ROOT)
    assert len(emptied.json()["items"]) == 1
    assert ask(kubesim, "GET", ROOT).json()["items"] == []


def test_discovery_and_documents_tell_of_it(kubesim: Any) -> None:
    serve(kubesim)
    group = ask(kubesim, "GET", f"/apis/{GROUP}").json()
    assert [each["version"] for each in group["versions"]] == ["v1beta1", "v1alpha1"]
    resources = ask(kubesim, "GET", f"/apis/{GROUP}/v1alpha1").json()["resources"]
    assert [(r["name"], r["namespaced"], r["kind"]) for r in resources] == [
        ("fischers", False, "Fischer"), ("flunders", True, "Flunder"),
    ]
    document = ask(kubesim, "GET", f"/openapi/v3/apis/{GROUP}/v1alpha1").json()
    texts = str(document["components"]["schemas"])
    assert 'defaults to "Flunder" if reference is set' in texts
    pod = kubesim.list("pods", namespace=NAMESPACE)[0]["metadata"]["name"]
    inside = f"/api/v1/namespaces/{NAMESPACE}/pods/https:{pod}:443/proxy"
    own = ask(kubesim, "GET", f"{inside}/apis").json()
    assert own["kind"] == "Status"  # who looks there is anonymous
    whole = ask(kubesim, "GET", "/openapi/v2").json()
    flunder_paths = [path for path in whole["paths"] if GROUP in path]
    assert f"/apis/{GROUP}/v1beta1/namespaces/{{namespace}}/flunders/{{name}}" in flunder_paths
    assert "/api/v1/pods" in whole["paths"]


def test_who_may_not_is_told_by_the_server_in_the_pod(kubesim: Any) -> None:
    serve(kubesim)
    pod = kubesim.list("pods", namespace=NAMESPACE)[0]
    address = pod["status"]["podIP"]
    kubesim.create({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "box"},
        "spec": {"restartPolicy": "Never", "containers": [{
            "name": "c", "image": AGNHOST, "command": ["sh", "-c", (
                f"curl -sk https://{address}{ROOT}; "
                f"curl -sk -H 'X-Remote-User: admin' -H 'X-Remote-Group: system:masters' "
                f"https://{address}{ROOT}; curl -sk https://{address}/readyz; "
                f"curl -sk -H 'Authorization: Bearer x' https://{address}/apis"
            )],
        }]},
    })
    kubesim.eventually("pod/box", {"status": {"phase": "Succeeded"}}, within="1m")
    said = ask(kubesim, "GET", "/api/v1/namespaces/default/pods/box/log").text
    assert said.count('User \\"system:anonymous\\" cannot list resource') == 2
    assert "}\nok{" in said
    assert said.rstrip().endswith('"code":401}')


def test_without_rights_it_does_not_start(kubesim: Any) -> None:
    kubesim.apply(DEPLOYMENT)
    def restarted(pod: dict[str, Any]) -> bool:
        statuses = pod["status"].get("containerStatuses") or ()
        return any(c["name"] == "server" and c["restartCount"] for c in statuses)

    kubesim.eventually("pods", restarted, namespace=NAMESPACE, within="2m")
    pod = kubesim.list("pods", namespace=NAMESPACE)[0]["metadata"]["name"]
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/log?container=server&previous=true"
    assert "Usually fixed by 'kubectl create rolebinding" in ask(kubesim, "GET", path).text
    kubesim.apply(*RIGHTS)
    kubesim.eventually(
        "deployment/wardle", {"status": {"readyReplicas": 1}}, namespace=NAMESPACE, within="5m"
    )


def test_what_was_stored_is_gone_with_its_etcd(kubesim: Any) -> None:
    serve(kubesim)
    ask(kubesim, "POST", ROOT, json=flunder("a"))
    pod = kubesim.list("pods", namespace=NAMESPACE)[0]["metadata"]["name"]
    kubesim.faults.container(namespace=NAMESPACE, pod=pod, container="etcd").exit(1)
    kubesim.advance("1m")
    assert ask(kubesim, "GET", ROOT).json()["items"] == []
    assert ask(kubesim, "POST", ROOT, json=flunder("a")).status_code == 201
