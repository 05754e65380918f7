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


def go_duration(duration_ns: int) -> str:
    """A duration as Go's `Duration.String` prints it: `1.2s`, `350ms`, `2m0s`, `1h0m0s`."""
    if duration_ns == 0:
        return "0s"
    if duration_ns < NS:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if duration_ns >= size:
                return f"{_decimal(duration_ns, size)}{unit}"
    minutes, rest_ns = divmod(duration_ns, 60 * NS)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_decimal(rest_ns, NS)}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _decimal(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    if not rest:
        return str(whole)
    digits = str(rest).rjust(len(str(size)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}"
