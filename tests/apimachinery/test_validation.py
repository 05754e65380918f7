"""Field errors, formats and metadata's rules say what upstream says."""

from __future__ import annotations

import pytest

from pytest_kubesim.apimachinery import addresses, formats, metav1, objectmeta, validation
from pytest_kubesim.apimachinery.validation import NIL, Path, Printed

SPEC = Path("spec")


def test_a_path_prints_as_upstream_prints_it():
    assert str(SPEC.child("containers").index(0).child("name")) == "spec.containers[0].name"
    assert str(SPEC.child("selector").key("foo")) == "spec.selector[foo]"
    assert str(NIL) == "<nil>"
    assert str(NIL.child("values").index(0).key("k")) == "values[0][k]"


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ('a"b\n', '"a\\"b\\n"'),
        (-1, "-1"),
        (True, "true"),
        (1.5, "1.5"),
        (1000000.0, "1e+06"),
        (None, "null"),
        ({"b": 1, "a": "<x>"}, '{"a":"\\u003cx\\u003e","b":1}'),
        (["a"], '["a"]'),
        (Printed('{"z":1,"a":2}'), '{"z":1,"a":2}'),
    ],
)
def test_a_bad_value_is_printed_as_go_prints_it(value, printed):
    assert str(validation.invalid(SPEC, value, "no")) == f"spec: Invalid value: {printed}: no"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (validation.required(SPEC), "spec: Required value"),
        (validation.required(SPEC, "why"), "spec: Required value: why"),
        (validation.duplicate(SPEC, "x"), 'spec: Duplicate value: "x"'),
        (validation.not_found(SPEC, "x"), 'spec: Not found: "x"'),
        (validation.forbidden(SPEC, "no"), "spec: Forbidden: no"),
        (validation.too_long(SPEC, 1), "spec: Too long: may not be more than 1 byte"),
        (validation.too_long(SPEC, -1), "spec: Too long: value is too long"),
        (validation.too_many(SPEC, 3, 2), "spec: Too many: 3: must have at most 2 items"),
        (validation.too_many(SPEC, -1, 2), "spec: Too many: must have at most 2 items"),
        (
            validation.not_supported(SPEC, "x", ["B", "A"]),
            'spec: Unsupported value: "x": supported values: "B", "A"',
        ),
        (validation.internal_error(SPEC, "boom"), "spec: Internal error: boom"),
    ],
)
def test_errors_read_as_upstreams(error, text):
    assert str(error) == text


def test_a_field_that_may_not_change_takes_empty_for_absent():
    assert validation.validate_immutable_field({}, None, SPEC) == []
    assert validation.validate_immutable_field(1, 1, SPEC) == []
    (error,) = validation.validate_immutable_field("b", "a", SPEC)
    assert str(error) == 'spec: Invalid value: "b": field is immutable'


def test_names_are_judged_in_upstreams_words():
    assert formats.is_dns1123_label("a-1") == []
    assert formats.is_dns1123_label("a.b") == ["must not contain dots"]
    assert formats.is_dns1123_subdomain("A") == [
        (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' "
            "or '.', and must start and end with an alphanumeric character (e.g. 'example.com', "
            "regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        )
    ]
    assert formats.is_qualified_name("example.com/Name") == []
    assert formats.is_qualified_name("/x") == ["prefix part must be non-empty"]
    assert formats.is_valid_label_value("a" * 64) == ["must be no more than 63 bytes"]
    assert formats.is_valid_label_value("\u00e9" * 32)[0] == "must be no more than 63 bytes"
    assert formats.is_dns1123_label("a\n")
    assert formats.is_config_map_key("..") == ["must not be '..'"]
    assert formats.name_is_dns_subdomain("web-", prefix=True) == []


@pytest.mark.parametrize(
    ("value", "complaints"),
    [
        ("10.0.0.1", []),
        ("010.0.0.1", ["must not have leading 0s"]),
        ("::ffff:1.2.3.4", ["must not be an IPv4-mapped IPv6 address"]),
        ("2001:DB8::1", ['must be in canonical form ("2001:db8::1")']),
        ("1.2.3", ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]),
        ("fe80::1%eth0", ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]),
    ],
)
def test_addresses_are_canonical_or_say_what_is(value, complaints):
    assert addresses.is_valid_ip(value) == complaints


