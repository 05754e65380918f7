"""Durations as a test author writes them: `"90s"`, `"1h30m"`, `2.5`, `timedelta(minutes=5)`."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from pytest_kubesim.errors import UsageError
from pytest_kubesim.sim.clock import NS

Duration = str | float | timedelta
"""A virtual duration: text with units (`ms`, `s`, `m`, `h`, `d`), seconds, or a timedelta."""

_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")
_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": NS,
    "m": 60 * NS,
    "h": 3600 * NS,
    "d": 86_400 * NS,
}


def to_ns(duration: Duration, option: str = "duration") -> int:
    """Integer nanoseconds of `duration`; `option` is the name under which errors speak of it.

    Raises: `UsageError` when it is no duration or negative.
    """
    if isinstance(duration, timedelta):
        result = (duration.days * 86_400 + duration.seconds) * NS + duration.microseconds * 1_000
    elif isinstance(duration, str):
        text = duration.strip().replace(" ", "")
        parts = _PART.findall(text)
        if text != "0" and (not parts or "".join(number + unit for number, unit in parts) != text):
            raise UsageError(
                f"{option}: {duration!r} is not a duration; write it like '90s', '5m', '1h30m' or "
                "'250ms', as a number of seconds, or as a timedelta"
            )
        result = sum(int(float(number) * _UNIT_NS[unit]) for number, unit in parts)
    elif (
        isinstance(duration, int | float)
        and not isinstance(duration, bool)
        and math.isfinite(duration)
    ):
        result = round(duration * NS)
    else:
        raise UsageError(
            f"{option}: {duration!r} is not a duration; write it like '90s', as a number of "
            "seconds, or as a timedelta"
        )
    if result < 0:
        raise UsageError(f"{option}: {duration!r} is negative; time only moves forwards")
    return result


def text(duration_ns: int) -> str:
    """A duration for people: `1h2m3s`, `250ms`, `0s`."""
    if duration_ns < 0:
        return "-" + text(-duration_ns)
    if duration_ns < NS:
        return f"{duration_ns / (NS // 1000):g}ms" if duration_ns else "0s"
    seconds, rest_ns = divmod(duration_ns, NS)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    if rest_ns and not parts:
        parts.append(f"{seconds + rest_ns / NS:.3f}".rstrip("0").rstrip(".") + "s")
    elif seconds or not parts:
        parts.append(f"{seconds}s")
    return "".join(parts)
