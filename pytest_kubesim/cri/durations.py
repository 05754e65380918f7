"""How long: what a test author writes for a duration, as integer nanoseconds.

Text is Go's notation (`90s`, `5m`, `1h30m`, `200ms`), a number is seconds, a `timedelta` is itself.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TypeAlias

from pytest_kubesim.errors import UsageError
from pytest_kubesim.sim.clock import NS

Duration: TypeAlias = str | int | float | timedelta

_UNITS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": NS, "m": 60 * NS, "h": 3600 * NS,
    "d": 86_400 * NS,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")


def duration_ns(value: Duration) -> int:
    """Integer nanoseconds of a duration.

    Raises `UsageError` for what is no duration or is negative.
    """
    if isinstance(value, timedelta):
        result = (value.days * 86_400 + value.seconds) * NS + value.microseconds * 1_000
    elif isinstance(value, str):
        result = _parse(value)
    elif isinstance(value, bool):
        raise _refused(value)
    else:
        result = round(value * NS)
    if result < 0:
        raise _refused(value)
    return result


def _parse(text: str) -> int:
    position, total = 0, 0.0
    stripped = text.strip()
    if stripped == "0":
        return 0
    while position < len(stripped):
        part = _PART.match(stripped, position)
        if part is None:
            raise _refused(text)
        total += float(part[1]) * _UNITS[part[2]]
        position = part.end()
    if not position:
        raise _refused(text)
    return round(total)


def _refused(value: object) -> UsageError:
    return UsageError(
        f"{value!r} is not a duration.",
        "Write '90s', '5m', '1h30m', '200ms', a number of seconds or a timedelta.",
    )

