"""Custom resources' schemas: pruning, defaults, validation, ratcheting, and bad schemas."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery.schema import from_structural
from pytest_kubesim.apimachinery.structural import (
    defaulting,
    definition,
    listtype,
    objectmeta,
    openapi,
    pruning,
    strfmt,
)
from pytest_kubesim.apimachinery.validation import Path

SOURCE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 10},
                "code": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
                "colour": {"type": "string", "enum": ["red", "green"], "default": "red"},
                "ratio": {"type": "number", "multipleOf": 0.5},
                "since": {"type": "string", "format": "date-time"},
                "port": {
                    "x-kubernetes-int-or-string": True,
                    "anyOf": [{"type": "integer"}, {"type": "string"}],
                },
                "tags": {
                    "type": "array",
                    "items": {"type": "string"},
                    "maxItems": 3,
                    "x-kubernetes-list-type": "set",
                },
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string"},
                            "protocol": {"type": "string", "default": "TCP"},
                            "number": {"type": "integer", "maximum": 9},
                        },
                    },
                },
                "free": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {"known": {"type": "object", "properties": {}}},
                },
                "marks": {"type": "object", "additionalProperties": {"type": "string"}},
                "any": {"type": "object", "additionalProperties": True},
                "hint": {"type": "string", "nullable": True},
                "source": {
                    "type": "object",
                    "properties": {"git": {"type": "string"}, "image": {"type": "string"}},
                    "oneOf": [{"required": ["git"]}, {"required": ["image"]}],
                },
                "template": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "x-kubernetes-preserve-unknown-fields": True,
                },
            },
        }
    },
}
SCHEMA = from_structural(SOURCE)


def errors_of(spec: Any, old: Any = None) -> list[str]:
    obj = {"apiVersion": "e/v1", "kind": "E", "metadata": {}, "spec": spec}
    if old is None:
        return [str(error) for error in openapi.validate(SCHEMA, obj)]
    return [str(error) for error in openapi.validate(SCHEMA, obj, {**obj, "spec": old})]


# -- pruning and defaults ------------------------------------------------------------------------


def test_unknown_fields_go_and_their_paths_are_told() -> None:
    obj = {
        "apiVersion": "e/v1",
        "kind": "E",
        "metadata": {"name": "n", "anything": 1},
        "other": 1,
        "spec": {
            "size": 1,
            "x": 2,
            "ports": [{"name": "a", "y": 1}],
            "free": {"kept": {"deep": 1}, "known": {"gone": 1}},
            "any": {"a": {"gone": 1}, "b": 2},
            "template": {"kind": "Pod", "spec": {"kept": 1}},
        },
    }
    before = copy.deepcopy(obj)
    pruned, unknown = pruning.prune(SCHEMA, obj)
    assert unknown == [
        "other",
        "spec.any.a.gone",
        "spec.free.known.gone",
        "spec.ports[0].y",
        "spec.x",
    ]
    assert pruned["spec"] == {
        "size": 1,
        "ports": [{"name": "a"}],
        "free": {"kept": {"deep": 1}, "known": {}},
        "any": {"a": {}, "b": 2},
        "template": {"kind": "Pod", "spec": {"kept": 1}},
    }
    assert obj == before


def test_nulls_are_dropped_unless_nullable_or_to_be_defaulted() -> None:
    spec = {"code": None, "hint": None, "colour": None, "any": {"a": None}, "marks": {"m": None}}
    pruned = pruning.prune_nulls(SCHEMA, {"spec": spec})
    assert pruned["spec"] == {"hint": None, "colour": None, "any": {"a": None}, "marks": {}}
    assert defaulting.default(SCHEMA, pruned)["spec"]["colour"] == "red"


def test_defaults_fill_what_is_absent_at_any_depth() -> None:
    obj = {"spec": {"ports": [{"name": "a"}, {"name": "b", "protocol": "UDP"}]}}
    filled = defaulting.default(SCHEMA, obj)
    assert filled == {
        "spec": {
            "colour": "red",
            "ports": [{"name": "a", "protocol": "TCP"}, {"name": "b", "protocol": "UDP"}],
        }
    }
    assert defaulting.default(SCHEMA, filled) is filled
    assert "colour" not in obj["spec"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "red"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(list(SOURCE["properties"]["spec"]["properties"])), inner)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_pruning_and_defaulting_are_done_at_once_and_change_no_input(spec: Any) -> None:
    obj = {"spec": spec}
    before = copy.deepcopy(obj)
    pruned, _ = pruning.prune(SCHEMA, obj)
    assert pruning.prune(SCHEMA, pruned) == (pruned, [])
    filled = defaulting.default(SCHEMA, pruned)
    assert defaulting.default(SCHEMA, filled) == filled
    openapi.validate(SCHEMA, filled)
    assert obj == before


# -- validation ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "errors"),
    [
        ({}, ["spec.size: Required value"]),
        (
            {"size": "3"},
            [
                (
                    'spec.size: Invalid value: "string": spec.size in body must be of type integer: '
                    '"string"'
                )
            ],
        ),
        ({"size": 3.0}, []),
        (
            {"size": 2.5},
            [
                (
                    'spec.size: Invalid value: "number": spec.size in body must be of type integer: '
                    '"number"'
                ),
                (
                    '<nil>: Invalid value: "": Checked value must be of type integer (default format) '
                    "in spec.size"
                ),
            ],
        ),
        (
            {"size": 0},
            ["spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"],
        ),
        (
            {"size": 1, "code": "A"},
            ['spec.code: Invalid value: "A": spec.code in body should be at least 2 chars long'],
        ),
        (
            {"size": 1, "code": "A1"},
            ["spec.code: Invalid value: \"A1\": spec.code in body should match '^[a-z]+$'"],
        ),
        ({"size": 1, "code": "abcdef"}, ["spec.code: Too long: may not be more than 5 bytes"]),
        (
            {"size": 1, "colour": "blue"},
            ['spec.colour: Unsupported value: "blue": supported values: "red", "green"'],
        ),
        (
            {"size": 1, "ratio": 0.7},
            ["spec.ratio: Invalid value: 0.7: spec.ratio in body should be a multiple of 0.5"],
        ),
        (
            {"size": 1, "ratio": 2},
            [
                (
                    "spec.ratio: Invalid value: 0: factor MultipleOf declared for spec.ratio "
                    "must be positive: 0"
                )
            ],
        ),
        (
            {"size": 1, "since": "x"},
            ['spec.since: Invalid value: "x": spec.since in body must be of type date-time: "x"'],
        ),
        ({"size": 1, "port": "http"}, []),
        (
            {"size": 1, "port": True},
            [
                (
                    'spec.port: Invalid value: "boolean": spec.port in body must be of type '
                    'integer,string: "boolean"'
                ),
                '<nil>: Invalid value: "": "spec.port" must validate at least one schema (anyOf)',
                (
                    'spec.port: Invalid value: "boolean": spec.port in body must be of type integer: '
                    '"boolean"'
                ),
            ],
        ),
        ({"size": 1, "tags": list("abcd")}, ["spec.tags: Too many: 4: must have at most 3 items"]),
        (
            {"size": 1, "source": {}},
            [
                (
                    '<nil>: Invalid value: "": "spec.source" must validate one and only one schema '
                    "(oneOf). Found none valid"
                ),
                "spec.source.git: Required value",
            ],
        ),
        ({"size": 1, "hint": None}, []),
        (
            {"size": 1, "code": None},
            ['spec.code: Invalid value: "null": spec.code in body must be of type string: "null"'],
        ),
    ],
)
def test_errors_are_upstreams(spec: Any, errors: list[str]) -> None:
    assert errors_of(spec) == errors


def test_what_did_not_change_is_not_refused() -> None:
    old = {"size": 0, "ports": [{"name": "a", "number": 99}], "colour": "blue"}
    assert errors_of(old, old) == []
    moved = {"size": 0, "ports": [{"name": "b"}, {"name": "a", "number": 99}], "colour": "blue"}
    assert errors_of(moved, old) == []
    changed = {**old, "ports": [{"name": "a", "number": 98}], "size": -1}
    assert [e.partition(":")[0] for e in errors_of(changed, old)] == [
        "spec.ports[0].number",
        "spec.size",
    ]


def test_required_below_a_changed_node_is_not_ratcheted() -> None:
    assert errors_of({"code": "ab"}, {"code": "abc"}) == ["spec.size: Required value"]
    assert errors_of({"code": "ab"}, {"code": "ab"}) == []


def test_sets_and_map_lists_hold_no_item_twice() -> None:
    spec = {
        "tags": ["a", "b", "a", "a"],
        "ports": [{"name": "x"}, {"name": "x", "number": 1}],
    }
    assert [str(e) for e in listtype.validate_list_types(SCHEMA, {"spec": spec})] == [
        'spec.tags[2]: Duplicate value: "a"',
        'spec.ports[1]: Duplicate value: {"name":"x"}',
    ]


def test_embedded_resources_are_whole_objects() -> None:
    spec = {"template": {"metadata": {"name": "p", "colour": "no", "labels": {"a": "b"}}}}
    coerced, unknown = objectmeta.coerce(SCHEMA, {"spec": spec})
    assert coerced["spec"]["template"]["metadata"] == {"name": "p", "labels": {"a": "b"}}
    assert unknown == ["spec.template.metadata.colour"]
    assert [str(e) for e in objectmeta.validate_embedded(SCHEMA, coerced)] == [
        "spec.template.apiVersion: Required value",
        "spec.template.kind: Required value",
    ]
    with pytest.raises(objectmeta.CoercionError, match=r"spec\.template\.kind: .*must be a string"):
        objectmeta.coerce(SCHEMA, {"spec": {"template": {"kind": 1}}})


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("ipv4", "10.1.2.3", "10.1.2"),
        ("ipv6", "fd00::1", "10.1.2.3"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("mac", "00:00:5e:00:53:01", "00:00:5e"),
        ("uri", "https://example.com/x", "::"),
        ("email", "a@example.com", "a"),
        ("hostname", "example.com", "-a"),
        ("uuid", "11111111-2222-3333-4444-555555555555", "1111"),
        ("uuid4", "11111111-2222-4333-8444-555555555555", "11111111-2222-3333-4444-555555555555"),
        ("isbn", "978-0321751041", "978-0321751042"),
        ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("ssn", "111-22-3333", "111223333"),
        ("hexcolor", "#FFF", "#FFFF"),
        ("rgbcolor", "rgb(255,0,1)", "rgb(256,0,1)"),
        ("byte", "YWI=", "YWI"),
        ("date", "2024-02-29", "2023-02-29"),
        ("date-time", "2024-01-02T03:04:05Z", "2024-01-02"),
        ("duration", "1h30m", "x"),
        ("duration", "3 days", ""),
        ("k8s-short-name", "a-b", "A"),
        ("k8s-long-name", "a.b-c", "a..b"),
        ("bsonobjectid", "507f1f77bcf86cd799439011", "507f"),
    ],
)
def test_formats(name: str, good: str, bad: str) -> None:
    check = strfmt.checker(name)
    assert check is not None
    assert check(good)
    assert not check(bad)


# -- schemas -------------------------------------------------------------------------------------


def problems(properties: dict[str, Any], **more: Any) -> list[str]:
    source = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": properties}},
    }
    found = definition.validate_schema({**source, **more}, Path("schema"))
    return [str(error).replace("schema.openAPIV3Schema.properties[spec].", "") for error in found]


@pytest.mark.parametrize(
    ("properties", "errors"),
    [
        ({"a": {"type": "string"}}, []),
        (
            {"a": {}},
            ["properties[a].type: Required value: must not be empty for specified object fields"],
        ),
        ({"a": {"type": "array"}}, ["properties[a].items: Required value: must be specified"]),
        (
            {"a": {"type": "string", "anyOf": [{"type": "string"}]}},
            ["properties[a].anyOf[0].type: Forbidden: must be empty to be structural"],
        ),
        (
            {"a": {"type": "string", "pattern": "a(b"}},
            [
                (
                    'properties[a].pattern: Invalid value: "a(b": must be a valid regular expression, '
                    "but isn't: error parsing regexp: missing closing ): `a(b`"
                )
            ],
        ),
        (
            {"a": {"type": "integer", "default": "x"}},
            [
                (
                    'properties[a].default: Invalid value: "string":  in body must be of type integer: '
                    '"string"'
                )
            ],
        ),
        (
            {"a": {"type": "object", "properties": {"b": {"type": "string"}}, "default": {"c": 1}}},
            ['properties[a].default: Invalid value: {"c":1}: must not have unknown fields'],
        ),
        ({"a": {"$ref": "#/x"}}, ["properties[a].$ref: Forbidden: $ref is not supported"]),
        (
            {"a": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}},
            [
                (
                    "properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the "
                    "runtime complexity becomes quadratic"
                )
            ],
        ),
        (
            {
                "a": {
                    "type": "object",
                    "properties": {"b": {"type": "string"}},
                    "x-kubernetes-validations": [{"rule": " ", "fieldPath": ".c"}],
                }
            },
            [
                (
                    "properties[a].x-kubernetes-validations[0].rule: Required value: rule is not "
                    "specified"
                ),
                (
                    'properties[a].x-kubernetes-validations[0].fieldPath: Invalid value: ".c": must be '
                    "a valid path"
                ),
            ],
        ),
    ],
)
def test_schemas_are_refused_in_upstreams_words(properties: Any, errors: list[str]) -> None:
    assert problems(properties) == errors


def test_the_root_and_its_metadata_say_little() -> None:
    root = {
        "type": "object",
        "properties": {
            "metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}
        },
    }
    assert [str(e) for e in definition.validate_schema(root, Path("schema"))] == [
        (
            "schema.openAPIV3Schema.properties[metadata]: Forbidden: must not specify anything other "
            "than name and generateName, but metadata is implicitly specified"
        )
    ]
    root = {"type": "object", "nullable": True}
    assert [str(e) for e in definition.validate_schema(root, Path("schema"))] == [
        "schema.openAPIV3Schema.nullable: Forbidden: nullable cannot be true at the root"
    ]