def test_a_cidr_has_no_bits_beyond_its_prefix():
    assert addresses.is_valid_cidr("10.0.0.0/8") == []
    assert addresses.is_valid_cidr("10.0.0.1/8") == [
        "must not have bits set beyond the prefix length"
    ]


def _create(metadata, **kwargs):
    defaults = {"requires_namespace": True, "name_check": formats.name_is_dns_subdomain}
    errors = objectmeta.validate_object_meta(
        metadata, path=Path("metadata"), **{**defaults, **kwargs}
    )
    return [str(error) for error in errors]


def test_metadata_needs_a_name_and_its_namespace():
    assert _create({"name": "a", "namespace": "n"}) == []
    assert _create({"namespace": "n"}) == [
        "metadata.name: Required value: name or generateName is required"
    ]
    assert _create({"name": "a"}) == ["metadata.namespace: Required value"]
    assert _create({"name": "a", "namespace": "n"}, requires_namespace=False) == [
        "metadata.namespace: Forbidden: not allowed on this type"
    ]


def test_only_one_owner_controls():
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}
    errors = objectmeta.validate_owner_references([owner, {**owner, "name": "q"}], Path("o"))
    assert [str(error) for error in errors] == [
        (
            'o: Invalid value: [{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u","controller":true}'
            ',{"apiVersion":"v1","kind":"Pod","name":"q","uid":"u","controller":true}]: Only one '
            'reference can have Controller set to true. Found "true" in references for Pod/p and Pod/q'
        )
    ]


def test_events_own_nothing():
    event = {"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}
    (error,) = objectmeta.validate_owner_references([event], Path("o"))
    assert error.detail == "/v1, Kind=Event is disallowed from being an owner"


def test_an_update_changes_neither_identity_nor_a_terminating_objects_finalizers():
    old = {"name": "a", "uid": "u", "resourceVersion": "1", "deletionTimestamp": "t"}
    new = {**old, "uid": "v", "finalizers": ["x/y"]}
    errors = objectmeta.validate_object_meta_update(new, old, Path("metadata"))
    assert [str(error) for error in errors] == [
        (
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being "
            'deleted, found new finalizers []string{"x/y"}'
        ),
        'metadata.uid: Invalid value: "v": field is immutable',
    ]


def test_a_label_selectors_expressions_have_the_values_their_operator_wants():
    selector = {
        "matchExpressions": [
            {"key": "a", "operator": "In"},
            {"key": "a", "operator": "Exists", "values": ["x"]},
            {"key": "a", "operator": "Near"},
        ]
    }
    errors = metav1.validate_label_selector(selector, Path("s"))
    assert [str(error) for error in errors] == [
        (
            "s.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' "
            "or 'NotIn'"
        ),
        (
            "s.matchExpressions[1].values: Forbidden: may not be specified when `operator` is "
            "'Exists' or 'DoesNotExist'"
        ),
        's.matchExpressions[2].operator: Invalid value: "Near": not a valid selector operator',
    ]


def test_force_is_for_apply_only():
    (error,) = metav1.validate_patch_options({"force": True}, "application/json-patch+json")
    assert str(error) == "force: Forbidden: may not be specified for non-apply patch"
    (error,) = metav1.validate_patch_options({}, "application/apply-patch+yaml")
    assert str(error) == "fieldManager: Required value: is required for apply patch"


def test_the_way_to_delete_is_one_of_three():
    (error,) = metav1.validate_delete_options({"propagationPolicy": "Now"})
    assert error.body == (
        'Unsupported value: "Now": supported values: "Foreground", "Background", "Orphan", "nil"'
    )
