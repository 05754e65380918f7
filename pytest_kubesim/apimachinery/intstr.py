"""Numbers that may be percentages: ``maxUnavailable``, ``targetPort`` and the like.

An IntOrString is a JSON integer or a JSON string; nothing wraps it.

Follows ``apimachinery/pkg/util/intstr/intstr.go``.
"""

from __future__ import annotations

from typing import TypeAlias

from pytest_kubesim.apimachinery.golang import atoi, parse_int, quote

IntOrString: TypeAlias = int | str


def parse(text: str) -> IntOrString:
    """An integer where the text is one that fits 32 bits, else the text itself."""
    try:
        return parse_int(text, 32)
    except ValueError:
        return text


def int_value(value: IntOrString) -> int:
    """The integer; 0 for a text that is none."""
    if isinstance(value, int):
        return value
    try:
        return atoi(value)
    except ValueError:
        return 0


def to_string(value: IntOrString) -> str:
    """The text as ``%s`` prints it."""
    return str(value)


def is_percent(value: IntOrString) -> bool:
    """Whether it is written as a percentage, good or bad."""
    return isinstance(value, str) and value.endswith("%")


def scaled_value(value: IntOrString | None, total: int, *, round_up: bool) -> int:
    """The integer, or so many percent of ``total``.

    Upstream's ``GetScaledValueFromIntOrPercent``. Raises ``ValueError`` with its text for a missing
    value and for a string that is no percentage.
    """
    if value is None:
        raise ValueError("nil value for IntOrString")
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError("invalid value for IntOrString: invalid type: string is not a percentage")
    try:
        percent = atoi(value.removesuffix("%"))
    except ValueError as problem:
        text = f"invalid value {quote(value)}: {problem}"
        raise ValueError(f"invalid value for IntOrString: {text}") from None
    product = percent * total
    return -(-product // 100) if round_up else product // 100
