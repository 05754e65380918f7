"""Cron schedules as Kubernetes reads them: five fields, or a name with `@`.

The law: a schedule is five bit sets; `STAR` marks a field that does not restrict.

Follows `robfig/cron/v3` (`parser.go`, `ParseStandard`), which complains in its own words.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.apimachinery.golang import bracketed, parse_int
from pytest_kubesim.registry.batch import time_zones

STAR = 1 << 63


class Bounds(NamedTuple):
    """What a field may hold."""

    lowest: int
    highest: int
    names: dict[str, int]


_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
MINUTES = Bounds(0, 59, {})
HOURS = Bounds(0, 23, {})
DAYS_OF_MONTH = Bounds(1, 31, {})
MONTHS = Bounds(1, 12, {name: number for number, name in enumerate(_MONTHS, 1)})
DAYS_OF_WEEK = Bounds(0, 6, {name: number for number, name in enumerate(_DAYS)})
_FIELDS = (MINUTES, HOURS, DAYS_OF_MONTH, MONTHS, DAYS_OF_WEEK)


class Schedule(NamedTuple):
    """When to run, in some time zone; or every `every_ns` nanoseconds, if that is set."""

    minutes: int
    hours: int
    days_of_month: int
    months: int
    days_of_week: int
    every_ns: int = 0
    zone: str = ""
    """The time zone that the text names with `TZ=`; empty: none."""


@lru_cache(maxsize=512)
def parse(text: str) -> Schedule:
    """Reads a schedule.  Raises `ValueError` in robfig's words."""
    if not text:
        raise ValueError("empty spec string")
    zone = ""
    if text.startswith(("TZ=", "CRON_TZ=")):
        head, space, rest = text.partition(" ")
        if not space:
            # Upstream panics here, and Kubernetes catches it.
            raise ValueError(
                "invalid schedule format: runtime error: slice bounds out of range [:-1]"
            )
        zone = head.partition("=")[2]
        if problem := time_zones.problem(zone):
            raise ValueError(f"provided bad location {zone}: {problem}")
        text = rest.strip()
    if text.startswith("@"):
        return _descriptor(text)._replace(zone=zone)
    words = text.split()
    if len(words) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(words)}: {bracketed(words)}")
    return Schedule(*(_field(w, b) for w, b in zip(words, _FIELDS, strict=True)), zone=zone)


def _all(bounds: Bounds) -> int:
    return _bits(bounds.lowest, bounds.highest, 1) | STAR


def _bits(start: int, end: int, step: int) -> int:
    found = 0
    for number in range(start, end + 1, step):
        found |= 1 << number
    return found


def _descriptor(text: str) -> Schedule:
    one = [1 << bounds.lowest for bounds in _FIELDS]
    every = [_all(bounds) for bounds in _FIELDS]
    if text in ("@yearly", "@annually"):
        return Schedule(one[0], one[1], one[2], one[3], every[4])
    if text == "@monthly":
        return Schedule(one[0], one[1], one[2], every[3], every[4])
    if text == "@weekly":
        return Schedule(one[0], one[1], every[2], every[3], one[4])
    if text in ("@daily", "@midnight"):
        return Schedule(one[0], one[1], every[2], every[3], every[4])
    if text == "@hourly":
        return Schedule(one[0], every[1], every[2], every[3], every[4])
    if text.startswith("@every "):
        try:
            period_ns = timestamps.parse_duration(text[len("@every ") :])
        except ValueError as error:
            raise ValueError(f"failed to parse duration {text}: {error}") from None
        second = 10**9
        return Schedule(0, 0, 0, 0, 0, max(period_ns - period_ns % second, second))
    raise ValueError(f"unrecognized descriptor: {text}")


def _field(text: str, bounds: Bounds) -> int:
    found = 0
    for part in filter(None, text.split(",")):
        found |= _range(part, bounds)
    return found


def _range(text: str, bounds: Bounds) -> int:
    range_and_step = text.split("/")
    low_and_high = range_and_step[0].split("-")
    single = len(low_and_high) == 1
    extra = 0
    if low_and_high[0] in ("*", "?"):
        start, end, extra = bounds.lowest, bounds.highest, STAR
    else:
        start = _number(low_and_high[0], bounds)
        if single:
            end = start
        elif len(low_and_high) == 2:
            end = _number(low_and_high[1], bounds)
        else:
            raise ValueError(f"too many hyphens: {text}")
    if len(range_and_step) == 1:
        step = 1
    elif len(range_and_step) == 2:
        step = _plain_number(range_and_step[1])
        if single:
            end = bounds.highest
        if step > 1:
            extra = 0
    else:
        raise ValueError(f"too many slashes: {text}")
    if start < bounds.lowest:
        raise ValueError(f"beginning of range ({start}) below minimum ({bounds.lowest}): {text}")
    if end > bounds.highest:
        raise ValueError(f"end of range ({end}) above maximum ({bounds.highest}): {text}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {text}")
    return _bits(start, end, step) | extra


def _number(text: str, bounds: Bounds) -> int:
    named = bounds.names.get(text.lower())
    return _plain_number(text) if named is None else named


def _plain_number(text: str) -> int:
    try:
        number = parse_int(text, function="Atoi")
    except ValueError as error:
        raise ValueError(f"failed to parse int from {text}: {error}") from None
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {text}")
    return number
