from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import protobuf
from pytest_kubesim.apimachinery.go_encoding import roundtrip
from pytest_kubesim.apimachinery.schema import schema_for, schema_named
from pytest_kubesim.builders import fake
from pytest_kubesim.data import load

KINDS = [
    (i.api_version, i.kind) for i in load.resources()
    if "create" in i.verbs and not i.kind.endswith("Review") and protobuf.message_of(i.api_version, i.kind)
]


@pytest.mark.parametrize(("api_version", "kind"), KINDS)
def test_what_is_encoded_reads_back(api_version: str, kind: str) -> None:
    for seed in range(3):
        obj = fake(seed).k8s_object(kind, api_version)
        group, _, version = api_version.rpartition("/")
        schema = schema_for(group, version, kind)
        assert schema is not None
        found = roundtrip(schema, protobuf.decode(protobuf.encode(obj)))
        assert found == roundtrip(schema, obj)


POD = {
    "kind": "Pod", "apiVersion": "v1",
    "metadata": {"name": "p", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": "b", "": "x"}},
    "spec": {
        "volumes": [{"name": "v", "configMap": {"name": "cm", "optional": False}}, {"name": "e", "emptyDir": {"sizeLimit": "1Gi"}}],
        "containers": [{
            "name": "c", "resources": {"limits": {"cpu": "100m"}},
            "livenessProbe": {"httpGet": {"port": "http"}, "failureThreshold": 3},
            "readinessProbe": {"httpGet": {"port": 80}},
            "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        }],
        "terminationGracePeriodSeconds": 0,
    },
}


def test_inlined_parts_times_amounts_and_ports_have_their_json_form() -> None:
    found = protobuf.decode(protobuf.encode(POD))
    assert found["metadata"] == POD["metadata"]
    assert found["spec"]["volumes"] == POD["spec"]["volumes"]
    assert found["spec"]["terminationGracePeriodSeconds"] == 0
    container = found["spec"]["containers"][0]
    assert container["livenessProbe"]["httpGet"]["port"] == "http"
    assert container["readinessProbe"]["httpGet"]["port"] == 80
    assert container["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "s", "key": "k"}


@given(st.binary(max_size=200))
def test_garbage_is_an_error_and_nothing_else(data: bytes) -> None:
    for body in (data, protobuf.MAGIC + data):
        try:
            protobuf.decode(body)
        except ValueError:
            pass


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_keep_their_sign(number: int) -> None:
    lease = {"kind": "Pod", "apiVersion": "v1", "spec": {"activeDeadlineSeconds": number}}
    assert protobuf.decode(protobuf.encode(lease))["spec"]["activeDeadlineSeconds"] == number


def test_every_key_of_a_kind_has_a_field_in_its_message():
    strange = {}
    for name in sorted(load.protobuf()):
        try:
            schema = schema_named("io." + name.replace("k8s.io.", "k8s.", 1))
        except (KeyError, ValueError):
            continue
        message = protobuf._message(name)
        keys = set(message.by_key) | {key for _, inner in message.inlined for key in inner}
        wanted = set(schema.properties)
        missing, more = wanted - keys - {"kind", "apiVersion"}, keys - wanted if wanted else set()
        if missing or more:
            strange[name] = (missing, more)
    assert not strange


def test_the_extensions_of_a_custom_schema_survive():
    props = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "x-kubernetes-list-map-keys": ["a"],
             "x-kubernetes-validations": [{"rule": "true"}], "x-kubernetes-int-or-string": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": props}}
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "x"},
           "spec": {"group": "g", "names": {"plural": "x", "kind": "X"}, "scope": "Cluster", "versions": [version]}}
    decoded = protobuf.decode(protobuf.encode(crd))
    assert decoded["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == props
