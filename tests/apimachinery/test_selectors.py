"""Label and field selectors: parsed, printed and matched as upstream does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import fields, labels

KEYS = st.sampled_from(["app", "tier", "example.com/x", "in", "notin"])
VALUES = st.sampled_from(["", "a", "b", "c-1", "5", "in"])


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        ("b=1,a=2", "a=2,b=1"),
        ("a==1", "a==1"),
        ("x in (b, a)", "x in (a,b)"),
        ("x in (a,,)", "x in (,a)"),
        ("x notin ()", "x notin ()"),
        ("!x", "!x"),
        ("x", "x"),
        ("a>1", "a>1"),
        ("a=", "a="),
        ("in in (in)", "in in (in)"),
    ],
)
def test_a_label_selector_prints_canonically(text, canonical):
    assert str(labels.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,", "found '', expected: identifier after ','"),
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        ("x in a", "unable to parse requirement: found 'a' expected: '('"),
        ("x y", "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt"),
        ("x=(", "unable to parse requirement: found '(', expected: identifier"),
        (
            "x>a",
            (
                "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' "
                "operators, the value must be an integer"
            ),
        ),
    ],
)
def test_a_malformed_label_selector_is_refused_in_upstreams_words(text, message):
    with pytest.raises(ValueError) as caught:
        labels.parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "matching", "other"),
    [
        ("a=1", {"a": "1"}, {}),
        ("a!=1", {}, {"a": "1"}),
        ("a in (1,2)", {"a": "2"}, {"a": "3"}),
        ("a notin (1)", {}, {"a": "1"}),
        ("a", {"a": ""}, {}),
        ("!a", {}, {"a": ""}),
        ("a>5", {"a": "6"}, {"a": "five"}),
        ("a<5", {"a": "4"}, {}),
        ("a=", {"a": ""}, {}),
    ],
)
def test_labels_match_or_not(text, matching, other):
    assert labels.parse(text).matches(matching)
    assert not labels.parse(text).matches(other)


@given(
    st.lists(
        st.tuples(
            KEYS,
            st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
            st.lists(VALUES, min_size=1, max_size=3, unique=True),
        ),
        max_size=4,
    ),
    st.dictionaries(KEYS, VALUES),
)
def test_a_selector_parsed_from_its_own_text_selects_the_same(expressions, given_labels):
    selector = labels.from_label_selector(
        {
            "matchExpressions": [
                {"key": k, "operator": o, **({"values": v} if o in {"In", "NotIn"} else {})}
                for k, o, v in expressions
            ]
        }
    )
    again = labels.parse(str(selector))
    assert str(again) == str(selector)
    assert again.matches(given_labels) == selector.matches(given_labels)


def test_no_label_selector_selects_nothing_and_an_empty_one_everything():
    assert labels.from_label_selector(None) == labels.nothing()
    assert not labels.nothing().matches({})
    assert labels.from_label_selector({}) is labels.everything()
    assert labels.everything().matches(None)
    assert labels.from_label_selector({"matchLabels": {"a": "1"}}).matches({"a": "1", "b": "2"})
    with pytest.raises(ValueError, match='"Near" is not a valid label selector operator'):
        labels.from_label_selector({"matchExpressions": [{"key": "a", "operator": "Near"}]})


def test_a_label_may_be_pinned():
    assert labels.parse("a=1,b in (2)").requires_exact_match("b") == "2"
    assert labels.parse("a!=1").requires_exact_match("a") is None


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        ("b=1,a==2", "a=2,b=1"),
        ("a!=x", "a!=x"),
        ("a=x\\,y\\=z\\\\", "a=x\\,y\\=z\\\\"),
        (",a=1,", "a=1"),
    ],
)
def test_a_field_selector_prints_canonically(text, canonical):
    assert str(fields.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("a=b\\c", "invalid field selector: invalid escape sequence: \\c"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
    ],
)
def test_a_malformed_field_selector_is_refused_in_upstreams_words(text, message):
    with pytest.raises(ValueError) as caught:
        fields.parse(text)
    assert str(caught.value) == message


@given(st.dictionaries(st.sampled_from("abc"), st.text(alphabet="x\\,= ", max_size=5)))
def test_field_values_survive_their_escapes(values):
    text = ",".join(f"{k}={fields.escape(v)}" for k, v in values.items())
    assert fields.parse(text).matches(values)


def test_a_field_that_is_missing_counts_as_empty():
    assert fields.parse("spec.nodeName=").matches({})
    assert not fields.parse("spec.nodeName!=").matches({})
    assert fields.parse("metadata.name=p").requires_exact_match("metadata.name") == "p"


def test_fields_can_be_converted_on_the_way():
    selector = fields.parse("name=p").transform(lambda k, v: (f"metadata.{k}", v))
    assert str(selector) == "metadata.name=p"
