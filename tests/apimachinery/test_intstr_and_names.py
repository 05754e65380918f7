"""Numbers that may be percentages, and names that are made up."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import golang, intstr, names


@pytest.mark.parametrize(
    ("value", "up", "down"), [(3, 3, 3), ("25%", 3, 2), ("0%", 0, 0), ("100%", 10, 10)]
)
def test_a_percentage_is_taken_of_the_total(value, up, down):
    assert intstr.scaled_value(value, 10, round_up=True) == up
    assert intstr.scaled_value(value, 10, round_up=False) == down


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "nil value for IntOrString"),
        ("5", "invalid value for IntOrString: invalid type: string is not a percentage"),
        (
            "x%",
            (
                'invalid value for IntOrString: invalid value "x%": strconv.Atoi: parsing "x": '
                "invalid syntax"
            ),
        ),
    ],
)
def test_what_is_neither_is_refused_in_upstreams_words(value, message):
    with pytest.raises(ValueError) as caught:
        intstr.scaled_value(value, 10, round_up=True)
    assert str(caught.value) == message


def test_texts_that_are_numbers_become_numbers():
    assert intstr.parse("80") == 80
    assert intstr.parse("http") == "http"
    assert intstr.parse("99999999999") == "99999999999"
    assert intstr.int_value("http") == 0


def test_a_generated_name_fits_a_label():
    name = names.generate_name("x" * 80, lambda n: n - 1)
    assert name == "x" * 58 + "99999"


@given(st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4))
def test_a_uid_is_a_random_uuid_and_repeats_with_its_draws(draws):
    first = names.stable_uid(lambda n, it=iter(draws): next(it) % n)
    assert re.fullmatch(
        "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", first
    )
    assert first == names.stable_uid(lambda n, it=iter(draws): next(it) % n)


def test_equal_templates_hash_equally_and_a_collision_changes_the_hash():
    template = {"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"nodeName": "n"}}
    shuffled = {"spec": {"nodeName": "n"}, "metadata": {"labels": {"b": "2", "a": "1"}}}
    assert names.pod_template_hash(template) == names.pod_template_hash(shuffled)
    assert names.pod_template_hash(template) != names.pod_template_hash(template, 1)
    assert set(names.pod_template_hash(template)) <= set(names.ALPHANUMS)


def test_the_hash_is_fnv():
    assert names.fnv32a(b"") == 0x811C9DC5
    assert names.fnv32a(b"foobar") == 0xBF9CF968


def test_a_controller_revisions_name_is_cut():
    assert names.controller_revision_name("p" * 300, "h") == "p" * 223 + "-h"


@pytest.mark.parametrize(
    ("value", "printed", "json"),
    [
        (1e6, "1e+06", "1000000"),
        (123456.789, "123456.789", "123456.789"),
        (1e-5, "1e-05", "0.00001"),
        (1e-7, "1e-07", "1e-7"),
        (1e21, "1e+21", "1e+21"),
        (0.0, "0", "0"),
        (-2.5, "-2.5", "-2.5"),
    ],
)
def test_floats_print_as_gos(value, printed, json):
    assert golang.float_text(value) == printed
    assert golang.json_text(value) == json


def test_strings_are_quoted_as_gos():
    assert golang.quote("a\x00\u00e9\u200b\U0001f600\x7f\u00a0") == (
        '"a\\x00\u00e9\\u200b\U0001f600\\x7f\\u00a0"'
    )
    assert golang.json_string("a\x00\b<&\u2028\u00e9") == '"a\\u0000\\b\\u003c\\u0026\\u2028\u00e9"'
    assert golang.plain({"b": [1, "x"], "a": None}) == "map[a:<nil> b:[1 x]]"
