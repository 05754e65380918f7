"""The decoder's complaints, word for word."""

from __future__ import annotations

import pytest

from pytest_kubesim.apimachinery.go_decoding import check_types, drop_unknown, unknown_fields
from pytest_kubesim.apimachinery.schema import from_structural, schema_for

FIELD = "json: cannot unmarshal {} into Go struct field {} of type {}"


@pytest.mark.parametrize(
    ("kind", "obj", "words"),
    [
        (
            ("apps", "v1", "Deployment"),
            {"spec": {"replicas": "3"}},
            ("string", "DeploymentSpec.spec.replicas", "int32"),
        ),
        (
            ("apps", "v1", "Deployment"),
            {"spec": {"replicas": 1.5}},
            ("number 1.5", "DeploymentSpec.spec.replicas", "int32"),
        ),
        (
            ("apps", "v1", "Deployment"),
            {"spec": {"replicas": 1 << 31}},
            ("number 2147483648", "DeploymentSpec.spec.replicas", "int32"),
        ),
        (
            ("apps", "v1", "Deployment"),
            {"spec": {"paused": 1}},
            ("number", "DeploymentSpec.spec.paused", "bool"),
        ),
        (
            ("", "v1", "ConfigMap"),
            {"data": {"a": 1}},
            ("number", "ConfigMap.data", "string"),
        ),
        (
            ("", "v1", "Secret"),
            {"data": []},
            ("array", "Secret.data", "map[string][]uint8"),
        ),
        (
            ("", "v1", "Secret"),
            {"metadata": 3},
            ("number", "Secret.metadata", "v1.ObjectMeta"),
        ),
        (
            ("", "v1", "Pod"),
            {"spec": {"containers": {}}},
            ("object", "PodSpec.spec.containers", "[]v1.Container"),
        ),
        (
            ("", "v1", "Pod"),
            {"spec": {"containers": [{"imagePullPolicy": 3, "tty": "no"}]}},
            ("number", "Container.spec.containers.imagePullPolicy", "v1.PullPolicy"),
        ),
        (
            ("", "v1", "Pod"),
            {"spec": {"volumes": [{"hostPath": 3}]}},
            (
                "number",
                "Volume.spec.volumes.VolumeSource.hostPath",
                "v1.HostPathVolumeSource",
            ),
        ),
        (
            ("", "v1", "Pod"),
            {"metadata": {"creationTimestamp": 3}},
            ("number", "ObjectMeta.metadata.creationTimestamp", "string"),
        ),
        (
            ("", "v1", "Service"),
            {"spec": {"ports": [{"port": "http", "targetPort": True}]}},
            ("bool", "ServicePort.spec.ports.targetPort", "int32"),
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_named_as_go_names_it(kind, obj, words):
    assert check_types(schema_for(*kind), obj) == FIELD.format(*words)


def test_a_quantity_refuses_in_its_own_words():
    pod = {"spec": {"containers": [{"name": 3, "resources": {"limits": {"cpu": "1x"}}}]}}
    assert check_types(schema_for("", "v1", "Pod"), pod) == (
        "quantities must match the regular expression"
        " '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )


@pytest.mark.parametrize(("text", "offset"), [("$$$", 0), ("YW$=", 2), ("YQ", 0), ("YWJjY", 4)])
def test_broken_base64_is_refused(text, offset):
    assert check_types(schema_for("", "v1", "Secret"), {"data": {"a": text}}) == (
        f"illegal base64 data at input byte {offset}"
    )


def test_null_fits_everywhere():
    pod = {"metadata": None, "spec": {"containers": [None], "nodeName": None}}
    assert check_types(schema_for("", "v1", "Pod"), pod) is None


def test_unknown_fields_are_listed_with_their_paths():
    service = {"spec": {"foo": 1, "ports": [{"port": 10, "bar": {"a": 1}}]}, "zzz": 1}
    assert unknown_fields(schema_for("", "v1", "Service"), service) == [
        'unknown field "spec.foo"',
        'unknown field "spec.ports[0].bar"',
        'unknown field "zzz"',
    ]


def test_what_decodes_itself_knows_everything():
    revision = {"data": {"any": {"thing": 1}}}
    assert unknown_fields(schema_for("apps", "v1", "ControllerRevision"), revision) == []


def test_dropping_unknown_fields_leaves_the_original_alone():
    schema = schema_for("", "v1", "Service")
    service = {"spec": {"foo": 1, "ports": [{"port": 10, "bar": 1}]}}
    assert drop_unknown(schema, service) == {"spec": {"ports": [{"port": 10}]}}
    assert service == {"spec": {"foo": 1, "ports": [{"port": 10, "bar": 1}]}}


def test_custom_resources_keep_what_they_preserve():
    schema = from_structural(
        {
            "type": "object",
            "properties": {
                "free": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {"strict": {"type": "object"}},
                },
                "inner": {"type": "object", "x-kubernetes-embedded-resource": True},
            },
        }
    )
    obj = {"free": {"x": 1, "strict": {"y": 1}}, "inner": {"kind": "A", "z": 1}, "w": 1}
    assert unknown_fields(schema, obj) == [
        'unknown field "free.strict.y"',
        'unknown field "inner.z"',
        'unknown field "w"',
    ]
    assert drop_unknown(schema, obj) == {"free": {"x": 1, "strict": {}}, "inner": {"kind": "A"}}
