"""Quiet hours: when no promotion may arrive, by the recipient's own clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings


def hours() -> tuple[time, time]:
    """Return when quiet begins and ends, local time, from QUIET_HOURS ("21:00-08:00"). Raises ValueError."""
    begins, _dash, ends = settings.QUIET_HOURS.partition("-")
    return time.fromisoformat(begins.strip()), time.fromisoformat(ends.strip())


def zone_of(timezone: str) -> ZoneInfo:
    """Return the recipient's zone; the operator's when it is unknown."""
    try:
        return ZoneInfo(timezone or settings.HOME_TIMEZONE)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo(settings.HOME_TIMEZONE)


def next_allowed(at: datetime, *, timezone: str) -> datetime:
    """Return the first moment from `at` on (aware UTC) that is not quiet where the recipient is: `at` itself, or the end of quiet.

    Where the clocks skip the end of quiet, it ends when they have skipped it; where they show it twice, the first time counts.
    """
    begins, ends = hours()
    local = at.astimezone(zone_of(timezone))
    clock = local.time().replace(tzinfo=None)
    is_quiet = begins <= clock < ends if begins <= ends else clock >= begins or clock < ends
    if begins == ends or not is_quiet:
        return at
    day = local.date() + timedelta(days=1 if begins > ends and clock >= begins else 0)
    over = datetime.combine(day, ends, tzinfo=local.tzinfo).astimezone(UTC)
    return max(over, at)
