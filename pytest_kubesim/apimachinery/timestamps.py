"""Times and durations as text: RFC 3339 as Kubernetes writes it, and Go's ``1h30m0s``.

Instants are integer nanoseconds since 1970 UTC, durations integer nanoseconds. Nothing here asks
any clock, nor the standard library's datetime, which a test may have frozen.

Follows ``apimachinery/pkg/apis/meta/v1/{time,micro_time}.go``, ``pkg/util/duration`` and Go's
``time.Parse``, ``time.ParseDuration`` and ``Duration.String`` with their errors.
"""

from __future__ import annotations

import re
from functools import lru_cache

NANOSECOND = 1
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

RFC3339 = "2006-01-02T15:04:05Z07:00"
RFC3339_MICRO = "2006-01-02T15:04:05.000000Z07:00"

_DAY_SECONDS = 86_400


# -- the calendar ----------------------------------------------------------------------------------


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar."""
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return (
        era * 146_097
        + year_of_era * 365
        + year_of_era // 4
        - year_of_era // 100
        + (day_of_year - 719_468)
    )


@lru_cache(maxsize=512)
def _date(days: int) -> str:
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    return f"{year:04d}-{month:02d}-{day:02d}"


def _days_in(month: int, year: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in {4, 6, 9, 11} else 31


# -- instants --------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _seconds_text(seconds: int) -> str:
    days, rest = divmod(seconds, _DAY_SECONDS)
    return f"{_date(days)}T{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"


@lru_cache(maxsize=64)
def _time_text(seconds: int) -> str:
    return _seconds_text(seconds) + "Z"


def format_time(time_ns: int) -> str:
    """A ``metav1.Time``: ``2026-01-31T12:00:00Z``; fractions of the second are cut off."""
    return _time_text(time_ns // SECOND)


def format_micro_time(time_ns: int) -> str:
    """A ``metav1.MicroTime``: ``2026-01-31T12:00:00.000000Z``, always six digits."""
    seconds, rest = divmod(time_ns, SECOND)
    return f"{_seconds_text(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=4096)
def parse_time(text: str) -> int:
    """The instant of a ``metav1.Time``; raises ``ValueError`` with the text of Go's parser.

    An offset other than ``Z`` and any number of digits after the second are accepted.
    """
    return _parse(text, RFC3339, micro=False)


@lru_cache(maxsize=4096)
def parse_micro_time(text: str) -> int:
    """The instant of a ``metav1.MicroTime``, which must have exactly six digits."""
    return _parse(text, RFC3339_MICRO, micro=True)


class _Cursor:
    """Go's parser on its way through one text."""

    def __init__(self, text: str, layout: str) -> None:
        self.text = text
        self.rest = text
        self._layout = layout

    def mismatch(self, element: str, at: str) -> ValueError:
        wanted = f"cannot parse {_quote(at)} as {_quote(element)}"
        return ValueError(f"parsing time {_quote(self.text)} as {_quote(self._layout)}: {wanted}")

    def complaint(self, message: str) -> ValueError:
        return ValueError(f"parsing time {_quote(self.text)}: {message}")

    def literal(self, character: str) -> None:
        if not self.rest.startswith(character):
            raise self.mismatch(character, self.rest)
        self.rest = self.rest[1:]

    def number(self, element: str, what: str, lowest: int, highest: int) -> int:
        # Hours may have a single digit, as in Go; all else has two.
        hold, rest = self.rest, self.rest
        width = 2 if _digits(rest[:2], 2) else 1
        if not _digits(rest[:width], width) or (width == 1 and element != "15"):
            raise self.mismatch(element, hold)
        self.rest = rest[width:]
        number = int(rest[:width])
        if not lowest <= number <= highest:
            raise self.complaint(f"{what} out of range")
        return number

    def year(self) -> int:
        if not _digits(self.rest[:4], 4):
            raise self.mismatch("2006", self.rest)
        year, self.rest = int(self.rest[:4]), self.rest[4:]
        return year

    def fraction(self) -> int:
        """Digits after the second that the layout does not ask for."""
        match = _FRACTION.match(self.rest)
        if match is None:
            return 0
        self.rest = self.rest[match.end() :]
        return int(match[1][:9].ljust(9, "0"))

    def micro_fraction(self) -> int:
        # Go reads the digits as an integer, which may have a sign.
        match = _MICRO.match(self.rest)
        if match is None:
            raise self.mismatch(".000000", self.rest)
        self.rest = self.rest[7:]
        if int(match[1]) < 0:
            raise self.complaint("fractional second out of range")
        return int(match[1]) * 10 ** (9 - 6)

    def offset_seconds(self) -> int:
        if self.rest.startswith("Z"):
            self.rest = self.rest[1:]
            return 0
        hold = self.rest
        if len(hold) < 6 or hold[3] != ":":
            raise self.mismatch("Z07:00", hold)
        # Go complains about the range first, even where something else is wrong as well.
        sign, hours, minutes = hold[0], _two_digits(hold[1:3]), _two_digits(hold[4:6])
        if hours is not None and minutes is not None and minutes > 60:
            raise self.complaint("time zone offset minute out of range")
        if hours is not None and hours > 24:
            raise self.complaint("time zone offset hour out of range")
        if hours is None or minutes is None or sign not in "+-":
            raise self.mismatch("Z07:00", hold)
        self.rest = hold[6:]
        seconds = (hours * 60 + minutes) * 60
        return -seconds if sign == "-" else seconds


