"""Sending a booking's messages again to its stored contact: where they are due, and not twice within a few minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils.translation import gettext_lazy as _

from bookings.models import Booking, Reminder
from bookings.services.confirm import lock_booking
from bookings.services.messages import queue_booking_confirmation, queue_reminder
from bookings.services.remind import condition_for, next_reminder
from communications.models import Message, MessageStatus
from foundation import audit
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


def send_confirmation_again(booking: Booking, *, by: Any = None, now: datetime) -> Told:
    """Send the booking's confirmation to its driver once more. Locks the booking. Raises NotDue unless it stands."""
    return once(booking, kind_of=_confirmation, send=_confirm, by=by, now=now)


def _confirmation(booking: Booking) -> str:
    if booking.status not in (Status.CONFIRMED, Status.ARRIVED):
        state = booking.get_status_display()
        raise NotDue(
            _("Only a booking that stands is confirmed by mail. This one is %(state)s.") % {"state": state}
        )
    return "booking_confirmation"


def _confirm(booking: Booking, key: str) -> list[Message]:
    return queue_booking_confirmation(booking, once=key)


def send_reminder(booking: Booking, *, by: Any = None, now: datetime) -> Told:
    """Remind the driver now of what comes next, drop-off or return. Locks the booking. Raises NotDue when the stay is over or void."""

    def about(booking: Booking) -> str:
        found = next_reminder(booking, now=now)
        if found is None:
            raise NotDue(
                _("There is nothing to be reminded of: the stay is over, or the booking does not stand.")
            )
        return found

    def remind(booking: Booking, key: str) -> list[Message]:
        found = about(booking)
        return queue_reminder(
            booking, about=found, once=key, condition=condition_for(booking, Reminder.About(found))
        )

    return once(booking, kind_of=lambda booking: f"{about(booking)}_reminder", send=remind, by=by, now=now)


def once(
    booking: Booking,
    *,
    kind_of: Callable[[Booking], str],
    send: Callable[[Booking, str], list[Message]],
    by: Any,
    now: datetime,
) -> Told:
    """Send a kind about a booking unless it went, or waits to go, since WINDOW. `send` gets what makes this sending unique.

    One at a time: the booking is locked, so that a double click finds the first one's message, and what `kind_of` (which raises NotDue)
    and `send` see is how it stands. What staff have sent is audited.
    """
    with transaction.atomic():
        booking = lock_booking(booking.pk)
        kind = kind_of(booking)
        recent = (
            Message.objects.filter(reference=booking.reference, kind=kind, queued_at__gt=now - WINDOW)
            .exclude(status__in=NOT_LEFT)
            .order_by("-queued_at")
        )
        earlier = recent.filter(channel="email").first() or recent.first()
        if earlier is not None:
            return Told(earlier, True)
        sent = send(booking, f"again:{now:%Y%m%dT%H%M%S%f}")
        if not sent:
            raise NotDue(_("There is no address to send it to."))
        if getattr(by, "is_staff", False):
            audit.record(
                actor=by,
                action="message_sent_again",
                subject=f"booking:{booking.reference}",
                data={"kind": kind},
            )
        return Told(sent[0], False)
