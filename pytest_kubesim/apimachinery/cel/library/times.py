"""Taking timestamps and durations apart.

The law: without a zone, times are read in UTC.

Follows ``cel-go/common/types/{timestamp,duration}.go``.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Callable

from pytest_kubesim.apimachinery.cel.environment import Function, function, method
from pytest_kubesim.apimachinery.cel.errors import CELError
from pytest_kubesim.apimachinery.cel.types import DURATION, INT, STRING, TIMESTAMP
from pytest_kubesim.apimachinery.cel.values import SECOND_NS, Duration, Timestamp

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def _in_zone(timestamp: Timestamp, zone: str) -> dt.datetime:
    seconds = timestamp.time_ns // SECOND_NS
    moment = _EPOCH + dt.timedelta(seconds=seconds)
    if zone in ("", "UTC"):
        return moment
    if ":" not in zone:
        if ".." in zone or zone[0] in "/\\":
            raise CELError("time: invalid location name")
        try:
            return moment.astimezone(zoneinfo.ZoneInfo(zone))
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            raise CELError(f"unknown time zone {zone}") from None
    hours_text, _, minutes_text = zone.partition(":")
    hours, minutes = _number(hours_text), _number(minutes_text)
    if not 0 <= minutes <= 59:
        raise CELError(f"timezone offset minutes out of range [0, 59]: {zone}")
    offset = hours * 60 - minutes if zone.startswith("-") else hours * 60 + minutes
    return moment + dt.timedelta(minutes=offset)


def _number(text: str) -> int:
    if not re.fullmatch("[+-]?[0-9]+", text, re.ASCII):
        raise CELError(f'strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


_PARTS: dict[str, Callable[[dt.datetime], int]] = {
    "getFullYear": lambda moment: moment.year,
    "getMonth": lambda moment: moment.month - 1,
    "getDayOfYear": lambda moment: moment.timetuple().tm_yday - 1,
    "getDayOfMonth": lambda moment: moment.day - 1,
    "getDate": lambda moment: moment.day,
    "getDayOfWeek": lambda moment: moment.isoweekday() % 7,
    "getHours": lambda moment: moment.hour,
    "getMinutes": lambda moment: moment.minute,
    "getSeconds": lambda moment: moment.second,
}
_IDS = {
    "getFullYear": "year",
    "getMonth": "month",
    "getDayOfYear": "day_of_year",
    "getDayOfMonth": "day_of_month",
    "getDate": "day_of_month_1_based",
    "getDayOfWeek": "day_of_week",
    "getHours": "hours",
    "getMinutes": "minutes",
    "getSeconds": "seconds",
    "getMilliseconds": "milliseconds",
}
_UNITS_NS = {
    "getHours": 3600 * SECOND_NS,
    "getMinutes": 60 * SECOND_NS,
    "getSeconds": SECOND_NS,
    "getMilliseconds": 1_000_000,
}


def _milliseconds(timestamp: Timestamp, zone: str = "") -> int:
    _in_zone(timestamp, zone)
    return timestamp.time_ns % SECOND_NS // 1_000_000


def _part(name: str) -> Callable[..., int]:
    if name == "getMilliseconds":
        return _milliseconds
    part = _PARTS[name]

    def run(timestamp: Timestamp, zone: str = "") -> int:
        return part(_in_zone(timestamp, zone))

    return run


def _whole(name: str) -> Callable[[Duration], int]:
    unit = _UNITS_NS[name]

    def run(duration: Duration) -> int:
        whole, rest = divmod(abs(duration.duration_ns), unit)
        # Go makes a double of it first, which may round up.
        found = whole if name == "getMilliseconds" else int(float(whole) + float(rest) / unit)
        return -found if duration.duration_ns < 0 else found

    return run


def _functions() -> tuple[Function, ...]:
    found: list[Function] = []
    for name, id_ in _IDS.items():
        run = _part(name)
        overloads = [
            method(f"timestamp_to_{id_}", (TIMESTAMP,), INT, run),
            method(f"timestamp_to_{id_}_with_tz", (TIMESTAMP, STRING), INT, run),
        ]
        if name in _UNITS_NS:
            overloads.append(method(f"duration_to_{id_}", (DURATION,), INT, _whole(name)))
        found.append(function(name, *overloads))
    return tuple(found)


FUNCTIONS: tuple[Function, ...] = _functions()
