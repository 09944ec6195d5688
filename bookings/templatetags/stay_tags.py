"""How pages write money and an airport's local time."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from babel.dates import get_timezone_location
from django import template
from django.utils import formats, timezone
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from bookings.services.quote import local_days
from foundation.money import Money

register = template.Library()


@register.simple_tag
def money(amount_minor: int, currency: str) -> str:
    """Write an amount of minor units the way a person reads it."""
    return Money(amount_minor, currency).format()


@register.filter
def clock(moment: datetime, zone: ZoneInfo) -> str:
    """Write the wall-clock time of an instant at the airport: 09:30."""
    return moment.astimezone(zone).strftime("%H:%M")


@register.filter
def until(moment: datetime, zone: ZoneInfo) -> str:
    """Write a limit as the airport's clock shows it: 09:30, with the day when that is not today there."""
    if moment.astimezone(zone).date() == timezone.now().astimezone(zone).date():
        return clock(moment, zone)
    return f"{day(moment, zone)}, {clock(moment, zone)}"


@register.filter
def day(moment: datetime, zone: ZoneInfo) -> str:
    """Write the calendar day of an instant at the airport: Tue 1 Dec 2026."""
    return formats.date_format(moment.astimezone(zone).replace(tzinfo=None), "D j M Y")


@register.filter
def zone_name(moment: datetime, zone: ZoneInfo) -> str:
    """Name the airport's clock at that instant: London time (GMT)."""
    city = get_timezone_location(zone, return_city=True, locale=(get_language() or "en").replace("-", "_"))
    return _("%(city)s time (%(zone)s)") % {"city": city, "zone": moment.astimezone(zone).tzname()}


@register.simple_tag
def stay_length(start_at: datetime, end_at: datetime, zone: ZoneInfo) -> str:
    """Say how long a stay is, in the calendar days that the price counts; in hours under a day."""
    hours = max(1, round((end_at - start_at).total_seconds() / 3600))
    if hours < 24:
        return ngettext("%d hour", "%d hours", hours) % hours
    days = local_days(start_at=start_at, end_at=end_at, zone=zone)
    return ngettext("%d day", "%d days", days) % days


@register.filter
def metres(height_cm: int) -> str:
    """Write a height limit in metres with the language's decimal mark."""
    return formats.number_format(height_cm / 100, 2)
