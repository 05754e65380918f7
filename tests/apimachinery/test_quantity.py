"""Quantities are exact and print as Go prints them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import quantity

SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    "k": Fraction(1000),
    "M": Fraction(10**6),
    "Ki": Fraction(1024),
    "Mi": Fraction(1024**2),
    "Gi": Fraction(1024**3),
    "e3": Fraction(1000),
}
AMOUNTS = st.tuples(st.integers(-(10**9), 10**9), st.sampled_from(sorted(SUFFIXES)))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"),
        ("0Gi", "0"),
        ("1024Mi", "1Gi"),
        ("1500Mi", "1500Mi"),
        ("0.5", "500m"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1000m", "1"),
        ("2000m", "2"),
        ("+5", "+5"),
        ("1e3", "1e3"),
        ("1000e3", "1e6"),
        ("1.0", "1"),
        ("0.0000000001", "1n"),
        ("-0.0000000001", "-1n"),
        ("100000", "100k"),
        (" 1 ", "1"),
        (4, "4"),
        (0.1, "100m"),
    ],
)
def test_the_canonical_form_is_gos(text, canonical):
    assert quantity.canonical(text) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", quantity.FORMAT_WRONG),
        ("1 Gi", quantity.FORMAT_WRONG),
        ("1Gx", quantity.FORMAT_WRONG),
        ("abc", quantity.FORMAT_WRONG),
        ("1KB", quantity.FORMAT_WRONG),
        ("1GG", quantity.SUFFIX_WRONG),
        ("1e", quantity.SUFFIX_WRONG),
        ("1ki", quantity.SUFFIX_WRONG),
    ],
)
def test_what_is_no_quantity_is_refused_in_upstreams_words(text, message):
    with pytest.raises(ValueError) as caught:
        quantity.parse(text)
    assert str(caught.value) == message


@given(AMOUNTS)
def test_a_quantity_is_what_it_says(amount):
    number, suffix = amount
    exact = number * SUFFIXES[suffix]
    assert Fraction(quantity.nano_value(f"{number}{suffix}"), 10**9) == exact


@given(AMOUNTS)
def test_printing_keeps_the_amount(amount):
    text = f"{amount[0]}{amount[1]}"
    assert quantity.cmp(text, quantity.canonical(text)) == 0
    assert quantity.canonical(quantity.canonical(text)) == quantity.canonical(text)


@given(AMOUNTS, AMOUNTS)
def test_sums_differences_and_order_are_those_of_fractions(left, right):
    a, b = f"{left[0]}{left[1]}", f"{right[0]}{right[1]}"
    x, y = left[0] * SUFFIXES[left[1]], right[0] * SUFFIXES[right[1]]
    assert quantity.cmp(a, b) == (x > y) - (x < y)
    assert Fraction(quantity.nano_value(quantity.add(a, b)), 10**9) == x + y
    assert Fraction(quantity.nano_value(quantity.sub(a, b)), 10**9) == x - y


def test_values_are_rounded_up():
    assert quantity.value("1500m") == 2
    assert quantity.value("-1500m") == -2
    assert quantity.milli_value("100u") == 1
    assert quantity.value("1Gi") == 1 << 30


def test_a_sum_keeps_the_left_suffixes_unless_that_is_zero():
    assert quantity.add("1Gi", "512Mi") == "1536Mi"
    assert quantity.add("0", "1Gi") == "1Gi"
    assert quantity.add("1k", "1Ki") == "2024"
    assert quantity.total(["100m", "900m", "1"]) == "2"
    assert quantity.maximum("1Gi", "1G") == "1Gi"
