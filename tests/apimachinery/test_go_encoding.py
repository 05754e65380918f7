"""What an object looks like when it comes back out of Go."""

from __future__ import annotations

import copy

import pytest

from pytest_kubesim.apimachinery.go_decoding import check_types, unknown_fields
from pytest_kubesim.apimachinery.go_encoding import roundtrip
from pytest_kubesim.apimachinery.schema import schema_for

NOW = "2026-01-01T00:00:00Z"

SERVED = {
    "pod": {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "p", "namespace": "d", "generation": 1, "creationTimestamp": NOW},
        "spec": {
            "volumes": [
                {
                    "name": "kube-api-access",
                    "projected": {
                        "sources": [
                            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                            {"configMap": {"name": "ca", "items": [{"key": "c", "path": "c"}]}},
                        ],
                        "defaultMode": 420,
                    },
                },
                {"name": "scratch", "emptyDir": {}},
            ],
            "containers": [
                {
                    "name": "c",
                    "image": "nginx",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}},
                    "terminationMessagePath": "/dev/termination-log",
                    "imagePullPolicy": "Always",
                }
            ],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 0,
            "securityContext": {},
            "tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 300}],
            "priority": 0,
            "enableServiceLinks": True,
        },
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    },
    "deployment": {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": "w", "creationTimestamp": NOW},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "w"}},
            "template": {
                "metadata": {"labels": {"app": "w"}},
                "spec": {"containers": [{"name": "c", "resources": {}}], "securityContext": {}},
            },
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 1},
            },
        },
        "status": {},
    },
    "service": {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "s"},
        "spec": {
            "ports": [{"protocol": "TCP", "port": 80, "targetPort": "http"}],
            "selector": {"app": "w"},
            "clusterIP": "None",
            "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    },
}


def printed(group, version, kind, obj):
    return roundtrip(schema_for(group, version, kind), obj)


@pytest.mark.parametrize("name", sorted(SERVED))
def test_what_a_server_answered_comes_back_as_it_is(name):
    obj = SERVED[name]
    group, _, version = obj["apiVersion"].rpartition("/")
    schema = schema_for(group, version, obj["kind"])
    before = copy.deepcopy(obj)
    assert check_types(schema, obj) is None
    assert unknown_fields(schema, obj) == []
    assert roundtrip(schema, obj) == obj == before
    assert list(roundtrip(schema, obj)) == list(obj)


def test_structs_are_printed_though_they_are_empty():
    pod_spec = {"containers": [{"name": "a"}]}
    assert printed("apps", "v1", "Deployment", {"spec": {"template": {"spec": pod_spec}}}) == {
        "metadata": {},
        "spec": {
            "selector": None,
            "template": {"metadata": {}, "spec": {"containers": [{"name": "a", "resources": {}}]}},
            "strategy": {},
        },
        "status": {},
    }


def test_an_event_prints_times_that_are_not_set():
    event = printed("", "v1", "Event", {"metadata": {"name": "e"}})
    assert event == {
        "metadata": {"name": "e"},
        "involvedObject": {},
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": None,
        "reportingComponent": "",
        "reportingInstance": "",
    }


def test_a_missing_target_port_is_zero():
    service = printed("", "v1", "Service", {"spec": {"ports": [{"port": 10}]}})
    assert service["spec"]["ports"] == [{"port": 10, "targetPort": 0}]


def test_an_empty_list_that_is_printed_becomes_null():
    role = printed("rbac.authorization.k8s.io", "v1", "ClusterRole", {"rules": []})
    assert role == {"metadata": {}, "rules": None}


def test_nulls_in_maps_become_zero_values_and_empty_maps_vanish():
    secret = {
        "metadata": {"name": "s", "labels": {}, "annotations": None},
        "data": {"a": "", "b": None, "c": "YQ=="},
        "immutable": None,
    }
    assert printed("", "v1", "Secret", secret) == {
        "metadata": {"name": "s"},
        "data": {"a": "", "b": "", "c": "YQ=="},
    }


def test_unknown_fields_are_gone():
    assert printed("", "v1", "ConfigMap", {"metadata": {"x": 1}, "y": 2}) == {"metadata": {}}


def test_pointers_keep_zeros_and_values_do_not():
    spec = {"containers": None, "hostNetwork": False, "terminationGracePeriodSeconds": 0}
    assert printed("", "v1", "Pod", {"spec": spec})["spec"] == {
        "containers": None,
        "terminationGracePeriodSeconds": 0,
    }


def test_quantities_are_canonical():
    limits = {"cpu": 0.5, "memory": "1024Mi", "pods": None}
    pod = printed("", "v1", "Pod", {"spec": {"containers": [{"resources": {"limits": limits}}]}})
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {
        "cpu": "500m",
        "memory": "1Gi",
        "pods": "0",
    }


def test_the_schema_of_a_custom_resource_definition_keeps_what_decodes_itself():
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [],
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "required": [],
                "properties": {
                    "a": {"type": "array", "default": [], "items": {"type": "string", "enum": []}},
                    "b": {"additionalProperties": {"type": "string", "nullable": False}},
                    "c": {"additionalProperties": True, "maximum": 5.0, "default": None},
                },
            }
        },
    }
    crd = printed(
        "apiextensions.k8s.io", "v1", "CustomResourceDefinition", {"spec": {"versions": [version]}}
    )
    assert crd["spec"]["versions"] == [
        {
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {
                "openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "a": {"type": "array", "default": [], "items": {"type": "string"}},
                        "b": {"additionalProperties": {"type": "string"}},
                        "c": {"additionalProperties": True, "maximum": 5},
                    },
                }
            },
        }
    ]
