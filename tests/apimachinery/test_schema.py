"""What a schema says about places in an object, for built-in kinds and for custom resources."""

from __future__ import annotations

from pytest_kubesim.apimachinery.schema import from_structural, schema_for, schema_named


def at(group, version, kind, *path):
    node = schema_for(group, version, kind)
    for key in path:
        assert node is not None
        node = node.item() if key == "[]" else node.child(key)
    assert node is not None
    return node


def test_containers_are_a_map_by_name():
    containers = at("", "v1", "Pod", "spec", "containers")
    assert (containers.type, containers.list_type, containers.list_map_keys) == (
        "array",
        "map",
        ("name",),
    )
    assert (containers.merge_key, containers.patch_strategy) == ("name", ("merge",))


def test_container_ports_have_two_keys_one_of_which_has_a_default():
    ports = at("", "v1", "Pod", "spec", "containers", "[]", "ports")
    assert ports.list_map_keys == ("containerPort", "protocol")
    assert ports.merge_key == "containerPort"
    protocol = ports.item().child("protocol")
    assert protocol.has_default
    assert protocol.default == "TCP"


def test_lists_may_be_atomic_or_sets():
    assert at("", "v1", "Pod", "spec", "tolerations").list_type == "atomic"
    assert at("", "v1", "Pod", "metadata", "finalizers").list_type == "set"


def test_volumes_are_merged_and_keep_only_the_named_source():
    assert at("", "v1", "Pod", "spec", "volumes").patch_strategy == ("merge", "retainKeys")
    assert at("apps", "v1", "Deployment", "spec", "strategy").patch_strategy == ("retainKeys",)


def test_selectors_are_atomic_maps():
    assert at("", "v1", "Service", "spec", "selector").map_type == "atomic"
    assert at("", "v1", "Pod", "metadata", "ownerReferences", "[]").map_type == "atomic"
    assert at("", "v1", "Pod", "metadata", "labels").map_type is None


def test_maps_have_values_and_structs_have_keys():
    labels = at("", "v1", "Pod", "metadata", "labels")
    assert labels.child("anything").type == "string"
    assert at("", "v1", "Pod", "spec").child("anything") is None


def test_special_types_are_known():
    port = at("", "v1", "Service", "spec", "ports", "[]", "targetPort")
    assert port.int_or_string
    assert at("", "v1", "Pod", "metadata", "creationTimestamp").format == "date-time"
    assert at("apps", "v1", "ControllerRevision", "data").preserve_unknown


def test_enums_come_from_the_go_source():
    container = at("", "v1", "Pod", "spec", "containers", "[]")
    assert container.child("imagePullPolicy").enum == ("Always", "IfNotPresent", "Never")
    modes = at("", "v1", "PersistentVolumeClaim", "spec", "accessModes")
    assert modes.enum == ()
    assert "ReadWriteOnce" in modes.item().enum


def test_a_schema_may_contain_itself():
    props = at(
        "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "spec", "versions", "[]",
        "schema", "openAPIV3Schema",
    )  # fmt: skip
    deeper = props.child("properties").child("x").child("properties").child("y")
    assert deeper.name == props.name


def test_every_schema_can_be_walked_one_level():
    from pytest_kubesim.data import load

    for name in load.schemas():
        for child in schema_named(name).properties.values():
            assert child.go.kind
            assert child.items is None or child.items.go.kind
            assert child.additional_properties is None or child.additional_properties.go.kind


def test_kinds_know_who_they_are():
    assert schema_for("apps", "v1", "Deployment").gvk == ("apps", "v1", "Deployment")
    assert schema_for("apps", "v1", "Pod") is None


def test_a_structural_schema_becomes_the_same_nodes():
    schema = from_structural(
        {
            "type": "object",
            "properties": {
                "size": {"x-kubernetes-int-or-string": True, "default": 3},
                "hosts": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["host"],
                    "items": {"type": "object", "properties": {"host": {"type": "string"}}},
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "tags": {"type": "object", "additionalProperties": {"type": "string"}},
                "template": {"type": "object", "x-kubernetes-embedded-resource": True},
                "maybe": {"type": "string", "nullable": True, "enum": ["a", None]},
            },
            "required": ["hosts"],
        }
    )
    assert schema.required == ("hosts",)
    assert schema.child("size").int_or_string
    assert schema.child("size").default == 3
    assert schema.child("hosts").list_map_keys == ("host",)
    assert schema.child("hosts").item().child("host").type == "string"
    assert schema.child("free").preserve_unknown
    assert schema.child("tags").child("any").type == "string"
    assert schema.child("template").embedded_resource
    assert schema.child("maybe").enum == ("a", None)
    assert schema.child("unknown") is None
