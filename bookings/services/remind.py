"""Reminders before drop-off and before return: each once per moment, never of what is cancelled, moved or over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from bookings.models import Booking, Reminder
from bookings.services.access import with_places
from bookings.services.messages import queue_reminder
from foundation import rules

Status = Booking.Status
About = Reminder.About
BATCH = 500
# How late a reminder may still go out, as a part of its notice: that of 24 hours for six, that of two for half an hour. After that the
# next one speaks, or none: "tomorrow" is no use on the day.
LATE = 0.25
_EVENT = {About.DROP_OFF: "start_at", About.RETURN: "end_at"}
_STANDS = {
    About.DROP_OFF: Q(status=Status.CONFIRMED),
    About.RETURN: Q(status__in=[Status.CONFIRMED, Status.ARRIVED]),
}


def queue_due(*, now: datetime) -> int:
    """Queue every reminder that is due at `now` and was not queued for this moment of its stay; return how many stays were reminded.

    A stay booked or moved so late that the reminder's time was over gets none: its confirmation is fresh enough.
    """
    done = 0
    for about in About:
        for hours in sorted(set(rules.value("REMINDER_HOURS"))):
            while batch := list(_due(about, hours, now=now)[:BATCH]):
                done += sum(_remind(pk, about, hours, now=now) for pk in batch)
                if len(batch) < BATCH:
                    break
    return done


def _due(about: About, hours: int, *, now: datetime) -> Any:
    event = _EVENT[about]
    notice = timedelta(hours=hours)
    told = Reminder.objects.filter(booking=OuterRef("pk"), about=about, hours=hours, event_at=OuterRef(event))
    return (
        Booking.objects.filter(
            _STANDS[about],
            ~Exists(told),
            confirmed_at__lte=F(event) - notice,
            **{f"{event}__gt": now + notice * (1 - LATE), f"{event}__lte": now + notice},
        )
        .order_by(event, "pk")
        .values_list("pk", flat=True)
    )


def _remind(booking_id: int, about: About, hours: int, *, now: datetime) -> bool:
    """Queue one stay's reminder in a commit of its own. Two workers at once: the unique constraint lets one through."""
    with transaction.atomic():
        booking = with_places().select_for_update(of=("self",)).get(pk=booking_id)
        event_at = getattr(booking, _EVENT[about])
        if not _stands(booking, about):
            return False
        _row, is_new = Reminder.objects.get_or_create(
            booking=booking, about=about, hours=hours, event_at=event_at, defaults={"queued_at": now}
        )
        if is_new:
            queue_reminder(
                booking,
                about=about,
                once=f"{hours}h:{event_at.astimezone(UTC):%Y%m%dT%H%M}",
                condition=condition_for(booking, about),
            )
    return is_new


def condition_for(booking: Booking, about: About) -> str:
    """Return what must still be so when the reminder leaves, for still_due()."""
    return f"reminder:{about}|{getattr(booking, _EVENT[about]).isoformat()}|{booking.reference}"


def still_due(what: str, *, now: datetime | None = None) -> bool:
    """Say whether a queued reminder is still true: the stay stands, its moment is the same and has not passed."""
    about, moment, reference = what.split("|", 2)
    booking = Booking.objects.filter(reference=reference).first()
    event_at = datetime.fromisoformat(moment)
    return (
        booking is not None
        and _stands(booking, About(about))
        and getattr(booking, _EVENT[About(about)]) == event_at
        and event_at > (now or timezone.now())
    )


def next_reminder(booking: Booking, *, now: datetime) -> About | None:
    """Return what the customer would be reminded of next: drop-off before it, return until it; None when the stay is over or void."""
    if booking.status == Status.CONFIRMED and booking.start_at > now:
        return About.DROP_OFF
    if booking.status in (Status.CONFIRMED, Status.ARRIVED) and booking.end_at > now:
        return About.RETURN
    return None


def _stands(booking: Booking, about: About) -> bool:
    if about == About.DROP_OFF:
        return booking.status == Status.CONFIRMED
    return booking.status in (Status.CONFIRMED, Status.ARRIVED)
