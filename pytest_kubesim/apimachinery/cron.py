"""Cron schedules: five fields or a descriptor, in a time zone.

The law is that of `github.com/robfig/cron/v3` (`parser.go`, `spec.go`), which Kubernetes uses: a
time matches when each field does; of day of month and day of week one is enough unless one of them
is a star; times in a zone jump over what summer time leaves out, and happen once where it repeats.
Instants are nanoseconds since the epoch.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.apimachinery.golang import atoi

if TYPE_CHECKING:
    from collections.abc import Mapping

SECOND = 1_000_000_000
_DAY = 86_400
_MAX_YEARS = 5

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen(slots=True)
class _Bounds:
    least: int
    most: int
    names: Mapping[str, int] = attrs.field(factory=dict[str, int])


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_BOUNDS = (
    _Bounds(0, 59),
    _Bounds(0, 23),
    _Bounds(1, 31),
    _Bounds(1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    _Bounds(0, 6, {name: number for number, name in enumerate(_DAYS)}),
)

_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class UnknownTimeZone(ValueError):
    """No such time zone; the text is Go's."""


@lru_cache(maxsize=64)
def load_location(name: str) -> ZoneInfo:
    """A time zone as Go's `time.LoadLocation` finds it.  Raises `UnknownTimeZone`."""
    if name in {"", "UTC"}:
        return ZoneInfo("UTC")
    if ".." in name or name.startswith(("/", "\\")) or "\\" in name:
        raise UnknownTimeZone("time: invalid location name")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UnknownTimeZone(f"unknown time zone {name}") from None


@attrs.frozen(slots=True)
class _Field:
    values: frozenset[int]
    star: bool


