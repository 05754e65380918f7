"""Amounts with suffixes: ``100m``, ``1.5Gi``, ``12e6``, exact to a billionth.

A Quantity is a count of billionths and the family of suffixes in which it prints. Go keeps the
text of a quantity that is written canonically enough, ``1500Mi`` or ``+5`` for instance, and
prints that; so does ``canonical``. Everything takes JSON values and is cached by them. Numbers are
exact even where Go's 64 bits overflow.

::

    canonical("1024Mi") == "1Gi"       value("1500m") == 2           milli_value("0.1") == 100
    canonical("0.5") == "500m"         add("1Gi", "512Mi") == "1536Mi"

Follows ``apimachinery/pkg/api/resource/{quantity,suffix,amount}.go``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from pytest_kubesim.apimachinery.golang import float_text, parse_int

DECIMAL_SI = "DecimalSI"
BINARY_SI = "BinarySI"
DECIMAL_EXPONENT = "DecimalExponent"

FORMAT_WRONG = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)
NUMERIC_WRONG = "unable to parse numeric part of quantity"
SUFFIX_WRONG = "unable to parse quantity's suffix"

_NANO = 10**9
_MAX = (2**63 - 1) * _NANO
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX = {exponent: suffix for suffix, exponent in _BINARY.items()}
_SUFFIX_LETTERS = frozenset("eEinumkKMGTP")
_DIGITS = frozenset("0123456789")
# Exponents beyond this are no amounts of anything, and would only cost memory.
_MAX_EXPONENT = 4096


class Quantity(NamedTuple):
    """An amount: billionths, the family of its suffixes, and the text it came in, if kept."""

    nano: int
    format: str = DECIMAL_SI
    text: str = ""

    def __str__(self) -> str:
        return self.text or format_nano(self.nano, self.format)


Amount: TypeAlias = str | int | float | Quantity
"""What stands in an object for a quantity, or one already parsed."""


def parse(amount: Amount) -> Quantity:
    """Reads an amount; raises ``ValueError`` with one of upstream's three texts."""
    return amount if isinstance(amount, Quantity) else _parse(amount)


