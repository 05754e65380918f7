"""JSON as Go's scanner refuses it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apiserver import json_syntax
from pytest_kubesim.apiserver.storage import continue_token

REFUSED = {
    "": "unexpected end of JSON input",
    "{": "unexpected end of JSON input",
    "{nope": "invalid character 'n' looking for beginning of object key string",
    '{"a" 1}': "invalid character '1' after object key",
    '{"a": 1 "b"}': "invalid character '\"' after object key:value pair",
    "[1 2]": "invalid character '2' after array element",
    "{} x": "invalid character 'x' after top-level value",
    "nul": "unexpected end of JSON input",
    "nulx": "invalid character 'x' in literal null (expecting 'l')",
    '"\x01"': "invalid character '\\x01' in string literal",
    '"\\x"': "invalid character 'x' in string escape code",
    "01": "invalid character '1' after top-level value",
    "-x": "invalid character 'x' in numeric literal",
    "1.": "unexpected end of JSON input",
    "a: b": "invalid character 'a' looking for beginning of value",
}


@pytest.mark.parametrize(("text", "problem"), REFUSED.items())
def test_a_text_that_is_no_json_is_refused_in_gos_words(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=".") as refused:
        json_syntax.loads(text.encode())
    assert str(refused.value) == problem


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_json_is_read(value: object) -> None:
    assert json_syntax.loads(json.dumps(value).encode()) == value


@given(VALUES)
def test_a_cut_text_never_makes_the_scanner_fail(value: object) -> None:
    text = json.dumps(value)
    for end in range(len(text)):
        assert json_syntax.explain(text[:end])


def test_complaints_come_in_document_order() -> None:
    body = b'{"a": {"x": 1, "x": 2, "y": [{"z": 1}]}, "b": 1}'
    unknown = ['unknown field "b"', 'unknown field "a.y[0].z"']
    assert json_syntax.complaints(body, unknown) == [
        'duplicate field "a.x"',
        'unknown field "a.y[0].z"',
        'unknown field "b"',
    ]


@given(st.from_regex(r"[a-z0-9-]{1,8}(/[a-z0-9-]{1,8})?", fullmatch=True), st.integers(1, 2**40))
def test_a_continue_token_tells_what_it_was_made_of(key: str, revision: int) -> None:
    token = continue_token.encode(f"/registry/pods/{key}\0", "/registry/pods/", revision)
    assert continue_token.decode(token, "/registry/pods/") == (f"/registry/pods/{key}\0", revision)
