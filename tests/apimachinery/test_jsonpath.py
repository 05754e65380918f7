"""JSONPath finds what client-go's finds."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_kubesim.apimachinery import jsonpath
from pytest_kubesim.apimachinery.jsonpath import JSONPathError

POD: dict[str, Any] = {
    "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}], "n": 3},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other"}]},
    "metadata": {"annotations": {"example.com/a.b": "dotted"}},
}


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{.spec.n}", [[3]]),
        ("{.spec.containers[0].name}", [["a"]]),
        ("{.spec.containers[-1:].name}", [["b"]]),
        ("{.spec.containers[*].image}", [["x", "y"]]),
        ("{.spec.containers[0,1].name}", [["a", "b"]]),
        ("{.spec.containers[?(@.name=='b')].image}", [["y"]]),
        ("{.status.conditions[?(@.status)].type}", [["Ready"]]),
        ("{.spec['n']}", [[3]]),
        ("{.metadata.annotations.example\\.com/a\\.b}", [["dotted"]]),
        ("{..name}", [["a", "b"]]),
        ("n is {.spec.n}", [["n is "], [3]]),
        ("{.spec.missing}", [[]]),
    ],
)
def test_a_template_finds(template: str, found: list[Any]) -> None:
    assert jsonpath.parse(template).find(POD) == found


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{.spec", "unclosed action"),
        ("{.spec[0}", "unterminated array"),
        ("{.spec[x]}", "invalid array index x"),
        ("{.spec[?(@.a)}", "unclosed array expect ]"),
        ("{~}", "unrecognized character in action: U+007E '~'"),
    ],
)
def test_a_template_that_is_none_is_refused(template: str, problem: str) -> None:
    with pytest.raises(JSONPathError) as caught:
        jsonpath.parse(template)
    assert str(caught.value) == problem


def test_an_index_out_of_bounds_is_an_error() -> None:
    with pytest.raises(JSONPathError, match="index 7, length 2"):
        jsonpath.parse("{.spec.containers[7]}").find(POD)


def test_values_print_as_go_prints_them() -> None:
    assert jsonpath.printed([True, 1, "a", None, {"b": [1]}]) == 'true 1 a null {"b":[1]}'
