"""Which rights an operator used, and which it lacked."""

from __future__ import annotations

from typing import Any

import kubernetes

ROLE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: op, namespace: default}
rules:
- {apiGroups: [""], resources: [configmaps, secrets], verbs: [get, list]}
- {apiGroups: [apps], resources: ["*"], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: op, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: op}
subjects: [{kind: ServiceAccount, name: op, namespace: default}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: op, namespace: default}
"""


k8s: Any = kubernetes.client
config: Any = kubernetes.config


def main() -> None:
    config.load_incluster_config()
    api = k8s.CoreV1Api()
    api.list_namespaced_config_map("default")
    try:
        api.list_namespaced_pod("default")
    except k8s.ApiException as error:
        assert error.status == 403  # noqa: PT017 - an operator's own code


def test_what_an_operator_may_and_does_not_do_is_told(kubesim: Any) -> None:
    kubesim.apply(ROLE)
    operator = kubesim.run(main, service_account="default/op")
    kubesim.advance("1s")
    assert [(d.verb, d.resource, d.namespace) for d in operator.denied] == [
        ("list", "pods", "default")
    ]
    assert 'cannot list resource "pods"' in str(operator.denied[0])
    assert [str(right) for right in kubesim.rbac.used("default/op")] == [
        "list configmaps in default (Role/op)"
    ]
    assert [str(right) for right in kubesim.rbac.unused("default/op")] == [
        "get configmaps in default (Role/op)",
        "get secrets in default (Role/op)",
        "list secrets in default (Role/op)",
        "get *.apps in default (Role/op)",
    ]
    assert [str(right) for right in kubesim.rbac.missing("default/op")] == ["list pods in default"]
    assert kubesim.rbac.minimal("default/op") == [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]