@attrs.frozen(slots=True)
class Schedule:
    """When something happens again and again; `parse` makes it."""

    _fields: tuple[_Field, ...]
    _zone: ZoneInfo
    _every_s: int = 0

    def next(self, after_ns: int) -> int | None:
        """The first instant after `after_ns`; None if there is none within five years."""
        if self._every_s:
            return (after_ns // SECOND + self._every_s) * SECOND
        found = _Search(self._fields, self._zone, after_ns // SECOND + 1).run()
        return None if found is None else found * SECOND


class _Search:
    """The walk of `SpecSchedule.Next`, with the same handling of summer time."""

    def __init__(self, fields: tuple[_Field, ...], zone: ZoneInfo, start_s: int) -> None:
        self.minutes, self.hours, self.days, self.months, self.weekdays = fields
        self.zone = zone
        self.time_s = start_s
        self.added = False

    def local(self) -> datetime:
        return (_EPOCH + timedelta(seconds=self.time_s)).astimezone(self.zone)

    def offset(self, time_s: int) -> int:
        moment = (_EPOCH + timedelta(seconds=time_s)).astimezone(self.zone)
        delta = moment.utcoffset()
        assert delta is not None
        return delta.days * _DAY + delta.seconds

    def from_wall(self, wall_s: int) -> int:
        """The instant of a wall clock's time, as Go's `time.Date` finds it."""
        offset = self.offset(wall_s)
        return wall_s - self.offset(wall_s - offset)

    def start_of(self, moment: datetime, *, days: int = 0) -> None:
        wall = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
        self.time_s = self.from_wall((wall - _EPOCH).days * _DAY + days * _DAY)

    def run(self) -> int | None:
        limit = self.local().year + _MAX_YEARS
        while self.local().year <= limit:
            if self.month() and self.day() and self.hour() and self.minute() and self.second():
                return self.time_s
        return None

    def month(self) -> bool:
        while (moment := self.local()).month not in self.months.values:
            year, month = moment.year, moment.month
            if self.added:
                # As AddDate: the same day and time of the next month.
                first = datetime(year, month, 1, tzinfo=UTC)
                rest_s = self.wall(moment) - (first - _EPOCH).days * _DAY
            else:
                rest_s = 0
            self.added = True
            following = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
            self.time_s = self.from_wall((following - _EPOCH).days * _DAY + rest_s)
            if self.local().month == 1:
                return False
        return True

    @staticmethod
    def wall(moment: datetime) -> int:
        naive = moment.replace(tzinfo=UTC)
        delta = naive - _EPOCH
        return delta.days * _DAY + delta.seconds

    def day_matches(self, moment: datetime) -> bool:
        by_month = moment.day in self.days.values
        by_week = moment.isoweekday() % 7 in self.weekdays.values
        if self.days.star or self.weekdays.star:
            return by_month and by_week
        return by_month or by_week

    def day(self) -> bool:
        while not self.day_matches(moment := self.local()):
            if not self.added:
                self.added = True
                self.start_of(moment)
                moment = self.local()
            self.time_s = self.from_wall(self.wall(moment) + _DAY)
            hour = self.local().hour
            if hour != 0:
                self.time_s += (24 - hour if hour > 12 else -hour) * 3600
            if self.local().day == 1:
                return False
        return True

    def hour(self) -> bool:
        while (moment := self.local()).hour not in self.hours.values:
            if not self.added:
                self.added = True
                self.time_s -= moment.minute * 60 + moment.second
            self.time_s += 3600
            if self.local().hour == 0:
                return False
        return True

    def minute(self) -> bool:
        while (moment := self.local()).minute not in self.minutes.values:
            if not self.added:
                self.added = True
                self.time_s -= self.time_s % 60
            self.time_s += 60
            if self.local().minute == 0:
                return False
        del moment
        return True

    def second(self) -> bool:
        while (moment := self.local()).second != 0:
            self.added = True
            self.time_s += 60 - moment.second
            if self.local().minute == 0 or self.local().minute not in self.minutes.values:
                return False
        return True


@lru_cache(maxsize=512)
def parse(text: str) -> Schedule:
    """A schedule in cron's format, with `TZ=` or `CRON_TZ=` in front for a time zone.

    Raises: `ValueError` with the parser's text.
    """
    if not text:
        raise ValueError("empty spec string")
    zone = load_location("UTC")
    if text.startswith(("TZ=", "CRON_TZ=")):
        head, space, rest = text.partition(" ")
        if not space:
            raise ValueError("runtime error: slice bounds out of range [:-1]")
        name = head.partition("=")[2]
        try:
            zone = load_location(name)
        except UnknownTimeZone as problem:
            raise ValueError(f"provided bad location {name}: {problem}") from None
        text = rest.strip()
    if text.startswith("@"):
        return _descriptor(text, zone)
    words = text.split()
    if len(words) != len(_BOUNDS):
        shown = " ".join(words)
        raise ValueError(f"expected exactly 5 fields, found {len(words)}: [{shown}]")
    fields = [_field(word, bounds) for word, bounds in zip(words, _BOUNDS, strict=True)]
    return Schedule(tuple(fields), zone)


def _descriptor(text: str, zone: ZoneInfo) -> Schedule:
    meaning = _DESCRIPTORS.get(text)
    if meaning is not None:
        fields = [_field(w, b) for w, b in zip(meaning.split(), _BOUNDS, strict=True)]
        return Schedule(tuple(fields), zone)
    if text.startswith("@every "):
        try:
            duration_ns = timestamps.parse_duration(text.removeprefix("@every "))
        except ValueError as problem:
            raise ValueError(f"failed to parse duration {text}: {problem}") from None
        return Schedule((), zone, max(duration_ns // SECOND, 1))
    raise ValueError(f"unrecognized descriptor: {text}")


def _field(text: str, bounds: _Bounds) -> _Field:
    values: set[int] = set()
    star = False
    for expression in text.split(","):
        if expression:
            numbers, is_star = _range(expression, bounds)
            values.update(numbers)
            star = star or is_star
    return _Field(frozenset(values), star)


def _range(expression: str, bounds: _Bounds) -> tuple[range, bool]:
    parts = expression.split("/")
    limits = parts[0].split("-")
    star = limits[0] in {"*", "?"}
    if star:
        start, end = bounds.least, bounds.most
    else:
        start = _number_or_name(limits[0], bounds)
        if len(limits) > 2:
            raise ValueError(f"too many hyphens: {expression}")
        end = start if len(limits) == 1 else _number_or_name(limits[1], bounds)
    step = 1
    if len(parts) > 2:
        raise ValueError(f"too many slashes: {expression}")
    if len(parts) == 2:
        step = _number(parts[1])
        if len(limits) == 1:
            end = bounds.most
        if step > 1:
            star = False
    if start < bounds.least:
        raise ValueError(
            f"beginning of range ({start}) below minimum ({bounds.least}): {expression}"
        )
    if end > bounds.most:
        raise ValueError(f"end of range ({end}) above maximum ({bounds.most}): {expression}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {expression}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {expression}")
    return range(start, end + 1, step), star


def _number_or_name(text: str, bounds: _Bounds) -> int:
    named = bounds.names.get(text.lower())
    return _number(text) if named is None else named


def _number(text: str) -> int:
    try:
        number = atoi(text)
    except ValueError as problem:
        raise ValueError(f"failed to parse int from {text}: {problem}") from None
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {text}")
    return number
