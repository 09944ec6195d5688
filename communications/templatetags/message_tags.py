"""Messages for the templates of every app."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils import formats
from django.utils.html import format_html
from django.utils.timezone import get_fixed_timezone

from communications import stories
from foundation.languages import language_name

register = template.Library()
register.simple_tag(language_name)


@register.simple_tag
def messages_about_booking(reference: str) -> list[stories.Told]:
    """{% messages_about_booking booking.reference as told %}: oldest first."""
    return stories.about_booking(reference)


@register.simple_tag
def messages_to_user(user: Any) -> list[stories.Told]:
    """{% messages_to_user user as told %}: newest first."""
    return stories.about_user(user)


@register.simple_tag
def heard_from_user(user: Any) -> Any:
    """{% heard_from_user user as heard %}: what they texted us, newest first."""
    return stories.heard_from(str(user.phone))


@register.simple_tag
def when(instant: Any, zone: Any = None) -> str:
    """Show an instant on the place's clock with UTC as the small print; in UTC alone where there is no place."""
    from foundation.admin import local_and_utc  # admin modules may only be imported once all apps are there

    if zone:
        return local_and_utc(instant, zone, clock="H:i:s")
    utc = instant.astimezone(get_fixed_timezone(0))
    return format_html(
        '<time class="ops-time" datetime="{}"><b>{}</b><small>{} UTC</small></time>',
        instant.isoformat(),
        formats.date_format(utc, "D j M Y"),
        formats.date_format(utc, "H:i:s"),
    )
