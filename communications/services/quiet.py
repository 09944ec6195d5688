"""Quiet hours: when a promotion may not disturb anybody, on their own clock."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

QUIET_FROM, QUIET_TO = time(21), time(8)


def next_allowed(at: datetime, *, timezone: str) -> datetime:
    """Return the first moment from `at` (aware) that is not in quiet hours where the time zone is; `at` itself if it is not."""
    zone = ZoneInfo(timezone)
    local = at.astimezone(zone)
    if QUIET_TO <= local.time() < QUIET_FROM:
        return at
    day = local.date() + timedelta(days=1) if local.time() >= QUIET_FROM else local.date()
    return datetime.combine(day, QUIET_TO, zone).astimezone(at.tzinfo)
