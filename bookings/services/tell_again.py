"""Sending a booking's messages again to its stored contact: where they are due, and not twice within a few minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils.translation import gettext_lazy as _

from bookings.models import Booking
from bookings.services.confirm import lock_booking
from bookings.services.messages import queue_booking_confirmation, queue_reminder
from bookings.services.remind import condition_for, next_reminder
from communications.models import Message, MessageStatus
from foundation.errors import DomainError

Status = Booking.Status
WINDOW = timedelta(minutes=10)
NOT_LEFT = (MessageStatus.FAILED, MessageStatus.BOUNCED, MessageStatus.SUPPRESSED)


class NotDue(DomainError):
    code = "not_due"
    message = _("This booking has no such message now.")


@dataclass(frozen=True)
class Told:
    """The message, and whether it was there already: then nothing was sent."""

    message: Message
    is_duplicate: bool


def send_confirmation_again(booking: Booking, *, now: datetime) -> Told:
    """Send the booking's confirmation to its driver once more. Locks the booking. Raises NotDue unless it stands."""
    if booking.status not in (Status.CONFIRMED, Status.ARRIVED):
        state = booking.get_status_display()
        raise NotDue(
            _("Only a booking that stands is confirmed by mail. This one is %(state)s.") % {"state": state}
        )
    return once(
        booking,
        kind="booking_confirmation",
        send=lambda key: queue_booking_confirmation(booking, once=key),
        now=now,
    )


def send_reminder(booking: Booking, *, now: datetime) -> Told:
    """Remind the driver now of what comes next, drop-off or return. Locks the booking. Raises NotDue when the stay is over or void."""
    about = next_reminder(booking, now=now)
    if about is None:
        raise NotDue(
            _("There is nothing to be reminded of: the stay is over, or the booking does not stand.")
        )
    return once(
        booking,
        kind=f"{about}_reminder",
        send=lambda key: queue_reminder(
            booking, about=about, once=key, condition=condition_for(booking, about)
        ),
        now=now,
    )


def once(booking: Booking, *, kind: str, send: Callable[[str], list[Message]], now: datetime) -> Told:
    """Send a kind about a booking unless it went, or waits to go, since WINDOW. `send` gets what makes this sending unique.

    One at a time: the booking is locked, so that a double click finds the first one's message.
    """
    with transaction.atomic():
        lock_booking(booking.pk)
        recent = (
            Message.objects.filter(reference=booking.reference, kind=kind, queued_at__gt=now - WINDOW)
            .exclude(status__in=NOT_LEFT)
            .order_by("-queued_at")
        )
        earlier = recent.filter(channel="email").first() or recent.first()
        if earlier is not None:
            return Told(earlier, True)
        sent = send(f"again:{now:%Y%m%dT%H%M%S%f}")
        if not sent:
            raise NotDue(_("There is no address to send it to."))
        return Told(sent[0], False)
