"""Names of time zones, as Go knows them.

Follows `time.LoadLocation`.
"""

from __future__ import annotations

import functools
import zoneinfo


@functools.lru_cache(maxsize=256)
def problem(name: str) -> str:
    """Why there is no such zone, in Go's words; empty if there is one."""
    if name in ("", "UTC", "Local"):
        return ""
    if ".." in name or name[0] in "/\\":
        return "time: invalid location name"
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return f"unknown time zone {name}"
    return ""