_FRACTION = re.compile(r"[.,]([0-9]+)")
_MICRO = re.compile(r"[.,]([0-9]{6}|[-+][0-9]{5})")


def _two_digits(text: str) -> int | None:
    return int(text) if _digits(text, 2) else None


def _digits(text: str, count: int) -> bool:
    return len(text) == count and text.isascii() and text.isdigit()


def _parse(text: str, layout: str, *, micro: bool) -> int:
    cursor = _Cursor(text, layout)
    year = cursor.year()
    cursor.literal("-")
    month = cursor.number("01", "month", 1, 12)
    cursor.literal("-")
    day = cursor.number("02", "day", 0, 99)
    cursor.literal("T")
    hour = cursor.number("15", "hour", 0, 23)
    cursor.literal(":")
    minute = cursor.number("04", "minute", 0, 59)
    cursor.literal(":")
    second = cursor.number("05", "second", 0, 59)
    nanoseconds = cursor.micro_fraction() if micro else cursor.fraction()
    offset = cursor.offset_seconds()
    if cursor.rest:
        raise cursor.complaint(f"extra text: {_quote(cursor.rest)}")
    if not 1 <= day <= _days_in(month, year):
        raise cursor.complaint("day out of range")
    seconds = _days(year, month, day) * _DAY_SECONDS + hour * 3600 + minute * 60 + second - offset
    return seconds * SECOND + nanoseconds


def _quote(text: str) -> str:
    # Package time has a quote of its own: non-ASCII letters byte by byte.
    parts: list[str] = []
    for character in text:
        if character >= "\x80" or character < " ":
            parts.extend(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
        elif character in '"\\':
            parts.append("\\" + character)
        else:
            parts.append(character)
    return '"' + "".join(parts) + '"'


# -- durations -------------------------------------------------------------------------------------

_UNITS = {
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "\u00b5s": MICROSECOND,
    "\u03bcs": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
}
_TERM = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_LIMIT = 1 << 63


@lru_cache(maxsize=1024)
def parse_duration(text: str) -> int:
    """Nanoseconds of a Go duration such as ``1h30m``; raises ``ValueError`` with Go's text."""
    rest = text[1:] if text[:1] in {"+", "-"} else text
    if rest == "0":
        return 0
    if not rest:
        raise _invalid_duration(text)
    duration = 0
    while rest:
        match = _TERM.match(rest)
        assert match is not None
        whole, fraction, unit = match[1], match[2] or "", match[3]
        if (not whole and not fraction) or int(whole or 0) > _LIMIT:
            raise _invalid_duration(text)
        if not unit:
            raise ValueError(f"time: missing unit in duration {_quote(text)}")
        if unit not in _UNITS:
            raise ValueError(f"time: unknown unit {_quote(unit)} in duration {_quote(text)}")
        duration += int(whole or 0) * _UNITS[unit]
        duration += int(fraction or 0) * _UNITS[unit] // 10 ** len(fraction)
        if duration > _LIMIT:
            raise _invalid_duration(text)
        rest = rest[match.end() :]
    if text.startswith("-"):
        return -duration
    if duration == _LIMIT:
        raise _invalid_duration(text)
    return duration


def _invalid_duration(text: str) -> ValueError:
    return ValueError(f"time: invalid duration {_quote(text)}")


def format_duration(duration_ns: int) -> str:
    """``Duration.String``: ``1h30m0s``, ``1.5s``, ``300ms``, ``0s``."""
    sign = "-" if duration_ns < 0 else ""
    left = abs(duration_ns)
    if left == 0:
        return "0s"
    if left < SECOND:
        for size, unit in ((MILLISECOND, "ms"), (MICROSECOND, "\u00b5s"), (1, "ns")):
            if left >= size:
                return f"{sign}{_decimal(left, size)}{unit}"
    minutes, rest = divmod(left, MINUTE)
    text = f"{_decimal(rest, SECOND)}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{minutes}m{text}"
        if hours:
            text = f"{hours}h{text}"
    return sign + text


def _decimal(amount: int, unit: int) -> str:
    whole, rest = divmod(amount, unit)
    if not rest:
        return str(whole)
    width = len(str(unit)) - 1
    return f"{whole}.{rest:0{width}d}".rstrip("0")


def human_duration(duration_ns: int) -> str:
    """Two or three significant figures, as kubectl prints an AGE: ``5m30s``, ``3h``, ``2d4h``."""
    seconds = _truncated(duration_ns, SECOND)
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 24 * 8:
        return _two(days, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{days}d"
    if hours < 24 * 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def short_human_duration(duration_ns: int) -> str:
    """One figure: ``59s``, ``3m``, ``23h``, ``300d``, ``2y``."""
    seconds = _truncated(duration_ns, SECOND)
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "m"), (86_400, 3600, "h")):
        if seconds < limit:
            return f"{seconds // size}{unit}"
    days = seconds // 86_400
    return f"{days}d" if days < 365 else f"{days // 365}y"


def _truncated(amount: int, unit: int) -> int:
    # Go's integer division rounds toward zero.
    return amount // unit if amount >= 0 else -(-amount // unit)


def _two(first: int, first_unit: str, second: int, second_unit: str) -> str:
    tail = f"{second}{second_unit}" if second else ""
    return f"{first}{first_unit}{tail}"
