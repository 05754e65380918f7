"""``x-kubernetes-validations``: in a definition, and for its objects."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery.cel import declared, escaping, rules
from pytest_kubesim.apimachinery.cel.definition_rules import DefinitionRules, stored_expressions
from pytest_kubesim.apimachinery.schema import Schema, from_structural
from pytest_kubesim.apimachinery.structural import definition
from pytest_kubesim.apimachinery.structural.correlation import Correlation
from pytest_kubesim.apimachinery.validation import Path


def spec(properties: dict[str, Any], *written: dict[str, Any], **more: Any) -> Schema:
    """The schema of an object with those fields in its spec and those rules for it."""
    return from_structural(
        {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "properties": properties,
                    "x-kubernetes-validations": list(written),
                    **more,
                }
            },
        }
    )


def broken(schema: Schema, new: Any, old: Any = None, **more: Any) -> list[str]:
    """The rules that a spec breaks, as users see them."""
    after = {"spec": new}
    before = None if old is None else {"spec": old}
    return [str(error) for error in rules.validate(schema, after, before, **more)]


INT = {"type": "integer"}
TEXT = {"type": "string", "maxLength": 20}


def test_a_rule_sees_the_fields_of_its_schema() -> None:
    schema = spec({"min": INT, "max": INT}, {"rule": "self.min <= self.max"})
    assert broken(schema, {"min": 1, "max": 2}) == []
    assert broken(schema, {"min": 3, "max": 2}) == [
        "spec: Invalid value: failed rule: self.min <= self.max"
    ]


def test_a_missing_field_is_an_error_that_names_the_rule() -> None:
    schema = spec({"min": INT}, {"rule": "self.min > 0", "message": " be positive "})
    assert broken(schema, {}) == [
        'spec: Invalid value: "object": no such key: min evaluating rule: be positive'
    ]
    assert broken(schema, {"min": None}) == broken(schema, {})


def test_reason_path_and_message_of_a_failure_come_from_the_rule() -> None:
    schema = spec(
        {"min": INT, "max": INT},
        {
            "rule": "self.min <= self.max",
            "messageExpression": "'%d > %d'.format([self.min, self.max])",
            "fieldPath": ".max",
            "reason": "FieldValueForbidden",
        },
    )
    assert broken(schema, {"min": 3, "max": 2}) == ["spec.max: Forbidden: 3 > 2"]


def test_a_message_expression_that_gives_no_line_is_passed_over() -> None:
    failing = {"rule": "false", "messageExpression": "'a\\nb'"}
    schema = spec({"a": TEXT}, failing, {**failing, "message": "no"})
    assert broken(schema, {}) == [
        "spec: Invalid value: failed rule: false",
        "spec: Invalid value: no",
    ]


def test_transition_rules_run_only_with_an_old_value() -> None:
    fixed = {**INT, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}
    schema = spec({"n": fixed})
    assert broken(schema, {"n": 1}) == []
    assert broken(schema, {"n": 1}, {}) == []
    assert broken(schema, {"n": 1}, {"n": 2}) == [
        "spec.n: Invalid value: 1: failed rule: self == oldSelf"
    ]


def test_an_optional_old_value_lets_a_transition_rule_always_run() -> None:
    rule = {"rule": "oldSelf.hasValue() || self == 1", "optionalOldSelf": True}
    schema = spec({"n": {**INT, "x-kubernetes-validations": [rule]}})
    assert broken(schema, {"n": 1}) == []
    assert len(broken(schema, {"n": 2})) == 1
    assert broken(schema, {"n": 2}, {"n": 1}) == []


def test_items_of_a_map_list_find_their_old_selves_by_key() -> None:
    item = {
        "type": "object",
        "properties": {"name": TEXT, "n": INT},
        "x-kubernetes-validations": [{"rule": "self.n >= oldSelf.n", "message": "grow"}],
    }
    ports = {
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    }
    schema = spec({"ports": ports})
    old = {"ports": [{"name": "a", "n": 5}, {"name": "b", "n": 1}]}
    new = {"ports": [{"name": "b", "n": 2}, {"name": "a", "n": 4}, {"name": "c", "n": 0}]}
    assert broken(schema, new, old) == ["spec.ports[1]: Invalid value: grow"]


def test_what_was_wrong_before_stays_so_with_a_warning() -> None:
    low = {**INT, "x-kubernetes-validations": [{"rule": "self < 10"}]}
    schema = spec({"n": low, "m": INT})
    before, after = {"spec": {"n": 12, "m": 1}}, {"spec": {"n": 12, "m": 2}}
    warnings: list[str] = []
    correlation = Correlation(after, before, schema)
    assert not rules.validate(schema, after, before, correlation=correlation, warn=warnings.append)
    assert warnings == ["spec.n: Invalid value: 12: failed rule: self < 10"]
    changed = {"spec": {"n": 13}}
    correlation = Correlation(changed, before, schema)
    assert rules.validate(schema, changed, before, correlation=correlation)


def test_sets_and_map_lists_are_compared_without_order() -> None:
    tags = {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"}
    schema = spec({"tags": tags}, {"rule": "self.tags == ['a', 'b']"})
    assert broken(schema, {"tags": ["b", "a"]}) == []


def test_formats_are_read_as_what_they_mean() -> None:
    schema = spec(
        {
            "since": {"type": "string", "format": "date-time"},
            "took": {"type": "string", "format": "duration"},
            "data": {"type": "string", "format": "byte"},
            "ratio": {"type": "number"},
        },
        {"rule": "self.since.getFullYear() == 2026 && self.took > duration('1h')"},
        {"rule": "self.data == b'hi' && self.ratio / 2.0 == 1.0"},
    )
    obj = {"since": "2026-01-02T03:04:05Z", "took": "1 day", "data": "aGk=", "ratio": 2}
    assert broken(schema, obj) == []


def test_the_kind_and_the_name_of_a_whole_object_are_always_there() -> None:
    schema = from_structural(
        {"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.name == 'a'"}]}
    )
    obj = {"kind": "X", "apiVersion": "v1", "metadata": {"name": "b"}}
    assert [error.field for error in rules.validate(schema, obj)] == ["<nil>"]


def test_a_call_that_costs_too_much_ends_the_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PER_CALL_LIMIT", 10_000)
    heavy = "self.l.all(a, self.l.all(b, a + b != 0))"
    schema = spec({"l": {"type": "array", "items": INT}}, {"rule": heavy}, {"rule": "false"})
    assert broken(schema, {"l": list(range(1, 50))}) == [
        (
            "spec: Invalid value: \"object\": 'operation cancelled: actual cost limit exceeded': "
            "no further validation rules will be run due to call cost exceeds limit for rule: "
            f"{heavy}"
        )
    ]


def test_rules_share_a_budget_that_is_counted_when_it_may_not_suffice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "BUDGET", 50_000)
    heavy = "self.l.all(a, self.l.all(b, a + b != 0))"
    items = {"type": "array", "items": INT, "maxItems": 100}
    schema = spec({"l": items}, *[{"rule": heavy}] * 10)
    assert broken(schema, {"l": list(range(1, 25))}) == []
    assert broken(schema, {"l": list(range(1, 40))}) == [
        (
            'spec: Invalid value: "object": validation failed due to running out of cost budget, '
            "no further validation rules will be run"
        )
    ]


def test_an_int_or_string_of_the_wrong_kind_is_explained() -> None:
    port = {"x-kubernetes-int-or-string": True}
    schema = spec({"port": port}, {"rule": "self.port.startsWith('a')"})
    assert broken(schema, {"port": 1}) == [
        (
            "spec: Invalid value: \"object\": 'no such overload': call arguments did not match a "
            "supported operator, function or macro signature for rule: self.port.startsWith('a')"
        )
    ]


def test_validation_changes_neither_object() -> None:
    tags = {"type": "array", "items": {"type": "number"}, "x-kubernetes-list-type": "set"}
    schema = spec({"tags": tags}, {"rule": "self.tags + [2.0] != [1.0] && oldSelf == oldSelf"})
    new, old = {"spec": {"tags": [1, 3]}}, {"spec": {"tags": [1]}}
    kept = copy.deepcopy((new, old))
    rules.validate(schema, new, old)
    assert (new, old) == kept


# -- definitions -------------------------------------------------------------------------------------


def checked(properties: dict[str, Any], *written: dict[str, Any], **more: Any) -> list[str]:
    """What is wrong with a definition whose spec has those fields and rules."""
    schema = spec(properties, *written).source
    errors = definition.validate_schema(schema, Path("schema"), rules=DefinitionRules(**more))
    return [str(error) for error in errors]


WHERE = "schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0]"


def test_a_rule_that_does_not_compile_is_shown_with_a_caret() -> None:
    (found,) = checked({"n": INT}, {"rule": "self.n == 'a'"})
    assert found == (
        f'{WHERE}.rule: Invalid value: {{"Rule":"self.n == \'a\'","Message":"",'
        '"MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: '
        "compilation failed: ERROR: <input>:1:8: found no matching overload for '_==_' applied to "
        "'(int, string)'\n | self.n == 'a'\n | .......^"
    )


@pytest.mark.parametrize(
    ("rule", "detail"),
    [
        ({"rule": "self.n"}, "cel expression must evaluate to a bool"),
        ({"rule": "true", "messageExpression": "1"}, "messageExpression must evaluate to a string"),
        (
            {"rule": "self.n == int('a')"},
            "program instantiation failed: type conversion error from 'string' to 'int'",
        ),
        (
            {"rule": "true", "optionalOldSelf": True},
            "may not be set if oldSelf is not used in rule",
        ),
    ],
)
def test_a_rule_must_be_of_the_right_type(rule: dict[str, Any], detail: str) -> None:
    (found,) = checked({"n": INT}, rule)
    assert found.endswith(detail)


def test_a_rule_that_may_cost_too_much_is_refused_until_its_lists_are_bounded() -> None:
    words = {"type": "array", "items": {"type": "string"}}
    rule = {"rule": "self.words.all(a, self.words.all(b, a != b))"}
    found = checked({"words": words}, rule)
    assert found[0].startswith(
        f"{WHERE}.rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x"
    )
    assert len(found) == 3
    bounded = {**words, "maxItems": 10, "items": {"type": "string", "maxLength": 10}}
    assert checked({"words": bounded}, rule) == []


def test_a_schema_that_is_as_it_was_may_be_too_dear_for_each_rule() -> None:
    words = {"type": "array", "items": {"type": "string"}, "maxItems": 200}
    rule = {"rule": "self.words.all(a, self.words.exists(b, a != b))"}
    assert any("estimated rule cost exceeds" in text for text in checked({"words": words}, rule))
    again = checked({"words": words}, rule, is_unchanged=True)
    assert not any("estimated rule cost exceeds" in text for text in again)


def test_only_stored_expressions_may_use_functions_of_this_release() -> None:
    rule = {"rule": "self.n.includes(1)"}
    assert "undeclared reference to 'includes'" in checked({"n": INT}, rule)[0]
    stored, _ = stored_expressions(spec({"n": INT}, rule).source)
    assert checked({"n": INT}, rule, stored_rules=stored) == []


def test_defaults_must_obey_the_rules() -> None:
    bad = {**INT, "default": 5, "x-kubernetes-validations": [{"rule": "self < 5"}]}
    (found,) = checked({"n": bad})
    assert found == (
        "schema.openAPIV3Schema.properties[spec].properties[n].default: "
        "Invalid value: 5: failed rule: self < 5"
    )


# -- names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("a", "a"),
        ("my-name", "my__dash__name"),
        ("a.b/c", "a__dot__b__slash__c"),
        ("a__b", "a__underscores__b"),
        ("namespace", "__namespace__"),
        ("9a", None),
        ("a$", None),
    ],
)
def test_names_of_fields_become_identifiers(name: str, identifier: str | None) -> None:
    assert escaping.escape(name) == identifier


def test_a_reserved_word_may_be_selected_as_it_is() -> None:
    schema = spec({"namespace": TEXT}, {"rule": "self.namespace == self.__namespace__"})
    assert broken(schema, {"namespace": "a"}) == []


@given(st.dictionaries(st.sampled_from("abc"), st.integers(-5, 5)), st.integers(-5, 5))
def test_counted_and_uncounted_evaluation_agree(entries: dict[str, int], limit: int) -> None:
    counts = {"type": "object", "additionalProperties": INT, "maxProperties": 5}
    rule = {"rule": f"self.counts.all(k, self.counts[k] < {limit}) || self.counts.size() > 2"}
    schema = spec({"counts": counts}, rule)
    expected = all(value < limit for value in entries.values()) or len(entries) > 2
    assert (broken(schema, {"counts": entries}) == []) is expected
    validator = rules.validator_of(schema, is_root=True)
    assert validator is not None
    compiled = validator.properties["spec"].rules[0].program
    assert compiled is not None
    activation = {"self": {"counts": entries}}
    value, spent = compiled.evaluate_counted(activation, cost_limit=1_000_000)
    assert value is expected
    assert spent <= validator.properties["spec"].rules[0].max_cost


def test_data_without_special_formats_is_read_as_it_is() -> None:
    source = {"type": "object", "properties": {"a": {"type": "array", "items": INT}}}
    made = declared.declare(source, "x", is_root=False)
    assert made is not None
    data = {"a": [1, 2]}
    assert made.value(data) is data
