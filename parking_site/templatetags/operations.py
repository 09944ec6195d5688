"""What staff templates of lower floors show from every app."""

from __future__ import annotations

from typing import Any

from django import template

# Template libraries are loaded while the apps still are; admin modules may only be imported once they are all there.

register = template.Library()


@register.simple_tag(takes_context=True)
def booking_story(context: Any, booking: Any) -> list[Any]:
    """Return the booking's story as far as the signed-in person may read it."""
    from parking_site.story import story_of

    return story_of(booking, request=context["request"])


@register.simple_tag
def airport_time(instant: Any, zone: Any) -> str:
    """Show an instant on the airport's clock to the second, with UTC as the small print."""
    from foundation.admin import local_and_utc

    return local_and_utc(instant, zone, clock="H:i:s")