@lru_cache(maxsize=8192)
def _parse(amount: str | float) -> Quantity:
    if isinstance(amount, str):
        text = amount.strip(" \t\n\v\f\r")
    else:
        text = float_text(amount) if isinstance(amount, float) else str(amount)
    if not text:
        raise ValueError(FORMAT_WRONG)
    if text == "0":
        return Quantity(0, DECIMAL_SI, "0")
    negative, whole, fraction, suffix = _split(text)
    base, exponent, format_ = _interpret(suffix)
    digits = whole + fraction
    number = int(digits)
    kept = text if _is_kept(digits, fraction, number, exponent, format_) else ""
    if base == 2:
        scaled, scale = number << exponent, 9 - len(fraction)
    else:
        scaled, scale = number, exponent + 9 - len(fraction)
    # What is finer than a billionth is rounded away from zero.
    nano = scaled * 10**scale if scale >= 0 else -(-scaled // 10**-scale)
    if format_ == BINARY_SI:
        nano = min(nano, _MAX)
        if 0 < nano < _NANO:
            format_ = DECIMAL_SI
    return Quantity(-nano if negative else nano, format_, kept)


def _split(text: str) -> tuple[bool, str, str, str]:
    position = 1 if text[0] in "+-" else 0
    start = position
    while position < len(text) and text[position] in _DIGITS:
        position += 1
    whole = text[start:position].lstrip("0") or "0"
    fraction = ""
    if text[position : position + 1] == ".":
        start = position = position + 1
        while position < len(text) and text[position] in _DIGITS:
            position += 1
        fraction = text[start:position]
    suffix = text[position:]
    tail = suffix.lstrip("eEinumkKMGTP")
    if tail[:1] in {"+", "-"}:
        tail = tail[1:]
    if any(character not in _DIGITS for character in tail):
        raise ValueError(FORMAT_WRONG)
    return text[0] == "-", whole, fraction, suffix


def _interpret(suffix: str) -> tuple[int, int, str]:
    if suffix in _DECIMAL:
        return 10, _DECIMAL[suffix], DECIMAL_SI
    if suffix in _BINARY:
        return 2, _BINARY[suffix], BINARY_SI
    if len(suffix) > 1 and suffix[0] in "eE":
        try:
            exponent = parse_int(suffix[1:])
        except ValueError:
            raise ValueError(SUFFIX_WRONG) from None
        if abs(exponent) <= _MAX_EXPONENT:
            return 10, exponent, DECIMAL_EXPONENT
    raise ValueError(SUFFIX_WRONG)


def _is_kept(digits: str, fraction: str, number: int, exponent: int, format_: str) -> bool:
    # Upstream's fast path keeps the text of numbers that fit 64 bits and need no other suffix.
    if format_ == BINARY_SI:
        if fraction or 15 - len(digits) - exponent * 3 // 10 - 1 < 0:
            return False
        return number & 0x07 != 0
    scale = exponent - len(fraction)
    if len(digits) > 18 or scale < -9:
        return False
    return scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0"


class Stored(NamedTuple):
    """What a Quantity of Go holds: a scaled number, or (`nano`) a decimal of billionths."""

    value: int
    scale: int
    nano: int | None
    text: str
    format: str


@lru_cache(maxsize=1024)
def stored(text: str) -> Stored:
    """The fields of the struct that Go makes of a canonical text (`ParseQuantity`)."""
    parsed = _parse(text)
    if text == "0":
        return Stored(0, 0, None, text, parsed.format)
    negative, whole, fraction, suffix = _split(text)
    base, exponent, format_ = _interpret(suffix)
    digits = whole + fraction
    if base == 2:
        value, scale = int(digits) << exponent, 0
        fast = not fraction and 15 - len(digits) - exponent * 3 // 10 - 1 >= 0
    else:
        value, scale = int(digits), exponent - len(fraction)
        fast = len(digits) <= 18 and scale >= -9
    if fast and value < 2**63:
        return Stored(-value if negative else value, scale, None, parsed.text, format_)
    return Stored(0, 0, parsed.nano, "", parsed.format)


def format_nano(nano: int, format_: str = DECIMAL_SI) -> str:
    """The canonical text of so many billionths in a family of suffixes."""
    if nano == 0:
        return "0"
    if format_ == BINARY_SI:
        if -1024 * _NANO < nano < 1024 * _NANO or nano % _NANO:
            format_ = DECIMAL_SI
        else:
            number, exponent = nano // _NANO, 0
            while number % 1024 == 0:
                number //= 1024
                exponent += 10
            return f"{number}{_BINARY_SUFFIX.get(exponent, '')}"
    number, exponent = nano, -9
    while number % 1000 == 0:
        number //= 1000
        exponent += 3
    if format_ == DECIMAL_EXPONENT:
        return f"{number}e{exponent}" if exponent else str(number)
    return f"{number}{_DECIMAL_SUFFIX.get(exponent, '')}"


@lru_cache(maxsize=8192)
def canonical(amount: Amount) -> str:
    """The text in which the API server stores and returns the amount."""
    return str(parse(amount))


@lru_cache(maxsize=8192)
def nano_value(amount: Amount) -> int:
    """Billionths, exactly."""
    return parse(amount).nano


@lru_cache(maxsize=8192)
def milli_value(amount: Amount) -> int:
    """Thousandths, rounded away from zero: millicores of a CPU."""
    return _scaled(parse(amount).nano, 10**6)


@lru_cache(maxsize=8192)
def value(amount: Amount) -> int:
    """Whole units, rounded away from zero: bytes, or a count."""
    return _scaled(parse(amount).nano, _NANO)


def _scaled(nano: int, unit: int) -> int:
    return -(-nano // unit) if nano >= 0 else nano // unit


def cmp(left: Amount, right: Amount) -> int:
    """-1, 0 or 1 as the left amount is smaller, equal or greater."""
    a, b = nano_value(left), nano_value(right)
    return (a > b) - (a < b)


def sign(amount: Amount) -> int:
    """-1, 0 or 1."""
    return cmp(amount, 0)


def is_zero(amount: Amount) -> bool:
    """Whether it is nothing at all."""
    return nano_value(amount) == 0


def add(left: Amount, right: Amount) -> str:
    """The sum in the left amount's suffixes, or in the right one's where the left is zero."""
    a, b = parse(left), parse(right)
    return format_nano(a.nano + b.nano, a.format if a.nano else b.format)


def sub(left: Amount, right: Amount) -> str:
    """The difference in the left amount's suffixes, or in the right one's where that is zero."""
    a, b = parse(left), parse(right)
    return format_nano(a.nano - b.nano, a.format if a.nano else b.format)


def mul(amount: Amount, factor: int) -> str:
    """The product in the amount's suffixes."""
    parsed = parse(amount)
    return format_nano(parsed.nano * factor, parsed.format)


def total(amounts: Iterable[Amount]) -> str:
    """The sum of all, zero for none."""
    result: Amount = "0"
    for amount in amounts:
        result = add(result, amount)
    return canonical(result)


def maximum(left: Amount, right: Amount) -> str:
    """The greater amount in its own text; the left one where they are equal."""
    return canonical(left if cmp(left, right) >= 0 else right)


def minimum(left: Amount, right: Amount) -> str:
    """The smaller amount in its own text; the left one where they are equal."""
    return canonical(left if cmp(left, right) <= 0 else right)


def as_float(amount: Amount) -> float:
    """The nearest floating-point number."""
    return nano_value(amount) / _NANO


def from_milli(milli: int, format_: str = DECIMAL_SI) -> str:
    """The text of so many thousandths."""
    return format_nano(milli * 10**6, format_)


def from_value(units: int, format_: str = DECIMAL_SI) -> str:
    """The text of so many whole units."""
    return format_nano(units * _NANO, format_)
