"""Dates as commands write and read them; the time zone is UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_LETTER = re.compile(r"%([-_0]?)([a-zA-Z%])")


def strftime(template: str, time_ns: int) -> str:
    """A time in nanoseconds since the epoch, as `date +template` writes it."""
    moment = datetime.fromtimestamp(time_ns // 10**9, UTC)

    def one(match: re.Match[str]) -> str:
        flag, letter = match.groups()
        if letter == "%":
            return "%"
        if letter == "s":
            return str(time_ns // 10**9)
        if letter == "N":
            return f"{time_ns % 10**9:09d}"
        if letter == "e":
            return f"{moment.day:2d}"
        if letter in ("Z", "z"):
            return "UTC" if letter == "Z" else "+0000"
        if letter in ("k", "l"):
            return f"{moment.hour if letter == 'k' else moment.hour % 12 or 12:2d}"
        if letter in "hbBaAdDFHIjmMnprRSTtTuUVwWxXyYcCgG":
            text = moment.strftime(f"%{letter}")
            return (text.lstrip("0") or "0") if flag == "-" else text
        return match.group()

    return _LETTER.sub(one, template)


def parse(text: str, now_ns: int) -> int | None:
    """The time that `date -d text` means, in nanoseconds; None where it means none."""
    if text.startswith("@") and re.fullmatch(r"@\d+(\.\d+)?", text):
        return int(float(text[1:]) * 10**9)
    if text in ("now", ""):
        return now_ns
    for template in (
        "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y%m%d%H%M.%S",
        "%Y%m%d%H%M",
    ):
        try:
            moment = datetime.strptime(text, template).replace(tzinfo=UTC)
        except ValueError:
            continue
        return int(moment.timestamp()) * 10**9
    return None
