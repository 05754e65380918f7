"""Quantities: ``quantity("1Gi")``.

The law: whether a quantity is an integer depends on how it is kept, as upstream: a number of 64
bits and a power of ten, if it was written with few enough digits, else a decimal of any size, which
never is one.

Follows ``apiserver/pkg/cel/library/quantity.go`` and ``apimachinery/pkg/api/resource/quantity.go``.
"""

from __future__ import annotations

import re

import attrs

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.apimachinery.cel import types
from pytest_kubesim.apimachinery.cel.environment import Function, function, method, overload
from pytest_kubesim.apimachinery.cel.errors import CELError
from pytest_kubesim.apimachinery.cel.types import BOOL, DOUBLE, INT, STRING
from pytest_kubesim.apimachinery.cel.values import INT_MAX, INT_MIN, Opaque

QUANTITY = types.struct("kubernetes.Quantity")
_PARTS = re.compile(r"[+-]?([0-9]*)(?:\.([0-9]*))?(.*)", re.DOTALL)
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


@attrs.frozen
class Amount(Opaque):
    """A quantity, and the power of ten it is kept with; None if it is kept as a decimal."""

    cel_type = QUANTITY
    amount: quantity.Quantity
    scale: int | None

    def equals(self, other: object) -> bool:
        """Amounts are equal however they are written."""
        return isinstance(other, Amount) and self.amount.nano == other.amount.nano

    def __str__(self) -> str:
        return str(self.amount)


def _scale(text: str) -> int | None:
    found = _PARTS.match(text)
    assert found is not None, text
    whole = found.group(1).lstrip("0") or "0"
    fraction = found.group(2) or ""
    suffix = found.group(3)
    if suffix in _BINARY:
        exponent = _BINARY[suffix]
        precision = 15 - len(whole) - int(exponent * 3 / 10) - 1
        return 0 if not fraction and precision >= 0 else None
    if suffix in _DECIMAL:
        exponent = _DECIMAL[suffix]
    else:
        exponent = int(suffix[1:])
    scale = exponent - len(fraction)
    return scale if len(whole) + len(fraction) <= 18 and scale >= -9 else None


def _parse(text: str) -> Amount:
    try:
        return Amount(quantity.parse(text), _scale(text))
    except ValueError as problem:
        raise CELError(str(problem)) from None


def _is_quantity(text: str) -> bool:
    try:
        quantity.parse(text)
    except ValueError:
        return False
    return True


def _integer(amount: Amount) -> int | None:
    if amount.scale is None or amount.scale < 0:
        return None
    value = amount.amount.nano // 10**9
    return value if INT_MIN <= value <= INT_MAX else None


def _as_integer(amount: Amount) -> int:
    value = _integer(amount)
    if value is None:
        raise CELError("cannot convert value to integer")
    return value


def _combined(left: Amount, right: Amount, sign: int) -> Amount:
    combine = quantity.add if sign > 0 else quantity.sub
    made = quantity.parse(combine(left.amount, right.amount))
    if left.scale is None or right.scale is None:
        scale = None
    elif right.amount.nano == 0:
        scale = left.scale
    elif left.amount.nano == 0:
        scale = right.scale
    else:
        scale = min(left.scale, right.scale)
    return Amount(made, scale)


def _of_integer(value: int) -> Amount:
    return Amount(quantity.parse(value), 0)


def _add(left: Amount, right: Amount | int) -> Amount:
    return _combined(left, _of_integer(right) if isinstance(right, int) else right, 1)


def _sub(left: Amount, right: Amount | int) -> Amount:
    return _combined(left, _of_integer(right) if isinstance(right, int) else right, -1)


def _compare(left: Amount, right: Amount) -> int:
    return quantity.cmp(left.amount, right.amount)


_PAIR = (QUANTITY, QUANTITY)

FUNCTIONS: tuple[Function, ...] = (
    function("quantity", overload("string_to_quantity", (STRING,), QUANTITY, _parse)),
    function("isQuantity", overload("is_quantity_string", (STRING,), BOOL, _is_quantity)),
    function(
        "sign", overload("quantity_sign", (QUANTITY,), INT, lambda held: quantity.sign(held.amount))
    ),
    function(
        "isGreaterThan",
        method("quantity_is_greater_than", _PAIR, BOOL, lambda a, b: _compare(a, b) > 0),
    ),
    function(
        "isLessThan", method("quantity_is_less_than", _PAIR, BOOL, lambda a, b: _compare(a, b) < 0)
    ),
    function("compareTo", method("quantity_compare_to", _PAIR, INT, _compare)),
    function(
        "asApproximateFloat",
        method("quantity_get_float", (QUANTITY,), DOUBLE, lambda h: quantity.as_float(h.amount)),
    ),
    function("asInteger", method("quantity_get_int", (QUANTITY,), INT, _as_integer)),
    function(
        "isInteger",
        method("quantity_is_integer", (QUANTITY,), BOOL, lambda held: _integer(held) is not None),
    ),
    function(
        "add",
        method("quantity_add", _PAIR, QUANTITY, _add),
        method("quantity_add_int", (QUANTITY, INT), QUANTITY, _add),
    ),
    function(
        "sub",
        method("quantity_sub", _PAIR, QUANTITY, _sub),
        method("quantity_sub_int", (QUANTITY, INT), QUANTITY, _sub),
    ),
)
